#include "encode/remote/embeddings_response.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json_reader.h"

namespace r2router::internal {
namespace {

using Kind = JsonReader::Kind;

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Above the 24 bits of a group, so that it remains visible after combining.
constexpr std::uint32_t kNotBase64 = 1u << 31;

/// kSextets[k][c]: what the k-th character of a group, c, adds to the group's three bytes, of which
/// the first is the lowest.
constexpr auto kSextets = [] {
  std::array<std::array<std::uint32_t, 256>, 4> tables{};
  for (auto& table : tables) table.fill(kNotBase64);
  for (std::uint32_t value = 0; value < kAlphabet.size(); ++value) {
    const auto c = static_cast<unsigned char>(kAlphabet[value]);
    tables[0][c] = value << 2;
    tables[1][c] = value >> 4 | (value & 0xF) << 12;
    tables[2][c] = (value >> 2) << 8 | (value & 3) << 22;
    tables[3][c] = value << 16;
  }
  return tables;
}();

/// The three bytes of four characters; kNotBase64 is set if one is not in the alphabet.
std::uint32_t group(const char* text) {
  const auto* c = reinterpret_cast<const unsigned char*>(text);
  return kSextets[0][c[0]] | kSextets[1][c[1]] | kSextets[2][c[2]] | kSextets[3][c[3]];
}

constexpr std::size_t base64_length(std::size_t bytes) { return (bytes + 2) / 3 * 4; }

void store(std::byte* out, std::uint32_t bytes, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(bytes >> (8 * i));
}

/// Decodes `text`, which has base64_length(out.size()) characters. False unless it is canonical:
/// padded, with unused bits zero.
bool decode_base64(std::string_view text, std::span<std::byte> out) {
  const char* in = text.data();
  std::byte* to = out.data();
  std::uint32_t seen = 0;
  std::size_t left = out.size();
  // Four bytes are stored for three as long as there is room: the fourth is overwritten.
  for (; left > 3; left -= 3, in += 4, to += 3) {
    const std::uint32_t bytes = group(in);
    seen |= bytes;
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(to, &bytes, sizeof(bytes));
    } else {
      store(to, bytes, 3);
    }
  }
  if (left > 0) {
    char last[] = {in[0], in[1], in[2], in[3]};
    for (std::size_t i = left + 1; i < 4; ++i) {
      if (last[i] != '=') return false;
      last[i] = 'A';  // six zero bits
    }
    const std::uint32_t bytes = group(last);
    seen |= bytes;
    if (bytes >> (8 * left) != 0) return false;
    store(to, bytes, left);
  }
  return (seen & kNotBase64) == 0;
}

/// An unusable embedding. The rest of the answer can still be read.
struct Unusable {
  std::string message;
};

/// Reads the parts of one answer. Errors name the position.
class Response {
 public:
  Response(std::string_view body, std::span<const std::span<float>> rows)
      : reader_(body, ErrorCode::kBadResponse), rows_(rows) {}

  std::optional<std::vector<BadEmbedding>> read() {
    if (reader_.kind() != Kind::kObject) {
      fail("the answer is " + describe() + ", expected an object with \"data\"");
    }
    bool has_data = false;
    reader_.begin_object();
    while (const auto name = reader_.next_member()) {
      if (*name == "error") {
        if (!skip_if_empty()) return std::nullopt;
      } else if (*name != "data") {
        reader_.skip();
      } else {
        if (has_data) fail("\"data\" appears twice in the answer");
        has_data = true;
        read_data();
      }
    }
    reader_.end();
    if (!has_data) fail("the answer has no \"data\", expected an array of embeddings");
    return put_in_order();
  }

 private:
  [[noreturn]] static void fail(const std::string& message) {
    throw Error(ErrorCode::kBadResponse, message);
  }

  std::string describe() { return std::string(JsonReader::name(reader_.kind())); }
  std::string element(std::size_t i) const { return "data[" + std::to_string(i) + "]"; }
  std::string element() const { return element(element_); }
  [[noreturn]] void fail_embedding(const std::string& message) const {
    throw Unusable{element() + ".embedding " + message};
  }

  /// Skips null, booleans, "", {} and []; returns false for any other value.
  bool skip_if_empty() {
    switch (reader_.kind()) {
      case Kind::kString:
        return reader_.raw_string().empty();
      case Kind::kObject:
        reader_.begin_object();
        return !reader_.next_member();
      case Kind::kArray:
        reader_.begin_array();
        return !reader_.next_element();
      case Kind::kNumber:
        return false;
      default:
        reader_.skip();
        return true;
    }
  }

  void read_data() {
    if (reader_.kind() != Kind::kArray) {
      fail("\"data\" is " + describe() + ", expected an array of embeddings");
    }
    reader_.begin_array();
    for (element_ = 0; reader_.next_element(); ++element_) {
      if (element_ == rows_.size()) {
        fail("\"data\" has more than " + std::to_string(rows_.size()) +
             " elements, expected one for each text");
      }
      read_element();
    }
    if (element_ == rows_.size()) return;
    fail("\"data\" has " + std::to_string(element_) + " elements, expected " +
         std::to_string(rows_.size()) + ", one for each text");
  }

  /// The embedding is written to the row of its array index; put_in_order() moves it.
  void read_element() {
    if (reader_.kind() != Kind::kObject) {
      fail(element() + " is " + describe() +
           ", expected an object with \"index\" and \"embedding\"");
    }
    bool has_index = false, has_embedding = false;
    indices_.emplace_back();
    reader_.begin_object();
    while (const auto name = reader_.next_member()) {
      if (*name == "index") {
        if (std::exchange(has_index, true)) fail(element() + ".index appears twice");
        indices_.back() = read_index();
      } else if (*name == "embedding") {
        if (std::exchange(has_embedding, true)) fail(element() + ".embedding appears twice");
        read_embedding(rows_[element_]);
      } else {
        reader_.skip();
      }
    }
    if (!has_embedding) {
      fail(element() + ".embedding is missing, expected base64 or an array of numbers");
    }
  }

  /// Empty for null.
  std::optional<std::size_t> read_index() {
    std::string text;
    switch (reader_.kind()) {
      case Kind::kNull:
        reader_.skip();
        return std::nullopt;
      case Kind::kNumber:
        text = reader_.raw_number();
        break;
      case Kind::kString:
        text = JsonReader::unescape(reader_.raw_string(), 40);
        break;
      default:
        fail_index(describe());
    }
    // Integers of this size are exact in a double.
    double index = -1;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, index);
    if (error != std::errc() || stop != end || index != std::floor(index) || index < 0 ||
        index >= static_cast<double>(rows_.size())) {
      fail_index(excerpt(text, 40));
    }
    return static_cast<std::size_t>(index);
  }

  [[noreturn]] void fail_index(const std::string& found) const {
    fail(element() + ".index is " + found + ", expected 0 to " + std::to_string(rows_.size() - 1));
  }

  /// Whether each index is 0 or follows the one before it, with more than one 0 among them.
  bool indices_start_again() const {
    for (std::size_t i = 0; i < indices_.size(); ++i) {
      if (!indices_[i]) return false;
      if (*indices_[i] != 0 && (i == 0 || *indices_[i] != *indices_[i - 1] + 1)) return false;
    }
    return std::ranges::count(indices_, std::optional<std::size_t>(0)) > 1;
  }

  /// The text of each element.
  std::vector<std::size_t> texts_of_elements() const {
    std::vector<std::size_t> texts(rows_.size());
    if (indices_start_again()) {
      std::iota(texts.begin(), texts.end(), std::size_t{0});
      return texts;
    }
    std::vector<bool> named(rows_.size());
    for (std::size_t i = 0; i < indices_.size(); ++i) {
      if (!indices_[i]) continue;
      if (named[*indices_[i]]) {
        fail(element(i) + ".index is " + std::to_string(*indices_[i]) +
             ", as that of an element before it: expected 0 to " +
             std::to_string(rows_.size() - 1) + ", each once");
      }
      named[*indices_[i]] = true;
      texts[i] = *indices_[i];
    }
    std::size_t free = 0;
    for (std::size_t i = 0; i < indices_.size(); ++i) {
      if (indices_[i]) continue;
      while (named[free]) ++free;
      texts[i] = free++;
    }
    return texts;
  }

  std::vector<BadEmbedding> put_in_order() {
    std::vector<std::size_t> texts = texts_of_elements();
    for (BadEmbedding& bad : bad_) bad.text = texts[bad.text];
    // Each swap puts one row in its final place.
    for (std::size_t i = 0; i < texts.size(); ++i) {
      while (texts[i] != i) {
        const std::size_t to = texts[i];
        std::ranges::swap_ranges(rows_[i], rows_[to]);
        std::swap(texts[i], texts[to]);
      }
    }
    return std::move(bad_);
  }

  void read_embedding(std::span<float> row) {
    try {
      switch (reader_.kind()) {
        case Kind::kString:
          read_base64(reader_.raw_string(), row);
          break;
        case Kind::kArray:
          read_decimals(row);
          break;
        default: {
          const std::string found = describe();
          reader_.skip();
          fail_embedding("is " + found + ", expected base64 or an array of numbers");
        }
      }
      if (std::ranges::all_of(row, [](float value) { return value == 0; })) {
        fail_embedding(
            "is all zeros, which has no direction: does the server load and run the model "
            "correctly?");
      }
    } catch (const Unusable& unusable) {
      bad_.push_back({element_, unusable.message});
    }
  }

  void read_base64(std::string_view text, std::span<float> row) const {
    const std::size_t expected = base64_length(row.size_bytes());
    std::string unescaped;
    // Some encoders write "\/" for "/".
    if (text.find('\\') != text.npos) {
      text = unescaped = JsonReader::unescape(text, expected + 1);
    }
    if (text.size() != expected) {
      // Every length in characters corresponds to at most one length in numbers.
      const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
      const std::size_t bytes = text.size() / 4 * 3 - std::min(padding, text.size() / 4 * 3);
      if (unescaped.empty() && text.size() % 4 == 0 && bytes % sizeof(float) == 0) {
        fail_dimension(std::to_string(bytes / sizeof(float)), row.size());
      }
      fail_embedding("is not base64 of " + std::to_string(row.size()) +
                     " float32 numbers, which takes " + std::to_string(expected) + " characters");
    }
    if (!decode_base64(text, std::as_writable_bytes(row))) fail_base64(text, row.size_bytes());
    if constexpr (std::endian::native == std::endian::big) {
      for (float& value : row) {
        auto bytes = std::bit_cast<std::array<std::byte, sizeof(float)>>(value);
        std::ranges::reverse(bytes);
        value = std::bit_cast<float>(bytes);
      }
    }
    // One branch-free pass: NaN and infinity have all exponent bits set.
    std::uint32_t not_finite = 0;
    for (const float value : row) {
      not_finite |= (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) + 0x00800000u;
    }
    if (not_finite >> 31 == 0) return;
    const auto bad = std::ranges::find_if(row, [](float value) { return !std::isfinite(value); });
    fail_number(static_cast<std::size_t>(bad - row.begin()), std::isnan(*bad) ? "NaN" : "infinite");
  }

  void read_decimals(std::span<float> row) {
    std::size_t count = 0;
    std::optional<Unusable> unusable;  // the first error; the rest of the array is skipped
    for (reader_.begin_array(); reader_.next_element(); ++count) {
      if (unusable || count >= row.size()) {
        reader_.skip();
        continue;
      }
      try {
        row[count] = read_decimal(count);
      } catch (const Unusable& bad) {
        unusable = bad;
      }
    }
    if (unusable) throw Unusable(*unusable);
    if (count != row.size()) fail_dimension(std::to_string(count), row.size());
  }

  /// Number `i` of an embedding; has read it when it throws Unusable.
  float read_decimal(std::size_t i) {
    if (const Kind kind = reader_.kind(); kind != Kind::kNumber) {
      reader_.skip();
      fail_number(i, JsonReader::name(kind));
    }
    const std::string_view text = reader_.raw_number();
    const std::optional<float> value = to_float(text);
    if (!value) fail_number(i, std::string(text.substr(0, 40)) + ", outside what float32 can hold");
    return *value;
  }

  [[noreturn]] void fail_base64(std::string_view text, std::size_t bytes) const {
    // Otherwise, the last character before the padding has unused bits set.
    const std::size_t padding = text.size() / 4 * 3 - bytes;
    std::size_t bad = text.find_first_not_of(kAlphabet);
    if (bad == text.npos || bad >= text.size() - padding) {
      bad = text.find_first_not_of('=', text.size() - padding);
    }
    if (bad == text.npos) bad = text.size() - padding - 1;
    fail_embedding("is not base64: character " + std::to_string(bad + 1) + " of " +
                   std::to_string(text.size()) + " is " + excerpt(text.substr(bad, 1)));
  }

  /// The float nearest to a JSON number; empty if it is not finite.
  static std::optional<float> to_float(std::string_view text) {
    float value = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, value).ec == std::errc()) return value;
    // Overflow or underflow: parsing as double distinguishes them.
    double wide = 0;
    if (std::from_chars(text.data(), end, wide).ec == std::errc() && std::abs(wide) < 1) {
      return static_cast<float>(wide);
    }
    return std::nullopt;
  }

  [[noreturn]] void fail_dimension(const std::string& found, std::size_t expected) const {
    fail_embedding("has " + found + " numbers, expected " + std::to_string(expected) +
                   ": does the server run the model that the checkpoint was trained with?");
  }
  [[noreturn]] void fail_number(std::size_t i, std::string_view found) const {
    throw Unusable{element() + ".embedding[" + std::to_string(i) + "] is " + std::string(found) +
                   ", expected a finite number"};
  }

  JsonReader reader_;
  std::span<const std::span<float>> rows_;
  std::vector<std::optional<std::size_t>> indices_ = {};  // of each element, where it has one
  std::vector<BadEmbedding> bad_ = {};                    // by element until put_in_order()
  std::size_t element_ = 0;                               // of data, where the reader is
};

/// `body` with null in place of NaN, Infinity and -Infinity, which Python's json module writes
/// although JSON has none of them.
std::string with_null_for_python_numbers(std::string_view body) {
  std::string result;
  bool in_string = false;
  for (std::size_t i = 0; i < body.size();) {
    const char c = body[i];
    std::size_t length = 1;
    if (in_string) {
      if (c == '\\') length = std::min<std::size_t>(2, body.size() - i);
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == 'N' || c == 'I' || c == '-') {
      for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
        if (!body.substr(i).starts_with(word)) continue;
        result += "null";
        i += word.size();
        length = 0;
        break;
      }
    }
    result += body.substr(i, length);
    i += length;
  }
  return result;
}

}  // namespace

std::optional<std::vector<BadEmbedding>> read_embeddings(std::string_view body,
                                                         std::span<const std::span<float>> rows) {
  try {
    return Response(body, rows).read();
  } catch (const Error&) {
    // One text with such a number does not fail the others.
    const std::string repaired = with_null_for_python_numbers(body);
    if (repaired == body) throw;
    return Response(repaired, rows).read();
  }
}

}  // namespace r2router::internal
