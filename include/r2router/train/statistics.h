// Training on data that does not fit into memory, or is spread over machines.
//
// Ridge regression needs only sums over queries. Statistics adds batches of outcomes to them and
// forgets the batches; statistics of parts of the data are merged. solve() then makes the
// checkpoint that train() makes from all of the data:
//
//     train::Statistics statistics({.models = pool, .dimension = 1024});
//     while (read(batch)) statistics.add(batch);
//     Checkpoint checkpoint = statistics.solve();
//
// The choice of α, length curves, spreads and the default λ depend on single queries and are no
// sums. They are made from a sample: the queries with the lowest hashes, whatever the order or the
// partition of the data, each predicted by heads that were not fitted to its fold. As long as the
// data has no more queries than the sample may have, they are those of train(). Beyond that, heads
// are still fitted to all queries, and those figures have the errors of a sample of n: the standard
// error of a mean score or cost is its standard deviation over √n, that of a spread about 1/√(2n)
// of it (0.7 % and 0.5 % for n = 20,000), and a point of a length curve is a mean over n / 20
// queries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/train/train.h"

namespace r2router::train {

/// What statistics are of. Only statistics of equal options can be merged.
struct StatisticsOptions {
  Pool models = {};  ///< at least one
  /// Length of an embedding, 1 to 65,536; 0: that of the encoder.
  std::uint32_t dimension = 0;
  /// Makes the embeddings of queries that come without. Without IDF weights and topics, which are
  /// learned from all texts.
  std::optional<LexicalEncoderSpec> encoder = {};
  std::string embedding_model = {};  ///< as TrainRecipe::embedding_model
  std::string budget_prompt = {};    ///< as TrainRecipe::budget_prompt
  /// If not empty, apply_hard_cap() derives these budgets from every table, which has unlimited
  /// answers only. Otherwise the tables have the budgets, and they are prompted.
  std::vector<std::uint32_t> token_limits = {};
  CostMeasure cost_measure = CostMeasure::kUsd;    ///< that of every table
  std::uint32_t folds = TrainOptions{}.folds;      ///< 2 to 1,000
  std::uint32_t holdout = TrainOptions{}.holdout;  ///< as TrainOptions::holdout
  std::uint64_t seed = TrainOptions{}.seed;        ///< as TrainOptions::seed
  std::uint32_t sample = 20'000;                   ///< most queries in the sample, ≥ 100
};

/// How statistics become a checkpoint; members are those of TrainOptions.
struct SolveOptions {
  std::vector<double> alphas = TrainOptions{}.alphas;
  std::uint32_t threads = 0;
  ProgressCallback progress = {};
};

struct StatisticsData;

/// Sums over the outcomes of queries, in memory that does not depend on their number: for each fold
/// 8·dimension·(dimension + 2·pairs) bytes, 8·dimension² more for each group of pairs that did not
/// see the same queries, and the sample.
///
/// A value: copies are independent. Like those of a container, const functions may be called by
/// several threads at once, and the others by one. The sums are float64; order and partition of the
/// data change them by rounding only, and heads by less than 10⁻⁹ of their size.
class R2ROUTER_EXPORT Statistics {
 public:
  /// Throws Error(kInvalidArgument) for options out of range.
  explicit Statistics(StatisticsOptions options);
  Statistics(const Statistics& other);
  Statistics(Statistics&& other) noexcept;
  Statistics& operator=(const Statistics& other);
  Statistics& operator=(Statistics&& other) noexcept;
  ~Statistics();

  const StatisticsOptions& options() const;
  /// Queries that heads are fitted to, without edited copies; and those that are held out.
  std::size_t training_queries() const;
  std::size_t held_out_queries() const;
  /// Those of the training queries, edited copies included, that are in the sample.
  std::size_t sampled_queries() const;

  /// Adds the outcomes of queries that were not added before; give all outcomes of a query in one
  /// table. Its models are matched with those of the options by name, and its pairs may differ from
  /// those of other tables. `embeddings`: queries × dimension, row after row. Queries are held out,
  /// left out and divided into folds as by train(). Large tables are faster. `threads`: 0: one for
  /// each core.
  ///
  /// Throws Error(kBadData) for a table that is invalid, or does not fit the options, and
  /// Error(kInvalidArgument) for embeddings that do not fit; nothing is added then.
  void add(const OutcomeTable& table, std::span<const float> embeddings, std::uint32_t threads = 0);
  /// Likewise. If the data has no embeddings, the encoder makes them.
  void add(const OutcomeData& data, std::uint32_t threads = 0);

  /// Adds the statistics of other queries. Throws Error(kInvalidArgument), which names the
  /// difference, if they have other options.
  void merge(const Statistics& other);

  /// The checkpoint that train() makes from the same data, without a record of the data's files.
  /// Models without outcomes are left out. Throws what train() throws.
  Checkpoint solve(const SolveOptions& options = {}, TrainReport* report = nullptr) const;

  /// Writes or replaces a file, atomically; checkpoints/FORMAT.md specifies it. It contains numbers
  /// of the sampled queries, but no text of any query. Throws Error(kIo).
  void save(const std::string& file) const;
  /// Throws Error(kNotFound), Error(kIo), Error(kBadConfig) for invalid options in the file, and
  /// Error(kBadCheckpoint) for a file that is otherwise invalid. Sizes are checked before memory is
  /// allocated.
  static Statistics load(const std::string& file);

  /// The contents of the file.
  std::string to_bytes() const;
  /// `file` is only for error messages.
  static Statistics from_bytes(std::span<const std::uint8_t> bytes, const std::string& file);

 private:
  explicit Statistics(std::unique_ptr<StatisticsData> data);

  std::unique_ptr<StatisticsData> data_;
};

}  // namespace r2router::train
