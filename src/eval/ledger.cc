#include "eval/ledger.h"

#include <algorithm>
#include <cmath>

namespace r2router::eval {
namespace {

// Sums of 2²⁷ values of up to 2³⁵ stay below 2⁶³.
constexpr double kOne = 34359738368.0;  // 2³⁵

}  // namespace

double largest_cost(const OutcomeTable& table) {
  double largest = 0;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      largest = std::max(
          largest, answer_cost(table, query, pair, table.output_tokens[table.cell(query, pair)]));
    }
  }
  return largest;
}

Ledger::Ledger(const OutcomeTable& table, const ChosenPairs& choices, double largest_cost)
    : cost_unit_(largest_cost > 0 ? largest_cost / kOne : 1) {
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    begins_.push_back(steps_.size());
    std::int64_t cost = 0, score = 0;
    for (std::size_t setting = 0; setting < choices.settings; ++setting) {
      const std::size_t choice = query * choices.settings + setting;
      const std::uint32_t pair = choices.pairs[choice];
      if (setting > 0 && pair == choices.pairs[choice - 1]) continue;
      const std::size_t cell = table.cell(query, pair);
      const std::int64_t new_cost =
          std::llround(answer_cost(table, query, pair, table.output_tokens[cell]) / cost_unit_);
      const std::int64_t new_score = std::llround(table.scores[cell] * kOne);
      steps_.push_back({static_cast<std::uint32_t>(setting), new_cost - cost, new_score - score});
      cost = new_cost;
      score = new_score;
    }
  }
  begins_.push_back(steps_.size());
}

void Ledger::average(std::span<const std::uint32_t> weights, std::span<SweepPoint> points) const {
  struct Sum {
    std::int64_t cost = 0, score = 0;
  };
  std::vector<Sum> sums(points.size());
  double total = 0;
  for (std::size_t query = 0; query < weights.size(); ++query) {
    if (weights[query] == 0) continue;
    total += weights[query];
    const auto weight = static_cast<std::int64_t>(weights[query]);
    for (std::size_t i = begins_[query]; i < begins_[query + 1]; ++i) {
      sums[steps_[i].setting].cost += weight * steps_[i].cost;
      sums[steps_[i].setting].score += weight * steps_[i].score;
    }
  }
  Sum sum;
  for (std::size_t setting = 0; setting < points.size(); ++setting) {
    sum.cost += sums[setting].cost;
    sum.score += sums[setting].score;
    points[setting].cost = static_cast<double>(sum.cost) * cost_unit_ / total;
    points[setting].score = static_cast<double>(sum.score) / kOne / total;
  }
}

}  // namespace r2router::eval
