// An upper bound on the tokens of a text, whatever the tokenizer.
//
// No tokenizer produces more tokens than its input has bytes. But some change the text first: they
// convert it to lower case or normalise it (NFC, NFKC), which turns some characters into many, such
// as U+FDFA, whose 3 bytes become 33. So the bound is the number of bytes plus what they can grow
// by.
#pragma once

#include <cstdint>
#include <string_view>

namespace r2router::internal {

/// The most tokens of `text`, UTF-8.
std::int64_t most_tokens(std::string_view text) noexcept;
/// The same for a valid JSON document, whose strings may contain characters as \uXXXX.
std::int64_t most_tokens_of_json(std::string_view json) noexcept;

}  // namespace r2router::internal
