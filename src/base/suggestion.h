// Suggestions for names that do not exist: "did you mean ...?".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace r2router::internal {

/// A normalised spelling for comparison: lower case, without accents, with full-width and composed
/// forms in ASCII, without invisible characters, trimmed. White space and dashes of any kind become
/// "-".
std::string loose_spelling(std::string_view name);

/// Whether `name` looks like a misspelling of `known`: one letter in four may differ, but at most
/// two.
bool is_misspelling(std::string_view name, std::string_view known);

/// The candidate that was probably meant by `name`: it differs only in case, accents and
/// punctuation, or by a few typing errors, or it is a longer name that contains `name` or all of
/// its words. Empty if no candidate is similar enough.
std::optional<std::string> likely_name(std::string_view name,
                                       std::span<const std::string> candidates);

/// "a, b, c and 5 more": the first `most` names.
std::string list_of(std::span<const std::string> names, std::size_t most = 10);

/// "a, b or c".
std::string alternatives(std::span<const std::string> names);

}  // namespace r2router::internal
