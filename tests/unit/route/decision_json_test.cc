#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/decision.h"

namespace r2router {
namespace {

Decision decision() {
  const Option chosen{.model = 1,
                      .budget = Budget(300),
                      .quality = 0.1 + 0.2,
                      .output_tokens = 120.5,
                      .cost_usd = 3e-6,
                      .utility = -1e-7,
                      .max_tokens = 360,
                      .worst_case_cost_usd = 0.0015};
  return {.chosen = chosen,
          .pool = std::make_shared<const Pool>(
              Pool{{.name = "a"}, {.name = "b\"\xFF", .openrouter_id = "v/b"}})};
}

TEST(DecisionToJson, HasThePublishedMembersAndWhatToSend) {
  EXPECT_EQ(to_json(decision()),
            "{\"model\": \"b\\\"\uFFFD\", \"openrouter_id\": \"v/b\", \"budget\": 300, "
            "\"predicted_quality\": 0.30000000000000004, \"predicted_output_tokens\": 120.5, "
            "\"predicted_cost_usd\": 3e-06, \"risk\": -1e-07, \"max_tokens\": 360, "
            "\"worst_case_cost_usd\": 0.0015}");
}

TEST(DecisionToJson, HasTheRankingAndTheExplanationIfTheyWereAskedFor) {
  Decision ranked = decision();
  const Option other{.model = 0, .max_tokens = 8192, .worst_case_cost_usd = 0.25};
  ranked.ranking = {ranked.chosen, other};
  ranked.explanation = Explanation{.runner_up = other, .margin = 0.5};
  const auto json = nlohmann::json::parse(to_json(ranked));
  ASSERT_EQ(json["all_options"].size(), 2U);
  for (const auto& option : {json["all_options"][1], json["explanation"]["runner_up"]}) {
    EXPECT_EQ(option["model"], "a");
    EXPECT_EQ(option["budget"], "unlimited");
    EXPECT_EQ(option["max_tokens"], 8192);
    EXPECT_EQ(option["worst_case_cost_usd"], 0.25);
  }
  EXPECT_EQ(json["explanation"]["margin"], 0.5);
  EXPECT_TRUE(json["explanation"]["win_probability"].is_null());
}

}  // namespace
}  // namespace r2router
