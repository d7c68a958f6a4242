// Model catalogues with prices: a server's list (GET {base_url}/models of OpenRouter, Together,
// vLLM and others), or a table of prices in the form of model_prices_and_context_window.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/capability.h"
#include "r2router/llm/endpoint.h"
#include "r2router/pool.h"

namespace r2router::llm {

/// A model's prices, as far as a catalogue lists them.
struct CataloguePrices {
  /// Prices from the first token on. `input` and `output` are empty if the catalogue has no fixed
  /// price; `unknown` then names them.
  PriceTier base = {};
  std::vector<PriceTier> tiers = {};
  std::vector<UnknownPrice> unknown = {};
};

struct CatalogueModel {
  std::string id;                                    ///< catalogue name
  std::optional<CataloguePrices> prices = {};        ///< empty: not listed
  std::optional<std::uint32_t> context_tokens = {};  ///< limit on query plus answer
  /// Limit on the query alone. Tables of prices list this and no context.
  std::optional<std::uint32_t> max_input_tokens = {};
  std::optional<std::uint32_t> max_output_tokens = {};  ///< limit on the answer
  std::optional<Capabilities> capabilities = {};        ///< all of them; empty: not listed
  std::string expiration_date = {};  ///< "2026-01-31", the last day it is offered; or empty
};

struct Catalogue {
  std::vector<CatalogueModel> models;  ///< each id once
  /// False: a table of prices rather than the list of a server, so a missing model may still be
  /// offered.
  bool is_offer = true;

  /// The model that a pool calls `id`, or null. A table of prices may list it with the prefix
  /// "openrouter/", or without its vendor.
  const CatalogueModel* find(std::string_view id) const;
};

/// A price in USD per token, as decimal digits, in USD per million tokens. Empty for anything else:
/// a negative number means that the price varies.
std::optional<double> usd_per_million(std::string_view usd_per_token);

/// Reads a catalogue; the format is detected from the contents. Components that are neither zero
/// nor part of Prices go to `unknown`. Ignores components that are charged only on request: other
/// service tiers ("batches", "priority", …) and longer caches. Throws Error(kBadResponse) with the
/// position of the first error.
Catalogue read_catalogue(std::string_view body);

/// Fetches a catalogue from `url`, with retries. Throws the same errors as make_http_encoder().
Catalogue fetch_catalogue(const Endpoint& endpoint, const std::string& url);

/// The URL of a server's list of models.
std::string models_url(const Endpoint& endpoint);

}  // namespace r2router::llm
