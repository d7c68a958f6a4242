// The cost of a call: expected, worst case, and for counted tokens. All costs are computed here.
//
// Within one tier of prices a bill is linear in the tokens, and every token is charged once, at
// most at the highest price that may apply to it. So the worst case of a call is the maximum of a
// few linear functions of its cap, one for each tier that the query can reach; a tier may be
// cheaper than the one before.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "r2router/pool.h"
#include "r2router/types.h"

#include "base/token_bound.h"

namespace r2router::internal {

inline constexpr double kPerMillion = 1e6;

/// The prices of one tier, with all overrides applied.
struct Rates {
  explicit Rates(const Prices& prices)
      : input(prices.input),
        output(prices.output),
        per_request(prices.per_request),
        per_image(prices.per_image),
        cached_input(prices.cached_input),
        cache_write(prices.cache_write),
        reasoning(prices.reasoning) {}

  void change(const PriceTier& tier) {
    input = tier.input.value_or(input);
    output = tier.output.value_or(output);
    per_request = tier.per_request.value_or(per_request);
    per_image = tier.per_image.value_or(per_image);
    if (tier.cached_input) cached_input = tier.cached_input;
    if (tier.cache_write) cache_write = tier.cache_write;
    if (tier.reasoning) reasoning = tier.reasoning;
  }

  /// The part of the cost that does not depend on the length.
  double fees(std::uint32_t images) const { return per_request + images * per_image; }

  double input, output, per_request, per_image;
  std::optional<double> cached_input, cache_write, reasoning;
};

/// Calls visit(rates, most) for each tier that an input of up to `most_input` tokens can fall into;
/// `most`: the longest such input in the tier.
template <typename Visit>
void for_each_tier(const Prices& prices, std::int64_t most_input, Visit visit) {
  Rates rates(prices);
  for (const PriceTier& tier : prices.tiers) {
    if (most_input <= tier.above_input_tokens) break;
    visit(rates, std::int64_t{tier.above_input_tokens});
    rates.change(tier);
  }
  visit(rates, most_input);
}

/// The prices of an input of this length.
inline Rates rates_at(const Prices& prices, std::int64_t input_tokens) {
  Rates rates(prices);
  for (const PriceTier& tier : prices.tiers) {
    if (input_tokens <= tier.above_input_tokens) break;
    rates.change(tier);
  }
  return rates;
}

/// A cost that is linear in the tokens of the answer.
struct CostLine {
  double fixed_usd, output_per_million;

  double cost(double output_tokens) const {
    return fixed_usd + output_tokens * output_per_million / kPerMillion;
  }
  /// The largest whole number of tokens, to `most`, that costs at most `limit` USD; −1: none.
  double affordable_tokens(double limit, double most) const;
};

inline CostLine expected_cost(const Prices& prices, std::int64_t input_tokens,
                              std::uint32_t images) {
  const Rates rates = rates_at(prices, input_tokens);
  return {static_cast<double>(input_tokens) * rates.input / kPerMillion + rates.fees(images),
          rates.output};
}

/// The highest bill of an input of `input_tokens` under one tier's prices.
inline CostLine worst_case(const Rates& rates, std::int64_t input_tokens, std::uint32_t images) {
  const double input = std::max({rates.input, rates.cached_input.value_or(rates.input),
                                 rates.cache_write.value_or(rates.input)});
  return {static_cast<double>(input_tokens) * input / kPerMillion + rates.fees(images),
          std::max(rates.output, rates.reasoning.value_or(rates.output))};
}

/// The highest bill of an input of at most `most_input` tokens and an answer of at most `cap`; +∞
/// if the price is unknown.
inline double worst_case_cost(const Prices& prices, std::int64_t most_input, std::uint32_t images,
                              double cap) {
  if (!prices.unknown.empty()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for_each_tier(prices, most_input, [&](const Rates& rates, std::int64_t longest) {
    worst = std::max(worst, worst_case(rates, longest, images).cost(cap));
  });
  return worst;
}

/// The largest cap, to `most`, under which no bill exceeds `limit` USD; −1: none.
double affordable_cap(const Prices& prices, std::int64_t most_input, std::uint32_t images,
                      double limit, double most);

/// The bill for the usage of a call, USD; empty if the price is unknown.
std::optional<double> charge(const Prices& prices, const Usage& usage, std::uint32_t images);

/// Maximum input tokens that a model can be sent for a query of at most `query_tokens`. Its
/// ModelSpec::instruction_tokens count if they are more than the bound of its instruction.
inline std::int64_t most_input_tokens(const ModelSpec& model, std::int64_t query_tokens) {
  return query_tokens +
         std::max<std::int64_t>(model.instruction_tokens, most_tokens(model.instruction));
}

}  // namespace r2router::internal
