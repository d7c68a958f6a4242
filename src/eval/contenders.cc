#include "r2router/eval/contenders.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>

#include "r2router/error.h"

#include "eval/ledger.h"
#include "pool/instruction.h"

namespace r2router::eval {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

PredictionTable unknown_predictions(const OutcomeTable& table) {
  const std::size_t cells = table.queries.size() * table.pairs.size();
  return {.quality = std::vector<double>(cells, kUnknown),
          .output_tokens = std::vector<double>(cells, kUnknown)};
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

/// PredictionTable::predicts_length. A budget that is a length counts as predicted if the scorer
/// has no unlimited pair of its model, whose length would replace it.
std::vector<bool> predicted_lengths(const OutcomeTable& table, const Scorer& scorer,
                                    std::span<const std::size_t> columns) {
  std::vector<bool> predicted(table.pairs.size(), true);
  const std::span<const Pair> pairs = scorer.pairs();
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const Pair unlimited{pairs[i].model, Budget::unlimited()};
    predicted[columns[i]] = scorer.predicts_length(i) ||
                            std::find(pairs.begin(), pairs.end(), unlimited) == pairs.end();
  }
  return predicted;
}

/// A contender's curve and its metrics.
struct Measured {
  std::vector<DeferralPoint> curve = {};
  DeferralMetrics metrics = {};
};

/// The table's column of each single model that is a policy of its own.
std::vector<std::uint32_t> single_models(const OutcomeTable& table, bool available_only) {
  std::vector<std::uint32_t> columns;
  for (std::uint32_t pair = 0; pair < table.pairs.size(); ++pair) {
    const ModelSpec& model = table.models[table.pairs[pair].model];
    if (table.pairs[pair].budget.is_unlimited() && (model.available || !available_only)) {
      columns.push_back(pair);
    }
  }
  return columns;
}

/// The turn of the path a → b → c: above 0 to the left, so that b is below the line from a to
/// c.
double turn(const DeferralPoint& a, const DeferralPoint& b, const DeferralPoint& c) {
  return (b.cost - a.cost) * (c.score - a.score) - (b.score - a.score) * (c.cost - a.cost);
}

/// Choosing between two models at random reaches every point of the line between them; the best
/// that mixing reaches is the upper hull. Its metrics are those of the hull itself, not of a
/// staircase.
Measured random_mixing(std::span<const SweepPoint> singles, const BestSingle& best) {
  Measured mixing;
  std::vector<DeferralPoint>& hull = mixing.curve;
  for (const DeferralPoint& point : deferral_curve(singles, best.unit)) {
    while (hull.size() >= 2 && turn(hull[hull.size() - 2], hull.back(), point) >= 0)
      hull.pop_back();
    hull.push_back(point);
  }
  DeferralMetrics& metrics = mixing.metrics;
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
  return mixing;
}

/// Every policy of an evaluation, in its order: the contenders, random mixing, the single models.
std::vector<Measured> measure_all(std::span<const std::vector<SweepPoint>> contenders,
                                  std::span<const SweepPoint> singles, const BestSingle& best) {
  std::vector<Measured> all;
  const auto add = [&](std::span<const SweepPoint> points) {
    Measured& added = all.emplace_back();
    added.curve = deferral_curve(points, best.unit);
    added.metrics = measure(added.curve, best.score);
  };
  for (const std::vector<SweepPoint>& points : contenders) add(points);
  all.push_back(random_mixing(singles, best));
  for (const SweepPoint& single : singles) add({&single, 1});
  return all;
}

/// The four metrics as numbers; a cost that is not reached is infinite.
std::array<double, 4> numbers(const DeferralMetrics& metrics) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  return {metrics.audc, metrics.qnc.value_or(kNever), metrics.peak, metrics.c95.value_or(kNever)};
}

/// From the 2.5 % quantile to the 97.5 % quantile.
Interval interval(std::vector<double> values) {
  // ∞ − ∞ is not a number: in that resample the difference may be anything, and so it may be here.
  if (std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); })) {
    return {};
  }
  std::sort(values.begin(), values.end());
  const auto finite = [](double value) {
    return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
  };
  const std::size_t tail = values.size() / 40;
  return {finite(values[tail]), finite(values[values.size() - 1 - tail])};
}

/// How often each query counts in the next resample.
void draw(std::mt19937_64& random, std::vector<std::uint32_t>& weights) {
  const std::size_t queries = weights.size();
  std::ranges::fill(weights, 0u);
  for (std::size_t i = 0; i < queries; ++i) {
    // The standard's own distribution differs between its implementations.
    ++weights[static_cast<std::size_t>((random() >> 32) * queries >> 32)];
  }
}

/// Draws the resamples and puts intervals into `evaluation`.
class Resampling {
 public:
  /// `singles`: the pairs of the single models, with those of `best` among them.
  Resampling(const OutcomeTable& table, std::span<const ChosenPairs> contenders,
             std::span<const std::uint32_t> singles, const BestSingle& best)
      : queries_(table.queries.size()),
        best_(best),
        points_(contenders.size()),
        single_points_(singles.size()) {
    const double largest = largest_cost(table);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      ledgers_.emplace_back(table, contenders[i], largest);
      points_[i].resize(contenders[i].settings);
    }
    for (const std::uint32_t pair : singles) {
      if (table.pairs[pair].model == best.model) reference_ = single_ledgers_.size();
      if (table.pairs[pair].model == best.unit_model) unit_ = single_ledgers_.size();
      const ChosenPairs always{.settings = 1, .pairs = std::vector<std::uint32_t>(queries_, pair)};
      single_ledgers_.emplace_back(table, always, largest);
    }
  }

  void add_intervals(const ResampleOptions& options, std::vector<ContenderResult>& policies) {
    // values[policy][metric][resample]
    std::vector<std::array<std::vector<double>, 4>> values(policies.size()),
        advantages(policies.size());
    std::mt19937_64 random(options.seed);
    for (std::uint32_t i = 0; i < options.resamples; ++i) {
      if (options.progress) options.progress(i, options.resamples);
      const std::vector<Measured> all = measure_resample(random);
      const std::array<double, 4> first = numbers(all.front().metrics);
      for (std::size_t policy = 0; policy < policies.size(); ++policy) {
        const std::array<double, 4> own = numbers(all[policy].metrics);
        for (std::size_t metric = 0; metric < own.size(); ++metric) {
          values[policy][metric].push_back(own[metric]);
          advantages[policy][metric].push_back(first[metric] - own[metric]);
        }
      }
    }
    const auto summarise = [](const std::array<std::vector<double>, 4>& of) {
      return MetricIntervals{interval(of[0]), interval(of[1]), interval(of[2]), interval(of[3])};
    };
    for (std::size_t policy = 0; policy < policies.size(); ++policy) {
      policies[policy].intervals = summarise(values[policy]);
      if (policy > 0) policies[policy].advantage = summarise(advantages[policy]);
    }
  }

 private:
  std::vector<Measured> measure_resample(std::mt19937_64& random) {
    weights_.resize(queries_);
    draw(random, weights_);
    for (std::size_t i = 0; i < ledgers_.size(); ++i) ledgers_[i].average(weights_, points_[i]);
    for (std::size_t i = 0; i < single_ledgers_.size(); ++i) {
      single_ledgers_[i].average(weights_, {&single_points_[i], 1});
    }
    // The model that is best on all queries stays the reference, and the one whose cost is the unit
    // stays that: a unit that changed with the resample would make costs jump.
    BestSingle best = best_;
    best.score = single_points_[reference_].score;
    best.cost = single_points_[reference_].cost;
    const double unit = single_points_[unit_].cost;
    best.unit = unit > 0 ? unit : 1;
    return measure_all(points_, single_points_, best);
  }

  std::size_t queries_;
  BestSingle best_;
  std::size_t reference_ = 0, unit_ = 0;  ///< among the single models
  std::vector<Ledger> ledgers_, single_ledgers_;
  std::vector<std::vector<SweepPoint>> points_;
  std::vector<SweepPoint> single_points_;
  std::vector<std::uint32_t> weights_;
};

/// Each pair's mean outcome; NaN where nothing was observed.
struct PairMean {
  double score = 0, output_tokens = 0, cost = 0;
};

std::vector<PairMean> pair_means(const OutcomeTable& table) {
  std::vector<PairMean> means(table.pairs.size());
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    double observed = 0;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      const std::size_t cell = table.cell(query, pair);
      if (std::isnan(table.scores[cell])) continue;
      means[pair].score += table.scores[cell];
      means[pair].output_tokens += table.output_tokens[cell];
      means[pair].cost += answer_cost(table, query, pair, table.output_tokens[cell]);
      ++observed;
    }
    means[pair].score /= observed;
    means[pair].output_tokens /= observed;
    means[pair].cost /= observed;
  }
  return means;
}

void check_same_pairs(const OutcomeTable& table, const OutcomeTable& training) {
  if (training.pairs == table.pairs) return;
  throw Error(ErrorCode::kInvalidArgument,
              "the training table does not have the same (model, budget) pairs");
}

void check_predictions(const OutcomeTable& table, const PredictionTable& predictions) {
  const std::size_t cells = table.queries.size() * table.pairs.size();
  if (predictions.quality.size() == cells && predictions.output_tokens.size() == cells) return;
  throw Error(ErrorCode::kInvalidArgument,
              "there are " + std::to_string(predictions.quality.size()) + " quality and " +
                  std::to_string(predictions.output_tokens.size()) +
                  " length predictions: expected one for each of the table's " +
                  std::to_string(cells) + " cells");
}

/// The contender's predictions for these queries.
PredictionTable select_predictions(const OutcomeTable& table, const Contender& contender,
                                   std::span<const std::uint32_t> queries) {
  check_predictions(table, contender.predictions);
  const std::size_t pairs = table.pairs.size();
  PredictionTable result{.predicts_length = contender.predictions.predicts_length};
  for (const std::uint32_t query : queries) {
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      result.quality.push_back(contender.predictions.quality[table.cell(query, pair)]);
      result.output_tokens.push_back(contender.predictions.output_tokens[table.cell(query, pair)]);
    }
  }
  return result;
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
  result.predicts_length = predicted_lengths(table, scorer, columns);
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
  check_same_pairs(table, training);
  const std::vector<PairMean> means = pair_means(training);
  PredictionTable result;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    for (const PairMean& mean : means) {
      result.quality.push_back(mean.score);
      result.output_tokens.push_back(mean.output_tokens);
    }
  }
  return result;
}

PredictionTable predict_oracle(const OutcomeTable& table) {
  return {.quality = table.scores, .output_tokens = table.output_tokens};
}

std::optional<PredictionTable> keep_best_instructions(const OutcomeTable& table,
                                                      const PredictionTable& predictions,
                                                      const OutcomeTable& training) {
  check_same_pairs(table, training);
  if (std::none_of(table.models.begin(), table.models.end(),
                   [](const ModelSpec& model) { return !model.instruction.empty(); })) {
    return std::nullopt;
  }
  check_predictions(table, predictions);
  const std::vector<PairMean> means = pair_means(training);
  std::map<std::string_view, std::size_t> best;  // base model -> pair
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const auto [entry, is_new] =
        best.emplace(internal::base_model_name(table.models[table.pairs[pair].model]), pair);
    const PairMean &mean = means[pair], &before = means[entry->second];
    if (mean.score > before.score || (mean.score == before.score && mean.cost < before.cost)) {
      entry->second = pair;
    }
  }
  PredictionTable result = predictions;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const std::uint32_t model = table.pairs[pair].model;
    const std::size_t kept = best.at(internal::base_model_name(table.models[model]));
    if (table.pairs[kept].model == model) continue;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      result.quality[table.cell(query, pair)] = kUnknown;
      result.output_tokens[table.cell(query, pair)] = kUnknown;
    }
  }
  return result;
}

std::vector<Contender> standard_contenders(const OutcomeTable& table,
                                           const PredictionTable& predictions,
                                           const OutcomeTable& training,
                                           const SweepOptions& sweep) {
  SweepOptions unlimited = sweep;
  unlimited.unlimited_only = true;
  SweepOptions truth = sweep;
  truth.token_floor = 0;  // the truth needs none
  const PredictionTable means = predict_means(table, training);
  const bool limited = std::any_of(table.pairs.begin(), table.pairs.end(),
                                   [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  std::vector<Contender> contenders = {{"router", predictions, sweep}};
  if (limited) contenders.push_back({"point router", predictions, unlimited});
  if (auto best = keep_best_instructions(table, predictions, training)) {
    contenders.push_back({"one instruction per model", *std::move(best), sweep});
  }
  contenders.push_back({"mean curve", means, sweep});
  if (limited) contenders.push_back({"unlimited mean curve", means, unlimited});
  contenders.push_back({"oracle", predict_oracle(table), truth});
  return contenders;
}

Evaluation evaluate(const OutcomeTable& table, std::span<const Contender> contenders,
                    bool available_only, const ResampleOptions& resampling) {
  if (contenders.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no contender to evaluate");
  }
  const std::vector<std::uint32_t> complete = complete_queries(table);
  const OutcomeTable test = select_queries(table, complete);
  Evaluation evaluation;
  evaluation.queries = test.queries.size();
  evaluation.best_single = best_single(test, available_only);
  evaluation.lambdas = lambda_grid(evaluation.best_single.unit);

  std::vector<ChosenPairs> choices;
  std::vector<std::vector<SweepPoint>> points;
  for (const Contender& contender : contenders) {
    const PredictionTable predictions = select_predictions(table, contender, complete);
    choices.push_back(choose_pairs(test, predictions, evaluation.lambdas, contender.sweep));
    points.push_back(average(test, choices.back(), evaluation.lambdas));
    evaluation.policies.push_back({.name = contender.name, .points = points.back()});
    if (choices.size() == 1) {
      evaluation.reliability =
          check_reliability(test, predictions, choices.back(), evaluation.lambdas, contender.sweep);
    }
  }
  evaluation.policies.push_back({.name = "random mixing"});
  const std::vector<std::uint32_t> singles = single_models(test, available_only);
  std::vector<SweepPoint> single_points;
  for (const std::uint32_t pair : singles) {
    const ChosenPairs always{.settings = 1,
                             .pairs = std::vector<std::uint32_t>(test.queries.size(), pair)};
    const std::vector<double> no_setting = {0};
    single_points.push_back(average(test, always, no_setting).front());
    evaluation.policies.push_back(
        {.name = test.models[test.pairs[pair].model].name, .points = {single_points.back()}});
  }

  const std::vector<Measured> measured = measure_all(points, single_points, evaluation.best_single);
  for (std::size_t i = 0; i < measured.size(); ++i) {
    evaluation.policies[i].curve = measured[i].curve;
    evaluation.policies[i].metrics = measured[i].metrics;
  }
  if (resampling.resamples > 0) {
    Resampling(test, choices, singles, evaluation.best_single)
        .add_intervals(resampling, evaluation.policies);
  }
  return evaluation;
}

ChosenEvaluation evaluate_chosen(const OutcomeTable& table, std::span<const std::uint32_t> pairs,
                                 const BestSingle& best, const ResampleOptions& resampling) {
  const ChosenPairs choices{.settings = 1, .pairs = {pairs.begin(), pairs.end()}};
  const std::vector<double> no_setting = {0};
  const SweepPoint mean = average(table, choices, no_setting).front();
  const auto share = [](double value, double of) { return of > 0 ? value / of : 0; };
  ChosenEvaluation result{.score = mean.score,
                          .cost = mean.cost,
                          .score_share = share(mean.score, best.score),
                          .cost_share = share(mean.cost, best.unit)};
  if (resampling.resamples == 0) return result;

  const double largest = largest_cost(table);
  const auto single = [&](std::uint32_t model) {
    const auto pair = std::ranges::find(table.pairs, Pair{model, Budget()});
    const auto column = static_cast<std::uint32_t>(pair - table.pairs.begin());
    return Ledger(
        table, {.settings = 1, .pairs = std::vector<std::uint32_t>(table.queries.size(), column)},
        largest);
  };
  const Ledger chosen(table, choices, largest), reference = single(best.model),
                                                unit = single(best.unit_model);
  std::vector<double> scores, score_shares, cost_shares;
  std::vector<std::uint32_t> weights(table.queries.size());
  std::mt19937_64 random(resampling.seed);
  for (std::uint32_t i = 0; i < resampling.resamples; ++i) {
    draw(random, weights);
    SweepPoint of_chosen, of_reference, of_unit;
    chosen.average(weights, {&of_chosen, 1});
    reference.average(weights, {&of_reference, 1});
    unit.average(weights, {&of_unit, 1});
    scores.push_back(of_chosen.score);
    score_shares.push_back(share(of_chosen.score, of_reference.score));
    cost_shares.push_back(share(of_chosen.cost, best.all_free ? 1 : of_unit.cost));
  }
  result.score_interval = interval(std::move(scores));
  result.score_share_interval = interval(std::move(score_shares));
  result.cost_share_interval = interval(std::move(cost_shares));
  return result;
}

std::vector<DatasetEvaluation> evaluate_datasets(const OutcomeTable& table,
                                                 std::span<const Contender> contenders,
                                                 bool available_only,
                                                 const ResampleOptions& resampling) {
  std::map<std::string, std::vector<std::uint32_t>> datasets;
  for (const std::uint32_t query : complete_queries(table)) {
    datasets[table.queries[query].dataset].push_back(query);
  }
  std::vector<DatasetEvaluation> result;
  for (const auto& [name, queries] : datasets) {
    std::vector<Contender> selected;
    for (const Contender& contender : contenders) {
      selected.push_back(
          {contender.name, select_predictions(table, contender, queries), contender.sweep});
    }
    result.push_back(
        {name, evaluate(select_queries(table, queries), selected, available_only, resampling)});
  }
  return result;
}

}  // namespace r2router::eval
