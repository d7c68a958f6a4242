#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/error.h"
#include "r2router/router.h"
#include "r2router/train/task_table.h"

#include "support/errors.h"
#include "support/tasks.h"
#include "support/temporary_folder.h"

namespace r2router::train {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kTasks;
using testing::Log;
using testing::make_prompts;
using testing::pool_of;
using testing::put_file;
using testing::quick_task_options;
using testing::table_of;
using testing::TemporaryFolder;
using testing::three_tasks;
using testing::weight;

TEST(TaskTraining, RoutesEachTextToTheModelThatIsGoodAtItsTask) {
  TaskTrainReport report;
  const Checkpoint checkpoint = train(three_tasks(), make_prompts(), quick_task_options(), &report);
  EXPECT_NO_THROW(validate(checkpoint));
  const Router router(checkpoint);
  const RouteOptions best{.policy = {.objective = Objective::kBest}, .explain = true};
  const Decision code = router.route_text("Compile this python loop and find the bug", best);
  EXPECT_EQ(code.model().name, "coder");
  EXPECT_EQ(code.explanation->tasks.front().task, "code");
  const Decision story = router.route_text("A fairy tale in verse with a dragon", best);
  EXPECT_EQ(story.model().name, "writer");
  EXPECT_EQ(story.explanation->tasks.front().task, "stories");
  EXPECT_GT(report.accuracy, 0.99);
  EXPECT_LT(report.calibration_error, 0.1);
  EXPECT_EQ(report.prompts, 120U);
  EXPECT_EQ(report.sources, 4U);
  EXPECT_EQ(report.best_model, "writer");
}

TEST(TaskTraining, PredictsTheTablesFiguresAndTheirMean) {
  const Checkpoint checkpoint = train(three_tasks(), make_prompts(), quick_task_options());
  const Budget all = Budget::unlimited();
  EXPECT_DOUBLE_EQ(weight(checkpoint, 0, all, Target::kQuality, 0), 0.9);
  EXPECT_DOUBLE_EQ(weight(checkpoint, 1, all, Target::kQuality, 2), 0.9);
  EXPECT_DOUBLE_EQ(weight(checkpoint, 1, all, Target::kTokens, 1), 40);
  EXPECT_NEAR(weight(checkpoint, 0, all, Target::kQuality, 3), (0.9 + 0.8 + 0.2) / 3, 1e-12);
  EXPECT_NEAR(weight(checkpoint, 0, all, Target::kTokens, 3), std::cbrt(400.0 * 50 * 700), 1e-9);
}

TEST(TaskTraining, PredictsAmbiguousTextsWithAWiderSpread) {
  const Router router(train(three_tasks(), make_prompts(), quick_task_options()));
  const auto chosen = [&](const std::string& text) {
    const Decision decision = router.route_text(text, {.policy = {.objective = Objective::kBest}});
    const Option& option = decision.chosen;
    EXPECT_NEAR(option.quality_spread, std::sqrt(option.quality * (1 - option.quality)), 1e-12);
    return option;
  };
  const Option clear = chosen("Compile this python loop and find the bug");
  const Option ambiguous = chosen("python loop bug dragon poem fairy");
  EXPECT_LT(ambiguous.quality, clear.quality);
  EXPECT_GT(ambiguous.quality_spread, clear.quality_spread + 0.05);
}

TEST(TaskTraining, CutsAnswersOffByTheDistributionOfTheirLengths) {
  TaskTrainOptions options = quick_task_options();
  options.token_limits = {2000, 300};
  options.length_spread = 0.7;
  TaskTable table = three_tasks();
  table.results[0]->length_spread = 1.1;
  const Checkpoint checkpoint = train(table, make_prompts(), options);
  EXPECT_THAT(checkpoint.config.token_limits,
              ElementsAre(Budget(300), Budget(2000), Budget::unlimited()));
  // Against a sample of lognormal lengths.
  std::mt19937_64 random(3);
  for (const auto& [task, spread] : {std::pair(0, 1.1), std::pair(2, 0.7)}) {
    const double mean = table.results[static_cast<std::size_t>(task)]->output_tokens;
    const double score = table.results[static_cast<std::size_t>(task)]->score;
    std::lognormal_distribution<double> lengths(std::log(mean) - spread * spread / 2, spread);
    constexpr int kSamples = 400'000;
    for (const std::uint32_t limit : {300U, 2000U}) {
      double complete = 0, tokens = 0;
      for (int i = 0; i < kSamples; ++i) {
        const double length = lengths(random);
        complete += length <= limit;
        tokens += std::min(length, static_cast<double>(limit));
      }
      const auto element = static_cast<std::size_t>(task);
      EXPECT_NEAR(weight(checkpoint, 0, Budget(limit), Target::kQuality, element),
                  score * complete / kSamples, 0.004);
      EXPECT_NEAR(weight(checkpoint, 0, Budget(limit), Target::kTokens, element), tokens / kSamples,
                  0.01 * limit);
    }
  }
}

TEST(TaskTraining, SmallSamplesCountLess) {
  // An additive table but for one cell, which is of few questions or of many.
  const auto score_of = [](double questions) {
    std::vector<std::optional<TaskResult>> results;
    for (int model = 0; model < 6; ++model) {
      for (int task = 0; task < 3; ++task) {
        results.push_back(
            TaskResult{0.4 + 0.05 * model + 0.05 * task + 0.02 * ((model + task) % 2), 100, 1000});
      }
    }
    results[0]->score = 1.0;
    results[0]->questions = questions;
    const Checkpoint checkpoint =
        train(table_of(pool_of({"a", "b", "c", "d", "e", "f"}), kTasks, results), make_prompts(),
              quick_task_options());
    return weight(checkpoint, 0, Budget::unlimited(), Target::kQuality, 0);
  };
  const double few = score_of(3), some = score_of(30), many = score_of(30'000), exact = score_of(0);
  EXPECT_LT(few, 0.9);
  EXPECT_LT(few, some);
  EXPECT_LT(some, many);
  EXPECT_NEAR(many, 1, 0.01);
  EXPECT_DOUBLE_EQ(exact, 1);
}

TEST(TaskTraining, EstimatesWhatIsMissing) {
  // Scores are exactly a model's figure plus a task's, lengths their product.
  std::vector<std::optional<TaskResult>> results;
  for (int model = 0; model < 3; ++model) {
    for (int task = 0; task < 3; ++task) {
      results.push_back(
          TaskResult{0.3 + 0.1 * model + 0.05 * task, 100.0 * (1 + model) * (1 + task)});
    }
  }
  results[4] = {};
  Log log;
  TaskTrainOptions options = quick_task_options();
  options.log = log.callback();
  const Checkpoint checkpoint =
      train(table_of(pool_of({"a", "b", "c"}), kTasks, results), make_prompts(), options);
  EXPECT_NEAR(weight(checkpoint, 1, Budget::unlimited(), Target::kQuality, 1), 0.45, 1e-6);
  EXPECT_NEAR(weight(checkpoint, 1, Budget::unlimited(), Target::kTokens, 1), 400, 1e-2);
  EXPECT_THAT(log.messages, ElementsAre(HasSubstr("b has no result for 1 of 3 tasks")));
}

TEST(TaskTraining, TheDefaultReachesMostOfTheBestScoreForLess) {
  TaskTable table = three_tasks();
  table.models[0].prices.output = 200;
  table.results[1]->score = 0.82;  // the expensive one is a little better at facts
  TaskTrainReport report;
  const Checkpoint checkpoint = train(table, make_prompts(), quick_task_options(), &report);
  EXPECT_GE(report.default_score, 0.95 * report.best_score);
  EXPECT_LT(report.default_cost_usd, report.best_cost_usd);
  const Router router(checkpoint);
  EXPECT_EQ(router.route_text("who when capital year inventor").model().name, "writer");
}

TEST(TaskTraining, IsTheSameForAnyNumberOfThreads) {
  TaskTrainOptions one = quick_task_options(), three = quick_task_options();
  one.threads = 1;
  three.threads = 3;
  EXPECT_EQ(train(three_tasks(), make_prompts(), one).encoder,
            train(three_tasks(), make_prompts(), three).encoder);
}

TEST(TaskTraining, WarnsOfTasksThatOnlyOneSideHas) {
  TaskPrompts prompts = make_prompts();
  for (TaskPrompt& prompt : prompts.prompts) {
    if (prompt.task == "stories") prompt.task = "poems";
  }
  Log log;
  TaskTrainOptions options = quick_task_options();
  options.log = log.callback();
  const Checkpoint checkpoint = train(three_tasks(), prompts, options);
  EXPECT_THAT(log.messages,
              ElementsAre(AllOf(HasSubstr("tasks without prompts"), HasSubstr("stories")),
                          AllOf(HasSubstr("40 prompts are not used"), HasSubstr("poems"))));
  EXPECT_THAT(std::get<TaskEncoderSpec>(*checkpoint.config.encoder).tasks,
              ElementsAre("code", "facts"));
  // The mean is still that of all tasks.
  EXPECT_NEAR(weight(checkpoint, 0, Budget::unlimited(), Target::kQuality, 2),
              (0.9 + 0.8 + 0.2) / 3, 1e-12);
}

TEST(TaskTraining, RejectsWhatCannotBeTrainedOn) {
  const auto expect_fault = [](const TaskTable& table, const TaskPrompts& prompts,
                               const TaskTrainOptions& options, ErrorCode code,
                               const std::string& part) {
    const Error error = error_of([&] { train(table, prompts, options); });
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part));
  };
  TaskPrompts other = make_prompts(4);
  for (TaskPrompt& prompt : other.prompts) prompt.task += "!";
  expect_fault(three_tasks(), other, quick_task_options(), ErrorCode::kBadData,
               "0 tasks in common");
  TaskPrompts one_source = make_prompts(4);
  for (TaskPrompt& prompt : one_source.prompts) prompt.source = "here";
  expect_fault(three_tasks(), one_source, quick_task_options(), ErrorCode::kBadData, "one source");
  TaskTable bad = three_tasks();
  bad.results[2]->score = 1.5;
  expect_fault(bad, make_prompts(4), quick_task_options(), ErrorCode::kBadData,
               "coder for the task \"stories\"");
  bad = three_tasks();
  bad.results.pop_back();
  expect_fault(bad, make_prompts(4), quick_task_options(), ErrorCode::kBadData, "5 results");
  for (const auto& [change, part] :
       std::vector<std::pair<void (*)(TaskTrainOptions&), const char*>>{
           {[](TaskTrainOptions& options) { options.epochs = 0; }, "epochs"},
           {[](TaskTrainOptions& options) { options.folds = 1; }, "folds"},
           {[](TaskTrainOptions& options) { options.length_spread = 0; }, "length_spread"},
           {[](TaskTrainOptions& options) {
              options.token_limits = {5, 5};
            },
            "token_limits"}}) {
    TaskTrainOptions options = quick_task_options();
    change(options);
    expect_fault(three_tasks(), make_prompts(4), options, ErrorCode::kInvalidArgument, part);
  }
}

class ReadTaskTable : public ::testing::Test {
 protected:
  TaskTable read(const std::string& contents, Log& log) const {
    put_file(folder_ / "results.csv", contents);
    return read_task_table(folder_ / "results.csv", pool_of({"a", "b", "c"}), log.callback());
  }
  void expect_fault(const std::string& contents, const std::string& part) const {
    Log log;
    const Error error = error_of([&] { read(contents, log); });
    EXPECT_EQ(error.code(), ErrorCode::kBadData) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part));
    EXPECT_THAT(error.what(), HasSubstr("results.csv"));
  }
  TemporaryFolder folder_;
};

TEST_F(ReadTaskTable, ReadsRowsInAnyOrder) {
  Log log;
  const TaskTable table = read(
      "model,task,score,output_tokens,questions,length_spread,remark\n"
      "b,code,0.5,100,50,0.9,x\n"
      "a,facts,1,20,,,\n"
      "a,code,0.25,300,50,,\n"
      "stranger,code,0.5,100,,,\n",
      log);
  ASSERT_EQ(table.models.size(), 2U);
  EXPECT_EQ(table.models[0].name, "a");
  EXPECT_EQ(table.models[1].name, "b");
  EXPECT_THAT(table.tasks, ElementsAre("code", "facts"));
  ASSERT_EQ(table.results.size(), 4U);
  EXPECT_EQ(table.results[0]->score, 0.25);
  EXPECT_EQ(table.results[0]->output_tokens, 300);
  EXPECT_EQ(table.results[0]->questions, 50);
  EXPECT_FALSE(table.results[0]->length_spread);
  EXPECT_EQ(table.results[1]->questions, 0);
  EXPECT_EQ(table.results[2]->length_spread, 0.9);
  EXPECT_FALSE(table.results[3]);
  EXPECT_THAT(log.messages, ElementsAre(HasSubstr("stranger")));
  ASSERT_EQ(table.sources.size(), 1U);
  EXPECT_EQ(table.sources[0].file, "results.csv");
}

TEST_F(ReadTaskTable, RejectsBadRowsWithTheirLine) {
  const std::string header = "model,task,score,output_tokens,questions\n";
  expect_fault(header + "a,code,87.5,100,\n", "in percent must be divided by 100");
  expect_fault(header + "a,code,-0.1,100,\n", "a score from 0 to 1");
  expect_fault(header + "a,code,nonsense,100,\n", "a score from 0 to 1");
  expect_fault(header + "a,code,0.5,0,\n", "above 0");
  expect_fault(header + "a,code,0.5,,\n", "output_tokens");
  expect_fault(header + "a,code,0.5,10,-3\n", "number of questions");
  expect_fault(header + "a, ,0.5,10,\n", "task");
  expect_fault(header + "a,code,0.5,10,\nb,code,0.5,10,\na,code,0.6,10,\n", "two results of \"a\"");
  expect_fault(header + "A,code,0.5,10,\n", "a");  // another spelling
  expect_fault(header + "stranger,code,0.5,10,\n", "stranger");
  expect_fault(header, "no results");
  expect_fault("model,task,scores,output_tokens\na,code,0.5,10\n", "score");
  Log log;
  try {
    read(header + "a,code,0.5,10,\nb,code,7,10,\n", log);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where().line, 3U) << error.what();
  }
}

TEST_F(ReadTaskTable, ComparesCostsWithPrices) {
  const std::string header = "model,task,score,output_tokens,questions,cost_usd\n";
  Log fine;
  read(header + "a,code,0.5,1000,100,0.25\n", fine);  // 100,000 tokens at $2 per million: $0.20
  EXPECT_THAT(fine.messages, IsEmpty());
  Log log;
  read(header + "a,code,0.5,1000,100,2.5\nb,code,0.5,1000,100,0.02\n", log);
  EXPECT_THAT(log.messages, ElementsAre(AllOf(HasSubstr("a: "), HasSubstr("$2.5")),
                                        AllOf(HasSubstr("b: "), HasSubstr("$0.02"))));
}

TEST_F(ReadTaskTable, ReadsPrompts) {
  put_file(folder_ / "prompts.jsonl",
           R"({"query": "2 + 2?", "task": "sums", "source": "me", "lang": "en"}
{"query": "Who?", "task": "facts"}
)");
  const TaskPrompts prompts = read_task_prompts(folder_ / "prompts.jsonl");
  ASSERT_EQ(prompts.prompts.size(), 2U);
  EXPECT_EQ(prompts.prompts[0].text, "2 + 2?");
  EXPECT_EQ(prompts.prompts[0].source, "me");
  EXPECT_EQ(prompts.prompts[1].task, "facts");
  EXPECT_EQ(prompts.data_sources.size(), 1U);
  put_file(folder_ / "blank.jsonl", R"({"query": " ", "task": "sums"})");
  EXPECT_THAT(error_of([&] { read_task_prompts(folder_ / "blank.jsonl"); }).what(),
              HasSubstr("query"));
}

}  // namespace
}  // namespace r2router::train
