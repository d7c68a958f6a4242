#include "base/suggestion.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace r2router {
namespace {

using internal::likely_name;

const std::vector<std::string> kModels = {
    "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct", "gemini-1.5-flash-002",
    "gemini-1.5-pro-002",         "Mistral-7B-Instruct-v0.2",    "gpt-4o"};

TEST(LikelyName, FindsWhatWasMeant) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"gpt-4O", "gpt-4o"},
      {"GPT4o", "gpt-4o"},
      {"gtp-4o", "gpt-4o"},
      {"gpt-4", "gpt-4o"},
      {"gpt-4o-2024-08-06", "gpt-4o"},
      {"gemini-1.5-flsh-002", "gemini-1.5-flash-002"},
      {"gemini-pro", "gemini-1.5-pro-002"},
      {"mistral", "Mistral-7B-Instruct-v0.2"},
      {"llama-3.1-70b", "Meta-Llama-3_1-70B-Instruct"},
      {"mistralai/Mistral-7B-Instruct-v0.2", "Mistral-7B-Instruct-v0.2"},
      {"meta llama 3.1 8b instruct", "Meta-Llama-3_1-8B-Instruct"}};
  for (const auto& [name, meant] : cases) EXPECT_EQ(likely_name(name, kModels), meant) << name;
}

TEST(LikelyName, SuggestsNothingFarFetched) {
  for (const char* name : {"claude", "claude-3-opus", "gp", "x", "", "-", "***", "o1", "qwen-7b",
                           "deepseek-chat", "command-r", "日本語"}) {
    EXPECT_EQ(likely_name(name, kModels), std::nullopt) << name;
  }
  EXPECT_EQ(likely_name("gpt-4o", {}), std::nullopt);
}

TEST(LikelyName, WorksForCommandsAndOptions) {
  const std::vector<std::string> commands = {"route", "train", "eval", "add-model", "models"};
  EXPECT_EQ(likely_name("roote", commands), "route");
  EXPECT_EQ(likely_name("evaluate", commands), "eval");
  EXPECT_EQ(likely_name("add_model", commands), "add-model");
  EXPECT_EQ(likely_name("What is 2+2?", commands), std::nullopt);
  const std::vector<std::string> options = {"--lambda", "--max-cost", "--json"};
  EXPECT_EQ(likely_name("--lamda", options), "--lambda");
  EXPECT_EQ(likely_name("--max-cost-usd", options), "--max-cost");
  EXPECT_EQ(likely_name("--max_cost", options), "--max-cost");
}

TEST(ListOf, ShortensLongLists) {
  const std::vector<std::string> names = {"a", "b", "c"};
  EXPECT_EQ(internal::list_of(names), "a, b, c");
  EXPECT_EQ(internal::list_of(names, 2), "a, b and 1 more");
  EXPECT_EQ(internal::list_of({}), "");
}

}  // namespace
}  // namespace r2router
