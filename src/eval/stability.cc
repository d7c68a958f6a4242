// How steady a router's choices are under edits that keep a query's meaning.

#include <cstddef>
#include <cstdio>
#include <string>

#include "r2router/error.h"
#include "r2router/eval/perturb.h"
#include "r2router/eval/router_evaluation.h"

#include "base/decimal.h"

namespace r2router::eval {

Stability measure_stability(const Router& router, const OutcomeTable& table, std::uint32_t holdout,
                            const train::ProgressCallback& progress) {
  Stability result{.lambda = router.config().default_lambda(), .shares = {}};
  for (const Perturbation kind : kPerturbations) {
    result.shares.push_back({.edit = std::string(to_string(kind))});
  }
  for (std::size_t row = 0; row < table.queries.size(); ++row) {
    const QueryRecord& query = table.queries[row];
    if (holdout > 0 && !is_held_out(query.text, holdout)) continue;
    if (progress) progress("editing", row, table.queries.size());
    ++result.queries;
    const Option chosen = router.route_text(query.text).chosen;
    for (std::size_t i = 0; i < kPerturbations.size(); ++i) {
      const Option after = router.route_text(perturb(query.text, kPerturbations[i])).chosen;
      const bool same_model = after.model == chosen.model;
      result.shares[i].same_model += same_model;
      result.shares[i].same_pair += same_model && after.budget == chosen.budget;
    }
  }
  if (result.queries == 0) {
    throw Error(ErrorCode::kBadData,
                "no query is held out: give more queries, or use a holdout of 0 to edit all of them"
                "");
  }
  Stability::Shares all{.edit = "all"};
  for (Stability::Shares& shares : result.shares) {
    shares.same_model /= static_cast<double>(result.queries);
    shares.same_pair /= static_cast<double>(result.queries);
    all.same_model += shares.same_model / kPerturbations.size();
    all.same_pair += shares.same_pair / kPerturbations.size();
  }
  result.shares.push_back(all);
  return result;
}

std::string to_text(const Stability& stability) {
  char line[128];
  std::snprintf(line, sizeof line, "%.7g", stability.lambda);
  std::string text = "ChosenPairs that stay when " + with_thousands(stability.queries) +
                     " queries are edited, at λ = " + line + ":\n\n";
  const auto add = [&](const std::string& edit, const std::string& model, const std::string& pair) {
    std::snprintf(line, sizeof line, "%-14s%12s%20s\n", edit.c_str(), model.c_str(), pair.c_str());
    text += line;
  };
  add("edit", "same model", "and same budget");
  for (const auto& [edit, same_model, same_pair] : stability.shares) {
    char model[32], pair[32];
    std::snprintf(model, sizeof model, "%.3f", same_model);
    std::snprintf(pair, sizeof pair, "%.3f", same_pair);
    add(edit, model, pair);
  }
  return text;
}

}  // namespace r2router::eval
