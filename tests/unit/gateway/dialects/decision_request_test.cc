#include "gateway/dialects/decision_request.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "unit/gateway/dialects/requests.h"

namespace r2router::gateway {
namespace {

using r2router::testing::error_of;
using r2router::testing::expect_error;
using ::testing::HasSubstr;

DecisionQuery one(const std::string& body) {
  DecisionRequest request = read_decisions(body, {});
  EXPECT_FALSE(request.is_list);
  EXPECT_EQ(request.queries.size(), 1U);
  return std::move(request.queries.front());
}

TEST(DecisionRequest, ReadsATextAndAnObject) {
  EXPECT_EQ(one(R"("Who wrote Faust?")").query.text, "Who wrote Faust?");
  const DecisionQuery query = one(R"({"query":"Who wrote Faust?","id":"q-1","policy":"cheap",
      "max_cost_usd":0.01,"input_tokens":40,"images":2,"requires":["images"],"explain":true})");
  EXPECT_EQ(query.error, "");
  EXPECT_EQ(query.query.text, "Who wrote Faust?");
  EXPECT_EQ(query.id, R"("q-1")");
  EXPECT_EQ(query.policy_name, "cheap");
  EXPECT_EQ(query.policy.max_cost_usd, 0.01);
  EXPECT_EQ(query.query.size,
            (QuerySize{.input_tokens = 40, .images = 2, .requirements = {Capability::kImages}}));
  EXPECT_TRUE(query.explain);
  EXPECT_FALSE(query.all_options);
  EXPECT_TRUE(one(R"({"query":"a","all_options":true})").all_options);
  EXPECT_TRUE(one(R"({"embedding":[1,2,3]})").query.has_embedding());
}

TEST(DecisionRequest, ReadsBodiesOfAllDialects) {
  for (const auto& [kind, body] : testing::kSamples) {
    const DecisionQuery query = one(body);
    const ClientRequest request = testing::read(kind, body);
    EXPECT_EQ(query.error, "") << body;
    EXPECT_EQ(query.query.text, request.text) << body;
    // The size differs if a body is taken for another dialect's.
    EXPECT_EQ(query.query.size, request.size) << body;
    EXPECT_EQ(query.policy.max_output_tokens, request.cap) << body;
    EXPECT_EQ(query.model, request.model);
  }
}

TEST(DecisionRequest, TakesTheLowerOfCapAndPolicy) {
  const auto most = [](const std::string& r2) {
    return one(R"({"messages":[],"max_tokens":100,"r2":{"max_output_tokens":)" + r2 + "}}")
        .policy.max_output_tokens;
  };
  EXPECT_EQ(most("50"), 50U);
  EXPECT_EQ(most("500"), 100U);
}

TEST(DecisionRequest, ReadsLists) {
  const DecisionRequest list = read_decisions(
      R"(["first",{"query":"second"},{"input":"third"},{"messages":[{"role":"user","content":"fourth"}]}])",
      {});
  EXPECT_TRUE(list.is_list);
  std::vector<std::string> texts;
  for (const DecisionQuery& query : list.queries) texts.push_back(query.query.text);
  EXPECT_THAT(texts, ::testing::ElementsAre("first", "second", "third", "fourth"));

  const DecisionRequest defaults = read_decisions(
      R"({"queries":["first",{"query":"second","policy":"best","max_cost_usd":1}],"r2":{"policy":"cheap","max_cost_usd":2,"min_quality":0.5}})",
      {});
  EXPECT_TRUE(defaults.is_list);
  ASSERT_EQ(defaults.queries.size(), 2U);
  EXPECT_EQ(defaults.queries[0].policy_name, "cheap");
  EXPECT_EQ(defaults.queries[0].policy.max_cost_usd, 2);
  EXPECT_EQ(defaults.queries[1].policy_name, "best");
  EXPECT_EQ(defaults.queries[1].policy.max_cost_usd, 1);
  EXPECT_EQ(defaults.queries[1].policy.min_quality, 0.5);
  EXPECT_TRUE(read_decisions("[]", {}).is_list);
}

TEST(DecisionRequest, ReportsABadQueryInItsPlace) {
  const DecisionRequest list = read_decisions(
      R"(["good",7,{},{"query":7,"id":"q-2"},{"messages":7},{"query":"x","max_cost":1},{"embedding":[]}])",
      {});
  ASSERT_EQ(list.queries.size(), 7U);
  EXPECT_EQ(list.queries[0].error, "");
  EXPECT_THAT(list.queries[1].error, HasSubstr("found a number"));
  EXPECT_THAT(list.queries[2].error, HasSubstr("\"messages\""));
  EXPECT_THAT(list.queries[3].error, HasSubstr("query"));
  EXPECT_EQ(list.queries[3].id, R"("q-2")");
  EXPECT_THAT(list.queries[4].error, HasSubstr("messages: found a number"));
  EXPECT_THAT(list.queries[5].error, HasSubstr("max_cost"));
  EXPECT_NE(list.queries[6].error, "");
}

TEST(DecisionRequest, RefusesABadBody) {
  for (const char* body : {"", "{", "[", "{\"queries\":7}", "[\"\xFF\"]"}) {
    EXPECT_EQ(error_of([&] { read_decisions(body, {}); }).code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(
      error_of([] { read_decisions(R"({"queries":[],"policy":"cheap"})", {}); }).where().option,
      "policy");
  EXPECT_EQ(error_of([] { read_decisions(R"({"queries":[],"r2":{"max_cost_usd":-1}})", {}); })
                .where()
                .option,
            "r2.max_cost_usd");
  std::string many = "[\"x\"";
  for (std::size_t i = 1; i < kMaxDecisionQueries; ++i) many += ",\"x\"";
  EXPECT_EQ(read_decisions(many + "]", {}).queries.size(), kMaxDecisionQueries);
  expect_error(ErrorCode::kInvalidArgument, "10000", [&] { read_decisions(many + ",\"x\"]", {}); });
}

}  // namespace
}  // namespace r2router::gateway
