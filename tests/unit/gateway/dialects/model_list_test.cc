#include "gateway/dialects/model_list.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace r2router::gateway {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<ListedModel> kModels = {
    {.id = "auto", .display_name = "Automatic"},
    {.id = "auto:cheap"},
    {.id = "small", .owner = "vendor", .context_tokens = 128'000, .capabilities = Capabilities{}},
    {.id = "claude-sonnet-4-5",
     .context_tokens = 200'000,
     .capabilities = Capabilities{Capability::kTools, Capability::kReasoning}},
};

TEST(ModelList, ServesAllKindsOfClients) {
  const Json list = Json::parse(model_list(kModels, 1'790'000'000, /*for_anthropic=*/false));
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 4U);
  EXPECT_EQ(list["data"][2], Json::parse(R"({"id":"small","object":"model","type":"model",
      "display_name":"small","created":1790000000,"created_at":"2026-09-21T14:13:20Z",
      "owned_by":"vendor"})"));
  EXPECT_EQ(list["data"][0]["display_name"], "Automatic");
  EXPECT_EQ(list["first_id"], "auto");
  EXPECT_EQ(list["last_id"], "claude-sonnet-4-5");
  EXPECT_EQ(list["has_more"], false);

  ASSERT_EQ(list["models"].size(), 4U);
  EXPECT_EQ(list["models"][3]["slug"], "claude-sonnet-4-5");
  EXPECT_EQ(list["models"][3]["context_window"], 200'000);
  EXPECT_EQ(list["models"][3]["supported_reasoning_levels"].size(), 3U);
  EXPECT_EQ(list["models"][3]["supported_reasoning_levels"][0]["effort"], "low");
  EXPECT_EQ(list["models"][2]["supported_reasoning_levels"], Json::array());
  EXPECT_EQ(list["models"][0]["context_window"], nullptr);
}

TEST(ModelList, GivesAnthropicsClientsIdsThatTheyList) {
  const Json list = Json::parse(model_list(kModels, 0, /*for_anthropic=*/true));
  std::vector<std::string> ids;
  for (const Json& entry : list["data"]) {
    ids.push_back(entry["id"]);
    EXPECT_TRUE(ids.back().starts_with("claude") || ids.back().starts_with("anthropic"));
  }
  EXPECT_EQ(list["first_id"], ids.front());
  EXPECT_EQ(list["last_id"], ids.back());
  for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(requested_model(ids[i]), kModels[i].id);
}

TEST(ModelList, HasTheEntriesThatAreServedAlone) {
  for (const bool for_anthropic : {false, true}) {
    const Json list = Json::parse(model_list(kModels, 1'790'000'000, for_anthropic));
    for (std::size_t i = 0; i < kModels.size(); ++i) {
      EXPECT_EQ(Json::parse(model_entry(kModels[i], 1'790'000'000, for_anthropic)),
                list["data"][i]);
    }
  }
}

TEST(ModelList, MayBeEmpty) {
  const Json list = Json::parse(model_list({}, 0, false));
  EXPECT_EQ(list["data"], Json::array());
  EXPECT_EQ(list["first_id"], nullptr);
}

}  // namespace
}  // namespace r2router::gateway
