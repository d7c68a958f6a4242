// Suggestions for names that do not exist: "did you mean ...?".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace r2router::internal {

/// A name as people take it to be the same: small letters without accents, in plain ASCII where the
/// name has a full-width or a composed form, without invisible characters and white space at the
/// ends. White space and dashes of any kind are "-".
std::string loose_spelling(std::string_view name);

/// Whether `name` looks like a misspelling of `known`: of four letters one may differ, but at most
/// two.
bool is_misspelling(std::string_view name, std::string_view known);

/// The candidate that `name` was probably meant to be: the same but for case, accents and
/// punctuation, or a few typing errors away, or a longer name that contains it or all of its words.
/// Empty if no candidate is that similar.
std::optional<std::string> likely_name(std::string_view name,
                                       std::span<const std::string> candidates);

/// "a, b, c and 5 more": the first `most` names.
std::string list_of(std::span<const std::string> names, std::size_t most = 10);

}  // namespace r2router::internal
