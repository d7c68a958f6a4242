// What one does when a new model appears, with the real program: add it to a checkpoint from its
// results by task, bring its price up to date, and route to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/fault_server.h"
#include "support/process.h"
#include "support/tasks.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::put_file;
using testing::service;

const std::string kFact = "Who was the inventor, in what year, and of which country?";
const std::string kCode = "Compile this python function and find the bug in the loop";

class UpdatePath : public ::testing::Test {
 protected:
  void SetUp() override {
    put_file(folder_ / "results.csv",
             "model,task,score,output_tokens,questions\n"
             "coder,code,0.9,400,200\ncoder,facts,0.7,60,200\ncoder,stories,0.2,700,200\n"
             "writer,code,0.3,300,200\nwriter,facts,0.8,50,200\nwriter,stories,0.9,900,200\n");
    std::string prompts;
    for (const train::TaskPrompt& prompt : testing::make_prompts().prompts) {
      prompts +=
          json{{"query", prompt.text}, {"task", prompt.task}, {"source", prompt.source}}.dump() +
          "\n";
    }
    put_file(folder_ / "prompts.jsonl", prompts);
    put_file(folder_ / "pool.json", json{{"models",
                                          {{"coder", model("v/coder", 1, 2)},
                                           {"writer", model("v/writer", 1, 2)},
                                           {"newcomer", model("v/newcomer", 5, 9)}}}}
                                        .dump());
    const Outcome trained =
        run({"train", "--task-table", folder_ / "results.csv", "--prompts",
             folder_ / "prompts.jsonl", "--pool", folder_ / "pool.json", "--output", prior_});
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
  }

  static json model(const std::string& id, double input, double output) {
    return {{"openrouter_id", id},
            {"input_price_per_million", input},
            {"output_price_per_million", output}};
  }
  static Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), R2ROUTER_CLI);
    return testing::run(arguments);
  }
  /// The decision for the best answer.
  json route(const std::string& checkpoint, const std::string& query) const {
    const Outcome outcome =
        run({"route", "--checkpoint-dir", checkpoint, "--pool", folder_ / "pool.json",
             "--objective", "best", "--query", query, "--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out);
  }
  Outcome add(const std::string& table, const std::string& name, const std::string& output) const {
    return run({"add-model", "--checkpoint-dir", prior_, "--pool", folder_ / "pool.json", "--model",
                name, "--task-scores", table, "--output", output});
  }

  testing::TemporaryFolder folder_;
  const std::string prior_ = folder_ / "prior";
};

TEST_F(UpdatePath, ANewModelIsAddedPricedAndChosenWhereItShouldBe) {
  EXPECT_EQ(route(prior_, kFact)["model"], "writer");
  put_file(folder_ / "new.csv",
           "model,task,score,output_tokens,questions\n"
           "newcomer,code,0.4,500,200\nnewcomer,facts,0.99,40,200\nnewcomer,stories,0.4,800,200\n");
  const std::string updated = folder_ / "updated";
  const Outcome added = add(folder_ / "new.csv", "newcomer", updated);
  ASSERT_EQ(added.exit_code, 0) << added.err;
  EXPECT_THAT(added.out, HasSubstr("Added newcomer from its results for 3 of 3 tasks"));

  json catalogue = json::array();
  for (const auto& [id, price] :
       {std::pair("v/coder", 1e-6), std::pair("v/writer", 1e-6), std::pair("v/newcomer", 4e-6)}) {
    catalogue.push_back(
        {{"id", id},
         {"pricing",
          {{"prompt", std::to_string(price)}, {"completion", std::to_string(2 * price)}}}});
  }
  const std::string url = FaultServer::instance().script({{service({{"models", catalogue}})}});
  const Outcome synced =
      run({"models", "sync", "--pool", folder_ / "pool.json", "--base", url, "--yes"});
  ASSERT_EQ(synced.exit_code, 0) << synced.err;
  EXPECT_THAT(synced.out, HasSubstr("newcomer: input $5 → $4"));

  const json fact = route(updated, kFact);
  EXPECT_EQ(fact["model"], "newcomer");
  const json code = route(updated, kCode);
  EXPECT_EQ(code["model"], "coder");
  // The price is the catalogue's: 4 and 8 dollars per million tokens.
  const double tokens = fact["predicted_output_tokens"];
  const double words = static_cast<double>(estimate_input_tokens(kFact));
  EXPECT_NEAR(fact["predicted_cost_usd"].get<double>(), (4 * words + 8 * tokens) / 1e6, 1e-8);
}

TEST_F(UpdatePath, ReportsWhatIsMissingAndWrong) {
  put_file(folder_ / "part.csv",
           "model,task,score,output_tokens\nnewcomer,facts,0.9,40\nnewcomer,chess,0.9,40\n");
  const Outcome part = add(folder_ / "part.csv", "newcomer", folder_ / "part");
  EXPECT_EQ(part.exit_code, 0) << part.err;
  EXPECT_THAT(part.err, HasSubstr("does not recognise are ignored: chess"));
  EXPECT_THAT(part.err, HasSubstr("newcomer has no result for 2 of 3 tasks"));
  put_file(folder_ / "percent.csv", "model,task,score,output_tokens\nnewcomer,facts,87,40\n");
  const Outcome percent = add(folder_ / "percent.csv", "newcomer", folder_ / "percent");
  EXPECT_EQ(percent.exit_code, 1);
  EXPECT_THAT(percent.err, HasSubstr("in percent"));
  const Outcome twice = add(folder_ / "results.csv", "coder", folder_ / "twice");
  EXPECT_EQ(twice.exit_code, 1);
  EXPECT_THAT(twice.err, HasSubstr("already"));
  const Outcome nothing =
      run({"add-model", "--checkpoint-dir", prior_, "--pool", folder_ / "pool.json", "--model",
           "newcomer", "--output", folder_ / "nothing"});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("--task-scores"));
}

TEST_F(UpdatePath, OutcomesRefineThePrior) {
  // The table is wrong about facts: here the coder knows them, and its answers are short.
  std::string outcomes;
  std::size_t number = 0;
  for (const train::TaskPrompt& prompt : testing::make_prompts(60).prompts) {
    const std::string id = std::to_string(number++);
    for (const char* name : {"coder", "writer"}) {
      const bool coder = name == std::string("coder");
      const int score = coder ? prompt.task != "stories" : prompt.task != "facts" || number % 2;
      outcomes += json{{"query_id", id},
                       {"query", prompt.text + " " + id},
                       {"model", name},
                       {"score", score},
                       {"output_tokens", coder ? 6 : 60}}
                      .dump() +
                  "\n";
    }
  }
  put_file(folder_ / "outcomes.jsonl", outcomes);
  const std::vector<std::string> data = {"--queries", folder_ / "outcomes.jsonl", "--outcomes",
                                         folder_ / "outcomes.jsonl"};
  const auto with_data = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), data.begin(), data.end());
    return run(arguments);
  };
  EXPECT_EQ(route(prior_, kFact)["model"], "writer");
  const Outcome trained =
      with_data({"train", "--prior", prior_, "--output", folder_ / "refined", "--json"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_EQ(route(folder_ / "refined", kFact)["model"], "coder");
  const json report = json::parse(trained.out);
  EXPECT_GT(report["training"]["prior"]["prompts"], 0);
  EXPECT_GT(report["evaluation"]["policies"].size(), 0u);

  // In one step.
  const Outcome direct = with_data({"train", "--task-table", folder_ / "results.csv", "--prompts",
                                    folder_ / "prompts.jsonl", "--pool", folder_ / "pool.json",
                                    "--output", folder_ / "direct"});
  ASSERT_EQ(direct.exit_code, 0) << direct.err;
  EXPECT_EQ(testing::read_file(folder_ / "direct/model.safetensors"),
            testing::read_file(folder_ / "refined/model.safetensors"));

  const Outcome curve =
      with_data({"eval", "--checkpoint-dir", prior_, "--learning-curve", "--json"});
  ASSERT_EQ(curve.exit_code, 0) << curve.err;
  const json points = json::parse(curve.out);
  EXPECT_GT(points["points"].back()["prior"]["audc"], points["prior"]["audc"]);
  EXPECT_THAT(with_data({"eval", "--checkpoint-dir", prior_, "--learning-curve"}).out,
              HasSubstr("from scratch"));

  // The prior has a pool of its own.
  EXPECT_EQ(with_data({"train", "--prior", prior_, "--pool", folder_ / "pool.json", "--output",
                       folder_ / "other"})
                .exit_code,
            2);
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
