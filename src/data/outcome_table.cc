#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <unordered_set>

#include "r2router/error.h"
#include "r2router/outcomes.h"

#include "base/excerpt.h"
#include "base/fold_hash.h"
#include "base/suggestion.h"
#include "data/gaps.h"
#include "pool/instruction.h"

namespace r2router {
namespace {

[[noreturn]] void throw_bad_data(const std::string& message) {
  throw Error(ErrorCode::kBadData, message);
}

std::string describe(const OutcomeTable& table, std::size_t query, std::size_t pair) {
  return "the outcome of " + table.models[table.pairs[pair].model].name + " at budget " +
         table.pairs[pair].budget.to_string() + " for query \"" + table.queries[query].id + "\"";
}

void validate_cell(const OutcomeTable& table, std::size_t query, std::size_t pair) {
  const double score = table.scores[table.cell(query, pair)];
  const double tokens = table.output_tokens[table.cell(query, pair)];
  if (std::isnan(score) && std::isnan(tokens)) return;
  if (!(score >= 0 && score <= 1)) {
    throw_bad_data(describe(table, query, pair) + " has the score " + std::to_string(score) +
                   ": expected a number from 0 to 1, or NaN in both score and length");
  }
  if (!(tokens >= 0) || std::isinf(tokens)) {
    throw_bad_data(describe(table, query, pair) + " has " + std::to_string(tokens) +
                   " output tokens: expected a finite number, 0 or more");
  }
}

/// A table with the same models and pairs, and no queries.
OutcomeTable without_queries(const OutcomeTable& table) {
  OutcomeTable result;
  result.models = table.models;
  result.pairs = table.pairs;
  result.budget_mode = table.budget_mode;
  result.cost_measure = table.cost_measure;
  result.sources = table.sources;
  return result;
}

/// The finaliser of SplitMix64.
std::uint64_t finalise(std::uint64_t hash) {
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace

std::string_view to_string(CostMeasure measure) noexcept {
  switch (measure) {
    case CostMeasure::kUsd:
      return "usd";
    case CostMeasure::kLength:
      return "length";
    case CostMeasure::kLatency:
      break;
  }
  return "latency";
}

CostMeasure parse_cost_measure(std::string_view text) {
  for (const auto measure : {CostMeasure::kUsd, CostMeasure::kLength, CostMeasure::kLatency}) {
    if (text == to_string(measure)) return measure;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "found the cost " + excerpt(text) + ", expected \"usd\", \"length\" or \"latency\"");
}

void validate(const OutcomeTable& table) {
  const std::size_t cells = table.queries.size() * table.pairs.size();
  if (table.scores.size() != cells || table.output_tokens.size() != cells) {
    throw_bad_data("the outcome table has " + std::to_string(table.queries.size()) +
                   " queries and " + std::to_string(table.pairs.size()) + " pairs, but " +
                   std::to_string(table.scores.size()) + " scores and " +
                   std::to_string(table.output_tokens.size()) + " lengths: expected " +
                   std::to_string(cells) + " of each");
  }
  for (std::size_t i = 0; i < table.pairs.size(); ++i) {
    if (table.pairs[i].model >= table.models.size()) {
      throw_bad_data("pair " + std::to_string(i) + " of the outcome table refers to model " +
                     std::to_string(table.pairs[i].model) + ", but it has " +
                     std::to_string(table.models.size()));
    }
    if (i > 0 && !(table.pairs[i - 1] < table.pairs[i])) {
      throw_bad_data(
          "pair " + std::to_string(i) +
          " of the outcome table is out of order: expected pairs grouped by model, in the "
          "order of the models, each with its budgets ascending and none twice");
    }
  }
  std::unordered_set<std::string_view> ids;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    if (!ids.insert(table.queries[query].id).second) {
      throw_bad_data("the outcome table has two queries with the id \"" + table.queries[query].id +
                     "\"");
    }
    if (table.queries[query].input_tokens < 0) {
      throw_bad_data("query \"" + table.queries[query].id + "\" has " +
                     std::to_string(table.queries[query].input_tokens) +
                     " input tokens: expected 0 or more");
    }
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) validate_cell(table, query, pair);
  }
}

OutcomeTable select_queries(const OutcomeTable& table, std::span<const std::uint32_t> queries) {
  OutcomeTable result = without_queries(table);
  const std::size_t pairs = table.pairs.size();
  result.queries.reserve(queries.size());
  result.scores.reserve(queries.size() * pairs);
  result.output_tokens.reserve(queries.size() * pairs);
  for (const std::uint32_t query : queries) {
    if (query >= table.queries.size()) {
      throw Error(ErrorCode::kInvalidArgument, "query " + std::to_string(query) +
                                                   " was selected from an outcome table of " +
                                                   std::to_string(table.queries.size()));
    }
    const auto begin = static_cast<std::ptrdiff_t>(table.cell(query, 0));
    const auto end = static_cast<std::ptrdiff_t>(table.cell(query + std::size_t{1}, 0));
    result.queries.push_back(table.queries[query]);
    result.scores.insert(result.scores.end(), table.scores.begin() + begin,
                         table.scores.begin() + end);
    result.output_tokens.insert(result.output_tokens.end(), table.output_tokens.begin() + begin,
                                table.output_tokens.begin() + end);
  }
  return result;
}

OutcomeTable select_models(const OutcomeTable& table, std::span<const std::string> names) {
  std::vector<std::uint8_t> kept(table.models.size());
  for (const std::string& name : names) {
    const auto found = std::find_if(table.models.begin(), table.models.end(),
                                    [&](const ModelSpec& model) { return model.name == name; });
    if (found == table.models.end()) {
      std::string known, hint;
      const std::string loose = internal::loose_spelling(name);
      for (const ModelSpec& model : table.models) {
        known += (known.empty() ? "" : ", ") + model.name;
        const std::string other = internal::loose_spelling(model.name);
        if (loose == other || (hint.empty() && internal::is_misspelling(loose, other))) {
          hint = "; did you mean \"" + model.name + "\"?";
        }
      }
      throw Error(ErrorCode::kInvalidArgument, "there are no outcomes of a model \"" + name + "\"" +
                                                   hint + "; there are some of: " + known);
    }
    kept[static_cast<std::size_t>(found - table.models.begin())] = 1;
  }

  OutcomeTable result;
  result.queries = table.queries;
  result.budget_mode = table.budget_mode;
  result.cost_measure = table.cost_measure;
  result.sources = table.sources;
  std::vector<std::uint32_t> new_index(table.models.size());
  for (std::size_t model = 0; model < table.models.size(); ++model) {
    new_index[model] = static_cast<std::uint32_t>(result.models.size());
    if (kept[model]) result.models.push_back(table.models[model]);
  }
  std::vector<std::size_t> kept_pairs;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    if (!kept[table.pairs[pair].model]) continue;
    kept_pairs.push_back(pair);
    result.pairs.push_back({new_index[table.pairs[pair].model], table.pairs[pair].budget});
  }
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    for (const std::size_t pair : kept_pairs) {
      result.scores.push_back(table.scores[table.cell(query, pair)]);
      result.output_tokens.push_back(table.output_tokens[table.cell(query, pair)]);
    }
  }
  return result;
}

OutcomeTable choose_models(const OutcomeTable& table, const Pool& pool,
                           std::span<const std::string> names, double least_coverage,
                           const LogCallback& log) {
  std::vector<std::string> chosen(names.begin(), names.end());
  std::string short_of;  // models that answered too few queries
  if (names.empty()) {
    const std::vector<double> covered = coverage(table);
    for (std::size_t i = 0; i < covered.size(); ++i) {
      if (covered[i] >= least_coverage) {
        chosen.push_back(table.models[i].name);
        continue;
      }
      std::size_t outcomes = 0;
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        if (table.pairs[pair].model != i) continue;
        for (std::size_t query = 0; query < table.queries.size(); ++query) {
          outcomes += !std::isnan(table.scores[table.cell(query, pair)]);
        }
      }
      char percent[32];
      std::snprintf(percent, sizeof percent, "%.1f %%", 100 * covered[i]);
      short_of += (short_of.empty() ? "" : ", ") + excerpt(table.models[i].name) + " (" + percent +
                  " of the queries, " + internal::count_of(outcomes, "outcome", "outcomes") + ")";
    }
  }
  char least[32];
  std::snprintf(least, sizeof least, "%g %%", 100 * least_coverage);
  if (chosen.empty()) {
    throw_bad_data("no model answered " + std::string(least) +
                   " of the queries (coverage): " + short_of +
                   "; name the models to train for, lower the coverage, or choose queries that the "
                   "models share");
  }
  if (log && !short_of.empty()) {
    log(LogLevel::kWarning, "models that answered less than " + std::string(least) +
                                " of the queries (coverage) are left out: " + short_of +
                                "; name the models to train for, or lower the coverage");
  }
  std::string without;
  for (const ModelSpec& model : pool) {
    const bool has_outcomes = std::ranges::any_of(table.models, [&](const ModelSpec& other) {
      return model.name == internal::base_model_name(other) || model.name == other.name;
    });
    if (!has_outcomes) without += (without.empty() ? "" : ", ") + excerpt(model.name);
  }
  if (log && !without.empty()) {
    log(LogLevel::kWarning, "models of the pool without outcomes are left out: " + without);
  }
  return select_models(table, chosen);
}

std::vector<std::string> datasets(const OutcomeTable& table) {
  std::set<std::string> names;
  for (const QueryRecord& query : table.queries) {
    if (!query.dataset.empty()) names.insert(query.dataset);
  }
  return {names.begin(), names.end()};
}

std::vector<double> coverage(const OutcomeTable& table) {
  std::vector<double> result(table.models.size());
  std::vector<std::uint8_t> complete(table.models.size());
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    std::fill(complete.begin(), complete.end(), std::uint8_t{1});
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      if (std::isnan(table.scores[table.cell(query, pair)])) complete[table.pairs[pair].model] = 0;
    }
    for (std::size_t model = 0; model < result.size(); ++model) result[model] += complete[model];
  }
  for (double& share : result)
    share /= static_cast<double>(std::max<std::size_t>(1, table.queries.size()));
  return result;
}

std::vector<std::uint32_t> complete_queries(const OutcomeTable& table) {
  std::vector<std::uint32_t> result;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    const auto begin = table.scores.begin() + static_cast<std::ptrdiff_t>(table.cell(query, 0));
    const auto end = begin + static_cast<std::ptrdiff_t>(table.pairs.size());
    if (std::none_of(begin, end, [](double score) { return std::isnan(score); })) {
      result.push_back(static_cast<std::uint32_t>(query));
    }
  }
  return result;
}

OutcomeTable apply_hard_cap(const OutcomeTable& table,
                            std::span<const std::uint32_t> token_limits) {
  for (const Pair& pair : table.pairs) {
    if (pair.budget.is_unlimited()) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "the outcome table has limited budgets already (" + table.models[pair.model].name +
                    " at " + pair.budget.to_string() +
                    "): a hard cap can only be applied to unlimited answers");
  }
  std::vector<Budget> budgets;
  for (const std::uint32_t limit : token_limits) budgets.emplace_back(limit);
  std::sort(budgets.begin(), budgets.end());
  const auto repeated = std::adjacent_find(budgets.begin(), budgets.end());
  if (repeated != budgets.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the token limit " + repeated->to_string() + " is given twice");
  }
  budgets.push_back(Budget::unlimited());

  OutcomeTable result = without_queries(table);
  result.queries = table.queries;
  result.budget_mode = BudgetMode::kHardCap;
  result.pairs.clear();
  for (const Pair& pair : table.pairs) {
    for (const Budget budget : budgets) result.pairs.push_back({pair.model, budget});
  }
  result.scores.reserve(table.queries.size() * result.pairs.size());
  result.output_tokens.reserve(table.queries.size() * result.pairs.size());
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    const double score = table.scores[cell];
    const double tokens = table.output_tokens[cell];
    for (const Budget budget : budgets) {
      const double cap = budget.is_unlimited() ? std::numeric_limits<double>::infinity()
                                               : static_cast<double>(budget.tokens());
      // A NaN stays one: it compares false and is not the smaller.
      result.scores.push_back(tokens > cap ? 0.0 : score);
      result.output_tokens.push_back(tokens > cap ? cap : tokens);
    }
  }
  return result;
}

std::uint64_t query_hash(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  return finalise(hash);
}

bool is_held_out(std::string_view text, std::uint32_t one_in) noexcept {
  return one_in > 0 && query_hash(text) % one_in == 0;
}

std::uint64_t internal::fold_hash(std::string_view text, std::uint64_t seed) noexcept {
  return finalise(query_hash(text) + (seed + 1) * 0x9e3779b97f4a7c15u);
}

std::uint32_t fold_of(std::string_view text, std::uint32_t folds, std::uint64_t seed) noexcept {
  return static_cast<std::uint32_t>(internal::fold_hash(text, seed) % folds);
}

}  // namespace r2router
