#include "encode/remote/embeddings_response.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json_reader.h"

namespace r2router::internal {
namespace {

using Kind = JsonReader::Kind;

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Beyond 24 bits, so that it shows in a group that holds it.
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

/// The three bytes of four characters; kNotBase64 is set in it if one is not of the alphabet.
std::uint32_t group(const char* text) {
  const auto* c = reinterpret_cast<const unsigned char*>(text);
  return kSextets[0][c[0]] | kSextets[1][c[1]] | kSextets[2][c[2]] | kSextets[3][c[3]];
}

constexpr std::size_t base64_length(std::size_t bytes) { return (bytes + 2) / 3 * 4; }

void store(std::byte* out, std::uint32_t bytes, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(bytes >> (8 * i));
}

/// Decodes `text`, which has base64_length(out.size()) characters. False unless it is the one
/// encoding of some bytes: the padding is there and the bits that it leaves over are zero.
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

/// Reads the parts of one answer, and says where it is when something is wrong.
class Response {
 public:
  Response(std::string_view body, std::span<const std::span<float>> rows)
      : reader_(body, ErrorCode::kBadResponse), rows_(rows), found_(rows.size()) {}

  bool read() {
    if (reader_.kind() != Kind::kObject) {
      fail("the answer is " + describe() + ", expected an object with \"data\"");
    }
    bool has_data = false;
    reader_.begin_object();
    while (const auto name = reader_.next_member()) {
      if (*name == "error" && reader_.kind() != Kind::kNull) return false;
      if (*name != "data") {
        reader_.skip();
        continue;
      }
      if (has_data) fail("\"data\" stands twice in the answer");
      has_data = true;
      read_data();
    }
    reader_.end();
    if (!has_data) fail("the answer has no \"data\", expected an array of embeddings");
    return true;
  }

 private:
  [[noreturn]] static void fail(const std::string& message) {
    throw Error(ErrorCode::kBadResponse, message);
  }

  std::string describe() { return std::string(JsonReader::name(reader_.kind())); }
  std::string element() const { return "data[" + std::to_string(element_) + "]"; }
  [[noreturn]] void fail_embedding(const std::string& message) const {
    fail(element() + ".embedding " + message);
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
    const auto missing = std::ranges::find(found_, false) - found_.begin();
    fail("\"data\" has " + std::to_string(element_) + " elements, expected " +
         std::to_string(rows_.size()) + ", one for each text: index " + std::to_string(missing) +
         " is missing");
  }

  void read_element() {
    if (reader_.kind() != Kind::kObject) {
      fail(element() + " is " + describe() +
           ", expected an object with \"index\" and \"embedding\"");
    }
    std::optional<std::size_t> index, row;
    reader_.begin_object();
    while (const auto name = reader_.next_member()) {
      if (*name == "index") {
        if (index) fail(element() + ".index stands twice");
        index = read_index();
      } else if (*name == "embedding") {
        if (row) fail_embedding("stands twice");
        // Before the index is known the numbers go to a row that is still free.
        row = index ? *index : first_free();
        read_embedding(rows_[*row]);
      } else {
        reader_.skip();
      }
    }
    if (!index) fail(element() + ".index is missing, expected the number of its text");
    if (!row) fail_embedding("is missing, expected base64 or an array of numbers");
    if (*row != *index) std::ranges::copy(rows_[*row], rows_[*index].begin());
  }

  /// There is one as long as there are fewer elements than rows.
  std::size_t first_free() {
    while (found_[first_free_]) ++first_free_;
    return first_free_;
  }

  std::size_t read_index() {
    if (reader_.kind() != Kind::kNumber) fail_index(describe());
    const std::string_view text = reader_.raw_number();
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index >= rows_.size()) {
      fail_index(std::string(text.substr(0, 40)));
    }
    if (found_[index]) fail_index(std::to_string(index) + ", as that of an element before it");
    found_[index] = true;
    return index;
  }

  [[noreturn]] void fail_index(const std::string& found) const {
    fail(element() + ".index is " + found + ", expected 0 to " + std::to_string(rows_.size() - 1) +
         ", each once");
  }

  void read_embedding(std::span<float> row) {
    switch (reader_.kind()) {
      case Kind::kString:
        read_base64(reader_.raw_string(), row);
        return;
      case Kind::kArray:
        read_decimals(row);
        return;
      default:
        fail_embedding("is " + describe() + ", expected base64 or an array of numbers");
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
      // Every length in characters stands for at most one length in numbers.
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
    // One pass without a branch; NaN and infinity are those that have all bits of the exponent set.
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
    for (reader_.begin_array(); reader_.next_element(); ++count) {
      if (count == row.size()) fail_dimension("more than " + std::to_string(count), row.size());
      if (const Kind kind = reader_.kind(); kind != Kind::kNumber) {
        fail_number(count, JsonReader::name(kind));
      }
      const std::string_view text = reader_.raw_number();
      const std::optional<float> value = to_float(text);
      if (!value)
        fail_number(count, std::string(text.substr(0, 40)) + ", outside what float32 can hold");
      row[count] = *value;
    }
    if (count < row.size()) fail_dimension(std::to_string(count), row.size());
  }

  [[noreturn]] void fail_base64(std::string_view text, std::size_t bytes) const {
    // Where nothing else is wrong, the last character before the padding has bits set that are left
    // over.
    const std::size_t padding = text.size() / 4 * 3 - bytes;
    std::size_t bad = text.find_first_not_of(kAlphabet);
    if (bad == text.npos || bad >= text.size() - padding) {
      bad = text.find_first_not_of('=', text.size() - padding);
    }
    if (bad == text.npos) bad = text.size() - padding - 1;
    fail_embedding("is not base64: character " + std::to_string(bad + 1) + " of " +
                   std::to_string(text.size()) + " is " + excerpt(text.substr(bad, 1)));
  }

  /// The float nearest to a JSON number; nothing if that is not finite.
  static std::optional<float> to_float(std::string_view text) {
    float value = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, value).ec == std::errc()) return value;
    // Too large, or too near to zero: a double tells which.
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
    fail(element() + ".embedding[" + std::to_string(i) + "] is " + std::string(found) +
         ", expected a finite number");
  }

  JsonReader reader_;
  std::span<const std::span<float>> rows_;
  std::vector<bool> found_;     // of each index
  std::size_t first_free_ = 0;  // no row before it is free
  std::size_t element_ = 0;     // of data, where the reader is
};

}  // namespace

bool read_embeddings(std::string_view body, std::span<const std::span<float>> rows) {
  return Response(body, rows).read();
}

}  // namespace r2router::internal
