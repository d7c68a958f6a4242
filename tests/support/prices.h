// Random prices that use every component, and what is billed by them.
#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "r2router/pool.h"

namespace r2router::testing {

/// Prices with up to three tiers, each dearer or cheaper than the one before, from `least_bound`
/// tokens of input on.
inline Prices random_prices(std::mt19937_64& random, std::uint32_t least_bound = 50) {
  const auto price = [&] { return static_cast<double>(random() % 1000) / 64; };
  const auto sometimes = [&](auto& component, double value) {
    if (random() % 2 == 0) component = value;
  };
  Prices prices{.input = price(), .output = price()};
  const auto fill = [&](auto& of) {
    sometimes(of.cached_input, price());
    sometimes(of.cache_write, price());
    sometimes(of.reasoning, price());
    sometimes(of.per_request, price() / 1e5);
    sometimes(of.per_image, price() / 1e5);
  };
  fill(prices);
  std::uint32_t bound = least_bound + static_cast<std::uint32_t>(random() % 100);
  for (std::size_t tiers = random() % 4; tiers > 0; --tiers) {
    PriceTier tier{.above_input_tokens = bound};
    sometimes(tier.input, price());
    sometimes(tier.output, price());
    fill(tier);
    prices.tiers.push_back(tier);
    bound += 1 + static_cast<std::uint32_t>(random() % 200);
  }
  return prices;
}

/// The price of one component for an input of this length, by the definition in pool.h.
template <typename Member, typename TierMember>
double component(const Prices& prices, std::int64_t input, Member member, TierMember tier_member,
                 double otherwise) {
  std::optional<double> price = prices.*member;
  for (const PriceTier& tier : prices.tiers) {
    if (input > tier.above_input_tokens && tier.*tier_member) price = tier.*tier_member;
  }
  return price.value_or(otherwise);
}

/// A bill, added up component by component.
inline double bill(const Prices& p, std::int64_t plain, std::int64_t cached, std::int64_t written,
                   std::int64_t text, std::int64_t reasoning, std::uint32_t images) {
  const std::int64_t n = plain + cached + written;
  const double input = component(p, n, &Prices::input, &PriceTier::input, 0);
  const double output = component(p, n, &Prices::output, &PriceTier::output, 0);
  const double tokens = static_cast<double>(plain) * input +
                        static_cast<double>(cached) * component(p, n, &Prices::cached_input,
                                                                &PriceTier::cached_input, input) +
                        static_cast<double>(written) *
                            component(p, n, &Prices::cache_write, &PriceTier::cache_write, input) +
                        static_cast<double>(text) * output +
                        static_cast<double>(reasoning) *
                            component(p, n, &Prices::reasoning, &PriceTier::reasoning, output);
  return tokens / 1e6 + component(p, n, &Prices::per_request, &PriceTier::per_request, 0) +
         images * component(p, n, &Prices::per_image, &PriceTier::per_image, 0);
}

}  // namespace r2router::testing
