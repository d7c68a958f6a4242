// A router's evaluation, for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "r2router/eval.h"
#include "r2router/router.h"

#include "cli/outcome_data.h"

namespace r2router::cli {

/// A router beside other policies, and what its default λ comes to.
struct RouterEvaluation {
  Evaluation evaluation;
  PolicyPoint at_default;
};

/// Evaluates a router on the held-out part of the data, or on all of it if nothing is held out; the
/// mean curve is learned from the other part (or all).
RouterEvaluation evaluate_router(const Router& router, const OutcomeData& data,
                                 std::uint32_t holdout, bool available_only);

/// A table with a line for each policy.
std::string evaluation_text(const RouterEvaluation& result, const OutcomeTable& table);
nlohmann::ordered_json evaluation_json(const RouterEvaluation& result, const OutcomeTable& table);

/// Every policy's deferral curve: policy,cost,score,lambda.
std::string curves_csv(const Evaluation& evaluation);

}  // namespace r2router::cli
