// Tables together with embeddings, and the parts of them that are trained on or evaluated.
#include <algorithm>
#include <variant>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/outcomes.h"

#include "data/npy.h"

namespace r2router {

void read_embeddings(const std::string& file, OutcomeData& data) {
  io::NpyArray array = io::read_npy(file);
  if (array.rows != data.table.queries.size()) {
    throw Error(ErrorCode::kBadData,
                "the file has " + std::to_string(array.rows) + " rows, but there are " +
                    std::to_string(data.table.queries.size()) +
                    " queries: expected one row for each query, in their order",
                {.file = file});
  }
  data.dimension = array.columns;
  data.embeddings_file = file;
  std::visit([&](auto& values) { data.embeddings.assign(values.begin(), values.end()); },
             array.values);
  data.table.sources.push_back(hash_source(file));
}

OutcomeData read_outcome_data(const OutcomeFiles& files, const Pool& pool,
                              const ReadOptions& options) {
  OutcomeData data;
  if (files.outcomes.empty()) {
    data.table.queries = read_queries(files.queries);
  } else {
    data.table = read_outcomes(files.queries, files.outcomes, pool, options);
  }
  data.table.cost_measure = files.cost_measure;
  if (!files.embeddings.empty()) read_embeddings(files.embeddings, data);
  return files.dataset.empty() ? data : select_dataset(data, files.dataset, files.queries);
}

OutcomeData select_rows(const OutcomeData& data, std::span<const std::uint32_t> rows) {
  OutcomeData result{.table = select_queries(data.table, rows),
                     .dimension = data.dimension,
                     .embeddings_file = data.embeddings_file};
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

OutcomeData select_dataset(const OutcomeData& data, const std::string& prefix,
                           const std::string& file) {
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < data.table.queries.size(); ++i) {
    if (data.table.queries[i].dataset.starts_with(prefix)) {
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  if (rows.empty()) {
    throw Error(ErrorCode::kBadData, "no query has a dataset that begins with \"" + prefix + "\"",
                {.file = file});
  }
  return rows.size() == data.table.queries.size() ? data : select_rows(data, rows);
}

std::uint32_t trained_holdout(const Config& config, const LogCallback& log) {
  const auto training =
      config.training.empty() ? nlohmann::json::object() : nlohmann::json::parse(config.training);
  const auto found = training.find("holdout");
  if (found == training.end() || !found->is_number_unsigned()) return kDefaultHoldout;
  const auto holdout = found->get<std::uint32_t>();
  if (holdout == 0 && log) {
    log(LogLevel::kWarning,
        "the checkpoint was trained on every query that it was given: if these are among them, it "
        "looks better here than it is");
  }
  return holdout;
}

std::vector<std::uint32_t> limited_budgets(const Config& config) {
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
  return unlimited && hard_cap ? apply_hard_cap(table, limited_budgets(config)) : table;
}

}  // namespace r2router
