// Chooses the pair to try next for a request: by the router's decision under the request's policy,
// or the model that the client has named. Models that have failed for this request are excluded,
// and models that are failing for other requests are avoided.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "r2router/decision.h"
#include "r2router/error.h"
#include "r2router/router.h"

#include "gateway/dialects/dialect.h"
#include "gateway/incoming.h"
#include "gateway/service.h"
#include "gateway/spending/money.h"

namespace r2router::gateway {

/// A pair that the request can be sent to.
struct Candidate {
  std::uint32_t model = 0;
  Budget budget = {};
  std::uint32_t cap = 0;  ///< tokens
  double worst_usd = 0;   ///< of all choices
  double output_tokens = 0;
  std::optional<double> quality = {}, cost_usd = {};
};

/// Under a spending limit, refuses every field that may cost more than the worst case. `accepted`:
/// names of fields that are not refused. Throws Error(kInvalidArgument).
void refuse_surcharges(const std::vector<Surcharge>& surcharges,
                       const std::vector<std::string>& accepted);

/// Used on the thread of the request. `incoming` and `request` must outlive it.
class Chooser {
 public:
  /// Throws an Error if the request cannot be sent to any pair.
  Chooser(const Incoming& incoming, DialectKind dialect, const ClientRequest& request);

  /// Returns the pair to try next. Throws an Error if no pair fits the request.
  Candidate choose() const;
  /// Excludes a model that has failed, and models that would fail in the same way. Returns false if
  /// every model would.
  bool exclude(std::uint32_t failed_model, ErrorCode code);
  /// Subtracts a charge from the amount that the policy allows for the request.
  void spend(double usd) { rest_usd_ = std::max(0.0, rest_usd_ - usd); }
  /// Whether the policy allows another attempt.
  bool affords(const Candidate& candidate) const { return candidate.worst_usd <= rest_usd_; }
  /// Allows only pairs whose worst case does not exceed `left`, the rest of the key's limit.
  void narrow(Money left) { left_usd_ = left.usd(); }

  /// Whether the client has named the model.
  bool is_named() const { return named_.has_value(); }
  /// Whether a spending limit applies.
  bool is_limited() const { return is_limited_; }
  /// The pool, with the prices that apply to the request.
  const Pool& pool() const { return router().pool(); }

 private:
  const Router& router() const;
  /// Models that are failing or busy at the moment.
  ModelMask unhealthy() const;
  /// A text for errors: how many models were excluded before routing.
  std::string barred_text() const;
  Query query() const;
  Policy policy_without(const ModelMask& mask) const;
  Candidate routed_candidate(const ModelMask& mask) const;
  Candidate candidate_of(const Decision& decision) const;
  /// Lowers the cap to the client's own.
  void lower_cap(Candidate& candidate, std::int64_t max_input_tokens) const;
  double worst_case(const Candidate& candidate, std::int64_t max_input_tokens) const;
  /// The model that the client has named, without a budget. Its cap is the client's, or the
  /// router's cap for an unlimited answer.
  Candidate named_candidate() const;

  const Incoming& incoming_;
  const Service& service_;
  const DialectKind dialect_;
  const ClientRequest& request_;
  Policy policy_;
  std::optional<std::uint32_t> named_;
  ModelMask barred_;  // never candidates
  ModelMask tried_;   // have failed for this request
  bool is_limited_ = false;
  double rest_usd_;  // of the policy's max_cost_usd
  // Of the key's limits, if that is less than the worst case.
  double left_usd_ = std::numeric_limits<double>::infinity();
};

}  // namespace r2router::gateway
