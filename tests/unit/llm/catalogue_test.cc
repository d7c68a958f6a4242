#include "llm/catalogue.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/fault_server.h"

namespace r2router::llm {
namespace {

using r2router::testing::answer;
using r2router::testing::error_of;
using r2router::testing::expect_error;
using r2router::testing::FaultServer;
using r2router::testing::service;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(UsdPerMillion, MovesTheDecimalPointOfTheDigitsThemselves) {
  // 0.00000005 · 1e6 is 0.049999999999999996 in floating point.
  EXPECT_EQ(usd_per_million("0.00000005"), 0.05);
  EXPECT_EQ(usd_per_million("0.0000001"), 0.1);
  EXPECT_EQ(usd_per_million("0.000000071"), 0.071);
  EXPECT_EQ(usd_per_million("0"), 0);
  EXPECT_EQ(usd_per_million("0.000015"), 15);
  EXPECT_EQ(usd_per_million("1"), 1e6);
  EXPECT_EQ(usd_per_million("5e-8"), 0.05);
  EXPECT_EQ(usd_per_million("7.1E-08"), 0.071);
  EXPECT_EQ(usd_per_million("1e+1"), 1e7);
  EXPECT_EQ(usd_per_million(".5"), 5e5);
  EXPECT_EQ(usd_per_million("$0.0000003"), 0.3);
  EXPECT_EQ(usd_per_million(" 3E-7\n"), 0.3);
}

TEST(UsdPerMillion, IsNothingForWhatIsNoFixedPrice) {
  for (const char* text : {"-1", "-0.0000001", "", " ", "free", "0.1 x", "$", "$-1", "1e", "1e999",
                           "1e99999999999", "inf", "nan", "0x1", "1,5", "1.2.3", "+1", "1001"}) {
    EXPECT_FALSE(usd_per_million(text)) << '"' << text << '"';
  }
  EXPECT_TRUE(usd_per_million("1000"));  // a thousand dollars a token: the most
}

using Unknown = std::vector<UnknownPrice>;

/// The prices of the one model of a catalogue.
CataloguePrices prices_of(const std::string& body) {
  const Catalogue catalogue = read_catalogue(body);
  EXPECT_EQ(catalogue.models.size(), 1u) << body;
  EXPECT_TRUE(catalogue.models.at(0).prices) << body;
  return catalogue.models.at(0).prices.value_or(CataloguePrices());
}

CataloguePrices prices_of_pricing(const std::string& pricing) {
  return prices_of(R"({"data": [{"id": "v/a", "pricing": )" + pricing + "}]}");
}

TEST(ReadCatalogue, ReadsPricesAndLastDays) {
  const auto models = read_catalogue(R"({"data": [
    {"id": "v/a", "name": "A", "pricing": {"prompt": "0.00000005", "completion": "0.0000002",
     "request": "0"}, "expiration_date": "2026-01-31", "context_length": 131072},
    {"id": "v/b", "pricing": {"prompt": "-1", "completion": "-1"}, "expiration_date": null, "context_length": 1.5},
    {"id": "v/c", "expiration_date": "2026-02-01T10:00:00Z"},
    {"id": "v/d", "pricing": {"prompt": 5e-8, "completion": true}, "expiration_date": "soon", "context_length": 0}]})")
                          .models;
  ASSERT_EQ(models.size(), 4u);
  EXPECT_EQ(models[0].id, "v/a");
  EXPECT_EQ(models[0].prices->base, (PriceTier{.input = 0.05, .output = 0.2, .per_request = 0}));
  EXPECT_EQ(models[0].prices->unknown, Unknown());
  EXPECT_EQ(models[0].context_tokens, 131072u);
  EXPECT_EQ(models[0].expiration_date, "2026-01-31");
  EXPECT_EQ(models[1].prices->base, PriceTier());
  EXPECT_EQ(models[1].prices->unknown, (Unknown{{"prompt", "-1"}, {"completion", "-1"}}));
  EXPECT_FALSE(models[1].context_tokens);
  EXPECT_EQ(models[1].expiration_date, "");
  EXPECT_FALSE(models[2].prices);
  EXPECT_EQ(models[2].expiration_date, "2026-02-01");
  EXPECT_EQ(models[3].prices->base.input, 0.05);
  EXPECT_FALSE(read_catalogue(R"([{"id": "v/e", "pricing": null}])").models[0].prices);
  EXPECT_EQ(models[3].prices->unknown, (Unknown{{"completion", "true"}}));
  EXPECT_FALSE(models[3].context_tokens);
  EXPECT_EQ(models[3].expiration_date, "");
}

TEST(ReadCatalogue, ReadsLimitsAndCapabilities) {
  const auto models = read_catalogue(R"({"data": [
    {"id": "v/a", "context_length": 200000, "top_provider": {"max_completion_tokens": 64000},
     "architecture": {"input_modalities": ["text", "image"]},
     "supported_parameters": ["tools", "reasoning", "temperature"]},
    {"id": "v/b", "top_provider": {"max_completion_tokens": null},
     "architecture": {"input_modalities": ["text", "audio"]},
     "supported_parameters": ["structured_outputs", "response_format"]},
    {"id": "v/c", "top_provider": {"max_completion_tokens": 0},
     "architecture": {"input_modalities": ["text", "image"]}},
    {"id": "v/d", "architecture": "transformer", "supported_parameters": [1]},
    {"id": "v/e", "architecture": {"input_modalities": ["text"]}, "supported_parameters": []}]})")
                          .models;
  EXPECT_EQ(models[0].context_tokens, 200000u);
  EXPECT_EQ(models[0].max_output_tokens, 64000u);
  EXPECT_FALSE(models[0].max_input_tokens);
  EXPECT_EQ(models[0].capabilities,
            (Capabilities{Capability::kTools, Capability::kImages, Capability::kReasoning}));
  EXPECT_FALSE(models[1].max_output_tokens);
  EXPECT_EQ(models[1].capabilities, (Capabilities{Capability::kAudio, Capability::kJsonSchema}));
  EXPECT_FALSE(models[2].max_output_tokens);
  EXPECT_FALSE(models[2].capabilities) << "what it takes is not listed";
  EXPECT_FALSE(models[3].capabilities);
  EXPECT_EQ(models[4].capabilities, Capabilities()) << "known to have none";
}

TEST(ReadCatalogue, ReadsLimitsAndFlagsOfTables) {
  const Catalogue catalogue = read_catalogue(R"({
    "all": {"litellm_provider": "v", "max_input_tokens": 272000, "max_output_tokens": 128000,
      "max_tokens": 128000, "supports_function_calling": true, "supports_vision": true,
      "supports_audio_input": true, "supports_response_schema": true, "supports_reasoning": true,
      "supports_prompt_caching": true, "deprecation_date": "2027-02-28"},
    "some": {"litellm_provider": "v", "max_input_tokens": "many", "max_output_tokens": 0,
      "supports_function_calling": true, "supports_vision": false},
    "unknown": {"litellm_provider": "v", "supports_prompt_caching": true,
      "deprecation_date": "2027-02-29"}})");
  const CatalogueModel& all = *catalogue.find("all");
  EXPECT_FALSE(all.context_tokens);
  EXPECT_EQ(all.max_input_tokens, 272000u);
  EXPECT_EQ(all.max_output_tokens, 128000u);
  EXPECT_EQ(all.capabilities,
            (Capabilities{Capability::kTools, Capability::kImages, Capability::kAudio,
                          Capability::kJsonSchema, Capability::kReasoning}));
  EXPECT_EQ(all.expiration_date, "2027-02-28");
  const CatalogueModel& some = *catalogue.find("some");
  EXPECT_FALSE(some.max_input_tokens);
  EXPECT_FALSE(some.max_output_tokens);
  EXPECT_EQ(some.capabilities, Capabilities{Capability::kTools}) << "a missing flag means no";
  EXPECT_FALSE(catalogue.find("unknown")->capabilities);
  EXPECT_EQ(catalogue.find("unknown")->expiration_date, "") << "no such day";
}

TEST(ReadCatalogue, ReadsEveryComponentOfOpenRouter) {
  const CataloguePrices prices = prices_of_pricing(R"({"prompt": "0.000001",
    "completion": "0.00001", "request": "0.005", "image": "0.0012", "web_search": "0",
    "internal_reasoning": "0.000012", "input_cache_read": "1e-7", "input_cache_write": 1.25e-6,
    "discount": 0.5, "audio": null,
    "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000002", "input_cache_read": "2e-7"},
                  {"min_prompt_tokens": 128000, "prompt": "0.0000015", "completion": "0.000015"}]})");
  EXPECT_EQ(prices.base, (PriceTier{.input = 1,
                                    .cached_input = 0.1,
                                    .cache_write = 1.25,
                                    .output = 10,
                                    .reasoning = 12,
                                    .per_request = 0.005,
                                    .per_image = 0.0012}));
  // Ascending. What the second does not repeat may be the first one's or the base's.
  ASSERT_EQ(prices.tiers.size(), 2u);
  EXPECT_EQ(prices.tiers[0], (PriceTier{.above_input_tokens = 127999, .input = 1.5, .output = 15}));
  EXPECT_EQ(
      prices.tiers[1],
      (PriceTier{.above_input_tokens = 199999, .input = 2, .cached_input = 0.2, .output = 15}));
  EXPECT_EQ(prices.unknown, Unknown());
}

TEST(ReadCatalogue, ReadsTiersAsAList) {
  const CataloguePrices prices = prices_of_pricing(R"([{"prompt": "1e-7", "completion": "3e-7"},
    {"prompt": "2e-7", "completion": "1e-7", "min_context": 128000}])");
  EXPECT_EQ(prices.base, (PriceTier{.input = 0.1, .output = 0.3}));
  ASSERT_EQ(prices.tiers.size(), 1u);
  EXPECT_EQ(prices.tiers[0],
            (PriceTier{.above_input_tokens = 127999, .input = 0.2, .output = 0.1}));
}

TEST(ReadCatalogue, KeepsWhatItCannotComputeAsUnknown) {
  const auto unknown = [](const std::string& more) {
    return prices_of_pricing(R"({"prompt": "1e-6", "completion": "2e-6", )" + more + "}").unknown;
  };
  EXPECT_EQ(unknown(R"("web_search": "0.01")"), (Unknown{{"web_search", "0.01"}}));
  EXPECT_EQ(unknown(R"("hourly": 1.5)"), (Unknown{{"hourly", "1.5"}}));
  EXPECT_EQ(unknown(R"("request": "-1")"), (Unknown{{"request", "-1"}}));
  EXPECT_EQ(unknown(R"("image": "varies")"), (Unknown{{"image", "varies"}}));
  EXPECT_EQ(unknown(R"("video": {"low": 0, "high": 0.5})"),
            (Unknown{{"video", R"({"low":0,"high":0.5})"}}));
  EXPECT_EQ(unknown(R"("overrides": [{"from_hour": 9, "prompt": "2e-6"}])"),
            (Unknown{{"overrides", R"({"from_hour":9,"prompt":"2e-6"})"}}));
  EXPECT_EQ(unknown(R"("overrides": [{"min_prompt_tokens": 9, "audio": "2e-6"}])"),
            (Unknown{{"audio", "2e-6"}}));
  EXPECT_EQ(prices_of_pricing(R"({"prompt": "1e-6"})").unknown,
            (Unknown{{"completion", "not given"}}));
  EXPECT_EQ(prices_of_pricing(R"("free")").unknown, (Unknown{{"pricing", "free"}}));
  // Zeros of any shape are nothing to charge.
  EXPECT_EQ(unknown(R"("web_search": "0.000", "audio": 0, "video": null, "file": "",
                       "speech": {"a": [0, "0"]})"),
            Unknown());
}

TEST(ReadCatalogue, ReadsABareListAndTogethersPrices) {
  EXPECT_TRUE(read_catalogue("[]").models.empty());
  const CataloguePrices prices = prices_of(R"([{"id": "v/a", "pricing": {"hourly": 0,
    "input": 0.075, "output": 0.3, "cached_input": 0.01, "base": 0, "finetune": 4}}])");
  EXPECT_EQ(prices.base, (PriceTier{.input = 0.075, .cached_input = 0.01, .output = 0.3}));
  EXPECT_EQ(prices.unknown, Unknown());
  EXPECT_EQ(
      prices_of(R"([{"id": "v/a", "pricing": {"input": 1, "output": 1, "hourly": 2}}])").unknown,
      (Unknown{{"hourly", "2"}}));
}

TEST(ReadCatalogue, ReadsTablesOfPrices) {
  const Catalogue catalogue = read_catalogue(R"({
    "sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "one of"},
    "gpt": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 272000,
      "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
      "cache_read_input_token_cost": 1.25e-07, "cache_creation_input_token_cost": 1.5e-06,
      "output_cost_per_reasoning_token": 2e-05, "input_cost_per_request": 0.002,
      "input_cost_per_image": 0.003, "deprecation_date": "2026-12-01",
      "input_cost_per_token_above_128k_tokens": 2e-06,
      "output_cost_per_token_above_128k_tokens": 1.1e-05,
      "input_cost_per_token_above_272k_tokens": 2.5e-06,
      "cache_read_input_token_cost_above_272k_tokens": 2.5e-07,
      "input_cost_per_token_batches": 6e-07, "output_cost_per_token_priority": 2e-05,
      "input_cost_per_token_above_272k_tokens_flex": 1e-06,
      "cache_creation_input_token_cost_above_1hr": 3e-06, "prompt_cache_min_tokens": 1024,
      "input_dbu_cost_per_token": 1e-4, "source": "https://cost.example", "supports_vision": true},
    "openrouter/v/a": {"litellm_provider": "openrouter", "input_cost_per_token": 0,
      "output_cost_per_token": 1e-6},
    "dashscope/q": {"litellm_provider": "dashscope", "tiered_pricing": [
      {"range": [0, 32000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
      {"range": [32000.0, 128000.0], "input_cost_per_token": 1e-07, "output_cost_per_token": 8e-07}]},
    "seconds": {"litellm_provider": "x", "input_cost_per_second": 0.001, "output_cost_per_second": 0},
    "search": {"litellm_provider": "x", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
      "search_context_cost_per_query": {"search_context_size_high": 0.012}},
    "nothing": {"litellm_provider": "x", "mode": "chat"}})");
  EXPECT_FALSE(catalogue.is_offer);
  const CatalogueModel* gpt = catalogue.find("openai/gpt");
  ASSERT_NE(gpt, nullptr);
  EXPECT_EQ(gpt->expiration_date, "2026-12-01");
  EXPECT_EQ(gpt->prices->base, (PriceTier{.input = 1.25,
                                          .cached_input = 0.125,
                                          .cache_write = 1.5,
                                          .output = 10,
                                          .reasoning = 20,
                                          .per_request = 0.002,
                                          .per_image = 0.003}));
  ASSERT_EQ(gpt->prices->tiers.size(), 2u);
  EXPECT_EQ(gpt->prices->tiers[0],
            (PriceTier{.above_input_tokens = 128000, .input = 2, .output = 11}));
  EXPECT_EQ(
      gpt->prices->tiers[1],
      (PriceTier{.above_input_tokens = 272000, .input = 2.5, .cached_input = 0.25, .output = 11}));
  EXPECT_EQ(gpt->prices->unknown, Unknown());

  EXPECT_EQ(catalogue.find("v/a")->prices->base, (PriceTier{.input = 0, .output = 1}));
  const CataloguePrices& tiered = *catalogue.find("dashscope/q")->prices;
  EXPECT_EQ(tiered.base, (PriceTier{.input = 0.05, .output = 0.4}));
  ASSERT_EQ(tiered.tiers.size(), 1u);
  EXPECT_EQ(tiered.tiers[0], (PriceTier{.above_input_tokens = 32000, .input = 0.1, .output = 0.8}));
  EXPECT_EQ(catalogue.find("seconds")->prices->unknown,
            (Unknown{{"input_cost_per_second", "0.001"},
                     {"input_cost_per_token", "not given"},
                     {"output_cost_per_token", "not given"}}));
  EXPECT_EQ(catalogue.find("search")->prices->unknown.at(0).component,
            "search_context_cost_per_query");
  EXPECT_FALSE(catalogue.find("nothing")->prices);
  EXPECT_EQ(catalogue.find("v/other"), nullptr);
}

TEST(ReadCatalogue, RecognisesAPriceTableByAnyOfItsPrices) {
  for (const std::string entry :
       {R"("tiered_pricing": [{"range": [0, 32000], "input_cost_per_token": 1e-6,
                               "output_cost_per_token": 2e-6}])",
        R"("output_cost_per_token": 2e-6, "input_cost_per_token": 1e-6)",
        R"("output_cost_per_token": 2e-6)"}) {
    const Catalogue catalogue = read_catalogue(R"({"q": {)" + entry + "}}");
    ASSERT_NE(catalogue.find("q"), nullptr) << entry;
    EXPECT_EQ(catalogue.find("q")->prices->base.output, 2.0) << entry;
  }
}

TEST(ReadCatalogue, TrustsNoModelThatIsListedAtTwoPrices) {
  const Catalogue catalogue = read_catalogue(R"({"data": [
    {"id": "v/a", "pricing": {"prompt": "1e-7", "completion": "3e-7"}},
    {"id": "v/a", "pricing": {"prompt": "1e-7", "completion": "4e-7"}},
    {"id": "v/b", "pricing": {"prompt": "1e-7", "completion": "3e-7"}},
    {"id": "v/b", "pricing": {"prompt": "0.0000001", "completion": 3e-7}}]})");
  ASSERT_EQ(catalogue.models.size(), 2u);
  EXPECT_EQ(catalogue.models[0].prices->unknown.at(0).component, "id");
  EXPECT_EQ(catalogue.models[1].prices->unknown, Unknown());
}

TEST(ReadCatalogue, SaysWhereItIsNotACatalogue) {
  const auto expect_fault = [](const std::string& body, const std::string& part) {
    expect_error(ErrorCode::kBadResponse, part, [&] { read_catalogue(body); });
  };
  expect_fault("", "not JSON");
  expect_fault("<html>", "not JSON");
  expect_fault(R"({"data": [)", "not JSON");
  expect_fault("7", "\"data\"");
  expect_fault(R"({"models": []})", "\"data\"");
  expect_fault(R"({"data": {}})", "\"data\"");
  expect_fault(R"({"object": "list", "data": null})", "\"data\"");
  expect_fault("[5]", "number at /0");
  expect_fault(R"({"data": [{"id": "a"}, 5]})", "number at /data/1");
  expect_fault(R"({"data": [{"id": 7}]})", "/data/0/id");
  expect_fault(R"({"data": [{"id": ""}]})", "/data/0/id");
  expect_fault(std::string(100000, '['), "not JSON");
}

TEST(FetchCatalogue, AsksWithoutAKeyBelowTheBaseUrl) {
  auto& server = FaultServer::instance();
  const std::string url =
      server.script({{service({{"models", {{{"id", "v/a"}}, {{"id", "v/b"}}}}})}});
  EXPECT_EQ(fetch_catalogue({.base_url = url}, models_url({.base_url = url})).models.size(), 2u);
  EXPECT_EQ(fetch_catalogue({.base_url = url}, models_url({.base_url = url + "/"})).models.size(),
            2u);
  const auto requests = server.requests(url);
  ASSERT_EQ(requests.size(), 2u);
  for (const auto& request : requests) {
    EXPECT_EQ(request.method, "GET");
    EXPECT_EQ(request.path, url.substr(url.rfind('/')) + "/models");
    EXPECT_EQ(request.header("authorization"), "");
  }
}

TEST(FetchCatalogue, KeepsTheQueryOfTheBaseUrl) {
  auto& server = FaultServer::instance();
  const std::string url = server.script({{service({{"models", {{{"id", "v/a"}}}}})}});
  const Endpoint endpoint{.base_url = " " + url + "/v1/?api-version=2 "};
  EXPECT_EQ(fetch_catalogue(endpoint, models_url(endpoint)).models.size(), 1u);
  EXPECT_EQ(server.requests(url).at(0).path,
            url.substr(url.rfind('/')) + "/v1/models?api-version=2");
}

TEST(FetchCatalogue, TriesAgainAfterAPassingFailure) {
  auto& server = FaultServer::instance();
  const std::string url = server.script(
      {{answer(503, {{"error", {{"code", 503}, {"message", "busy"}}}})}, {service()}});
  EXPECT_TRUE(fetch_catalogue({.base_url = url, .retry = {.first_delay = 0.01}}, url + "/models")
                  .models.empty());
  EXPECT_EQ(server.requests(url).size(), 2u);
}

TEST(FetchCatalogue, TellsWhyThereIsNone) {
  auto& server = FaultServer::instance();
  const RetryPolicy once = {.max_retries = 0};
  const std::string gone =
      server.script({{answer(404, {{"error", {{"code", 404}, {"message", "no such path"}}}})}});
  expect_error(ErrorCode::kNotFound, "no such path",
               [&] { fetch_catalogue({.base_url = gone, .retry = once}, gone); });
  expect_error(ErrorCode::kConnection, "127.0.0.1", [&] {
    const std::string url = "http://127.0.0.1:" + server.closed_port();
    fetch_catalogue({.base_url = url, .retry = once}, url);
  });
  const std::string html = server.script({{{{"answer", {{"text", "<html>"}}}}}});
  expect_error(ErrorCode::kBadResponse, "not JSON",
               [&] { fetch_catalogue({.base_url = html, .retry = once}, html); });
}

}  // namespace
}  // namespace r2router::llm
