#include "checkpoint/joblib.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/excerpt.h"
#include "checkpoint/decompress.h"

namespace r2router::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "little-endian array bytes are copied as they are in the file");

using Kind = PickleValue::Kind;
using Use = AllowedGlobal::Use;

// All globals that files of linear regressors name, from any version. First those with a special
// meaning; the rest are the regressors, whose predict() is coef_·x + intercept_.
constexpr AllowedGlobal kGlobals[] = {
    {"joblib.numpy_pickle", "NumpyArrayWrapper", Use::kConstruct},
    {"numpy", "ndarray", Use::kName},
    {"numpy", "dtype", Use::kCall},
    {"_codecs", "encode", Use::kCall},  // bytes in protocols 0 to 2
    {"numpy._core.multiarray", "scalar", Use::kCall},
    {"numpy.core.multiarray", "scalar", Use::kCall},  // NumPy 1
    {"numpy._core.multiarray", "_reconstruct", Use::kCall},
    {"numpy.core.multiarray", "_reconstruct", Use::kCall},
    {"numpy._core.numeric", "_frombuffer", Use::kCall},
    {"numpy.core.numeric", "_frombuffer", Use::kCall},
    {"copyreg", "_reconstructor", Use::kRebuild},
    {"copy_reg", "_reconstructor", Use::kRebuild},  // its name in Python 2
    {"builtins", "object", Use::kName},
    {"__builtin__", "object", Use::kName},
    {"sklearn.linear_model._ridge", "Ridge", Use::kConstruct},
    {"sklearn.linear_model._ridge", "RidgeCV", Use::kConstruct},
    {"sklearn.linear_model._base", "LinearRegression", Use::kConstruct},
    {"sklearn.linear_model._bayes", "ARDRegression", Use::kConstruct},
    {"sklearn.linear_model._bayes", "BayesianRidge", Use::kConstruct},
    {"sklearn.linear_model._coordinate_descent", "ElasticNet", Use::kConstruct},
    {"sklearn.linear_model._coordinate_descent", "ElasticNetCV", Use::kConstruct},
    {"sklearn.linear_model._coordinate_descent", "Lasso", Use::kConstruct},
    {"sklearn.linear_model._coordinate_descent", "LassoCV", Use::kConstruct},
    {"sklearn.linear_model._huber", "HuberRegressor", Use::kConstruct},
    {"sklearn.linear_model._least_angle", "Lars", Use::kConstruct},
    {"sklearn.linear_model._least_angle", "LarsCV", Use::kConstruct},
    {"sklearn.linear_model._least_angle", "LassoLars", Use::kConstruct},
    {"sklearn.linear_model._least_angle", "LassoLarsCV", Use::kConstruct},
    {"sklearn.linear_model._least_angle", "LassoLarsIC", Use::kConstruct},
    {"sklearn.linear_model._omp", "OrthogonalMatchingPursuit", Use::kConstruct},
    {"sklearn.linear_model._omp", "OrthogonalMatchingPursuitCV", Use::kConstruct},
    {"sklearn.linear_model._passive_aggressive", "PassiveAggressiveRegressor", Use::kConstruct},
    {"sklearn.linear_model._quantile", "QuantileRegressor", Use::kConstruct},
    {"sklearn.linear_model._stochastic_gradient", "SGDRegressor", Use::kConstruct},
    {"sklearn.linear_model._theil_sen", "TheilSenRegressor", Use::kConstruct},
    {"sklearn.svm._classes", "LinearSVR", Use::kConstruct},
    // Before scikit-learn 0.22.
    {"sklearn.linear_model.ridge", "Ridge", Use::kConstruct},
    {"sklearn.linear_model.ridge", "RidgeCV", Use::kConstruct},
    {"sklearn.linear_model.base", "LinearRegression", Use::kConstruct},
    {"sklearn.linear_model.coordinate_descent", "Lasso", Use::kConstruct},
    {"sklearn.linear_model.coordinate_descent", "ElasticNet", Use::kConstruct},
};
constexpr const AllowedGlobal* kArrayWrapper = &kGlobals[0];
constexpr const AllowedGlobal* kNdarray = &kGlobals[1];
constexpr const AllowedGlobal* kDtype = &kGlobals[2];
constexpr const AllowedGlobal* kEncode = &kGlobals[3];

// Packages of attributes that are not read: a random state, a cross-validation splitter, a loss.
constexpr std::string_view kInertPackages[] = {"sklearn", "numpy.random"};

bool is_scalar(const AllowedGlobal& global) { return global.name == "scalar"; }
bool is_reconstruct(const AllowedGlobal& global) { return global.name == "_reconstruct"; }
bool is_from_buffer(const AllowedGlobal& global) { return global.name == "_frombuffer"; }
bool is_regressor(const AllowedGlobal& global) {
  return global.use == Use::kConstruct && global.module.starts_with("sklearn.");
}

/// The remedy for a scikit-learn class that is not a supported regressor.
std::string explain_class(std::string_view name) {
  if (name == "Pipeline") {
    return "A pipeline changes the embedding before its regressor sees it. Fit the regressor on "
           "plain embeddings and save that, or, for a StandardScaler s before a Ridge r, save r "
           "with coef_ = r.coef_ / s.scale_ and intercept_ = r.intercept_ - coef_ @ s.mean_.";
  }
  if (name.ends_with("SearchCV")) return "Save its best_estimator_, if that is a linear regressor.";
  return "Expected a linear regressor of one target, such as Ridge, RidgeCV, LinearRegression, "
         "Lasso, ElasticNet, BayesianRidge, HuberRegressor, SGDRegressor or LinearSVR: fit one and "
         "save it with joblib.dump().";
}

constexpr char kDamaged[] = " The file is damaged: copy or download it again.";
constexpr char kFitAgain[] = " Fit the regressor again on finite data.";
constexpr char kPlainArrays[] =
    " Fit the regressor on plain NumPy arrays of one target and save it with joblib.dump().";

/// A NumPy scalar type.
struct ElementType {
  char kind = 0;         ///< 'f' float, 'i' signed, 'u' unsigned, 'b' boolean, 'O' Python object
  std::size_t size = 0;  ///< bytes
  bool is_big_endian = false;
  bool is_float() const { return kind == 'f'; }
};

/// An array, however it was pickled.
struct Array {
  ElementType type;
  std::vector<std::uint64_t> shape;
  std::string_view content;
  std::optional<std::uint64_t> offset;  ///< of the content, if the file contains it verbatim
};

/// Reads the tree. Holds the context for errors.
struct Reader {
  const PickleSource& source;
  const PickleTree& tree;
  std::deque<std::string>* decoded = nullptr;  ///< keeps bytes that were pickled as text

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
  std::vector<std::uint64_t> shape(const PickleValue& tuple) const;
  std::uint64_t size_in_bytes(const PickleValue& where, ElementType type,
                              const std::vector<std::uint64_t>& shape) const;
  std::string_view take_array(const PickleValue& wrapper, ByteCursor& cursor) const;
  std::string_view bytes(const PickleValue& value) const;
  bool is_array(const PickleValue& value) const;
  Array array(const PickleValue& value) const;
  double number(const PickleValue& value) const;
  Regressor head(const PickleValue& value) const;
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
  constexpr std::string_view kNames[] = {"f2", "f4", "f8", "i1", "i2", "i4", "i8",
                                         "u1", "u2", "u4", "u8", "b1", "O8"};
  const bool is_plain = std::all_of(state.items.begin() + 2, state.items.begin() + 5,
                                    [&](auto i) { return tree[i].kind == Kind::kNone; });
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames) || !is_plain) {
    refuse(dtype, "array elements of the type " + excerpt(name) +
                      "; expected plain numbers, such as \"f4\"." + kPlainArrays);
  }
  // In all these names the digit is the width in bytes.
  const ElementType type{name[0], static_cast<std::size_t>(name[1] - '0'), byte_order == ">"};
  if (byte_order != "<" && byte_order != ">" &&
      !(byte_order == "|" && (type.size == 1 || type.kind == 'O'))) {
    refuse(dtype, "array elements with the byte order " + excerpt(byte_order) +
                      "; expected \"<\" or \">\"." + kDamaged);
  }
  return type;
}

std::vector<std::uint64_t> Reader::shape(const PickleValue& tuple) const {
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

/// Bounded by the file's size at every step, so the product cannot overflow.
std::uint64_t Reader::size_in_bytes(const PickleValue& where, ElementType type,
                                    const std::vector<std::uint64_t>& shape) const {
  std::uint64_t size = type.size;
  for (const std::uint64_t extent : shape) {
    if (extent != 0 && size > source.bytes.size() / extent) {
      refuse(where, "an array larger than the file that holds it (" +
                        std::to_string(source.bytes.size()) + " bytes)." + kDamaged);
    }
    size *= extent;
  }
  return size;
}

std::string_view Reader::take_array(const PickleValue& wrapper, ByteCursor& cursor) const {
  const PickleValue& subclass = attribute(wrapper, "subclass");
  if (subclass.kind != Kind::kGlobal || subclass.global != kNdarray) {
    refuse(subclass, "expected an array of the class numpy.ndarray, found " + describe(subclass) +
                         "." + kPlainArrays);
  }
  const ElementType type = element_type(attribute(wrapper, "dtype"));
  if (type.kind == 'O') {
    // For example, names of features. They are skipped; such an array contains no other array.
    parse_pickle(cursor, {.globals = std::span(kGlobals).subspan(1)});
    return {};
  }
  const std::uint64_t size = size_in_bytes(wrapper, type, shape(attribute(wrapper, "shape")));
  // Absent before joblib 1.2; None if the writer did not know its position. Then there is no
  // padding.
  const PickleValue* alignment =
      tree.find(source, attributes(wrapper), "numpy_array_alignment_bytes");
  if (alignment != nullptr && alignment->kind != Kind::kNone) {
    if (alignment->kind != Kind::kInteger || alignment->integer < 1 || alignment->integer > 255) {
      refuse(*alignment, "an array alignment of " + describe(*alignment) +
                             "; expected an integer from 1 to 255." + kDamaged);
    }
    // The writer pads by 1 to 16 bytes, never 0; any count that aligns the array is accepted.
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

/// Bytes, or the call codecs.encode(text, 'latin1') that protocol 2 uses instead.
std::string_view Reader::bytes(const PickleValue& value) const {
  if (value.kind == Kind::kBytes) return value.text;
  if (!is_object(value, kEncode)) {
    refuse(value, "expected bytes, found " + describe(value) + "." + kDamaged);
  }
  const PickleValue& call = arguments(value);
  if (call.items.size() != 2 || item(call, 0).kind != Kind::kText ||
      item(call, 1).text != "latin1") {
    refuse(value, std::string("a call of _codecs.encode that does not spell bytes.") + kDamaged);
  }
  const std::string_view text = item(call, 0).text;
  // With shared texts, a small file could claim any amount of memory.
  std::size_t total = text.size();
  for (const std::string& each : *decoded) total += each.size();
  if (total > source.bytes.size()) {
    refuse(value, std::string("regressors share their numbers.") + kPlainArrays);
  }
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
  return decoded->emplace_back(std::move(result));
}

bool Reader::is_array(const PickleValue& value) const {
  return value.kind == Kind::kObject &&
         (value.global == kArrayWrapper || is_reconstruct(*value.global) ||
          is_from_buffer(*value.global));
}

Array Reader::array(const PickleValue& value) const {
  Array array;
  const PickleValue* content = nullptr;
  if (value.global == kArrayWrapper) {
    array.type = element_type(attribute(value, "dtype"));
    array.shape = shape(attribute(value, "shape"));
    array.content = value.text;  // take_array() has checked the size
  } else if (is_reconstruct(*value.global)) {
    // _reconstruct(ndarray, (0,), b'b') with the state (1, shape, dtype, is_fortran, bytes).
    if (value.items.size() < 2 || item(value, 1).kind != Kind::kTuple ||
        item(value, 1).items.size() != 5) {
      refuse(value, std::string("a NumPy array without its contents.") + kDamaged);
    }
    const PickleValue& state = item(value, 1);
    array.shape = shape(item(state, 1));
    array.type = element_type(item(state, 2));
    content = &item(state, 4);
  } else {
    // _frombuffer(bytes, dtype, shape, order).
    const PickleValue& call = arguments(value);
    if (call.items.size() != 4) {
      refuse(value, std::string("a NumPy array without its contents.") + kDamaged);
    }
    array.type = element_type(item(call, 1));
    array.shape = shape(item(call, 2));
    content = &item(call, 0);
  }
  const std::uint64_t size = size_in_bytes(value, array.type, array.shape);
  if (content != nullptr && array.type.is_float()) array.content = bytes(*content);
  if (array.type.is_float() && array.content.size() != size) {
    refuse(value, "an array of " + std::to_string(array.content.size()) +
                      " bytes; its shape needs " + std::to_string(size) + "." + kDamaged);
  }
  if (!array.content.empty() && (content == nullptr || content->kind == Kind::kBytes)) {
    const auto* const begin = reinterpret_cast<const char*>(source.bytes.data());
    array.offset = static_cast<std::uint64_t>(array.content.data() - begin);
  }
  return array;
}

/// IEEE 754 binary16; every value is a double.
double from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int fraction = bits & 0x3ff;
  double value = 0;
  if (exponent == 0x1f) {
    value = fraction == 0 ? HUGE_VAL : std::nan("");
  } else if (exponent == 0) {
    value = std::ldexp(fraction, -24);
  } else {
    value = std::ldexp(fraction + 0x400, exponent - 25);
  }
  return (bits >> 15) != 0 ? -value : value;
}

/// A number of 2, 4 or 8 bytes.
double load_float(const char* data, std::size_t width, bool is_big_endian) {
  std::array<char, 8> raw{};
  std::copy_n(data, width, raw.begin());
  if (is_big_endian) std::reverse(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(width));
  const auto as = [&raw]<typename Number>(Number number) {
    std::memcpy(&number, raw.data(), sizeof number);
    return number;
  };
  if (width == 8) return as(double{});
  if (width == 4) return as(float{});
  return from_half(as(std::uint16_t{}));
}

/// A float: Python's, NumPy's, or an array of one.
double Reader::number(const PickleValue& value) const {
  if (value.kind == Kind::kFloat) return value.real;
  // A user may have set an integer by hand.
  if (value.kind == Kind::kInteger) return static_cast<double>(value.integer);
  ElementType type;
  std::string_view content;
  if (value.kind == Kind::kObject && is_scalar(*value.global)) {
    const PickleValue& call = arguments(value);
    if (call.items.size() != 2) {
      refuse(value, std::string("a NumPy scalar without type or value.") + kDamaged);
    }
    type = element_type(item(call, 0));
    content = bytes(item(call, 1));
  } else if (is_array(value)) {
    const Array one = array(value);
    type = one.type;
    content = one.content;
  } else {
    refuse(value, "expected a number, found " + describe(value) + "." + kPlainArrays);
  }
  if (!type.is_float() || content.size() != type.size) {
    refuse(value, "expected one float16, float32 or float64, found " +
                      std::to_string(content.size()) + " bytes of the type \"" + type.kind +
                      std::to_string(type.size) + "\"." + kPlainArrays);
  }
  return load_float(content.data(), type.size, type.is_big_endian);
}

Regressor Reader::head(const PickleValue& value) const {
  if (value.kind != Kind::kObject || !is_regressor(*value.global)) {
    const bool is_class =
        value.kind == Kind::kObject && value.global->module.starts_with("sklearn");
    refuse(value, "expected a linear regressor of scikit-learn, found " + describe(value) + "." +
                      (is_class ? " " + explain_class(value.global->name) : kPlainArrays));
  }
  Regressor head{.offset = value.offset};
  const PickleValue& coefficients = attribute(value, "coef_");
  if (!is_array(coefficients)) {
    refuse(coefficients,
           "expected an array as coef_, found " + describe(coefficients) + "." + kPlainArrays);
  }
  const Array found = array(coefficients);
  if (!found.type.is_float()) {
    refuse(coefficients, "coef_ has elements of the type \"" +
                             (found.type.kind + std::to_string(found.type.size)) +
                             "\"; expected float16, float32 or float64." + kPlainArrays);
  }
  // One row in either memory order is the same bytes as the plain vector.
  const std::vector<std::uint64_t>& sizes = found.shape;
  if (sizes.empty() || sizes.size() > 2 || (sizes.size() == 2 && sizes[0] != 1)) {
    refuse(coefficients, "coef_ has " + std::to_string(sizes.size()) +
                             " dimensions or several rows; expected the shape (n,) or (1, n)." +
                             kPlainArrays);
  }
  head.coefficients = found.content;
  head.data_offset = found.offset;
  head.width = static_cast<std::uint8_t>(found.type.size);
  head.is_big_endian = found.type.is_big_endian;
  head.intercept = number(attribute(value, "intercept_"));
  return head;
}

std::string_view take_inline_bytes(const PickleTree& tree, const PickleValue& object,
                                   ByteCursor& cursor) {
  if (object.global != kArrayWrapper) return {};
  return Reader{cursor.source(), tree}.take_array(object, cursor);
}

/// Copies unaligned elements. Returns the number of elements before the first that is not finite.
template <class Float>
std::size_t copy_finite(const Regressor& head, std::span<Float> out) {
  if (out.empty()) return 0;
  if (head.width == sizeof(Float) && !head.is_big_endian) {
    std::memcpy(out.data(), head.coefficients.data(), head.coefficients.size());
  } else {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<Float>(
          load_float(head.coefficients.data() + i * head.width, head.width, head.is_big_endian));
    }
  }
  // One branch-free pass, which compilers vectorise; then search for the bad element.
  bool all_finite = true;
  for (const Float value : out) all_finite &= std::isfinite(value);
  if (all_finite) return out.size();
  const auto is_finite = [](Float value) { return std::isfinite(value); };
  return static_cast<std::size_t>(std::find_if_not(out.begin(), out.end(), is_finite) -
                                  out.begin());
}

std::string name(const Regressor& head) {
  return head.key.empty() ? "the regressor" : "the regressor " + excerpt(head.key);
}

}  // namespace

RegressorFile::RegressorFile(std::span<const std::uint8_t> bytes, std::string file)
    : source_{.bytes = bytes, .file = std::move(file)} {
  if (const Compression compression = detect_compression(bytes);
      compression != Compression::kNone) {
    try {
      decompressed_ = decompress(bytes, compression, kMaxDecompressedBytes);
    } catch (const DecompressionError& error) {
      source_.refuse(ErrorCode::kBadCheckpoint, error.offset, error.message);
    }
    source_.bytes = decompressed_;
    source_.decompressed = true;
  }
  const PickleTree tree = parse_pickle(source_, {.globals = kGlobals,
                                                 .take_inline_bytes = take_inline_bytes,
                                                 .inert_packages = kInertPackages,
                                                 .explain_class = explain_class});
  const Reader reader{source_, tree, &decoded_};
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
  for (const Regressor& head : heads_) {
    if (!std::isfinite(head.intercept)) {
      refuse(head, std::string("the intercept is not a finite number.") + kFitAgain);
    }
    // With shared arrays, a small file could claim any amount of memory.
    total += head.coefficients.size();
    if (total > source_.bytes.size()) {
      refuse(head, std::string("regressors share one array.") + kPlainArrays);
    }
  }
}

void RegressorFile::copy_coefficients(const Regressor& head, std::span<float> out) const {
  require_finite(head, copy_finite(head, out));
}

void RegressorFile::copy_coefficients(const Regressor& head, std::span<double> out) const {
  require_finite(head, copy_finite(head, out));
}

void RegressorFile::require_finite(const Regressor& head, std::size_t finite) const {
  if (finite == head.size()) return;
  const std::uint64_t offset =
      head.data_offset ? *head.data_offset + finite * head.width : head.offset;
  source_.refuse(ErrorCode::kBadCheckpoint, offset,
                 name(head) + ": coefficient " + std::to_string(finite) +
                     " is not a finite number." + kFitAgain);
}

void RegressorFile::refuse(const Regressor& head, const std::string& message) const {
  source_.refuse(ErrorCode::kBadCheckpoint, head.offset, name(head) + ": " + message);
}

}  // namespace r2router::io
