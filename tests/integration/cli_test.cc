// The r2-router program, run as a process: what it prints where, and its exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "r2router/policy.h"
#include "r2router/router.h"

#include "support/heads.h"
#include "support/process.h"
#include "support/shared_data.h"

namespace r2router {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::lines_of;
using ::testing::Not;
using testing::Outcome;
using ::testing::StartsWith;

constexpr const char* kPrompt = "Solve the equation: 2x + 5 = 13";

/// Matches exactly one line on standard error that is an error holding `text`.
auto is_one_error_line(const std::string& text) {
  return AllOf(
      StartsWith("r2-router: error: "), HasSubstr(text), EndsWith("\n"),
      ::testing::ResultOf([](const std::string& err) { return lines_of(err).size(); }, 1u));
}

Outcome r2_router(std::vector<std::string> arguments, const std::string& input = {},
                  const std::string& out_path = {}) {
  arguments.insert(arguments.begin(), R2ROUTER_CLI);
  return testing::run(arguments, input, out_path);
}

/// Gives each test a folder, with a small checkpoint for text in it.
class CliTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kDimension = 64;

  void SetUp() override {
    folder_ = ::testing::TempDir() + "r2router_cli_XXXXXX";
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    Checkpoint checkpoint = testing::random_checkpoint(5, 3, kDimension, 1);
    for (ModelSpec& model : checkpoint.config.models) model.prices.per_image = 0.001;
    checkpoint.config.models[0].capabilities = Capabilities{Capability::kImages};
    checkpoint.config.models[1].capabilities =
        Capabilities{Capability::kImages, Capability::kTools, Capability::kReasoning};
    checkpoint.config.models[4].max_output_tokens = 100'000;
    checkpoint.config.models[4].family = "four";
    checkpoint.config.models[4].endpoint = "local";
    checkpoint.config.models[4].retires = "2027-01-31";
    checkpoint.config.embedding_model = "lexical";
    checkpoint.config.encoder = LexicalEncoderSpec{.dimension = kDimension};
    checkpoint.config.policy.rules = DecisionRules::kCorrected;
    checkpoint.config.policy.lambda = 0.9;
    checkpoint_ = path("checkpoint");
    save_checkpoint(checkpoint, checkpoint_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string write(const std::string& name, const std::string& contents) const {
    std::ofstream(path(name), std::ios::binary) << contents;
    return path(name);
  }
  /// Runs the route command on the small checkpoint.
  Outcome route(std::vector<std::string> arguments, const std::string& input = {}) const {
    arguments.insert(arguments.begin(), {"route", "--checkpoint-dir", checkpoint_});
    return r2_router(arguments, input);
  }
  Router router() const { return Router::from_pretrained(checkpoint_); }

  std::string folder_, checkpoint_;
};

/// What a JSON object must say for an option of a decision of the library, or its choice.
void expect_same(const json& line, const Option& option, const Decision& decision) {
  EXPECT_EQ(line.at("model"), decision.model(option).name);
  EXPECT_EQ(line.at("openrouter_id"), decision.model(option).openrouter_id);
  if (option.budget.is_unlimited()) {
    EXPECT_EQ(line.at("budget"), "unlimited");
  } else {
    EXPECT_EQ(line.at("budget"), option.budget.tokens());
  }
  EXPECT_EQ(line.at("predicted_quality"), option.quality);
  EXPECT_EQ(line.at("predicted_output_tokens"), option.output_tokens);
  EXPECT_EQ(line.at("predicted_cost_usd"), option.cost_usd);
  EXPECT_EQ(line.at("risk"), option.utility);
  EXPECT_EQ(line.at("max_tokens"), option.max_tokens);
  EXPECT_EQ(line.at("worst_case_cost_usd"), option.worst_case_cost_usd);
}
void expect_same(const json& line, const Decision& decision) {
  expect_same(line, decision.chosen, decision);
}

/// The line's own members, and its options.
std::vector<json*> options_of(json& line) {
  std::vector<json*> options = {&line};
  for (json& option : line.at("all_options")) options.push_back(&option);
  return options;
}

std::string npy(const std::string& type, const std::string& shape, const std::string& data) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize((10 + header.size() + 64) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  return file + header + data;
}

template <typename Float>
std::string bytes_of(const std::vector<Float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Float)};
}

// --- route --query

TEST_F(CliTest, PrintsADecisionAsText) {
  const Outcome outcome = route({"--query", kPrompt});
  const Decision decision = router().route_text(kPrompt);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  // model-3 is not available, and the corrected rules leave it out.
  EXPECT_THAT(outcome.out, StartsWith("Candidate LLMs:    model-0, model-1, model-2, model-4\n"));
  EXPECT_THAT(outcome.out,
              HasSubstr("\nSelected LLM:      " + decision.model().name + "  (vendor/"));
  EXPECT_THAT(outcome.out, HasSubstr("\nSelected budget:   " + decision.chosen.budget.to_string()));
  EXPECT_THAT(outcome.out, HasSubstr("\nPredicted quality: "));
  EXPECT_THAT(outcome.out, HasSubstr("\nPredicted cost:    $0.0"));
  EXPECT_THAT(
      outcome.out,
      HasSubstr("\nCap to send:       " + std::to_string(decision.chosen.max_tokens) + " tokens"));
  EXPECT_THAT(outcome.out, HasSubstr("\nWorst-case cost:   $0.0"));
  EXPECT_THAT(outcome.out, HasSubstr("\nBest quality:      "));
  EXPECT_THAT(outcome.out, Not(HasSubstr("rank")));
}

TEST_F(CliTest, ShowsTheBestOptionsWhenVerbose) {
  const Outcome outcome = route({"--query", kPrompt, "--verbose", "--all-models"});
  EXPECT_EQ(outcome.exit_code, 0);
  const Decision decision =
      router().route_text(kPrompt, {.policy = {.available_only = false}, .rank = true});
  ASSERT_EQ(decision.ranking.size(), 20u);
  std::vector<std::string> rows;
  for (const std::string& line : lines_of(outcome.out)) {
    if (line.find(" model-") < 8) rows.push_back(line);
  }
  ASSERT_EQ(rows.size(), 15u) << outcome.out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_THAT(rows[i], HasSubstr(decision.model(decision.ranking[i]).name));
    EXPECT_THAT(rows[i], HasSubstr(decision.ranking[i].budget.to_string() + " "));
    EXPECT_EQ(rows[i].size(), rows[0].size()) << "not aligned";
  }
  EXPECT_THAT(outcome.out, HasSubstr("5 more"));
}

TEST_F(CliTest, PrintsOneJsonObjectPerQuery) {
  const Outcome outcome = route({"--query", kPrompt, "--json"});
  EXPECT_EQ(outcome.exit_code, 0);
  ASSERT_EQ(lines_of(outcome.out).size(), 1u);
  const json line = json::parse(outcome.out);
  EXPECT_EQ(line.at("query"), kPrompt);
  EXPECT_EQ(line.size(), 10u);
  expect_same(line, router().route_text(kPrompt));
}

TEST_F(CliTest, ListsAllOptionsInJsonWhenVerbose) {
  const Outcome outcome = route({"--query", kPrompt, "--json", "--verbose"});
  EXPECT_EQ(outcome.exit_code, 0);
  const json line = json::parse(outcome.out);
  const Decision decision = router().route_text(kPrompt, {.rank = true});
  ASSERT_EQ(line.at("all_options").size(), 16u);
  for (std::size_t i = 0; i < 16; ++i) {
    const json& option = line.at("all_options")[i];
    EXPECT_EQ(option.at("model"), decision.model(decision.ranking[i]).name);
    EXPECT_EQ(option.at("risk"), decision.ranking[i].utility);
    EXPECT_EQ(option.size(), 9u);
  }
}

TEST_F(CliTest, ExplainsChoicesOnRequest) {
  const RouteOptions options{.policy = {.max_output_tokens = 120}, .rank = true, .explain = true};
  const Decision decision = router().route_text(kPrompt, options);
  const Outcome text = route({"--query", kPrompt, "--explain", "--max-output-tokens", "120"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  const Option& second = *decision.explanation->runner_up;
  EXPECT_THAT(text.out, HasSubstr("\nReason:            the highest risk"));
  EXPECT_THAT(text.out, HasSubstr("\nRunner-up:         " + decision.model(second).name + ", " +
                                  second.budget.to_string() + " tokens  (quality "));
  EXPECT_THAT(text.out, HasSubstr("\nMargin:            "));
  // Each model's budget 150 is too long at least; model-3 is not available.
  const std::uint32_t too_long =
      decision.explanation->left_out[static_cast<std::size_t>(Constraint::kMaxOutputTokens)];
  EXPECT_GE(too_long, 5u);
  EXPECT_THAT(text.out, HasSubstr("\nLeft out:          pairs: 4 by models, " +
                                  std::to_string(too_long) + " by max_output_tokens\n"));
  EXPECT_THAT(text.out, Not(HasSubstr("chance")));  // the checkpoint has no spreads

  const auto explanation = [&](std::vector<std::string> arguments, const std::string& input = {}) {
    arguments.insert(arguments.end(), {"--explain", "--json", "--max-output-tokens", "120"});
    const Outcome outcome = route(arguments, input);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out).at("explanation");
  };
  const json of_query = explanation({"--query", kPrompt});
  EXPECT_EQ(of_query.at("reason"), "risk");
  expect_same(of_query.at("runner_up"), *decision.explanation->runner_up, decision);
  EXPECT_EQ(of_query.at("margin"), decision.explanation->margin);
  EXPECT_EQ(of_query.at("left_out").at("max_output_tokens"), too_long);
  EXPECT_EQ(explanation({"--input", "-"}, json({{"query", kPrompt}}).dump()), of_query);

  // Several embeddings are otherwise decided in one product, which explains nothing.
  const std::vector<float> embeddings = testing::random_embeddings(2, kDimension, 3);
  const std::string file = write("two.npy", npy("<f4", "(2, 64)", bytes_of(embeddings)));
  const Outcome rows = route({"--embeddings", file, "--json", "--explain"});
  ASSERT_EQ(lines_of(rows.out).size(), 2u) << rows.err;
  for (std::size_t row = 0; row < 2; ++row) {
    const Decision expected = router().route(
        std::span(embeddings).subspan(row * kDimension, kDimension), {.explain = true});
    EXPECT_EQ(json::parse(lines_of(rows.out)[row]).at("explanation").at("margin"),
              expected.explanation->margin);
  }
}

TEST_F(CliTest, AcceptsQueriesThatLookLikeOtherSyntax) {
  for (const std::string query :
       {"--json", "-5 + 3 = ?", "[1, 2]", "{}", "'quoted'", "a,b", "  x "}) {
    const Outcome outcome = route({"--json", "--query", query});
    EXPECT_EQ(outcome.exit_code, 0) << query << ": " << outcome.err;
    EXPECT_EQ(json::parse(outcome.out).at("query"), query);
  }
}

TEST_F(CliTest, PassesEveryOptionToTheLibrary) {
  const auto decide = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--query", kPrompt, "--json"});
    const Outcome outcome = route(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out);
  };
  const Router router = this->router();
  expect_same(decide({"--lambda", "1"}), router.route_text(kPrompt, {.policy = {.lambda = 1}}));
  expect_same(decide({"--lambda_val", "0"}), router.route_text(kPrompt, {.policy = {.lambda = 0}}));
  expect_same(decide({"--input-tokens", "1000000"}),
              router.route({.text = kPrompt, .size = {.input_tokens = 1000000}}));
  expect_same(decide({"--images", "3"}), router.route({.text = kPrompt, .size = {.images = 3}}));
  EXPECT_GT(decide({"--images", "3"}).at("worst_case_cost_usd"), 0.003);
  for (const std::string requirement : {"tools", "tools,reasoning"}) {
    expect_same(decide({"--requires", requirement, "--deny", "model-2,model-4"}),
                router.route_text(kPrompt, {.policy = {.allow = {{"model-1"}}}}));
  }
  EXPECT_EQ(route({"--query", kPrompt, "--requires", "vision"}).exit_code, 2);
  const Outcome none = route({"--query", kPrompt, "--requires", "audio", "--allow", "model-0"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("8 (requirements)"));
  expect_same(decide({"--allow", "model-2,model-1"}),
              router.route_text(kPrompt, {.policy = {.allow = {{"model-1", "model-2"}}}}));
  const std::string best = router.route_text(kPrompt).model().name;
  expect_same(decide({"--deny", best}), router.route_text(kPrompt, {.policy = {.deny = {{best}}}}));
  expect_same(
      decide({"--allow", "model-3", "--all-models"}),
      router.route_text(kPrompt, {.policy = {.allow = {{"model-3"}}, .available_only = false}}));
  expect_same(decide({"--token-floor", "5000", "--lambda", "1"}),
              router.route_text(kPrompt, {.policy = {.lambda = 1, .token_floor = 5000}}));
  expect_same(decide({"--rules", "reference"}),
              router.route_text(kPrompt, {.policy = {.rules = DecisionRules::kReference}}));
  for (const std::string& kernel : available_kernels()) {
    expect_same(decide({"--kernel", kernel}), router.route_text(kPrompt));
  }
}

TEST_F(CliTest, NamesTheOptionOfACostLimitThatIsTooLow) {
  const auto error = [](const std::string& name) {
    return is_one_error_line(name + ": no pair fits $0.00000001: the cheapest, model-");
  };
  const Outcome query = route({"--query", kPrompt, "--max-cost", "1e-8"});
  EXPECT_EQ(query.exit_code, 1);
  EXPECT_THAT(query.err, error("--max-cost"));
  const std::vector<float> embeddings = testing::random_embeddings(2, kDimension, 3);
  const std::string file = write("two.npy", npy("<f4", "(2, 64)", bytes_of(embeddings)));
  EXPECT_THAT(route({"--embeddings", file, "--max-cost", "1e-8"}).err, error("--max-cost"));
  // A line and a policy spell it as the library does.
  const std::string line = R"({"query": "one", "max_cost_usd": 1e-8})";
  EXPECT_THAT(json::parse(route({"--input", "-", "--max-cost", "1"}, line).out).at("error"),
              StartsWith("max_cost_usd: no pair fits $0.00000001"));
  const std::string policy = write("policy.json", R"({"max_cost_usd": 1e-8})");
  EXPECT_THAT(route({"--query", kPrompt, "--policy", policy}).err, error("max_cost_usd"));
}

// --- route --file

TEST_F(CliTest, RoutesEachLineOfAFile) {
  const std::string file = write("queries.txt",
                                 "\xEF\xBB\xBF"
                                 "first question\r\n\n \t\n  second\nthird, größer");
  const Outcome outcome = route({"--file", file, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 3u);
  const std::string expected[] = {"first question", "  second", "third, größer"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json::parse(lines[i]).at("query"), expected[i]);
    expect_same(json::parse(lines[i]), router().route_text(expected[i]));
  }

  const Outcome text = route({"--file", file});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("\nQuery:             third, größer\nSelected LLM:"));
  EXPECT_EQ(text.out.find("Candidate LLMs"), text.out.rfind("Candidate LLMs"));
}

TEST_F(CliTest, NamesTheLineAndByteThatAreNotUtf8) {
  const std::string file = write("latin1.txt",
                                 "good\nd\xE9"
                                 "j\xE0 vu\nlast\n");
  const Outcome outcome = route({"--file", file, "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "");
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(json::parse(lines[0]).at("query"), "good");
  EXPECT_EQ(json::parse(lines[1]).at("line"), 2);
  EXPECT_THAT(json::parse(lines[1]).at("error"), StartsWith(file + ":2 at byte 6: the text is not "
                                                                   "UTF-8"));
  EXPECT_EQ(json::parse(lines[2]).at("query"), "last");
  const Outcome text = route({"--file", file});
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_THAT(text.out, HasSubstr("\nNot routed:        " + file + ":2 at byte 6: "));
  EXPECT_THAT(text.out, HasSubstr("\nQuery:             last\n"));
  EXPECT_THAT(text.err, is_one_error_line("1 of 3 queries were not routed"));
}

// --- route --input

TEST_F(CliTest, RoutesJsonLinesInOrderWithTheirIdsAndOptions) {
  const std::vector<float> embedding = testing::random_embeddings(1, kDimension, 7);
  const std::string input = R"({"query": "one", "id": "a"})"
                            "\n\n"
                            R"({"id": 18446744073709551615, "lambda": 0, "query": "two"})"
                            "\n" +
                            json({{"embedding", embedding}, {"input_tokens", 5000}}).dump() + "\n" +
                            R"({"query": "one", "id": null})"
                            "\n"
                            R"({"query": "one", "images": 2, "requires": ["tools"]})";
  const Outcome outcome = route({"--input", "-", "--lambda", "0.5"}, input);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(json::parse(lines[0]).at("id"), "a");
  expect_same(json::parse(lines[0]), router().route_text("one", {.policy = {.lambda = 0.5}}));
  EXPECT_THAT(lines[1], StartsWith(R"({"id": 18446744073709551615, "query": "two", )"));
  expect_same(json::parse(lines[1]), router().route_text("two", {.policy = {.lambda = 0}}));
  EXPECT_FALSE(json::parse(lines[2]).contains("id"));
  expect_same(json::parse(lines[2]),
              router().route(embedding, {.policy = {.lambda = 0.5}}, {.input_tokens = 5000}));
  EXPECT_TRUE(json::parse(lines[3]).at("id").is_null());
  expect_same(
      json::parse(lines[4]),
      router().route({.text = "one", .size = {.images = 2, .requirements = {Capability::kTools}}},
                     {.policy = {.lambda = 0.5}}));
}

TEST_F(CliTest, ReportsABadJsonLineAndContinues) {
  const std::string input =
      "{\"query\": \"good\"}\n"
      "{\"query\": \"cut\n"                               // 2
      "{\"id\": 3, \"embedding\": [1, 2]}\n"              // 3
      "{\"id\": 4, \"query\": \"\"}\n"                    // 4
      "{\"id\": 5, \"query\": \"a\", \"lambda\": 1.5}\n"  // 5
      "{\"id\": 6, \"query\": \"\xff\"}\n"                // 6
      "{\"query\": \"also good\", \"id\": 7}\n";
  const Outcome outcome = route({"--input", write("queries.jsonl", input)});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "");
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(json::parse(lines[0]).at("query"), "good");
  for (std::size_t number = 2; number <= 6; ++number) {
    const json line = json::parse(lines[number - 1]);
    EXPECT_EQ(line.at("line"), number);
    EXPECT_TRUE(line.at("error").is_string());
    if (number >= 3 && number <= 5) {
      EXPECT_EQ(line.at("id"), number);
    }
    EXPECT_FALSE(line.contains("model"));
  }
  EXPECT_THAT(json::parse(lines[2]).at("error").get<std::string>(), HasSubstr("64"));
  EXPECT_THAT(json::parse(lines[4]).at("error").get<std::string>(), HasSubstr("1.5"));
  EXPECT_EQ(json::parse(lines[6]).at("query"), "also good");
}

// What a call may set: as flags, as keys of a line, and as a policy file.
TEST_F(CliTest, AcceptsEverySettingAsFlagKeyAndPolicy) {
  const std::pair<std::vector<std::string>, const char*> same[] = {
      {{"--objective", "best"}, R"("objective": "best")"},
      {{"--lambda", "0.5"}, R"("lambda": 0.5)"},
      {{"--willingness-to-pay", "0.0001"}, R"("willingness_to_pay": 0.0001)"},
      {{"--min-quality", "0.6"}, R"("min_quality": 0.6)"},
      {{"--quality-fraction", "0.9"}, R"("quality_fraction": 0.9)"},
      {{"--max-cost", "0.0005"}, R"("max_cost_usd": 0.0005)"},
      {{"--max-output-tokens", "120"}, R"("max_output_tokens": 120)"},
      {{"--allow", "model-1,model-2"}, R"("allow": ["model-1", "model-2"])"},
      {{"--deny", "*-1", "--deny", "*-2"}, R"("deny": ["*-1", "*-2"])"},
      {{"--all-models"}, R"("available_only": false)"},
      {{"--available-only", "--rules", "reference"},
       R"("available_only": true, "rules": "reference")"},
      {{"--rules", "reference"}, R"("rules": "reference")"},
      {{"--continuous", "--objective", "best", "--max-output-tokens", "130"},
       R"("continuous": true, "objective": "best", "max_output_tokens": 130)"},
      {{"--continuous", "--monotone", "--lambda", "0.999"},
       R"("continuous": true, "monotone": true, "lambda": 0.999)"},
      {{"--no-continuous"}, R"("continuous": false)"},
      {{"--token-floor", "5000", "--lambda", "1"}, R"("token_floor": 5000, "lambda": 1)"},
      {{"--cap-margin", "1", "--cap-minimum", "400", "--cap-unlimited", "500"},
       R"("cap": {"margin": 1, "minimum": 400, "unlimited": 500})"}};
  const std::string policies = checkpoint_ + "/policies";
  std::filesystem::create_directory(policies);
  std::set<std::string> different;
  for (const auto& [flags, keys] : same) {
    std::vector<std::string> arguments = {"--query", kPrompt, "--json", "--verbose"};
    const std::vector<std::string> input = {"--input", "-", "--verbose"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Outcome by_flags = route(arguments);
    ASSERT_EQ(by_flags.exit_code, 0) << by_flags.err;
    const std::string query = json(kPrompt).dump();
    EXPECT_EQ(route(input, "{\"query\": " + query + ", " + keys + "}").out, by_flags.out) << keys;
    // A policy in the checkpoint's folder, by its name and by its path.
    std::ofstream(policies + "/named.json") << "{" << keys << "}";
    for (const std::string& policy : {std::string("named"), policies + "/named.json"}) {
      EXPECT_EQ(route({"--query", kPrompt, "--json", "--verbose", "--policy", policy}).out,
                by_flags.out);
      EXPECT_EQ(route(input, json({{"query", kPrompt}, {"policy", policy}}).dump()).out,
                by_flags.out);
    }
    different.insert(by_flags.out);
  }
  EXPECT_GT(different.size(), std::size(same) - 3) << "settings without an effect test nothing";
}

TEST_F(CliTest, MoreSpecificSettingsOverrideOthers) {
  const auto first = [&](const std::vector<std::string>& arguments, const std::string& input) {
    const Outcome outcome = route(arguments, input);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
    return json::parse(outcome.out);
  };
  const std::string usd =
      write("usd.json", R"({"objective": "usd", "willingness_to_pay": 0.01, "deny": ["model-1"]})");
  const std::string line = json({{"query", kPrompt}}).dump();
  const auto with = [&](json more) {
    more["query"] = kPrompt;
    return more.dump();
  };
  const auto expected = [&](const Policy& policy) {
    return router().route_text(kPrompt, {.policy = policy});
  };
  const Policy policy = load_policy(usd);
  // A flag over the file of --policy, a line's policy over flags, a line's keys over its policy.
  expect_same(first({"--input", "-", "--policy", usd}, line), expected(policy));
  expect_same(first({"--input", "-", "--policy", usd, "--lambda", "0.5"}, line),
              expected({.lambda = 0.5, .deny = {{"model-1"}}}));
  expect_same(first({"--input", "-", "--policy", usd}, with({{"lambda", 0.5}})),
              expected({.lambda = 0.5, .deny = {{"model-1"}}}));
  expect_same(first({"--input", "-", "--lambda", "0.5"}, with({{"policy", usd}})),
              expected(policy));
  expect_same(
      first({"--input", "-", "--policy", usd}, with({{"deny", json::array()}, {"lambda", 1}})),
      expected({.lambda = 1}));
  expect_same(first({"--input", "-"}, with({{"policy", usd}, {"objective", "best"}})),
              expected({.objective = Objective::kBest, .deny = {{"model-1"}}}));
  const json explained = first({"--input", "-"}, with({{"explain", true}}));
  EXPECT_EQ(explained.at("explanation").at("reason"), "risk");
  EXPECT_FALSE(
      first({"--input", "-", "--explain"}, with({{"explain", false}})).contains("explanation"));
}

TEST_F(CliTest, ABadLineDoesNotAffectOthers) {
  std::filesystem::create_directory(path("folder.json"));
  const std::pair<std::string, std::string> bad[] = {
      {R"("lamda": 1)", "unknown key \"lamda\": did you mean \"lambda\"?"},
      {R"("lambda": 2)", "lambda is 2: expected a number from 0 to 1"},
      {R"("policy": "nowhere")", "policy: nowhere: expected the path of a policy file"},
      {"\"policy\": \"" + path("folder.json") + "\"", "policy: " + path("folder.json")},
      {"\"policy\": \"" + write("bad.json", R"({"lamda": 1})") + "\"",
       "policy: " + path("bad.json") + " at /lamda: there is no such setting"},
      {R"("policy": "/proc/self/mem")", "policy: /proc/self/mem: cannot read"},
      {R"("allow": ["nobody"])", "\"nobody\", which is not in the pool; expected model-0, "},
      {R"("max_cost_usd": 0)", "max_cost_usd: no pair fits"},
      {R"("max_input_tokens": 1)", "max_input_tokens is 1"},
      {R"("monotone": true)", "monotone is set without continuous"},
      {R"("lambda": 0.5, "willingness_to_pay": 1)", "contradict each other"}};
  std::string input;
  for (const auto& [keys, error] : bad) {
    input += "{\"query\": \"two words\", " + keys + "}\n{\"query\": \"good\"}\n";
  }
  const Outcome outcome = route({"--input", "-"}, input);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "");
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 2 * std::size(bad)) << outcome.out;
  for (std::size_t i = 0; i < std::size(bad); ++i) {
    EXPECT_THAT(json::parse(lines[2 * i]).at("error"), HasSubstr(bad[i].second));
    EXPECT_EQ(json::parse(lines[2 * i]).at("line"), 2 * i + 1);
    EXPECT_EQ(json::parse(lines[2 * i + 1]).at("query"), "good");
  }
}

TEST_F(CliTest, AnswersEachLineBeforeItWaitsForTheNext) {
  // A program that talks to r2-router line by line must get each answer without closing its end.
  const std::string script = "coproc ROUTER { '" R2ROUTER_CLI "' route --checkpoint-dir '" +
                             checkpoint_ +
                             "' --input -; }\n"
                             "for query in one two; do\n"
                             "  echo '{\"query\": \"'$query'\"}' >&${ROUTER[1]}\n"
                             "  read -r -t 20 line <&${ROUTER[0]} || exit 9\n"
                             "  echo \"$line\"\n"
                             "done\n";
  const Outcome outcome = testing::run({"/bin/bash", "-c", script});
  EXPECT_EQ(outcome.exit_code, 0);
  ASSERT_EQ(lines_of(outcome.out).size(), 2u);
  EXPECT_EQ(json::parse(lines_of(outcome.out)[1]).at("query"), "two");
}

TEST_F(CliTest, EndsSilentlyWhenThePipeIsClosed) {
  std::string input;
  for (int i = 0; i < 5000; ++i) input += "{\"query\": \"question " + std::to_string(i) + "\"}\n";
  const std::string command = "'" R2ROUTER_CLI "' route --checkpoint-dir '" + checkpoint_ +
                              "' --input '" + write("many.jsonl", input) +
                              "' | head -n 1 > /dev/null; exit ${PIPESTATUS[0]}";
  const Outcome outcome = testing::run({"/bin/bash", "-c", command});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(CliTest, ReportsAFullDisk) {
  const Outcome outcome =
      r2_router({"route", "--checkpoint-dir", checkpoint_, "--query", kPrompt}, {}, "/dev/full");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, is_one_error_line("cannot write to standard output"));
}

// --- route --embeddings

TEST_F(CliTest, RoutesEachRowOfAnArray) {
  const std::vector<float> singles = testing::random_embeddings(150, kDimension, 3);
  const std::vector<double> doubles(singles.begin(), singles.end());
  const std::string shape = "(150, " + std::to_string(kDimension) + ")";
  const Outcome single =
      route({"--embeddings", write("single.npy", npy("<f4", shape, bytes_of(singles))), "--json"});
  const Outcome twice =
      route({"--embeddings", write("double.npy", npy("<f8", shape, bytes_of(doubles))), "--json"});
  ASSERT_EQ(single.exit_code, 0) << single.err;
  EXPECT_EQ(single.out, twice.out);
  const auto lines = lines_of(single.out);
  ASSERT_EQ(lines.size(), 150u);
  const Router router = this->router();
  for (std::size_t row = 0; row < 150; ++row) {
    const json line = json::parse(lines[row]);
    EXPECT_EQ(line.at("row"), row);
    EXPECT_FALSE(line.contains("query"));
    expect_same(line, router.route(std::span(singles).subspan(row * kDimension, kDimension)));
  }
  const Outcome ranked =
      route({"--embeddings", path("single.npy"), "--json", "--verbose", "--lambda", "0.2"});
  ASSERT_EQ(lines_of(ranked.out).size(), 150u);
  EXPECT_EQ(json::parse(lines_of(ranked.out)[149]).at("all_options").size(), 16u);

  const Outcome text = route({"--embeddings", path("single.npy")});
  EXPECT_THAT(text.out, HasSubstr("\nRow:               149\nSelected LLM:"));
}

TEST_F(CliTest, RoutesASingleEmbedding) {
  const std::vector<float> embedding = testing::random_embeddings(1, kDimension, 3);
  const std::string file = write("one.npy", npy("<f4", "(64,)", bytes_of(embedding)));
  const Outcome outcome = route({"--embeddings", file, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  expect_same(json::parse(outcome.out), router().route(embedding));
}

TEST_F(CliTest, RejectsInvalidEmbeddings) {
  const std::vector<float> short_rows(6, 0.5F);
  Outcome outcome =
      route({"--embeddings", write("short.npy", npy("<f4", "(2, 3)", bytes_of(short_rows)))});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, AllOf(is_one_error_line("short.npy"), HasSubstr("3"), HasSubstr("64")));

  std::vector<float> bad(2 * kDimension, 0.1F);
  bad[kDimension + 5] = std::nanf("");
  outcome =
      route({"--embeddings", write("nan.npy", npy("<f4", "(2, 64)", bytes_of(bad))), "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(is_one_error_line("nan.npy: "), HasSubstr("row 1")));

  std::fill(bad.begin() + kDimension, bad.end(), 0.0F);
  outcome =
      route({"--embeddings", write("zero.npy", npy("<f4", "(2, 64)", bytes_of(bad))), "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(is_one_error_line("zero.npy: "), HasSubstr("row 1 is all zeros")));
}

// --- failures and wrong usage

TEST_F(CliTest, ReportsAFailureInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> failures = {
      {{"--query", ""}, "empty"},
      {{"--query", " \t\u3000"}, "white space"},
      {{"--query", "\xff"}, "UTF-8"},
      {{"--query", "a", "--allow", "nobody"}, "nobody"},
      {{"--query", "a", "--kernel", "abacus"}, "abacus"},
      {{"--query", "a", "--allow", "model-1", "--deny", "model-1"}, "no "},
      {{"--file", path("missing.txt")}, "missing.txt"},
      {{"--input", path("missing\n.jsonl")}, "missing"},
      {{"--embeddings", path("missing.npy")}, "missing.npy"},
      {{"--file", folder_}, folder_}};
  for (const auto& [arguments, message] : failures) {
    const Outcome outcome = route(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, is_one_error_line(message));
  }
  const Outcome outcome = r2_router({"route", "--query", "a", "--checkpoint-dir", path("nowhere")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, is_one_error_line("nowhere"));
}

TEST_F(CliTest, ReportsWrongUsageInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes = {
      {{}, "r2-router --help"},
      {{"roote"}, "roote"},
      {{"route"}, "r2-router route --help"},
      {{"route", "--query"}, "--query"},
      {{"route", "--query", "a", "--file", "b"}, "--file"},
      {{"route", "--query", "a", "--lambda", "1.5"}, "\"1.5\""},
      {{"route", "--query", "a", "--lambda", "-0.1"}, "\"-0.1\""},
      {{"route", "--query", "a", "--lambda", "nan"}, "\"nan\""},
      {{"route", "--query", "a", "--lambda", "much"}, "\"much\""},
      {{"route", "--query", "a", "--input-tokens", "-1"}, "\"-1\""},
      {{"route", "--query", "a", "--input-tokens", "1.5"}, "1.5"},
      {{"route", "--query", "a", "--rules", "none"}, "none"},
      {{"route", "--query", "a", "--lamda", "1"}, "--lamda"},
      {{"route", "--query", "a", "--available-only", "--all-models"}, "--all-models"},
      {{"convert", "only-one"}, "DST"}};
  for (const auto& [arguments, message] : mistakes) {
    const Outcome outcome = r2_router(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, is_one_error_line(message));
  }
}

TEST_F(CliTest, ListsEveryCommandInHelp) {
  const Outcome all = r2_router({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_EQ(all.err, "");
  for (const std::string command : {"route", "info", "convert", "train", "eval", "version"}) {
    EXPECT_THAT(all.out, HasSubstr("\n  " + command + " ")) << all.out;
    const Outcome one = r2_router({command, "--help"});
    EXPECT_EQ(one.exit_code, 0);
    EXPECT_THAT(one.out, HasSubstr("Usage: r2-router " + command));
  }
  EXPECT_THAT(r2_router({"route", "--help"}).out, HasSubstr("Examples:"));
}

// --- info, convert, version

TEST_F(CliTest, DescribesACheckpoint) {
  const Outcome outcome = r2_router({"info", checkpoint_, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json facts = json::parse(outcome.out);
  EXPECT_EQ(facts.at("layout"), "native");
  ASSERT_EQ(facts.at("models").size(), 5u);
  EXPECT_EQ(facts.at("models")[2].at("output_price_per_million"), 0.6);
  EXPECT_EQ(facts.at("models")[3].at("available"), false);
  EXPECT_EQ(facts.at("models")[1].at("capabilities"), json({"tools", "images", "reasoning"}));
  EXPECT_FALSE(facts.at("models")[2].contains("capabilities"));
  EXPECT_EQ(facts.at("models")[4].at("max_output_tokens"), 100'000);
  EXPECT_EQ(facts.at("models")[4].at("family"), "four");
  EXPECT_EQ(facts.at("models")[4].at("endpoint"), "local");
  EXPECT_EQ(facts.at("models")[4].at("retires"), "2027-01-31");
  EXPECT_EQ(facts.at("budgets"), json({50, 100, 150, "unlimited"}));
  EXPECT_EQ(facts.at("rules"), "corrected");
  EXPECT_EQ(facts.at("default_lambda"), 0.9);
  EXPECT_EQ(facts.at("checksum_sha256"), checkpoint_checksum(checkpoint_));
  EXPECT_EQ(facts.at("kernels"), available_kernels());
  EXPECT_EQ(facts.at("kernel"), available_kernels().back());

  const Outcome text = r2_router({"info", checkpoint_});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("50 100 150 unlimited"));
  EXPECT_THAT(text.out, HasSubstr("vendor/model-4  (until 2027-01-31)"));
  EXPECT_THAT(text.out, Not(HasSubstr("Data of")));
}

TEST_F(CliTest, TellsTheDateOfTheData) {
  Checkpoint checkpoint = load_checkpoint(checkpoint_);
  checkpoint.config.training = R"({"data_date": "2026-06-25"})";
  save_checkpoint(checkpoint, path("dated"));
  EXPECT_THAT(r2_router({"info", path("dated")}).out, HasSubstr("\nData of:        2026-06-25\n"));
  checkpoint.config.training = R"({"data_date": 20260625})";
  save_checkpoint(checkpoint, path("undated"));
  EXPECT_THAT(r2_router({"info", path("undated")}).out, Not(HasSubstr("Data of:")));
}

TEST_F(CliTest, PrintsTheVersion) {
  EXPECT_THAT(r2_router({"version"}).out, StartsWith(std::string("r2-router ") + version()));
  EXPECT_THAT(r2_router({"version"}).out, HasSubstr("baseline"));
  EXPECT_EQ(r2_router({"--version"}).out, std::string("r2-router ") + version() + "\n");
}

TEST_F(CliTest, DoesNotOverwriteAFolder) {
  std::filesystem::create_directory(path("taken"));
  write("taken/precious.txt", "keep me");
  const Outcome outcome = r2_router({"convert", checkpoint_, path("taken")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, is_one_error_line("taken"));
  EXPECT_FALSE(std::filesystem::exists(path("taken/config.json")));
  EXPECT_TRUE(std::filesystem::exists(path("taken/precious.txt")));
}

TEST_F(CliTest, ConvertsTheReleasedFolderToTheSameDecisions) {
  const std::string released = testing::shared_path("released");
  const std::string golden = testing::shared_path("golden");
  R2ROUTER_SKIP_WITHOUT(released);
  R2ROUTER_SKIP_WITHOUT(golden);
  const Outcome converted = r2_router({"convert", released, path("native")});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  EXPECT_EQ(converted.out,
            "Wrote " + path("native") + ".\n\n" + r2_router({"info", path("native")}).out);
  EXPECT_THAT(converted.out, HasSubstr(checkpoint_checksum(path("native"))));

  // Each golden row has its own λ and length: JSON lines can say them.
  std::ifstream file(golden + "/embeddings.npy", std::ios::binary);
  file.seekg(8);
  std::uint16_t header = 0;
  file.read(reinterpret_cast<char*>(&header), 2);
  file.seekg(10 + header);
  std::vector<float> values(512 * 1024);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  ASSERT_TRUE(file);
  std::vector<json> expected;
  std::ifstream decisions(golden + "/decisions.jsonl");
  std::string input;
  for (std::string line; std::getline(decisions, line);) {
    expected.push_back(json::parse(line));
    const json& row = expected.back();
    const auto embedding = std::span(values).subspan(row.at("row").get<std::size_t>() * 1024, 1024);
    input += json({{"id", row.at("row")},
                   {"embedding", std::vector<double>(embedding.begin(), embedding.end())},
                   {"lambda", row.at("lambda")},
                   {"input_tokens", row.at("input_tokens")}})
                 .dump() +
             "\n";
  }
  ASSERT_EQ(expected.size(), 512u);
  for (const std::string& folder : {released, path("native")}) {
    const Outcome outcome =
        r2_router({"route", "--checkpoint-dir", folder, "--input", "-", "--verbose"}, input);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto lines = lines_of(outcome.out);
    ASSERT_EQ(lines.size(), 512u);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      json line = json::parse(lines[i]);
      EXPECT_EQ(line.at("id"), expected[i].at("row"));
      // The published package does not say what to send.
      for (json* option : options_of(line)) {
        EXPECT_EQ(option->erase("max_tokens") + option->erase("worst_case_cost_usd"), 2u);
      }
      if (expected[i].contains("all_options")) {
        EXPECT_EQ(line.at("all_options"), expected[i].at("all_options"));
      }
      line.erase("id");
      line.erase("all_options");
      EXPECT_EQ(line, expected[i].at("decision"));
    }
  }

  // The released package's encoder is not built in: text must be refused, not routed at random.
  const Outcome text = r2_router({"route", "--checkpoint-dir", released, "--query", kPrompt});
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_THAT(text.err, is_one_error_line("Qwen/Qwen3-0.6B"));
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
