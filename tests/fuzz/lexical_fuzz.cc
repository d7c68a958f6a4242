// Any bytes through the lexical encoder and the token estimate: no error but that for a blank text,
// features of unit length or zero, shares of topics that add up to 1 or 0, and the same bits for a
// text that differs only in ASCII case.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "r2router/decision.h"
#include "r2router/encoder.h"
#include "r2router/error.h"

#include "base/unicode.h"

namespace {

using r2router::LexicalFeatures;
using Kind = LexicalFeatures::Kind;

void require(bool condition) {
  if (!condition) std::abort();
}

bool is_blank(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    if (!r2router::is_space(r2router::decode_utf8(text, position))) return false;
  }
  return true;
}

constexpr std::uint32_t kDimension = 61;

/// Scores that often are negative for all three topics.
r2router::TopicScores topics() {
  r2router::TopicScores scores{{}, {0.1f, -0.1f, 0}};
  for (std::size_t i = 0; i < 3 * kDimension; ++i) {
    scores.weights.push_back(static_cast<float>(i % 7) - 3);
  }
  return scores;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  static const auto encoder = r2router::make_lexical_encoder(
      {.dimension = kDimension,
       .features = {{.kind = Kind::kWords, .max_n = 3},
                    {.kind = Kind::kCharacters, .min_n = 2, .max_n = 8, .weight = 0.3f}},
       .topics = {"a", "b", "c"}},
      {}, topics());
  require(r2router::estimate_input_tokens(text) >= 1);
  try {
    const auto embedding = encoder->embed_one(text);
    require(!is_blank(text));
    double squares = 0;
    for (std::size_t i = 0; i < kDimension; ++i) squares += double{embedding[i]} * embedding[i];
    require(squares == 0 || std::abs(squares - 1) < 1e-5);
    double shares = 0;
    for (std::size_t i = kDimension; i < embedding.size(); ++i) {
      require(embedding[i] >= 0);
      shares += embedding[i];
    }
    require(shares == 0 || std::abs(shares - 1) < 1e-5);

    // Bytes from 0x80 are unchanged, so only ASCII characters change.
    std::string capitals = text;
    for (char& byte : capitals) {
      if (byte >= 'a' && byte <= 'z') byte = static_cast<char>(byte - 'a' + 'A');
    }
    require(encoder->embed_one(capitals) == embedding);
  } catch (const r2router::Error& error) {
    require(error.code() == r2router::ErrorCode::kInvalidArgument && is_blank(text));
  }
  return 0;
}
