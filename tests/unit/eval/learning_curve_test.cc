#include "r2router/eval/learning_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"

#include "support/errors.h"
#include "support/tasks.h"

namespace r2router::eval {
namespace {

using testing::expect_error;
using ::testing::HasSubstr;
using testing::make_prompts;
using testing::three_tasks;

/// Outcomes of prompts of three tasks: the coder fails at stories, and the writer, which costs ten
/// times as much, at most of code.
const OutcomeData& data_of_prompts() {
  static const OutcomeData data = [] {
    OutcomeData made;
    made.table.models = three_tasks().models;
    made.table.models[1].prices.output *= 10;
    made.table.pairs = {{0, Budget()}, {1, Budget()}};
    std::size_t number = 0;
    for (const train::TaskPrompt& prompt : make_prompts(100).prompts) {
      const std::string id = std::to_string(number++);
      made.table.queries.push_back(
          {.id = id, .text = prompt.text + " " + id, .dataset = prompt.task, .input_tokens = 20});
      made.table.scores.push_back(prompt.task != "stories");
      made.table.scores.push_back(prompt.task != "code" || number % 3 == 0);
      for (int model = 0; model < 2; ++model) {
        made.table.output_tokens.push_back(100 + static_cast<double>(number % 40));
      }
    }
    return made;
  }();
  return data;
}

/// A prior that has the models the wrong way round.
const Checkpoint& wrong_prior() {
  static const Checkpoint prior = [] {
    train::TaskTable table = three_tasks();
    table.models[1].prices.output *= 10;
    for (std::size_t task = 0; task < 3; ++task) {
      std::swap(table.results[task], table.results[task + 3]);
    }
    return train::train(table, make_prompts(), testing::quick_task_options());
  }();
  return prior;
}

TEST(LearningCurve, RisesFromThePriorWithTheOutcomes) {
  const Checkpoint& prior = wrong_prior();
  const OutcomeData& data = data_of_prompts();
  LearningCurveOptions options{.queries = {10, 40, 100, 9999}};
  options.recipe.options.threads = 1;
  const LearningCurve curve = learning_curve(prior, data, options);
  ASSERT_EQ(curve.points.size(), 4U);  // and all, but not more than there are
  const std::size_t training = select_part(data, kDefaultHoldout, false).table.queries.size();
  EXPECT_EQ(curve.points[3].queries, training);
  EXPECT_EQ(curve.held_out_queries, data.table.queries.size() - training);
  EXPECT_EQ(curve.points[0].prior.audc, curve.prior.audc);  // too few to move it
  EXPECT_EQ(curve.points[0].prior_alpha, 0);
  EXPECT_GT(curve.points[2].prior.audc, curve.prior.audc + 0.03);
  EXPECT_GT(curve.points[3].prior.audc, curve.mean_curve.audc + 0.03);
  ASSERT_TRUE(curve.points[3].scratch);

  const auto json = nlohmann::json::parse(to_json(curve));
  EXPECT_EQ(json["points"][3]["scratch"]["audc"], curve.points[3].scratch->audc);
  EXPECT_EQ(json["prior"]["audc"], curve.prior.audc);
  EXPECT_THAT(to_text(curve), HasSubstr("from scratch"));
}

TEST(LearningCurve, EvaluatesWhatEvaluateCheckpointDoes) {
  const Checkpoint& prior = wrong_prior();
  OutcomeData data = data_of_prompts();
  LearningCurveOptions options{.queries = {50}};
  options.recipe.options.threads = 1;
  const LearningCurve curve = learning_curve(prior, data, options);
  data.table = as_trained(data.table, prior.config);
  const RouterEvaluation expected = evaluate_checkpoint(Router(prior), data, kDefaultHoldout);
  EXPECT_EQ(curve.prior.audc, expected.evaluation.policies.front().metrics.audc);
}

TEST(LearningCurve, LeavesOutModelsWithoutOutcomes) {
  OutcomeData data = data_of_prompts();
  const std::vector<std::string> one = {"writer"};
  data.table = select_models(data.table, one);
  LearningCurveOptions options{.queries = {50}};
  options.recipe.options.threads = 1;
  const LearningCurve curve = learning_curve(wrong_prior(), data, options);
  EXPECT_GT(curve.prior.audc, 0);
}

TEST(LearningCurve, NeedsQueriesHeldOut) {
  expect_error(ErrorCode::kInvalidArgument, "holdout is 0",
               [] { learning_curve(wrong_prior(), data_of_prompts(), {.holdout = 0}); });
  expect_error(ErrorCode::kInvalidArgument, "have a 0",
               [] { learning_curve(wrong_prior(), data_of_prompts(), {.queries = {0}}); });
}

}  // namespace
}  // namespace r2router::eval
