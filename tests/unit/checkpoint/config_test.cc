#include "r2router/config.h"

#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/errors.h"
#include "support/lexical.h"
#include "support/shared_data.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using io::Json;
using ::testing::ElementsAre;
using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;

/// A native config with every field.
Json full() {
  return Json::parse(R"({
    "format_version": 1, "router_name": "name", "method": "how", "embedding_model": "lexical",
    "embedding_dim": 16, "default_lambda": 0.5,
    "encoder": {"type": "lexical", "dimension": 16, "seed": 7, "idf": true, "fold_digits": true, "square_root": true, "features": [
      {"kind": "words", "min_n": 1, "max_n": 2, "weight": 1.5},
      {"kind": "characters", "min_n": 3, "max_n": 8, "weight": 0.25}]},
    "budget_mode": "hard-cap", "budget_prompt": "at most {budget}", "rules": "corrected",
    "token_floor": 2.5, "token_limits": [300, 20, "unlimited"],
    "models": {
      "zeta": {"openrouter_id": "v/z", "input_price_per_million": 0.25,
               "output_price_per_million": 1, "available": false, "note": "why",
               "time_to_first_token_ms": 150.5, "output_tokens_per_second": 33,
               "context_tokens": 32768},
      "alpha": {"openrouter_id": null, "input_price_per_million": 0,
                "output_price_per_million": 0.1}},
    "training": {"b": 1.50, "a": [1e3, {}]}})");
}

/// The least that a released config needs.
Json released() {
  return Json::parse(R"({"embedding_dim": 4, "models": {"m": {"input_price_per_million": 1,
    "output_price_per_million": 2, "checkpoint_dir": "m_ridge"}}})");
}

Config parse(const Json& json) { return parse_config(json.dump()); }

/// The config with the value at `pointer` put in; without a value, taken out.
Json with(Json json, const std::string& pointer, const Json& value) {
  json[Json::json_pointer(pointer)] = value;
  return json;
}
Json without(Json json, const std::string& parent, const std::string& name) {
  json[Json::json_pointer(parent)].erase(name);
  return json;
}

void expect_bad(const Json& json, const std::string& pointer, const std::string& part) {
  const Error error = error_of([&] { parse(json); });
  EXPECT_EQ(to_string(error.code()), to_string(ErrorCode::kBadConfig)) << error.what();
  EXPECT_EQ(error.where().pointer, pointer) << error.what();
  EXPECT_EQ(error.where().file, "config.json");
  EXPECT_THAT(error.what(), HasSubstr(part));
}

TEST(Config, ReadsEveryField) {
  const Config config = parse(full());
  EXPECT_EQ(config.format_version, 1U);
  EXPECT_EQ(config.router_name, "name");
  EXPECT_EQ(config.method, "how");
  EXPECT_EQ(config.embedding_model, "lexical");
  EXPECT_EQ(config.embedding_dim, 16U);
  EXPECT_EQ(config.default_lambda(), 0.5);
  EXPECT_EQ(testing::lexical(config),
            (LexicalEncoderSpec{.dimension = 16,
                                .seed = 7,
                                .features = {{LexicalFeatures::Kind::kWords, 1, 2, 1.5F},
                                             {LexicalFeatures::Kind::kCharacters, 3, 8, 0.25F}},
                                .fold_digits = true,
                                .square_root = true,
                                .has_idf = true}));
  EXPECT_EQ(config.budget_mode, BudgetMode::kHardCap);
  EXPECT_EQ(config.budget_prompt, "at most {budget}");
  EXPECT_EQ(config.policy.rules, DecisionRules::kCorrected);
  EXPECT_EQ(config.policy.token_floor, 2.5);
  EXPECT_THAT(config.token_limits, ElementsAre(Budget(300), Budget(20), Budget::unlimited()));
  EXPECT_THAT(config.models,
              ElementsAre(ModelSpec{"zeta", "v/z", {0.25, 1}, false, "why", 150.5, 33, 32768},
                          ModelSpec{"alpha", "", {0, 0.1}, true, ""}));
  EXPECT_TRUE(config.checkpoint_dirs.empty());
}

TEST(Config, AbsentFieldsHaveTheHeadersDefaults) {
  const Config config = parse(released());
  EXPECT_EQ(config.format_version, 0U);
  EXPECT_EQ(config.router_name, "R2-Router");
  EXPECT_EQ(config.default_lambda(), 0.99999);
  EXPECT_TRUE(config.token_limits.empty());
  EXPECT_FALSE(config.encoder.has_value());
  EXPECT_EQ(config.budget_mode, BudgetMode::kPrompted);
  EXPECT_EQ(config.policy, Policy{});
  EXPECT_EQ(config.training, "");
  EXPECT_THAT(config.checkpoint_dirs, ElementsAre("m_ridge"));
  EXPECT_TRUE(config.models[0].available);
}

TEST(Config, ABudgetPromptIsThereWhenItIsNeeded) {
  const auto prompt = [](const Json& json) { return parse(json).budget_prompt; };
  EXPECT_THAT(prompt(released()), HasSubstr("{budget} tokens"));
  EXPECT_EQ(prompt(with(released(), "/budget_mode", "hard-cap")), "");
  EXPECT_EQ(prompt(with(released(), "/budget_prompt", "")), "");
  expect_bad(with(released(), "/budget_prompt", "be brief"), "/budget_prompt", "{budget}");
}

TEST(Config, ReadsTheReleasedConfig) {
  const std::string path = testing::shared_path("released/config.json");
  R2ROUTER_SKIP_WITHOUT(path);
  const Config config = parse_config(testing::read_file(path), path);
  EXPECT_EQ(config.format_version, 0U);
  EXPECT_EQ(config.embedding_model, "Qwen/Qwen3-0.6B");
  EXPECT_EQ(config.embedding_dim, 1024U);
  ASSERT_EQ(config.models.size(), 11U);
  EXPECT_EQ(config.models[0].name, "Qwen3-235B-A22B-Instruct-2507");
  EXPECT_EQ(config.models[0].prices.input, 0.071);
  EXPECT_EQ(config.models[10].name, "gemma-3-270m-it");
  EXPECT_FALSE(config.models[10].available);
  EXPECT_EQ(config.checkpoint_dirs[1], "GLM-4.5-Air_ridge_alpha10.0");
  ASSERT_EQ(config.token_limits.size(), 16U);
  EXPECT_EQ(config.token_limits[14], Budget(4000));
  EXPECT_EQ(config.token_limits[15], Budget::unlimited());
}

TEST(Config, ReadsTheSpecificationsExample) {
  const std::string text =
      testing::read_file(std::string(R2ROUTER_SOURCE_DIR) + "/checkpoints/FORMAT.md");
  const std::string fence = "```json\n";
  const std::size_t start = text.find(fence) + fence.size();
  const Config config = parse_config(text.substr(start, text.find("```", start) - start));
  EXPECT_EQ(config.models.size(), 2U);
  EXPECT_TRUE(testing::lexical(config).has_idf);
  // The default instruction is quoted there word for word.
  EXPECT_THAT(text, HasSubstr("\n> " + parse(released()).budget_prompt + "\n"));
}

TEST(Config, WrongValuesAreNamedByTheirPointer) {
  expect_bad(Json::array(), "", "found an array of 0, expected a config");
  expect_bad(without(full(), "", "embedding_dim"), "/embedding_dim", "missing");
  for (const Json& bad : {Json(0), Json(65537), Json(-1), Json(16.0), Json("16"), Json()}) {
    expect_bad(with(full(), "/embedding_dim", bad), "/embedding_dim", "from 1 to 65536");
    expect_bad(with(full(), "/encoder/dimension", bad), "/encoder/dimension", "from 1 to 65536");
  }
  for (const Json& bad : {Json(-0.1), Json(1.1), Json("0.5"), Json()}) {
    expect_bad(with(full(), "/default_lambda", bad), "/default_lambda", "a number from 0 to 1");
  }
  for (const char* text : {"router_name", "method", "embedding_model", "budget_prompt"}) {
    expect_bad(with(full(), std::string("/") + text, 3), std::string("/") + text, "a string");
  }
  expect_bad(with(full(), "/budget_mode", "hard"), "/budget_mode", R"("prompted" or "hard-cap")");
  expect_bad(with(full(), "/rules", true), "/rules", "expected reference or corrected");
  expect_bad(with(full(), "/token_floor", -1), "/token_floor", "a number of tokens from 0");
  expect_bad(with(full(), "/training", "text"), "/training", "expected an object");
}

TEST(Config, WrongBudgetsAreNamed) {
  expect_bad(with(full(), "/token_limits", 20), "/token_limits", "an array of budgets");
  for (const Json& bad : {Json(0), Json(-5), Json(1.5), Json("all"), Json(4294967295), Json()}) {
    expect_bad(with(full(), "/token_limits/1", bad), "/token_limits/1", "\"unlimited\"");
  }
  expect_bad(with(full(), "/token_limits/1", 300), "/token_limits/1", "300 occurs twice");
  expect_bad(with(full(), "/token_limits/0", "unlimited"), "/token_limits/2", "occurs twice");
}

TEST(Config, WrongModelsAreNamed) {
  expect_bad(without(full(), "", "models"), "/models", "missing");
  expect_bad(with(full(), "/models", Json::object()), "/models", "at least one model");
  expect_bad(with(full(), "/models", Json::array({1})), "/models", "a member for each model");
  expect_bad(with(full(), "/models/zeta", 1), "/models/zeta", "expected an object");
  expect_bad(with(full(), "/models/", full()["models"]["zeta"]), "/models/", "name is empty");
  for (const char* price : {"input_price_per_million", "output_price_per_million"}) {
    const std::string pointer = std::string("/models/alpha/") + price;
    expect_bad(without(full(), "/models/alpha", price), pointer, "this field is missing");
    for (const Json& bad : {Json(-0.1), Json("0.1"), Json(1e10), Json(true), Json()}) {
      expect_bad(with(full(), pointer, bad), pointer, "USD per million tokens");
    }
  }
  expect_bad(with(full(), "/models/zeta/available", "yes"), "/models/zeta/available", "true or");
  expect_bad(with(full(), "/models/zeta/openrouter_id", 1), "/models/zeta/openrouter_id", "string");
  expect_bad(with(full(), "/models/zeta/time_to_first_token_ms", -1),
             "/models/zeta/time_to_first_token_ms", "milliseconds, from 0");
  expect_bad(with(full(), "/models/zeta/output_tokens_per_second", 0),
             "/models/zeta/output_tokens_per_second", "tokens per second, from 1e-9");
  expect_bad(with(full(), "/models/zeta/context_tokens", 0.5), "/models/zeta/context_tokens",
             "a whole number from 1");
  expect_bad(with(full(), "/models/zeta/note", 1), "/models/zeta/note", "a string or null");
}

TEST(Config, AModelThatOccursTwiceIsAnError) {
  const std::string model =
      R"({"input_price_per_million": 1, "output_price_per_million": 1, "checkpoint_dir": "m"})";
  const Error error = error_of([&] {
    parse_config(R"({"embedding_dim": 4, "models": {"m": )" + model + R"(, "m": )" + model + "}}");
  });
  EXPECT_EQ(error.code(), ErrorCode::kBadConfig);
  EXPECT_EQ(error.where().pointer, "/models/m");
}

TEST(Config, CheckpointDirsCannotLeaveTheFolder) {
  const std::string pointer = "/models/m/checkpoint_dir";
  for (const char* bad : {"", ".", "..", "../x", "/etc", "a/b", "a\\b"}) {
    const Error error = error_of([&] { parse(with(released(), pointer, bad)); });
    EXPECT_EQ(to_string(error.code()), to_string(ErrorCode::kUnsafe)) << bad;
    EXPECT_EQ(error.where().pointer, pointer);
  }
  const Json nul = std::string("a\0b", 3);
  EXPECT_EQ(error_of([&] { parse(with(released(), pointer, nul)); }).code(), ErrorCode::kUnsafe);
  EXPECT_NO_THROW(parse(with(released(), pointer, "..a..b")));
  expect_bad(without(released(), "/models/m", "checkpoint_dir"), pointer, "missing");
  // Of no use in the native format, where it may be absent, but no place for a path either.
  const Json native = with(full(), "/models/zeta/checkpoint_dir", "../x");
  EXPECT_EQ(error_of([&] { parse(native); }).code(), ErrorCode::kUnsafe);
}

TEST(Config, WrongEncodersAreNamed) {
  expect_bad(with(full(), "/encoder", Json()), "/encoder", "expected an object");
  expect_bad(with(full(), "/encoder/type", "bert"), "/encoder/type", "expected \"lexical\"");
  expect_bad(without(full(), "/encoder", "type"), "/encoder/type", "missing");
  expect_bad(with(full(), "/encoder/dimension", 17), "/encoder/dimension", "16, as in /embedding");
  expect_bad(with(full(), "/encoder/seed", -1), "/encoder/seed", "a whole number");
  for (const std::string flag : {"fold_digits", "square_root", "idf"}) {
    expect_bad(with(full(), "/encoder/" + flag, 1), "/encoder/" + flag, "true or false");
  }
  expect_bad(with(full(), "/encoder/features", Json::array()), "/encoder/features", "1 to 8 ");
  expect_bad(with(full(), "/encoder/features", Json(9, full()["encoder"]["features"][0])),
             "/encoder/features", "1 to 8 ");
  const std::string first = "/encoder/features/0";
  expect_bad(with(full(), first + "/kind", "letters"), first + "/kind", "\"characters\"");
  expect_bad(with(full(), first + "/min_n", 0), first + "/min_n", "from 1 to 8");
  expect_bad(with(full(), first + "/max_n", 9), first + "/max_n", "from 1 to 8");
  expect_bad(with(full(), first + "/min_n", 3), first + "/max_n", "from 3 to 8");
  for (const Json& bad : {Json(0), Json(-1), Json(1e39), Json(1e-39), Json("1")}) {
    expect_bad(with(full(), first + "/weight", bad), first + "/weight", "a positive number");
  }
}

/// A native config whose encoder recognises two topics.
Json with_topics() {
  Json json = with(full(), "/format_version", 2);
  json["embedding_dim"] = 18;
  return with(json, "/encoder/topics", {"law", "history: ünï"});
}

TEST(Config, TopicsStandBehindTheFeatures) {
  const Config config = parse(with_topics());
  EXPECT_EQ(config.format_version, 2U);
  EXPECT_THAT(testing::lexical(config).topics, ElementsAre("law", "history: ünï"));
  EXPECT_EQ(testing::lexical(config).dimension, 16U);
  EXPECT_EQ(testing::lexical(config).embedding_dimension(), 18U);
  EXPECT_EQ(parse_config(to_json(config)).encoder, config.encoder);
}

TEST(Config, WrongTopicsAreNamed) {
  const std::string topics = "/encoder/topics";
  expect_bad(with(with_topics(), topics, "law"), topics, "an array of topics");
  expect_bad(with(with_topics(), topics, {"law", 1}), topics + "/1", "a topic's name");
  expect_bad(with(with_topics(), topics, {"law", "law"}), topics + "/1", "\"law\" occurs twice");
  expect_bad(with(with_topics(), topics, Json::array({"law"})), topics, "2 to 1024 topics");
  Json many = Json::array();
  for (int i = 0; i < 1025; ++i) many.push_back(std::to_string(i));
  expect_bad(with(with_topics(), topics, many), topics, "2 to 1024 topics");
  expect_bad(with(with_topics(), "/encoder/dimension", 18), "/encoder/dimension",
             "a number that makes 18, /embedding_dim, with the 2 topics");
  expect_bad(with(with_topics(), "/format_version", 1), "/encoder", "set /format_version to 2");
}

TEST(Config, IsWrittenInTheLowestVersionThatHasWhatItNeeds) {
  EXPECT_EQ(Json::parse(to_json(parse(full())))["format_version"], 1);
  EXPECT_EQ(Json::parse(to_json(parse(with_topics())))["format_version"], 2);
  // A config of the later version that needs nothing of it.
  EXPECT_EQ(Json::parse(to_json(parse(with(full(), "/format_version", 2))))["format_version"], 1);
}

TEST(Config, ALaterFormatVersionNamesBothVersions) {
  expect_bad(with(full(), "/format_version", 6), "/format_version",
             "format version 6, expected at most 5");
  expect_bad(with(full(), "/format_version", -1), "/format_version", "a whole number");
  expect_bad(with(full(), "/format_version", "1"), "/format_version", "a whole number");
  EXPECT_EQ(parse(with(released(), "/format_version", 0)).format_version, 0U);
}

TEST(Config, UnknownFieldsPassAndMisspellingsDoNot) {
  Json json = with(full(), "/comment", "free");
  json["models"]["zeta"]["name"] = "Zeta";
  json["models"]["zeta"]["context_length"] = 8192;
  json["encoder"]["stemming"] = false;
  EXPECT_EQ(parse(json).models, parse(full()).models);

  const Json misspelt = with(without(full(), "", "token_floor"), "/token_flor", 2);
  expect_bad(misspelt, "/token_flor", "looks like \"token_floor\"");
  expect_bad(with(without(full(), "", "format_version"), "/format_verison", 1), "/format_verison",
             "looks like \"format_version\"");
  Json price = without(full(), "/models/alpha", "input_price_per_million");
  price["models"]["alpha"]["input_price_per_milion"] = 1;
  expect_bad(price, "/models/alpha/input_price_per_milion", "\"input_price_per_million\"");
  Json weight = without(full(), "/encoder/features/0", "weight");
  weight["encoder"]["features"][0]["wieght"] = 1;
  expect_bad(weight, "/encoder/features/0/wieght", "\"weight\"");
}

TEST(Config, WritingAndReadingGivesTheSameBack) {
  const Config config = parse(full());
  const std::string text = to_json(config);
  EXPECT_EQ(to_json(parse_config(text)), text);
  // Against the text itself, as another JSON reader sees it.
  Json expected = full();
  expected["models"]["alpha"]["available"] = true;
  EXPECT_EQ(nlohmann::json(Json::parse(text)), nlohmann::json(expected));
  EXPECT_EQ(Json::parse(text)["models"].begin().key(), "zeta");  // order kept
}

TEST(Config, WritesTheNativeFormat) {
  const Json json = Json::parse(to_json(parse(released())));
  EXPECT_EQ(json["format_version"], 1);
  EXPECT_FALSE(json["models"]["m"].contains("checkpoint_dir"));
  EXPECT_EQ(json["rules"], "reference");
}

TEST(Config, AnInstructionNeedsFormatVersion2) {
  Json json = with(full(), "/models/zeta/instruction", "Be brief.");
  json["models"]["zeta"]["instruction_tokens"] = 4;
  expect_bad(json, "/models", "format version 1 does not have; set /format_version to 2");
  json["format_version"] = 2;
  const Config config = parse(json);
  EXPECT_EQ(config.models[0].instruction, "Be brief.");
  EXPECT_EQ(config.models[0].instruction_tokens, 4u);
  const Json written = Json::parse(to_json(config));
  EXPECT_EQ(written["format_version"], 2);
  EXPECT_EQ(written["models"]["zeta"]["instruction"], "Be brief.");
  EXPECT_EQ(parse(written).models, config.models);
  json["models"]["zeta"]["instruction_tokens"] = -1;
  expect_bad(json, "/models/zeta/instruction_tokens", "from 0 to 1000000");
}

TEST(Config, KeepsWhatAModelRejectsAndRequires) {
  Json json = full();
  json["models"]["zeta"]["omit"] = {"temperature", "max_tokens"};
  json["models"]["zeta"]["request"] = {{"reasoning_effort", "low"}, {"seed", 7}};
  const Config config = parse(json);
  EXPECT_EQ(config.models[0].omit, (std::vector<std::string>{"temperature", "max_tokens"}));
  EXPECT_EQ(Json::parse(config.models[0].request), json["models"]["zeta"]["request"]);
  EXPECT_EQ(config.models[1].omit, std::vector<std::string>());
  EXPECT_EQ(config.models[1].request, "");
  const Json written = Json::parse(to_json(config));
  EXPECT_EQ(written["format_version"], 1) << "a reader that ignores them still decides correctly";
  EXPECT_EQ(written["models"]["zeta"]["omit"], json["models"]["zeta"]["omit"]);
  EXPECT_EQ(parse(written).models, config.models);
  EXPECT_EQ(parse(with(full(), "/models/zeta/request", Json::object())).models[0].request, "");

  expect_bad(with(full(), "/models/zeta/omit", {"max_tokens", "max_completion_tokens"}),
             "/models/zeta/omit", "the other carries the cap");
  expect_bad(with(full(), "/models/zeta/request", {{"messages", Json::array()}}),
             "/models/zeta/request/messages", "the router sets");
  Json both = with(full(), "/models/zeta/omit", {"top_p"});
  both["models"]["zeta"]["request"] = {{"top_p", 1}};
  expect_bad(both, "/models/zeta/request/top_p", "also in");

  Config handmade = config;
  handmade.models[0].request = "[1]";
  expect_error(ErrorCode::kInvalidArgument, "expected a JSON object", [&] { to_json(handmade); });
}

TEST(Config, KeepsTheSpreadOfLengths) {
  EXPECT_EQ(parse(full()).length_sigma, kDefaultLengthSigma);
  EXPECT_FALSE(Json::parse(to_json(parse(full()))).contains("length_sigma"));
  for (const double sigma : {0.25, 4.0}) {
    const Config config = parse(with(full(), "/length_sigma", sigma));
    EXPECT_EQ(config.length_sigma, sigma);
    const Json written = Json::parse(to_json(config));
    EXPECT_EQ(written["length_sigma"], sigma);
    EXPECT_EQ(written["format_version"], 1) << "a reader that ignores it still decides correctly";
  }
  for (const Json& bad : {Json(0), Json(-1), Json(4.1), Json("1"), Json()}) {
    expect_bad(with(full(), "/length_sigma", bad), "/length_sigma", "above 0, at most 4");
  }
  expect_bad(with(full(), "/lenght_sigma", 1), "/lenght_sigma", "looks like \"length_sigma\"");
}

TEST(Config, LengthCurvesNeedFormatVersion2) {
  expect_bad(with(full(), "/length_points", 20), "/length_points",
             "found length curves, which format version 1 does not have");
  const Json json = with(with(full(), "/format_version", 2), "/length_points", 20);
  EXPECT_EQ(parse(json).length_points, 20u);
  const Json written = Json::parse(to_json(parse(json)));
  EXPECT_EQ(written["length_points"], 20);
  EXPECT_EQ(written["format_version"], 2);
  EXPECT_FALSE(Json::parse(to_json(parse(full()))).contains("length_points"));
  for (const Json& bad : {Json(1), Json(1001), Json(2.5), Json("20")}) {
    expect_bad(with(json, "/length_points", bad), "/length_points", "expected");
  }
}

TEST(Config, NamesItsPredictorInTheVersionThatHasThem) {
  EXPECT_EQ(parse(full()).predictor, PredictorKind::kRidge);
  for (const char* kind : {"knn", "mlp"}) {
    const Json json = with(with(full(), "/format_version", 2), "/predictor", kind);
    const Config config = parse(json);
    EXPECT_EQ(to_string(config.predictor), kind);
    const Json written = Json::parse(to_json(config));
    EXPECT_EQ(written["predictor"], kind);
    EXPECT_EQ(written["format_version"], 2);
    expect_bad(with(full(), "/predictor", kind), "/predictor", "format version 1 does not have");
  }
  // What older readers can read is written for them.
  const Json ridge = with(with(full(), "/format_version", 2), "/predictor", "ridge");
  const Json written = Json::parse(to_json(parse(ridge)));
  EXPECT_EQ(written["format_version"], 1);
  EXPECT_FALSE(written.contains("predictor"));

  expect_bad(with(full(), "/predictor", "lasso"), "/predictor",
             "expected \"ridge\" or \"knn\" or \"mlp\"");
  expect_bad(with(full(), "/predictor", 1), "/predictor", "found the number 1");
  expect_bad(with(full(), "/predictr", "knn"), "/predictr", "looks like \"predictor\"");
  expect_error(ErrorCode::kInvalidArgument, "expected one of: ridge, knn, mlp",
               [] { parse_predictor_kind("tree"); });
}

TEST(Config, KeepsNumbersToTheLastBit) {
  Config config = parse(full());
  config.policy.lambda = 0.1 + 0.2;
  config.models[0].prices.input = 1.0 / 3;
  testing::lexical(config).seed = UINT64_MAX;
  testing::lexical(config).features[0].weight = 0.1F;
  const Config again = parse_config(to_json(config));
  EXPECT_EQ(again.default_lambda(), config.default_lambda());
  EXPECT_EQ(again.models, config.models);
  EXPECT_EQ(again.encoder, config.encoder);
}

TEST(Config, APolicyHoldsTheOtherSettings) {
  Config config = parse(full());
  config.policy.max_cost_usd = 0.25;
  config.policy.deny = {{"alpha"}};
  config.policy.cap.margin = 0.5;
  const Json json = Json::parse(to_json(config));
  EXPECT_EQ(json["format_version"], 3);
  EXPECT_EQ(json["default_lambda"], 0.5);
  EXPECT_EQ(json["policy"].dump(),
            R"({"max_cost_usd":0.25,"deny":["alpha"],"cap":{"margin":0.5}})");
  EXPECT_EQ(parse(json).policy, config.policy);
  // Older readers would not keep to it.
  expect_bad(with(json, "/format_version", 2), "/policy", "set /format_version to 3");
  expect_bad(with(json, "/policy", Json{{"max_cost", 1}}), "/policy/max_cost", "did you mean");
  expect_bad(with(json, "/policy", Json{{"max_cost_usd", -1}}), "/policy/max_cost_usd",
             "0 or more");
  expect_bad(with(json, "/policy", Json{{"lambda", 0.5}}), "/policy/lambda", "/default_lambda");
  expect_bad(with(json, "/policy", Json{{"rules", "corrected"}}), "/policy/rules", "/rules");
  expect_bad(with(json, "/policy", 1), "/policy", "an object");
  config.policy = {.max_cost_usd = -1};
  testing::expect_error(ErrorCode::kInvalidArgument, "max_cost_usd is -1",
                        [&] { to_json(config); });
}

TEST(Config, ProvenanceIsCarriedThroughAsText) {
  // Spellings that reading and writing as JSON would change.
  const std::string provenance =
      R"({"z" : 1.50, "a":[1E2, "]}\"\\", {"\u0061": {}}], "big": 123456789012345678901})";
  Json base = released();
  std::string text = base.dump();
  text.pop_back();
  const std::string before = text + ", \"training\" :\n " + provenance + " , \"later\": [{}]}";
  const Config config = parse_config(before);
  EXPECT_EQ(config.training, provenance);
  EXPECT_EQ(parse_config(to_json(config)).training, provenance);
  // The same field behind an escaped name and a byte order mark.
  const std::string after = "\xEF\xBB\xBF" + text + R"(,"tr\u0061ining":)" + provenance + "}";
  EXPECT_EQ(parse_config(after).training, provenance);
}

TEST(Config, RefusesToWriteWhatCannotBeRead) {
  const auto expect = [](ErrorCode code, const std::string& part, auto&& change) {
    Config config = parse(full());
    change(config);
    expect_error(code, part, [&] { to_json(config); });
  };
  expect(ErrorCode::kInvalidArgument, "two models of the pool are named \"zeta\"",
         [](Config& config) { config.models[1].name = "zeta"; });
  expect(ErrorCode::kInvalidArgument, "not UTF-8",
         [](Config& config) { config.models[1].name = "\xFF"; });
  expect(ErrorCode::kInvalidArgument, "Config::training",
         [](Config& config) { config.training = "{} x"; });
  expect(ErrorCode::kInvalidArgument, "an object", [](Config& config) { config.training = "[]"; });
  expect(ErrorCode::kBadConfig, "/models/zeta/input_price_per_million", [](Config& config) {
    config.models[0].prices.input = std::numeric_limits<double>::quiet_NaN();
  });
  expect(ErrorCode::kBadConfig, "/models/: a model's name is empty",
         [](Config& config) { config.models[0].name = ""; });
  expect(ErrorCode::kBadConfig, "/encoder/dimension",
         [](Config& config) { testing::lexical(config).dimension = 3; });
  expect(ErrorCode::kBadConfig, "/token_limits/1",
         [](Config& config) { config.token_limits[1] = config.token_limits[0]; });
}

// --- apply_pool()

Config of_models(const Pool& models) {
  Config config;
  config.models = models;
  return config;
}

TEST(ApplyPool, GivesEachModelWhatThePoolSaysOfIt) {
  Config config =
      of_models({{"a", "old/a", {1, 2}, true, "old"}, {"b", "old/b", {3, 4}, false, ""}});
  config.policy.lambda = 0.25;
  std::string told;
  apply_pool(config, {{"b", "new/b", {0.5, 6}, true, ""}, {"a", "", {7, 8}, false, "new"}},
             [&](LogLevel, std::string_view message) { told += message; });
  // The checkpoint's order is kept, since its heads follow it.
  EXPECT_THAT(config.models, ElementsAre(ModelSpec{"a", "", {7, 8}, false, "new"},
                                         ModelSpec{"b", "new/b", {0.5, 6}, true, ""}));
  EXPECT_EQ(config.default_lambda(), 0.25);
  EXPECT_EQ(told, "");
}

TEST(ApplyPool, TakesLimitsCapabilitiesAndFamilies) {
  Config config = of_models({{.name = "a", .max_output_tokens = 100, .family = "old"}});
  const ModelSpec given{.name = "a",
                        .max_output_tokens = 200,
                        .capabilities = Capabilities{Capability::kImages},
                        .family = "new",
                        .endpoint = "local",
                        .retires = "2027-01-01"};
  apply_pool(config, {given});
  EXPECT_EQ(config.models[0], given);
  apply_pool(config, {{.name = "a"}});
  EXPECT_EQ(config.models[0], ModelSpec{.name = "a"}) << "what the pool does not say is unknown";
}

TEST(ApplyPool, LeavesAModelTheInstructionThatItsHeadsWereTrainedUnder) {
  Config config = of_models({{.name = "a", .instruction = "Be brief.", .instruction_tokens = 3}});
  apply_pool(config, {{.name = "a", .prices = {.output = 5}, .instruction = "Think."}});
  EXPECT_EQ(config.models[0].prices.output, 5);
  EXPECT_EQ(config.models[0].instruction, "Be brief.");
  EXPECT_EQ(config.models[0].instruction_tokens, 3u);
}

TEST(ApplyPool, TellsWhatOnlyOneOfThemHas) {
  Config config =
      of_models({{"a", "v/a", {1, 2}}, {"b", "v/b", {3, 4}}, {"c", "v/c", {5, 6}, false}});
  std::vector<std::string> told;
  apply_pool(config, {{"d", "v/d", {9, 9}}, {"a", "v/a", {1, 1}}},
             [&](LogLevel, std::string_view message) { told.emplace_back(message); });
  EXPECT_THAT(config.models,
              ElementsAre(ModelSpec{"a", "v/a", {1, 1}}, ModelSpec{"b", "v/b", {3, 4}, false},
                          ModelSpec{"c", "v/c", {5, 6}, false}));
  // c was unavailable before: nothing has become of it.
  EXPECT_THAT(told, ElementsAre(HasSubstr("model b,"), HasSubstr("model d,")));
  EXPECT_NO_THROW(apply_pool(config, {{"a", "v/a", {1, 1}}}));
}

TEST(ApplyPool, RefusesAPoolOfOtherModels) {
  Config config = of_models({{"a", "v/a", {1, 2}}});
  const Pool before = config.models;
  expect_error(ErrorCode::kInvalidArgument, "has no model of the checkpoint (a)", [&] {
    apply_pool(config, {{"A", "v/a", {3, 4}}});
  });
  EXPECT_EQ(config.models, before);
}

}  // namespace
}  // namespace r2router
