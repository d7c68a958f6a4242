#include "cli/outcome_data.h"

#include <algorithm>
#include <variant>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "cli/output.h"
#include "data/npy.h"

namespace r2router::cli {

void add_outcome_options(CLI::App& command, OutcomeSettings& settings) {
  command
      .add_option("--queries", settings.queries,
                  "Queries: query_id, query; optionally dataset, query_tokens. JSON lines, a JSON "
                  "array or CSV, plain or gzip")
      ->required()
      ->type_name("FILE");
  command
      .add_option(
          "--outcomes", settings.outcomes,
          "Outcomes: query_id, model, score, output_tokens; optionally budget, instruction. "
          "The same formats; may be the file of --queries")
      ->required()
      ->type_name("FILE");
  command.add_flag("--ignore-unknown-models", settings.ignore_unknown_models,
                   "Leave out outcomes of models whose name the pool has in another spelling, "
                   "which are an error otherwise");
  command
      .add_option("--dataset", settings.dataset, "Use only queries whose dataset begins with this")
      ->type_name("PREFIX");
  command
      .add_option("--embeddings", settings.embeddings,
                  "Embeddings from elsewhere: NumPy float32 or float64, a row for each query")
      ->type_name("FILE.npy");
  command
      .add_option("--holdout", settings.holdout,
                  "Keep one query in N, by a hash of its text, out of training and for evaluation; "
                  "0: none is kept out, and all are evaluated; default: as the checkpoint was "
                  "trained, or 5")
      ->type_name("N");
}

void add_cost_option(CLI::App& command, OutcomeSettings& settings) {
  command
      .add_option_function<std::string>(
          "--cost",
          [&settings](const std::string& name) { settings.cost = parse_cost_measure(name); },
          "What curves of score over cost measure costs in: usd; length, output tokens; or "
          "latency, "
          "seconds by the speeds in the pool")
      ->check(CLI::IsMember({"usd", "length", "latency"}))
      ->default_str("usd")
      ->type_name("MEASURE");
}

void read_embeddings(const OutcomeSettings& settings, OutcomeData& data) {
  if (settings.embeddings.empty()) return;
  io::NpyArray array = io::read_npy(settings.embeddings);
  if (array.rows != data.table.queries.size()) {
    throw Error(ErrorCode::kBadData,
                "the file has " + std::to_string(array.rows) + " rows, but there are " +
                    std::to_string(data.table.queries.size()) +
                    " queries: expected one row for each query, in their order",
                {.file = settings.embeddings});
  }
  data.dimension = array.columns;
  std::visit([&](auto& values) { data.embeddings.assign(values.begin(), values.end()); },
             array.values);
  data.table.sources.push_back(hash_source(settings.embeddings));
}

OutcomeData read_outcome_data(const OutcomeSettings& settings, const Pool& pool) {
  OutcomeData data{.table = read_outcomes(settings.queries, settings.outcomes, pool,
                                          {.ignore_unknown_models = settings.ignore_unknown_models,
                                           .log = print_warnings()})};
  data.table.cost_measure = settings.cost;
  read_embeddings(settings, data);
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < data.table.queries.size(); ++i) {
    if (data.table.queries[i].dataset.starts_with(settings.dataset)) {
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  if (rows.empty()) {
    throw Error(ErrorCode::kBadData,
                "no query has a dataset that begins with \"" + settings.dataset + "\"",
                {.file = settings.queries});
  }
  return rows.size() == data.table.queries.size() ? data : select_rows(data, rows);
}

std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config) {
  if (settings.holdout) return *settings.holdout;
  const auto training =
      config.training.empty() ? nlohmann::json::object() : nlohmann::json::parse(config.training);
  const auto found = training.find("holdout");
  if (found == training.end() || !found->is_number_unsigned()) return kDefaultHoldout;
  const auto holdout = found->get<std::uint32_t>();
  if (holdout == 0) {
    print_remark("warning",
                 "the checkpoint was trained on every query that it was given: if these are among "
                 "them, it looks better here than it is");
  }
  return holdout;
}

std::vector<std::uint32_t> limits_of(const Config& config) {
  std::vector<std::uint32_t> limits;
  for (const Budget budget : config.token_limits) {
    if (!budget.is_unlimited()) limits.push_back(budget.tokens());
  }
  return limits;
}

OutcomeTable as_trained(const OutcomeTable& table, const Config& config) {
  const bool unlimited = std::all_of(table.pairs.begin(), table.pairs.end(),
                                     [](const Pair& pair) { return pair.budget.is_unlimited(); });
  const bool hard_cap = config.budget_mode == BudgetMode::kHardCap;
  return unlimited && hard_cap ? apply_hard_cap(table, limits_of(config)) : table;
}

OutcomeData select_rows(const OutcomeData& data, std::span<const std::uint32_t> rows) {
  OutcomeData result{.table = select_queries(data.table, rows), .dimension = data.dimension};
  if (data.embeddings.empty()) return result;
  result.embeddings.reserve(rows.size() * data.dimension);
  for (const std::uint32_t row : rows) {
    const auto begin = data.embeddings.begin() + static_cast<std::ptrdiff_t>(row * data.dimension);
    result.embeddings.insert(result.embeddings.end(), begin,
                             begin + static_cast<std::ptrdiff_t>(data.dimension));
  }
  return result;
}

OutcomeData select_part(const OutcomeData& data, std::uint32_t holdout, bool held_out) {
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < data.table.queries.size(); ++i) {
    if (is_held_out(data.table.queries[i].text, holdout) == held_out) {
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  return select_rows(data, rows);
}

}  // namespace r2router::cli
