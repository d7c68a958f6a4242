#include "r2router/policy.h"

#include <cmath>
#include <filesystem>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/eval/calibrate.h"

#include "support/decisions.h"
#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;

TEST(Policy, EverySettingIsReadBackAsItWasWritten) {
  std::mt19937_64 random(71);
  for (int i = 0; i < 500; ++i) {
    Policy policy = testing::random_options(random).policy;
    if (random() % 2 == 0) policy.allow = {{"a*", "b"}};
    if (random() % 2 == 0) policy.deny = {{"ü\"?"}};
    if (random() % 2 == 0) policy.token_floor = 2.5;
    if (random() % 2 == 0) policy.risk_aversion = 0.5;
    if (random() % 2 == 0) policy.cap = {};
    if (random() % 2 == 0) policy.cap.margin.reset();
    const std::string json = to_json(policy);
    EXPECT_EQ(parse_policy(json), policy) << json;
    EXPECT_EQ(to_json(parse_policy(json)), json);
  }
  EXPECT_EQ(to_json(Policy{}), "{}\n");
  EXPECT_EQ(
      to_json(Policy{.lambda = 0.5, .deny = {{"a"}}, .cap = {.minimum = 20}}),
      "{\n  \"lambda\": 0.5,\n  \"deny\": [\n    \"a\"\n  ],\n  \"cap\": {\n    \"minimum\": 20\n"
      "  }\n}\n");
}

TEST(Policy, IsWrittenOnlyIfItCanBeRead) {
  expect_error(ErrorCode::kInvalidArgument, "max_cost_usd is inf: expected a number of USD",
               [] { to_json(Policy{.max_cost_usd = INFINITY}); });
  expect_error(ErrorCode::kInvalidArgument, "not UTF-8",
               [] { to_json(Policy{.deny = {{"\xFF"}}}); });
}

TEST(Policy, ACalibrationIsWrittenWithWhatItFound) {
  const Policy base{.lambda = 0.9, .max_cost_usd = 0.01};
  eval::Calibration calibration{.target = {eval::CalibrationTarget::Kind::kCost, 0.00005},
                                .setting = {0.002, 0.001, 0.003}};
  const std::string json = to_json(base, calibration);
  const Policy policy = parse_policy(json);
  EXPECT_EQ(policy.objective, Objective::kUsd);
  EXPECT_EQ(policy.willingness_to_pay, 0.002);
  EXPECT_EQ(policy.max_cost_usd, 0.01);
  EXPECT_FALSE(policy.lambda.has_value());
  const auto parsed = nlohmann::json::parse(json);
  EXPECT_EQ(parsed["calibration"]["target"]["cost_usd"], 0.00005);
  EXPECT_EQ(parsed["calibration"]["setting"]["high"], 0.003);
  EXPECT_EQ(parsed["calibration"]["figures"], "predicted");
  EXPECT_FALSE(parsed["calibration"].contains("predicted"));
  calibration.realised = true;
  calibration.predicted = {.cost_usd = 0.00004, .quality = 0.5};
  const auto realised = nlohmann::json::parse(to_json(base, calibration))["calibration"];
  EXPECT_EQ(realised["figures"], "realised");
  EXPECT_EQ(realised["predicted"]["cost_usd"], 0.00004);
  EXPECT_EQ(realised["predicted"]["quality"], 0.5);
  calibration.kind = eval::CalibratedSetting::kQualityFraction;
  EXPECT_EQ(parse_policy(to_json(base, calibration)).quality_fraction, 0.002);
}

TEST(Policy, IsFoundByPathOrElseByNameInTheCheckpointsFolder) {
  const testing::TemporaryFolder folder;
  const std::string checkpoint = folder / "checkpoint";
  std::filesystem::create_directories(checkpoint + "/policies");
  for (const char* name : {"good.json", "better.json", "b-2.json", "notes.txt", "no name.json"}) {
    testing::put_file(checkpoint + "/policies/" + name, "{}");
  }
  EXPECT_EQ(named_policy_path("good", checkpoint), checkpoint + "/policies/good.json");
  EXPECT_EQ(find_policy("good", checkpoint), named_policy_path("good", checkpoint));
  EXPECT_EQ(find_policy("b-2", checkpoint), named_policy_path("b-2", checkpoint));
  EXPECT_EQ(find_policy("/dev/null", checkpoint), "/dev/null");
  // A file that is there is meant, whatever its name; a folder is not a file.
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  std::filesystem::create_directory("good");
  testing::put_file("better", "{}");
  EXPECT_EQ(find_policy("good", checkpoint), named_policy_path("good", checkpoint));
  EXPECT_EQ(find_policy("better", checkpoint), "better");
  std::filesystem::current_path(before);

  expect_error(ErrorCode::kNotFound, checkpoint + "/policies; there are: better, b-2, good",
               [&] { find_policy("bette", checkpoint); });
  expect_error(ErrorCode::kNotFound, "there are: good",
               [&] { find_policy("../good", checkpoint); });
  std::filesystem::remove_all(checkpoint + "/policies");
  expect_error(ErrorCode::kNotFound, "/policies, which has none",
               [&] { find_policy("good", checkpoint); });
  expect_error(ErrorCode::kNotFound, "no such file", [&] { find_policy("good", ""); });
  for (const char* bad : {"", "a b", "a/b", "..", "ü", "a.json"}) {
    expect_error(ErrorCode::kInvalidArgument, "expected letters, digits, - and _",
                 [&] { named_policy_path(bad, checkpoint); });
  }
}

TEST(Policy, RefusesWhatItDoesNotKnow) {
  const auto expect_bad = [](const std::string& json, const std::string& pointer,
                             const std::string& message) {
    const Error error = error_of([&] { parse_policy(json, "p.json"); });
    EXPECT_EQ(error.code(), ErrorCode::kBadConfig) << error.what();
    EXPECT_EQ(error.where().pointer, pointer) << error.what();
    EXPECT_EQ(error.where().file, "p.json");
    EXPECT_THAT(error.message(), HasSubstr(message)) << json;
  };
  expect_bad("[]", "", "expected a policy");
  expect_bad(R"({"max_cost": 1})", "/max_cost", "did you mean \"max_cost_usd\"?");
  expect_bad(R"({"cap": {"min": 1}})", "/cap/min", "did you mean \"cap.minimum\"?");
  expect_bad(R"({"cap.margin": 1})", "/cap.margin", "did you mean \"cap\"?");
  expect_bad(R"({"cap": 1})", "/cap", "expected an object");
  expect_bad(R"({"objective": "worst"})", "/objective",
             "found the string \"worst\", expected risk, usd, cheapest or best");
  expect_bad(R"({"lambda": "0.5"})", "/lambda", "expected a number from 0 to 1");
  expect_bad(R"({"lambda": 1.5})", "/lambda", "found the number 1.5, expected a number from 0");
  expect_bad(R"({"lambda": null})", "/lambda", "found null");
  expect_bad(R"({"willingness_to_pay": 0})", "/willingness_to_pay", "more than 0");
  expect_bad(R"({"max_output_tokens": 0})", "/max_output_tokens", "1 or more");
  expect_bad(R"({"max_output_tokens": 20.0})", "/max_output_tokens", "a whole number");
  expect_bad(R"({"max_output_tokens": 4294967296})", "/max_output_tokens", "a whole number");
  expect_bad(R"({"max_output_tokens": 18446744073709551615})", "/max_output_tokens", "whole");
  expect_bad(R"({"allow": "a"})", "/allow", "expected a list of at least one model name");
  expect_bad(R"({"allow": []})", "/allow", "at least one");
  expect_bad(R"({"allow": [1]})", "/allow/0", "expected a string");
  expect_bad(R"({"continuous": 1})", "/continuous", "expected true or false");
  expect_bad(R"({"calibration": 1})", "/calibration", "expected an object");
  const testing::TemporaryFolder folder;
  expect_error(ErrorCode::kNotFound, "none.json", [&] { load_policy(folder / "none.json"); });
}

}  // namespace
}  // namespace r2router
