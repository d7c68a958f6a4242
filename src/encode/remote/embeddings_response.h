// The answer of POST /v1/embeddings.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r2router::internal {

/// A text whose embedding cannot be used, though the answer as a whole can be read.
struct BadEmbedding {
  std::size_t text = 0;
  std::string message = {};
};

/// Writes the embedding of text i to rows[i]; all rows have the expected dimension, > 0. Embeddings
/// are base64 of little-endian float32, or arrays of decimals.
///
/// "index" names the text. Servers differ in how they write it: it may be an integer, an integral
/// float or a string of either. An element whose index is missing or null gets the first text that
/// no other element names (Gemini leaves out 0). Indices that start again from 0 (some gateways
/// join several answers, some servers always write 0) say nothing; the elements are then in the
/// order of the texts. Any other duplicate is an error.
///
/// Returns the texts whose embedding is unusable: null, of another length, not finite, or all zero.
/// Their rows are unspecified. Returns nothing, and may have written some rows, if the answer is an
/// error object: "error" is there and neither null, a boolean nor empty. Throws Error(kBadResponse)
/// that names the place for everything else, such as a number of elements that is not that of the
/// texts.
std::optional<std::vector<BadEmbedding>> read_embeddings(std::string_view body,
                                                         std::span<const std::span<float>> rows);

}  // namespace r2router::internal
