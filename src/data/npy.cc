#include "data/npy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/file.h"

namespace r2router::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxHeader = 1 << 16;  // real headers take about 120 bytes
constexpr const char* kRemedy =
    "; save the array with numpy.save(path, numpy.ascontiguousarray(array, dtype=\"float32\"))";

struct Header {
  std::string type;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
};

/// Parses the header's text, a Python dictionary such as
///     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
/// Only the literals that numpy.save writes are understood.
class HeaderParser {
 public:
  /// `offset`: where `text` begins in the file.
  HeaderParser(std::string_view text, std::size_t offset, const std::string& file)
      : text_(text), offset_(offset), file_(file) {}

  Header parse() {
    Header header;
    bool has_type = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = take_string();
      expect(':');
      if (key == "descr" && !std::exchange(has_type, true)) {
        header.type = take_type();
      } else if (key == "fortran_order" && !std::exchange(has_order, true)) {
        header.fortran_order = take_boolean();
      } else if (key == "shape" && !std::exchange(has_shape, true)) {
        header.shape = take_shape();
      } else {
        fail("found a field that is repeated or not known");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();  // numpy.save pads the header, so that the data are aligned
    if (!has_type || !has_order || !has_shape || at_ != text_.size()) fail("found another header");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& found) const {
    throw Error(ErrorCode::kBadData,
                found +
                    ", expected the fields 'descr', 'fortran_order' and 'shape' of a .npy "
                    "header" +
                    kRemedy,
                {.file = file_, .byte_offset = offset_ + at_});
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("found no '") + c + "' here");
  }

  std::string take_string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("found no quoted name here");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) fail("found a quotation without an end");
    const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return std::string(content);
  }

  std::string take_type() {
    skip_space();
    // Types of records are lists: [('x', '<f4'), …].
    if (at_ < text_.size() && text_[at_] == '[') fail("found an array of records");
    return take_string();
  }

  bool take_boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    fail("found neither True nor False");
  }

  std::uint64_t take_count() {
    skip_space();
    const std::size_t start = at_;
    std::uint64_t count = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (__builtin_mul_overflow(count, std::uint64_t{10}, &count) ||
          __builtin_add_overflow(count, static_cast<std::uint64_t>(text_[at_] - '0'), &count)) {
        fail("found an extent that is too large");
      }
    }
    if (at_ == start) fail("found no extent here");
    return count;
  }

  std::vector<std::uint64_t> take_shape() {
    std::vector<std::uint64_t> shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(take_count());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view text_;
  std::size_t offset_;
  const std::string& file_;
  std::size_t at_ = 0;
};

[[noreturn]] void fail(const std::string& message, const std::string& file) {
  throw Error(ErrorCode::kBadData, message + kRemedy, {.file = file});
}

template <typename Value>
std::vector<Value> copy_values(std::span<const std::uint8_t> data, const NpyArray& array,
                               bool fortran_order) {
  std::vector<Value> values(data.size() / sizeof(Value));
  if (values.empty()) return values;
  std::memcpy(values.data(), data.data(), data.size());
  if (!fortran_order) return values;
  // The file has the columns one after another.
  std::vector<Value> transposed(values.size());
  for (std::size_t column = 0; column < array.columns; ++column) {
    for (std::size_t row = 0; row < array.rows; ++row) {
      transposed[row * array.columns + column] = values[column * array.rows + row];
    }
  }
  return transposed;
}

}  // namespace

NpyArray parse_npy(std::span<const std::uint8_t> bytes, const std::string& file) {
  static_assert(std::endian::native == std::endian::little, "the files hold little-endian numbers");
  // 12 bytes are less than the shortest header, so every read below is in bounds.
  // Magic string, two bytes of version, then the header's length in 2 bytes (version 1) or 4.
  const auto starts_with_magic = [&] {
    return bytes.size() >= 12 && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
  };
  if (!starts_with_magic()) fail("found no .npy header at the start of the file", file);
  const unsigned version = bytes[6];
  if (version < 1 || version > 3 || bytes[7] != 0) {
    fail("found .npy version " + std::to_string(version) + "." + std::to_string(bytes[7]) +
             ", expected 1.0, 2.0 or 3.0",
         file);
  }
  const std::size_t start = version == 1 ? 10 : 12;
  std::uint64_t length = 0;
  for (std::size_t i = 8; i < start; ++i) length |= std::uint64_t{bytes[i]} << (8 * (i - 8));
  if (length > kMaxHeader || length > bytes.size() - start) {
    fail("found a header length of " + std::to_string(length) + " in a file of " +
             std::to_string(bytes.size()) + " bytes, which is truncated or corrupt",
         file);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + start, length);
  const Header header = HeaderParser(text, start, file).parse();

  if (header.type.find('O') != std::string::npos) {
    throw Error(ErrorCode::kUnsafe,
                std::string("found an array of Python objects, which could run code when "
                            "unpickled; expected float32 or float64") +
                    kRemedy,
                {.file = file});
  }
  if (header.type != "<f4" && header.type != "<f8") {
    fail("found elements of type " + excerpt(header.type) + ", expected \"<f4\" or \"<f8\"", file);
  }
  if (header.shape.empty() || header.shape.size() > 2) {
    fail(
        "found an array of " + std::to_string(header.shape.size()) + " dimensions, expected 1 or 2",
        file);
  }
  // The whole size is known to be in the file before memory is taken for it.
  NpyArray array;
  array.rows = header.shape.size() == 2 ? header.shape[0] : 1;
  array.columns = header.shape.back();
  const std::size_t element = header.type == "<f4" ? sizeof(float) : sizeof(double);
  const auto data = bytes.subspan(start + length);
  std::uint64_t expected = 0;
  if (__builtin_mul_overflow(array.rows, array.columns, &expected) ||
      __builtin_mul_overflow(expected, element, &expected) || expected != data.size()) {
    fail("found " + std::to_string(data.size()) + " bytes of data, expected those of " +
             std::to_string(array.rows) + " × " + std::to_string(array.columns) + " numbers of " +
             std::to_string(element) + " bytes",
         file);
  }
  if (element == sizeof(float)) {
    array.values = copy_values<float>(data, array, header.fortran_order);
  } else {
    array.values = copy_values<double>(data, array, header.fortran_order);
  }
  return array;
}

NpyArray read_npy(const std::string& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), path);
}

NpyArray read_embeddings_npy(const std::string& path) {
  NpyArray array = read_npy(path);
  const auto check = [&](const auto& values) {
    const auto not_finite =
        std::ranges::find_if(values, [](auto value) { return !std::isfinite(value); });
    if (not_finite != values.end()) {
      const auto index = static_cast<std::size_t>(not_finite - values.begin());
      throw Error(ErrorCode::kBadData,
                  "row " + std::to_string(index / array.columns) + " holds " +
                      std::to_string(*not_finite) + " at " + std::to_string(index % array.columns) +
                      ": expected finite numbers",
                  {.file = path});
    }
    for (std::size_t row = 0; array.columns > 0 && row < array.rows; ++row) {
      const auto numbers = std::span(values).subspan(row * array.columns, array.columns);
      if (std::ranges::any_of(numbers, [](auto value) { return value != 0; })) continue;
      throw Error(ErrorCode::kBadData,
                  "row " + std::to_string(row) +
                      " is all zeros, which is not the embedding of a text: compute it again, or "
                      "leave it out",
                  {.file = path});
    }
  };
  std::visit(check, array.values);
  return array;
}

NpyArray read_embeddings_npy(const std::string& path, std::size_t dimension,
                             const std::string& encoder) {
  NpyArray array = read_embeddings_npy(path);
  if (array.columns == dimension) return array;
  throw Error(ErrorCode::kBadData,
              "the embeddings have " + std::to_string(array.columns) +
                  " numbers each, the checkpoint expects " + std::to_string(dimension) +
                  ": use the encoder that it was trained with (" + encoder + ")",
              {.file = path});
}

}  // namespace r2router::io
