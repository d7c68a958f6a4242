// Decisions as columns, and their export as Arrow arrays. The exported structs own their memory:
// each has a holder in private_data that its release function deletes.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/columns.h"
#include "r2router/error.h"

namespace r2router {
namespace {

/// A column to export: its buffers in the order of the specification, of which the first says which
/// rows are present.
struct Column {
  std::string name, format;
  std::int64_t nulls = 0;
  std::vector<std::vector<std::byte>> buffers = {};
};

struct SchemaHolder {
  std::string name, format;
  std::vector<ArrowSchema> children = {};
  std::vector<ArrowSchema*> pointers = {};
};

struct ArrayHolder {
  std::vector<std::vector<std::byte>> buffers = {};
  std::vector<const void*> addresses = {};
  std::vector<ArrowArray> children = {};
  std::vector<ArrowArray*> pointers = {};
};

/// Children that the receiver has moved elsewhere have no release any more.
template <typename Holder, typename Struct>
void release(Struct* exported) {
  auto* holder = static_cast<Holder*>(exported->private_data);
  for (Struct& child : holder->children) {
    if (child.release != nullptr) child.release(&child);
  }
  delete holder;
  exported->release = nullptr;
}

ArrowSchema schema_of(std::unique_ptr<SchemaHolder> holder, std::int64_t flags) {
  for (ArrowSchema& child : holder->children) holder->pointers.push_back(&child);
  return {.format = holder->format.c_str(),
          .name = holder->name.c_str(),
          .metadata = nullptr,
          .flags = flags,
          .n_children = static_cast<std::int64_t>(holder->children.size()),
          .children = holder->pointers.data(),
          .dictionary = nullptr,
          .release = release<SchemaHolder, ArrowSchema>,
          .private_data = holder.release()};
}

ArrowArray array_of(std::unique_ptr<ArrayHolder> holder, std::int64_t rows, std::int64_t nulls) {
  for (ArrowArray& child : holder->children) holder->pointers.push_back(&child);
  for (const auto& buffer : holder->buffers) {
    holder->addresses.push_back(buffer.empty() ? nullptr : buffer.data());
  }
  return {.length = rows,
          .null_count = nulls,
          .offset = 0,
          .n_buffers = static_cast<std::int64_t>(holder->buffers.size()),
          .n_children = static_cast<std::int64_t>(holder->children.size()),
          .buffers = holder->addresses.data(),
          .children = holder->pointers.data(),
          .dictionary = nullptr,
          .release = release<ArrayHolder, ArrowArray>,
          .private_data = holder.release()};
}

/// At least a byte, so that it has an address.
std::vector<std::byte> bytes_of(const void* data, std::size_t size) {
  std::vector<std::byte> bytes(std::max<std::size_t>(size, 1));
  if (size > 0) std::memcpy(bytes.data(), data, size);
  return bytes;
}

/// No buffer if all rows are present.
template <typename Present>
std::vector<std::byte> presence(std::size_t rows, std::int64_t& nulls, const Present& present) {
  std::vector<std::byte> bits(rows / 8 + 1);
  nulls = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    if (present(row)) {
      bits[row / 8] |= std::byte{1} << (row % 8);
    } else {
      ++nulls;
    }
  }
  if (nulls == 0) bits.clear();
  return bits;
}

template <typename Number, typename Present, typename Value>
Column number_column(std::string name, std::string format, std::size_t rows, const Present& present,
                     const Value& value) {
  Column column{.name = std::move(name), .format = std::move(format)};
  column.buffers.push_back(presence(rows, column.nulls, present));
  std::vector<Number> numbers(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    if (present(row)) numbers[row] = static_cast<Number>(value(row));
  }
  column.buffers.push_back(bytes_of(numbers.data(), rows * sizeof(Number)));
  return column;
}

template <typename Offset, typename Text>
void add_texts(std::size_t rows, const Text& text, Column& column) {
  std::vector<Offset> offsets = {0};
  offsets.reserve(rows + 1);
  std::string texts;
  for (std::size_t row = 0; row < rows; ++row) {
    texts += text(row);
    offsets.push_back(static_cast<Offset>(texts.size()));
  }
  column.buffers.push_back(bytes_of(offsets.data(), offsets.size() * sizeof(Offset)));
  column.buffers.push_back(bytes_of(texts.data(), texts.size()));
}

/// utf8, or large_utf8 if its offsets need more than 31 bits.
template <typename Present, typename Value>
Column text_column(std::string name, std::size_t rows, const Present& present, const Value& value) {
  const auto text = [&](std::size_t row) {
    return present(row) ? std::string_view(value(row)) : std::string_view();
  };
  std::size_t bytes = 0;
  for (std::size_t row = 0; row < rows; ++row) bytes += text(row).size();
  const bool large = bytes > std::numeric_limits<std::int32_t>::max();
  Column column{.name = std::move(name), .format = large ? "U" : "u"};
  column.buffers.push_back(presence(rows, column.nulls, present));
  if (large) {
    add_texts<std::int64_t>(rows, text, column);
  } else {
    add_texts<std::int32_t>(rows, text, column);
  }
  return column;
}

void export_columns(std::vector<Column> columns, std::size_t rows, ArrowSchema* schema,
                    ArrowArray* array) {
  const auto count = static_cast<std::int64_t>(rows);
  auto types = std::make_unique<SchemaHolder>();
  auto values = std::make_unique<ArrayHolder>();
  types->format = "+s";
  values->buffers.emplace_back();
  types->children.reserve(columns.size());
  values->children.reserve(columns.size());
  for (Column& column : columns) {
    auto type = std::make_unique<SchemaHolder>();
    type->name = std::move(column.name);
    type->format = std::move(column.format);
    types->children.push_back(schema_of(std::move(type), ARROW_FLAG_NULLABLE));
    auto child = std::make_unique<ArrayHolder>();
    child->buffers = std::move(column.buffers);
    values->children.push_back(array_of(std::move(child), count, column.nulls));
  }
  *schema = schema_of(std::move(types), 0);
  *array = array_of(std::move(values), count, 0);
}

template <typename T>
void append_all(const std::vector<T>& from, std::vector<T>& to) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

std::string_view to_string(RowReason reason) noexcept {
  switch (reason) {
    case RowReason::kNull:
      return "null";
    case RowReason::kEmpty:
      return "empty";
    case RowReason::kWrongLength:
      return "wrong_length";
    case RowReason::kNotFinite:
      return "not_finite";
    case RowReason::kNoOption:
      return "no_option";
    case RowReason::kNoEmbedding:
      return "no_embedding";
    default:
      return to_string(static_cast<Reason>(reason));
  }
}

void DecisionBatch::append(const DecisionBatch& other) {
  append_all(other.model, model);
  append_all(other.budget, budget);
  append_all(other.max_tokens, max_tokens);
  append_all(other.quality, quality);
  append_all(other.output_tokens, output_tokens);
  append_all(other.cost_usd, cost_usd);
  append_all(other.worst_case_cost_usd, worst_case_cost_usd);
  append_all(other.reason, reason);
}

void export_arrow(const DecisionBatch& batch, ArrowSchema* schema, ArrowArray* array) {
  const std::size_t rows = batch.size();
  const auto decided = [&](std::size_t row) { return batch.decided(row); };
  const auto figure = [&](const char* name, const std::vector<double>& values) {
    return number_column<double>(name, "g", rows, decided,
                                 [&](std::size_t row) { return values[row]; });
  };
  std::vector<Column> columns;
  columns.push_back(text_column("model", rows, decided, [&](std::size_t row) -> std::string_view {
    return (*batch.pool)[batch.model[row]].name;
  }));
  columns.push_back(number_column<std::int64_t>(
      "budget", "l", rows,
      [&](std::size_t row) { return batch.decided(row) && !batch.budget[row].is_unlimited(); },
      [&](std::size_t row) { return batch.budget[row].tokens(); }));
  columns.push_back(number_column<std::int64_t>(
      "max_tokens", "l", rows, decided, [&](std::size_t row) { return batch.max_tokens[row]; }));
  columns.push_back(figure("predicted_quality", batch.quality));
  columns.push_back(figure("predicted_output_tokens", batch.output_tokens));
  columns.push_back(figure("predicted_cost_usd", batch.cost_usd));
  columns.push_back(figure("worst_case_cost_usd", batch.worst_case_cost_usd));
  columns.push_back(text_column(
      "reason", rows, [](std::size_t) { return true; },
      [&](std::size_t row) { return to_string(batch.reason[row]); }));
  export_columns(std::move(columns), rows, schema, array);
}

}  // namespace r2router
