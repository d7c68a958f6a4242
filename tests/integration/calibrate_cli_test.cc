// r2-router calibrate and the options of route that its policies stand for, run as a process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/eval/calibrate.h"
#include "r2router/eval/contenders.h"
#include "r2router/outcomes.h"
#include "r2router/policy.h"
#include "r2router/router.h"

#include "support/fault_server.h"
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
    checkpoint.config.policy.rules = DecisionRules::kCorrected;
    save_checkpoint(checkpoint, external_);
    checkpoint.config.embedding_model = "lexical";
    checkpoint.config.encoder = LexicalEncoderSpec{.dimension = kDimension};
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
    // The checkpoint was trained on none of them.
    if (!more.empty() && more.front() == "--outcomes" &&
        std::ranges::find(more, "--holdout") == more.end()) {
      more.insert(more.end(), {"--holdout", "0"});
    }
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

  /// For every option of every query a line of outcomes: half as long as predicted, and a score.
  std::vector<json> outcomes() const {
    const Router router = Router::from_pretrained(checkpoint_);
    std::vector<json> result;
    for (const std::string& line : lines_of(testing::read_file(queries_))) {
      const json query = json::parse(line);
      for (const Option& option :
           router.route_text(query["query"].get<std::string>(), {.rank = true}).ranking) {
        const json budget =
            option.budget.is_unlimited() ? json("unlimited") : json(option.budget.tokens());
        result.push_back({{"query_id", query["query_id"]},
                          {"model", router.pool()[option.model].name},
                          {"budget", budget},
                          {"output_tokens", option.output_tokens / 2},
                          {"score", option.quality > 0.5 ? 0.75 : 0.25}});
      }
    }
    return result;
  }
  std::string write_outcomes(const std::vector<json>& outcomes) const {
    std::string lines;
    for (const json& outcome : outcomes) lines += outcome.dump() + "\n";
    testing::put_file(folder_ / "outcomes.jsonl", lines);
    return folder_ / "outcomes.jsonl";
  }
  /// What decisions for the queries, in their order, cost and scored on average.
  eval::MeanFigures realised(const std::vector<json>& decisions,
                             const std::vector<json>& outcomes) const {
    const Pool pool = Router::from_pretrained(checkpoint_).pool();
    const std::vector<QueryRecord> queries = read_queries(queries_);
    eval::MeanFigures means;
    for (std::size_t i = 0; i < decisions.size(); ++i) {
      for (const json& outcome : outcomes) {
        if (outcome["query_id"] != queries[i].id || outcome["model"] != decisions[i]["model"] ||
            outcome["budget"] != decisions[i]["budget"]) {
          continue;
        }
        const auto model =
            std::ranges::find(pool, outcome["model"].get<std::string>(), &ModelSpec::name);
        means.cost_usd +=
            eval::cost_usd(*model, queries[i].input_tokens, outcome["output_tokens"]) /
            static_cast<double>(decisions.size());
        means.quality += outcome["score"].get<double>() / static_cast<double>(decisions.size());
      }
    }
    return means;
  }

  testing::TemporaryFolder folder_;
  std::string external_ = folder_ / "external", checkpoint_ = folder_ / "checkpoint",
              queries_ = folder_ / "queries.jsonl", prompts_ = folder_ / "prompts.txt",
              policy_file_ = folder_ / "policy.json";
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
  const Policy policy = load_policy(policy_file_);
  ASSERT_TRUE(policy.quality_fraction.has_value());
  EXPECT_GE(mean(route({"--policy", policy_file_}), "predicted_quality"), 0.95 * most - 1e-9);
  // What the command line says is meant instead.
  EXPECT_NEAR(
      mean(route({"--policy", policy_file_, "--quality-fraction", "1"}), "predicted_quality"), most,
      1e-12);
}

TEST_F(CalibrateCli, OutcomesMeetTheTargetWhereTheyAreGiven) {
  const std::vector<json> known = outcomes();
  const std::string file = write_outcomes(known);
  const eval::MeanFigures cheapest = realised(route({"--objective", "cheapest"}), known);
  const eval::MeanFigures best = realised(route({"--objective", "best"}), known);
  const double target = (cheapest.cost_usd + best.cost_usd) / 2;
  const Outcome outcome =
      calibrate("$" + std::to_string(1e3 * target) + "/1k", {"--outcomes", file});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<json> decisions = route({"--policy", policy_file_});
  const eval::MeanFigures means = realised(decisions, known);
  EXPECT_LE(means.cost_usd, target * 1.0001);
  EXPECT_GT(means.cost_usd, target * 0.97);
  const json found = json::parse(testing::read_file(policy_file_))["calibration"];
  EXPECT_EQ(found["figures"], "realised");
  EXPECT_NEAR(found["cost_usd"]["value"], means.cost_usd, 1e-12);
  EXPECT_NEAR(found["quality"]["value"], means.quality, 1e-12);
  EXPECT_NEAR(found["best_quality"], best.quality, 1e-12);
  EXPECT_NEAR(found["predicted"]["cost_usd"], mean(decisions, "predicted_cost_usd"), 1e-12);
  EXPECT_THAT(outcome.out, HasSubstr("\nFigures:            realised"));
  char excess[64];
  std::snprintf(excess, sizeof excess, ", %+.1f %%\n",
                100 * (mean(decisions, "predicted_cost_usd") / means.cost_usd - 1));
  EXPECT_THAT(outcome.out, HasSubstr(excess));

  ASSERT_EQ(calibrate("90% of best", {"--outcomes", file}).exit_code, 0);
  EXPECT_GE(realised(route({"--policy", policy_file_}), known).quality, 0.9 * best.quality - 1e-9);
  EXPECT_THAT(calibrate("90% of best").out, HasSubstr("\nFigures:            predicted\n"));
}

TEST_F(CalibrateCli, TakesOutcomesThatTrainingKeptOut) {
  const std::vector<json> known = outcomes();
  const std::string file = write_outcomes(known);
  const Outcome outcome = calibrate("90% of best", {"--outcomes", file, "--holdout", "5"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<QueryRecord> queries = read_queries(queries_);
  const auto held_out = std::ranges::count_if(
      queries, [](const QueryRecord& query) { return is_held_out(query.text, 5); });
  EXPECT_THAT(outcome.out, HasSubstr("Queries:            " + std::to_string(held_out) + "\n"));
  // As it is if nothing else is said.
  const std::string before = testing::read_file(policy_file_);
  ASSERT_EQ(run({"calibrate", "--queries", queries_, "--target", "90% of best", "--output",
                 policy_file_, "--resamples", "50", "--outcomes", file})
                .exit_code,
            0);
  EXPECT_EQ(testing::read_file(policy_file_), before);

  const Outcome none = calibrate("90% of best", {"--outcomes", file, "--holdout", "1000000007"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("a holdout of 0 if none was trained on"));
  EXPECT_EQ(calibrate("90% of best", {"--holdout", "5"}).exit_code, 2);
}

TEST_F(CalibrateCli, CountsAnAnswerBeyondItsCapAsCutOff) {
  std::vector<json> known = outcomes();
  for (json& line : known) line["output_tokens"] = 100000;
  const std::string base = folder_ / "base.json";
  testing::put_file(base, R"({"max_cost_usd": 0.0004})");
  const std::string file = write_outcomes(known);
  ASSERT_EQ(calibrate("1/1k", {"--outcomes", file, "--policy", base}).exit_code, 0);
  const json found = json::parse(testing::read_file(policy_file_))["calibration"];
  EXPECT_LE(found["cost_usd"]["value"], 0.0004);
  EXPECT_GT(found["cost_usd"]["value"], 0);
  EXPECT_EQ(found["quality"]["value"], 0);
}

TEST_F(CalibrateCli, HoldsOutAsTheCheckpointsTrainingDid) {
  const std::string file = write_outcomes(outcomes());
  const auto queries_with = [&](const std::string& training) {
    Checkpoint checkpoint = load_checkpoint(checkpoint_);
    checkpoint.config.training = training;
    std::filesystem::remove_all(checkpoint_);
    save_checkpoint(checkpoint, checkpoint_);
    return run({"calibrate", "--queries", queries_, "--target", "90% of best", "--output",
                policy_file_, "--resamples", "50", "--outcomes", file});
  };
  const std::vector<QueryRecord> queries = read_queries(queries_);
  const auto held_out = std::ranges::count_if(
      queries, [](const QueryRecord& query) { return is_held_out(query.text, 3); });
  const Outcome third = queries_with(R"({"holdout": 3})");
  EXPECT_THAT(third.out, HasSubstr("Queries:            " + std::to_string(held_out) + "\n"));
  EXPECT_EQ(third.err, "");
  const Outcome none = queries_with(R"({"holdout": 0})");
  EXPECT_THAT(none.out, HasSubstr("Queries:            200\n"));
  EXPECT_THAT(none.err, HasSubstr("it looks better here than it is"));
}

TEST_F(CalibrateCli, SaysWhichOutcomesAreMissing) {
  std::vector<json> known = outcomes();
  known.erase(known.begin() + 3);
  Outcome outcome = calibrate("90% of best", {"--outcomes", write_outcomes(known)});
  EXPECT_THAT(outcome.out, HasSubstr("Queries:            199  (1 more lack an outcome)\n"));

  const auto without = [&](const std::string& model) {
    std::vector<json> rest = known;
    std::erase_if(rest, [&](const json& line) { return line["model"] == model; });
    return write_outcomes(rest);
  };
  outcome = calibrate("90% of best", {"--outcomes", without("model-2")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("there are no outcomes of \"model-2\" at budget "));
  const std::string base = folder_ / "base.json";
  testing::put_file(base, R"({"deny": ["model-2"]})");
  EXPECT_EQ(
      calibrate("90% of best", {"--outcomes", without("model-2"), "--policy", base}).exit_code, 0);
  testing::put_file(base, R"({"continuous": true})");
  outcome = calibrate("90% of best", {"--outcomes", write_outcomes(known), "--policy", base});
  EXPECT_THAT(outcome.err, HasSubstr("leave out the outcomes"));

  known[7]["score"] = 1.5;
  outcome = calibrate("90% of best", {"--outcomes", write_outcomes(known)});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("outcomes.jsonl:8"));
}

TEST_F(CalibrateCli, CutsUnlimitedOutcomesOffForAHardCap) {
  Checkpoint checkpoint = load_checkpoint(checkpoint_);
  checkpoint.config.budget_mode = BudgetMode::kHardCap;
  std::filesystem::remove_all(checkpoint_);
  save_checkpoint(checkpoint, checkpoint_);
  std::vector<json> known = outcomes();
  std::erase_if(known, [](const json& line) { return line["budget"] != "unlimited"; });
  const std::string file = write_outcomes(known);
  ASSERT_EQ(calibrate("90% of best", {"--outcomes", file}).exit_code, 0);
  const json found = json::parse(testing::read_file(policy_file_))["calibration"];
  double quality = 0;
  const std::vector<json> decisions = route({"--policy", policy_file_});
  const std::vector<QueryRecord> queries = read_queries(queries_);
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    for (const json& line : known) {
      if (line["query_id"] != queries[i].id || line["model"] != decisions[i]["model"]) continue;
      const bool cut =
          decisions[i]["budget"] != "unlimited" && decisions[i]["budget"] < line["output_tokens"];
      quality += cut ? 0 : line["score"].get<double>() / static_cast<double>(decisions.size());
    }
  }
  EXPECT_NEAR(found["quality"]["value"], quality, 1e-12);
}

TEST_F(CalibrateCli, TakesEmbeddingsOfAServer) {
  checkpoint_ = external_;
  Outcome outcome = calibrate("90% of best");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("with --embed-url, or its file with --encoder, or give"));
  testing::FaultServer& server = testing::FaultServer::instance();
  const std::string url = server.script({{testing::service({{"dimension", kDimension}})}});
  outcome = calibrate("90% of best", {"--embed-url", url});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  std::size_t texts = 0;
  for (const testing::SeenRequest& request : server.requests(url)) {
    texts += request.json()["input"].size();
  }
  EXPECT_EQ(texts, 200U);
  const json found = json::parse(testing::read_file(policy_file_))["calibration"];
  EXPECT_NEAR(mean(route({"--policy", policy_file_, "--embed-url", url}), "predicted_quality"),
              found["quality"]["value"], 1e-12);
}

TEST_F(CalibrateCli, ConstraintsOfAPolicyHold) {
  const std::string base = folder_ / "base.json";
  testing::put_file(base, R"({"deny": ["model-2"], "max_output_tokens": 150})");
  const Outcome outcome = calibrate("90% of best", {"--policy", base});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Policy policy = load_policy(policy_file_);
  EXPECT_EQ(policy.max_output_tokens, 150U);
  for (const json& decision : route({"--policy", policy_file_})) {
    EXPECT_NE(decision["model"], "model-2");
    EXPECT_LE(decision["predicted_output_tokens"], 150);
  }
}

TEST_F(CalibrateCli, KeepsPoliciesByNameInTheCheckpointsFolder) {
  const auto calibrate_as = [&](const std::string& name, const std::string& target) {
    return run({"calibrate", "--queries", queries_, "--target", target, "--name", name,
                "--resamples", "10"});
  };
  const Outcome outcome = calibrate_as("good", "95% of best");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string file = checkpoint_ + "/policies/good.json";
  EXPECT_THAT(outcome.out, HasSubstr("Policy:             " + file + "\n"));
  ASSERT_EQ(calibrate_as("cheap_1", "70% of best").exit_code, 0);
  const std::vector<json> named = route({"--policy", "good"});
  EXPECT_EQ(named, route({"--policy", file}));
  EXPECT_NE(named, route({"--policy", "cheap_1"}));
  // As --output does, it replaces what is there.
  ASSERT_EQ(calibrate_as("good", "70% of best").exit_code, 0);
  EXPECT_EQ(route({"--policy", "good"}), route({"--policy", "cheap_1"}));
  // A policy to start from is found in the same way.
  ASSERT_EQ(calibrate("80% of best", {"--policy", "good"}).exit_code, 0);

  const Outcome unknown = run({"route", "--query", "x", "--policy", "goof"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("error: goof: expected the path of a policy file or the name "
                                     "of one in " +
                                     checkpoint_ + "/policies; there are: good, cheap_1\n"));
  for (const char* name : {"../good", "a b", "good.json"}) {
    const Outcome refused = calibrate_as(name, "95% of best");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("expected letters, digits, - and _"));
  }
  const Outcome nowhere = run({"calibrate", "--queries", queries_, "--target", "95% of best"});
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("give --name or --output"));
  EXPECT_EQ(calibrate("95% of best", {"--name", "good"}).exit_code, 2);
}

TEST_F(CalibrateCli, TellsWhatIsInReach) {
  const Outcome outcome = calibrate("$0.0000001/1k");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out of reach: on this sample it goes from $"));
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
