// The decision over bounded estimates. Router uses it for speed; decide() passes exact predictions.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/decision.h"
#include "r2router/options.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

#include "score/kernels.h"

namespace r2router::internal {

/// One model's pairs within the scorer's list.
struct ModelRange {
  std::uint32_t model = 0;
  std::size_t begin = 0, end = 0;  ///< pairs
  std::size_t limited = 0;         ///< how many of them have a limited budget
  double length_factor = 1;  ///< 99th percentile of an unlimited answer's length, over its mean
};

/// Prices and budgets in a layout for fast decisions; built once for a router. Immutable.
class DecisionTable {
 public:
  /// `facts`: one for each pair; empty: as decide(). `kernel`: as RouterOptions::kernel. Throws
  /// Error(kInvalidArgument) if a pair's model is not in the pool.
  DecisionTable(std::shared_ptr<const Pool> pool, std::span<const Pair> pairs,
                std::span<const PairFacts> facts, std::string_view kernel = {});

  const std::shared_ptr<const Pool>& pool() const { return pool_; }
  std::span<const Pair> pairs() const { return pairs_; }
  std::span<const ModelRange> models() const { return models_; }
  /// For each pair its budget in tokens, infinite if unlimited.
  std::span<const double> budgets() const { return budgets_; }
  /// A pair's Option::quality_spread for a predicted quality in [0, 1].
  double spread(std::size_t pair, double quality) const {
    return spreads_by_quality_ ? std::sqrt(quality * (1 - quality)) : spreads_[pair];
  }
  bool spreads_by_quality() const { return spreads_by_quality_; }
  bool has_spreads() const { return has_spreads_; }
  /// For each pair, the pair that predicts its length under the corrected rules: itself, or its
  /// model's unlimited pair if its own is not predicted.
  std::span<const std::size_t> length_pairs() const { return length_pairs_; }
  /// Whether every pair predicts its own length.
  bool predicts_lengths() const { return predicts_lengths_; }
  /// A model's pairs with a limited budget, the smallest first.
  std::span<const std::size_t> ladder(const ModelRange& range) const {
    return std::span(ladders_).subspan(range.begin, range.limited);
  }
  const score::Kernel& kernel() const { return kernel_; }

 private:
  std::shared_ptr<const Pool> pool_;
  std::vector<Pair> pairs_;
  std::vector<double> budgets_, spreads_;
  std::vector<std::size_t> length_pairs_;
  bool has_spreads_ = false, spreads_by_quality_ = false, predicts_lengths_ = true;
  std::vector<std::size_t> ladders_;  ///< each model's at the index of its first pair
  std::vector<ModelRange> models_;
  const score::Kernel& kernel_;
};

/// Length of a query in tokens: expected, and upper bound.
struct InputTokens {
  std::int64_t expected = 0, most = 0;
  std::optional<std::int64_t> context = {};  ///< for the context limit; empty: the upper bound

  bool operator==(const InputTokens&) const = default;
};

/// How options are compared. Every objective is a weight of cost.
struct Goal {
  double lambda = 0;
  double quality_floor = 0;  ///< minimum quality; 0: none
  bool rounded = false;  ///< utilities are compared and figures reported rounded; ties: first pair
                         ///< (otherwise as in route/ties.h)
  Reason reason = Reason::kBest;
};

/// RouteOptions, checked and merged with the checkpoint's policy, and the size of a query.
struct Rule {
  Goal goal;  ///< with the part of its floor that does not depend on the query
  double quality_fraction = 0;
  DecisionRules decision_rules = DecisionRules::kReference;
  double token_floor = 0;
  InputTokens input;          ///< of the query
  std::uint32_t images = 0;   ///< of the query
  Capabilities requirements;  ///< of the query
  double cap_margin = 0, least_cap = 0,
         unlimited_cap = 0;  ///< CapRule; caps in tokens. The last is
                             ///< infinite if the length determines it
  // Limits; one that is not set is infinite.
  double max_cost_usd = 0, max_output_tokens = 0, max_latency_ms = 0;
  double risk_aversion = 0;
  bool continuous = false, monotone = false;
  std::vector<std::uint8_t> excluded;  ///< one for each model of the pool; empty: none is excluded
};

/// Marks the models that `name` means: the one of exactly that name, else those whose name matches
/// it as a pattern, else those whose catalogue name does. `marks`: one for each model. Returns
/// false if there is none.
bool mark_model(const Pool& pool, const std::string& name, std::uint8_t mark,
                std::vector<std::uint8_t>& marks);

/// Resolves options into `rule`, reusing its memory, except for the facts of the query.
/// Throws Error(kInvalidArgument).
void resolve(const RouteOptions& options, const Policy& defaults, const Pool& pool, Rule& rule);

/// Length of a query that comes as an embedding; the published package's default.
inline constexpr InputTokens kDefaultInputTokens{.expected = 100, .most = 100};

/// Sets what concerns the query. `otherwise`: its length where `size` does not say. Throws
/// Error(kInvalidArgument) for a negative length, or one above its own upper bound.
void resolve_size(const QuerySize& size, InputTokens otherwise, Rule& rule);

/// Supplies the exact prediction of a pair.
class ExactSource {
 public:
  virtual void exact(std::size_t pair, double& quality, double& tokens) const = 0;

 protected:
  ~ExactSource() = default;
};

/// Predictions of one query, each within scale·error of the exact value.
struct EstimateView {
  std::span<const double> quality, tokens;
  std::span<const double> quality_error, tokens_error;
  double scale = 0;
};

/// The prediction for a pair, or for a budget between two pairs, clamped by the rules.
struct Point {
  double quality = 0;  ///< reduced by risk aversion
  double tokens = 0;
  double expected_quality = 0, spread = 0;
};

struct Scratch;  // candidates.h

struct Choice {
  Option option = {};
  Goal goal;                 ///< the goal that it was chosen by
  double quality_floor = 0;  ///< the required quality, if it was not met
};

/// Chooses the option that exact predictions would choose among the models of admit_models(), and
/// requests exact predictions only of pairs whose bounds reach the best one's. Throws
/// Error(kInvalidArgument) if no pair is left, or Error(kBudget) if the reason is the cost limit;
/// so does the choice from exact predictions.
Choice choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, Scratch& scratch);
Choice choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions);

/// The public Decision for a choice, without ranking and explanation.
Decision make_decision(const DecisionTable& table, const Rule& rule, const Choice& choice);

/// Adds the ranking and the explanation if the options request them.
void add_details(const DecisionTable& table, const Rule& rule, const Choice& choice,
                 const RouteOptions& options, const Predictions& predictions, Decision& decision);

}  // namespace r2router::internal
