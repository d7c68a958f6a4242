#include "r2router/eval/contenders.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/outcomes.h"

namespace r2router::eval {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;

/// Models at mean costs of 2, 4 and 10 (dollars, of 10⁶ tokens at $1 per million) and scores of
/// 0.2, 0.25 and 1. The middle one lies below the line from the first to the last.
OutcomeTable three_models() {
  OutcomeTable table;
  table.models = {{.name = "cheap", .prices = {.output = 1}},
                  {.name = "middle", .prices = {.output = 1}},
                  {.name = "best", .prices = {.output = 1}}};
  for (std::uint32_t model = 0; model < 3; ++model) table.pairs.push_back({model, Budget()});
  const double scores[2][3] = {{0.4, 0.5, 1}, {0, 0, 1}};
  const double tokens[2][3] = {{1e6, 5e6, 8e6}, {3e6, 3e6, 12e6}};
  for (int query = 0; query < 2; ++query) {
    table.queries.push_back({.id = std::to_string(query), .text = "t"});
    table.scores.insert(table.scores.end(), scores[query], scores[query] + 3);
    table.output_tokens.insert(table.output_tokens.end(), tokens[query], tokens[query] + 3);
  }
  return table;
}

const ContenderResult& policy(const Evaluation& evaluation, const std::string& name) {
  const auto found =
      std::find_if(evaluation.policies.begin(), evaluation.policies.end(),
                   [&](const ContenderResult& policy) { return policy.name == name; });
  EXPECT_NE(found, evaluation.policies.end()) << name;
  return *found;
}

/// The standard policies for predictions that were learned from `table` itself.
Evaluation evaluate_standard(const OutcomeTable& table, const PredictionTable& predictions,
                             const SweepOptions& options = {},
                             const ResampleOptions& resampling = {}) {
  return evaluate(table, standard_contenders(table, predictions, table, options),
                  options.available_only, resampling);
}

TEST(Evaluate, PutsTheRouterBesideWhatItMustBeat) {
  const OutcomeTable table = three_models();
  const Evaluation evaluation = evaluate_standard(table, predict_oracle(table));
  EXPECT_EQ(evaluation.queries, 2u);
  EXPECT_EQ(evaluation.best_single.model, 2u);
  EXPECT_DOUBLE_EQ(evaluation.best_single.cost, 10);
  std::vector<std::string> names;
  for (const ContenderResult& policy : evaluation.policies) names.push_back(policy.name);
  EXPECT_THAT(names, ElementsAre("router", "mean curve", "oracle", "random mixing", "cheap",
                                 "middle", "best"));
  // A single model is one step.
  EXPECT_DOUBLE_EQ(policy(evaluation, "cheap").metrics.audc, 0.8 * 0.2);
  EXPECT_FALSE(policy(evaluation, "cheap").metrics.c95);
  EXPECT_DOUBLE_EQ(policy(evaluation, "best").metrics.audc, 0);
  EXPECT_DOUBLE_EQ(policy(evaluation, "best").metrics.qnc.value(), 1);
  // This router knows the truth.
  EXPECT_DOUBLE_EQ(policy(evaluation, "router").metrics.audc,
                   policy(evaluation, "oracle").metrics.audc);
}

TEST(Evaluate, RandomMixingFollowsTheHullOfSingleModels) {
  const OutcomeTable table = three_models();
  const Evaluation evaluation = evaluate_standard(table, predict_oracle(table));
  const ContenderResult& mixing = policy(evaluation, "random mixing");
  ASSERT_EQ(mixing.curve.size(), 2u);  // "middle" is below the hull
  EXPECT_DOUBLE_EQ(mixing.metrics.audc, 0.8 * (0.2 + 1) / 2);
  EXPECT_DOUBLE_EQ(mixing.metrics.peak, 1);
  EXPECT_DOUBLE_EQ(mixing.metrics.qnc.value(), 1);
  // 0.95 is 0.75/0.8 of the way from 0.2 to 1.
  EXPECT_NEAR(mixing.metrics.c95.value(), 0.2 + 0.8 * (0.75 / 0.8), 1e-12);
}

TEST(Evaluate, ThePointRouterMayNotUseLimitedBudgets) {
  OutcomeTable table = three_models();
  const OutcomeTable capped = apply_hard_cap(table, std::vector<std::uint32_t>{9000000});
  const Evaluation evaluation = evaluate_standard(capped, predict_oracle(capped));
  const Evaluation unlimited = evaluate_standard(table, predict_oracle(table));
  std::vector<std::string> names;
  for (const ContenderResult& policy : evaluation.policies) names.push_back(policy.name);
  names.resize(6);
  EXPECT_THAT(names, ElementsAre("router", "point router", "mean curve", "unlimited mean curve",
                                 "oracle", "random mixing"));
  EXPECT_DOUBLE_EQ(policy(evaluation, "point router").metrics.audc,
                   policy(unlimited, "router").metrics.audc);
}

TEST(Evaluate, LeavesOutUnavailableModelsEverywhereOnRequest) {
  OutcomeTable table = three_models();
  table.models[2].available = false;
  const Evaluation evaluation =
      evaluate_standard(table, predict_oracle(table), {.available_only = true});
  EXPECT_EQ(evaluation.best_single.model, 1u);
  EXPECT_DOUBLE_EQ(policy(evaluation, "oracle").metrics.peak, 0.25);
  EXPECT_TRUE(std::none_of(evaluation.policies.begin(), evaluation.policies.end(),
                           [](const ContenderResult& policy) { return policy.name == "best"; }));
}

TEST(Evaluate, UsesCompleteQueriesAlone) {
  OutcomeTable table = three_models();
  table.queries.push_back({.id = "2", .text = "t"});
  for (const double score : {1.0, std::nan(""), 1.0}) {
    table.scores.push_back(score);
    table.output_tokens.push_back(std::isnan(score) ? score : 1.0);
  }
  PredictionTable predictions = predict_oracle(table);
  const Evaluation evaluation = evaluate_standard(table, predictions);
  EXPECT_EQ(evaluation.queries, 2u);
  EXPECT_DOUBLE_EQ(evaluation.best_single.cost, 10);
}

TEST(Evaluate, RefusesPredictionsOfAnotherShape) {
  const OutcomeTable table = three_models();
  const std::vector<Contender> wrong = {{"router", {{1}, {1}}}};
  expect_error(ErrorCode::kInvalidArgument, "6 cells", [&] { evaluate(table, wrong); });
  expect_error(ErrorCode::kInvalidArgument, "no contender", [&] { evaluate(table, {}); });
}

TEST(Evaluate, AFreeBestModelIsReachedAtNoCost) {
  OutcomeTable table = three_models();
  table.models[2].prices.output = 0;
  const Evaluation evaluation =
      evaluate_standard(table, predict_oracle(table), {}, {.resamples = 40});
  EXPECT_EQ(evaluation.best_single.unit_model, 1u);  // the dearest of those that cost something
  EXPECT_DOUBLE_EQ(evaluation.best_single.unit, 4);
  for (const char* const name : {"router", "random mixing", "best", "oracle"}) {
    const ContenderResult& free = policy(evaluation, name);
    EXPECT_DOUBLE_EQ(free.metrics.audc, 1) << name;
    EXPECT_DOUBLE_EQ(free.metrics.qnc.value(), 0) << name;
    EXPECT_DOUBLE_EQ(free.metrics.c95.value(), 0) << name;
    EXPECT_DOUBLE_EQ(free.intervals->audc.low.value(), 1) << name;
  }
  EXPECT_DOUBLE_EQ(policy(evaluation, "cheap").metrics.audc, 0.5 * 0.2);
  EXPECT_FALSE(policy(evaluation, "cheap").metrics.qnc);
}

TEST(Evaluate, WhereAllModelsAreFreeTheAreaIsTheBestScore) {
  OutcomeTable table = three_models();
  for (ModelSpec& model : table.models) model.prices.output = 0;
  const Evaluation evaluation =
      evaluate_standard(table, predict_oracle(table), {}, {.resamples = 40});
  EXPECT_TRUE(evaluation.best_single.all_free);
  EXPECT_DOUBLE_EQ(policy(evaluation, "router").metrics.audc, 1);
  EXPECT_DOUBLE_EQ(policy(evaluation, "random mixing").metrics.audc, 1);
  EXPECT_DOUBLE_EQ(policy(evaluation, "middle").metrics.audc, 0.25);
  EXPECT_DOUBLE_EQ(policy(evaluation, "router").metrics.c95.value(), 0);
  EXPECT_DOUBLE_EQ(policy(evaluation, "mean curve").advantage->audc.low.value(), 0);

  // Lengths still distinguish them, as dollars did at a dollar per million tokens.
  table.cost_measure = CostMeasure::kLength;
  const Evaluation by_length = evaluate_standard(table, predict_oracle(table));
  const Evaluation by_price = evaluate_standard(three_models(), predict_oracle(three_models()));
  EXPECT_DOUBLE_EQ(by_length.best_single.unit, 1e7);
  for (std::size_t i = 0; i < by_price.policies.size(); ++i) {
    EXPECT_NEAR(by_length.policies[i].metrics.audc, by_price.policies[i].metrics.audc, 1e-12);
  }
}

TEST(EvaluateChosen, IsTheMeanOfTheChoicesWithItsInterval) {
  const OutcomeTable table = testing::random_table(3, 80, 5);
  std::vector<std::uint32_t> pairs;
  for (std::uint32_t i = 0; i < 80; ++i) {
    pairs.push_back(i % static_cast<std::uint32_t>(table.pairs.size()));
  }
  const BestSingle best = best_single(table);
  constexpr std::uint32_t kResamples = 200;
  const ChosenEvaluation chosen =
      evaluate_chosen(table, pairs, best, {.resamples = kResamples, .seed = 3});
  const auto best_pair = static_cast<std::size_t>(
      std::ranges::find(table.pairs, Pair{best.model, Budget()}) - table.pairs.begin());
  double score = 0, cost = 0;
  std::vector<double> shares, cost_shares;
  std::mt19937_64 random(3);
  for (std::uint32_t i = 0; i <= kResamples; ++i) {
    double own = 0, of_best = 0, paid = 0, best_paid = 0;
    for (std::size_t j = 0; j < 80; ++j) {
      // All queries once, then the resamples.
      const std::size_t query = i == 0 ? j : static_cast<std::size_t>((random() >> 32) * 80 >> 32);
      own += table.scores[table.cell(query, pairs[query])];
      of_best += table.scores[table.cell(query, best_pair)];
      paid += answer_cost(table, query, pairs[query],
                          table.output_tokens[table.cell(query, pairs[query])]);
      best_paid +=
          answer_cost(table, query, best_pair, table.output_tokens[table.cell(query, best_pair)]);
    }
    if (i == 0) {
      score = own / 80;
      cost = paid / 80;
      EXPECT_NEAR(chosen.score_share, own / of_best, 1e-12);
      EXPECT_NEAR(chosen.cost_share, paid / best_paid, 1e-12);
    } else {
      shares.push_back(own / of_best);
      cost_shares.push_back(paid / best_paid);
    }
  }
  EXPECT_NEAR(chosen.score, score, 1e-12);
  EXPECT_NEAR(chosen.cost, cost, 1e-15);
  std::ranges::sort(shares);
  std::ranges::sort(cost_shares);
  EXPECT_NEAR(chosen.score_share_interval->low.value(), shares[5], 1e-9);
  EXPECT_NEAR(chosen.score_share_interval->high.value(), shares[194], 1e-9);
  EXPECT_NEAR(chosen.cost_share_interval->low.value(), cost_shares[5], 1e-9);
  EXPECT_FALSE(evaluate_chosen(table, pairs, best).score_interval);
}

TEST(Evaluate, OneQueryIsEnough) {
  const OutcomeTable table = select_queries(three_models(), std::vector<std::uint32_t>{1});
  const Evaluation evaluation =
      evaluate_standard(table, predict_oracle(table), {}, {.resamples = 50});
  EXPECT_EQ(evaluation.queries, 1u);
  // There is only one resample of one query.
  const ContenderResult& oracle = policy(evaluation, "oracle");
  EXPECT_NEAR(oracle.intervals->audc.low.value(), oracle.metrics.audc, 1e-9);
  EXPECT_NEAR(oracle.intervals->audc.high.value(), oracle.metrics.audc, 1e-9);
}

/// The metrics of choices on a table, from the functions that need no resampling.
DeferralMetrics measure_choices(const OutcomeTable& table, const ChosenPairs& choices,
                                const std::vector<double>& lambdas, std::uint32_t reference) {
  const std::vector<double> none = {0};
  const auto pair = static_cast<std::uint32_t>(
      std::find(table.pairs.begin(), table.pairs.end(), Pair{reference, Budget()}) -
      table.pairs.begin());
  const ChosenPairs always{.settings = 1,
                           .pairs = std::vector<std::uint32_t>(table.queries.size(), pair)};
  const SweepPoint best = average(table, always, none).front();
  return measure(deferral_curve(average(table, choices, lambdas), best.cost), best.score);
}

TEST(Evaluate, IntervalsAreThoseOfAPlainRecomputation) {
  const OutcomeTable table = testing::random_table(3, 60, 7);
  const PredictionTable first = testing::random_predictions(table, 8);
  const PredictionTable second = predict_means(table, table);
  const std::vector<Contender> contenders = {{"router", first}, {"mean curve", second}};
  constexpr std::uint32_t kResamples = 200;
  const Evaluation evaluation =
      evaluate(table, contenders, false, {.resamples = kResamples, .seed = 11});

  const std::vector<double>& lambdas = evaluation.lambdas;
  const ChosenPairs choices[] = {choose_pairs(table, first, lambdas),
                                 choose_pairs(table, second, lambdas)};
  std::vector<double> audc, c95, gained;
  std::mt19937_64 random(11);
  for (std::uint32_t i = 0; i < kResamples; ++i) {
    std::vector<std::uint32_t> drawn;
    for (std::size_t j = 0; j < table.queries.size(); ++j) {
      drawn.push_back(static_cast<std::uint32_t>((random() >> 32) * table.queries.size() >> 32));
    }
    const OutcomeTable resample = select_queries(table, drawn);
    DeferralMetrics metrics[2];
    for (int policy = 0; policy < 2; ++policy) {
      ChosenPairs repeated{.settings = lambdas.size(), .pairs = {}};
      for (const std::uint32_t query : drawn) {
        const auto begin =
            choices[policy].pairs.begin() + static_cast<std::ptrdiff_t>(query * lambdas.size());
        repeated.pairs.insert(repeated.pairs.end(), begin,
                              begin + static_cast<std::ptrdiff_t>(lambdas.size()));
      }
      metrics[policy] = measure_choices(resample, repeated, lambdas, evaluation.best_single.model);
    }
    audc.push_back(metrics[0].audc);
    c95.push_back(metrics[0].c95.value_or(std::numeric_limits<double>::infinity()));
    gained.push_back(metrics[0].audc - metrics[1].audc);
  }
  for (std::vector<double>* values : {&audc, &c95, &gained}) {
    std::sort(values->begin(), values->end());
  }
  const ContenderResult& router = policy(evaluation, "router");
  EXPECT_NEAR(router.intervals->audc.low.value(), audc[5], 1e-8);
  EXPECT_NEAR(router.intervals->audc.high.value(), audc[194], 1e-8);
  EXPECT_NEAR(router.intervals->c95.low.value(), c95[5], 1e-8);
  EXPECT_FALSE(router.advantage);
  const ContenderResult& means = policy(evaluation, "mean curve");
  EXPECT_NEAR(means.advantage->audc.low.value(), gained[5], 1e-8);
  EXPECT_NEAR(means.advantage->audc.high.value(), gained[194], 1e-8);
}

TEST(Evaluate, AnIntervalKnowsThatAScoreIsNeverReached) {
  const OutcomeTable table = testing::random_table(3, 60, 7);
  const Evaluation evaluation =
      evaluate_standard(table, testing::random_predictions(table, 8), {}, {.resamples = 100});
  const std::string best = table.models[evaluation.best_single.model].name;
  // The reference reaches itself at its own cost in every resample, to the last bit.
  EXPECT_EQ(policy(evaluation, best).intervals->qnc.low, 1);
  EXPECT_EQ(policy(evaluation, best).intervals->qnc.high, 1);
  const std::string worst = table.models.front().name;
  EXPECT_FALSE(policy(evaluation, worst).intervals->qnc.high);
  EXPECT_FALSE(policy(evaluation, worst).advantage->qnc.low);  // −∞: the router reaches it
}

TEST(EvaluateDatasets, MeasuresEachAgainstItsOwnBestModel) {
  const OutcomeTable table = testing::random_table(3, 60, 7);
  const PredictionTable predictions = testing::random_predictions(table, 8);
  const std::vector<Contender> contenders = standard_contenders(table, predictions, table);
  const std::vector<DatasetEvaluation> datasets = evaluate_datasets(table, contenders);
  ASSERT_EQ(datasets.size(), 2u);
  EXPECT_EQ(datasets[0].dataset, "a");
  EXPECT_EQ(datasets[0].evaluation.queries, 20u);
  std::vector<std::uint32_t> rows;
  PredictionTable selected;
  for (std::uint32_t i = 0; i < table.queries.size(); i += 3) {
    rows.push_back(i);
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      selected.quality.push_back(predictions.quality[table.cell(i, pair)]);
      selected.output_tokens.push_back(predictions.output_tokens[table.cell(i, pair)]);
    }
  }
  const OutcomeTable part = select_queries(table, rows);
  const Evaluation alone = evaluate(part, standard_contenders(part, selected, table));
  EXPECT_EQ(datasets[0].evaluation.best_single.model, alone.best_single.model);
  for (std::size_t i = 0; i < alone.policies.size(); ++i) {
    EXPECT_EQ(datasets[0].evaluation.policies[i].name, alone.policies[i].name);
    EXPECT_DOUBLE_EQ(datasets[0].evaluation.policies[i].metrics.audc,
                     alone.policies[i].metrics.audc);
  }
}

TEST(KeepBestInstructions, KeepsOneEntryOfEachModel) {
  OutcomeTable table;
  table.models = {{.name = "m"},
                  {.name = "m (brief)", .instruction = "Be brief."},
                  {.name = "n (long)", .prices = {.output = 2}, .instruction = "long"},
                  {.name = "n (short)", .prices = {.output = 1}, .instruction = "short"}};
  table.queries = {{.id = "0", .text = "x"}};
  for (std::uint32_t model = 0; model < 4; ++model) table.pairs.push_back({model, Budget()});
  table.scores = {0.2, 0.6, 0.5, 0.5};  // of "n" both are as good, and the short one is cheaper
  table.output_tokens = {5, 5, 5, 5};
  const auto kept = keep_best_instructions(table, predict_oracle(table), table);
  ASSERT_TRUE(kept);
  using ::testing::IsNan;
  EXPECT_THAT(kept->quality, ElementsAre(IsNan(), 0.6, IsNan(), 0.5));
  EXPECT_FALSE(
      keep_best_instructions(three_models(), predict_oracle(three_models()), three_models()));
}

TEST(PredictMeans, AveragesWhatWasObserved) {
  OutcomeTable training = three_models();
  training.scores[0] = training.output_tokens[0] = std::nan("");
  const PredictionTable means = predict_means(three_models(), training);
  EXPECT_THAT(means.quality, ElementsAre(0, 0.25, 1, 0, 0.25, 1));
  EXPECT_THAT(means.output_tokens, ElementsAre(3e6, 4e6, 10e6, 3e6, 4e6, 10e6));
  training.pairs.pop_back();
  expect_error(ErrorCode::kInvalidArgument, "same (model, budget) pairs",
               [&] { predict_means(three_models(), training); });
}

TEST(Predict, MatchesModelsByNameAndMarksWhatTheRouterDoesNotKnow) {
  // The router knows two of the table's models, in another order.
  const Pool pool = {{.name = "best"}, {.name = "cheap"}};
  LinearHeads heads;
  heads.dimension = 1;
  heads.names = {{{0, Budget()}, Target::kQuality},
                 {{0, Budget()}, Target::kTokens},
                 {{1, Budget()}, Target::kQuality},
                 {{1, Budget()}, Target::kTokens}};
  heads.weights = std::vector<float>{1, 10, 2, 20};
  heads.intercepts = {0, 0, 0, 0};
  const auto scorer = make_linear_scorer(heads);
  const std::vector<float> embeddings = {1, 3};
  using ::testing::IsNan;
  const PredictionTable predictions = predict(three_models(), pool, *scorer, embeddings);
  EXPECT_THAT(predictions.quality, ElementsAre(2, IsNan(), 1, 6, IsNan(), 3));
  EXPECT_THAT(predictions.output_tokens, ElementsAre(20, IsNan(), 10, 60, IsNan(), 30));

  expect_error(ErrorCode::kInvalidArgument, "expected 2",
               [&] { predict(three_models(), pool, *scorer, std::vector<float>{1}); });
  const Pool strangers = {{.name = "best"}, {.name = "stranger"}};
  expect_error(ErrorCode::kBadData, "may choose stranger at budget unlimited",
               [&] { predict(three_models(), strangers, *scorer, embeddings); });
}

}  // namespace
}  // namespace r2router::eval
