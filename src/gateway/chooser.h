// The pairs that a request may be sent to, and which of them to try next: by the router's decision
// under the request's policy, or the model that the client has named. What has failed for this
// request is left out, and what is failing for others is avoided.
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

/// A pair that can be sent.
struct Candidate {
  std::uint32_t model = 0;
  Budget budget = {};
  std::uint32_t cap = 0;  ///< tokens
  double worst_usd = 0;   ///< of all choices
  double output_tokens = 0;
  std::optional<double> quality = {}, cost_usd = {};
};

/// Under a limit of money: refuses whatever is not known to be within the worst case. `accepted`:
/// names. Throws Error(kInvalidArgument).
void refuse_surcharges(const std::vector<Surcharge>& surcharges,
                       const std::vector<std::string>& accepted);

/// For the thread of the request. `incoming` and `request` must outlive it.
class Chooser {
 public:
  /// Throws the Error of a request that cannot be sent to any pair.
  Chooser(const Incoming& incoming, DialectKind dialect, const ClientRequest& request);

  /// The pair to try next. Throws the Error of a request that no pair fits.
  Candidate choose() const;
  /// Leaves out a model that has failed, and those that would fail likewise. Returns false if every
  /// model would.
  bool exclude(std::uint32_t failed_model, ErrorCode code);
  /// Takes a charge from what the policy allows for the request.
  void spend(double usd) { rest_usd_ = std::max(0.0, rest_usd_ - usd); }
  /// Whether the policy allows another attempt.
  bool affords(const Candidate& candidate) const { return candidate.worst_usd <= rest_usd_; }
  /// Allows only pairs whose worst case the key has left.
  void narrow(Money left) { left_usd_ = left.usd(); }

  /// The client has named the model.
  bool is_named() const { return named_.has_value(); }
  /// A limit of money has to hold.
  bool is_limited() const { return is_limited_; }
  /// With the prices that apply to the request.
  const Pool& pool() const { return router().pool(); }

 private:
  const Router& router() const;
  [[noreturn]] void unknown_model() const;
  /// What is failing or busy at the moment.
  ModelMask unhealthy() const;
  /// How many models were no candidates from the outset.
  std::string barred_text() const;
  Query query() const;
  Policy policy_without(const ModelMask& mask) const;
  Candidate routed_candidate(const ModelMask& mask) const;
  Candidate candidate_of(const Decision& decision) const;
  /// To the client's own cap.
  void lower_cap(Candidate& candidate, std::int64_t max_input_tokens) const;
  double worst_case(const Candidate& candidate, std::int64_t max_input_tokens) const;
  /// The model that the client has named, without a budget: with its own cap, or that which the
  /// router gives to an unlimited answer.
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
