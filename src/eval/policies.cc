#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "r2router/error.h"
#include "r2router/eval.h"

namespace r2router {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

PredictionTable unknown_predictions(const OutcomeTable& table) {
  const std::size_t cells = table.queries.size() * table.pairs.size();
  return {std::vector<double>(cells, kUnknown), std::vector<double>(cells, kUnknown)};
}

/// For each of the scorer's pairs, its column in the table.
std::vector<std::size_t> match_pairs(const OutcomeTable& table, const Pool& pool,
                                     std::span<const Pair> pairs) {
  std::vector<std::size_t> columns;
  for (const Pair& pair : pairs) {
    const std::string& name = pool.at(pair.model).name;
    const auto found = std::find_if(table.pairs.begin(), table.pairs.end(), [&](const Pair& other) {
      return other.budget == pair.budget && table.models[other.model].name == name;
    });
    if (found == table.pairs.end()) {
      throw Error(
          ErrorCode::kBadData,
          "the router may choose " + name + " at budget " + pair.budget.to_string() +
              ", but the outcome table has no outcomes of that pair: evaluate on a table that "
              "has, or apply a hard cap to unlimited outcomes");
    }
    columns.push_back(static_cast<std::size_t>(found - table.pairs.begin()));
  }
  return columns;
}

/// A single model at its own mean score and cost.
struct Single {
  std::string name;
  PolicyPoint point;
};

std::vector<Single> single_models(const OutcomeTable& table, bool available_only) {
  std::vector<Single> singles;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const ModelSpec& model = table.models[table.pairs[pair].model];
    if (!table.pairs[pair].budget.is_unlimited() || (available_only && !model.available)) continue;
    PolicyPoint point;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      const std::size_t cell = table.cell(query, pair);
      point.score += table.scores[cell];
      point.cost_usd +=
          cost_usd(model, table.queries[query].input_tokens, table.output_tokens[cell]);
    }
    point.score /= static_cast<double>(table.queries.size());
    point.cost_usd /= static_cast<double>(table.queries.size());
    singles.push_back({model.name, point});
  }
  return singles;
}

/// Which way the path a → b → c turns: above 0 to the left, so that b lies below the line from a to
/// c.
double turn(const DeferralPoint& a, const DeferralPoint& b, const DeferralPoint& c) {
  return (b.cost - a.cost) * (c.score - a.score) - (b.score - a.score) * (c.cost - a.cost);
}

/// Choosing between two models at random reaches every point of the line between them; the best
/// that mixing reaches is the upper hull. Its metrics are those of the hull itself, not of a
/// staircase.
Policy random_mixing(const std::vector<Single>& singles, const BestSingle& best) {
  std::vector<PolicyPoint> points;
  for (const Single& single : singles) points.push_back(single.point);
  Policy policy;
  policy.name = "random mixing";
  std::vector<DeferralPoint>& hull = policy.curve;
  for (const DeferralPoint& point : deferral_curve(points, best.cost_usd)) {
    while (hull.size() >= 2 && turn(hull[hull.size() - 2], hull.back(), point) >= 0)
      hull.pop_back();
    hull.push_back(point);
  }
  DeferralMetrics& metrics = policy.metrics;
  const auto least_cost = [&](double score) -> std::optional<double> {
    for (std::size_t i = 0; i < hull.size(); ++i) {
      if (hull[i].score < score) continue;
      if (i == 0) return hull[0].cost;
      const double share = (score - hull[i - 1].score) / (hull[i].score - hull[i - 1].score);
      return hull[i - 1].cost + share * (hull[i].cost - hull[i - 1].cost);
    }
    return std::nullopt;
  };
  for (std::size_t i = 1; i < hull.size(); ++i) {
    metrics.audc += (hull[i].cost - hull[i - 1].cost) * (hull[i].score + hull[i - 1].score) / 2;
  }
  if (!hull.empty()) {
    metrics.audc += (1 - hull.back().cost) * hull.back().score;
    metrics.peak = hull.back().score;
  }
  metrics.qnc = least_cost(best.score);
  metrics.c95 = least_cost(0.95 * best.score);
  return policy;
}

}  // namespace

PredictionTable predict(const OutcomeTable& table, const Pool& pool, const Scorer& scorer,
                        std::span<const float> embeddings) {
  const std::size_t dimension = scorer.dimension();
  if (embeddings.size() != table.queries.size() * dimension) {
    throw Error(ErrorCode::kInvalidArgument,
                "the outcome table has " + std::to_string(table.queries.size()) +
                    " queries and the router takes embeddings of " + std::to_string(dimension) +
                    " numbers, but there are " + std::to_string(embeddings.size()) +
                    " numbers: expected " + std::to_string(table.queries.size() * dimension));
  }
  const std::vector<std::size_t> columns = match_pairs(table, pool, scorer.pairs());
  PredictionTable result = unknown_predictions(table);
  Predictions predictions;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    scorer.predict(embeddings.subspan(query * dimension, dimension), predictions);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      result.quality[table.cell(query, columns[i])] = predictions.quality[i];
      result.output_tokens[table.cell(query, columns[i])] = predictions.tokens[i];
    }
  }
  return result;
}

PredictionTable predict_means(const OutcomeTable& table, const OutcomeTable& training) {
  if (training.pairs != table.pairs) {
    throw Error(ErrorCode::kInvalidArgument,
                "the training table does not have the same (model, budget) pairs");
  }
  std::vector<double> score(table.pairs.size()), tokens(table.pairs.size());
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    double observed = 0;
    for (std::size_t query = 0; query < training.queries.size(); ++query) {
      const std::size_t cell = training.cell(query, pair);
      if (std::isnan(training.scores[cell])) continue;
      score[pair] += training.scores[cell];
      tokens[pair] += training.output_tokens[cell];
      ++observed;
    }
    // No outcomes: 0/0 marks the pair as unknown.
    score[pair] /= observed;
    tokens[pair] /= observed;
  }
  PredictionTable result;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    result.quality.insert(result.quality.end(), score.begin(), score.end());
    result.output_tokens.insert(result.output_tokens.end(), tokens.begin(), tokens.end());
  }
  return result;
}

PredictionTable predict_oracle(const OutcomeTable& table) {
  return {table.scores, table.output_tokens};
}

Evaluation evaluate(const OutcomeTable& table, const PredictionTable& predictions,
                    const OutcomeTable& training, const SweepOptions& options) {
  const std::vector<std::uint32_t> complete = complete_queries(table);
  const OutcomeTable test = select_queries(table, complete);
  PredictionTable router;
  const std::size_t pairs = table.pairs.size();
  if (predictions.quality.size() != table.queries.size() * pairs ||
      predictions.output_tokens.size() != predictions.quality.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the predictions are not one for each cell of the table");
  }
  for (const std::uint32_t query : complete) {
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      router.quality.push_back(predictions.quality[table.cell(query, pair)]);
      router.output_tokens.push_back(predictions.output_tokens[table.cell(query, pair)]);
    }
  }

  Evaluation evaluation;
  evaluation.queries = test.queries.size();
  evaluation.best_single = best_single(test, options.available_only);
  const BestSingle& best = evaluation.best_single;
  const std::vector<double> lambdas = lambda_grid(best.cost_usd);

  const auto add = [&](const std::string& name, const std::vector<PolicyPoint>& points) {
    const std::vector<DeferralPoint> curve = deferral_curve(points, best.cost_usd);
    evaluation.policies.push_back({name, curve, measure(curve, best.score)});
  };
  SweepOptions unlimited = options;
  unlimited.unlimited_only = true;
  // The truth needs no floor.
  SweepOptions truth = options;
  truth.token_floor = 0;

  add("router", sweep(test, router, lambdas, options));
  add("point router", sweep(test, router, lambdas, unlimited));
  const PredictionTable means = predict_means(test, training);
  add("mean curve", sweep(test, means, lambdas, options));
  add("mean curve, unlimited", sweep(test, means, lambdas, unlimited));
  const std::vector<Single> singles = single_models(test, options.available_only);
  evaluation.policies.push_back(random_mixing(singles, best));
  add("oracle", sweep(test, predict_oracle(test), lambdas, truth));
  for (const Single& single : singles) add(single.name, {single.point});
  return evaluation;
}

}  // namespace r2router
