#include "gateway/chooser.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "r2router/error.h"

#include "base/unicode.h"
#include "gateway/dialects/model_list.h"
#include "gateway/request_policy.h"
#include "llm/fallback.h"
#include "pool/prices.h"

namespace r2router::gateway {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

Chooser::Chooser(const Incoming& incoming, DialectKind dialect, const ClientRequest& request)
    : incoming_(incoming),
      service_(*incoming.service),
      dialect_(dialect),
      request_(request),
      barred_(service_.wrong_dialect[static_cast<std::size_t>(dialect)]),
      tried_(service_.pool().size()) {
  if (!service_.problem.empty()) throw Error(ErrorCode::kUnsupported, service_.problem);
  std::string_view policy_name = request_.policy_name;
  if (const auto name = routed_policy(request_.model)) {
    if (policy_name.empty()) policy_name = *name;
  } else {
    named_ = service_.find_model(request_.model);
    if (!named_) named_ = service_.find_model(requested_model(request_.model));
    if (!named_) throw service_.unknown_model(request_.model);
  }
  policy_ = policy_of(incoming_, policy_name, request_.policy);
  if (!policy_.max_cost_usd) policy_.max_cost_usd = service_.router.config().policy.max_cost_usd;
  rest_usd_ = policy_.max_cost_usd.value_or(kInfinity);
  is_limited_ = policy_.max_cost_usd ||
                (incoming_.client->key != nullptr && incoming_.client->key->limits.limits_money());
  if (is_limited_) refuse_surcharges(request_.surcharges, service_.config.accepted_fields);
  for (std::size_t i = 0; i < barred_.size(); ++i) {
    barred_[i] |= service_.out_of_bounds[i] | incoming_.client->denied[i];
  }
}

const Router& Chooser::router() const {
  return request_.writes_cache ? service_.cache_writing_router : service_.router;
}

void refuse_surcharges(const std::vector<Surcharge>& surcharges,
                       const std::vector<std::string>& accepted) {
  for (const Surcharge& surcharge : surcharges) {
    if (std::ranges::find(accepted, surcharge.name) != accepted.end()) continue;
    throw Error(ErrorCode::kInvalidArgument,
                surcharge.why +
                    ", so a spending limit cannot be guaranteed: remove it, use a key and a policy "
                    "without such limits" +
                    (surcharge.name.empty() ? std::string()
                                            : ", or add \"" + surcharge.name +
                                                  "\" to accepted_fields in the gateway's "
                                                  "configuration"),
                {.option = surcharge.field});
  }
}

ModelMask Chooser::unhealthy() const {
  ModelMask mask(service_.models.size());
  const auto now = llm::Clock::now();
  for (std::size_t i = 0; i < mask.size(); ++i) {
    const ServedModel& model = service_.models[i];
    if (model.endpoint == nullptr) continue;
    mask[i] = !model.condition->breaker.allows(now) ||
              !model.endpoint->condition->breaker.allows(now) || model.endpoint->is_busy();
  }
  return mask;
}

Candidate Chooser::choose() const {
  if (named_) return named_candidate();
  ModelMask mask = barred_;
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] |= tried_[i];
  ModelMask healthy = mask;
  const ModelMask ill = unhealthy();
  for (std::size_t i = 0; i < mask.size(); ++i) healthy[i] |= ill[i];
  if (healthy != mask && std::ranges::find(healthy, 0) != healthy.end()) {
    try {
      return routed_candidate(healthy);
    } catch (const Error&) {  // a failing model is better than none
    }
  }
  try {
    return routed_candidate(mask);
  } catch (const Error& error) {
    throw Error(error.code(), error.message() + barred_text(), error.where());
  }
}

std::string Chooser::barred_text() const {
  const auto count = [](const ModelMask& mask) {
    return static_cast<std::size_t>(std::ranges::count_if(mask, [](auto mark) { return mark; }));
  };
  std::string text;
  const auto add = [&](std::size_t models, const std::string& why) {
    if (models == 0) return;
    text += (text.empty() ? ". Left out before: " : ", ") + std::to_string(models) + " of " +
            std::to_string(service_.pool().size()) + " models (" + why + ")";
  };
  add(count(service_.wrong_dialect[static_cast<std::size_t>(dialect_)]),
      "their endpoint does not serve this API");
  add(count(service_.out_of_bounds), "bounds");
  add(count(incoming_.client->denied), "the key");
  add(count(tried_), "failed for this request");
  return text;
}

Query Chooser::query() const {
  Query query{.text = request_.text, .size = request_.size};
  // A request without text, such as an image alone, is routed by an embedding of zeros.
  if (internal::is_blank(query.text)) {
    query.text.clear();
    query.embedding = std::vector<float>(service_.router.dimension());
  }
  return query;
}

Policy Chooser::policy_without(const ModelMask& mask) const {
  Policy policy = policy_;
  if (const double most = std::min(rest_usd_, left_usd_); most < kInfinity) {
    policy.max_cost_usd = most / request_.choices;
  }
  deny(mask, service_, policy);
  return policy;
}

Candidate Chooser::routed_candidate(const ModelMask& mask) const {
  RouteOptions options{.policy = policy_without(mask)};
  const Query routed = query();
  const std::uint32_t least = options.policy.cap.minimum.value_or(CapRule::kMinimum);
  if (request_.cap && *request_.cap >= least) {
    const RouteOptions without = options;
    options.policy.max_output_tokens = lower(options.policy.max_output_tokens, request_.cap);
    try {
      return candidate_of(router().route(routed, options));
    } catch (const Error&) {
      // Every budget is larger than the client's cap, which will cut off the answer.
      return candidate_of(router().route(routed, without));
    }
  }
  return candidate_of(router().route(routed, options));
}

Candidate Chooser::candidate_of(const Decision& decision) const {
  const Option& option = decision.chosen;
  Candidate candidate{.model = option.model,
                      .budget = option.budget,
                      .cap = option.max_tokens,
                      .worst_usd = option.worst_case_cost_usd,
                      .output_tokens = option.output_tokens,
                      .quality = option.quality,
                      .cost_usd = option.cost_usd};
  lower_cap(candidate, decision.max_input_tokens);
  return candidate;
}

void Chooser::lower_cap(Candidate& candidate, std::int64_t max_input_tokens) const {
  if (request_.cap && *request_.cap < candidate.cap) {
    candidate.cap = std::max<std::uint32_t>(*request_.cap, 1);
    candidate.worst_usd = worst_case(candidate, max_input_tokens);
  }
  candidate.worst_usd *= request_.choices;
}

double Chooser::worst_case(const Candidate& candidate, std::int64_t max_input_tokens) const {
  const ModelSpec& model = pool()[candidate.model];
  return internal::worst_case_cost(model.prices,
                                   internal::most_input_tokens(model, max_input_tokens),
                                   request_.size.images, candidate.cap);
}

Candidate Chooser::named_candidate() const {
  const std::uint32_t index = *named_;
  const ModelSpec& model = pool()[index];
  const auto not_allowed = [&](ErrorCode code, const std::string& why) {
    throw Error(code, "the model \"" + model.name + "\" cannot be used: " + why,
                {.option = "model"});
  };
  if (incoming_.client->denied[index] != 0) {
    not_allowed(ErrorCode::kAuthentication, "this key may not use it");
  }
  if (service_.out_of_bounds[index] != 0) {
    not_allowed(ErrorCode::kAuthentication, "the gateway's configuration excludes it");
  }
  if (barred_[index] != 0) {
    not_allowed(ErrorCode::kInvalidArgument,
                "its endpoint does not serve the API that this request is for");
  }
  Candidate candidate{.model = index, .cap = model.max_output_tokens.value_or(CapRule::kMost)};
  const std::int64_t most_input =
      internal::most_input_tokens(model, request_.size.max_input_tokens.value_or(0));
  if (!request_.cap) {
    Policy policy{.objective = Objective::kBest,
                  .allow = {{model.name}},
                  .available_only = false,
                  .rules = policy_.rules};
    try {
      const Decision decision = router().route(query(), {.policy = policy, .rank = true});
      for (const Option& option : decision.ranking) {
        if (!option.budget.is_unlimited()) continue;
        candidate.cap = option.max_tokens;
        candidate.output_tokens = option.output_tokens;
        candidate.quality = option.quality;
        candidate.cost_usd = option.cost_usd;
      }
    } catch (const Error&) {  // the request may still fit; the server decides
    }
  }
  std::uint32_t cap = candidate.cap;
  if (request_.cap) cap = std::min(cap, std::max<std::uint32_t>(*request_.cap, 1));
  if (policy_.max_output_tokens) cap = std::min(cap, *policy_.max_output_tokens);
  if (policy_.max_cost_usd) {
    const double affordable = internal::affordable_cap(
        model.prices, most_input, request_.size.images, rest_usd_ / request_.choices, cap);
    if (affordable < 1) {
      throw Error(ErrorCode::kBudget,
                  "an answer of \"" + model.name + "\" does not fit the limit of the cost",
                  {.option = "max_cost_usd"});
    }
    cap = static_cast<std::uint32_t>(affordable);
  }
  candidate.cap = cap;
  if (candidate.output_tokens == 0) candidate.output_tokens = cap;
  candidate.worst_usd =
      worst_case(candidate, request_.size.max_input_tokens.value_or(0)) * request_.choices;
  return candidate;
}

bool Chooser::exclude(std::uint32_t failed_model, ErrorCode code) {
  const bool whole_endpoint = code == ErrorCode::kAuthentication || code == ErrorCode::kCredit ||
                              code == ErrorCode::kUntrusted;
  if (!whole_endpoint && code != ErrorCode::kBudget && !llm::another_model_may_answer(code)) {
    return false;
  }
  const ModelSpec& failed = service_.pool()[failed_model];
  const ServedEndpoint* const endpoint = service_.models[failed_model].endpoint;
  for (std::size_t i = 0; i < tried_.size(); ++i) {
    const ModelSpec& other = service_.pool()[i];
    const bool same_family = !failed.family.empty() && other.family == failed.family;
    // An entry of the family with another `request`, such as less reasoning, may not use up its
    // cap.
    const bool may_differ = code == ErrorCode::kBudget && same_family && &other != &failed &&
                            other.request != failed.request;
    if (other.openrouter_id == failed.openrouter_id || same_family) {
      tried_[i] |= !may_differ;
    }
    // Whether a request fits a context is estimated, so the context may have been too small.
    if (code == ErrorCode::kTooLong && failed.context_tokens && other.context_tokens &&
        *other.context_tokens <= *failed.context_tokens) {
      tried_[i] = 1;
    }
    if (whole_endpoint && service_.models[i].endpoint == endpoint) tried_[i] = 1;
  }
  tried_[failed_model] = 1;
  return true;
}

}  // namespace r2router::gateway
