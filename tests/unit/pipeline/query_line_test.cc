#include "pipeline/query_line.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/settings.h"

#include "support/decisions.h"

namespace r2router::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(QueryLine, ReadsAQueryWithAllItsOptions) {
  const QueryLine line = parse_query_line(
      R"({"input_tokens": 40, "query": "tab\tand \u00e9", "id": "x", "lambda": 0.25})");
  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.query, "tab\tand é");
  EXPECT_FALSE(line.embedding);
  EXPECT_EQ(line.id, "\"x\"");
  EXPECT_EQ(line.settings.lambda, 0.25);
  EXPECT_EQ(line.input_tokens, 40);
}

TEST(QueryLine, ReadsAnEmbeddingInFloat64) {
  const QueryLine line = parse_query_line(R"({"embedding": [1, -2.5, 0.1, 1e-300]})");
  EXPECT_EQ(line.error, "");
  ASSERT_TRUE(line.embedding);
  EXPECT_THAT(*line.embedding, ElementsAre(1.0, -2.5, 0.1, 1e-300));
  EXPECT_FALSE(line.query);
  EXPECT_EQ(line.id, "");
}

TEST(QueryLine, CarriesTheIdAsItStands) {
  // Digits that a double would not keep.
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": 1.50})").id, "1.50");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": 18446744073709551615})").id,
            "18446744073709551615");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": "\"\n\u00e9"})").id, R"("\"\n\u00e9")");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": null})").id, "null");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": true})").id, "true");
}

TEST(QueryLine, TakesNullForAnAbsentValue) {
  std::string text = R"({"query": "a", "input_tokens": null, "max_input_tokens": null,
                         "policy": null, "explain": null, "all_options": null,
                         "cap": {"margin": null})";
  for (const Setting& setting : settings()) {
    if (setting.name.find('.') == setting.name.npos) {
      text += ", \"" + std::string(setting.name) + "\": null";
    }
  }
  const QueryLine line = parse_query_line(text + "}");
  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.settings, Policy{});
  EXPECT_FALSE(line.input_tokens);
  EXPECT_FALSE(line.max_input_tokens);
  EXPECT_FALSE(line.policy);
  EXPECT_FALSE(line.explain);
  EXPECT_FALSE(line.all_options);
  EXPECT_EQ(parse_query_line(R"({"query": "a", "cap": null})").error, "");
}

TEST(QueryLine, TakesEverySettingOfAPolicyAsAPolicyFileDoes) {
  std::mt19937_64 random(72);
  for (int i = 0; i < 200; ++i) {
    Policy policy = testing::random_options(random).policy;
    if (random() % 2 == 0) policy.allow = {{"a*", "b"}};
    if (random() % 2 == 0) policy.deny = {{"ü\"?"}};
    if (random() % 2 == 0) policy.token_floor = 2.5;
    if (random() % 2 == 0) policy.risk_aversion = 0.5;
    const auto tree = nlohmann::json::parse(to_json(policy));
    auto line = tree;
    line["query"] = "a";
    const QueryLine read = parse_query_line(line.dump());
    ASSERT_EQ(read.error, "");
    ASSERT_EQ(read.settings, policy) << line;
  }
}

TEST(QueryLine, TakesWhatElseACallMaySet) {
  const QueryLine line = parse_query_line(
      R"({"query": "a", "policy": "cheap", "explain": true, "all_options": false,
          "max_input_tokens": 90, "images": 2, "requires": ["tools", "json_schema"], "continuous": false, "deny": []})");
  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.policy, "cheap");
  EXPECT_EQ(line.explain, true);
  EXPECT_EQ(line.all_options, false);
  EXPECT_EQ(line.max_input_tokens, 90);
  EXPECT_EQ(line.images, 2u);
  EXPECT_EQ(line.requirements, (Capabilities{Capability::kTools, Capability::kJsonSchema}));
  EXPECT_EQ(line.settings.continuous, false);
  EXPECT_EQ(line.settings.deny, std::vector<std::string>());
}

TEST(QueryLine, KnowsTheIdOfABadLineWhereverItStands) {
  EXPECT_EQ(parse_query_line(R"({"query": 3, "id": 8})").id, "8");
  EXPECT_EQ(parse_query_line(R"({"id": 8, "query": "cut off)").id, "8");
}

TEST(QueryLine, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> bad_lines[] = {
      {"{\"query\": \"a\"", "not valid JSON at byte 14"},
      {R"({"query": "a"} x)", "not valid JSON at byte 16"},
      {R"({"query": "\ud800"})", "not valid JSON at byte 12"},
      {R"({"embedding": [1e999]})", "embedding holds 1e999 at index 0: expected finite numbers"},
      {R"({"embedding": [NaN]})", "not valid JSON at byte 16"},
      {"{\"query\": \"\xff\"}", "not UTF-8 at byte 12"},
      {"[1, 2]", "expected a JSON object"},
      {"\"text\"", "expected a JSON object"},
      {R"({"id": 1})", "neither query nor embedding"},
      {R"({"query": "a", "embedding": [1]})", "both query and embedding"},
      {R"({"query": "a", "query": "b"})", "\"query\" occurs twice"},
      {R"({"query": "a", "lambda": 1, "lambda": 1})", "\"lambda\" occurs twice"},
      {R"({"query": "a", "cap": {"margin": 1, "margin": 1}})", "\"cap.margin\" occurs twice"},
      {R"({"query": null})", "query is null: expected a string"},
      {R"({"query": {"query": "a"}})", "query is an object"},
      {R"({"embedding": 1})", "embedding is 1: expected an array of numbers"},
      {R"({"embedding": [1, "2"]})", "embedding holds a string at index 1"},
      {R"({"embedding": [[1]]})", "embedding holds an array at index 0"},
      {R"({"embedding": [0, -0.0, 0]})", "the embedding is all zeros"},
      {R"({"query": "a", "input_tokens": 1.5})", "input_tokens is 1.5: expected a whole number"},
      {R"({"query": "a", "input_tokens": -1})", "input_tokens is -1: expected"},
      {R"({"query": "a", "max_input_tokens": "9"})", "max_input_tokens is \"9\": expected"},
      {R"({"query": "a", "images": 4294967296})",
       "images is 4294967296: expected a whole number of images, 0 or more"},
      {R"({"query": "a", "requires": "tools"})",
       "requires is \"tools\": expected a list of capabilities: tools, images, audio"},
      {R"({"query": "a", "requires": ["vision"]})", "requires is a list of 1: expected a list of"},
      {R"({"query": "a", "requries": []})", "did you mean \"requires\"?"},
      {R"({"query": "a", "input_tokens": 9223372036854775808})",
       "input_tokens is 9223372036854775808: expected"},
      {R"({"query": "a", "id": [1]})", "id is an array: expected a string, a number"},
      {R"({"query": "a", "policy": {"lambda": 1}})", "policy is an object: expected a policy file"},
      {R"({"query": "a", "explain": 1})", "explain is 1: expected true or false"},
      {R"({"query": "a", "all_options": "yes"})", "all_options is \"yes\": expected true or false"},
      // Keys that do not exist, with the nearest that does.
      {R"({"query": "a", "lamda": 1})", "unknown key \"lamda\": did you mean \"lambda\"?"},
      {R"({"query": "a", "min_qualty": 1})", "did you mean \"min_quality\"?"},
      {R"({"query": "a", "max-cost-usd": 1})", "did you mean \"max_cost_usd\"?"},
      {R"({"query": "a", "avialable_only": true})", "did you mean \"available_only\"?"},
      {R"({"qeury": "a"})", "did you mean \"query\"?"},
      {R"({"query": "a", "cap.margin": 1})", "did you mean \"cap\"?"},
      {R"({"query": "a", "cap": {"min": 1}})",
       "unknown key \"cap.min\": did you mean \"cap.minimum\"?"},
      // Settings.
      {R"({"query": "a", "max_cost_usd": "1"})",
       "max_cost_usd is \"1\": expected a number of USD, 0 or more"},
      {R"({"query": "a", "max_cost_usd": -1})", "max_cost_usd is -1: expected"},
      {R"({"query": "a", "max_cost_usd": 1e999})", "max_cost_usd is 1e999: expected"},
      {R"({"query": "a", "lambda": 2})", "lambda is 2: expected a number from 0 to 1"},
      {R"({"query": "a", "max_output_tokens": 0})", "max_output_tokens is 0: expected"},
      {R"({"query": "a", "max_output_tokens": 4294967296})", "max_output_tokens is 4294967296"},
      {R"({"query": "a", "objective": "worst"})",
       "objective is \"worst\": expected risk, usd, cheapest or best"},
      {R"({"query": "a", "continuous": "yes"})", "continuous is \"yes\": expected true or false"},
      {R"({"query": "a", "allow": "b"})", "allow is \"b\": expected a list of at least one"},
      {R"({"query": "a", "allow": []})", "allow is a list of 0: expected a list of at least one"},
      {R"({"query": "a", "deny": ["b", 1, {}]})", "deny is a list with a number at index 1"},
      {R"({"query": "a", "cap": 20})", "cap is 20: expected an object"},
      {R"({"query": "a", "cap": {"margin": -1}})", "cap.margin is -1: expected a number, 0 or"}};
  for (const auto& [text, error] : bad_lines) {
    EXPECT_THAT(parse_query_line(text).error, HasSubstr(error)) << text;
  }
}

TEST(QueryLine, HoldsLittleOfAHostileLine) {
  const std::string deep(1 << 20, '[');
  EXPECT_THAT(parse_query_line(deep).error, HasSubstr("not valid JSON"));
  const std::string long_key = "{\"" + std::string(1 << 20, 'k') + "\": 1}";
  EXPECT_LT(parse_query_line(long_key).error.size(), 300u);
  const std::string long_token = "{\"query\": " + std::string(1 << 20, 't') + "}";
  EXPECT_LT(parse_query_line(long_token).error.size(), 300u);
  const std::string long_value = "{\"lambda\": \"" + std::string(1 << 20, 'v') + "\"}";
  EXPECT_LT(parse_query_line(long_value).error.size(), 300u);
  std::string names = "\"a\"";
  for (int i = 0; i < 20'000; ++i) names += ", \"a\"";
  const QueryLine many = parse_query_line("{\"deny\": [" + names + "]}");
  EXPECT_THAT(many.error, HasSubstr("deny is a list of more than 10000"));
}

}  // namespace
}  // namespace r2router::internal
