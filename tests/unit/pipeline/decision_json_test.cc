#include "pipeline/decision_json.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace r2router::internal {
namespace {

const Pool kPool = {{.name = "first"}, {.name = "se\"cond", .openrouter_id = "vendor/second"}};

Option option(std::uint32_t model, Budget budget) {
  return {.model = model,
          .budget = budget,
          .quality = 0.1,
          .output_tokens = 10,
          .cost_usd = 6.404e-05,
          .utility = -0.3,
          .max_tokens = 16,
          .worst_case_cost_usd = 0.25};
}

Decision decision(const Option& chosen, std::vector<Option> ranking = {}) {
  return {
      .chosen = chosen, .ranking = std::move(ranking), .pool = std::make_shared<const Pool>(kPool)};
}

TEST(DecisionJson, WritesTheReferenceKeysInItsOrder) {
  EXPECT_EQ(decision_json({.query = "hi"}, decision(option(1, Budget(10))), false),
            "{\"query\": \"hi\", \"model\": \"se\\\"cond\", \"openrouter_id\": \"vendor/second\", "
            "\"budget\": 10, \"predicted_quality\": 0.1, \"predicted_output_tokens\": 10, "
            "\"predicted_cost_usd\": 6.404e-05, \"risk\": -0.3, \"max_tokens\": 16, "
            "\"worst_case_cost_usd\": 0.25}\n");
}

TEST(DecisionJson, ListsEveryOptionWithTheSameKeysAndNoNesting) {
  const std::vector ranking = {option(1, Budget::unlimited()), option(0, Budget(20))};
  const auto tree =
      nlohmann::json::parse(decision_json({.row = 3}, decision(ranking[0], ranking), true));
  EXPECT_EQ(tree.at("row"), 3);
  EXPECT_FALSE(tree.contains("query"));
  ASSERT_EQ(tree.at("all_options").size(), 2u);
  EXPECT_EQ(tree.at("all_options")[0].at("budget"), "unlimited");
  EXPECT_EQ(tree.at("all_options")[1].at("model"), "first");
  EXPECT_FALSE(tree.at("all_options")[0].contains("all_options"));
  EXPECT_EQ(tree.at("all_options")[0].size(), 9u);
}

TEST(DecisionJson, KeepsEveryBitOfANumber) {
  for (const double value : {0.1 + 0.2, 1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789012.5}) {
    Option chosen = option(0, Budget(10));
    chosen.utility = value;
    const auto tree = nlohmann::json::parse(decision_json({}, decision(chosen), false));
    EXPECT_EQ(tree.at("risk").get<double>(), value);
  }
}

TEST(DecisionJson, StaysOneLineOfJsonWhateverTheTextHolds) {
  const std::string query = "two\nlines \x01 and a bad byte \xff";
  const std::string line =
      decision_json({.id = "1.50", .query = query}, decision(option(0, Budget(1))), false);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_TRUE(line.starts_with("{\"id\": 1.50, \"query\": \"two\\nlines"));
  EXPECT_TRUE(nlohmann::json::accept(line));
}

TEST(DecisionJson, ExplainsWhereTheDecisionDoes) {
  Decision explained = decision(option(1, Budget(10)));
  explained.reason = Reason::kCheapest;
  explained.explanation = {.runner_up = option(0, Budget()),
                           .margin = 0.1 + 0.2,
                           .win_probability = 0.96,
                           .left_out = {4, 0, 3, 2, 1, 9, 5},
                           .tasks = {{"sums", 0.75}, {"facts", 0.125}},
                           .familiarity = 0.875};
  auto tree = nlohmann::json::parse(decision_json({}, explained, false));
  const auto expected = nlohmann::json::parse(R"({
    "reason": "cheapest",
    "runner_up": {"model": "first", "openrouter_id": "", "budget": "unlimited",
                  "predicted_quality": 0.1, "predicted_output_tokens": 10.0,
                  "predicted_cost_usd": 6.404e-05, "risk": -0.3, "max_tokens": 16,
                  "worst_case_cost_usd": 0.25},
    "margin": 0.30000000000000004, "win_probability": 0.96, "confident": true,
    "left_out": {"models": 4, "max_cost": 0, "max_output_tokens": 3, "context": 2,
                 "max_latency": 1, "quality": 9, "requirements": 5},
    "tasks": {"sums": 0.75, "facts": 0.125}, "familiarity": 0.875
  })");
  EXPECT_EQ(tree.at("explanation"), expected);
  tree = nlohmann::json::parse(answer_json({}, explained, {}, false));
  EXPECT_EQ(tree.at("explanation"), expected);

  explained.explanation = Explanation{};
  tree = nlohmann::json::parse(decision_json({}, explained, false));
  EXPECT_TRUE(tree.at("explanation").at("runner_up").is_null());
  EXPECT_TRUE(tree.at("explanation").at("win_probability").is_null());
  EXPECT_FALSE(tree.at("explanation").at("confident"));
}

TEST(AnswerJson, AddsAllThatIsKnownOfTheAnswer) {
  const llm::Completion completion{
      .text = "4\n\"four\"",
      .reasoning = "2 and 2",
      .refusal = "I'd rather not",
      .pair = {1, Budget(10)},
      .requested_model = "vendor/second",
      .served_model = "vendor/second-2",
      .redirected = true,
      .finish_reason = "length",
      .truncated = true,
      .over_cap = true,
      .usage = Usage{12, 16, 3, 5, 7},
      .charged_usd = 0.1 + 0.2,
      .computed_usd = 0.25,
      .first_text_seconds = 0.5,
      .seconds = 2.5,
      .attempts = {{.pair = {0, Budget()},
                    .model = "vendor/first",
                    .max_tokens = 8192,
                    .http_status = 429,
                    .error = ErrorCode::kRateLimited,
                    .message = "slow \"down\"",
                    .seconds = 0.25,
                    .cost_usd = 0},
                   {.pair = {1, Budget(10)}, .model = "vendor/second", .max_tokens = 16}}};
  const std::vector ranking = {option(0, Budget()), option(1, Budget(10))};
  const auto tree = nlohmann::json::parse(
      answer_json({.query = "2 + 2?"}, decision(ranking[0], ranking), completion, true));
  const auto expected = nlohmann::json::parse(R"({
    "query": "2 + 2?", "model": "se\"cond", "openrouter_id": "vendor/second", "budget": 10,
    "predicted_quality": 0.1, "predicted_output_tokens": 10.0, "predicted_cost_usd": 6.404e-05,
    "risk": -0.3, "response": "4\n\"four\"",
    "reasoning": "2 and 2", "refusal": "I'd rather not",
    "usage": {"prompt_tokens": 12, "completion_tokens": 16, "reasoning_tokens": 3,
              "cached_tokens": 5, "cache_write_tokens": 7},
    "charged_usd": 0.30000000000000004, "computed_usd": 0.25, "served_model": "vendor/second-2",
    "redirected": true, "finish_reason": "length", "truncated": true, "over_cap": true,
    "empty_after_reasoning": false, "first_text_seconds": 0.5, "seconds": 2.5,
    "attempts": [
      {"model": "first", "openrouter_id": "vendor/first", "budget": "unlimited",
       "max_tokens": 8192, "http_status": 429, "error": "rate_limited",
       "message": "slow \"down\"", "seconds": 0.25, "cost_usd": 0.0},
      {"model": "se\"cond", "openrouter_id": "vendor/second", "budget": 10, "max_tokens": 16,
       "http_status": null, "error": null, "message": null, "seconds": 0.0, "cost_usd": null}]
  })");
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(tree.at(key), value) << key;
  EXPECT_EQ(tree.at("all_options").size(), 2u);
}

TEST(AnswerJson, SaysNullForWhatIsNotKnown) {
  const auto tree =
      nlohmann::json::parse(answer_json({}, decision(option(0, Budget())), {}, false));
  for (const char* key : {"reasoning", "refusal", "charged_usd", "computed_usd", "served_model",
                          "finish_reason", "first_text_seconds"}) {
    EXPECT_TRUE(tree.at(key).is_null()) << key;
  }
  EXPECT_TRUE(tree.at("usage").at("prompt_tokens").is_null());
  EXPECT_EQ(tree.at("attempts"), nlohmann::json::array());
}

TEST(FailureJson, TellsTheErrorWithWhatCameBeforeIt) {
  const llm::Completion completion{.text = "The answ",
                                   .failure = Failure{ErrorCode::kConnection, 0, "it broke"},
                                   .seconds = 1,
                                   .attempts = {{.error = ErrorCode::kConnection}}};
  const std::string line = failure_json({.id = "7"}, 3, completion, kPool);
  const auto tree = nlohmann::json::parse(line);
  EXPECT_EQ(tree.at("id"), 7);
  EXPECT_EQ(tree.at("error"), "it broke");
  EXPECT_EQ(tree.at("error_code"), "connection");
  EXPECT_EQ(tree.at("line"), 3);
  EXPECT_EQ(tree.at("response"), "The answ");
  EXPECT_EQ(tree.at("attempts").size(), 1u);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(ErrorJson, NamesTheLineAndTheIdIfThereIsOne) {
  EXPECT_EQ(error_json("\"a\"", "no \"query\"", 12),
            "{\"id\": \"a\", \"error\": \"no \\\"query\\\"\", \"line\": 12}\n");
  EXPECT_EQ(error_json("", "bad", 1), "{\"error\": \"bad\", \"line\": 1}\n");
}

}  // namespace
}  // namespace r2router::internal
