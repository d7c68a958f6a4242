#include "r2router/outcomes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/suggestion.h"
#include "data/left_out.h"
#include "data/table_file.h"
#include "pool/instruction.h"
#include "pool/model_spec.h"

namespace r2router {
namespace {

using io::JsonDocument;
using io::JsonView;

constexpr std::size_t kMostCells = std::size_t{1} << 27;  // queries × pairs: 2 GiB of numbers
constexpr std::int64_t kMostTokens = 1000000000;

[[noreturn]] void fail_at(const std::string& path, std::uint64_t line, const std::string& message) {
  throw Error(ErrorCode::kBadData, message, {.file = path, .line = line});
}

/// With `repeats_allowed` a query may have several rows if its text is the same in each; its own
/// length is then the least, that of the plainest prompt.
std::vector<QueryRecord> read_query_rows(const std::string& path, bool repeats_allowed) {
  std::vector<QueryRecord> queries;
  struct First {
    std::uint64_t line = 0;
    std::size_t index = 0;
  };
  std::unordered_map<std::string, First> first;
  io::for_each_row(path, [&](const JsonView& row, std::uint64_t line) {
    row.refuse_misspelt({"query_id", "query", "dataset"});
    QueryRecord query;
    query.id = io::read_name(row["query_id"], "the query's name, a string or a whole number");
    query.text = row["query"].string("the query's text, a string");
    if (query.text.find_first_not_of(" \t\r\n") == std::string::npos) {
      row["query"].fail("a text that is not empty");
    }
    if (io::has_value(row, "dataset")) query.dataset = io::read_name(row["dataset"], "a string");
    query.input_tokens = estimate_input_tokens(query.text);
    for (const char* const name : {"query_tokens", "input_tokens"}) {
      if (!io::has_value(row, name, true)) continue;
      query.input_tokens =
          io::read_count(row[name], kMostTokens, "a whole number of tokens, 0 or more");
    }
    const auto [entry, is_new] = first.emplace(query.id, First{line, queries.size()});
    if (!is_new) {
      QueryRecord& before = queries[entry->second.index];
      if (repeats_allowed && before.text == query.text) {
        before.input_tokens = std::min(before.input_tokens, query.input_tokens);
        return;
      }
      fail_at(path, line,
              "the query id " + excerpt(query.id) + " is in line " +
                  std::to_string(entry->second.line) + " already" +
                  (repeats_allowed ? " with another text: expected one text for each id"
                                   : ": expected each once"));
    }
    queries.push_back(std::move(query));
  });
  if (queries.empty()) {
    throw Error(ErrorCode::kBadData,
                "the file has no queries: expected rows with \"query_id\" and \"query\"",
                {.file = path});
  }
  return queries;
}

/// Finds queries by their ids.
class QueryIndex {
 public:
  /// `queries` must outlive the index.
  explicit QueryIndex(const std::vector<QueryRecord>& queries) : queries_(queries) {
    for (std::uint32_t i = 0; i < queries.size(); ++i) index_[queries[i].id] = i;
    // Some tools write whole numbers as floats. An id that another query has goes first.
    for (std::uint32_t i = 0; i < queries.size(); ++i) {
      index_.try_emplace(io::without_zero_fraction(queries[i].id), i);
    }
  }

  /// The query that a row names. Throws the row's error if there is none.
  std::uint32_t find(const JsonView& field) const {
    const std::string id = io::read_name(field, "the id of a query, a string or a whole number");
    auto found = index_.find(id);
    if (found == index_.end()) found = index_.find(io::without_zero_fraction(id));
    if (found != index_.end()) return found->second;
    const std::string loose = internal::loose_spelling(id);
    const auto meant = std::ranges::find_if(queries_, [&](const QueryRecord& query) {
      return internal::loose_spelling(query.id) == loose;
    });
    field.fail_with("there is no query " + excerpt(id) + " in the file of queries" +
                    (meant == queries_.end()
                         ? ": add it there, or remove the outcome"
                         : ", but " + excerpt(meant->id) + ": write the ids alike"));
  }

 private:
  const std::vector<QueryRecord>& queries_;
  std::unordered_map<std::string_view, std::uint32_t> index_;
};

struct Outcome {
  Pair pair = {};
  std::uint32_t query = 0;
  double score = 0;
  double output_tokens = 0;
  std::uint64_t line = 0;
};

/// The pool's entries by name, to which entries for models under instructions are added as they are
/// found.
class Entries {
 public:
  explicit Entries(const Pool& pool) : pool_(pool), excess_(pool.size()) {
    for (std::uint32_t i = 0; i < pool_.size(); ++i) index_[pool_[i].name] = i;
  }

  /// The index of an entry, or nothing for a model that is not in the pool.
  std::optional<std::uint32_t> find(const std::string& model, const std::string& instruction,
                                    const JsonView& place) {
    const std::string name = internal::instructed_name(model, instruction);
    if (const auto found = index_.find(name); found != index_.end()) return found->second;
    const auto base = index_.find(model);
    if (base == index_.end()) return std::nullopt;
    if (++made_ > kMostMadeEntries) {
      place.fail_with("there are more than " + std::to_string(kMostMadeEntries) +
                      " pairs of a model and an instruction: expected a few, given by short names; "
                      "if this field holds whole prompts, leave it out");
    }
    const auto index = static_cast<std::uint32_t>(pool_.size());
    ModelSpec entry = pool_[base->second];
    entry.name = name;
    entry.instruction = instruction;
    pool_.push_back(std::move(entry));
    excess_.push_back({.is_made = true});
    index_[name] = index;
    return index;
  }

  const std::string& name(std::uint32_t entry) const { return pool_[entry].name; }

  /// The tokens of a prompt of this entry beyond those of its query.
  void add_excess(std::uint32_t entry, double tokens) {
    excess_[entry].sum += tokens;
    ++excess_[entry].count;
  }

  /// The pool with what was added. Instructions of made entries are as long as their prompts'
  /// excess in the mean.
  Pool take() {
    for (std::size_t i = 0; i < pool_.size(); ++i) {
      if (!excess_[i].is_made || excess_[i].count == 0) continue;
      const double mean = excess_[i].sum / excess_[i].count;
      pool_[i].instruction_tokens = static_cast<std::uint32_t>(std::max(0.0, std::round(mean)));
    }
    return std::move(pool_);
  }

 private:
  static constexpr std::size_t kMostMadeEntries = 1000;
  struct Excess {
    bool is_made = false;
    double sum = 0, count = 0;
  };

  Pool pool_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::vector<Excess> excess_;
  std::size_t made_ = 0;
};

/// Throws Error(kBadData) for the first outcome that repeats another one.
void check_repeats(std::vector<Outcome> outcomes, const std::vector<QueryRecord>& queries,
                   const Entries& entries, const std::string& path) {
  const auto place = [](const Outcome& outcome) { return std::pair(outcome.pair, outcome.query); };
  std::ranges::stable_sort(outcomes, {}, place);
  const Outcome* first = nullptr;
  const Outcome* again = nullptr;
  for (std::size_t i = 1; i < outcomes.size(); ++i) {
    if (place(outcomes[i - 1]) != place(outcomes[i])) continue;
    if (again != nullptr && again->line < outcomes[i].line) continue;
    first = &outcomes[i - 1];
    again = &outcomes[i];
  }
  if (again == nullptr) return;
  fail_at(path, again->line,
          "the outcome of " + entries.name(again->pair.model) + " at budget " +
              again->pair.budget.to_string() + " for query " + excerpt(queries[again->query].id) +
              " is in line " + std::to_string(first->line) + " already: expected each once");
}

/// The outcomes of the pool's models.
std::vector<Outcome> read_outcome_rows(const std::string& path,
                                       const std::vector<QueryRecord>& queries, Entries& entries,
                                       internal::LeftOut& left_out) {
  const QueryIndex index(queries);
  std::vector<Outcome> outcomes;
  std::set<Pair> pairs;
  io::for_each_row(path, [&](const JsonView& row, std::uint64_t line) {
    row.refuse_misspelt({"query_id", "model", "budget", "instruction", "score", "output_tokens"});
    Outcome outcome{.query = index.find(row["query_id"]), .line = line};
    const std::string& name = row["model"].string("the name of a model, a string");
    const JsonView instruction = row[io::has_value(row, "instruction") ? "instruction" : "prompt"];
    if (io::has_value(row, "budget", true)) outcome.pair.budget = io::read_budget(row["budget"]);
    if (!row["score"].present()) row["score"].fail("a number from 0 to 1, true or false");
    const bool scored = io::has_value(row, "score", true);
    if (scored) {
      outcome.score = io::read_score(row["score"]);
      outcome.output_tokens =
          io::read_number(row["output_tokens"], 0, kMostTokens, "a number of tokens from 0 to 1e9");
    }
    const bool instructed = instruction.present() && !instruction.is_null();
    const std::optional<std::uint32_t> entry = entries.find(
        name, instructed ? instruction.string("an instruction, a string") : "", instruction);
    if (!entry) return left_out.add_unknown(row["model"], name);
    if (!scored) return left_out.add_unscored(name);
    outcome.pair.model = *entry;
    if (io::has_value(row, "input_tokens", true)) {
      const double tokens =
          io::read_number(row["input_tokens"], 0, kMostTokens, "a number of tokens, 0 or more");
      entries.add_excess(*entry, tokens - static_cast<double>(queries[outcome.query].input_tokens));
    }
    outcomes.push_back(outcome);
    pairs.insert(outcome.pair);
    // Some repeat where there are more than places. Found now, they do not fill the memory.
    if (outcomes.size() > queries.size() * pairs.size()) {
      check_repeats(outcomes, queries, entries, path);
    }
  });
  check_repeats(outcomes, queries, entries, path);
  return outcomes;
}

/// Puts outcomes, each once, into the cells of `table`, whose queries are set, with the models that
/// have any.
void fill(const std::vector<Outcome>& outcomes, const Pool& pool, const std::string& path,
          OutcomeTable& table) {
  std::map<Pair, std::size_t> columns;
  for (const Outcome& outcome : outcomes) columns.emplace(outcome.pair, 0);
  if (columns.size() > kMostCells / table.queries.size()) {
    throw Error(ErrorCode::kBadData,
                "a table of " + std::to_string(table.queries.size()) + " queries × " +
                    std::to_string(columns.size()) +
                    " (model, budget) pairs is too large: expected at most " +
                    std::to_string(kMostCells) + " cells; use fewer budgets or queries",
                {.file = path});
  }
  std::optional<std::uint32_t> last_model;
  for (auto& [pair, column] : columns) {
    if (pair.model != last_model) table.models.push_back(pool[pair.model]);
    last_model = pair.model;
    column = table.pairs.size();
    table.pairs.push_back({static_cast<std::uint32_t>(table.models.size() - 1), pair.budget});
  }
  const std::size_t cells = table.queries.size() * table.pairs.size();
  table.scores.assign(cells, std::numeric_limits<double>::quiet_NaN());
  table.output_tokens = table.scores;
  for (const Outcome& outcome : outcomes) {
    const std::size_t cell = table.cell(outcome.query, columns.at(outcome.pair));
    table.scores[cell] = outcome.score;
    table.output_tokens[cell] = outcome.output_tokens;
  }
}

}  // namespace

std::vector<QueryRecord> read_queries(const std::string& queries_file) {
  return read_query_rows(queries_file, true);
}

OutcomeTable read_outcomes(const std::string& queries_file, const std::string& outcomes_file,
                           const Pool& pool, const ReadOptions& options) {
  OutcomeTable table;
  table.sources = {hash_source(queries_file), hash_source(outcomes_file)};
  table.queries = read_query_rows(queries_file, queries_file == outcomes_file);
  if (queries_file == outcomes_file) table.sources.pop_back();
  Entries entries(pool);
  internal::LeftOut left_out(pool, options);
  const std::vector<Outcome> outcomes =
      read_outcome_rows(outcomes_file, table.queries, entries, left_out);
  const Pool all = entries.take();
  std::vector<bool> found(all.size());
  for (const Outcome& outcome : outcomes) found[outcome.pair.model] = true;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!found[i]) continue;
    const auto is_base = [&](const ModelSpec& model) {
      return model.name == internal::base_model_name(all[i]);
    };
    const auto base = std::ranges::find_if(pool, is_base);
    if (base != pool.end()) found[static_cast<std::size_t>(base - pool.begin())] = true;
  }
  left_out.report(outcomes_file, found);
  if (outcomes.empty()) {
    throw Error(ErrorCode::kBadData,
                "there is no outcome of a model of the pool (" + std::to_string(pool.size()) +
                    " models); " +
                    (left_out.any_unknown() ? "it has: " + left_out.list_unknown()
                                            : "the file has no outcomes with a score"),
                {.file = outcomes_file});
  }
  fill(outcomes, all, outcomes_file, table);
  return table;
}

DataSource hash_source(const std::string& file) {
  const io::MappedFile contents(file);
  Sha256 hash;
  hash.update(contents.bytes());
  return {std::filesystem::path(file).filename().string(), hash.hex_digest()};
}

}  // namespace r2router
