#include "r2router/outcomes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_lines.h"
#include "base/sha256.h"
#include "pool/instruction.h"
#include "pool/model_spec.h"

namespace r2router {
namespace {

using io::JsonDocument;
using io::JsonView;

constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;  // bytes
constexpr std::size_t kMostCells = std::size_t{1} << 27;  // queries × pairs: 2 GiB of numbers
constexpr double kMostTokens = 1e9;

[[noreturn]] void fail_at(const std::string& path, std::uint64_t line, const std::string& message) {
  throw Error(ErrorCode::kBadData, message, {.file = path, .line = line});
}

/// With `repeats_allowed` a query may stand in several lines if its text is the same in each; its
/// own length is then the least, that of the plainest prompt.
std::vector<Query> read_query_lines(const std::string& path, bool repeats_allowed) {
  std::vector<Query> queries;
  struct First {
    std::uint64_t line = 0;
    std::size_t index = 0;
  };
  std::unordered_map<std::string, First> first;
  io::for_each_json_line(path, [&](const JsonView& object, std::uint64_t line) {
    Query query;
    query.id = object["query_id"].string("the query's name, a string");
    query.text = object["query"].string("the query's text, a string");
    if (query.text.find_first_not_of(" \t\r\n") == std::string::npos) {
      object["query"].fail("a text that is not empty");
    }
    if (object["dataset"].present()) query.dataset = object["dataset"].string();
    query.input_tokens = estimate_input_tokens(query.text);
    for (const char* const name : {"query_tokens", "input_tokens"}) {
      const JsonView tokens = object[name];
      if (!tokens.present()) continue;
      query.input_tokens = static_cast<std::int64_t>(tokens.integer(
          0, static_cast<std::uint64_t>(kMostTokens), "a number of tokens, 0 or more"));
    }
    const auto [entry, is_new] = first.emplace(query.id, First{line, queries.size()});
    if (!is_new) {
      Query& before = queries[entry->second.index];
      if (repeats_allowed && before.text == query.text) {
        before.input_tokens = std::min(before.input_tokens, query.input_tokens);
        return;
      }
      fail_at(path, line,
              "the query id " + excerpt(query.id) + " stands in line " +
                  std::to_string(entry->second.line) + " already" +
                  (repeats_allowed ? " with another text: expected one text for each id"
                                   : ": expected each once"));
    }
    queries.push_back(std::move(query));
  });
  if (queries.empty()) {
    throw Error(ErrorCode::kBadData, "the file holds no queries: expected one JSON object a line",
                {.file = path});
  }
  return queries;
}

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

  /// A prompt of this entry had so many tokens more than the query alone.
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

/// The outcomes of the pool's models; models of the file that are not in the pool go to `others`.
std::vector<Outcome> read_outcome_lines(const std::string& path, const std::vector<Query>& queries,
                                        Entries& entries,
                                        std::map<std::string, std::size_t>& others) {
  std::unordered_map<std::string_view, std::uint32_t> query_index;
  for (std::uint32_t i = 0; i < queries.size(); ++i) query_index[queries[i].id] = i;
  std::vector<Outcome> outcomes;
  io::for_each_json_line(path, [&](const JsonView& object, std::uint64_t line) {
    object.refuse_misspelt(
        {"query_id", "model", "budget", "instruction", "score", "output_tokens"});
    const std::string& id = object["query_id"].string("the name of a query, a string");
    const auto query = query_index.find(id);
    if (query == query_index.end()) {
      object["query_id"].fail_with("there is no query " + excerpt(id) +
                                   " in the file of queries: add it there, or remove the outcome");
    }
    const std::string& name = object["model"].string("the name of a model, a string");
    const JsonView instruction =
        object["instruction"].present() ? object["instruction"] : object["prompt"];
    Outcome outcome{.query = query->second, .line = line};
    if (object["budget"].present()) outcome.pair.budget = object["budget"].budget();
    outcome.score = object["score"].number(0, 1, "a number from 0 to 1");
    outcome.output_tokens =
        object["output_tokens"].number(0, kMostTokens, "a number of tokens from 0 to 1e9");
    const std::optional<std::uint32_t> entry = entries.find(
        name, instruction.present() ? instruction.string("an instruction, a string") : "",
        instruction);
    if (!entry) {
      if (others.size() < 1000) ++others[name];
      return;
    }
    outcome.pair.model = *entry;
    if (const JsonView tokens = object["input_tokens"]; tokens.present()) {
      entries.add_excess(*entry, tokens.number(0, kMostTokens, "a number of tokens, 0 or more") -
                                     static_cast<double>(queries[query->second].input_tokens));
    }
    outcomes.push_back(outcome);
  });
  return outcomes;
}

/// Puts outcomes into the cells of `table`, whose queries are set, with the models that have any.
void fill(std::vector<Outcome> outcomes, const Pool& pool, const std::string& path,
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
  std::vector<std::uint64_t> first_line(cells);
  for (const Outcome& outcome : outcomes) {
    const std::size_t cell = table.cell(outcome.query, columns.at(outcome.pair));
    if (first_line[cell] != 0) {
      fail_at(path, outcome.line,
              "the outcome of " + pool[outcome.pair.model].name + " at budget " +
                  outcome.pair.budget.to_string() + " for query " +
                  excerpt(table.queries[outcome.query].id) + " stands in line " +
                  std::to_string(first_line[cell]) + " already: expected each once");
    }
    first_line[cell] = outcome.line;
    table.scores[cell] = outcome.score;
    table.output_tokens[cell] = outcome.output_tokens;
  }
}

}  // namespace

std::vector<Query> read_queries(const std::string& queries_file) {
  return read_query_lines(queries_file, true);
}

OutcomeTable read_outcomes(const std::string& queries_file, const std::string& outcomes_file,
                           const Pool& pool) {
  OutcomeTable table;
  // Hashing fails with a better reason than zlib where a file cannot be read.
  table.sources = {hash_source(queries_file), hash_source(outcomes_file)};
  table.queries = read_query_lines(queries_file, queries_file == outcomes_file);
  if (queries_file == outcomes_file) table.sources.pop_back();
  std::map<std::string, std::size_t> others;
  Entries entries(pool);
  std::vector<Outcome> outcomes = read_outcome_lines(outcomes_file, table.queries, entries, others);
  if (outcomes.empty()) {
    std::string found;
    for (const auto& [name, count] : others) {
      if (found.size() < 300) found += (found.empty() ? "" : ", ") + excerpt(name);
    }
    throw Error(ErrorCode::kBadData,
                "there is no outcome of a model of the pool (" + std::to_string(pool.size()) +
                    " models); " + (found.empty() ? "the file is empty" : "it has: " + found),
                {.file = outcomes_file});
  }
  fill(std::move(outcomes), entries.take(), outcomes_file, table);
  return table;
}

DataSource hash_source(const std::string& file) {
  const io::MappedFile contents(file);
  Sha256 hash;
  hash.update(contents.bytes());
  return {std::filesystem::path(file).filename().string(), hash.hex_digest()};
}

Pool read_pool(const std::string& file) {
  const JsonDocument document(io::read_text(file, kLargestPool, ErrorCode::kBadConfig), file,
                              ErrorCode::kBadConfig);
  Pool pool;
  for (const auto& [name, field] :
       document.root()["models"].members("an object with a member for each model")) {
    pool.push_back(io::read_model_spec(field, name));
  }
  if (pool.empty()) document.root()["models"].fail("at least one model");
  return pool;
}

}  // namespace r2router
