// Outcome tables: the score and the length of each model's answer to each query.
// The input of training (train/train.h) and of evaluation (eval/contenders.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/config.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/types.h"

namespace r2router {

/// One query of an outcome table.
struct QueryRecord {
  std::string id;  ///< unique within its table
  std::string text;
  std::string dataset = {};       ///< its source, such as "mmlu_pro:law"; or empty
  std::int64_t input_tokens = 0;  ///< length of the text, ≥ 0; charged by every model
  std::string original = {};      ///< for an edited copy, the original text; or empty

  /// The text that splits use, so that an edited copy stays with its original.
  const std::string& split_text() const { return original.empty() ? text : original; }
};

/// A file that a table was read from, recorded in what is trained on it.
struct DataSource {
  std::string file;    ///< name without its folder
  std::string sha256;  ///< of the file's bytes, in hexadecimal
};

/// Which cost is traded off against the score.
enum class CostMeasure : std::uint8_t {
  kUsd,      ///< money, by the models' prices
  kLength,   ///< output tokens
  kLatency,  ///< seconds until the answer is complete, by the models' speeds
};

/// "usd", "length" or "latency".
R2ROUTER_EXPORT std::string_view to_string(CostMeasure measure) noexcept;

/// The measure with this name. Throws Error(kInvalidArgument) that lists the names.
R2ROUTER_EXPORT CostMeasure parse_cost_measure(std::string_view text);

/// Outcomes of queries × (model, budget) pairs. Plain data; if you fill a table yourself, check it
/// with validate().
struct OutcomeTable {
  std::vector<QueryRecord> queries;
  Pool models;
  /// Grouped by model in pool order, each model's budgets ascending, unlimited last.
  std::vector<Pair> pairs;
  /// queries × pairs, row after row: the answer's score, in [0, 1]. NaN: not observed.
  std::vector<double> scores;
  /// queries × pairs: the answer's length in tokens, ≥ 0. NaN exactly where `scores` is.
  std::vector<double> output_tokens;
  /// How the outcomes of limited pairs were obtained.
  BudgetMode budget_mode = BudgetMode::kPrompted;
  /// The measure of costs in evaluation and training.
  CostMeasure cost_measure = CostMeasure::kUsd;
  std::vector<DataSource> sources = {};

  std::size_t cell(std::size_t query, std::size_t pair) const {
    return query * pairs.size() + pair;
  }
};

/// Throws Error(kBadData) if sizes disagree, pairs are out of order, a query id repeats, or an
/// outcome is outside its range.
R2ROUTER_EXPORT void validate(const OutcomeTable& table);

/// How outcomes are read.
struct ReadOptions {
  /// By default, outcomes of a model that the pool seems to have under another spelling are an
  /// error. If set, they are ignored, like those of other models that are not in the pool.
  bool ignore_unknown_models = false;
  /// Receives a warning for ignored outcomes: how many, of which models, and why.
  LogCallback log = {};
};

/// Reads an outcome table from two files, each JSON lines, a JSON array of objects, or CSV with a
/// header (separated by commas, semicolons, tabs or "|"), plain or compressed with gzip. The
/// format is detected from the contents.
///   queries_file   one query a row: "query_id", "query", and optionally "dataset" and
///                  "query_tokens" or "input_tokens" (absent: estimate_input_tokens() of the text);
///   outcomes_file  one outcome a row: "query_id", "model", "score", "output_tokens", and
///                  optionally "budget", a number of tokens or "unlimited" (absent: unlimited), and
///                  "instruction" (or "prompt"), the text that was sent with the query.
/// One file may contain both. A query then has several rows with the same text, and its length is
/// the smallest of theirs. Other fields are ignored.
///
/// An id is a string or a whole number: "17", 17 and 17.0 are the same id. A score is a number from
/// 0 to 1, or true or false. Numbers may be text, as in CSV. Null, NaN and an empty cell are
/// missing values. A row without a score is an outcome that was not observed, and is ignored.
///
/// A model under an instruction is a separate entry, "MODEL (INSTRUCTION)". If it is not in `pool`,
/// it is derived from MODEL and appended to the pool's models. If outcomes have "input_tokens", the
/// length of the whole prompt, instruction_tokens is their mean excess over the lengths of the
/// queries.
///
/// The table's models are those of `pool` that have outcomes, in the pool's order. Outcomes of
/// other models are ignored, unless the name is a variant spelling of a pool model (case, white
/// space, accents, Unicode form), its catalogue name, or close to a model without outcomes; that is
/// an error.
///
/// Throws Error(kBadData) with file and line for a malformed row, a repeated outcome, a query that
/// is not in queries_file, and a misspelt model name; Error(kNotFound) or Error(kIo) for a file
/// that cannot be read.
R2ROUTER_EXPORT OutcomeTable read_outcomes(const std::string& queries_file,
                                           const std::string& outcomes_file, const Pool& pool,
                                           const ReadOptions& options = {});

/// Reads queries from a file like `queries_file` above.
R2ROUTER_EXPORT std::vector<QueryRecord> read_queries(const std::string& queries_file);

/// Names and hashes a file. Throws Error(kNotFound) or Error(kIo).
R2ROUTER_EXPORT DataSource hash_source(const std::string& file);

/// Selects these queries (indices into table.queries), in this order.
R2ROUTER_EXPORT OutcomeTable select_queries(const OutcomeTable& table,
                                            std::span<const std::uint32_t> queries);

/// Selects these models, in the table's own order. Throws Error(kInvalidArgument) for a name that
/// the table does not have.
R2ROUTER_EXPORT OutcomeTable select_models(const OutcomeTable& table,
                                           std::span<const std::string> names);

/// Selects the models to train for: those in `names`, or if it is empty, those with all pairs
/// observed for at least the share `least_coverage` of the queries. Sends a warning to `log` about
/// ignored models of `pool`: how many outcomes they have, and why they are ignored. Throws
/// Error(kInvalidArgument) for a name that the table does not have, and Error(kBadData) if no model
/// is left.
R2ROUTER_EXPORT OutcomeTable choose_models(const OutcomeTable& table, const Pool& pool,
                                           std::span<const std::string> names,
                                           double least_coverage, const LogCallback& log = {});

/// The names of the queries' datasets, ascending.
R2ROUTER_EXPORT std::vector<std::string> datasets(const OutcomeTable& table);

/// For each model of the table, the share of queries for which all of its pairs were observed.
R2ROUTER_EXPORT std::vector<double> coverage(const OutcomeTable& table);

/// The queries for which every pair was observed.
R2ROUTER_EXPORT std::vector<std::uint32_t> complete_queries(const OutcomeTable& table);

/// Extends a table of unlimited answers to limited budgets by the hard-cap rule: at budget b
/// an answer keeps its score if it had at most b tokens, else it scores 0; its length is
/// min(tokens, b). A model that is asked to be brief behaves differently. Throws
/// Error(kInvalidArgument) if the table has limited pairs already, or a limit is 0 or repeats.
R2ROUTER_EXPORT OutcomeTable apply_hard_cap(const OutcomeTable& table,
                                            std::span<const std::uint32_t> token_limits);

/// The hash of a query's text for splits: 64-bit FNV-1a of its bytes, then the finaliser of
/// SplitMix64, which mixes the low bits. Equal texts are therefore always in the same part of a
/// split.
R2ROUTER_EXPORT std::uint64_t query_hash(std::string_view text) noexcept;

/// True for one text in `one_in`: query_hash(text) mod one_in = 0. False for all if `one_in` is 0.
R2ROUTER_EXPORT bool is_held_out(std::string_view text, std::uint32_t one_in) noexcept;

/// The fold of a text, from 0 to `folds` − 1. The hash differs from that of is_held_out(), and
/// depends on the seed.
R2ROUTER_EXPORT std::uint32_t fold_of(std::string_view text, std::uint32_t folds,
                                      std::uint64_t seed) noexcept;

/// An outcome table, and optionally the embeddings of its queries, if the router's own encoder does
/// not compute them.
struct OutcomeData {
  OutcomeTable table;
  std::vector<float> embeddings = {};  ///< queries × dimension, row after row; or empty
  std::size_t dimension = 0;
  std::string embeddings_file = {};  ///< where they come from, for messages; or empty
};

/// Reads embeddings for the queries of data.table from a NumPy file of float32 or float64, a row
/// for each query, and adds the file to the table's sources. Throws Error(kBadData) if the number
/// of rows is not that of the queries, Error(kNotFound) or Error(kIo).
R2ROUTER_EXPORT void read_embeddings(const std::string& file, OutcomeData& data);

/// Files of outcome data, and which part of it to use.
struct OutcomeFiles {
  std::string queries;          ///< as for read_outcomes()
  std::string outcomes = {};    ///< likewise; empty: only queries are read
  std::string embeddings = {};  ///< as for read_embeddings(); empty: none
  std::string dataset = {};     ///< as for select_dataset()
  CostMeasure cost_measure = CostMeasure::kUsd;
};

/// Reads the outcomes of a pool's models. Throws what read_outcomes(), read_embeddings() and
/// select_dataset() throw.
R2ROUTER_EXPORT OutcomeData read_outcome_data(const OutcomeFiles& files, const Pool& pool,
                                              const ReadOptions& options = {});

/// Selects these queries (indices into data.table.queries), in this order.
R2ROUTER_EXPORT OutcomeData select_rows(const OutcomeData& data,
                                        std::span<const std::uint32_t> rows);

/// Selects the held-out part of the data (is_held_out()), or the other part.
R2ROUTER_EXPORT OutcomeData select_part(const OutcomeData& data, std::uint32_t holdout,
                                        bool held_out);

/// Selects the queries whose dataset begins with `prefix`. `file` is only for the error message.
/// Throws Error(kBadData) if there are none.
R2ROUTER_EXPORT OutcomeData select_dataset(const OutcomeData& data, const std::string& prefix,
                                           const std::string& file = {});

/// Default of the holdout in training.
inline constexpr std::uint32_t kDefaultHoldout = 5;

/// The holdout that the checkpoint of this config was trained with, or kDefaultHoldout if it does
/// not record one. Sends a warning to `log` if it is 0, since evaluation then uses training
/// queries.
R2ROUTER_EXPORT std::uint32_t trained_holdout(const Config& config, const LogCallback& log = {});

/// The limited budgets of a config.
R2ROUTER_EXPORT std::vector<std::uint32_t> limited_budgets(const Config& config);

/// Returns the outcomes in the form that a checkpoint of this config is trained on: after
/// apply_hard_cap() if its budgets are hard caps.
R2ROUTER_EXPORT OutcomeTable as_trained(const OutcomeTable& table, const Config& config);

}  // namespace r2router
