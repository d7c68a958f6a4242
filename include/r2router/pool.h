// The models to choose from, and what their calls cost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace r2router {

/// The prices that change for queries of more than `above_input_tokens` tokens. An empty one stays
/// as in the tier before, or as in Prices for the first tier.
struct PriceTier {
  std::uint32_t above_input_tokens = 0;
  std::optional<double> input = {};
  std::optional<double> cached_input = {};
  std::optional<double> cache_write = {};
  std::optional<double> output = {};
  std::optional<double> reasoning = {};
  std::optional<double> per_request = {};
  std::optional<double> per_image = {};

  friend bool operator==(const PriceTier&, const PriceTier&) = default;
};

/// A component of a price that r2router cannot compute, as its source spells it.
struct UnknownPrice {
  std::string component;  ///< such as "web_search"
  std::string value;      ///< such as "0.01"

  friend bool operator==(const UnknownPrice&, const UnknownPrice&) = default;
};

/// What a model's calls cost. USD per million tokens, unless the name says otherwise; all ≥ 0.
///
///     const Prices prices{.input = 1.25, .output = 10,
///                         .tiers = {{.above_input_tokens = 200'000, .input = 2.5, .output = 15}}};
struct Prices {
  double input = 0;
  double output = 0;
  /// Input tokens that the provider has in its cache. Empty: as `input`.
  std::optional<double> cached_input = {};
  /// Input tokens that the provider writes to its cache. Empty: as `input`.
  std::optional<double> cache_write = {};
  /// Output tokens spent on reasoning. Empty: as `output`.
  std::optional<double> reasoning = {};
  double per_request = 0;  ///< USD
  double per_image = 0;    ///< USD per image of the query
  /// Ascending by `above_input_tokens`. A call is charged as a whole by the last tier whose bound
  /// its input exceeds.
  std::vector<PriceTier> tiers = {};
  /// Components that are charged as well. Not empty: the price is unknown, and so is the worst case
  /// of a call. The model is never chosen under a cost limit; expected costs leave these out.
  std::vector<UnknownPrice> unknown = {};

  friend bool operator==(const Prices&, const Prices&) = default;
};

/// One LLM that may be called.
struct ModelSpec {
  std::string name;                ///< unique within its pool
  std::string openrouter_id = {};  ///< catalogue name sent to the endpoint; empty: not offered
  Prices prices = {};
  bool available = true;  ///< false: known and scored, but not to be called
  std::string note = {};
  // Empty where unknown:
  std::optional<double> time_to_first_token_ms = {};    ///< milliseconds, ≥ 0
  std::optional<double> output_tokens_per_second = {};  ///< > 0
  std::optional<std::uint32_t> context_tokens = {};     ///< most tokens of query and answer, > 0
  /// Text that is sent in addition to the query, such as "Be concise."; empty: none. One model
  /// with several instructions has an entry of the pool for each.
  std::string instruction = {};
  /// Input tokens that the instruction is expected to add to every query; at worst it adds as many
  /// as it has bytes.
  std::uint32_t instruction_tokens = 0;
  /// Parameters of a request that the model rejects, such as "temperature": they are not sent to
  /// it. With "max_tokens" among them the cap is sent as "max_completion_tokens", and vice versa.
  std::vector<std::string> omit = {};
  /// Parameters that the model requires, as a JSON object such as {"reasoning_effort": "low"}; or
  /// empty. They are sent with each request and override what the caller sets. What the router
  /// itself sets or what raises the bill (the cap, "n", "tools", …) may not be among them.
  std::string request = {};

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

/// The models to choose from. Their order is meaningful: it settles ties.
using Pool = std::vector<ModelSpec>;

}  // namespace r2router
