// Outcome tables: what each model's answer to each query was worth, and how long it was.
// The raw material of training (train.h) and of evaluation (eval.h).
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
  std::string dataset = {};       ///< where it comes from, such as "mmlu_pro:law"; or empty
  std::int64_t input_tokens = 0;  ///< length of the text, which every model is charged for, ≥ 0
  std::string original = {};      ///< of an edited copy, the text that it was made from; or empty

  /// The text that splits go by, so that an edited copy stays on its original's side.
  const std::string& split_text() const { return original.empty() ? text : original; }
};

/// A file that a table was read from, so that what was learned from it can name it.
struct DataSource {
  std::string file;    ///< name without its folder
  std::string sha256;  ///< of the file's bytes, in hexadecimal
};

/// What an answer costs where scores are weighed against costs.
enum class CostMeasure : std::uint8_t {
  kUsd,      ///< money, by the models' prices
  kLength,   ///< output tokens
  kLatency,  ///< seconds until the answer is complete, by the models' speeds
};

/// "usd", "length" or "latency".
R2ROUTER_EXPORT std::string_view to_string(CostMeasure measure) noexcept;

/// The measure of that name. Throws Error(kInvalidArgument) that lists them.
R2ROUTER_EXPORT CostMeasure parse_cost_measure(std::string_view text);

/// Outcomes of queries × (model, budget) pairs. Plain data; check one that you filled by hand with
/// validate().
struct OutcomeTable {
  std::vector<QueryRecord> queries;
  Pool models;
  /// Grouped by model in pool order, each model's budgets ascending, unlimited last.
  std::vector<Pair> pairs;
  /// queries × pairs, row after row: how good the answer was, in [0, 1]. NaN: not observed.
  std::vector<double> scores;
  /// queries × pairs: the answer's length in tokens, ≥ 0. NaN exactly where `scores` is.
  std::vector<double> output_tokens;
  /// How the limited pairs' outcomes came about.
  BudgetMode budget_mode = BudgetMode::kPrompted;
  /// What evaluation and training measure costs in.
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
  /// Outcomes of a model that the pool seems to have under another spelling are an error; if this
  /// is set, they are left out like those of any model that the pool does not have.
  bool ignore_unknown_models = false;
  /// Gets a warning for outcomes that are left out: how many, of which models, and why.
  LogCallback log = {};
};

/// Reads an outcome table from two files, each JSON lines, a JSON array of objects, or CSV with a
/// header (separated by commas, semicolons, tabs or "|"), plain or compressed with gzip. What a
/// file is, is seen from its contents.
///   queries_file   one query a row: "query_id", "query", and optionally "dataset" and
///                  "query_tokens" or "input_tokens" (absent: estimate_input_tokens() of the text);
///   outcomes_file  one outcome a row: "query_id", "model", "score", "output_tokens", and
///                  optionally "budget", a number of tokens or "unlimited" (absent: unlimited), and
///                  "instruction" (or "prompt"), the text that was sent with the query.
/// It may be one file that has both: a query then has several rows, with one text; its length is
/// the least of them. Other fields are ignored.
///
/// An id is a string or a whole number: "17", 17 and 17.0 are one id. A score is a number from 0 to
/// 1, or true or false. Numbers may be text, as in CSV. Null, NaN and an empty cell are a missing
/// value: a row without a score is an outcome that was not observed, and is left out.
///
/// A model under an instruction is an entry of its own, "MODEL (INSTRUCTION)". One that `pool`
/// lacks is made from MODEL's, after the pool's own; where outcomes say "input_tokens", the length
/// of the whole prompt, instruction_tokens is their mean excess over the queries' own lengths.
///
/// The table's models are those of `pool` that have outcomes, in the pool's order. Outcomes of
/// other models are left out, unless their name is one of the pool's in another spelling (case,
/// white space, accents, Unicode form) or its catalogue name, or looks like that of a model which
/// has no outcomes at all.
///
/// Throws Error(kBadData) with file and line for a row that is not as above, an outcome that
/// repeats, a query that is not in queries_file, and a model that is spelt in another way;
/// Error(kNotFound) or Error(kIo) for a file that cannot be read.
R2ROUTER_EXPORT OutcomeTable read_outcomes(const std::string& queries_file,
                                           const std::string& outcomes_file, const Pool& pool,
                                           const ReadOptions& options = {});

/// Reads queries alone, from a file as `queries_file` above.
R2ROUTER_EXPORT std::vector<QueryRecord> read_queries(const std::string& queries_file);

/// Names and hashes a file. Throws Error(kNotFound) or Error(kIo).
R2ROUTER_EXPORT DataSource hash_source(const std::string& file);

/// The table with only these queries (indices into table.queries), in this order.
R2ROUTER_EXPORT OutcomeTable select_queries(const OutcomeTable& table,
                                            std::span<const std::uint32_t> queries);

/// The table with only these models, in the table's own order. Throws Error(kInvalidArgument) for a
/// name that the table does not have.
R2ROUTER_EXPORT OutcomeTable select_models(const OutcomeTable& table,
                                           std::span<const std::string> names);

/// The models to train for: those that `names` lists, or if it is empty those of which every pair
/// was observed for at least `least_coverage` of the queries. Warns `log` of the models of `pool`
/// that are left out: how many outcomes they have, and why. Throws Error(kInvalidArgument) for a
/// name that the table does not have, and Error(kBadData) if no model is left.
R2ROUTER_EXPORT OutcomeTable choose_models(const OutcomeTable& table, const Pool& pool,
                                           std::span<const std::string> names,
                                           double least_coverage, const LogCallback& log = {});

/// The names of the datasets that its queries come from, ascending; queries without one add none.
R2ROUTER_EXPORT std::vector<std::string> datasets(const OutcomeTable& table);

/// For each model of the table, the share of queries of which every one of its pairs was observed.
R2ROUTER_EXPORT std::vector<double> coverage(const OutcomeTable& table);

/// The queries of which every pair was observed.
R2ROUTER_EXPORT std::vector<std::uint32_t> complete_queries(const OutcomeTable& table);

/// Extends a table of unlimited answers to limited budgets under the hard-cap reading: at budget b
/// an answer keeps its score if it had at most b tokens, else it scores 0; its length is
/// min(tokens, b). This is not what a model does when it is asked to be brief. Throws
/// Error(kInvalidArgument) if the table has limited pairs already, or a limit is 0 or repeats.
R2ROUTER_EXPORT OutcomeTable apply_hard_cap(const OutcomeTable& table,
                                            std::span<const std::uint32_t> token_limits);

/// A hash of a query's text that splits are made by: 64-bit FNV-1a of its bytes, then the finaliser
/// of SplitMix64, so that the low bits are good. Equal texts always fall on the same side of a
/// split.
R2ROUTER_EXPORT std::uint64_t query_hash(std::string_view text) noexcept;

/// True for one text in `one_in`: query_hash(text) mod one_in = 0. False for all if `one_in` is 0.
R2ROUTER_EXPORT bool is_held_out(std::string_view text, std::uint32_t one_in) noexcept;

/// Which of `folds` (> 0) a text belongs to, from 0; by another hash than is_held_out(), and
/// another one for each seed.
R2ROUTER_EXPORT std::uint32_t fold_of(std::string_view text, std::uint32_t folds,
                                      std::uint64_t seed) noexcept;

/// An outcome table and, unless the router's own encoder makes them, its queries' embeddings.
struct OutcomeData {
  OutcomeTable table;
  std::vector<float> embeddings = {};  ///< queries × dimension, row after row; or empty
  std::size_t dimension = 0;
  std::string embeddings_file = {};  ///< where they come from, for messages; or empty
};

/// Reads embeddings for the queries of data.table from a NumPy file of float32 or float64, a row
/// for each query, and adds the file to the table's sources. Throws Error(kBadData) if the rows are
/// not one for each query, Error(kNotFound) or Error(kIo).
R2ROUTER_EXPORT void read_embeddings(const std::string& file, OutcomeData& data);

/// Where the data is, and which of it is used.
struct OutcomeFiles {
  std::string queries, outcomes;  ///< as for read_outcomes()
  std::string embeddings = {};    ///< as for read_embeddings(); empty: none
  std::string dataset = {};       ///< as for select_dataset()
  CostMeasure cost_measure = CostMeasure::kUsd;
};

/// Reads the outcomes of a pool's models. Throws what read_outcomes(), read_embeddings() and
/// select_dataset() throw.
R2ROUTER_EXPORT OutcomeData read_outcome_data(const OutcomeFiles& files, const Pool& pool,
                                              const ReadOptions& options = {});

/// The data of these queries (indices into data.table.queries), in this order.
R2ROUTER_EXPORT OutcomeData select_rows(const OutcomeData& data,
                                        std::span<const std::uint32_t> rows);

/// The part of the data that is_held_out() says is held out, or the other part.
R2ROUTER_EXPORT OutcomeData select_part(const OutcomeData& data, std::uint32_t holdout,
                                        bool held_out);

/// The queries whose dataset begins with `prefix`. `file` is only for the error message. Throws
/// Error(kBadData) if there are none.
R2ROUTER_EXPORT OutcomeData select_dataset(const OutcomeData& data, const std::string& prefix,
                                           const std::string& file = {});

/// The holdout of a checkpoint that was trained without one being named.
inline constexpr std::uint32_t kDefaultHoldout = 5;

/// The holdout that the checkpoint of this config was trained with, or kDefaultHoldout if it does
/// not say. Warns `log` if that is 0, since evaluation then is on queries of the training.
R2ROUTER_EXPORT std::uint32_t trained_holdout(const Config& config, const LogCallback& log = {});

/// The limited budgets of a config, which a hard cap is derived for.
R2ROUTER_EXPORT std::vector<std::uint32_t> limited_budgets(const Config& config);

/// The outcomes as a checkpoint of this config is trained on them: unlimited ones cut off at its
/// budgets if those are a hard cap.
R2ROUTER_EXPORT OutcomeTable as_trained(const OutcomeTable& table, const Config& config);

}  // namespace r2router
