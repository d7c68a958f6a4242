// Meaning-preserving edits of queries, to measure the stability of a router's choices and to
// augment training data.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "r2router/export.h"
#include "r2router/outcomes.h"

namespace r2router::eval {

/// A kind of edit that does not change the question. Edits change only ASCII characters, so UTF-8
/// stays well-formed.
enum class Perturbation : std::uint8_t {
  kCase,         ///< all letters in lower case, in upper case, or each word capitalised
  kWhiteSpace,   ///< about half of the white space doubled, a line break at the end
  kPunctuation,  ///< about half of the commas, full stops etc. after words removed
  kTypos,        ///< adjacent letters swapped in about one word in twenty, at least one
  kPoliteness,   ///< a polite sentence in front
};

inline constexpr std::array kPerturbations = {Perturbation::kCase, Perturbation::kWhiteSpace,
                                              Perturbation::kPunctuation, Perturbation::kTypos,
                                              Perturbation::kPoliteness};

/// "case", "white space", "punctuation", "typos" or "politeness".
R2ROUTER_EXPORT std::string_view to_string(Perturbation kind) noexcept;

/// The edited text, or `text` if there is nothing to edit. Depends only on the arguments: results
/// are the same on every platform, and independent between texts.
R2ROUTER_EXPORT std::string perturb(std::string_view text, Perturbation kind,
                                    std::uint64_t seed = 0);

/// The table with each query followed by its edited copies, one for each kind of edit, with the
/// outcomes of the original. QueryRecord::original links them, so that splits keep them together.
/// Throws Error(kBadData) if validate(table) would.
R2ROUTER_EXPORT OutcomeTable add_perturbed_copies(const OutcomeTable& table,
                                                  std::uint64_t seed = 0);

}  // namespace r2router::eval
