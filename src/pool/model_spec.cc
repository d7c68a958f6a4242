#include "pool/model_spec.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "r2router/error.h"

#include "base/date.h"
#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "pool/capability_names.h"
#include "pool/request_settings.h"

namespace r2router::io {
namespace {

constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;  // bytes
constexpr double kLongestDelay = 1e9, kLowestSpeed = 1e-9, kHighestSpeed = 1e9;
constexpr std::uint32_t kMostInstructionTokens = 1'000'000;
constexpr std::size_t kMostTiers = 64;
constexpr std::size_t kMostOmitted = 64;

/// "" if the field is missing or null.
std::string read_optional_text(const JsonView& field) {
  if (!field.present() || field.is_null()) return {};
  return field.string("a string or null");
}

/// "" if the field is missing or null.
std::string read_optional_name(const JsonView& field, std::string_view expected) {
  if (!field.present() || field.is_null()) return {};
  const std::string& name = field.string(expected);
  if (name.empty()) field.fail(expected);
  return name;
}

Capabilities read_capabilities(const JsonView& field) {
  Capabilities capabilities;
  for (const JsonView& element : field.elements(internal::kCapabilityList)) {
    constexpr std::string_view kExpected = "tools, images, audio, json_schema or reasoning";
    const std::string& name = element.string(kExpected);
    const std::optional<Capability> capability = find_capability(name);
    if (!capability) element.fail(kExpected);
    if (capabilities.has(*capability)) {
      element.fail_with("the capability " + excerpt(name) + " occurs twice; remove one of the two");
    }
    capabilities.add(*capability);
  }
  return capabilities;
}

std::string read_optional_date(const JsonView& field) {
  constexpr std::string_view kExpected = "a date such as \"2026-01-31\"";
  std::string date = read_optional_name(field, kExpected);
  if (!date.empty() && !internal::parse_date(date)) field.fail(kExpected);
  return date;
}

bool is_required(std::string_view price) {
  return price == "input_price_per_million" || price == "output_price_per_million";
}

double read_price(const JsonView& field, std::string_view name) {
  return field.number(0, kHighestPrice,
                      name.ends_with("_per_million")
                          ? "a number from 0 to 1e9: USD per million tokens"
                          : "a number from 0 to 1e9: USD");
}

std::vector<PriceTier> read_tiers(const JsonView& field) {
  std::vector<PriceTier> tiers;
  for (const JsonView& element : field.elements("an array of tiers")) {
    element.refuse_misspelt({"above_input_tokens", "input_price_per_million",
                             "cached_input_price_per_million", "cache_write_price_per_million",
                             "output_price_per_million", "reasoning_price_per_million",
                             "price_per_request", "price_per_image"});
    PriceTier tier;
    tier.above_input_tokens = element["above_input_tokens"].uint32(0, UINT32_MAX);
    if (!tiers.empty() && tier.above_input_tokens <= tiers.back().above_input_tokens) {
      element["above_input_tokens"].fail("more than in the tier before, " +
                                         std::to_string(tiers.back().above_input_tokens));
    }
    for_each_price(tier, [&](std::string_view name, std::optional<double>& price) {
      if (const JsonView value = element[name]; value.present()) price = read_price(value, name);
    });
    if (tiers.size() == kMostTiers) field.fail("at most 64 tiers");
    tiers.push_back(tier);
  }
  return tiers;
}

std::vector<UnknownPrice> read_unknown(const JsonView& field) {
  std::vector<UnknownPrice> unknown;
  for (const auto& [component, value] :
       field.members("an object with the components that cannot be computed")) {
    unknown.push_back(
        {std::string(component), value.string("a string: the component as its source spells it")});
  }
  return unknown;
}

Json tier_to_json(const PriceTier& tier) {
  Json json = {{"above_input_tokens", tier.above_input_tokens}};
  for_each_price(tier, [&](const char* name, const std::optional<double>& price) {
    if (price) json[name] = *price;
  });
  return json;
}

/// Reads ModelSpec::omit and ModelSpec::request.
void read_request_settings(const JsonView& field, ModelSpec& model) {
  if (const JsonView omit = field["omit"]; omit.present()) {
    for (const JsonView& element : omit.elements("an array of request parameters")) {
      const std::string& name = element.string("the name of a parameter, such as \"temperature\"");
      if (!internal::may_be_omitted(name)) {
        element.fail("an optional parameter, such as \"temperature\"");
      }
      if (std::ranges::find(model.omit, name) != model.omit.end()) {
        element.fail_with("the parameter " + excerpt(name) +
                          " occurs twice; remove one of the two");
      }
      model.omit.push_back(name);
    }
    if (model.omit.size() > kMostOmitted) {
      omit.fail("at most " + std::to_string(kMostOmitted) + " parameters");
    }
    const auto omitted = [&](std::string_view name) {
      return std::ranges::find(model.omit, name) != model.omit.end();
    };
    if (omitted(internal::kMaxTokens) && omitted(internal::kMaxCompletionTokens)) {
      omit.fail_with(
          "found both \"max_tokens\" and \"max_completion_tokens\", expected at most one: the "
          "other carries the cap; remove one");
    }
  }
  if (const JsonView request = field["request"]; request.present()) {
    const auto members = request.members("an object with request parameters");
    for (const auto& [name, value] : members) {
      if (!internal::may_be_required(name)) {
        value.fail_with("the router sets " + excerpt(name) +
                        " itself, or it would break the bound on the cost; remove it");
      }
      if (std::ranges::find(model.omit, name) != model.omit.end()) {
        value.fail_with("the parameter " + excerpt(name) +
                        " is also in \"omit\"; remove it from one of the two");
      }
    }
    if (!members.empty()) model.request = request.text();
  }
}

}  // namespace

Prices read_prices(const JsonView& model) {
  Prices prices;
  for_each_price(prices, [&](std::string_view name, auto& price) {
    if (const JsonView value = model[name]; value.present() || is_required(name)) {
      price = read_price(value, name);
    }
  });
  if (const JsonView tiers = model["price_tiers"]; tiers.present()) {
    prices.tiers = read_tiers(tiers);
  }
  if (const JsonView unknown = model["unknown_prices"]; unknown.present()) {
    prices.unknown = read_unknown(unknown);
  }
  return prices;
}

void add_prices(const Prices& prices, Json& model) {
  for_each_price(prices, [&](const char* name, const auto& price) {
    if constexpr (std::is_same_v<decltype(price), const double&>) {
      if (price != 0 || is_required(name)) model[name] = price;
    } else if (price) {
      model[name] = *price;
    }
  });
  for (const PriceTier& tier : prices.tiers) model["price_tiers"].push_back(tier_to_json(tier));
  for (const UnknownPrice& price : prices.unknown) {
    model["unknown_prices"][price.component] = price.value;
  }
}

ModelSpec read_model_spec(const JsonView& field, std::string_view name) {
  if (name.empty()) field.fail_with("a model's name is empty; name the model");
  // "note" has no effect, so similar fields ("notes", "name") are accepted.
  field.refuse_misspelt({"openrouter_id",
                         "input_price_per_million",
                         "cached_input_price_per_million",
                         "cache_write_price_per_million",
                         "output_price_per_million",
                         "reasoning_price_per_million",
                         "price_per_request",
                         "price_per_image",
                         "price_tiers",
                         "unknown_prices",
                         "checkpoint_dir",
                         "available",
                         "time_to_first_token_ms",
                         "output_tokens_per_second",
                         "context_tokens",
                         "instruction",
                         "instruction_tokens",
                         "omit",
                         "request",
                         "max_output_tokens",
                         "capabilities",
                         "family",
                         "endpoint",
                         "retires"});
  ModelSpec model{.name = std::string(name)};
  model.openrouter_id = read_optional_text(field["openrouter_id"]);
  model.prices = read_prices(field);
  if (const JsonView available = field["available"]; available.present()) {
    model.available = available.boolean();
  }
  model.note = read_optional_text(field["note"]);
  if (const JsonView delay = field["time_to_first_token_ms"]; delay.present()) {
    model.time_to_first_token_ms = delay.number(0, kLongestDelay, "milliseconds, from 0 to 1e9");
  }
  if (const JsonView speed = field["output_tokens_per_second"]; speed.present()) {
    model.output_tokens_per_second =
        speed.number(kLowestSpeed, kHighestSpeed, "tokens per second, from 1e-9 to 1e9");
  }
  if (const JsonView context = field["context_tokens"]; context.present()) {
    model.context_tokens = context.uint32(1, UINT32_MAX);
  }
  if (const JsonView most = field["max_output_tokens"]; most.present()) {
    model.max_output_tokens = most.uint32(1, UINT32_MAX);
  }
  if (const JsonView capabilities = field["capabilities"]; capabilities.present()) {
    model.capabilities = read_capabilities(capabilities);
  }
  model.instruction = read_optional_text(field["instruction"]);
  if (const JsonView tokens = field["instruction_tokens"]; tokens.present()) {
    model.instruction_tokens = tokens.uint32(0, kMostInstructionTokens);
  }
  read_request_settings(field, model);
  model.family = read_optional_name(field["family"], "the name of a family of models");
  model.endpoint = read_optional_name(field["endpoint"], "the name of an endpoint");
  model.retires = read_optional_date(field["retires"]);
  return model;
}

Json model_spec_to_json(const ModelSpec& model) {
  Json json = {{"openrouter_id", model.openrouter_id.empty() ? Json() : Json(model.openrouter_id)}};
  add_prices(model.prices, json);
  json["available"] = model.available;
  if (!model.note.empty()) json["note"] = model.note;
  if (model.time_to_first_token_ms) json["time_to_first_token_ms"] = *model.time_to_first_token_ms;
  if (model.output_tokens_per_second) {
    json["output_tokens_per_second"] = *model.output_tokens_per_second;
  }
  if (model.context_tokens) json["context_tokens"] = *model.context_tokens;
  if (model.max_output_tokens) json["max_output_tokens"] = *model.max_output_tokens;
  if (model.capabilities) json["capabilities"] = internal::names_of(*model.capabilities);
  if (!model.instruction.empty()) json["instruction"] = model.instruction;
  if (model.instruction_tokens > 0) json["instruction_tokens"] = model.instruction_tokens;
  if (!model.omit.empty()) json["omit"] = model.omit;
  if (!model.request.empty()) {
    json["request"] = Json::parse(model.request, nullptr, /*allow_exceptions=*/false);
    if (!json["request"].is_object()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the request of the model " + excerpt(model.name) + " is " +
                      excerpt(model.request) +
                      R"(: expected a JSON object, such as {"reasoning_effort": "low"})");
    }
  }
  if (!model.family.empty()) json["family"] = model.family;
  if (!model.endpoint.empty()) json["endpoint"] = model.endpoint;
  if (!model.retires.empty()) json["retires"] = model.retires;
  return json;
}

}  // namespace r2router::io

namespace r2router {

Pool read_pool(const std::string& file) {
  const io::JsonDocument document(io::read_text(file, io::kLargestPool, ErrorCode::kBadConfig),
                                  file, ErrorCode::kBadConfig);
  Pool pool;
  for (const auto& [name, field] :
       document.root()["models"].members("an object with a member for each model")) {
    pool.push_back(io::read_model_spec(field, name));
  }
  if (pool.empty()) document.root()["models"].fail("at least one model");
  return pool;
}

}  // namespace r2router
