// The decision over bounded estimates: what Router uses for speed, and decide() with exact
// predictions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "r2router/decision.h"
#include "r2router/options.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

namespace r2router::internal {

/// One model's pairs within the scorer's list, with its prices.
struct ModelRange {
  std::uint32_t model = 0;
  std::size_t begin = 0, end = 0;  ///< pairs
};

/// Prices and budgets laid out for deciding; made once for a router. Immutable.
class DecisionTable {
 public:
  /// Throws Error(kInvalidArgument) if a pair's model is not in the pool or models are not grouped.
  DecisionTable(std::shared_ptr<const Pool> pool, std::span<const Pair> pairs);

  const std::shared_ptr<const Pool>& pool() const { return pool_; }
  std::span<const Pair> pairs() const { return pairs_; }
  std::span<const ModelRange> models() const { return models_; }
  /// For each pair its budget in tokens, infinite if unlimited.
  std::span<const double> caps() const { return caps_; }

 private:
  std::shared_ptr<const Pool> pool_;
  std::vector<Pair> pairs_;
  std::vector<double> caps_;
  std::vector<ModelRange> models_;
};

/// Length of a query in tokens: as expected, and the most that it can turn out to be.
struct InputTokens {
  std::int64_t expected = 0, most = 0;
};

/// RouteOptions checked and joined with the checkpoint's defaults, for any number of queries.
struct Rule {
  double lambda = 0;
  DecisionRules rules = DecisionRules::kReference;
  double token_floor = 0;
  InputTokens input;
  double cap_margin = 0, least_cap = 0, unlimited_cap = 0;  ///< CapRule; caps in tokens
  double max_cost_usd = 0;                                  ///< infinite: no limit
  std::vector<std::uint8_t> excluded;  ///< one for each model of the pool; empty: all are admitted
};

/// Resolves options into `rule`, reusing its memory. `input` stands in where the options have none.
/// Throws Error(kInvalidArgument).
void resolve(const RouteOptions& options, const DecisionDefaults& defaults, const Pool& pool,
             InputTokens input, Rule& rule);

/// RouteOptions::input_tokens and max_input_tokens, or what stands in for them. Throws
/// Error(kInvalidArgument) for a negative length, or one above its own upper bound.
InputTokens resolve_input(std::optional<std::int64_t> expected, std::optional<std::int64_t> most,
                          InputTokens otherwise);

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

/// Bounds on every pair's risk; kept between calls for its memory.
struct RiskBounds {
  std::vector<double> lower, upper;
};

/// Chooses the pair that exact predictions would choose, asking `source` only for those pairs whose
/// bounds reach the best one's. Throws Error(kInvalidArgument), or Error(kBudget) for the cost
/// limit, if no pair is left to choose from; so do those below.
Option choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, RiskBounds& bounds);

/// Chooses from exact predictions.
Option choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions);

/// All admitted pairs, best first.
std::vector<Option> rank(const DecisionTable& table, const Rule& rule,
                         const Predictions& predictions);

}  // namespace r2router::internal
