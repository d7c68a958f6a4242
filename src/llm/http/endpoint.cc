#include "llm/http/endpoint.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include <string.h>  // explicit_bzero

#include "r2router/error.h"

#include "base/unicode.h"

namespace r2router::llm {
namespace {

/// Overwrites the text's memory. The compiler cannot remove it.
void wipe(std::string& text) { explicit_bzero(text.data(), text.size()); }

}  // namespace

Secret::Secret(std::string_view value) : value_(value) {
  const bool bad = std::ranges::any_of(
      value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (!bad) return;
  wipe(value_);
  throw Error(ErrorCode::kInvalidArgument,
              "the key contains a line break or another control character, which an HTTP header "
              "cannot hold: remove it (often the last line break of a file)");
}

Secret::Secret(const Secret&) = default;

Secret& Secret::operator=(const Secret& other) {
  if (this != &other) {
    wipe(value_);
    value_ = other.value_;
  }
  return *this;
}

Secret::~Secret() { wipe(value_); }

Secret api_key_from_environment() {
  const char* const value = std::getenv("OPENROUTER_API_KEY");
  return value == nullptr ? Secret() : Secret(value);
}

}  // namespace r2router::llm

namespace r2router::llm {
namespace {

constexpr std::size_t kShortestSecret = 8;
/// A key of letters only, up to this length, could be a word such as "not-needed".
constexpr std::size_t kLongestWord = 15;

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}

bool could_be_a_word(std::string_view key) {
  return key.size() <= kLongestWord &&
         std::ranges::all_of(key, [](char c) { return is_letter(c) || c == '-' || c == '_'; });
}

/// The character that `digits` spell in hexadecimal, or -1.
int hexadecimal(std::string_view digits) {
  int value = -1;
  const char* const end = digits.data() + digits.size();
  return std::from_chars(digits.data(), end, value, 16).ptr == end ? value : -1;
}

/// Number of bytes at text[at] that spell the character `c`, verbatim or escaped; 0 if they do not.
std::size_t spelt(std::string_view text, std::size_t at, char c) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with(c)) return 1;
  const int code = static_cast<unsigned char>(c);
  if (rest.size() >= 3 && rest[0] == '%' && hexadecimal(rest.substr(1, 2)) == code) return 3;
  if (rest.size() >= 6 && rest.starts_with("\\u") && hexadecimal(rest.substr(2, 4)) == code) {
    return 6;
  }
  return rest.size() >= 2 && rest[0] == '\\' && rest[1] == c ? 2 : 0;
}

/// Number of bytes at text[at] that spell the key; 0 if they do not.
std::size_t spelt(std::string_view text, std::size_t at, std::string_view key) {
  std::size_t end = at;
  for (const char c : key) {
    const std::size_t size = spelt(text, end, c);
    if (size == 0) return 0;
    end += size;
  }
  return end - at;
}

/// True at the start of the value of an Authorization header.
bool follows_bearer(std::string_view before) {
  for (const std::string_view space : {" ", "%20", "+"}) {
    if (!before.ends_with(space)) continue;
    before.remove_suffix(space.size());
    constexpr std::string_view kBearer = "bearer";
    return before.size() >= kBearer.size() &&
           internal::lower_case(before.substr(before.size() - kBearer.size())) == kBearer;
  }
  return false;
}

}  // namespace

BaseUrl::BaseUrl(std::string_view text) {
  text = trimmed(text);
  const std::size_t mark = text.find('?');
  address = text.substr(0, mark);
  while (address.ends_with('/')) address.pop_back();
  if (mark != text.npos && mark + 1 < text.size()) query = text.substr(mark);
}

std::string redact(std::string text, const Secret& secret) {
  constexpr std::string_view kBlot = "[key]";
  const std::string_view key = trimmed(secret.reveal());
  if (key.empty()) return text;
  const bool is_short = key.size() < kShortestSecret;
  const bool is_word = is_short || could_be_a_word(key);
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = spelt(text, at, key);
    if (size == 0) {
      result += text[at++];
      continue;
    }
    const std::size_t end = at + size;
    const bool in_header = follows_bearer(std::string_view(text).substr(0, at));
    const bool stands_alone = (in_header || at == 0 || !is_word_character(text[at - 1])) &&
                              (end == text.size() || !is_word_character(text[end]));
    const bool is_key = is_short ? in_header && stands_alone : stands_alone || !is_word;
    result += is_key ? kBlot : std::string_view(text).substr(at, size);
    at = end;
  }
  return result;
}

}  // namespace r2router::llm
