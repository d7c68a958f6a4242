// r2-router calibrate and the options of route that its policies stand for, run as a process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/policy.h"
#include "r2router/router.h"

#include "support/heads.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::Outcome;

class CalibrateCli : public ::testing::Test {
 protected:
  static constexpr std::size_t kDimension = 64;

  void SetUp() override {
    Checkpoint checkpoint = testing::random_checkpoint(5, 3, kDimension, 1);
    checkpoint.config.embedding_model = "lexical";
    checkpoint.config.encoder = LexicalEncoderSpec{.dimension = kDimension};
    checkpoint.config.rules = DecisionRules::kCorrected;
    save_checkpoint(checkpoint, checkpoint_);
    std::string lines, prompts;
    for (int i = 0; i < 200; ++i) {
      const std::string text = "What is " + std::to_string(i * i) + " less " + std::to_string(i);
      lines += json({{"query_id", std::to_string(i)}, {"query", text}}).dump() + "\n";
      prompts += text + "\n";
    }
    testing::put_file(queries_, lines);
    testing::put_file(prompts_, prompts);
  }

  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), R2ROUTER_CLI);
    arguments.insert(arguments.begin() + 2, {"--checkpoint-dir", checkpoint_});
    return testing::run(arguments);
  }
  Outcome calibrate(const std::string& target, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"calibrate",  "--queries",   queries_,
                                          "--target",   target,        "--output",
                                          policy_file_, "--resamples", "50"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  /// Decisions for the same queries.
  std::vector<json> route(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"route", "--file", prompts_, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    std::vector<json> decisions;
    for (const std::string& line : lines_of(outcome.out)) decisions.push_back(json::parse(line));
    return decisions;
  }
  static double mean(const std::vector<json>& decisions, const char* key) {
    double sum = 0;
    for (const json& decision : decisions) sum += decision[key].get<double>();
    return sum / static_cast<double>(decisions.size());
  }

  testing::TemporaryFolder folder_;
  std::string checkpoint_ = folder_ / "checkpoint", queries_ = folder_ / "queries.jsonl",
              prompts_ = folder_ / "prompts.txt", policy_file_ = folder_ / "policy.json";
};

TEST_F(CalibrateCli, ThePolicyMeetsTheTargetOnTheSameQueries) {
  const std::vector<json> best = route({"--objective", "best"});
  const std::vector<json> cheapest = route({"--objective", "cheapest"});
  const double most = mean(best, "predicted_quality");
  const double least_cost = mean(cheapest, "predicted_cost_usd");
  const double most_cost = mean(best, "predicted_cost_usd");

  const double cost = (least_cost + most_cost) / 2;
  Outcome outcome = calibrate("$" + std::to_string(1000 * cost) + "/1k");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Willingness to pay: $"));
  EXPECT_THAT(outcome.out, HasSubstr("Queries:            200"));
  const std::vector<json> within = route({"--policy", policy_file_});
  EXPECT_LE(mean(within, "predicted_cost_usd"), cost * 1.0001);
  EXPECT_GT(mean(within, "predicted_cost_usd"), cost * 0.97);

  ASSERT_EQ(calibrate("95% of best").exit_code, 0);
  const double reached = mean(route({"--policy", policy_file_}), "predicted_quality");
  EXPECT_GE(reached, 0.95 * most - 1e-9);
  EXPECT_LT(reached, 0.96 * most);

  ASSERT_EQ(calibrate("95% of best", {"--setting", "fraction"}).exit_code, 0);
  const RouteOptions policy = load_policy(policy_file_);
  ASSERT_TRUE(policy.quality_fraction.has_value());
  EXPECT_GE(mean(route({"--policy", policy_file_}), "predicted_quality"), 0.95 * most - 1e-9);
  // What the command line says is meant instead.
  EXPECT_NEAR(
      mean(route({"--policy", policy_file_, "--quality-fraction", "1"}), "predicted_quality"), most,
      1e-12);
}

TEST_F(CalibrateCli, ConstraintsOfAPolicyHold) {
  const std::string base = folder_ / "base.json";
  testing::put_file(base, R"({"deny": ["model-2"], "max_output_tokens": 150})");
  const Outcome outcome = calibrate("90% of best", {"--policy", base});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const RouteOptions policy = load_policy(policy_file_);
  EXPECT_EQ(policy.max_output_tokens, 150U);
  for (const json& decision : route({"--policy", policy_file_})) {
    EXPECT_NE(decision["model"], "model-2");
    EXPECT_LE(decision["predicted_output_tokens"], 150);
  }
}

TEST_F(CalibrateCli, TellsWhatIsInReach) {
  const Outcome outcome = calibrate("$0.0000001/1k");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out of reach: on this sample the cheapest options cost"));
  EXPECT_EQ(calibrate("cheap").exit_code, 1);
  EXPECT_EQ(run({"route", "--query", "x", "--policy", folder_ / "none.json"}).exit_code, 1);
}

TEST_F(CalibrateCli, RouteTakesEveryConstraint) {
  const auto first = [&](std::vector<std::string> more) { return route(more).front(); };
  EXPECT_LE(first({"--max-cost", "0.0001"})["predicted_cost_usd"], 0.0001);
  EXPECT_LE(first({"--max-output-tokens", "60"})["budget"], 60);
  EXPECT_GE(first({"--min-quality", "0.5"})["predicted_quality"], 0.5);
  const json between = first({"--objective", "best", "--max-output-tokens", "130", "--continuous"});
  EXPECT_LE(between["budget"], 130);
  EXPECT_EQ(route({"--objective", "best"}), route({"--lambda", "0"}));
  EXPECT_EQ(first({"--willingness-to-pay", "0.01"})["model"],
            first({"--lambda", "0.990099009900990099"})["model"]);
  // A line's own numbers are meant instead of the command's.
  const std::string lines = folder_ / "lines.jsonl";
  testing::put_file(lines, R"({"query": "What is 4 less 2", "max_output_tokens": 60})"
                           "\n"
                           R"({"query": "What is 4 less 2", "lambda": 0})"
                           "\n");
  const Outcome two = run({"route", "--input", lines, "--willingness-to-pay", "1e-9"});
  ASSERT_EQ(lines_of(two.out).size(), 2U) << two.err;
  EXPECT_LE(json::parse(lines_of(two.out)[0])["budget"], 60);
  const json best = json::parse(lines_of(two.out)[1]);
  EXPECT_EQ(best["risk"], best["predicted_quality"]);
  const Outcome contradiction =
      run({"route", "--query", "x", "--lambda", "0.5", "--willingness-to-pay", "1"});
  EXPECT_EQ(contradiction.exit_code, 1);
  EXPECT_THAT(contradiction.err, HasSubstr("contradict each other"));
}

}  // namespace
}  // namespace r2router

#endif
