// The models to choose from, and their prices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/capability.h"
#include "r2router/export.h"

namespace r2router {

/// Prices for queries of more than `above_input_tokens` tokens. An empty price is inherited from
/// the previous tier, or from Prices for the first tier.
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

/// A price component that r2router cannot compute, as spelled by its source.
struct UnknownPrice {
  std::string component;  ///< such as "web_search"
  std::string value;      ///< such as "0.01"

  friend bool operator==(const UnknownPrice&, const UnknownPrice&) = default;
};

/// Prices of a model's calls. USD per million tokens unless stated otherwise; all ≥ 0.
///
///     const Prices prices{.input = 1.25, .output = 10,
///                         .tiers = {{.above_input_tokens = 200'000, .input = 2.5, .output = 15}}};
struct Prices {
  double input = 0;
  double output = 0;
  /// Input tokens read from the provider's cache. Empty: the same as `input`.
  std::optional<double> cached_input = {};
  /// Input tokens written to the provider's cache. Empty: the same as `input`.
  std::optional<double> cache_write = {};
  /// Output tokens spent on reasoning. Empty: the same as `output`.
  std::optional<double> reasoning = {};
  double per_request = 0;  ///< USD
  double per_image = 0;    ///< USD per image of the query
  /// Ascending by `above_input_tokens`. The last tier whose bound is below the input length applies
  /// to the whole call.
  std::vector<PriceTier> tiers = {};
  /// Other price components that are charged. If there are any, the worst-case cost of a call is
  /// unknown, so the model is never chosen under a cost limit. Predicted costs ignore them.
  std::vector<UnknownPrice> unknown = {};

  friend bool operator==(const Prices&, const Prices&) = default;
};

/// One LLM that may be called.
struct ModelSpec {
  std::string name;                ///< unique within its pool
  std::string openrouter_id = {};  ///< catalogue name sent to the endpoint; empty: not offered
  Prices prices = {};
  bool available = true;  ///< false: scored, but never called
  std::string note = {};
  // Empty if unknown:
  std::optional<double> time_to_first_token_ms = {};    ///< milliseconds, ≥ 0
  std::optional<double> output_tokens_per_second = {};  ///< > 0
  std::optional<std::uint32_t> context_tokens = {};     ///< limit on query plus answer, > 0
  /// The model's own limit on an answer with its reasoning, > 0. No cap exceeds it. Limited budgets
  /// above it are left out; answers with the unlimited budget are bounded by it.
  std::optional<std::uint32_t> max_output_tokens = {};
  /// The model's capabilities. A query that requires others is not sent to it.
  std::optional<Capabilities> capabilities = {};
  /// Text sent in addition to the query, such as "Be concise."; empty: none. A model used with
  /// several instructions has one entry in the pool for each.
  std::string instruction = {};
  /// Expected input tokens of the instruction. The worst case is one token per byte.
  std::uint32_t instruction_tokens = 0;
  /// Request parameters that the model rejects, such as "temperature". They are not sent to it. If
  /// "max_tokens" is listed, the cap is sent as "max_completion_tokens", and vice versa.
  std::vector<std::string> omit = {};
  /// Request parameters that the model requires, as a JSON object such as {"reasoning_effort":
  /// "low"}; or empty. They are sent with each request and override the caller's. Parameters that
  /// the router sets or that raise the bill (the cap, "n", "tools", …) are not allowed.
  std::string request = {};
  /// Entries of one family are variants of one model, such as its levels of reasoning effort. If an
  /// entry fails, the next attempt uses another family. Empty: the entry is its own family.
  std::string family = {};
  /// Name of the endpoint that serves the model; empty: the default one.
  std::string endpoint = {};
  /// The last day on which the model is offered, "2026-01-31"; empty: unknown.
  std::string retires = {};

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

/// The models to choose from. Their order matters: it breaks ties.
using Pool = std::vector<ModelSpec>;

/// Reads a pool from a JSON file. Its object "models" has the format of a checkpoint's config.json
/// (checkpoints/FORMAT.md); other members are ignored. Throws Error(kNotFound), Error(kIo), and
/// Error(kBadConfig) with a JSON pointer.
R2ROUTER_EXPORT Pool read_pool(const std::string& file);

}  // namespace r2router
