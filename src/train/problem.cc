#include "train/problem.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>

#include "r2router/error.h"

#include "data/gaps.h"
#include "train/learner.h"

namespace r2router::train {

void throw_bad_option(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void throw_bad_data(const std::string& message) { throw Error(ErrorCode::kBadData, message); }

bool has_outcome(const OutcomeTable& table, std::size_t query) {
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    if (!std::isnan(table.scores[table.cell(query, pair)])) return true;
  }
  return false;
}

void check_budget_prompt(const OutcomeTable& table, const std::string& budget_prompt) {
  const bool limited = std::ranges::any_of(
      table.pairs, [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited || table.budget_mode != BudgetMode::kPrompted) return;
  if (budget_prompt.find("{budget}") != std::string::npos) return;
  throw_bad_option(
      "the outcomes have limited budgets: give the budget prompt, the instruction that the models "
      "received, with {budget} in place of the number of tokens");
}

void check_options(const TrainOptions& options) {
  if (options.alphas.empty()) throw_bad_option("there is no α to train with: give at least one");
  for (const double alpha : options.alphas) {
    if (!(alpha > 0) || !std::isfinite(alpha)) {
      throw_bad_option("α is " + std::to_string(alpha) + ": expected a finite number above 0");
    }
  }
  double last = 0;
  for (const double alpha : options.prior_alphas) {
    if (!(alpha > last) || !std::isfinite(alpha)) {
      throw_bad_option("prior_alphas has " + std::to_string(alpha) +
                       ": expected finite numbers above 0, in ascending order");
    }
    last = alpha;
  }
  if (options.prior_alphas.empty()) throw_bad_option("prior_alphas is empty: give at least one");
  for (const std::uint32_t neighbours : options.neighbours) {
    if (neighbours == 0) throw_bad_option("neighbours is 0: expected 1 or more");
  }
  if (options.neighbours.empty()) {
    throw_bad_option("there is no number of neighbours to train with: give at least one");
  }
  const MlpOptions& mlp = options.mlp;
  if (!(mlp.learning_rate > 0) || !std::isfinite(mlp.learning_rate)) {
    throw_bad_option("learning_rate is " + std::to_string(mlp.learning_rate) +
                     ": expected a finite number above 0");
  }
  if (!(mlp.dropout >= 0 && mlp.dropout < 1)) {
    throw_bad_option("dropout is " + std::to_string(mlp.dropout) +
                     ": expected a number from 0 to below 1");
  }
  if (mlp.batch == 0 || mlp.most_epochs == 0 || mlp.patience == 0 ||
      std::find(mlp.hidden.begin(), mlp.hidden.end(), 0u) != mlp.hidden.end()) {
    throw_bad_option(
        "batch, most_epochs, patience or the size of a hidden layer is 0: expected 1 or more");
  }
  if (options.folds < 2) {
    throw_bad_option("folds is " + std::to_string(options.folds) +
                     ": cross-validation needs at least 2");
  }
  if (options.predictor == PredictorKind::kMlp && options.folds < 3) {
    throw_bad_option(
        "folds is 2: a perceptron needs 3 or more, one to predict, one to stop by and the rest to "
        "train on");
  }
  if (options.holdout == 1) {
    throw_bad_option(
        "holdout is 1, which keeps every query out of training: give 0 for none, or 2 or "
        "more to keep one query in that many out");
  }
}

std::size_t count_outcomes(const OutcomeTable& table, const TrainOptions& options) {
  std::size_t count = 0;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    count += has_outcome(table, query) &&
             !is_held_out(table.queries[query].split_text(), options.holdout);
  }
  return count;
}

Folds make_folds(const OutcomeTable& table, const TrainOptions& options) {
  Folds folds(options.folds);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    const std::string& text = table.queries[query].split_text();
    if (is_held_out(text, options.holdout) || !has_outcome(table, query)) continue;
    folds[fold_of(text, options.folds, options.seed)].push_back(static_cast<std::uint32_t>(query));
  }
  std::vector<std::size_t> sizes;
  for (const auto& fold : folds) sizes.push_back(fold.size());
  check_folds(sizes);
  return folds;
}

void check_folds(std::span<const std::size_t> queries) {
  if (std::ranges::find(queries, 0u) == queries.end()) return;
  const std::size_t all = std::accumulate(queries.begin(), queries.end(), std::size_t{0});
  throw_bad_data("queries to train on: " + std::to_string(all) + ", too few to fill " +
                 std::to_string(queries.size()) + " folds; give more queries or use fewer folds");
}

void report_gaps(const OutcomeTable& table, const TrainOptions& options) {
  if (!options.log) return;
  std::vector<std::uint32_t> queries;
  for (std::uint32_t i = 0; i < table.queries.size(); ++i) {
    const QueryRecord& query = table.queries[i];
    if (query.original.empty() && !is_held_out(query.text, options.holdout)) queries.push_back(i);
  }
  const internal::Gaps gaps = internal::find_gaps(table, queries);
  std::string text = describe(gaps);
  if (text.empty()) return;
  if (gaps.empty > 0) text += "; queries without an outcome are not used";
  if (gaps.incomplete > 0) {
    text += options.predictor == PredictorKind::kKnn
                ? "; only complete queries are neighbours"
                : "; heads learn from all outcomes, settings are chosen on complete "
                  "queries";
  }
  options.log(LogLevel::kWarning, text);
}

void check_outcomes(const OutcomeTable& table, const Folds& folds) {
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    std::size_t folds_with_outcomes = 0;
    for (const std::vector<std::uint32_t>& fold : folds) {
      folds_with_outcomes += std::any_of(fold.begin(), fold.end(), [&](std::uint32_t query) {
        return !std::isnan(table.scores[table.cell(query, pair)]);
      });
    }
    if (folds_with_outcomes >= 2) continue;
    throw_too_few_outcomes(table, table.pairs[pair]);
  }
}

void throw_too_few_outcomes(const OutcomeTable& table, const Pair& pair) {
  throw_bad_data(table.models[pair.model].name + " at budget " + pair.budget.to_string() +
                 " has too few outcomes to train on: expected some in at least two folds; leave "
                 "the model out or add outcomes");
}

double find_token_floor(const OutcomeTable& table, const Folds& folds) {
  std::vector<double> lengths;
  for (const std::vector<std::uint32_t>& fold : folds) {
    for (const std::uint32_t query : fold) {
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        const double tokens = table.output_tokens[table.cell(query, pair)];
        if (table.pairs[pair].budget.is_unlimited() && !std::isnan(tokens)) {
          lengths.push_back(tokens);
        }
      }
    }
  }
  if (lengths.empty()) return 0;
  const auto quantile = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 100);
  std::nth_element(lengths.begin(), quantile, lengths.end());
  return std::max(1.0, *quantile);
}

void check_embeddings(const OutcomeTable& table, std::span<const float> embeddings,
                      std::size_t dimension) {
  if (dimension == 0 || embeddings.size() / dimension != table.queries.size() ||
      embeddings.size() % dimension != 0) {
    throw_bad_option("there are " + std::to_string(table.queries.size()) + " queries and " +
                     std::to_string(embeddings.size()) + " numbers of embeddings of dimension " +
                     std::to_string(dimension) + ": expected one embedding for each query");
  }
  const auto bad = std::find_if(embeddings.begin(), embeddings.end(),
                                [](float value) { return !std::isfinite(value); });
  if (bad != embeddings.end()) {
    const auto position = static_cast<std::size_t>(bad - embeddings.begin());
    throw_bad_option("the embedding of query \"" + table.queries[position / dimension].id +
                     "\" has a value that is not a finite number, in dimension " +
                     std::to_string(position % dimension));
  }
}

std::vector<HeadName> name_heads(const OutcomeTable& table) {
  std::vector<HeadName> names;
  for (const Pair& pair : table.pairs) {
    names.push_back({pair, Target::kQuality});
    names.push_back({pair, Target::kTokens});
  }
  return names;
}

std::vector<double> head_targets(const OutcomeTable& table) {
  std::vector<double> targets(table.scores.size() * kHeadsPerPair);
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    targets[kHeadsPerPair * cell] = table.scores[cell];
    targets[kHeadsPerPair * cell + 1] = table.output_tokens[cell];
  }
  return targets;
}

}  // namespace r2router::train
