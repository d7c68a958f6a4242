// What a catalogue says of models and their prices: a server's list (GET {base_url}/models, as
// OpenRouter, Together, vLLM and others answer it), or a table of prices in the form of
// model_prices_and_context_window.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/llm/endpoint.h"
#include "r2router/pool.h"

namespace r2router::llm {

/// A model's prices as far as a catalogue gives them.
struct CataloguePrices {
  /// What holds from the first token on. `input` and `output` are empty where the catalogue has no
  /// fixed price; `unknown` names them then.
  PriceTier base = {};
  std::vector<PriceTier> tiers = {};
  std::vector<UnknownPrice> unknown = {};
};

struct CatalogueModel {
  std::string id;                                    ///< catalogue name
  std::optional<CataloguePrices> prices = {};        ///< empty: the catalogue gives none
  std::optional<std::uint32_t> context_tokens = {};  ///< most tokens of query and answer together
  std::string expiration_date = {};  ///< "2026-01-31", the last day that it is offered; or empty
};

struct Catalogue {
  std::vector<CatalogueModel> models;  ///< each id once
  /// False: the models are not all that a server offers, but a table of prices. One that is not in
  /// it may well be offered.
  bool is_offer = true;

  /// The model that a pool calls `id`; null: there is none. A table of prices may have it behind
  /// "openrouter/", or without its vendor.
  const CatalogueModel* find(std::string_view id) const;
};

/// A price in USD per token, as decimal digits, in USD per million tokens. Empty for anything else:
/// a negative number means that the price varies.
std::optional<double> usd_per_million(std::string_view usd_per_token);

/// Reads a catalogue; the format is detected from the contents. A component of a price that is
/// neither zero nor one of Prices' goes to `unknown`. Left out are those that no request is charged
/// unless it asks for them: other service tiers ("batches", "priority", …) and longer caches.
/// Throws Error(kBadResponse) that says where it is not a catalogue.
Catalogue read_catalogue(std::string_view body);

/// Gets a catalogue from `url` itself, retries included. Throws Error as HttpEmbedder does, for
/// what failed.
Catalogue fetch_catalogue(const Endpoint& endpoint, const std::string& url);

/// The address of a server's list of models.
std::string models_url(const Endpoint& endpoint);

}  // namespace r2router::llm
