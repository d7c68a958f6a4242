#include "gateway/metrics.h"

#include <limits>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace r2router::gateway {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

MetricFamily family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = std::string("r2router_") + name;
  family.help = help;
  family.type = type;
  return family;
}

void add_counter(MetricFamily& family, Labels labels, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.counter.value = value;
}

void add_gauge(MetricFamily& family, Labels labels, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.gauge.value = value;
}

template <std::size_t count>
void add_histogram(MetricFamily& family, Labels labels, const Histogram<count>& histogram,
                   const std::array<double, count>& bounds) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i <= count; ++i) {
    sum += histogram.buckets[i];
    metric.histogram.bucket.push_back(
        {sum, i < count ? bounds[i] : std::numeric_limits<double>::infinity()});
  }
  metric.histogram.sample_count = sum;
  metric.histogram.sample_sum = histogram.sum;
}

}  // namespace

void CountsOfLoop::add_to(Counts& sum) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : counts_.requests) sum.requests[key] += count;
  for (const auto& [key, count] : counts_.attempts) sum.attempts[key] += count;
  for (const auto& [key, count] : counts_.refused) sum.refused[key] += count;
  for (const auto& [name, model] : counts_.models) {
    Counts::Model& total = sum.models[name];
    total.usage.prompt_tokens += model.usage.prompt_tokens;
    total.usage.completion_tokens += model.usage.completion_tokens;
    total.usage.reasoning_tokens += model.usage.reasoning_tokens;
    total.usage.cached_tokens += model.usage.cached_tokens;
    total.usage.cache_write_tokens += model.usage.cache_write_tokens;
    total.cost_usd += model.cost_usd;
    total.baseline_usd += model.baseline_usd;
    total.first_token_seconds += model.first_token_seconds;
    total.seconds += model.seconds;
  }
  sum.overhead_ms += counts_.overhead_ms;
  sum.active += counts_.active;
}

std::shared_ptr<CountsOfLoop> Metrics::add_loop() {
  const std::lock_guard lock(mutex_);
  return loops_.emplace_back(std::make_shared<CountsOfLoop>());
}

std::string Metrics::text(const std::vector<Gauge>& gauges,
                          const std::vector<std::pair<std::string, bool>>& models_available) const {
  Counts counts;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& loop : loops_) loop->add_to(counts);
  }
  std::vector<MetricFamily> families;
  const auto add = [&](const char* name, const char* help, MetricType type) -> MetricFamily& {
    return families.emplace_back(family(name, help, type));
  };
  auto& requests = add("requests_total", "Requests by model and HTTP status.", MetricType::Counter);
  for (const auto& [key, count] : counts.requests) {
    add_counter(requests, {{"model", key.first}, {"status", std::to_string(key.second)}},
                static_cast<double>(count));
  }
  auto& attempts = add("upstream_attempts_total", "Requests sent to endpoints, by their outcome.",
                       MetricType::Counter);
  for (const auto& [key, count] : counts.attempts) {
    add_counter(attempts, {{"outcome", key.first}, {"code", key.second}},
                static_cast<double>(count));
  }
  auto& refused =
      add("refused_total", "Requests that were not sent, by reason.", MetricType::Counter);
  for (const auto& [reason, count] : counts.refused) {
    add_counter(refused, {{"reason", reason}}, static_cast<double>(count));
  }
  auto& tokens = add("tokens_total",
                     "Tokens by model and kind. Cached and cache_write are parts of "
                     "input, reasoning of output.",
                     MetricType::Counter);
  for (const auto& [name, model] : counts.models) {
    const auto kind = [&, &name = name](const char* label, std::int64_t count) {
      add_counter(tokens, {{"model", name}, {"kind", label}}, static_cast<double>(count));
    };
    kind("input", model.usage.prompt_tokens);
    kind("cached", model.usage.cached_tokens);
    kind("cache_write", model.usage.cache_write_tokens);
    kind("output", model.usage.completion_tokens);
    kind("reasoning", model.usage.reasoning_tokens);
  }
  auto& cost = add("cost_usd_total", "Cost of answers by model, USD.", MetricType::Counter);
  for (const auto& [name, model] : counts.models) {
    add_counter(cost, {{"model", name}}, model.cost_usd);
  }
  auto& baseline = add("baseline_cost_usd_total",
                       "Cost that the answers would have had by the best single model, USD.",
                       MetricType::Counter);
  for (const auto& [name, model] : counts.models) {
    add_counter(baseline, {{"model", name}}, model.baseline_usd);
  }
  auto& first = add("time_to_first_token_seconds", "From the request to the first content.",
                    MetricType::Histogram);
  for (const auto& [name, model] : counts.models) {
    add_histogram(first, {{"model", name}}, model.first_token_seconds, kSecondsBounds);
  }
  auto& seconds = add("request_duration_seconds", "From the request to the end of the answer.",
                      MetricType::Histogram);
  for (const auto& [name, model] : counts.models) {
    add_histogram(seconds, {{"model", name}}, model.seconds, kSecondsBounds);
  }
  add_histogram(add("routing_overhead_ms",
                    "Milliseconds from the request's arrival to the call of an endpoint.",
                    MetricType::Histogram),
                {}, counts.overhead_ms, kOverheadBounds);
  add_gauge(add("active_requests", "Requests in progress.", MetricType::Gauge), {},
            static_cast<double>(counts.active));
  auto& available = add("model_available", "1 if requests may be sent to the model, 0 if it fails.",
                        MetricType::Gauge);
  for (const auto& [name, up] : models_available) add_gauge(available, {{"model", name}}, up);
  for (const Gauge& gauge : gauges) {
    add_gauge(add(gauge.name.c_str(), gauge.help.c_str(), MetricType::Gauge), {}, gauge.value);
  }
  // A family without a metric is not valid.
  std::erase_if(families, [](const MetricFamily& one) { return one.metric.empty(); });
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace r2router::gateway
