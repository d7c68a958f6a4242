#include "r2router/encoder.h"

#include <string>

#include "r2router/error.h"

#include "base/unicode.h"
#include "encode/arguments.h"

namespace r2router {

std::vector<Encoder::Rejected> Encoder::embed_each(std::span<const std::string_view> texts,
                                                   std::span<float> out,
                                                   const std::stop_token& cancel) const {
  embed(texts, out, cancel);
  return {};
}

std::vector<float> Encoder::embed_one(std::string_view text, const std::stop_token& cancel) const {
  std::vector<float> embedding(dimension());
  embed({&text, 1}, embedding, cancel);
  return embedding;
}

namespace internal {

void check_embed_arguments(std::span<const std::string_view> texts, std::span<const float> out,
                           std::size_t dimension) {
  // Divide, since the product of two sizes could overflow.
  if (out.size() % dimension != 0 || out.size() / dimension != texts.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the output has room for " + std::to_string(out.size()) + " numbers, expected " +
                    std::to_string(texts.size()) + " × " + std::to_string(dimension) +
                    " (texts × dimension): pass a span of that size");
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!is_blank(texts[i])) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "texts[" + std::to_string(i) + "] is " +
                    (texts[i].empty() ? "empty" : "nothing but white space") +
                    ", expected a text to embed: remove it");
  }
}

}  // namespace internal
}  // namespace r2router
