// One model of a pool as JSON. Configs and pool files use the same form.
#pragma once

#include <string_view>

#include "r2router/pool.h"

#include "base/json.h"

namespace r2router::io {

/// The highest price of any kind: far above real prices, and low enough that no cost can overflow.
inline constexpr double kHighestPrice = 1e9;

/// Calls visit(field, price) for each component of Prices or of a PriceTier, where `field` is its
/// name in JSON. Optional components are std::optional<double>.
template <typename Components, typename Visit>
void for_each_price(Components& prices, Visit visit) {
  visit("input_price_per_million", prices.input);
  visit("cached_input_price_per_million", prices.cached_input);
  visit("cache_write_price_per_million", prices.cache_write);
  visit("output_price_per_million", prices.output);
  visit("reasoning_price_per_million", prices.reasoning);
  visit("price_per_request", prices.per_request);
  visit("price_per_image", prices.per_image);
}

/// Reads the fields of a model's prices.
Prices read_prices(const JsonView& model);
/// Adds them to a model's JSON, without defaults.
void add_prices(const Prices& prices, Json& model);

/// The member `name` of an object "models". Throws the document's Error with a JSON pointer.
ModelSpec read_model_spec(const JsonView& field, std::string_view name);

/// The inverse of read_model_spec().
Json model_spec_to_json(const ModelSpec& model);

}  // namespace r2router::io
