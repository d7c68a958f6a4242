// Adding a model from its results by task.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/router.h"

#include "support/errors.h"
#include "support/heads.h"
#include "support/tasks.h"

namespace r2router::train {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::kTasks;
using testing::linear_heads;
using testing::Log;
using testing::make_prompts;
using testing::pool_of;
using testing::quick_task_options;
using testing::table_of;
using testing::three_tasks;
using testing::weight;

/// A checkpoint of "coder" and "writer".
const Checkpoint& base() {
  static const Checkpoint checkpoint = train(three_tasks(), make_prompts(), quick_task_options());
  return checkpoint;
}

TaskTable results_of(std::vector<std::optional<TaskResult>> results) {
  return table_of(pool_of({"new"}), kTasks, std::move(results));
}

/// With all three models in the table that training gets.
Checkpoint trained_at_once(const TaskTable& added) {
  TaskTable all = three_tasks();
  all.models.push_back(added.models[0]);
  all.results.insert(all.results.end(), added.results.begin(), added.results.end());
  return train(all, make_prompts(), quick_task_options());
}

void expect_same_heads(const Checkpoint& added, const Checkpoint& trained) {
  EXPECT_NO_THROW(validate(added));
  const LinearHeads& own = linear_heads(added);
  const LinearHeads& expected = linear_heads(trained);
  ASSERT_EQ(own.names, expected.names);
  const auto& weights = std::get<std::vector<double>>(own.weights);
  const auto& expected_weights = std::get<std::vector<double>>(expected.weights);
  ASSERT_EQ(weights.size(), expected_weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(weights[i], expected_weights[i], 1e-9 * (1 + expected_weights[i])) << i;
  }
  ASSERT_EQ(added.spreads.size(), trained.spreads.size());
  for (std::size_t i = 0; i < added.spreads.size(); ++i) {
    EXPECT_NEAR(added.spreads[i], trained.spreads[i], 1e-9 * (1 + trained.spreads[i])) << i;
  }
}

TEST(AddFromTasks, GivesTheHeadsOfTrainingOnOneTable) {
  const TaskTable table =
      results_of({TaskResult{0.95, 500, 0, 1.1}, TaskResult{0.4, 80}, TaskResult{0.85, 1200}});
  AddedFromTasks report;
  const Checkpoint added = add_model(base(), table, "new", {}, &report);
  expect_same_heads(added, trained_at_once(table));
  EXPECT_EQ(added.config.models[2].name, "new");
  EXPECT_EQ(report.tasks, 3U);
  EXPECT_EQ(report.estimated, 0U);
  EXPECT_NEAR(report.mean_score, (0.95 + 0.4 + 0.85) / 3, 1e-12);
  // What was there stays as it is.
  EXPECT_EQ(added.encoder, base().encoder);
  EXPECT_EQ(added.config.policy, base().config.policy);
  EXPECT_THAT(added.config.training, HasSubstr("\"added_model\": \"new\""));
}

TEST(AddFromTasks, ShrinksByTheNumberOfQuestionsAsTrainingDoes) {
  const TaskTable table =
      results_of({TaskResult{1, 500, 4}, TaskResult{0.2, 80, 20}, TaskResult{0.5, 1200, 5000}});
  const Checkpoint added = add_model(base(), table, "new");
  expect_same_heads(added, trained_at_once(table));
  EXPECT_LT(weight(added, 2, Budget::unlimited(), Target::kQuality, 0), 1);
}

TEST(AddFromTasks, EstimatesMissingTasksAsTrainingDoes) {
  const TaskTable table = results_of({TaskResult{0.9, 500}, {}, TaskResult{0.5, 1200}});
  Log log;
  AddedFromTasks report;
  const Checkpoint added = add_model(base(), table, "new", log.callback(), &report);
  expect_same_heads(added, trained_at_once(table));
  EXPECT_EQ(report.tasks, 2U);
  EXPECT_EQ(report.estimated, 1U);
  EXPECT_THAT(log.messages, ElementsAre(HasSubstr("new has no result for 1 of 3 tasks")));
}

TEST(AddFromTasks, TheRouterChoosesItWhereItIsBest) {
  const Checkpoint added = add_model(
      base(), results_of({TaskResult{0.2, 500}, TaskResult{0.99, 30}, TaskResult{0.2, 1200}}),
      "new");
  const Router router(added);
  const RouteOptions best{.policy = {.objective = Objective::kBest}};
  EXPECT_EQ(router.route_text("who when capital year inventor country", best).model().name, "new");
  EXPECT_EQ(router.route_text("compile this python loop, fix the bug", best).model().name, "coder");
}

TEST(AddFromTasks, IgnoresOtherModelsAndUnknownTasks) {
  TaskTable table = three_tasks();
  table.results.clear();
  table.models.push_back(pool_of({"new"})[0]);
  table.tasks.emplace_back("chess");
  for (int model = 0; model < 3; ++model) {
    for (int task = 0; task < 4; ++task) table.results.emplace_back(TaskResult{0.6, 100});
  }
  Log log;
  const Checkpoint added = add_model(base(), table, "new", log.callback());
  EXPECT_THAT(log.messages, ElementsAre(HasSubstr("does not recognise are ignored: chess")));
  // The results of the others in this table are not theirs in the checkpoint.
  EXPECT_EQ(weight(added, 0, Budget::unlimited(), Target::kQuality, 0), 0.9);
}

TEST(AddFromTasks, RejectsWhatCannotBeAdded) {
  const auto expect_fault = [](const Checkpoint& checkpoint, const TaskTable& table,
                               const std::string& name, ErrorCode code, const std::string& part) {
    const Error error = error_of([&] { add_model(checkpoint, table, name); });
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part));
  };
  const TaskTable good = results_of({TaskResult{0.9, 500}, {}, {}});
  expect_fault(base(), good, "other", ErrorCode::kInvalidArgument, "no results of a model");
  expect_fault(base(), three_tasks(), "coder", ErrorCode::kInvalidArgument, "already");
  expect_fault(base(), results_of({{}, {}, {}}), "new", ErrorCode::kBadData, "code");
  expect_fault(testing::random_checkpoint(2, 1, 4, 1), good, "new", ErrorCode::kUnsupported,
               "does not recognise tasks");
  Checkpoint prompted = base();
  prompted.config.budget_mode = BudgetMode::kPrompted;
  expect_fault(prompted, good, "new", ErrorCode::kUnsupported, "hard caps");
}

}  // namespace
}  // namespace r2router::train
