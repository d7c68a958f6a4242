#include "r2router/policy.h"

#include <filesystem>
#include <random>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/decisions.h"
#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::error_of;
using testing::expect_error;

TEST(Policy, EveryOptionIsReadBackAsItWasWritten) {
  std::mt19937_64 random(71);
  for (int i = 0; i < 500; ++i) {
    RouteOptions policy = testing::random_options(random);
    if (random() % 2 == 0) policy.allow = {"a*", "b"};
    if (random() % 2 == 0) policy.deny = {"ü\"?"};
    if (random() % 2 == 0) policy.token_floor = 2.5;
    if (random() % 2 == 0) policy.risk_aversion = 0.5;
    if (random() % 2 == 0) policy.cap = {};
    policy.input_tokens.reset();
    policy.max_input_tokens.reset();
    const std::string json = to_json(policy);
    const RouteOptions read = parse_policy(json);
    EXPECT_EQ(read.objective, policy.objective);
    EXPECT_EQ(read.lambda, policy.lambda);
    EXPECT_EQ(read.willingness_to_pay, policy.willingness_to_pay);
    EXPECT_EQ(read.allow, policy.allow);
    EXPECT_EQ(read.deny, policy.deny);
    EXPECT_EQ(read.available_only, policy.available_only);
    EXPECT_EQ(read.token_floor, policy.token_floor);
    EXPECT_EQ(read.rules, policy.rules);
    EXPECT_EQ(read.min_quality, policy.min_quality);
    EXPECT_EQ(read.quality_fraction, policy.quality_fraction);
    EXPECT_EQ(read.risk_aversion, policy.risk_aversion);
    EXPECT_EQ(read.max_cost_usd, policy.max_cost_usd);
    EXPECT_EQ(read.max_output_tokens, policy.max_output_tokens);
    EXPECT_EQ(read.max_latency_ms, policy.max_latency_ms);
    EXPECT_EQ(read.continuous, policy.continuous);
    EXPECT_EQ(read.monotone, policy.monotone);
    EXPECT_EQ(read.cap, policy.cap);
    EXPECT_EQ(to_json(read), json);
  }
}

TEST(Policy, ACalibrationStandsBesideWhatItFound) {
  RouteOptions base{.lambda = 0.9, .max_cost_usd = 0.01};
  Calibration calibration{.target = {CalibrationTarget::Kind::kCost, 0.00005},
                          .setting = {0.002, 0.001, 0.003}};
  const std::string json = to_json(base, calibration);
  const RouteOptions policy = parse_policy(json);
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
  calibration.kind = CalibratedSetting::kQualityFraction;
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
  const auto expect_bad = [](const std::string& json, const std::string& pointer) {
    const Error error = error_of([&] { parse_policy(json, "p.json"); });
    EXPECT_EQ(error.code(), ErrorCode::kBadConfig) << error.what();
    EXPECT_EQ(error.where().pointer, pointer) << error.what();
    EXPECT_EQ(error.where().file, "p.json");
  };
  expect_bad("[]", "");
  expect_bad(R"({"max_cost": 1})", "/max_cost");
  expect_bad(R"({"objective": "worst"})", "/objective");
  expect_bad(R"({"lambda": "0.5"})", "/lambda");
  expect_bad(R"({"max_output_tokens": 0})", "/max_output_tokens");
  expect_bad(R"({"allow": "a"})", "/allow");
  expect_bad(R"({"allow": [1]})", "/allow/0");
  expect_bad(R"({"cap": {"min": 1}})", "/cap/min");
  expect_bad(R"({"continuous": 1})", "/continuous");
  expect_bad(R"({"calibration": 1})", "/calibration");
  const testing::TemporaryFolder folder;
  expect_error(ErrorCode::kNotFound, "none.json", [&] { load_policy(folder / "none.json"); });
}

}  // namespace
}  // namespace r2router
