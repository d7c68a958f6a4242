#include <cstdint>
#include <string_view>

#include "r2router/decision.h"

#include "base/token_bound.h"
#include "base/unicode.h"

namespace r2router {

std::int64_t estimate_input_tokens(std::string_view text) noexcept {
  std::int64_t words = 0;
  bool in_word = false;
  for (std::size_t position = 0; position < text.size();) {
    const auto byte = static_cast<unsigned char>(text[position]);
    const bool space = byte < 0x80 ? ++position,
               is_space(byte)      : is_space(decode_utf8(text, position));
    words += !space && !in_word;
    in_word = !space;
  }
  const auto tokens = static_cast<std::int64_t>(static_cast<double>(words) * 1.3);
  return tokens < 1 ? 1 : tokens;
}

std::int64_t most_input_tokens(std::string_view text, std::string_view budget_prompt) noexcept {
  constexpr std::int64_t kChatTemplate = 64;
  return internal::most_tokens(text) + internal::most_tokens(budget_prompt) + kChatTemplate;
}

}  // namespace r2router
