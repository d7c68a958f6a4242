// The models that a server offers, with their prices: GET {base_url}/models as OpenRouter answers
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/endpoint.h"

namespace r2router::client {

struct CatalogueModel {
  std::string id;  ///< catalogue name
  /// USD per million tokens. Empty: the catalogue has no fixed price for it.
  std::optional<double> input_price_per_million = {};
  std::optional<double> output_price_per_million = {};
  std::optional<std::uint32_t> context_tokens = {};  ///< most tokens of query and answer together
  std::string expiration_date = {};  ///< "2026-01-31", the last day that it is offered; or empty
};

/// A price in USD per token, as decimal digits, in USD per million tokens. Nothing for what is no
/// price: a negative number stands for one that varies.
std::optional<double> usd_per_million(std::string_view usd_per_token);

/// Reads the body of an answer. Throws Error(kBadResponse) that says where it is not a catalogue.
std::vector<CatalogueModel> read_catalogue(std::string_view body);

/// Asks the server, retries included. Throws Error as HttpEmbedder does, for what failed.
std::vector<CatalogueModel> fetch_catalogue(const Endpoint& endpoint);

}  // namespace r2router::client
