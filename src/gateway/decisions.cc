// POST /v1/decisions. Many queries are decided in slices, between which the loop serves other
// requests.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "r2router/error.h"

#include "gateway/dialects/decision_request.h"
#include "gateway/dialects/model_list.h"
#include "gateway/request_policy.h"
#include "gateway/routes.h"
#include "pipeline/decision_json.h"

namespace r2router::gateway {
namespace {

/// Queries in a slice, which takes about a millisecond.
constexpr std::size_t kSlice = 16;

class Decisions final : public HttpTask {
 public:
  Decisions(LoopContext& context, Incoming incoming, HttpReply& reply, DecisionRequest request)
      : context_(context),
        incoming_(std::move(incoming)),
        reply_(reply),
        request_(std::move(request)) {}

  /// Returns true once the reply is complete.
  bool proceed() {
    const std::size_t end = std::min(next_ + kSlice, request_.queries.size());
    for (; next_ < end; ++next_) {
      if (next_ > 0) json_ += ", ";
      json_ += decide(request_.queries[next_]);
    }
    if (next_ < request_.queries.size()) {
      context_.loop.post([this, alive = std::weak_ptr(alive_)] {
        if (!alive.expired()) proceed();
      });
      return false;
    }
    if (!request_.is_list && failed_) {
      reply_.send(400, {{"content-type", "application/json"}, {"x-request-id", incoming_.id}},
                  json_);
    } else {
      reply_json(reply_, incoming_, request_.is_list ? "[" + json_ + "]" : json_);
    }
    return true;
  }

 private:
  std::string decide(const DecisionQuery& query) {
    std::string json;
    if (!query.error.empty()) {
      failed_ = true;
      json = internal::error_json(query.id, query.error, next_ + 1);
    } else {
      try {
        json = internal::decision_json({.id = query.id}, decision(query), query.all_options);
      } catch (const Error& error) {
        failed_ = true;
        json = internal::error_json(query.id, error.what(), next_ + 1);
      }
    }
    while (json.ends_with('\n')) json.pop_back();
    return json;
  }

  Decision decision(const DecisionQuery& query) const {
    const Service& service = *incoming_.service;
    std::string policy_name = query.policy_name;
    Policy own = query.policy;
    if (const auto named = routed_policy(query.model)) {
      if (policy_name.empty()) policy_name = *named;
    } else {
      auto model = service.find_model(query.model);
      if (!model) model = service.find_model(requested_model(query.model));
      if (!model) throw service.unknown_model(query.model);
      own.allow = {{service.pool()[*model].name}};
    }
    RouteOptions options{.policy = policy_of(incoming_, policy_name, own),
                         .rank = query.all_options,
                         .explain = query.explain};
    ModelMask mask = service.out_of_bounds;
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] |= incoming_.client->denied[i];
    deny(mask, service, options.policy);
    return service.router.route(query.query, options);
  }

  LoopContext& context_;
  const Incoming incoming_;
  HttpReply& reply_;
  const DecisionRequest request_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::size_t next_ = 0;
  bool failed_ = false;
  std::string json_;
};

}  // namespace

std::unique_ptr<HttpTask> decide_queries(LoopContext& context, Incoming incoming,
                                         HttpReply& reply) {
  try {
    DecisionRequest request =
        read_decisions(incoming.http.body, incoming.service->router.config().budget_prompt);
    auto task =
        std::make_unique<Decisions>(context, std::move(incoming), reply, std::move(request));
    if (task->proceed()) return nullptr;
    return task;
  } catch (const Error& error) {
    reply_error(
        reply, incoming,
        {.status = 400, .message = error.what(), .code = std::string(to_string(error.code()))});
    return nullptr;
  }
}

}  // namespace r2router::gateway
