#include "pool/prices.h"

#include <cmath>

namespace r2router::internal {

double CostLine::affordable_tokens(double limit, double most) const {
  const auto fits = [&](double tokens) { return cost(tokens) <= limit; };
  if (fits(most)) return most;
  if (!fits(0)) return -1;
  const double quotient = std::floor((limit - fixed_usd) / output_per_million * kPerMillion);
  double tokens = std::clamp(quotient, 0.0, most - 1);
  // The product must fit. Rounding of the quotient may be off by a few tokens, so search.
  if (fits(tokens) && !fits(tokens + 1)) return tokens;
  tokens = 0;
  for (double step = 0x1p31; step >= 1; step /= 2) {
    if (tokens + step < most && fits(tokens + step)) tokens += step;
  }
  return tokens;
}

double affordable_cap(const Prices& prices, std::int64_t most_input, std::uint32_t images,
                      double limit, double most) {
  if (limit == std::numeric_limits<double>::infinity()) return most;
  if (!prices.unknown.empty()) return -1;
  for_each_tier(prices, most_input, [&](const Rates& rates, std::int64_t longest) {
    most = std::min(most, worst_case(rates, longest, images).affordable_tokens(limit, most));
  });
  return most;
}

std::optional<double> charge(const Prices& prices, const Usage& usage, std::uint32_t images) {
  if (!prices.unknown.empty()) return {};
  const Rates rates = rates_at(prices, usage.prompt_tokens);
  // Counts from servers may be inconsistent.
  const std::int64_t cached = std::min(usage.cached_tokens, usage.prompt_tokens);
  const std::int64_t written = std::min(usage.cache_write_tokens, usage.prompt_tokens - cached);
  const std::int64_t reasoning = std::min(usage.reasoning_tokens, usage.completion_tokens);
  const auto usd = [](std::int64_t tokens, double per_million) {
    return static_cast<double>(tokens) * (per_million / kPerMillion);
  };
  return usd(usage.prompt_tokens - cached - written, rates.input) +
         usd(cached, rates.cached_input.value_or(rates.input)) +
         usd(written, rates.cache_write.value_or(rates.input)) +
         usd(usage.completion_tokens - reasoning, rates.output) +
         usd(reasoning, rates.reasoning.value_or(rates.output)) + rates.fees(images);
}

}  // namespace r2router::internal
