#include "checkpoint/joblib.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include <zlib.h>

#include "base/excerpt.h"

namespace r2router::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "array bytes are copied as they stand in the file");

using Kind = PickleValue::Kind;
using Use = AllowedGlobal::Use;

// All that a file of Ridge regressors names, whichever versions wrote it.
constexpr AllowedGlobal kGlobals[] = {
    {"sklearn.linear_model._ridge", "Ridge", Use::kConstruct},
    {"joblib.numpy_pickle", "NumpyArrayWrapper", Use::kConstruct},
    {"numpy", "ndarray", Use::kName},
    {"numpy", "dtype", Use::kCall},
    {"numpy._core.multiarray", "scalar", Use::kCall},
    {"numpy.core.multiarray", "scalar", Use::kCall},  // NumPy 1
    {"_codecs", "encode", Use::kCall},                // how protocol 2 spells bytes
};
constexpr const AllowedGlobal* kRidge = &kGlobals[0];
constexpr const AllowedGlobal* kArrayWrapper = &kGlobals[1];
constexpr const AllowedGlobal* kNdarray = &kGlobals[2];
constexpr const AllowedGlobal* kDtype = &kGlobals[3];
constexpr const AllowedGlobal* kScalar = &kGlobals[4];
constexpr const AllowedGlobal* kScalarNumpy1 = &kGlobals[5];
constexpr const AllowedGlobal* kEncode = &kGlobals[6];

constexpr char kDamaged[] = " The file is damaged: copy or download it again.";
constexpr char kFitAgain[] = " Fit the regressor again on finite data.";
constexpr char kPlainArrays[] =
    " Fit the regressor on plain NumPy arrays of one target and save it with joblib.dump().";

/// A NumPy scalar type.
struct ElementType {
  char kind = 0;         ///< 'f' float, 'i' signed, 'u' unsigned, 'b' boolean
  std::size_t size = 0;  ///< bytes
  bool is_float() const { return kind == 'f' && size >= 4; }
};

/// Reads the tree; holds what every error needs.
struct Reader {
  const PickleSource& source;
  const PickleTree& tree;

  [[noreturn]] void refuse(const PickleValue& value, const std::string& message) const {
    source.refuse(ErrorCode::kBadCheckpoint, value.offset, message);
  }

  const PickleValue& item(const PickleValue& value, std::size_t i) const {
    return tree[value.items[i]];
  }
  bool is_object(const PickleValue& value, const AllowedGlobal* of) const {
    return value.kind == Kind::kObject && value.global == of;
  }
  /// The arguments of a call.
  const PickleValue& arguments(const PickleValue& object) const { return item(object, 0); }
  /// The attributes of an object, a dict.
  const PickleValue& attributes(const PickleValue& object) const {
    if (object.items.size() < 2 || item(object, 1).kind != Kind::kDict) {
      refuse(object, describe(object) + " has no dict of attributes." + kDamaged);
    }
    return item(object, 1);
  }
  const PickleValue& attribute(const PickleValue& object, std::string_view name) const {
    const PickleValue* found = tree.find(source, attributes(object), name);
    if (found == nullptr) {
      refuse(object, describe(object) + " has no attribute " + excerpt(name) +
                         "; expected a fitted regressor as joblib saves it." + kPlainArrays);
    }
    return *found;
  }

  ElementType element_type(const PickleValue& dtype) const;
  std::vector<std::uint64_t> shape(const PickleValue& wrapper) const;
  std::string_view take_array(const PickleValue& wrapper, ByteCursor& cursor) const;
  std::string bytes(const PickleValue& value) const;
  double number(const PickleValue& value) const;
  RidgeHead head(const PickleValue& value) const;
};

/// dtype('f4', False, True) with the state (3, '<', None, None, None, -1, -1, 0).
ElementType Reader::element_type(const PickleValue& dtype) const {
  if (!is_object(dtype, kDtype)) {
    refuse(dtype, "expected a numpy.dtype, found " + describe(dtype) + "." + kDamaged);
  }
  const PickleValue& call = arguments(dtype);
  if (call.items.empty() || item(call, 0).kind != Kind::kText || dtype.items.size() < 2 ||
      item(dtype, 1).kind != Kind::kTuple || item(dtype, 1).items.size() < 8 ||
      item(item(dtype, 1), 1).kind != Kind::kText) {
    refuse(dtype, std::string("a numpy.dtype without its type or byte order.") + kDamaged);
  }
  const std::string_view name = item(call, 0).text;
  const PickleValue& state = item(dtype, 1);
  const std::string_view byte_order = item(state, 1).text;
  constexpr std::string_view kNames[] = {"f2", "f4", "f8", "i1", "i2", "i4",
                                         "i8", "u1", "u2", "u4", "u8", "b1"};
  const bool is_plain = std::all_of(state.items.begin() + 2, state.items.begin() + 5,
                                    [&](auto i) { return tree[i].kind == Kind::kNone; });
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames) || !is_plain) {
    refuse(dtype, "array elements of the type " + excerpt(name) +
                      (name.starts_with('O') ? " (Python objects)" : "") +
                      "; expected plain numbers, such as \"f4\"." + kPlainArrays);
  }
  // The digit is the width in bytes, in every name of the list.
  const ElementType type{name[0], static_cast<std::size_t>(name[1] - '0')};
  if (byte_order != "<" && !(byte_order == "|" && type.size == 1)) {
    refuse(dtype, "array elements with the byte order " + excerpt(byte_order) +
                      "; expected little-endian, \"<\". Convert the arrays with "
                      "array.astype(array.dtype.newbyteorder('<')) and save them again.");
  }
  return type;
}

std::vector<std::uint64_t> Reader::shape(const PickleValue& wrapper) const {
  const PickleValue& tuple = attribute(wrapper, "shape");
  std::vector<std::uint64_t> sizes;
  if (tuple.kind != Kind::kTuple) {
    refuse(tuple, "expected an array's shape, found " + describe(tuple) + "." + kDamaged);
  }
  for (const std::uint32_t index : tuple.items) {
    if (tree[index].kind != Kind::kInteger || tree[index].integer < 0) {
      refuse(tuple, "an array's shape has " + describe(tree[index]) +
                        "; expected sizes of 0 or more." + kDamaged);
    }
    sizes.push_back(static_cast<std::uint64_t>(tree[index].integer));
  }
  return sizes;
}

std::string_view Reader::take_array(const PickleValue& wrapper, ByteCursor& cursor) const {
  const PickleValue& subclass = attribute(wrapper, "subclass");
  if (subclass.kind != Kind::kGlobal || subclass.global != kNdarray) {
    refuse(subclass, "expected an array of the class numpy.ndarray, found " + describe(subclass) +
                         "." + kPlainArrays);
  }
  // Bounded by the file's size at every step, so the product cannot overflow.
  std::uint64_t size = element_type(attribute(wrapper, "dtype")).size;
  for (const std::uint64_t extent : shape(wrapper)) {
    if (extent != 0 && size > source.bytes.size() / extent) {
      refuse(wrapper, "an array larger than the file it stands in (" +
                          std::to_string(source.bytes.size()) + " bytes)." + kDamaged);
    }
    size *= extent;
  }
  // Absent before joblib 1.2; None where the writer could not tell its position. No padding then.
  const PickleValue* alignment =
      tree.find(source, attributes(wrapper), "numpy_array_alignment_bytes");
  if (alignment != nullptr && alignment->kind != Kind::kNone) {
    if (alignment->kind != Kind::kInteger || alignment->integer < 1 || alignment->integer > 255) {
      refuse(*alignment, "an array alignment of " + describe(*alignment) +
                             "; expected an integer from 1 to 255." + kDamaged);
    }
    // The writer pads by 1 to 16 bytes, never 0; any count that aligns the array is taken here.
    const std::uint64_t offset = cursor.offset();
    const std::uint64_t padding = cursor.read_unsigned(1, "the count of an array's padding");
    if (padding > static_cast<std::uint64_t>(alignment->integer) ||
        (offset + 1 + padding) % static_cast<std::uint64_t>(alignment->integer) != 0) {
      source.refuse(ErrorCode::kBadCheckpoint, offset,
                    "array padding of " + std::to_string(padding) +
                        " bytes does not lead to a multiple of " +
                        std::to_string(alignment->integer) + "." + kDamaged);
    }
    cursor.take(padding, "an array's padding");
  }
  return cursor.take(size, "an array");
}

/// Bytes, or the call codecs.encode(text, 'latin1') that protocol 2 has in place of them.
std::string Reader::bytes(const PickleValue& value) const {
  if (value.kind == Kind::kBytes) return std::string(value.text);
  if (!is_object(value, kEncode)) {
    refuse(value, "expected bytes, found " + describe(value) + "." + kDamaged);
  }
  const PickleValue& call = arguments(value);
  if (call.items.size() != 2 || item(call, 0).kind != Kind::kText ||
      item(call, 1).text != "latin1") {
    refuse(value, std::string("a call of _codecs.encode that does not spell bytes.") + kDamaged);
  }
  const std::string_view text = item(call, 0).text;
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<std::uint8_t>(text[i]);
    if (byte >= 0x80) {
      // Latin-1 beyond ASCII is U+0080 to U+00FF: in UTF-8 the byte 0xC2 or 0xC3 and one more.
      const auto next = static_cast<std::uint8_t>(i + 1 < text.size() ? text[i + 1] : 0);
      if ((byte != 0xc2 && byte != 0xc3) || (next & 0xc0) != 0x80) {
        refuse(value,
               std::string("bytes spelled with a character that is not Latin-1.") + kDamaged);
      }
      byte = static_cast<std::uint8_t>((byte & 0x03) << 6 | (next & 0x3f));
      ++i;
    }
    result += static_cast<char>(byte);
  }
  return result;
}

double load_float(const char* data, bool is_float64) {
  if (is_float64) {
    double value;
    std::memcpy(&value, data, sizeof value);
    return value;
  }
  float value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

/// A float: Python's, NumPy's, or an array of one.
double Reader::number(const PickleValue& value) const {
  if (value.kind == Kind::kFloat) return value.real;
  // A user may have set a whole number by hand.
  if (value.kind == Kind::kInteger) return static_cast<double>(value.integer);
  ElementType type;
  std::string content;
  if (is_object(value, kScalar) || is_object(value, kScalarNumpy1)) {
    const PickleValue& call = arguments(value);
    if (call.items.size() != 2) {
      refuse(value, std::string("a NumPy scalar without type or value.") + kDamaged);
    }
    type = element_type(item(call, 0));
    content = bytes(item(call, 1));
  } else if (is_object(value, kArrayWrapper)) {
    type = element_type(attribute(value, "dtype"));
    content = value.text;
  } else {
    refuse(value, "expected a number, found " + describe(value) + "." + kPlainArrays);
  }
  if (!type.is_float() || content.size() != type.size) {
    refuse(value, "expected one float32 or float64, found " + std::to_string(content.size()) +
                      " bytes of the type \"" + type.kind + std::to_string(type.size) + "\"." +
                      kPlainArrays);
  }
  return load_float(content.data(), type.size == 8);
}

RidgeHead Reader::head(const PickleValue& value) const {
  if (!is_object(value, kRidge)) {
    refuse(value, "expected a sklearn.linear_model.Ridge regressor, found " + describe(value) +
                      "." + kPlainArrays);
  }
  RidgeHead head{.offset = value.offset};
  const PickleValue& coefficients = attribute(value, "coef_");
  if (!is_object(coefficients, kArrayWrapper)) {
    refuse(coefficients,
           "expected an array as coef_, found " + describe(coefficients) + "." + kPlainArrays);
  }
  const ElementType type = element_type(attribute(coefficients, "dtype"));
  if (!type.is_float()) {
    refuse(coefficients, "coef_ has elements of the type \"" +
                             (type.kind + std::to_string(type.size)) +
                             "\"; expected float32 or float64." + kPlainArrays);
  }
  // One row in either memory order is the same bytes as the plain vector.
  const std::vector<std::uint64_t> sizes = shape(coefficients);
  if (sizes.empty() || sizes.size() > 2 || (sizes.size() == 2 && sizes[0] != 1)) {
    refuse(coefficients, "coef_ has " + std::to_string(sizes.size()) +
                             " dimensions or several rows; expected the shape (n,) or (1, n)." +
                             kPlainArrays);
  }
  head.coefficients = coefficients.text;
  head.is_float64 = type.size == 8;
  head.intercept = number(attribute(value, "intercept_"));
  return head;
}

std::string_view take_inline_bytes(const PickleTree& tree, const PickleValue& object,
                                   ByteCursor& cursor) {
  if (object.global != kArrayWrapper) return {};
  return Reader{cursor.source(), tree}.take_array(object, cursor);
}

bool is_zlib(std::span<const std::uint8_t> bytes) {
  // RFC 1950: deflate with a window of up to 32 KiB, and a header that is a multiple of 31.
  return bytes.size() >= 2 && bytes[0] == 0x78 && (bytes[0] * 256 + bytes[1]) % 31 == 0;
}

/// Decompresses into memory that grows step by step, so that a small file cannot take much of it.
std::vector<std::uint8_t> inflate_all(const PickleSource& file) {
  constexpr std::size_t kFirstStep = 1 << 16;
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) {
    file.refuse(ErrorCode::kBadCheckpoint, 0, "zlib could not start. Free some memory.");
  }
  struct Ender {
    z_stream* stream;
    ~Ender() { inflateEnd(stream); }
  } const ender{&stream};

  std::vector<std::uint8_t> out;
  std::size_t done_in = 0;
  std::size_t done_out = 0;
  const auto step = [](std::size_t size) {
    return static_cast<uInt>(std::min(size, std::size_t{1} << 30));
  };
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (done_out == out.size()) {
      if (out.size() == kMaxDecompressedBytes) {
        file.refuse(ErrorCode::kBadCheckpoint, done_in,
                    "the file decompresses to more than " + std::to_string(kMaxDecompressedBytes) +
                        " bytes. Write it again uncompressed: joblib.dump(value, file).");
      }
      out.resize(std::clamp(2 * out.size(), kFirstStep, kMaxDecompressedBytes));
    }
    const uInt in = step(file.bytes.size() - done_in);
    const uInt room = step(out.size() - done_out);
    // zlib reads through next_in only, though its type lacks const.
    stream.next_in = const_cast<Bytef*>(file.bytes.data()) + done_in;
    stream.avail_in = in;
    stream.next_out = out.data() + done_out;
    stream.avail_out = room;
    status = inflate(&stream, Z_NO_FLUSH);
    done_in += in - stream.avail_in;
    done_out += room - stream.avail_out;
    if (status != Z_OK && status != Z_STREAM_END) {
      file.refuse(ErrorCode::kBadCheckpoint, done_in,
                  std::string(status == Z_BUF_ERROR ? "the compressed data ends too early."
                                                    : "the compressed data is corrupt.") +
                      kDamaged);
    }
  }
  // joblib itself would read a second stream here; its writer never makes one.
  if (done_in != file.bytes.size()) {
    file.refuse(ErrorCode::kBadCheckpoint, done_in,
                std::to_string(file.bytes.size() - done_in) +
                    " bytes stand after the end of the compressed data." + kDamaged);
  }
  out.resize(done_out);
  return out;
}

/// Copies without a look at alignment; returns how many elements stand before the first that is not
/// finite.
template <class Float>
std::size_t copy_finite(const RidgeHead& head, std::span<Float> out) {
  if (out.empty()) return 0;
  if (head.is_float64 == (sizeof(Float) == 8)) {
    std::memcpy(out.data(), head.coefficients.data(), head.coefficients.size());
  } else {
    const std::size_t width = head.is_float64 ? 8 : 4;
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] =
          static_cast<Float>(load_float(head.coefficients.data() + i * width, head.is_float64));
    }
  }
  // One pass without branches, which compilers vectorise, before a search for the culprit.
  bool all_finite = true;
  for (const Float value : out) all_finite &= std::isfinite(value);
  if (all_finite) return out.size();
  const auto is_finite = [](Float value) { return std::isfinite(value); };
  return static_cast<std::size_t>(std::find_if_not(out.begin(), out.end(), is_finite) -
                                  out.begin());
}

std::string name(const RidgeHead& head) {
  return head.key.empty() ? "the regressor" : "the regressor " + excerpt(head.key);
}

}  // namespace

RidgeFile::RidgeFile(std::span<const std::uint8_t> bytes, std::string file)
    : source_{.bytes = bytes, .file = std::move(file)} {
  if (is_zlib(bytes)) {
    decompressed_ = inflate_all(source_);
    source_.bytes = decompressed_;
    source_.decompressed = true;
  }
  const PickleTree tree =
      parse_pickle(source_, {.globals = kGlobals, .take_inline_bytes = take_inline_bytes});
  const Reader reader{source_, tree};
  is_dict_ = tree.root().kind == Kind::kDict;
  if (is_dict_) {
    const std::vector<std::uint32_t>& items = tree.root().items;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      heads_.push_back(reader.head(tree[items[i + 1]]));
      heads_.back().key = tree[items[i]].text;
    }
  } else {
    heads_.push_back(reader.head(tree.root()));
  }

  std::size_t total = 0;
  for (const RidgeHead& head : heads_) {
    if (!std::isfinite(head.intercept)) {
      refuse(head, std::string("the intercept is not a finite number.") + kFitAgain);
    }
    // Heads that share an array could make a small file claim any amount of memory.
    total += head.coefficients.size();
    if (total > source_.bytes.size()) {
      refuse(head, std::string("regressors share one array.") + kPlainArrays);
    }
  }
}

void RidgeFile::copy_coefficients(const RidgeHead& head, std::span<float> out) const {
  require_finite(head, copy_finite(head, out));
}

void RidgeFile::copy_coefficients(const RidgeHead& head, std::span<double> out) const {
  require_finite(head, copy_finite(head, out));
}

void RidgeFile::require_finite(const RidgeHead& head, std::size_t finite) const {
  if (finite == head.size()) return;
  const auto array = head.coefficients.data() - reinterpret_cast<const char*>(source_.bytes.data());
  source_.refuse(ErrorCode::kBadCheckpoint,
                 static_cast<std::uint64_t>(array) + finite * (head.is_float64 ? 8 : 4),
                 name(head) + ": coefficient " + std::to_string(finite) +
                     " is not a finite number." + kFitAgain);
}

void RidgeFile::refuse(const RidgeHead& head, const std::string& message) const {
  source_.refuse(ErrorCode::kBadCheckpoint, head.offset, name(head) + ": " + message);
}

}  // namespace r2router::io
