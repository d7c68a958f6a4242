// The train and eval commands, run as a process on a small made-up table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/outcomes.h"
#include "r2router/router.h"

#include "support/heads.h"
#include "support/lexical.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using testing::linear_heads;
using testing::Outcome;
using testing::put_file;
using testing::read_file;
using ::testing::StartsWith;

/// 200 queries in two data sets; a small model that cannot prove things and a large one that can,
/// at fifty times the price; a third model that is not in the pool.
class TrainCli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string queries, outcomes;
    for (int i = 0; i < 200; ++i) {
      const bool proof = i % 3 == 0;
      const std::string id = std::to_string(i);
      queries += json{{"query_id", id},
                      {"dataset", i < 180 ? "main:x" : "extra"},
                      {"query", (proof ? "prove theorem " : "what is ") + std::to_string(i)},
                      {"query_tokens", 5}}
                     .dump() +
                 "\n";
      const auto answer = [&](const char* model, int score, int tokens) {
        outcomes +=
            json{{"query_id", id}, {"model", model}, {"score", score}, {"output_tokens", tokens}}
                .dump() +
            "\n";
      };
      answer("small", !proof && i % 10 != 1, 40 + i % 7);
      answer("large", i % 11 != 1, 80 + i % 13);
      if (i < 20) answer("rare", 1, 10);
      answer("stranger", 1, 1);
    }
    put_file(folder_ / "queries.jsonl", queries);
    put_file(folder_ / "outcomes.jsonl", outcomes);
    put_file(folder_ / "pool.json", R"({"models": {
      "small": {"openrouter_id": "x/small", "input_price_per_million": 0.1,
                "output_price_per_million": 0.2},
      "rare": {"openrouter_id": "x/rare", "input_price_per_million": 0.1,
               "output_price_per_million": 0.2},
      "large": {"openrouter_id": "x/large", "input_price_per_million": 5,
                "output_price_per_million": 10}}})");
  }

  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), R2ROUTER_CLI);
    arguments.insert(arguments.begin() + 2, {"--queries", folder_ / "queries.jsonl", "--outcomes",
                                             folder_ / "outcomes.jsonl"});
    return testing::run(arguments);
  }
  Outcome train(const std::string& output, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train",    "--pool",         folder_ / "pool.json",
                                          "--output", folder_ / output, "--alpha",
                                          "0.1,1,10"};
    if (std::find(more.begin(), more.end(), "--embeddings") == more.end()) {
      arguments.insert(arguments.end(), {"--dimension", "64"});
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  /// The lines of standard error that are not warnings.
  static std::ptrdiff_t errors_in(const Outcome& outcome) {
    return std::ranges::count_if(testing::lines_of(outcome.err), [](const std::string& line) {
      return !line.starts_with("r2-router: warning: ");
    });
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TrainCli, TrainsACheckpointThatRoutes) {
  const Outcome outcome = train("router", {"--budgets", "hard-cap", "--token-limits", "60,100"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  // Progress is for terminals; what is left out is said.
  EXPECT_THAT(testing::lines_of(outcome.err),
              ElementsAre(HasSubstr("warning: " + (folder_ / "outcomes.jsonl") +
                                    ": 200 outcomes of models that are not in the pool are not "
                                    "used: \"stranger\" (200)"),
                          HasSubstr("\"rare\" (10.0 % of the queries, 20 outcomes)")));
  EXPECT_THAT(outcome.out, StartsWith("Trained on "));
  EXPECT_THAT(outcome.out, HasSubstr("budgets as a hard cap"));
  EXPECT_THAT(outcome.out, HasSubstr("\nmean curve "));

  const Router router = Router::from_pretrained(folder_ / "router");
  // "rare" answered a tenth of the queries: left out unless requested.
  ASSERT_EQ(router.pool().size(), 2u);
  EXPECT_EQ(router.pool()[0].name, "small");
  EXPECT_EQ(router.config().token_limits.size(), 3u);
  RouteOptions options;
  options.policy.lambda = 0.9975;
  EXPECT_EQ(router.route_text("what is 9999", options).model().name, "small");
  EXPECT_EQ(router.route_text("prove theorem 9999", options).model().name, "large");
}

TEST_F(TrainCli, TopicsAreTheDatasetsOfTheQueries) {
  const Outcome outcome = train("router", {"--topics"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Router router = Router::from_pretrained(folder_ / "router");
  EXPECT_THAT(testing::lexical(router.config()).topics, ::testing::ElementsAre("extra", "main:x"));
  EXPECT_EQ(router.dimension(), 66u);
  EXPECT_EQ(router.route_text("prove theorem 9999", {.policy = {.lambda = 0.9}}).model().name,
            "large");

  const Outcome one = train("no", {"--topics", "--dataset", "main"});
  EXPECT_EQ(one.exit_code, 1);
  EXPECT_THAT(one.err, HasSubstr("the queries name 1 datasets, and topics needs at least 2"));
}

TEST_F(TrainCli, AugmentingTrainsOnEditsAndEvaluatesWithoutThem) {
  const Outcome plain = train("plain", {"--json"});
  const Outcome augmented = train("augmented", {"--augment", "--json"});
  ASSERT_EQ(augmented.exit_code, 0) << augmented.err;
  const json before = json::parse(plain.out), after = json::parse(augmented.out);
  for (const char* count : {"training_queries", "held_out_queries"}) {
    EXPECT_EQ(after[count], before[count]) << count;
  }
  EXPECT_EQ(after["evaluation"]["queries"], before["evaluation"]["queries"]);
  EXPECT_NE(read_file(folder_ / "augmented/model.safetensors"),
            read_file(folder_ / "plain/model.safetensors"));
}

TEST_F(TrainCli, EvalMeasuresStabilityUnderEdits) {
  ASSERT_EQ(train("router").exit_code, 0);
  const std::vector<std::string> eval = {"eval", "--checkpoint-dir", folder_ / "router",
                                         "--perturb"};
  const Outcome text = run(eval);
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("\nedit            same model     and same budget\n"));
  std::vector<std::string> as_json = eval;
  as_json.push_back("--json");
  const json report = json::parse(run(as_json).out);
  EXPECT_FALSE(json::parse(run({"eval", "--checkpoint-dir", folder_ / "router", "--json"}).out)
                   .contains("perturbed"));
  const json& edits = report["perturbed"]["edits"];
  ASSERT_EQ(edits.size(), 6u);
  double sum = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_LE(edits[i]["same_pair"], edits[i]["same_model"]);
    sum += edits[i]["same_model"].get<double>();
  }
  EXPECT_EQ(edits[0]["edit"], "case");
  EXPECT_EQ(edits[0]["same_pair"], 1);  // to the encoder they are the same text
  EXPECT_EQ(edits[1]["same_model"], 1);
  EXPECT_EQ(edits[5]["edit"], "all");
  EXPECT_NEAR(edits[5]["same_model"].get<double>(), sum / 5, 1e-12);
}

TEST_F(TrainCli, TheSameCommandGivesTheSameBytes) {
  ASSERT_EQ(train("one", {"--threads", "1"}).exit_code, 0);
  ASSERT_EQ(train("two", {"--threads", "2"}).exit_code, 0);
  for (const char* file : {"/config.json", "/model.safetensors"}) {
    EXPECT_EQ(read_file(folder_ / "one" + file), read_file(folder_ / "two" + file)) << file;
  }
}

TEST_F(TrainCli, JsonHoldsTheSameFiguresAsEval) {
  const Outcome trained =
      train("router", {"--budgets", "hard-cap", "--token-limits", "60", "--json"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const json report = json::parse(trained.out);
  EXPECT_EQ(report["training_queries"].get<int>() + report["held_out_queries"].get<int>(), 200);
  EXPECT_EQ(report["heads"], 8);

  const Outcome evaluated = run({"eval", "--checkpoint-dir", folder_ / "router", "--json",
                                 "--curves", folder_ / "curve.csv"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const json full = json::parse(evaluated.out);
  for (const char* const member : {"queries", "best_single", "default_lambda", "budget_mode"}) {
    EXPECT_EQ(full[member], report["evaluation"][member]);
  }
  const json& policies = report["evaluation"]["policies"];
  EXPECT_EQ(policies[0]["policy"], "router");
  EXPECT_GT(policies[0]["audc"], policies[2]["audc"]);  // the mean curve
  EXPECT_TRUE(policies[6]["qnc"].is_null());            // "small" never reaches the best score
  const std::string curve = read_file(folder_ / "curve.csv");
  EXPECT_THAT(curve,
              StartsWith("policy,lambda,cost_usd,cost,score,routerarena,on_curve\n\"router\",0,"));
  EXPECT_THAT(curve, HasSubstr("\n\"oracle\","));
}

TEST_F(TrainCli, DatasetsAndModelsAreChosen) {
  const Outcome outcome =
      train("router", {"--dataset", "main", "--models", "large", "--holdout", "0", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["training_queries"], 180);
  EXPECT_EQ(report["held_out_queries"], 0);
  EXPECT_FALSE(report.contains("evaluation"));
  EXPECT_EQ(load_checkpoint(folder_ / "router").config.models.at(0).name, "large");
}

TEST_F(TrainCli, PromptedBudgetsRequireTheirPrompt) {
  std::string outcomes;
  for (int i = 0; i < 200; ++i) {
    for (const int budget : {10, 50}) {
      outcomes += json{{"query_id", std::to_string(i)},
                       {"model", "small"},
                       {"budget", budget},
                       {"score", budget == 50 ? 1 : 0},
                       {"output_tokens", budget - 3}}
                      .dump() +
                  "\n";
    }
  }
  put_file(folder_ / "outcomes.jsonl", read_file(folder_ / "outcomes.jsonl") + outcomes);
  const Outcome without = train("router");
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_THAT(without.err, HasSubstr("give the budget prompt"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "router"));
  const Outcome outcome = train("router", {"--budget-prompt", "Be brief: {budget} tokens."});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Config config = load_checkpoint(folder_ / "router").config;
  EXPECT_EQ(config.budget_prompt, "Be brief: {budget} tokens.");
  EXPECT_EQ(config.budget_mode, BudgetMode::kPrompted);
  // "large" was never limited: its pairs are its own.
  EXPECT_THAT(config.token_limits, ::testing::ElementsAre(Budget(10), Budget(50), Budget()));
}

TEST_F(TrainCli, ExternalEmbeddingsFollowTheirQueries) {
  // One feature that says "proof", in the order of the queries' lines; only "main" is trained on.
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (200, 2), }";
  header.resize(118 - 1, ' ');
  header += '\n';
  std::string npy = std::string("\x93NUMPY\x01\x00", 8) + '\x76' + '\0' + header;
  for (int i = 0; i < 200; ++i) {
    const float row[2] = {i % 3 == 0 ? 1.0f : 0.0f, static_cast<float>(i % 5)};
    npy.append(reinterpret_cast<const char*>(row), sizeof row);
  }
  put_file(folder_ / "embeddings.npy", npy);
  const std::vector<std::string> embeddings = {"--embeddings", folder_ / "embeddings.npy"};
  std::vector<std::string> more = embeddings;
  more.insert(more.end(), {"--dataset", "main", "--embedding-model", "x/encoder"});
  const Outcome outcome = train("router", more);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Checkpoint checkpoint = load_checkpoint(folder_ / "router");
  EXPECT_EQ(checkpoint.config.embedding_model, "x/encoder");
  EXPECT_FALSE(checkpoint.config.encoder);
  // The quality head of "small" has learned that proofs fail.
  EXPECT_LT(std::get<std::vector<float>>(linear_heads(checkpoint).weights)[0], -0.5f);

  const Outcome without = run({"eval", "--checkpoint-dir", folder_ / "router"});
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_THAT(without.err, HasSubstr("give the queries' embeddings (model: x/encoder)"));
  std::vector<std::string> eval = {"eval", "--checkpoint-dir", folder_ / "router"};
  eval.insert(eval.end(), embeddings.begin(), embeddings.end());
  EXPECT_EQ(run(eval).exit_code, 0);

  put_file(
      folder_ / "embeddings.npy",
      npy.substr(0, 10) + header.replace(header.find("200"), 3, "199") + npy.substr(128, 199 * 8));
  const Outcome short_file = train("other", more);
  EXPECT_EQ(short_file.exit_code, 1);
  EXPECT_THAT(short_file.err, HasSubstr("199 rows"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "other"));
}

TEST_F(TrainCli, CrossValidationNeedsNoCheckpoint) {
  std::vector<std::string> arguments = {"eval",
                                        "--folds",
                                        "4",
                                        "--pool",
                                        folder_ / "pool.json",
                                        "--budgets",
                                        "hard-cap",
                                        "--token-limits",
                                        "60",
                                        "--dimension",
                                        "64",
                                        "--alpha",
                                        "1",
                                        "--resamples",
                                        "50"};
  const Outcome text = run(arguments);
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("At 95 % of the best model's score you would pay "));
  EXPECT_THAT(text.out, HasSubstr(" % less ("));
  EXPECT_THAT(text.out, HasSubstr("\nBetter than random mixing: yes, by 0."));
  EXPECT_THAT(text.out, HasSubstr("\nAt its default setting the router scores 0."));
  EXPECT_THAT(text.out,
              HasSubstr("\nEvaluated on 200 queries, each by a router trained on the other "
                        "3 of 4 folds, budgets as a hard cap."));
  EXPECT_THAT(text.out, HasSubstr("50 resamples of the queries"));
  arguments.insert(arguments.end(), {"--json", "--by-dataset", "--against", "mean-curve,KNN-3"});
  const Outcome outcome = run(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["folds"], 4);
  EXPECT_TRUE(report["default_lambda"]["lambda"].is_null());
  ASSERT_EQ(report["policies"].size(), 3u);
  EXPECT_EQ(report["policies"][1]["policy"], "mean curve");
  EXPECT_EQ(report["policies"][2]["policy"], "kNN-3");
  // What the words of a query say about the outcome is learned without seeing the query.
  EXPECT_GT(report["policies"][1]["router_minus_policy"]["audc"][0], 0);
  EXPECT_LT(report["policies"][0]["intervals"]["audc"][0], report["policies"][0]["audc"]);
  ASSERT_EQ(report["datasets"].size(), 2u);
  EXPECT_EQ(report["datasets"][1]["dataset"], "main:x");
  EXPECT_EQ(report["datasets"][1]["queries"], 180);
  EXPECT_EQ(report["sweeps"][0]["points"].size(), 302u);

  const Outcome both = run({"eval", "--folds", "4"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.err, HasSubstr("--pool"));
  const Outcome alone = run({"eval", "--dimension", "64"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.err, HasSubstr("--folds"));
}

TEST_F(TrainCli, CrossValidationKnowsTopicsAndEdits) {
  const auto audc = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "eval", "--folds",     "2", "--pool", folder_ / "pool.json", "--dimension", "64", "--alpha",
        "1",    "--resamples", "0", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const json report = json::parse(outcome.out);
    EXPECT_EQ(report["queries"], 200);  // edits are trained on, but not tested
    return report["policies"][0]["audc"].get<double>();
  };
  const double plain = audc({});
  EXPECT_NE(audc({"--topics"}), plain);
  EXPECT_NE(audc({"--augment"}), plain);
  // Which router would be asked about the edits?
  const Outcome outcome =
      run({"eval", "--folds", "2", "--pool", folder_ / "pool.json", "--perturb"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--perturb"));
}

TEST_F(TrainCli, KeepsWhatItLearnedWhereThatCannotBeMeasured) {
  // The large model has no outcome of a query that is held out.
  std::string outcomes;
  std::vector<std::string> held_out;
  for (const QueryRecord& query : read_queries(folder_ / "queries.jsonl")) {
    if (is_held_out(query.text, 5)) held_out.push_back(query.id);
  }
  for (const std::string& line : testing::lines_of(read_file(folder_ / "outcomes.jsonl"))) {
    const json row = json::parse(line);
    if (row["model"] == "large" &&
        std::ranges::find(held_out, row["query_id"].get<std::string>()) != held_out.end()) {
      continue;
    }
    outcomes += line + "\n";
  }
  put_file(folder_ / "outcomes.jsonl", outcomes);
  const Outcome outcome = train("router", {"--models", "small,large"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Wrote "));
  EXPECT_THAT(outcome.err, HasSubstr("warning: not evaluated: "));
  EXPECT_NO_THROW(load_checkpoint(folder_ / "router"));
}

TEST_F(TrainCli, CrossValidationComparesPredictors) {
  const auto audcs = [&](const std::string& predictor, const std::string& against) {
    const Outcome outcome =
        run({"eval", "--folds", "2", "--pool", folder_ / "pool.json", "--dimension", "64",
             "--alpha", "1", "--neighbours", "20", "--predictor", predictor, "--against", against,
             "--resamples", "50", "--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const json report = json::parse(outcome.out);
    std::map<std::string, double> result;
    for (const json& policy : report["policies"]) {
      result[policy["policy"]] = policy["audc"].get<double>();
      EXPECT_EQ(policy.contains("router_minus_policy"), policy["policy"] != "router");
    }
    return result;
  };
  const auto ridge = audcs("ridge", "knn-router");
  EXPECT_THAT(ridge, ElementsAre(Key("kNN router"), Key("router")));
  EXPECT_NE(ridge.at("router"), ridge.at("kNN router"));
  // Each is the same as alone.
  const auto knn = audcs("knn", "ridge-router");
  EXPECT_EQ(knn.at("router"), ridge.at("kNN router"));
  EXPECT_EQ(knn.at("ridge router"), ridge.at("router"));

  ASSERT_EQ(train("router").exit_code, 0);
  const Outcome outcome =
      run({"eval", "--checkpoint-dir", folder_ / "router", "--against", "mlp-router"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("\"MLP router\" is a router to be trained"));
  EXPECT_THAT(outcome.err, HasSubstr("evaluate by cross-validation (folds)"));
}

TEST_F(TrainCli, AnUnknownContenderGetsASuggestion) {
  ASSERT_EQ(train("router").exit_code, 0);
  const Outcome outcome =
      run({"eval", "--checkpoint-dir", folder_ / "router", "--against", "oracle,mean-kurve"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no policy \"mean-kurve\"; did you mean \"mean curve\"?"));
  EXPECT_THAT(outcome.err, HasSubstr("small, large"));
  const Outcome many =
      run({"eval", "--checkpoint-dir", folder_ / "router", "--against", "knn-100000"});
  EXPECT_EQ(many.exit_code, 1);
  EXPECT_THAT(many.err, HasSubstr("fewer than 100000 other training queries"));
}

TEST_F(TrainCli, TheReportIsSelfContainedAndEscaped) {
  const std::string hostile = "<script>alert(1)</script>\" onload='x' &\u202Eevil";
  std::string queries, outcomes;
  for (int i = 0; i < 60; ++i) {
    queries += json{{"query_id", std::to_string(i)},
                    {"dataset", hostile},
                    {"query", "<img src=x> number " + std::to_string(i)}}
                   .dump() +
               "\n";
    for (const std::string& model : {hostile, std::string("other")}) {
      outcomes += json{{"query_id", std::to_string(i)},
                       {"model", model},
                       {"score", model == "other" || i % 2 == 0 ? 1 : 0},
                       {"output_tokens", model == "other" ? 50 : 20}}
                      .dump() +
                  "\n";
    }
  }
  put_file(folder_ / "queries.jsonl", queries);
  put_file(folder_ / "outcomes.jsonl", outcomes);
  put_file(folder_ / "pool.json",
           json{{"models",
                 {{hostile, {{"input_price_per_million", 1}, {"output_price_per_million", 1}}},
                  {"other", {{"input_price_per_million", 2}, {"output_price_per_million", 9}}}}}}
               .dump());
  const Outcome outcome =
      run({"eval", "--folds", "2", "--pool", folder_ / "pool.json", "--dimension", "16", "--alpha",
           "1", "--resamples", "20", "--by-dataset", "--report", folder_ / "report.html"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string page = read_file(folder_ / "report.html");
  EXPECT_THAT(page, StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(page,
              HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp;"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  for (const char* const part :
       {"<script", "<img", "onload='", "http:", "https:", "url(", "@import", "\u202E"}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
  // Charts, then tables: every element that opens also closes.
  for (const char* const name : {"svg", "table", "figure", "text", "tr", "td", "bdi"}) {
    std::size_t opened = 0, closed = 0;
    for (std::size_t at = 0; (at = page.find(std::string("<") + name, at)) != std::string::npos;
         ++at) {
      const char after = page[at + 1 + std::string(name).size()];
      opened += after == '>' || after == ' ';
    }
    for (std::size_t at = 0;
         (at = page.find(std::string("</") + name + ">", at)) != std::string::npos; ++at) {
      ++closed;
    }
    EXPECT_GT(opened, 0u) << name;
    EXPECT_EQ(opened, closed) << name;
  }
}

TEST_F(TrainCli, RouterArenaResultsAreEvaluatedAndPredictionsWritten) {
  ASSERT_EQ(train("router").exit_code, 0);
  std::string results;
  for (int i = 0; i < 30; ++i) {
    const bool proof = i % 2 == 0;
    for (const std::string model : {"x/small", "large", "someone-else"}) {
      json row = {{"global_index", "Proofs_" + std::to_string(i)},
                  {"question", (proof ? "prove theorem " : "what is ") + std::to_string(i)},
                  {"llm_selected", model},
                  {"generated_answer", "answer of " + model},
                  {"success", true},
                  {"token_usage", {{"input_tokens", 10}, {"output_tokens", 50}}},
                  {"evaluation_result", {{"score", model == "large" || !proof ? 1.0 : 0.0}}}};
      if (i == 29 && model == "large") row["evaluation_result"] = nullptr;
      results += row.dump() + "\n";
    }
  }
  put_file(folder_ / "cached.jsonl", results);
  const std::vector<std::string> arguments = {R2ROUTER_CLI,
                                              "eval",
                                              "--checkpoint-dir",
                                              folder_ / "router",
                                              "--routerarena",
                                              folder_ / "cached.jsonl",
                                              "--predictions",
                                              folder_ / "predictions.json",
                                              "--json"};
  const Outcome outcome = testing::run(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["queries"], 29);  // those that are scored for every model
  for (const json& policy : report["policies"]) {
    EXPECT_NE(policy["policy"], "mean curve");  // it would learn from RouterArena
  }
  const json predictions = json::parse(read_file(folder_ / "predictions.json"));
  ASSERT_EQ(predictions.size(), 30u);
  std::size_t large = 0;
  for (const json& prediction : predictions) {
    const bool is_large = prediction["prediction"] == "large";
    large += is_large;
    EXPECT_EQ(prediction["prediction"], is_large ? "large" : "x/small");  // as the file has it
    EXPECT_EQ(prediction["generated_result"]["generated_answer"],
              "answer of " + prediction["prediction"].get<std::string>());
    EXPECT_EQ(prediction["generated_result"]["token_usage"]["total_tokens"], 60);
    EXPECT_NEAR(prediction["cost"].get<double>(),
                is_large ? (10 * 5 + 50 * 10) / 1e6 : (10 * 0.1 + 50 * 0.2) / 1e6, 1e-12);
  }
  EXPECT_EQ(predictions[3]["global index"], "Proofs_3");
  EXPECT_EQ(predictions[3]["prompt"], "what is 3");
  EXPECT_GT(large, 5u);
  EXPECT_LT(large, 25u);

  put_file(folder_ / "cached.jsonl", results + results.substr(0, results.find('\n') + 1));
  const Outcome twice = testing::run(arguments);
  EXPECT_EQ(twice.exit_code, 1);
  EXPECT_THAT(twice.err, HasSubstr("cached.jsonl:91: the result of x/small"));
}

TEST_F(TrainCli, TrainsEachKindOfPredictor) {
  for (const std::string kind : {"knn", "mlp"}) {
    std::vector<std::string> arguments = {
        "train", "--pool",   folder_ / "pool.json", "--json",      "--dimension",
        "64",    "--output", folder_ / kind,        "--predictor", kind};
    if (kind == "knn") arguments.insert(arguments.end(), {"--neighbours", "5,20"});
    const Outcome outcome = run(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const json report = json::parse(outcome.out);
    EXPECT_EQ(report["predictor"], kind);
    EXPECT_TRUE(report["alpha"].is_null());
    EXPECT_EQ(report["training"].contains(kind == "knn" ? "neighbours" : "epochs"), true);
    const Outcome evaluated = run({"eval", "--checkpoint-dir", folder_ / kind, "--json"});
    ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
    const json full = json::parse(evaluated.out);
    EXPECT_EQ(full["default_lambda"], report["evaluation"]["default_lambda"]);
    EXPECT_EQ(full["policies"][0]["audc"], report["evaluation"]["policies"][0]["audc"]);

    const Outcome info = testing::run({R2ROUTER_CLI, "info", folder_ / kind});
    ASSERT_EQ(info.exit_code, 0) << info.err;
    EXPECT_THAT(info.out, HasSubstr(kind == "knn" ? "Predictor:      knn, the "
                                                  : "Predictor:      mlp, layers of 256 128 64 4"));
    const Router router = Router::from_pretrained(folder_ / kind);
    RouteOptions options;
    options.policy.lambda = 0;
    EXPECT_EQ(router.route_text("prove theorem 9999", options).model().name, "large");
  }
}

/// The models but one, then that one from a few of its outcomes.
TEST_F(TrainCli, AddsAModelFromAFewOutcomes) {
  ASSERT_EQ(train("base", {"--topics", "--models", "small", "--budgets", "hard-cap",
                           "--token-limits", "60"})
                .exit_code,
            0);
  const auto add = [&](const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"add-model",     "--checkpoint-dir",    folder_ / "base",
                                          "--pool",        folder_ / "pool.json", "--output",
                                          folder_ / output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  const Outcome outcome = add("added", {"--model", "large", "--probes", "60", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  EXPECT_EQ(report["probes"], 60);
  EXPECT_EQ(report["quality"]["shares"].size(), 1u);
  EXPECT_GT(report["full_training"]["training_queries"], 100);
  EXPECT_NEAR(report["audc"].get<double>(), report["full_training"]["audc"].get<double>(), 0.1);
  const Checkpoint checkpoint = load_checkpoint(folder_ / "added");
  ASSERT_EQ(checkpoint.config.models.size(), 2u);
  EXPECT_EQ(checkpoint.config.models[1].name, "large");
  EXPECT_EQ(checkpoint.config.models[1].prices.output, 10);
  EXPECT_EQ(linear_heads(checkpoint).names.size(), 8u);
  RouteOptions options;
  options.policy.lambda = 0;
  EXPECT_EQ(Router(checkpoint).route_text("prove theorem 9999", options).model().name, "large");

  const Outcome text = add("text", {"--model", "large", "--probes", "60"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("Added large from 60 probes.\n"));
  EXPECT_THAT(text.out, HasSubstr("AUDC of the router on them: 0."));

  const auto expect_failure = [&](const std::string& part, const std::vector<std::string>& more) {
    const Outcome failed = add("failed", more);
    EXPECT_EQ(failed.exit_code, 1);
    EXPECT_THAT(failed.err, HasSubstr(part));
    EXPECT_EQ(errors_in(failed), 1) << failed.err;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "failed"));
  };
  expect_failure("there is no model \"huge\" here; there are: small, rare, large",
                 {"--model", "huge"});
  expect_failure("has a model \"small\" already", {"--model", "small"});
  expect_failure("expected at least 20", {"--model", "rare"});
  expect_failure("probes is 5", {"--model", "large", "--probes", "5"});
}

TEST_F(TrainCli, ErrorsAreOneLineAndLeaveNoFiles) {
  const auto expect_failure = [&](int exit_code, const std::string& part,
                                  const std::vector<std::string>& more) {
    const Outcome outcome = train("router", more);
    EXPECT_EQ(outcome.exit_code, exit_code);
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(errors_in(outcome), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(std::filesystem::exists(folder_ / "router"));
  };
  expect_failure(1, "a model \"huge\"", {"--models", "small,huge"});
  expect_failure(1, "begins with \"none\"", {"--dataset", "none"});
  expect_failure(1, "folds is 1", {"--folds", "1"});
  expect_failure(1, "α is -1", {"--alpha", "-1"});
  expect_failure(2, "words:2", {"--features", "words:2"});
  expect_failure(2, "--budgets", {"--budgets", "soft"});
  expect_failure(2, "--token-limits is only for", {"--token-limits", "50"});
  expect_failure(2, "--neighbours is only for", {"--neighbours", "5"});
  expect_failure(2, "--alpha is only for", {"--predictor", "knn"});
  expect_failure(2, "--predictor", {"--predictor", "tree"});
  expect_failure(2, "--embeddings", {"--embedding-model", "x"});
  expect_failure(2, "--embeddings and --idf exclude each other",
                 {"--embeddings", "x.npy", "--idf"});
  put_file(folder_ / "pool.json", R"({"models": {"rare": {"openrouter_id": null,
    "input_price_per_million": 1, "output_price_per_million": 1}}})");
  expect_failure(1, "no model answered 99 % of the queries (coverage): \"rare\" (10.0 %", {});
  std::filesystem::create_directory(folder_ / "router");
  put_file(folder_ / "router/notes.txt", "mine");
  const Outcome outcome = train("router");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("router: found a folder that is not empty"));
  EXPECT_EQ(read_file(folder_ / "router/notes.txt"), "mine");
}

TEST_F(TrainCli, ABadLineIsReportedWithItsNumber) {
  put_file(folder_ / "outcomes.jsonl",
           read_file(folder_ / "outcomes.jsonl") +
               R"({"query_id": "0", "model": "small", "score": 7, "output_tokens": 1})");
  const Outcome outcome = train("router");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("outcomes.jsonl:621 at /score: found the number 7"));
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
