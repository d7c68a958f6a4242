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
/// float or a string of either. An element without an index (or null) gets the first text that no
/// other element names (Gemini omits 0). Indices that restart from 0 are ignored (some gateways
/// join several answers, some servers always write 0); the elements are then in the order of the
/// texts. Any other duplicate is an error.
///
/// Returns the texts whose embedding is unusable: null, of another length, not finite, or all zero.
/// Their rows are unspecified. Returns nothing, and may have written some rows, if the answer is an
/// error object: it has "error", which is not null, a boolean or empty. Throws Error(kBadResponse)
/// that names the position for anything else, such as a wrong number of elements.
std::optional<std::vector<BadEmbedding>> read_embeddings(std::string_view body,
                                                         std::span<const std::span<float>> rows);

}  // namespace r2router::internal
