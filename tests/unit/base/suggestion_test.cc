#include "base/suggestion.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace r2router {
namespace {

using internal::alternatives;
using internal::is_misspelling;
using internal::likely_name;
using internal::loose_spelling;

const std::vector<std::string> kModels = {
    "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct", "gemini-1.5-flash-002",
    "gemini-1.5-pro-002",         "Mistral-7B-Instruct-v0.2",    "gpt-4o"};

TEST(LooseSpelling, IsTheSameForNamesThatPeopleTakeForOne) {
  const std::string plain = loose_spelling("vendor/Modele-3.1");
  EXPECT_EQ(plain, "vendor/modele-3.1");
  for (const char* const name : {
           "VENDOR/MODELE-3.1",                   // case
           " vendor/modele-3.1\t",                // white space
           "vendor/modele-3.1\u00A0",             // a non-breaking space
           "vendor/mod\u00E8le-3.1",              // a composed letter
           "vendor/mode\u0300le-3.1",             // the same, decomposed
           "vendor/Mod\u00C8le-3.1",              // and a capital
           "ｖｅｎｄｏｒ／ｍｏｄｅｌｅ－３．１",  // full width
           "vendor/modele\u20113.1",              // a non-breaking hyphen
           "vendor/modele 3.1",                   // a space for a dash
           "\uFEFFvendor/modele-3.1",             // a byte order mark
           "vendor/mod\u200Bele-3.1",             // an invisible space
           "vendor/mod\u1EBBle-3.1",              // Latin of another block
       }) {
    EXPECT_EQ(loose_spelling(name), plain) << name;
  }
  EXPECT_EQ(loose_spelling("ЯНДЕКС"), loose_spelling("яндекс"));
  EXPECT_EQ(loose_spelling("ΑΩ"), "αω");
}

TEST(LooseSpelling, KeepsNamesOfDifferentModelsApart) {
  EXPECT_NE(loose_spelling("gpt-4"), loose_spelling("gpt-4o"));
  EXPECT_NE(loose_spelling("gemini-1.5-pro"), loose_spelling("gemini-1.5-pro-002"));
  EXPECT_NE(loose_spelling("a/large"), loose_spelling("b/large"));
  EXPECT_NE(loose_spelling("llama-3.1"), loose_spelling("llama-3_1"));
  EXPECT_NE(loose_spelling("modèle"), loose_spelling("模型"));
  EXPECT_EQ(loose_spelling("模型"), "模型");
  EXPECT_EQ(loose_spelling(""), "");
  EXPECT_EQ(loose_spelling(" \u00A0 "), "");
}

TEST(IsMisspelling, AllowsALetterInFourButAtMostTwo) {
  EXPECT_TRUE(is_misspelling("bugdet", "budget"));
  EXPECT_TRUE(is_misspelling("vendor/larg:fee", "vendor/large:free"));
  EXPECT_FALSE(is_misspelling("vendor/lar:fee", "vendor/large:free"));
  EXPECT_FALSE(is_misspelling("abcd", "abxx"));
  EXPECT_FALSE(is_misspelling("small", "large"));
  EXPECT_FALSE(is_misspelling("b", "a"));
}

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
      {"meta llama 3.1 8b instruct", "Meta-Llama-3_1-8B-Instruct"},
      {"gémini 1.5\u00A0pro 002", "gemini-1.5-pro-002"}};
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

TEST(Alternatives, EndWithOr) {
  EXPECT_EQ(alternatives(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(alternatives(std::vector<std::string>{"a", "b"}), "a or b");
  EXPECT_EQ(alternatives(std::vector<std::string>{"a", "b", "c"}), "a, b or c");
}

}  // namespace
}  // namespace r2router
