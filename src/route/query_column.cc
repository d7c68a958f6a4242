// Reads queries from Arrow arrays in place. There is a small class for each layout of the
// specification: texts by offsets or views, embeddings in lists of fixed or of variable length, and
// dictionaries of any of them.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/columns.h"
#include "r2router/error.h"

namespace r2router {
namespace {

[[noreturn]] void refuse(const ArrowSchema& schema, const std::string& message) {
  const bool named = schema.name != nullptr && *schema.name != '\0';
  throw Error(ErrorCode::kInvalidArgument,
              (named ? "the column \"" + std::string(schema.name) + '"' : "the Arrow column") +
                  ' ' + message);
}

bool has_bit(const void* bits, std::int64_t position) {
  return (static_cast<const std::uint8_t*>(bits)[position / 8] >> (position % 8) & 1) != 0;
}

bool is_null(const ArrowArray& array, std::int64_t position) {
  const void* validity = array.buffers[0];
  return array.null_count != 0 && validity != nullptr && !has_bit(validity, position);
}

/// What the layouts share: positions count from the array's offset.
class ArrowColumn : public QueryColumn {
 public:
  explicit ArrowColumn(const ArrowArray& array) : array_(array) {}
  std::size_t size() const override { return static_cast<std::size_t>(array_.length); }
  QueryCell cell(std::size_t row) const override {
    const std::int64_t position = array_.offset + static_cast<std::int64_t>(row);
    return is_null(array_, position) ? QueryCell{} : present(position);
  }

 protected:
  virtual QueryCell present(std::int64_t position) const = 0;
  template <typename T>
  const T* buffer(std::int64_t index) const {
    return static_cast<const T*>(array_.buffers[index]);
  }
  const ArrowArray& array() const { return array_; }

 private:
  const ArrowArray& array_;
};

class NullColumn final : public QueryColumn {
 public:
  explicit NullColumn(std::size_t size) : size_(size) {}
  std::size_t size() const override { return size_; }
  QueryCell cell(std::size_t) const override { return {}; }

 private:
  std::size_t size_;
};

template <typename Offset>
class TextColumn final : public ArrowColumn {
 public:
  using ArrowColumn::ArrowColumn;

 private:
  QueryCell present(std::int64_t position) const override {
    const Offset* offsets = buffer<Offset>(1) + position;
    const auto length = static_cast<std::size_t>(offsets[1] - offsets[0]);
    if (length == 0) return {.text = std::string_view()};  // there may be no third buffer
    return {.text = std::string_view(buffer<char>(2) + offsets[0], length)};
  }
};

/// Each text is 16 bytes: its length, and up to 12 bytes of text, or else 4 bytes of it, the index
/// of a buffer and an offset there.
class TextViewColumn final : public ArrowColumn {
 public:
  using ArrowColumn::ArrowColumn;

 private:
  QueryCell present(std::int64_t position) const override {
    const char* view = buffer<char>(1) + 16 * position;
    const auto number = [&](std::size_t at) {
      std::int32_t value = 0;
      std::memcpy(&value, view + at, sizeof value);
      return value;
    };
    const auto length = static_cast<std::size_t>(number(0));
    if (length <= 12) return {.text = std::string_view(view + 4, length)};
    return {.text = std::string_view(buffer<char>(2 + number(8)) + number(12), length)};
  }
};

/// The numbers of a list. One with a null among them counts as missing.
template <typename Number>
QueryCell numbers_of(const ArrowArray& values, std::int64_t begin, std::int64_t count) {
  begin += values.offset;
  if (values.null_count != 0 && values.buffers[0] != nullptr) {
    for (std::int64_t i = begin; i < begin + count; ++i) {
      if (is_null(values, i)) return {};
    }
  }
  const auto* numbers = static_cast<const Number*>(values.buffers[1]);
  if (count == 0) return {.embedding = std::span<const Number>()};
  return {.embedding = std::span(numbers + begin, static_cast<std::size_t>(count))};
}

template <typename Number>
class FixedListColumn final : public ArrowColumn {
 public:
  FixedListColumn(const ArrowArray& array, std::int64_t count)
      : ArrowColumn(array), count_(count) {}

 private:
  QueryCell present(std::int64_t position) const override {
    return numbers_of<Number>(*array().children[0], position * count_, count_);
  }
  std::int64_t count_;
};

template <typename Number, typename Offset>
class ListColumn final : public ArrowColumn {
 public:
  using ArrowColumn::ArrowColumn;

 private:
  QueryCell present(std::int64_t position) const override {
    const Offset* offsets = buffer<Offset>(1) + position;
    return numbers_of<Number>(*array().children[0], offsets[0], offsets[1] - offsets[0]);
  }
};

template <typename Index>
class DictionaryColumn final : public ArrowColumn {
 public:
  DictionaryColumn(const ArrowArray& array, std::unique_ptr<QueryColumn> values)
      : ArrowColumn(array), values_(std::move(values)) {}

 private:
  QueryCell present(std::int64_t position) const override {
    const auto index = static_cast<std::size_t>(buffer<Index>(1)[position]);
    return index < values_->size() ? values_->cell(index) : QueryCell{};
  }
  std::unique_ptr<QueryColumn> values_;
};

void check_buffers(const ArrowSchema& schema, const ArrowArray& array, std::int64_t buffers) {
  if (array.length < 0 || array.offset < 0 || array.n_buffers < buffers ||
      (array.n_buffers > 0 && array.buffers == nullptr)) {
    refuse(schema, "has " + std::to_string(array.n_buffers) + " buffers for " +
                       std::to_string(array.length) + " rows: expected " + std::to_string(buffers));
  }
  if (buffers > 1 && array.length > 0 && array.buffers[1] == nullptr) {
    refuse(schema, "has no data for its rows: expected a valid Arrow array");
  }
}

[[noreturn]] void refuse_type(const ArrowSchema& schema, const std::string& format) {
  refuse(
      schema,
      "is of the Arrow type \"" + format +
          "\": expected texts (utf8, large_utf8 or utf8_view), or embeddings (lists of float32 or "
          "float64)");
}

template <typename Number>
std::unique_ptr<QueryColumn> list_column(const ArrowSchema& schema, const ArrowArray& array) {
  const std::string_view format = schema.format;
  if (format == "+l") return std::make_unique<ListColumn<Number, std::int32_t>>(array);
  if (format == "+L") return std::make_unique<ListColumn<Number, std::int64_t>>(array);
  const std::int64_t count = std::strtoll(schema.format + 3, nullptr, 10);
  if (count < 0 || array.children[0]->length < (array.offset + array.length) * count) {
    refuse(schema, "has fewer numbers than its rows need: expected a valid Arrow array");
  }
  return std::make_unique<FixedListColumn<Number>>(array, count);
}

std::unique_ptr<QueryColumn> dictionary_column(const ArrowSchema& schema, const ArrowArray& array) {
  if (array.dictionary == nullptr)
    refuse(schema, "has no dictionary: expected a valid Arrow array");
  auto values = arrow_column(*schema.dictionary, *array.dictionary);
  check_buffers(schema, array, 2);
  const auto with_index = [&]<typename Index>(Index) -> std::unique_ptr<QueryColumn> {
    return std::make_unique<DictionaryColumn<Index>>(array, std::move(values));
  };
  switch (*schema.format) {
    case 'c':
      return with_index(std::int8_t{});
    case 'C':
      return with_index(std::uint8_t{});
    case 's':
      return with_index(std::int16_t{});
    case 'S':
      return with_index(std::uint16_t{});
    case 'i':
      return with_index(std::int32_t{});
    case 'I':
      return with_index(std::uint32_t{});
    case 'l':
      return with_index(std::int64_t{});
    case 'L':
      return with_index(std::uint64_t{});
    default:
      refuse_type(schema, schema.format);
  }
}

}  // namespace

ColumnKind column_kind(const ArrowSchema& schema) {
  if (schema.format == nullptr) refuse(schema, "has no type: expected a valid Arrow schema");
  if (schema.dictionary != nullptr) return column_kind(*schema.dictionary);
  const std::string_view format = schema.format;
  if (format == "n") return ColumnKind::kNull;
  if (format == "u" || format == "U" || format == "vu") return ColumnKind::kText;
  if (!format.starts_with("+w:") && format != "+l" && format != "+L") {
    refuse_type(schema, std::string(format));
  }
  if (schema.n_children != 1) {
    refuse(schema, "is a list without values: expected a valid Arrow array");
  }
  const std::string_view number = schema.children[0]->format;
  if (number != "f" && number != "g") {
    refuse_type(schema, std::string(format) + " of " + std::string(number));
  }
  return ColumnKind::kEmbedding;
}

std::unique_ptr<QueryColumn> arrow_column(const ArrowSchema& schema, const ArrowArray& array) {
  const ColumnKind kind = column_kind(schema);
  const std::string_view format = schema.format;
  if (schema.dictionary != nullptr) return dictionary_column(schema, array);
  if (kind == ColumnKind::kNull) {
    return std::make_unique<NullColumn>(static_cast<std::size_t>(array.length));
  }
  if (kind == ColumnKind::kText) {
    check_buffers(schema, array, format == "vu" ? 2 : 3);
    if (format == "u") return std::make_unique<TextColumn<std::int32_t>>(array);
    if (format == "U") return std::make_unique<TextColumn<std::int64_t>>(array);
    return std::make_unique<TextViewColumn>(array);
  }
  check_buffers(schema, array, format.starts_with("+w:") ? 1 : 2);
  if (array.n_children != 1) {
    refuse(schema, "is a list without values: expected a valid Arrow array");
  }
  const ArrowSchema& numbers = *schema.children[0];
  check_buffers(numbers, *array.children[0], 2);
  return numbers.format == std::string_view("f") ? list_column<float>(schema, array)
                                                 : list_column<double>(schema, array);
}

}  // namespace r2router
