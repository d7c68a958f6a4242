#include "r2router/outcomes.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include <zlib.h>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "core/excerpt.h"
#include "core/sha256.h"
#include "io/file.h"
#include "io/json.h"
#include "io/model_spec.h"

namespace r2router {
namespace {

using io::JsonDocument;
using io::JsonView;

constexpr std::size_t kLongestLine = std::size_t{64} << 20;      // bytes
constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;  // bytes
constexpr std::size_t kMostCells = std::size_t{1} << 27;  // queries × pairs: 2 GiB of numbers
constexpr double kMostTokens = 1e9;

/// The lines of a text file, which may be compressed with gzip.
class Lines {
 public:
  explicit Lines(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) throw Error(ErrorCode::kIo, "cannot open the file", {.file = path});
  }

  /// The next line without its end, or null after the last.
  const std::string* next() {
    line_.clear();
    for (;;) {
      const char* const begin = buffer_ + begin_;
      const auto* const end = static_cast<const char*>(std::memchr(begin, '\n', size_ - begin_));
      line_.append(begin, end ? static_cast<std::size_t>(end - begin) : size_ - begin_);
      if (line_.size() > kLongestLine) {
        throw Error(ErrorCode::kBadData,
                    "the line is longer than " + std::to_string(kLongestLine) +
                        " bytes: expected one JSON object a line",
                    {.file = path_, .line = number_ + 1});
      }
      if (end) {
        begin_ = static_cast<std::size_t>(end - buffer_) + 1;
        break;
      }
      if (!refill()) {
        if (line_.empty()) return nullptr;
        break;
      }
    }
    ++number_;
    if (line_.ends_with('\r')) line_.pop_back();
    return &line_;
  }

  /// Of the line that next() gave, from 1.
  std::uint64_t number() const { return number_; }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };

  bool refill() {
    const int count = gzread(file_.get(), buffer_, sizeof buffer_);
    int status = Z_OK;
    const char* const reason = gzerror(file_.get(), &status);
    // A stream that breaks off is reported only after its last bytes: Z_BUF_ERROR.
    if (count < 0 || (status != Z_OK && status != Z_STREAM_END)) {
      throw Error(status == Z_ERRNO ? ErrorCode::kIo : ErrorCode::kBadData,
                  std::string("the file cannot be decompressed: ") + reason +
                      "; it is damaged or cut off, so fetch it again",
                  {.file = path_, .line = number_ + 1});
    }
    begin_ = 0;
    size_ = static_cast<std::size_t>(count);
    return count > 0;
  }

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  char buffer_[1 << 16];
  std::size_t begin_ = 0, size_ = 0;
  std::string line_;
  std::uint64_t number_ = 0;
};

[[noreturn]] void fail_at(const std::string& path, std::uint64_t line, const std::string& message) {
  throw Error(ErrorCode::kBadData, message, {.file = path, .line = line});
}

/// Calls visit(object, line number) for every line that is not blank.
template <typename Visit>
void for_each_object(const std::string& path, Visit visit) {
  const auto lines = std::make_unique<Lines>(path);
  while (const std::string* const line = lines->next()) {
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    try {
      const JsonDocument document(*line, "", ErrorCode::kBadData);
      document.root().members("one JSON object a line");
      visit(document.root(), lines->number());
    } catch (const Error& error) {
      if (error.where().line > 1 || !error.where().file.empty()) throw;
      // The parser sees one line alone: say where that line is.
      std::string_view message = error.what();
      const std::string& pointer = error.where().pointer;
      for (const std::string& place : {std::string("line 1: "), "at " + pointer + ": "}) {
        if (message.starts_with(place)) message.remove_prefix(place.size());
      }
      throw Error(error.code(), std::string(message),
                  {.file = path, .pointer = pointer, .line = lines->number()});
    }
  }
}

std::vector<Query> read_queries(const std::string& path) {
  std::vector<Query> queries;
  std::unordered_map<std::string, std::uint64_t> first_line;
  for_each_object(path, [&](const JsonView& object, std::uint64_t line) {
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
    const auto [entry, is_new] = first_line.emplace(query.id, line);
    if (!is_new) {
      fail_at(path, line,
              "the query id " + excerpt(query.id) + " stands in line " +
                  std::to_string(entry->second) + " already: expected each once");
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

/// The outcomes of the pool's models; models of the file that are not in the pool go to `others`.
std::vector<Outcome> read_outcome_lines(const std::string& path, const std::vector<Query>& queries,
                                        const Pool& pool,
                                        std::map<std::string, std::size_t>& others) {
  std::unordered_map<std::string_view, std::uint32_t> query_index, model_index;
  for (std::uint32_t i = 0; i < queries.size(); ++i) query_index[queries[i].id] = i;
  for (std::uint32_t i = 0; i < pool.size(); ++i) model_index[pool[i].name] = i;
  std::vector<Outcome> outcomes;
  for_each_object(path, [&](const JsonView& object, std::uint64_t line) {
    object.refuse_misspelt({"query_id", "model", "budget", "score", "output_tokens"});
    const std::string& id = object["query_id"].string("the name of a query, a string");
    const auto query = query_index.find(id);
    if (query == query_index.end()) {
      object["query_id"].fail_with("there is no query " + excerpt(id) +
                                   " in the file of queries: add it there, or remove the outcome");
    }
    const std::string& name = object["model"].string("the name of a model, a string");
    Outcome outcome{.query = query->second, .line = line};
    if (object["budget"].present()) outcome.pair.budget = object["budget"].budget();
    outcome.score = object["score"].number(0, 1, "a number from 0 to 1");
    outcome.output_tokens =
        object["output_tokens"].number(0, kMostTokens, "a number of tokens from 0 to 1e9");
    const auto model = model_index.find(name);
    if (model == model_index.end()) {
      if (others.size() < 1000) ++others[name];
      return;
    }
    outcome.pair.model = model->second;
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

OutcomeTable read_outcomes(const std::string& queries_file, const std::string& outcomes_file,
                           const Pool& pool) {
  OutcomeTable table;
  // Hashing fails with a better reason than zlib where a file cannot be read.
  table.sources = {hash_source(queries_file), hash_source(outcomes_file)};
  table.queries = read_queries(queries_file);
  std::map<std::string, std::size_t> others;
  std::vector<Outcome> outcomes = read_outcome_lines(outcomes_file, table.queries, pool, others);
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
  fill(std::move(outcomes), pool, outcomes_file, table);
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
