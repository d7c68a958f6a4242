// A vocabulary and a text of any bytes, separated by a NUL, through the splitting into wordpieces:
// no error but that for a bad vocabulary, and pieces that are in the vocabulary.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/encoder.h"
#include "r2router/error.h"

#include "encode/tasks/wordpieces.h"

namespace {

using r2router::internal::Wordpieces;

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view vocabulary = input.substr(0, input.find('\0'));
  const std::string_view text = input.substr(std::min(size, vocabulary.size() + 1));
  r2router::WordpieceVectors vectors;
  vectors.vocabulary.assign(vocabulary.begin(), vocabulary.end());
  const auto count = static_cast<std::size_t>(std::ranges::count(vocabulary, '\n'));
  vectors.scales.assign(count, 0.5F);
  vectors.vectors.assign(2 * count, -128);
  try {
    const Wordpieces wordpieces({.pieces = static_cast<std::uint32_t>(count),
                                 .dimension = 2,
                                 .bytes = static_cast<std::uint32_t>(vocabulary.size()),
                                 .weight = 3},
                                vectors);
    std::vector<std::uint32_t> pieces;
    wordpieces.split(text, pieces);
    require(std::ranges::all_of(pieces, [&](std::uint32_t piece) { return piece < count; }));
    // A code point has at most three letters.
    require(pieces.size() <= 3 * text.size());
    std::vector<double> mean(2);
    wordpieces.average(pieces, mean);
    require(std::abs(std::hypot(mean[0], mean[1]) - (pieces.empty() ? 0 : 3)) < 1e-9);
  } catch (const r2router::Error& error) {
    require(error.code() == r2router::ErrorCode::kInvalidArgument);
  }
  return 0;
}
