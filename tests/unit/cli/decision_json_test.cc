#include "cli/decision_json.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace r2router::cli {
namespace {

const Pool kPool = {{.name = "first"}, {.name = "se\"cond", .openrouter_id = "vendor/second"}};

Option option(std::uint32_t model, Budget budget) {
  return {.model = model,
          .budget = budget,
          .quality = 0.1,
          .output_tokens = 10,
          .cost_usd = 6.404e-05,
          .risk = -0.3};
}

TEST(DecisionJson, WritesTheReferenceKeysInItsOrder) {
  EXPECT_EQ(decision_json({.query = "hi"}, option(1, Budget(10)), {}, kPool),
            "{\"query\": \"hi\", \"model\": \"se\\\"cond\", \"openrouter_id\": \"vendor/second\", "
            "\"budget\": 10, \"predicted_quality\": 0.1, \"predicted_output_tokens\": 10, "
            "\"predicted_cost_usd\": 6.404e-05, \"risk\": -0.3}\n");
}

TEST(DecisionJson, ListsEveryOptionWithTheSameKeysAndNoNesting) {
  const std::array ranking = {option(1, Budget::unlimited()), option(0, Budget(20))};
  const auto tree = nlohmann::json::parse(decision_json({.row = 3}, ranking[0], ranking, kPool));
  EXPECT_EQ(tree.at("row"), 3);
  EXPECT_FALSE(tree.contains("query"));
  ASSERT_EQ(tree.at("all_options").size(), 2u);
  EXPECT_EQ(tree.at("all_options")[0].at("budget"), "unlimited");
  EXPECT_EQ(tree.at("all_options")[1].at("model"), "first");
  EXPECT_FALSE(tree.at("all_options")[0].contains("all_options"));
  EXPECT_EQ(tree.at("all_options")[0].size(), 7u);
}

TEST(DecisionJson, KeepsEveryBitOfANumber) {
  for (const double value : {0.1 + 0.2, 1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789012.5}) {
    Option chosen = option(0, Budget(10));
    chosen.risk = value;
    const auto tree = nlohmann::json::parse(decision_json({}, chosen, {}, kPool));
    EXPECT_EQ(tree.at("risk").get<double>(), value);
  }
}

TEST(DecisionJson, StaysOneLineOfJsonWhateverTheTextHolds) {
  const std::string query = "two\nlines \x01 and a bad byte \xff";
  const std::string line =
      decision_json({.id = "1.50", .query = query}, option(0, Budget(1)), {}, kPool);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_TRUE(line.starts_with("{\"id\": 1.50, \"query\": \"two\\nlines"));
  EXPECT_TRUE(nlohmann::json::accept(line));
}

TEST(ErrorJson, NamesTheLineAndTheIdIfThereIsOne) {
  EXPECT_EQ(error_json("\"a\"", "no \"query\"", 12),
            "{\"id\": \"a\", \"error\": \"no \\\"query\\\"\", \"line\": 12}\n");
  EXPECT_EQ(error_json("", "bad", 1), "{\"error\": \"bad\", \"line\": 1}\n");
}

}  // namespace
}  // namespace r2router::cli
