// Decisions as columns, and their export as Arrow arrays. The exported structs own their memory:
// each has a holder in private_data that its release function deletes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/columns.h"

namespace r2router {
namespace {

/// Memory of a batch, or a copy of its own. Empty for one that is left out.
using Buffer = std::shared_ptr<const void>;

/// A column to export: its buffers in the order of the specification, of which the first says which
/// rows are present.
struct Column {
  std::string name, format;
  std::int64_t nulls = 0;
  std::vector<Buffer> buffers = {};
};

struct SchemaHolder {
  std::string name, format;
  std::vector<ArrowSchema> children = {};
  std::vector<ArrowSchema*> pointers = {};
};

struct ArrayHolder {
  std::vector<Buffer> buffers = {};
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
  for (const Buffer& buffer : holder->buffers) holder->addresses.push_back(buffer.get());
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

/// Memory for so many elements, which are not set. Even without any it has an address.
template <typename Element>
std::shared_ptr<Element[]> make_buffer(std::size_t count) {
  return std::shared_ptr<Element[]>(new Element[std::max<std::size_t>(count, 1)]);
}

/// Which rows are present: a bit for each; empty if all are.
struct Presence {
  Buffer bits = {};
  std::int64_t nulls = 0;

  template <typename Present>
  static Presence of(std::size_t rows, const Present& present) {
    std::size_t count = 0;
    for (std::size_t row = 0; row < rows; ++row) count += present(row) ? 1 : 0;
    if (count == rows) return {};
    const auto bits = make_buffer<std::uint8_t>(rows / 8 + 1);
    std::fill_n(bits.get(), rows / 8 + 1, std::uint8_t{0});
    for (std::size_t row = 0; row < rows; ++row) {
      bits[row / 8] |= static_cast<std::uint8_t>((present(row) ? 1 : 0) << (row % 8));
    }
    return {bits, static_cast<std::int64_t>(rows - count)};
  }
};

template <typename Value>
Column int64_column(std::string name, std::size_t rows, const Presence& presence,
                    const Value& value) {
  const auto numbers = make_buffer<std::int64_t>(rows);
  for (std::size_t row = 0; row < rows; ++row) numbers[row] = value(row);
  return {std::move(name), "l", presence.nulls, {presence.bits, numbers}};
}

template <typename Offset, typename Text>
std::vector<Buffer> text_buffers(std::size_t rows, std::size_t bytes, const Text& text) {
  const auto offsets = make_buffer<Offset>(rows + 1);
  const auto texts = make_buffer<char>(bytes);
  std::size_t end = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    offsets[row] = static_cast<Offset>(end);
    const std::string_view own = text(row);
    std::copy(own.begin(), own.end(), texts.get() + end);
    end += own.size();
  }
  offsets[rows] = static_cast<Offset>(end);
  return {offsets, texts};
}

/// utf8, or large_utf8 if its offsets need more than 31 bits. `text(row)`: empty if the row is not
/// present.
template <typename Text>
Column text_column(std::string name, std::size_t rows, const Presence& presence, const Text& text) {
  std::size_t bytes = 0;
  for (std::size_t row = 0; row < rows; ++row) bytes += text(row).size();
  const bool large = bytes > std::numeric_limits<std::int32_t>::max();
  Column column{std::move(name), large ? "U" : "u", presence.nulls, {presence.bits}};
  for (Buffer& buffer : large ? text_buffers<std::int64_t>(rows, bytes, text)
                              : text_buffers<std::int32_t>(rows, bytes, text)) {
    column.buffers.push_back(std::move(buffer));
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

DecisionBatch DecisionBatch::of(std::shared_ptr<const Pool> pool, std::size_t rows) {
  return {.model = std::vector<std::uint32_t>(rows),
          .budget = std::vector<Budget>(rows),
          .quality = std::vector<double>(rows),
          .output_tokens = std::vector<double>(rows),
          .cost_usd = std::vector<double>(rows),
          .utility = std::vector<double>(rows),
          .max_tokens = std::vector<std::uint32_t>(rows),
          .worst_case_cost_usd = std::vector<double>(rows),
          .quality_spread = std::vector<double>(rows),
          .reason = std::vector<RowReason>(rows),
          .pool = std::move(pool)};
}

Option DecisionBatch::option(std::size_t row) const {
  return {.model = model[row],
          .budget = budget[row],
          .quality = quality[row],
          .output_tokens = output_tokens[row],
          .cost_usd = cost_usd[row],
          .utility = utility[row],
          .max_tokens = max_tokens[row],
          .worst_case_cost_usd = worst_case_cost_usd[row],
          .quality_spread = quality_spread[row]};
}

void DecisionBatch::set(std::size_t row, const Option& option, Reason why) {
  model[row] = option.model;
  budget[row] = option.budget;
  quality[row] = option.quality;
  output_tokens[row] = option.output_tokens;
  cost_usd[row] = option.cost_usd;
  utility[row] = option.utility;
  max_tokens[row] = option.max_tokens;
  worst_case_cost_usd[row] = option.worst_case_cost_usd;
  quality_spread[row] = option.quality_spread;
  reason[row] = static_cast<RowReason>(why);
}

void DecisionBatch::reserve(std::size_t rows) {
  model.reserve(rows);
  budget.reserve(rows);
  quality.reserve(rows);
  output_tokens.reserve(rows);
  cost_usd.reserve(rows);
  utility.reserve(rows);
  max_tokens.reserve(rows);
  worst_case_cost_usd.reserve(rows);
  quality_spread.reserve(rows);
  reason.reserve(rows);
}

void DecisionBatch::append(const DecisionBatch& other) {
  append_all(other.model, model);
  append_all(other.budget, budget);
  append_all(other.quality, quality);
  append_all(other.output_tokens, output_tokens);
  append_all(other.cost_usd, cost_usd);
  append_all(other.utility, utility);
  append_all(other.max_tokens, max_tokens);
  append_all(other.worst_case_cost_usd, worst_case_cost_usd);
  append_all(other.quality_spread, quality_spread);
  append_all(other.reason, reason);
  if (!pool) pool = other.pool;
}

void export_arrow(const std::shared_ptr<const DecisionBatch>& shared, ArrowSchema* schema,
                  ArrowArray* array) {
  const DecisionBatch& batch = *shared;
  const std::size_t rows = batch.size();
  const auto decided = Presence::of(rows, [&](std::size_t row) { return batch.decided(row); });
  const auto limited = Presence::of(rows, [&](std::size_t row) {
    return batch.decided(row) && !batch.budget[row].is_unlimited();
  });
  const auto figure = [&](const char* name, const std::vector<double>& values) {
    // A vector without elements may have no address.
    const Buffer numbers = rows > 0 ? Buffer(shared, values.data()) : make_buffer<double>(0);
    return Column{name, "g", decided.nulls, {decided.bits, numbers}};
  };
  // By number, so that a row costs a look-up.
  std::vector<std::string_view> models, reasons;
  for (std::size_t i = 0; batch.pool && i < batch.pool->size(); ++i) {
    models.emplace_back((*batch.pool)[i].name);
  }
  for (std::size_t i = 0; i <= static_cast<std::size_t>(RowReason::kNoEmbedding); ++i) {
    reasons.push_back(to_string(static_cast<RowReason>(i)));
  }
  std::vector<Column> columns;
  columns.push_back(text_column("model", rows, decided, [&](std::size_t row) {
    return batch.decided(row) ? models[batch.model[row]] : std::string_view();
  }));
  columns.push_back(int64_column("budget", rows, limited, [&](std::size_t row) {
    return static_cast<std::int64_t>(batch.budget[row].tokens());
  }));
  columns.push_back(int64_column("max_tokens", rows, decided, [&](std::size_t row) {
    return static_cast<std::int64_t>(batch.max_tokens[row]);
  }));
  columns.push_back(figure("predicted_quality", batch.quality));
  columns.push_back(figure("predicted_output_tokens", batch.output_tokens));
  columns.push_back(figure("predicted_cost_usd", batch.cost_usd));
  columns.push_back(figure("worst_case_cost_usd", batch.worst_case_cost_usd));
  columns.push_back(text_column("reason", rows, {}, [&](std::size_t row) {
    return reasons[static_cast<std::size_t>(batch.reason[row])];
  }));
  export_columns(std::move(columns), rows, schema, array);
}

}  // namespace r2router
