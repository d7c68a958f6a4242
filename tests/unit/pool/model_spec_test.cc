#include "pool/model_spec.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/prices.h"

namespace r2router::io {
namespace {

using r2router::testing::expect_error;

ModelSpec read(const std::string& text) {
  const JsonDocument document(text, "pool.json", ErrorCode::kBadConfig, "/models/m");
  return read_model_spec(document.root(), "m");
}

TEST(ModelSpec, ReadsEveryPrice) {
  const Prices prices = read(R"({"input_price_per_million": 1, "output_price_per_million": 10,
    "cached_input_price_per_million": 0.1, "cache_write_price_per_million": 1.25,
    "reasoning_price_per_million": 12, "price_per_request": 0.005, "price_per_image": 0.001,
    "price_tiers": [{"above_input_tokens": 128000, "input_price_per_million": 2},
                    {"above_input_tokens": 200000, "output_price_per_million": 20,
                     "cached_input_price_per_million": 0.2, "cache_write_price_per_million": 2.5,
                     "reasoning_price_per_million": 24, "price_per_request": 0.01,
                     "price_per_image": 0.002}],
    "unknown_prices": {"web_search": "0.01", "audio": "1e-6"}})")
                            .prices;
  EXPECT_EQ(prices, (Prices{.input = 1,
                            .output = 10,
                            .cached_input = 0.1,
                            .cache_write = 1.25,
                            .reasoning = 12,
                            .per_request = 0.005,
                            .per_image = 0.001,
                            .tiers = {{.above_input_tokens = 128000, .input = 2},
                                      {.above_input_tokens = 200000,
                                       .cached_input = 0.2,
                                       .cache_write = 2.5,
                                       .output = 20,
                                       .reasoning = 24,
                                       .per_request = 0.01,
                                       .per_image = 0.002}},
                            .unknown = {{"web_search", "0.01"}, {"audio", "1e-6"}}}));
}

TEST(ModelSpec, NeedsOnlyTheTwoPricesThatAreAlwaysThere) {
  const ModelSpec model =
      read(R"({"input_price_per_million": 0.5, "output_price_per_million": 2})");
  EXPECT_EQ(model, (ModelSpec{.name = "m", .prices = {.input = 0.5, .output = 2}}));
  EXPECT_EQ(model_spec_to_json(model).dump(),
            R"({"openrouter_id":null,"input_price_per_million":0.5,"output_price_per_million":2.0,)"
            R"("available":true})");
}

TEST(ModelSpec, WritesWhatItReads) {
  std::mt19937_64 random(103);
  for (int i = 0; i < 200; ++i) {
    ModelSpec model{.name = "m", .openrouter_id = "v/m"};
    model.prices = r2router::testing::random_prices(random);
    if (random() % 3 == 0) model.prices.unknown = {{"hourly", "0.5"}};
    if (random() % 2 == 0) model.max_output_tokens = 1 + random() % 100'000;
    if (random() % 2 == 0) {
      model.capabilities.emplace();
      for (std::size_t c = 0; c < kCapabilities; ++c) {
        if (random() % 2 == 0) model.capabilities->add(static_cast<Capability>(c));
      }
    }
    if (random() % 2 == 0) model.family = "f";
    if (random() % 2 == 0) model.endpoint = "e";
    if (random() % 2 == 0) model.retires = "2026-12-0" + std::to_string(1 + random() % 9);
    ASSERT_EQ(read(model_spec_to_json(model).dump()), model);
  }
}

ModelSpec read_with(const std::string& fields) {
  return read(R"({"input_price_per_million": 1, "output_price_per_million": 1, )" + fields + "}");
}

void expect_bad(const std::string& fields, const std::string& part) {
  expect_error(ErrorCode::kBadConfig, part, [&] { read_with(fields); });
}

TEST(ModelSpec, DescribesWhatAModelCanDoAndForHowLong) {
  const std::string fields =
      R"("max_output_tokens": 64000, "capabilities": ["reasoning", "tools"],
         "family": "thinker", "endpoint": "local", "retires": "2028-02-29")";
  const ModelSpec model = read_with(fields);
  EXPECT_EQ(model.max_output_tokens, 64000u);
  EXPECT_EQ(model.capabilities, (Capabilities{Capability::kTools, Capability::kReasoning}));
  EXPECT_EQ(model.family, "thinker");
  EXPECT_EQ(model.endpoint, "local");
  EXPECT_EQ(model.retires, "2028-02-29");
  const Json json = model_spec_to_json(model);
  EXPECT_EQ(json["capabilities"].dump(), R"(["tools","reasoning"])");
  EXPECT_EQ(read(json.dump()), model);

  // None is known to be there, which is not the same as unknown.
  EXPECT_EQ(read_with(R"("capabilities": [])").capabilities, Capabilities());
  EXPECT_EQ(model_spec_to_json(read_with(R"("capabilities": [])"))["capabilities"].dump(), "[]");
  EXPECT_FALSE(read_with(R"("note": "")").capabilities);
  EXPECT_EQ(read_with(R"("family": null, "endpoint": null, "retires": null)"),
            read_with(R"("note": "")"));
}

TEST(ModelSpec, SaysWhichFactIsBad) {
  expect_bad(R"("max_output_tokens": 0)", "/models/m/max_output_tokens");
  expect_bad(R"("max_output_tokens": 1.5)", "/models/m/max_output_tokens");
  expect_bad(R"("max_output_token": 9)", "\"max_output_tokens\"");
  expect_bad(R"("capabilities": "tools")", "a list of capabilities: tools, images, audio");
  expect_bad(R"("capabilities": ["tools", "vision"])", "/models/m/capabilities/1: found");
  expect_bad(R"("capabilities": [1])", "tools, images, audio, json_schema or reasoning");
  expect_bad(R"("capabilities": ["tools", "tools"])", "occurs twice");
  expect_bad(R"("family": "")", "the name of a family");
  expect_bad(R"("family": 1)", "/models/m/family");
  expect_bad(R"("endpoint": "")", "/models/m/endpoint");
  for (const char* date : {"2026-1-31", "2026-02-29", "2026-13-01", "2026-00-10", "2026-04-31",
                           "31.01.2026", "2026-01-31T00:00:00Z", "", "soon"}) {
    expect_bad("\"retires\": \"" + std::string(date) + '"', "/models/m/retires");
  }
  expect_bad(R"("retires": 20260131)", "a date such as \"2026-01-31\"");
}

TEST(ModelSpec, SaysWhichPriceIsBad) {
  expect_bad(R"("cached_input_price_per_million": -1)",
             "/models/m/cached_input_price_per_million: found the number -1");
  expect_bad(R"("price_per_request": "0.1")", "expected a number from 0 to 1e9: USD");
  expect_bad(R"("price_per_image": 2e9)", "/models/m/price_per_image");
  expect_bad(R"("reasoning_price_per_milion": 1)", "\"reasoning_price_per_million\"");
  expect_bad(R"("price_tiers": {})", "an array of tiers");
  expect_bad(R"("price_tiers": [{"input_price_per_million": 1}])",
             "/models/m/price_tiers/0/above_input_tokens: this field is missing");
  expect_bad(R"("price_tiers": [{"above_input_tokens": 5}, {"above_input_tokens": 5}])",
             "/models/m/price_tiers/1/above_input_tokens: found the number 5, expected more than");
  expect_bad(R"("price_tiers": [{"above_input_tokens": 5, "output_price_per_million": null}])",
             "/models/m/price_tiers/0/output_price_per_million");
  expect_bad(R"("unknown_prices": ["web_search"])", "/models/m/unknown_prices");
  expect_bad(R"("unknown_prices": {"web_search": 0.01})", "/models/m/unknown_prices/web_search");
}

}  // namespace
}  // namespace r2router::io
