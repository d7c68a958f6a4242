#include "r2router/settings.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

/// Two different values that the setting takes.
std::vector<SettingValue> good_values(const Setting& setting) {
  switch (setting.type()) {
    case Setting::Type::kFlag:
      return {true, false};
    case Setting::Type::kNumber:
      return {0.25, 0.75};
    case Setting::Type::kWholeNumber:
      return {std::int64_t{20}, std::int64_t{30}};
    case Setting::Type::kName:
      return {std::string(setting.names().front()), std::string(setting.names().back())};
    case Setting::Type::kModels:
      return {std::vector<std::string>{"a*", "ü"}, std::vector<std::string>{"b"}};
  }
  return {};
}

std::vector<SettingValue> bad_values(const Setting& setting) {
  const double infinity = std::numeric_limits<double>::infinity();
  switch (setting.type()) {
    case Setting::Type::kFlag:
      return {std::int64_t{1}, 0.5, "true", std::vector<std::string>()};
    case Setting::Type::kNumber:
      return {true, "0.5", std::vector<std::string>(), -0.001, infinity, std::nan("")};
    case Setting::Type::kWholeNumber:
      return {true, 20.0, "20", std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 32};
    case Setting::Type::kName:
      return {true, std::int64_t{0}, "worst", "", std::vector<std::string>{"risk"}};
    case Setting::Type::kModels:
      return {true, std::int64_t{0}, "a"};
  }
  return {};
}

Policy policy_with(const Setting& setting, const SettingValue& value) {
  Policy policy;
  EXPECT_TRUE(assign(setting, value, policy)) << setting.name << " " << describe(value);
  return policy;
}

TEST(Settings, EachHasAMemberAndANameOfItsOwn) {
  std::set<std::string_view> names;
  std::set<void*> members;
  Policy policy;
  for (const Setting& setting : settings()) {
    names.insert(setting.name);
    std::visit([&](auto member) { members.insert(&member(policy)); }, setting.member);
    EXPECT_EQ(find_setting(setting.name), &setting);
    EXPECT_FALSE(setting.help.empty()) << setting.name;
    EXPECT_EQ(std::ranges::count(setting.help, '`') % 2, 0) << setting.name;
  }
  EXPECT_EQ(names.size(), settings().size());
  EXPECT_EQ(members.size(), settings().size());
  EXPECT_EQ(find_setting("cap"), nullptr);
  EXPECT_EQ(find_setting(""), nullptr);
}

// A member of Policy without a row would be read, merged and written nowhere.
TEST(Settings, CoverEveryMemberOfAPolicy) {
  std::size_t bytes = 0;
  Policy policy;
  for (const Setting& setting : settings()) {
    std::visit([&](auto member) { bytes += sizeof(member(policy)); }, setting.member);
  }
  // Only padding may be left.
  EXPECT_LT(sizeof(Policy) - bytes, settings().size() * 4);
  EXPECT_LT(sizeof(Policy), bytes + 2 * alignof(Policy) + 8);
}

TEST(Settings, TakeTheirValuesAndNoOthers) {
  for (const Setting& setting : settings()) {
    const std::vector<SettingValue> good = good_values(setting);
    for (const SettingValue& value : good) {
      EXPECT_EQ(value_of(setting, policy_with(setting, value)), value) << setting.name;
    }
    EXPECT_EQ(value_of(setting, {}), std::nullopt);
    for (const SettingValue& value : bad_values(setting)) {
      Policy policy = policy_with(setting, good[0]);
      EXPECT_FALSE(assign(setting, value, policy)) << setting.name << " " << describe(value);
      EXPECT_EQ(policy, policy_with(setting, good[0])) << "changed";
    }
  }
  const Setting& lambda = *find_setting("lambda");
  Policy policy;
  EXPECT_TRUE(assign(lambda, std::int64_t{1}, policy));
  EXPECT_EQ(policy.lambda, 1);
  EXPECT_FALSE(assign(lambda, 1.0001, policy));
  EXPECT_FALSE(assign(*find_setting("willingness_to_pay"), 0.0, policy));
  EXPECT_FALSE(assign(*find_setting("allow"), std::vector<std::string>(), policy));
  EXPECT_TRUE(assign(*find_setting("deny"), std::vector<std::string>(), policy));
}

TEST(Settings, SayWhatTheyTake) {
  const auto expected = [](const char* name) { return find_setting(name)->expected(); };
  EXPECT_EQ(expected("lambda"), "a number from 0 to 1");
  EXPECT_EQ(expected("willingness_to_pay"), "a number of USD, more than 0");
  EXPECT_EQ(expected("max_output_tokens"), "a whole number of tokens, 1 or more");
  EXPECT_EQ(expected("objective"), "risk, usd, cheapest or best");
  EXPECT_EQ(expected("rules"), "reference or corrected");
  EXPECT_EQ(expected("continuous"), "true or false");
  EXPECT_EQ(expected("deny"), "a list of model names");
  EXPECT_EQ(expected("allow"), "a list of at least one model name");
}

TEST(Settings, AreReadFromText) {
  Policy policy;
  EXPECT_TRUE(assign_text(*find_setting("lambda"), "5e-1", policy));
  EXPECT_EQ(policy.lambda, 0.5);
  EXPECT_TRUE(assign_text(*find_setting("max_output_tokens"), "12", policy));
  EXPECT_EQ(policy.max_output_tokens, 12u);
  EXPECT_TRUE(assign_text(*find_setting("objective"), "usd", policy));
  EXPECT_EQ(policy.objective, Objective::kUsd);
  EXPECT_TRUE(assign_text(*find_setting("continuous"), "false", policy));
  EXPECT_EQ(policy.continuous, false);
  EXPECT_TRUE(assign_text(*find_setting("deny"), "a,b*", policy));
  EXPECT_EQ(policy.deny, (std::vector<std::string>{"a", "b*"}));
  const Policy before = policy;
  for (const auto& [name, text] :
       {std::pair("lambda", "2"), std::pair("lambda", "0.5x"), std::pair("lambda", "nan"),
        std::pair("lambda", ""), std::pair("max_output_tokens", "1.5"),
        std::pair("max_output_tokens", "4294967296"), std::pair("objective", "USD"),
        std::pair("continuous", "yes")}) {
    EXPECT_FALSE(assign_text(*find_setting(name), text, policy)) << name << " " << text;
  }
  EXPECT_EQ(policy, before);
}

TEST(Settings, HaveFlags) {
  EXPECT_EQ(find_setting("cap.margin")->flags(), "--cap-margin");
  EXPECT_EQ(find_setting("max_cost_usd")->flags(), "--max-cost");
  EXPECT_EQ(find_setting("monotone")->flags(), "--monotone,!--no-monotone");
}

TEST(Settings, OutOfRangeAreNamedByTheLibrary) {
  expect_error(ErrorCode::kInvalidArgument, "lambda is 1.5: expected a number from 0 to 1",
               [] { check({.lambda = 1.5}); });
  expect_error(ErrorCode::kInvalidArgument,
               "cap.minimum is 0: expected a whole number of tokens, 1 or more",
               [] { check({.cap = {.minimum = 0}}); });
  expect_error(ErrorCode::kInvalidArgument, "allow is a list of 0",
               [] { check({.allow = std::vector<std::string>()}); });
  expect_error(ErrorCode::kInvalidArgument, "objective is 77: expected risk, usd",
               [] { check({.objective = static_cast<Objective>(77)}); });
  check({});
}

TEST(Merge, AnOverridingSettingReplacesItsOwnAndNoOther) {
  for (const Setting& setting : settings()) {
    for (const Setting& other : settings()) {
      if (setting.trade_off && other.trade_off) continue;
      const std::vector<SettingValue> values = good_values(setting), others = good_values(other);
      Policy base = policy_with(setting, values[0]);
      const Policy merged = merge(base, policy_with(other, others[1]));
      EXPECT_EQ(value_of(other, merged), others[1]);
      if (&setting != &other) {
        EXPECT_EQ(value_of(setting, merged), values[0]);
      }
    }
  }
}

TEST(Merge, ATradeOffIsReplacedAsAWhole) {
  const Policy usd{.objective = Objective::kUsd, .willingness_to_pay = 0.01, .max_cost_usd = 1};
  EXPECT_EQ(merge(usd, {.lambda = 0.5}), (Policy{.lambda = 0.5, .max_cost_usd = 1}));
  EXPECT_EQ(merge(usd, {.objective = Objective::kBest}),
            (Policy{.objective = Objective::kBest, .max_cost_usd = 1}));
  EXPECT_EQ(merge(usd, {.willingness_to_pay = 2}),
            (Policy{.willingness_to_pay = 2, .max_cost_usd = 1}));
  EXPECT_EQ(merge({.lambda = 0.5}, usd), usd);
  // A policy without a trade-off leaves it.
  EXPECT_EQ(merge(usd, {.min_quality = 0.5}).willingness_to_pay, 0.01);
}

TEST(Merge, IsAssociativeAndHasAnIdentity) {
  const std::vector<Policy> policies = {
      {},
      {.objective = Objective::kUsd, .willingness_to_pay = 0.01},
      {.lambda = 0.5, .continuous = true, .cap = {.margin = 0.5}},
      {.allow = {{"a", "b"}}, .continuous = false, .cap = {.minimum = 3, .unlimited = 9}}};
  for (const Policy& a : policies) {
    EXPECT_EQ(merge(a, {}), a);
    EXPECT_EQ(merge({}, a), a);
    for (const Policy& b : policies) {
      for (const Policy& c : policies) {
        EXPECT_EQ(merge(merge(a, b), c), merge(a, merge(b, c)));
      }
    }
  }
}

TEST(PolicySchema, ListsEverySettingWithItsRange) {
  const auto properties = nlohmann::json::parse(policy_schema())["properties"];
  for (const Setting& setting : settings()) {
    std::string pointer = "/" + std::string(setting.name);
    if (const auto dot = pointer.find('.'); dot != pointer.npos) {
      pointer.replace(dot, 1, "/properties/");
    }
    EXPECT_TRUE(properties.contains(nlohmann::json::json_pointer(pointer))) << setting.name;
  }
  EXPECT_EQ(properties["lambda"]["maximum"], 1);
  EXPECT_EQ(properties["willingness_to_pay"]["exclusiveMinimum"], 0);
  EXPECT_EQ(properties["max_output_tokens"]["type"], "integer");
  EXPECT_THAT(properties["objective"]["enum"], IsSupersetOf({"usd", "best"}));
}

// R2ROUTER_UPDATE=1 writes the file instead.
TEST(PolicySchema, IsTheOneInConfig) {
  const std::string file = std::string(R2ROUTER_SOURCE_DIR) + "/config/policy.schema.json";
  if (std::getenv("R2ROUTER_UPDATE") != nullptr) testing::put_file(file, policy_schema());
  EXPECT_EQ(testing::read_file(file), policy_schema())
      << "out of date: run R2ROUTER_UPDATE=1 r2router_tests --gtest_filter='PolicySchema*'";
}

}  // namespace
}  // namespace r2router
