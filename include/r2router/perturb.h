// Meaning-preserving edits of a query, to measure how steady a router's choices are and to train it
// on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "r2router/export.h"
#include "r2router/outcomes.h"

namespace r2router {

/// A kind of edit that leaves the question what it was. Edits touch ASCII characters alone, so that
/// UTF-8 stays well-formed.
enum class Perturbation : std::uint8_t {
  kCase,         ///< all letters small, or all capital, or capital at the head of each word
  kWhiteSpace,   ///< about half of the white space doubled, and a line break at the end
  kPunctuation,  ///< about half of the commas, full stops and the like at ends of words left out
  kTypos,       ///< in about one word in twenty, and at least one, two neighbouring letters swapped
  kPoliteness,  ///< a polite sentence in front
};

inline constexpr std::array kPerturbations = {Perturbation::kCase, Perturbation::kWhiteSpace,
                                              Perturbation::kPunctuation, Perturbation::kTypos,
                                              Perturbation::kPoliteness};

/// "case", "white space", "punctuation", "typos" or "politeness".
R2ROUTER_EXPORT std::string_view to_string(Perturbation kind) noexcept;

/// The text after an edit; itself where there is nothing to edit. Depends on the arguments alone:
/// the same on every platform, and independent between texts.
R2ROUTER_EXPORT std::string perturb(std::string_view text, Perturbation kind,
                                    std::uint64_t seed = 0);

/// The table with each query followed by its copies, one for each kind of edit, whose outcomes are
/// those of the original. QueryRecord::original ties them, so that splits keep them together.
/// Throws Error(kBadData) if validate(table) would.
R2ROUTER_EXPORT OutcomeTable add_perturbed_copies(const OutcomeTable& table,
                                                  std::uint64_t seed = 0);

}  // namespace r2router
