#include "train/add_model/new_model.h"

#include <algorithm>
#include <cmath>

#include "r2router/error.h"

#include "base/decimal.h"
#include "base/excerpt.h"
#include "base/fold_hash.h"
#include "data/gaps.h"
#include "train/add_model/append.h"
#include "train/problem.h"

namespace r2router::train {
using Eigen::Index;
using Eigen::MatrixXd;

NewModel find_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                    const std::string& name, const AddModelOptions& options) {
  const Config& config = checkpoint.config;
  const auto has_name = [&](const ModelSpec& model) { return model.name == name; };
  const auto found = std::ranges::find_if(table.models, has_name);
  if (found == table.models.end()) {
    throw_bad_option("there are no outcomes of a model \"" + name + "\": name one that has some");
  }
  check_new_name(config, name);
  NewModel model{.spec = *found};
  const auto index = static_cast<std::uint32_t>(found - table.models.begin());
  for (std::size_t column = 0; column < table.pairs.size(); ++column) {
    if (table.pairs[column].model != index) continue;
    const Budget budget = table.pairs[column].budget;
    const std::vector<Budget>& known = config.token_limits;
    if (!known.empty() && std::ranges::find(known, budget) == known.end()) {
      throw Error(ErrorCode::kBadData,
                  name + " has outcomes at budget " + budget.to_string() +
                      ", which is not among the checkpoint's: leave them out, or train the router "
                      "again");
    }
    model.columns.push_back(column);
    model.budgets.push_back(budget);
  }
  std::size_t incomplete = 0;
  for (std::uint32_t query = 0; query < table.queries.size(); ++query) {
    if (!table.queries[query].original.empty()) continue;  // an edited copy adds no information
    const bool complete = std::ranges::none_of(model.columns, [&](std::size_t column) {
      return std::isnan(table.scores[table.cell(query, column)]);
    });
    if (!complete || model.columns.empty()) {
      ++incomplete;
      continue;
    }
    const bool held_out = is_held_out(table.queries[query].text, options.holdout);
    (held_out ? model.held_out : model.outcomes).push_back(query);
  }
  if (options.log && incomplete > 0) {
    options.log(LogLevel::kWarning, internal::count_of(incomplete, "query", "queries") + " of " +
                                        with_thousands(table.queries.size()) +
                                        " are not used: they lack an outcome of " + excerpt(name));
  }
  std::ranges::stable_sort(model.outcomes, {}, [&](std::uint32_t query) {
    return internal::fold_hash(table.queries[query].text, options.seed);
  });
  if (model.outcomes.size() < kFewestProbes) {
    throw Error(ErrorCode::kBadData, name + " has outcomes of each of its pairs on " +
                                         std::to_string(model.outcomes.size()) +
                                         " queries that are not held out: expected at least " +
                                         std::to_string(kFewestProbes) + ", better a few hundred");
  }
  return model;
}
MatrixXd gather_targets(const OutcomeTable& table, const NewModel& model,
                        std::span<const std::uint32_t> queries) {
  MatrixXd targets(static_cast<Index>(queries.size()), static_cast<Index>(model.heads()));
  for (Index row = 0; row < targets.rows(); ++row) {
    for (std::size_t i = 0; i < model.columns.size(); ++i) {
      const std::size_t cell = table.cell(queries[static_cast<std::size_t>(row)], model.columns[i]);
      targets(row, static_cast<Index>(kHeadsPerPair * i)) = table.scores[cell];
      targets(row, static_cast<Index>(kHeadsPerPair * i + 1)) = table.output_tokens[cell];
    }
  }
  return targets;
}

MatrixXd gather_embeddings(std::span<const float> embeddings, std::size_t dimension,
                           std::span<const std::uint32_t> queries) {
  MatrixXd rows(static_cast<Index>(queries.size()), static_cast<Index>(dimension));
  for (Index row = 0; row < rows.rows(); ++row) {
    const float* x = embeddings.data() + queries[static_cast<std::size_t>(row)] * dimension;
    rows.row(row) = Eigen::Map<const Eigen::RowVectorXf>(x, rows.cols()).cast<double>();
  }
  return rows;
}

}  // namespace r2router::train
