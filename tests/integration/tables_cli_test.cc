// Outcome tables as people have them, through every command that reads them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include "r2router/checkpoint.h"

#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Outcome;
using testing::put_file;
using testing::read_file;

constexpr int kQueries = 120;

class TablesCli : public ::testing::Test {
 protected:
  void SetUp() override {
    put_file(folder_ / "queries.jsonl", json_lines(queries_));
    put_file(folder_ / "outcomes.jsonl", json_lines(outcomes_));
    put_pool(0.1, 0.2, 3, 15);
  }

  void put_pool(double small_input, double small_output, double large_input,
                double large_output) const {
    put_file(folder_ / "pool.json", json{{"models",
                                          {{"small",
                                            {{"openrouter_id", "v/small"},
                                             {"input_price_per_million", small_input},
                                             {"output_price_per_million", small_output}}},
                                           {"vendor/large:free",
                                            {{"openrouter_id", "v/large"},
                                             {"input_price_per_million", large_input},
                                             {"output_price_per_million", large_output}}}}}}
                                        .dump());
  }

  static json make_queries() {
    json rows;
    for (int i = 0; i < kQueries; ++i) {
      rows.push_back({{"query_id", std::to_string(i)},
                      {"query", (i % 2 ? "prove theorem " : "add up ") + std::to_string(i)},
                      {"dataset", "d"}});
    }
    return rows;
  }
  static json make_outcomes() {
    json rows;
    for (int i = 0; i < kQueries; ++i) {
      for (const char* const model : {"small", "vendor/large:free"}) {
        const bool small = std::string(model) == "small";
        rows.push_back({{"query_id", std::to_string(i)},
                        {"model", model},
                        {"score", small ? i % 2 == 0 && i % 7 != 0 : i % 11 != 0},
                        {"output_tokens", (small ? 40 : 90) + i % 13}});
        rows.back()["score"] = rows.back()["score"].get<bool>() ? 1 : 0;
      }
    }
    return rows;
  }
  static std::string json_lines(const json& rows) {
    std::string text;
    for (const json& row : rows) text += row.dump() + "\n";
    return text;
  }
  static std::string csv(const json& rows, char separator) {
    std::string text;
    for (const auto& [name, value] : rows[0].items()) {
      text += (text.empty() ? "" : std::string(1, separator)) + name;
    }
    text += "\r\n";
    for (const json& row : rows) {
      std::string line;
      for (const auto& [name, value] : row.items()) {
        if (!line.empty()) line += separator;
        line += value.is_string()    ? '"' + value.get<std::string>() + '"'
                : value.is_boolean() ? (value.get<bool>() ? "True" : "False")
                                     : value.dump();
      }
      text += line + "\r\n";
    }
    return text;
  }
  static json changed(json rows, const std::function<void(json&)>& change) {
    for (json& row : rows) change(row);
    return rows;
  }
  void put_gzip(const std::string& name, const std::string& contents) const {
    const gzFile file = gzopen((folder_ / name).c_str(), "wb");
    gzwrite(file, contents.data(), static_cast<unsigned>(contents.size()));
    ASSERT_EQ(gzclose(file), Z_OK);
  }

  Outcome run(const std::string& command, const std::vector<std::string>& more,
              const std::string& queries = "queries.jsonl",
              const std::string& outcomes = "outcomes.jsonl") const {
    std::vector<std::string> arguments = {R2ROUTER_CLI,      command,      "--queries",
                                          folder_ / queries, "--outcomes", folder_ / outcomes};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return testing::run(arguments);
  }
  Outcome train(const std::string& output, const std::string& queries = "queries.jsonl",
                const std::string& outcomes = "outcomes.jsonl",
                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--pool",      folder_ / "pool.json",
                                          "--output",    folder_ / output,
                                          "--dimension", "32",
                                          "--alpha",     "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("train", arguments, queries, outcomes);
  }

  testing::TemporaryFolder folder_;
  json queries_ = make_queries(), outcomes_ = make_outcomes();
};

TEST_F(TablesCli, EveryFormTrainsTheSameHeads) {
  const Outcome plain = train("plain");
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.err, "");
  const std::string heads = read_file(folder_ / "plain/model.safetensors");

  const auto as_integers = [](json& row) {
    row["query_id"] = std::stoi(row["query_id"].get<std::string>());
  };
  const auto as_floats = [](json& row) {
    row["query_id"] = std::stod(row["query_id"].get<std::string>());
  };
  const auto as_booleans = [](json& row) { row["score"] = row["score"] == 1; };
  const auto as_text = [](json& row) {
    row["score"] = row["score"] == 1 ? "True" : "False";
    row["output_tokens"] = row["output_tokens"].dump();
  };
  put_file(folder_ / "a", changed(queries_, as_integers).dump(2));
  put_file(folder_ / "b.jsonl", csv(queries_, ','));
  put_gzip("c", csv(changed(queries_, as_floats), '\t'));
  put_file(folder_ / "1", json_lines(changed(outcomes_, as_integers)));
  put_file(folder_ / "2.csv", changed(outcomes_, as_floats).dump());
  put_file(folder_ / "3", "\xEF\xBB\xBF" + csv(changed(outcomes_, as_booleans), ';'));
  put_gzip("4.txt", json_lines(changed(outcomes_, as_text)));
  for (const auto& [queries, outcomes] : std::vector<std::pair<std::string, std::string>>{
           {"a", "1"}, {"b.jsonl", "2.csv"}, {"c", "3"}, {"queries.jsonl", "4.txt"}, {"a", "3"}}) {
    const std::string output = "of " + queries + outcomes;
    const Outcome outcome = train(output, queries, outcomes);
    ASSERT_EQ(outcome.exit_code, 0) << output << ": " << outcome.err;
    EXPECT_EQ(outcome.err, "") << output;
    EXPECT_EQ(read_file(folder_ / output + "/model.safetensors"), heads) << output;
  }
}

TEST_F(TablesCli, FaultsNameLineAndColumnInEveryCommand) {
  ASSERT_EQ(train("router").exit_code, 0);
  std::string bad = csv(outcomes_, ',');
  const std::size_t last = bad.rfind('"');
  ASSERT_NE(last, std::string::npos);
  bad.insert(bad.rfind("\r\n"), "x");  // in the last column, the score
  put_file(folder_ / "bad.csv", bad);
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands = {
      {"train", {"--pool", folder_ / "pool.json", "--output", folder_ / "new"}},
      {"eval", {"--checkpoint-dir", folder_ / "router"}},
      {"eval", {"--folds", "2", "--pool", folder_ / "pool.json"}},
      {"calibrate",
       {"--checkpoint-dir", folder_ / "router", "--target", "95% of best", "--output",
        folder_ / "new"}},
      {"add-model",
       {"--checkpoint-dir", folder_ / "router", "--pool", folder_ / "pool.json", "--model",
        "vendor/large:free", "--output", folder_ / "new"}}};
  for (const auto& [command, more] : commands) {
    if (command == "add-model") continue;  // it has the model already, which is said first
    const Outcome outcome = run(command, more, "queries.jsonl", "bad.csv");
    EXPECT_EQ(outcome.exit_code, 1) << command;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("bad.csv:241: column \"score\": found the string"),
                                   HasSubstr("expected a number from 0 to 1, true or false")))
        << command;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "new")) << command;
  }
  put_file(folder_ / "bad.csv", "id,model,score,output_tokens\n1,small,1,1\n");
  EXPECT_THAT(train("new", "queries.jsonl", "bad.csv").err,
              HasSubstr("bad.csv:1: there is no column \"query_id\""));
  put_file(folder_ / "bad.csv", "PAR1....PAR1");
  EXPECT_THAT(train("new", "bad.csv").err, HasSubstr("a Parquet file"));
}

TEST_F(TablesCli, ANameInAnotherSpellingIsAnErrorInEveryCommand) {
  ASSERT_EQ(train("router").exit_code, 0);
  ASSERT_EQ(train("base", "queries.jsonl", "outcomes.jsonl", {"--models", "small"}).exit_code, 0);
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands = {
      {"train", {"--pool", folder_ / "pool.json", "--output", folder_ / "new"}},
      {"eval", {"--checkpoint-dir", folder_ / "router"}},
      {"calibrate",
       {"--checkpoint-dir", folder_ / "router", "--target", "95% of best", "--output",
        folder_ / "new"}},
      {"add-model",
       {"--checkpoint-dir", folder_ / "base", "--pool", folder_ / "pool.json", "--model",
        "vendor/large:free", "--output", folder_ / "new"}}};
  for (const char* const name :
       {"vendor/large:free ", "v/large", "Vendor/Large:Free", "vendor/large:free\u00A0",
        "ｖｅｎｄｏｒ/large:free", "vendor/lagre:free", "large:free"}) {
    put_file(folder_ / "other.jsonl", json_lines(changed(outcomes_, [&](json& row) {
               if (row["model"] == "vendor/large:free") row["model"] = name;
             })));
    for (const auto& [command, more] : commands) {
      const Outcome outcome = run(command, more, "queries.jsonl", "other.jsonl");
      EXPECT_EQ(outcome.exit_code, 1) << command << name;
      EXPECT_THAT(testing::lines_of(outcome.err), ::testing::SizeIs(1)) << outcome.err;
      EXPECT_THAT(outcome.err, HasSubstr("\"vendor/large:free\"")) << command;
      EXPECT_FALSE(std::filesystem::exists(folder_ / "new")) << command;
    }
    const Outcome ignored =
        train(std::string("ignoring") + std::to_string(std::string(name).size()) + name[0],
              "queries.jsonl", "other.jsonl", {"--ignore-unknown-models"});
    EXPECT_EQ(ignored.exit_code, 0) << ignored.err;
    EXPECT_THAT(ignored.err, HasSubstr("120 outcomes of models that are not in the pool"));
    EXPECT_THAT(ignored.err, HasSubstr("without outcomes are left out: \"vendor/large:free\""));
  }
}

TEST_F(TablesCli, OutcomesThatAreMissingAreCounted) {
  json some;
  for (const json& row : outcomes_) {
    if (row["model"] == "small" || row["query_id"].get<std::string>().back() != '0') {
      some.push_back(row);
    }
  }
  put_file(folder_ / "some.jsonl", json_lines(some));
  const Outcome trained = train("small alone", "queries.jsonl", "some.jsonl");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.err,
              HasSubstr("\"vendor/large:free\" (90.0 % of the queries, 108 outcomes); name the "
                        "models to train for, or lower the coverage"));
  EXPECT_EQ(load_checkpoint(folder_ / "small alone").config.models.size(), 1u);

  const Outcome both =
      train("both", "queries.jsonl", "some.jsonl", {"--coverage", "0.8", "--holdout", "0"});
  ASSERT_EQ(both.exit_code, 0) << both.err;
  EXPECT_THAT(both.err, HasSubstr("of 120 queries, 12 lack an outcome of \"vendor/large:free\" "
                                  "(12); heads learn from all outcomes"));
  EXPECT_EQ(load_checkpoint(folder_ / "both").config.models.size(), 2u);

  const Outcome evaluated =
      run("eval", {"--checkpoint-dir", folder_ / "both", "--holdout", "0", "--resamples", "10"},
          "queries.jsonl", "some.jsonl");
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_THAT(evaluated.err,
              HasSubstr("of 120 queries, 12 lack an outcome of \"vendor/large:free\" (12); only "
                        "queries with every outcome are evaluated"));
  EXPECT_THAT(evaluated.out, HasSubstr("108 queries"));

  const Outcome crossed = run("eval",
                              {"--folds", "2", "--pool", folder_ / "pool.json", "--coverage", "0.8",
                               "--dimension", "32", "--alpha", "1", "--resamples", "10"},
                              "queries.jsonl", "some.jsonl");
  ASSERT_EQ(crossed.exit_code, 0) << crossed.err;
  EXPECT_THAT(testing::lines_of(crossed.err),
              ::testing::ElementsAre(HasSubstr("of 120 queries, 12 lack an outcome")));

  const Outcome calibrated =
      run("calibrate",
          {"--checkpoint-dir", folder_ / "both", "--holdout", "0", "--target", "quality 0.5",
           "--output", folder_ / "p.json", "--resamples", "10"},
          "queries.jsonl", "some.jsonl");
  ASSERT_EQ(calibrated.exit_code, 0) << calibrated.err;
  EXPECT_THAT(calibrated.out, HasSubstr("108  (12 more lack an outcome)"));

  // The new model lacks some of its outcomes.
  const Outcome added =
      run("add-model",
          {"--checkpoint-dir", folder_ / "small alone", "--pool", folder_ / "pool.json", "--model",
           "vendor/large:free", "--output", folder_ / "added", "--probes", "40"},
          "queries.jsonl", "some.jsonl");
  ASSERT_EQ(added.exit_code, 0) << added.err;
  EXPECT_THAT(added.err, HasSubstr("12 queries of 120 are not used: they lack an outcome of "
                                   "\"vendor/large:free\""));
}

TEST_F(TablesCli, OutcomesAtBudgetsThatTheRouterDoesNotKnowAreCounted) {
  ASSERT_EQ(train("router").exit_code, 0);
  json more = outcomes_;
  for (const json& row : outcomes_) {
    if (row["model"] != "small") continue;
    more.push_back(row);
    more.back()["budget"] = 77;
  }
  put_file(folder_ / "more.jsonl", json_lines(more));
  const Outcome outcome = run("eval", {"--checkpoint-dir", folder_ / "router", "--resamples", "10"},
                              "queries.jsonl", "more.jsonl");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("\"small at 77\" (120)"));
}

TEST_F(TablesCli, QueriesWithoutOutcomesAreCounted) {
  json queries = queries_;
  for (int i = 0; i < 5; ++i) {
    queries.push_back(
        {{"query_id", "more" + std::to_string(i)}, {"query", "a text"}, {"dataset", "d"}});
  }
  put_file(folder_ / "more.jsonl", json_lines(queries));
  const Outcome outcome =
      train("router", "more.jsonl", "outcomes.jsonl", {"--coverage", "0.9", "--holdout", "0"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("of 125 queries, 5 have no outcome; queries without an "
                                     "outcome are not used"));
  const Outcome missing = train("none", "queries.jsonl", "outcomes.jsonl");
  EXPECT_EQ(missing.err, "");
  put_file(folder_ / "fewer.jsonl", json_lines(json(queries_.begin(), queries_.begin() + 100)));
  EXPECT_THAT(train("fewer", "fewer.jsonl").err,
              HasSubstr("outcomes.jsonl:201 at /query_id: there is no query \"100\""));
}

TEST_F(TablesCli, FreeModelsAreTrainedEvaluatedAndCalibrated) {
  struct Case {
    const char* name;
    double small, large;  // prices
    const char* trained;
    const char* evaluated;
  };
  for (const Case& prices :
       {Case{"free best", 0.1, 0, "of the cost of small; the best model is free",
             "The best model, vendor/large:free, is free: nothing costs less.\n"},
        Case{"all free", 0, 0, "; all models are free",
             "All models are free, so there is nothing to save"}}) {
    put_pool(prices.small, prices.small, prices.large, prices.large);
    const Outcome trained = train(prices.name);
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    EXPECT_EQ(trained.err, "");
    EXPECT_THAT(trained.out, HasSubstr(prices.trained));
    EXPECT_THAT(trained.out, Not(::testing::ContainsRegex("nan|inf")));

    const std::vector<std::string> checkpoint = {"--checkpoint-dir", folder_ / prices.name};
    std::vector<std::string> more = checkpoint;
    more.insert(more.end(), {"--report", folder_ / "report.html", "--curves",
                             folder_ / "curves.csv", "--resamples", "20"});
    const Outcome evaluated = run("eval", more);
    ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
    EXPECT_THAT(evaluated.out, ::testing::StartsWith(prices.evaluated));
    for (const std::string& text :
         {evaluated.out, read_file(folder_ / "report.html"), read_file(folder_ / "curves.csv")}) {
      EXPECT_THAT(text, Not(::testing::ContainsRegex("[^a-z]-?(nan|inf)[^a-z]")));
    }
    std::vector<std::string> by_length = more;
    by_length.insert(by_length.end(), {"--cost", "length"});
    const Outcome lengths = run("eval", by_length);
    ASSERT_EQ(lengths.exit_code, 0) << lengths.err;
    EXPECT_THAT(lengths.out, HasSubstr("answers would be "));
    EXPECT_THAT(lengths.out, HasSubstr(" tokens a query, the unit of cost below"));
    EXPECT_THAT(lengths.out, Not(HasSubstr("RouterArena")));
    EXPECT_THAT(read_file(folder_ / "curves.csv"),
                ::testing::StartsWith("policy,lambda,cost_tokens,cost,score,routerarena,on_curve"));

    std::vector<std::string> target = checkpoint;
    target.insert(target.end(),
                  {"--target", "95% of best", "--output", folder_ / "p.json", "--resamples", "20"});
    EXPECT_EQ(run("calibrate", target).exit_code, 0);
  }
  const Outcome latency =
      run("eval", {"--checkpoint-dir", folder_ / "all free", "--cost", "latency"});
  EXPECT_EQ(latency.exit_code, 1);
  EXPECT_THAT(latency.err, HasSubstr("the speed of small is not known"));
  EXPECT_EQ(run("eval", {"--cost", "money"}).exit_code, 2);
}

TEST_F(TablesCli, AModelIsAddedToAPoolOfFreeOnes) {
  put_pool(0, 0, 0, 0);
  ASSERT_EQ(train("base", "queries.jsonl", "outcomes.jsonl", {"--models", "small"}).exit_code, 0);
  const Outcome added = run("add-model", {"--checkpoint-dir", folder_ / "base", "--pool",
                                          folder_ / "pool.json", "--model", "vendor/large:free",
                                          "--output", folder_ / "added", "--probes", "60"});
  ASSERT_EQ(added.exit_code, 0) << added.err;
  EXPECT_EQ(added.err, "");
  EXPECT_THAT(added.out, HasSubstr("AUDC of the router on them: 0."));
}

TEST_F(TablesCli, RouteReadsItsQueriesInTheSameForms) {
  ASSERT_EQ(train("router").exit_code, 0);
  const auto route = [&](const std::string& file) {
    return testing::run(
        {R2ROUTER_CLI, "route", "--checkpoint-dir", folder_ / "router", "--input", folder_ / file});
  };
  put_file(folder_ / "lines",
           "{\"id\": \"1\", \"query\": \"add up 3, 4\"}\n{\"id\": \"2\", \"query\": \"prove\", "
           "\"lambda\": 0.5}\n");
  put_file(folder_ / "array",
           "[{\"id\": \"1\", \"query\": \"add up 3, 4\"},\n {\"id\": \"2\", \"query\": \"prove\", "
           "\"lambda\": 0.5}]");
  put_file(folder_ / "csv", "id,query,lambda\n1,\"add up 3, 4\",\n2,prove,0.5\n");
  put_gzip("zipped", read_file(folder_ / "lines"));
  const Outcome lines = route("lines");
  ASSERT_EQ(lines.exit_code, 0) << lines.err;
  EXPECT_THAT(testing::lines_of(lines.out), ::testing::SizeIs(2));
  for (const char* const file : {"array", "csv", "zipped"}) {
    const Outcome outcome = route(file);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, lines.out) << file;
  }
  put_file(folder_ / "csv", "id,query\n1,\"add up\n");
  EXPECT_THAT(route("csv").err, HasSubstr("csv:2: a quote that opens in this row is not closed"));
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
