#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "r2router/error.h"
#include "r2router/eval/contenders.h"

#include "eval/predicted_points.h"
#include "pool/prices.h"
#include "route/ties.h"

namespace r2router::eval {
namespace {

internal::CostLine cost_line(const ModelSpec& model, std::int64_t input_tokens) {
  return internal::expected_cost(model.prices, input_tokens + model.instruction_tokens, 0);
}

/// The predicted quality and cost of a pair for one query.
struct Candidate {
  double quality = 0;
  double cost = 0;
  std::uint32_t pair = 0;
};

/// Orders candidates so that those that can never be chosen come behind one that rules them out.
bool cheaper_then_better(const Candidate& a, const Candidate& b) {
  if (a.cost != b.cost) return a.cost < b.cost;
  if (a.quality != b.quality) return a.quality > b.quality;
  return a.pair < b.pair;
}

/// The candidates, in this order, that can be chosen at λ = 1: those of the lowest cost.
std::span<const Candidate> cheapest_of(const std::vector<Candidate>& candidates) {
  const double most = candidates.front().cost * (1 + 2 * internal::kTie);
  std::size_t count = 1;
  while (count < candidates.size() && candidates[count].cost <= most) ++count;
  return {candidates.data(), count};
}

/// Of candidates in this order, drops those that no λ in [smallest, largest], below 1, can choose,
/// not even in a tie. One that a cheaper candidate exceeds in quality by Δq, at Δc less cost, falls
/// short of the best utility by at least (1 − λ)·Δq + λ·Δc, and no tie is wider than
/// kTie·(2(1 − λ) + λ·least cost). Both are linear in λ, so that the ends of the range decide. This
/// leaves a dozen of more than a hundred.
void keep_eligible(std::vector<Candidate>& candidates, double smallest, double largest) {
  const double least_cost = candidates.front().cost;
  const auto falls_short = [&](const Candidate& candidate, const Candidate& rival, double lambda) {
    return (1 - lambda) * (rival.quality - candidate.quality - 2 * internal::kTie) +
               lambda * (candidate.cost - rival.cost - internal::kTie * least_cost) >
           0;
  };
  std::size_t kept = 0;
  Candidate finest = candidates.front();
  for (const Candidate candidate : candidates) {
    if (falls_short(candidate, finest, smallest) && falls_short(candidate, finest, largest)) {
      continue;
    }
    candidates[kept++] = candidate;
    if (candidate.quality > finest.quality) finest = candidate;
  }
  candidates.resize(kept);
}

/// Chooses among the same candidates at one λ after another. The winner seldom changes from one λ
/// to the next, so it first tries to confirm that no other reaches the last one's utility.
class Chooser {
 public:
  explicit Chooser(const OutcomeTable& table) : table_(table) {}

  void set(std::span<const Candidate> candidates) {
    candidates_ = candidates;
    qualities_.clear();
    costs_.clear();
    for (const Candidate& candidate : candidates) {
      qualities_.push_back(candidate.quality);
      costs_.push_back(candidate.cost);
    }
    utilities_.resize(candidates.size());
    winner_ = 0;
  }

  /// The pair of the best candidate.
  std::uint32_t choose(double lambda) {
    const std::size_t count = candidates_.size();
    const double* __restrict quality = qualities_.data();
    const double* __restrict cost = costs_.data();
    double* __restrict utility = utilities_.data();
    for (std::size_t i = 0; i < count; ++i) {
      utility[i] = (1 - lambda) * quality[i] - lambda * cost[i];
    }
    const double last = std::exchange(utility[winner_], -internal::kInfinity);
    const double second = internal::largest(utility, count);
    if (second >= last - internal::tie_width(lambda, last)) {
      utility[winner_] = last;
      winner_ = best_tied(lambda, std::max(last, second));
    }
    return candidates_[winner_].pair;
  }

 private:
  std::size_t best_tied(double lambda, double highest) {
    const double least = highest - internal::tie_width(lambda, highest);
    tied_.clear();
    for (std::size_t i = 0; i < utilities_.size(); ++i) {
      if (utilities_[i] >= least) tied_.push_back(i);
    }
    return tied_[internal::best_of(tied_.size(), lambda, [&](std::size_t i) {
      const Candidate& candidate = candidates_[tied_[i]];
      return internal::Contestant{.utility = utilities_[tied_[i]],
                                  .cost_usd = candidate.cost,
                                  .quality = candidate.quality,
                                  .pair = table_.pairs[candidate.pair]};
    })];
  }

  const OutcomeTable& table_;
  std::span<const Candidate> candidates_;
  std::vector<double> qualities_, costs_, utilities_;
  std::vector<std::size_t> tied_;
  std::size_t winner_ = 0;
};

/// The costs of answers to one query at a time. The prices of an input are looked up once for each
/// model.
class QueryCosts {
 public:
  explicit QueryCosts(const OutcomeTable& table) : table_(table) {}

  void set_query(std::size_t query) {
    query_ = query;
    lines_.clear();
    if (table_.cost_measure != CostMeasure::kUsd) return;
    for (const ModelSpec& model : table_.models) {
      lines_.push_back(cost_line(model, table_.queries[query].input_tokens));
    }
  }
  double of(std::size_t pair, double output_tokens) const {
    if (lines_.empty()) return answer_cost(table_, query_, pair, output_tokens);
    return lines_[table_.pairs[pair].model].cost(output_tokens);
  }

 private:
  const OutcomeTable& table_;
  std::size_t query_ = 0;
  std::vector<internal::CostLine> lines_;  // one for each model; empty for other costs than USD
};

[[noreturn]] void throw_incomplete(const OutcomeTable& table, std::size_t query, std::size_t pair) {
  throw Error(ErrorCode::kBadData, "query \"" + table.queries[query].id + "\" has no outcome of " +
                                       table.models[table.pairs[pair].model].name + " at budget " +
                                       table.pairs[pair].budget.to_string() +
                                       ": a sweep needs every outcome; see complete_queries()");
}

void check_speeds(const OutcomeTable& table) {
  if (table.cost_measure != CostMeasure::kLatency) return;
  for (const ModelSpec& model : table.models) {
    if (model.time_to_first_token_ms && model.output_tokens_per_second) continue;
    throw Error(ErrorCode::kBadData,
                "the speed of " + model.name +
                    " is not known, which costs by latency need: add time_to_first_token_ms and "
                    "output_tokens_per_second to it in the pool, or measure costs by length");
  }
}

}  // namespace

double cost_usd(const ModelSpec& model, std::int64_t input_tokens, double output_tokens) noexcept {
  return cost_line(model, input_tokens).cost(output_tokens);
}

double answer_cost(const OutcomeTable& table, std::size_t query, std::size_t pair,
                   double output_tokens) noexcept {
  const ModelSpec& model = table.models[table.pairs[pair].model];
  switch (table.cost_measure) {
    case CostMeasure::kLength:
      return output_tokens;
    case CostMeasure::kLatency:
      if (!model.time_to_first_token_ms || !model.output_tokens_per_second) return std::nan("");
      return *model.time_to_first_token_ms / 1000 + output_tokens / *model.output_tokens_per_second;
    case CostMeasure::kUsd:
      break;
  }
  return cost_usd(model, table.queries[query].input_tokens, output_tokens);
}

double routerarena_score(double accuracy, double cost_usd) noexcept {
  constexpr double kLeast = 0.0044, kMost = 200, kBeta = 0.1;  // USD for 1,000 queries
  const double cost = std::min(std::max(1000 * cost_usd, kLeast), kMost);
  const double thrift = std::log2(kMost / cost) / std::log2(kMost / kLeast);
  const double weight = kBeta * accuracy + thrift;
  return weight > 0 ? (1 + kBeta) * accuracy * thrift / weight : 0;
}

BestSingle best_single(const OutcomeTable& table, bool available_only) {
  if (table.queries.empty()) {
    throw Error(ErrorCode::kBadData,
                "there are no queries with outcomes of every pair to evaluate on");
  }
  check_speeds(table);
  BestSingle best;
  BestSingle dearest;
  bool found = false;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const std::uint32_t index = table.pairs[pair].model;
    const ModelSpec& model = table.models[index];
    if (!table.pairs[pair].budget.is_unlimited() || (available_only && !model.available)) continue;
    double score = 0, cost = 0;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      const std::size_t cell = table.cell(query, pair);
      if (std::isnan(table.scores[cell])) throw_incomplete(table, query, pair);
      score += table.scores[cell];
      cost += answer_cost(table, query, pair, table.output_tokens[cell]);
    }
    score /= static_cast<double>(table.queries.size());
    cost /= static_cast<double>(table.queries.size());
    if (!found || score > best.score || (score == best.score && cost < best.cost)) {
      best = {.model = index, .score = score, .cost = cost};
    }
    if (!found || cost > dearest.cost) dearest = {.model = index, .score = score, .cost = cost};
    found = true;
  }
  if (!found) {
    throw Error(ErrorCode::kBadData,
                std::string("no ") + (available_only ? "available " : "") +
                    "model has unlimited outcomes, which costs are measured against");
  }
  const BestSingle& unit = best.is_free() ? dearest : best;
  best.unit_model = unit.model;
  best.unit = unit.is_free() ? 1 : unit.cost;
  best.all_free = unit.is_free();
  return best;
}

std::vector<double> lambda_grid(double reference_cost, std::size_t steps) {
  if (!(reference_cost > 0) || !std::isfinite(reference_cost) || steps < 2) {
    throw Error(ErrorCode::kInvalidArgument,
                "a grid of λ needs a finite reference cost above 0 and at least 2 steps, not " +
                    std::to_string(reference_cost) + " and " + std::to_string(steps));
  }
  constexpr double kLowest = -3, kHighest = 6;
  std::vector<double> lambdas = {0};
  for (std::size_t i = 0; i < steps; ++i) {
    const double exponent =
        kLowest + (kHighest - kLowest) * static_cast<double>(i) / static_cast<double>(steps - 1);
    const double rate = std::pow(10.0, exponent) / reference_cost;
    lambdas.push_back(rate / (1 + rate));
  }
  lambdas.push_back(1);
  return lambdas;
}

ChosenPairs choose_pairs(const OutcomeTable& table, const PredictionTable& predictions,
                         std::span<const double> lambdas, const SweepOptions& options) {
  const std::size_t cells = table.queries.size() * table.pairs.size();
  if (predictions.quality.size() != cells || predictions.output_tokens.size() != cells) {
    throw Error(ErrorCode::kInvalidArgument,
                "the outcome table has " + std::to_string(cells) + " cells, but there are " +
                    std::to_string(predictions.quality.size()) + " quality and " +
                    std::to_string(predictions.output_tokens.size()) + " length predictions");
  }
  for (const double lambda : lambdas) {
    if (lambda >= 0 && lambda <= 1) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "λ is " + std::to_string(lambda) + ": expected 0 to 1");
  }
  double smallest_lambda = 1, largest_lambda = 0;  // of those within (0, 1)
  for (const double lambda : lambdas) {
    if (lambda == 0 || lambda == 1) continue;
    smallest_lambda = std::min(smallest_lambda, lambda);
    largest_lambda = std::max(largest_lambda, lambda);
  }
  ChosenPairs choices{.settings = lambdas.size(), .pairs = {}};
  choices.pairs.reserve(table.queries.size() * lambdas.size());
  const PredictedPoints points(table, predictions, options.token_floor);
  QueryCosts costs(table);
  std::vector<Candidate> candidates;
  Chooser chooser(table);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    costs.set_query(query);
    candidates.clear();
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      const ModelSpec& model = table.models[table.pairs[pair].model];
      const Budget budget = table.pairs[pair].budget;
      const std::size_t cell = table.cell(query, pair);
      if (options.available_only && !model.available) continue;
      if (options.unlimited_only && !budget.is_unlimited()) continue;
      if (std::isnan(table.scores[cell])) throw_incomplete(table, query, pair);
      if (std::isnan(predictions.quality[cell])) continue;
      const internal::Point point = points.at(query, pair);
      candidates.push_back(
          {point.quality, costs.of(pair, point.tokens), static_cast<std::uint32_t>(pair)});
    }
    if (candidates.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "no pair is left to choose from for query \"" + table.queries[query].id + "\"");
    }
    std::sort(candidates.begin(), candidates.end(), cheaper_then_better);
    chooser.set(cheapest_of(candidates));
    const std::uint32_t cheapest = chooser.choose(1);
    // At λ = 0 candidates of equal quality tie whatever they cost; any other λ drops the dearer.
    keep_eligible(candidates, 0, largest_lambda);
    chooser.set(candidates);
    const std::uint32_t finest = chooser.choose(0);
    keep_eligible(candidates, smallest_lambda, largest_lambda);
    chooser.set(candidates);
    for (const double lambda : lambdas) {
      if (lambda == 0 || lambda == 1) {
        choices.pairs.push_back(lambda == 0 ? finest : cheapest);
      } else {
        choices.pairs.push_back(chooser.choose(lambda));
      }
    }
  }
  return choices;
}

std::vector<SweepPoint> average(const OutcomeTable& table, const ChosenPairs& choices,
                                std::span<const double> lambdas) {
  if (choices.settings != lambdas.size() ||
      choices.pairs.size() != table.queries.size() * lambdas.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(choices.pairs.size()) + " choices for " +
                    std::to_string(table.queries.size()) + " queries at " +
                    std::to_string(lambdas.size()) + " settings: expected one for each");
  }
  std::vector<SweepPoint> points(lambdas.size());
  for (std::size_t i = 0; i < lambdas.size(); ++i) points[i].lambda = lambdas[i];
  QueryCosts costs(table);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    costs.set_query(query);
    for (std::size_t i = 0; i < lambdas.size(); ++i) {
      const std::uint32_t pair = choices.pairs[query * lambdas.size() + i];
      const std::size_t cell = table.cell(query, pair);
      points[i].score += table.scores[cell];
      points[i].cost += costs.of(pair, table.output_tokens[cell]);
    }
  }
  const auto queries = static_cast<double>(std::max<std::size_t>(1, table.queries.size()));
  for (SweepPoint& point : points) {
    point.score /= queries;
    point.cost /= queries;
  }
  return points;
}

std::vector<SweepPoint> sweep(const OutcomeTable& table, const PredictionTable& predictions,
                              std::span<const double> lambdas, const SweepOptions& options) {
  return average(table, choose_pairs(table, predictions, lambdas, options), lambdas);
}

std::vector<DeferralPoint> deferral_curve(std::span<const SweepPoint> points,
                                          double reference_cost) {
  std::vector<DeferralPoint> corners;
  for (const SweepPoint& point : points) {
    const double cost = point.cost / reference_cost;
    if (cost <= 1) corners.push_back({cost, point.score, point.lambda});
  }
  std::stable_sort(corners.begin(), corners.end(), [](const auto& a, const auto& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.score > b.score;
  });
  std::size_t kept = 0;
  for (const DeferralPoint corner : corners) {
    if (kept == 0 || corner.score > corners[kept - 1].score) corners[kept++] = corner;
  }
  corners.resize(kept);
  return corners;
}

DeferralMetrics measure(std::span<const DeferralPoint> curve, double best_score) {
  DeferralMetrics metrics;
  for (std::size_t i = 0; i < curve.size(); ++i) {
    const double end = i + 1 < curve.size() ? curve[i + 1].cost : 1.0;
    metrics.audc += curve[i].score * (end - curve[i].cost);
    metrics.peak = std::max(metrics.peak, curve[i].score);
    if (!metrics.qnc && curve[i].score >= best_score) metrics.qnc = curve[i].cost;
    if (!metrics.c95 && curve[i].score >= 0.95 * best_score) metrics.c95 = curve[i].cost;
  }
  return metrics;
}

}  // namespace r2router::eval
