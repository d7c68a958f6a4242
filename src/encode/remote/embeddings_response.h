// The answer of POST /v1/embeddings.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace r2router::internal {

/// Writes the embedding of index i to rows[i]; all rows have one length, > 0, the dimension that is
/// expected. Embeddings are base64 of little-endian float32, or arrays of decimals, in any order.
/// Returns false, and may have written some rows, if the answer is an error object ("error" is
/// there and not null). Throws Error(kBadResponse) that names the place if it is neither: there
/// must be one embedding for each row, of its length, of finite numbers.
bool read_embeddings(std::string_view body, std::span<const std::span<float>> rows);

}  // namespace r2router::internal
