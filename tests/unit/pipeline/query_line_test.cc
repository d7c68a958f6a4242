#include "pipeline/query_line.h"

#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r2router::cli {
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
  EXPECT_EQ(line.options.lambda, 0.25);
  EXPECT_EQ(line.options.input_tokens, 40);
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
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": "\"\n\u00e9"})").id, "\"\\\"\\né\"");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": null})").id, "null");
  EXPECT_EQ(parse_query_line(R"({"query": "a", "id": true})").id, "true");
}

TEST(QueryLine, TakesNullForAnAbsentOption) {
  const QueryLine line =
      parse_query_line(R"({"query": "a", "lambda": null, "input_tokens": null})");
  EXPECT_EQ(line.error, "");
  EXPECT_FALSE(line.options.lambda);
  EXPECT_FALSE(line.options.input_tokens);
}

TEST(QueryLine, TakesEveryNumberThatACallMaySet) {
  const QueryLine line = parse_query_line(
      R"({"query": "a", "min_quality": 0.5, "quality_fraction": 1, "willingness_to_pay": 2e-3,
          "max_cost_usd": 0, "max_latency_ms": 1500, "token_floor": 3, "max_output_tokens": 200})");
  EXPECT_EQ(line.error, "");
  EXPECT_EQ(line.options.min_quality, 0.5);
  EXPECT_EQ(line.options.quality_fraction, 1);
  EXPECT_EQ(line.options.willingness_to_pay, 0.002);
  EXPECT_EQ(line.options.max_cost_usd, 0);
  EXPECT_EQ(line.options.max_latency_ms, 1500);
  EXPECT_EQ(line.options.token_floor, 3);
  EXPECT_EQ(line.options.max_output_tokens, 200U);
}

TEST(QueryLine, KnowsTheIdOfABadLineWhereverItStands) {
  EXPECT_EQ(parse_query_line(R"({"query": 3, "id": 8})").id, "8");
  EXPECT_EQ(parse_query_line(R"({"id": 8, "query": "cut off)").id, "8");
}

TEST(QueryLine, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> bad_lines[] = {
      {"{\"query\": \"a\"", "not valid JSON at byte 14"},
      {R"({"query": "a"} x)", "not valid JSON at byte 16"},
      {R"({"query": "\ud800"})", "not valid JSON at byte 18"},
      {R"({"embedding": [1e999]})", "number overflow"},
      {R"({"embedding": [NaN]})", "not valid JSON at byte 16"},
      {"{\"query\": \"\xff\"}", "not UTF-8 at byte 12"},
      {"[1, 2]", "expected a JSON object"},
      {"\"text\"", "expected a JSON object"},
      {R"({"id": 1})", "neither query nor embedding"},
      {R"({"query": "a", "embedding": [1]})", "both query and embedding"},
      {R"({"query": "a", "query": "b"})", "\"query\" stands twice"},
      {R"({"query": "a", "lamda": 1})", "unknown key \"lamda\""},
      {R"({"query": null})", "query is null; expected a string"},
      {R"({"query": {"query": "a"}})", "query is an object"},
      {R"({"embedding": 1})", "embedding is the number 1"},
      {R"({"embedding": [1, "2"]})", "a string at index 1"},
      {R"({"embedding": [[1]]})", "an array at index 0"},
      {R"({"embedding": [0, -0.0, 0]})", "the embedding is all zeros"},
      {R"({"query": "a", "max_cost_usd": "1"})", "max_cost_usd is a string; expected a number"},
      {R"({"query": "a", "max_output_tokens": 0})", "max_output_tokens is the number 0"},
      {R"({"query": "a", "max_output_tokens": 4294967296})", "max_output_tokens is the number 42"},
      {R"({"query": "a", "min_qualty": 1})", "input_tokens, max_output_tokens, lambda, willing"},
      {R"({"query": "a", "lambda": "0.5"})", "lambda is a string"},
      {R"({"query": "a", "input_tokens": 1.5})", "input_tokens is the number 1.5"},
      {R"({"query": "a", "input_tokens": -1})", "input_tokens is the number -1"},
      {R"({"query": "a", "input_tokens": 9223372036854775808})",
       "input_tokens is the number 9223372036854775808"},
      {R"({"query": "a", "id": [1]})", "id is an array"}};
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
}

}  // namespace
}  // namespace r2router::cli
