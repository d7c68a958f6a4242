#include "base/json_reader.h"

#include <algorithm>
#include <cstring>

#include "base/excerpt.h"
#include "base/unicode.h"

namespace r2router {
namespace {

/// Position of the next byte that is special within a string: a quote, a backslash, a control
/// character or a non-ASCII byte. Reads eight bytes at a time.
std::size_t skip_plain(std::string_view text, std::size_t position) {
  constexpr std::uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  for (std::uint64_t word; text.size() - position >= sizeof(word); position += sizeof(word)) {
    std::memcpy(&word, text.data() + position, sizeof(word));
    // A byte of x - kOnes·n sets its high bit where x < n. A borrow may set it in later bytes too:
    // there are false positives, but no false negatives.
    const std::uint64_t quote = word ^ (kOnes * '"'), backslash = word ^ (kOnes * '\\');
    const std::uint64_t special =
        word | (word - kOnes * 0x20) | (quote - kOnes) | (backslash - kOnes);
    if ((special & kHighs) != 0) break;
  }
  while (position < text.size()) {
    const auto c = static_cast<unsigned char>(text[position]);
    if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80) break;
    ++position;
  }
  return position;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Parses four hexadecimal digits at `position`.
std::optional<char32_t> hexadecimal(std::string_view text, std::size_t position) {
  if (position > text.size() || text.size() - position < 4) return std::nullopt;
  char32_t value = 0;
  for (const char c : text.substr(position, 4)) {
    const char lower = static_cast<char>(c | 0x20);
    if (is_digit(c)) {
      value = value * 16 + static_cast<char32_t>(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return value;
}

/// Decodes the escape at text[position], a backslash, and moves `position` past it; empty if
/// invalid. Surrogates must come in pairs.
std::optional<char32_t> read_escape(std::string_view text, std::size_t& position) {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  if (position + 1 >= text.size()) return std::nullopt;
  const char letter = text[position + 1];
  if (const std::size_t i = kLetters.find(letter); i != std::string_view::npos) {
    position += 2;
    return static_cast<char32_t>(kMeanings[i]);
  }
  if (letter != 'u') return std::nullopt;
  const std::optional<char32_t> unit = hexadecimal(text, position + 2);
  if (!unit || (*unit >= 0xDC00 && *unit < 0xE000)) return std::nullopt;
  if (*unit < 0xD800 || *unit >= 0xE000) {
    position += 6;
    return unit;
  }
  if (text.substr(std::min(position + 6, text.size()), 2) != "\\u") return std::nullopt;
  const std::optional<char32_t> low = hexadecimal(text, position + 8);
  if (!low || *low < 0xDC00 || *low >= 0xE000) return std::nullopt;
  position += 12;
  return 0x10000 + ((*unit - 0xD800) << 10) + (*low - 0xDC00);
}

}  // namespace

JsonReader::Kind JsonReader::kind() {
  skip_space();
  switch (position_ < text_.size() ? text_[position_] : '\0') {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
      return Kind::kBoolean;
    case 'n':
      return Kind::kNull;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
      return Kind::kNumber;
    default:
      fail("a value");
  }
}

void JsonReader::begin_object() {
  skip_space();
  expect('{', "an object");
  first_ = true;
}

std::optional<std::string_view> JsonReader::next_member() {
  skip_space();
  if (position_ < text_.size() && text_[position_] == '}') {
    ++position_;
    first_ = false;
    return std::nullopt;
  }
  if (!first_) {
    expect(',', "a comma or the object's end");
    skip_space();
  }
  if (position_ == text_.size() || text_[position_] != '"') fail("a member's name");
  std::string_view name = raw_name_ = raw_string();
  skip_space();
  expect(':', "a colon");
  first_ = false;
  // Names that callers look for are short.
  constexpr std::size_t kMostEscaped = 256;
  if (name.size() <= kMostEscaped && name.find('\\') != name.npos) name = name_ = unescape(name);
  return name;
}

void JsonReader::begin_array() {
  skip_space();
  expect('[', "an array");
  first_ = true;
}

bool JsonReader::next_element() {
  skip_space();
  if (position_ < text_.size() && text_[position_] == ']') {
    ++position_;
    first_ = false;
    return false;
  }
  if (!first_) {
    expect(',', "a comma or the array's end");
    skip_space();
    if (position_ < text_.size() && text_[position_] == ']') fail("a value");
  }
  first_ = false;
  return true;
}

std::string_view JsonReader::raw_string() {
  skip_space();
  expect('"', "a string");
  const std::size_t begin = position_;
  for (;;) {
    position_ = skip_plain(text_, position_);
    if (position_ == text_.size()) fail("the string's end");
    const auto c = static_cast<unsigned char>(text_[position_]);
    if (c == '"') return text_.substr(begin, position_++ - begin);
    if (c == '\\') {
      if (!read_escape(text_, position_)) fail("an escape that JSON knows");
    } else if (c < 0x20) {
      fail("an escape in place of a control character");
    } else {
      const std::size_t before = position_;
      if (decode_utf8(text_, position_) == kReplacement && position_ == before + 1) {
        position_ = before;
        fail("UTF-8");
      }
    }
  }
}

std::string_view JsonReader::raw_number() {
  skip_space();
  const std::size_t begin = position_;
  const auto at = [&](char c) { return position_ < text_.size() && text_[position_] == c; };
  if (at('-')) ++position_;
  if (at('0')) {
    ++position_;
  } else {
    skip_digits();
  }
  if (at('.')) {
    ++position_;
    skip_digits();
  }
  if (at('e') || at('E')) {
    ++position_;
    if (at('+') || at('-')) ++position_;
    skip_digits();
  }
  return text_.substr(begin, position_ - begin);
}

bool JsonReader::boolean() {
  const bool value = kind() == Kind::kBoolean && text_[position_] == 't';
  const std::string_view word = value ? "true" : "false";
  if (!text_.substr(position_).starts_with(word)) fail("true or false");
  position_ += word.size();
  return value;
}

void JsonReader::end() {
  skip_space();
  if (position_ != text_.size()) fail("the end");
}

std::string_view JsonReader::name(Kind kind) {
  switch (kind) {
    case Kind::kObject:
      return "an object";
    case Kind::kArray:
      return "an array";
    case Kind::kString:
      return "a string";
    case Kind::kNumber:
      return "a number";
    case Kind::kBoolean:
      return "true or false";
    case Kind::kNull:
      return "null";
  }
  return "a value";
}

std::string JsonReader::unescape(std::string_view raw, std::size_t most_bytes) {
  std::string text;
  for (std::size_t position = 0; position < raw.size() && text.size() < most_bytes;) {
    if (raw[position] == '\\') {
      // raw_string() accepts no other escapes.
      append_utf8(read_escape(raw, position).value_or(kReplacement), text);
    } else {
      const std::size_t end = std::min(raw.find('\\', position), raw.size());
      const std::size_t size = std::min(end - position, most_bytes - text.size());
      text.append(raw, position, size);
      position += size;
    }
  }
  return text;
}

void JsonReader::fail(std::string_view expected) const {
  // Quote a single byte: the text may contain a key, which no message may show.
  std::string found = "its end";
  if (position_ < text_.size()) found = excerpt(text_.substr(position_, 1));
  throw Error(code_, "not valid JSON at byte " + std::to_string(position_ + 1) + ": found " +
                         found + ", expected " + std::string(expected));
}

void JsonReader::skip_space() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++position_;
  }
}

void JsonReader::expect(char c, std::string_view expected) {
  if (position_ == text_.size() || text_[position_] != c) fail(expected);
  ++position_;
}

void JsonReader::skip_digits() {
  if (position_ == text_.size() || !is_digit(text_[position_])) fail("a digit");
  while (position_ < text_.size() && is_digit(text_[position_])) ++position_;
}

void JsonReader::skip(std::size_t depth) {
  const Kind next = kind();
  if (depth == kMaxDepth && (next == Kind::kObject || next == Kind::kArray)) {
    fail("nesting of at most " + std::to_string(kMaxDepth) + " levels");
  }
  switch (next) {
    case Kind::kObject:
      for (begin_object(); next_member();) skip(depth + 1);
      return;
    case Kind::kArray:
      for (begin_array(); next_element();) skip(depth + 1);
      return;
    case Kind::kString:
      raw_string();
      return;
    case Kind::kNumber:
      raw_number();
      return;
    case Kind::kBoolean:
      boolean();
      return;
    case Kind::kNull:
      if (!text_.substr(position_).starts_with("null")) fail("null");
      position_ += 4;
  }
}

}  // namespace r2router
