// Columns of a table, routed where they lie: an Arrow stream of any library, NumPy arrays and
// lists.
#include "r2router/columns.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/stl.h>

#include "base/parallel.h"
#include "base/unicode.h"
#include "bindings.h"

namespace r2router::python {
namespace {

class Part final : public QueryColumn {
 public:
  Part(const QueryColumn& column, std::size_t begin, std::size_t size)
      : column_(column), begin_(begin), size_(size) {}
  std::size_t size() const override { return size_; }
  QueryCell cell(std::size_t row) const override { return column_.cell(begin_ + row); }

 private:
  const QueryColumn& column_;
  std::size_t begin_, size_;
};

/// Texts, embeddings of the same rows in a matrix, or both.
class Rows final : public QueryColumn {
 public:
  using Texts = std::vector<std::optional<std::string>>;

  Rows(const Texts& texts, std::optional<EmbeddingView> embeddings, std::size_t dimension)
      : texts_(texts), embeddings_(embeddings), dimension_(dimension) {}
  std::size_t size() const override {
    if (!embeddings_) return texts_.size();
    return std::visit([&](auto all) { return all.size() / dimension_; }, *embeddings_);
  }
  QueryCell cell(std::size_t row) const override {
    QueryCell cell;
    if (!texts_.empty()) {
      if (!texts_[row]) return cell;
      cell.text = *texts_[row];
      if (internal::is_blank(*cell.text)) return cell;
    }
    if (embeddings_) {
      cell.embedding = std::visit(
          [&](auto all) -> EmbeddingView { return all.subspan(row * dimension_, dimension_); },
          *embeddings_);
    }
    return cell;
  }

 private:
  const Texts& texts_;
  std::optional<EmbeddingView> embeddings_;
  std::size_t dimension_;
};

/// Embeddings of which each is an array of its own. They are read in place.
class Vectors final : public QueryColumn {
 public:
  using Values = std::vector<std::optional<py::array>>;

  explicit Vectors(const Values& values) {
    cells_.reserve(values.size());
    for (const std::optional<py::array>& value : values) {
      cells_.push_back(value ? QueryCell{.embedding = numbers_of(*value)} : QueryCell{});
    }
  }
  std::size_t size() const override { return cells_.size(); }
  QueryCell cell(std::size_t row) const override { return cells_[row]; }

 private:
  static EmbeddingView numbers_of(const py::array& array) {
    const auto size = static_cast<std::size_t>(array.size());
    if (py::isinstance<py::array_t<float, py::array::c_style>>(array)) {
      return std::span(static_cast<const float*>(array.data()), size);
    }
    if (py::isinstance<py::array_t<double, py::array::c_style>>(array)) {
      return std::span(static_cast<const double*>(array.data()), size);
    }
    throw py::type_error("expected contiguous arrays of float32 or float64");
  }

  std::vector<QueryCell> cells_;
};

/// Releases what an Arrow struct owns at the end of the scope.
template <typename Struct>
struct Owned : Struct {
  Owned() : Struct{} {}
  ~Owned() {
    if (this->release != nullptr) this->release(this);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
};

/// A capsule with that name, as the Arrow PyCapsule interface defines it, which releases the struct
/// unless it has been moved from.
template <typename Struct>
py::capsule to_capsule(std::unique_ptr<Struct> value, const char* name) {
  const auto destroy = [](PyObject* capsule) {
    auto* held = static_cast<Struct*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
    if (held->release != nullptr) held->release(held);
    delete held;
  };
  PyObject* capsule = PyCapsule_New(value.get(), name, destroy);
  if (capsule == nullptr) throw py::error_already_set();
  value.release();  // NOLINT(bugprone-unused-return-value): the capsule has it
  return py::reinterpret_steal<py::capsule>(capsule);
}

/// A stream of one chunk, the batch. Its schema is the chunk's own, whose types depend on its size.
struct BatchStream {
  std::shared_ptr<const DecisionBatch> batch;
  Owned<ArrowArray> chunk = {};  ///< exported with the schema
  bool done = false;

  static int get_schema(ArrowArrayStream* stream, ArrowSchema* schema) {
    BatchStream& self = of(stream);
    Owned<ArrowArray> exported;
    export_arrow(self.batch, schema, &exported);
    if (!self.done) std::swap<ArrowArray>(self.chunk, exported);
    return 0;
  }
  static int get_next(ArrowArrayStream* stream, ArrowArray* array) {
    BatchStream& self = of(stream);
    if (!self.done && self.chunk.release == nullptr) {
      Owned<ArrowSchema> unused;
      export_arrow(self.batch, &unused, &self.chunk);
    }
    self.done = true;
    *array = std::exchange(static_cast<ArrowArray&>(self.chunk), {});  // released: the end
    return 0;
  }
  static const char* get_last_error(ArrowArrayStream*) { return nullptr; }
  static void release(ArrowArrayStream* stream) {
    delete &of(stream);
    stream->release = nullptr;
  }
  static BatchStream& of(ArrowArrayStream* stream) {
    return *static_cast<BatchStream*>(stream->private_data);
  }
};

py::typing::Tuple<py::capsule, py::capsule> to_arrow_array(
    const std::shared_ptr<DecisionBatch>& batch, const py::object&) {
  auto schema = std::make_unique<ArrowSchema>();
  auto array = std::make_unique<ArrowArray>();
  export_arrow(batch, schema.get(), array.get());
  return py::make_tuple(to_capsule(std::move(schema), "arrow_schema"),
                        to_capsule(std::move(array), "arrow_array"));
}

py::capsule to_arrow_stream(const std::shared_ptr<DecisionBatch>& batch, const py::object&) {
  auto stream = std::make_unique<ArrowArrayStream>(
      ArrowArrayStream{.get_schema = BatchStream::get_schema,
                       .get_next = BatchStream::get_next,
                       .get_last_error = BatchStream::get_last_error,
                       .release = BatchStream::release,
                       .private_data = new BatchStream{batch}});
  return to_capsule(std::move(stream), "arrow_array_stream");
}

template <typename Number>
py::array_t<Number> read_only(py::array_t<Number> array) {
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

template <typename Number, typename Value>
py::array_t<Number> to_array(std::size_t rows, const Value& value) {
  py::array_t<Number> array(static_cast<py::ssize_t>(rows));
  Number* const numbers = array.mutable_data();
  for (std::size_t row = 0; row < rows; ++row) numbers[row] = static_cast<Number>(value(row));
  return read_only(std::move(array));
}

py::typing::Dict<py::str, py::array> to_columns(const std::shared_ptr<DecisionBatch>& shared) {
  const DecisionBatch& batch = *shared;
  const std::size_t rows = batch.size();
  const py::capsule owner(new std::shared_ptr<const DecisionBatch>(shared), [](void* held) {
    delete static_cast<std::shared_ptr<const DecisionBatch>*>(held);
  });
  const auto figures = [&](const std::vector<double>& values) {
    return read_only(py::array_t<double>(static_cast<py::ssize_t>(rows), values.data(), owner));
  };
  py::typing::Dict<py::str, py::array> columns;
  columns["decided"] = to_array<bool>(rows, [&](std::size_t row) { return batch.decided(row); });
  columns["model"] =
      to_array<std::int32_t>(rows, [&](std::size_t row) { return batch.model[row]; });
  columns["budget"] =
      to_array<std::int64_t>(rows, [&](std::size_t row) { return to_number(batch.budget[row]); });
  columns["max_tokens"] =
      to_array<std::int64_t>(rows, [&](std::size_t row) { return batch.max_tokens[row]; });
  columns["predicted_quality"] = figures(batch.quality);
  columns["predicted_output_tokens"] = figures(batch.output_tokens);
  columns["predicted_cost_usd"] = figures(batch.cost_usd);
  columns["worst_case_cost_usd"] = figures(batch.worst_case_cost_usd);
  columns["risk"] = figures(batch.utility);
  columns["reason"] =
      to_array<std::uint8_t>(rows, [&](std::size_t row) { return batch.reason[row]; });
  return columns;
}

/// Routes in parts, between which Python can handle signals. The rows come after those of the
/// batch, or of the curve in the first pass of a total.
void route_into(const Router& router, const QueryColumn& column, const RouteOptions& options,
                const QuerySize& size, const TotalPass& pass, DecisionBatch& batch) {
  const std::size_t most = kBlockRows * internal::thread_count(options.threads);
  // Later chunks let the batch grow by more than their own size.
  if (const auto* priced = std::get_if<std::shared_ptr<Priced>>(&pass)) {
    DecisionBatch& kept = (*priced)->batch.batch;
    if (kept.size() == 0) kept.reserve(column.size());
  } else if (batch.size() == 0 && !std::holds_alternative<std::shared_ptr<TotalCurve>>(pass)) {
    batch.reserve(column.size());
  }
  std::size_t begin = 0;
  do {
    const std::size_t count = std::min(most, column.size() - begin);
    {
      const ReleasedGil released;
      const Part part(column, begin, count);
      if (const auto* curve = std::get_if<std::shared_ptr<TotalCurve>>(&pass)) {
        router.price(part, **curve, options, size);
      } else if (const auto* priced = std::get_if<std::shared_ptr<Priced>>(&pass)) {
        router.price(part, *(*priced)->curve, (*priced)->batch, options, size);
      } else if (const auto* allowance = std::get_if<Allowance>(&pass)) {
        batch.append(router.route(part, allowance->after(batch.size()), options, size));
      } else {
        batch.append(router.route(part, options, size));
      }
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    begin += count;
  } while (begin < column.size());
}

/// None after the first pass of a total.
std::optional<DecisionBatch> result_of(DecisionBatch batch, const TotalPass& pass) {
  if (std::holds_alternative<std::shared_ptr<TotalCurve>>(pass) ||
      std::holds_alternative<std::shared_ptr<Priced>>(pass)) {
    return std::nullopt;
  }
  return batch;
}

std::tuple<bool, double, std::uint64_t, double> arguments_of(const Allowance& allowance) {
  return {allowance.total == Total::kWorstCase, allowance.price_usd, allowance.rows,
          allowance.spent_usd};
}

RouteOptions with_threads(RouteOptions options, std::uint32_t threads) {
  options.threads = threads;
  return options;
}

/// The child of that name.
std::int64_t find_column(const ArrowSchema& table, const std::string& name) {
  std::string known;
  for (std::int64_t i = 0; i < table.n_children; ++i) {
    const char* child = table.children[i]->name;
    if (child == nullptr) child = "";
    if (name == child) return i;
    known += (known.empty() ? "" : ", ") + std::string(child);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "the table has no column \"" + name + "\": expected one of " + known);
}

[[noreturn]] void throw_stream_error(ArrowArrayStream& stream) {
  const char* message = stream.get_last_error(&stream);
  throw Error(ErrorCode::kBadData,
              "the Arrow stream has failed: " +
                  std::string(message == nullptr ? "no reason given" : message));
}

/// An Arrow stream with a column of queries, which must outlive it.
class QueryStream {
 public:
  /// `name`: of a column of a table; empty: the stream is of the column. `texts`: whether it has to
  /// hold texts or embeddings; throws if it does not.
  QueryStream(const py::capsule& capsule, const std::string& name, bool texts)
      : stream_(static_cast<ArrowArrayStream*>(
            PyCapsule_GetPointer(capsule.ptr(), "arrow_array_stream"))),
        is_table_(!name.empty()) {
    if (stream_ == nullptr) throw py::error_already_set();
    if (stream_->get_schema(stream_, &schema_) != 0) throw_stream_error(*stream_);
    if (is_table_) child_ = find_column(schema_, name);
    const ColumnKind kind = column_kind(type());
    if (kind == ColumnKind::kNull || (kind == ColumnKind::kText) == texts) return;
    const std::string expected = texts ? "text" : "embedding", found = texts ? "embedding" : "text";
    throw Error(ErrorCode::kInvalidArgument, "the column \"" + name + "\" holds " + found +
                                                 "s: name it with " + found + "= instead of " +
                                                 expected + "=");
  }

  /// Calls `use(column)` for each chunk.
  template <typename Use>
  void for_each_chunk(const Use& use) {
    while (true) {
      Owned<ArrowArray> chunk;
      if (stream_->get_next(stream_, &chunk) != 0) throw_stream_error(*stream_);
      if (chunk.release == nullptr) return;
      ArrowArray column =
          is_table_ ? *chunk.children[child_] : static_cast<const ArrowArray&>(chunk);
      if (is_table_) {  // a table's offset and length hold for its columns
        column.offset += chunk.offset;
        column.length = chunk.length;
      }
      use(*arrow_column(type(), column));
    }
  }

 private:
  const ArrowSchema& type() const {
    return is_table_ ? *schema_.children[child_] : static_cast<const ArrowSchema&>(schema_);
  }

  ArrowArrayStream* stream_;
  bool is_table_;
  Owned<ArrowSchema> schema_;
  std::int64_t child_ = 0;
};

}  // namespace

std::optional<DecisionBatch> route_stream(const Router& router, const py::capsule& capsule,
                                          const std::string& name, bool texts,
                                          const RouteOptions& options, const QuerySize& size,
                                          std::uint32_t threads, const TotalPass& pass) {
  QueryStream stream(capsule, name, texts);
  DecisionBatch batch;
  const RouteOptions own = with_threads(options, threads);
  // Options are checked even if there are no chunks.
  const Rows::Texts no_texts;
  route_into(router, Rows(no_texts, {}, router.dimension()), own, size, pass, batch);
  stream.for_each_chunk(
      [&](const QueryColumn& column) { route_into(router, column, own, size, pass, batch); });
  return result_of(std::move(batch), pass);
}

std::optional<DecisionBatch> route_rows(const Router& router,
                                        const std::vector<std::optional<std::string>>& texts,
                                        const std::optional<py::array>& embeddings,
                                        const RouteOptions& options, const QuerySize& size,
                                        std::uint32_t threads, const TotalPass& pass) {
  std::optional<EmbeddingView> matrix;
  if (embeddings) {
    matrix = view(*embeddings);
    if (embeddings->ndim() != 2 || embeddings->shape(1) == 0 ||
        (!texts.empty() && static_cast<std::size_t>(embeddings->shape(0)) != texts.size())) {
      throw Error(ErrorCode::kInvalidArgument,
                  "expected embeddings of shape (N, d), a row for each");
    }
  }
  const std::size_t dimension =
      embeddings ? static_cast<std::size_t>(embeddings->shape(1)) : router.dimension();
  DecisionBatch batch;
  route_into(router, Rows(texts, matrix, dimension), with_threads(options, threads), size, pass,
             batch);
  return result_of(std::move(batch), pass);
}

std::optional<DecisionBatch> route_vectors(const Router& router, const Vectors::Values& vectors,
                                           const RouteOptions& options, const QuerySize& size,
                                           std::uint32_t threads, const TotalPass& pass) {
  DecisionBatch batch;
  route_into(router, Vectors(vectors), with_threads(options, threads), size, pass, batch);
  return result_of(std::move(batch), pass);
}

void register_columns(py::module_& module) {
  py::class_<DecisionBatch, std::shared_ptr<DecisionBatch>>(
      module, "DecisionBatch", "Decisions for many queries, column by column. Immutable.")
      .def("__len__", &DecisionBatch::size)
      .def("__arrow_c_array__", &to_arrow_array, py::arg("requested_schema") = py::none())
      .def("__arrow_c_stream__", &to_arrow_stream, py::arg("requested_schema") = py::none())
      .def("columns", &to_columns,
           "Read-only NumPy arrays by name. decided: whether a row has a decision; the other "
           "figures of one that has none mean nothing. model: index; reason: index into "
           "ROW_REASONS. Arrays of float64 share the memory of the batch.");
  module.def(
      "check_column",
      [](const py::capsule& stream, const std::string& column, bool texts) {
        QueryStream(stream, column, texts);
      },
      py::arg("stream"), py::arg("column"), py::arg("texts"),
      "Raises what Router.route_stream raises for the type of the column.");
  py::class_<Allowance>(module, "Allowance",
                        "What the rows of a table may cost, for the second pass. Immutable.")
      .def(py::init([](bool worst_case, double price_usd, std::uint64_t rows, double spent_usd) {
             return Allowance{worst_case ? Total::kWorstCase : Total::kPredicted, price_usd, rows,
                              spent_usd};
           }),
           py::arg("worst_case"), py::arg("price_usd"), py::arg("rows"), py::arg("spent_usd"))
      .def_readonly("price_usd", &Allowance::price_usd)
      .def_readonly("spent_usd", &Allowance::spent_usd)
      .def("after", &Allowance::after, py::arg("count"), "For the rows after the first ones.")
      .def("arguments", &arguments_of, "Those that make an equal one.")
      .def("__reduce__", [](const py::object& self) {
        return py::make_tuple(py::type::of(self), arguments_of(self.cast<const Allowance&>()));
      });
  py::class_<TotalCurve, std::shared_ptr<TotalCurve>>(
      module, "TotalCurve", "What more money buys for the rows of a table, the first pass.")
      .def(py::init([](bool worst_case, std::optional<std::size_t> most_steps,
                       std::pair<double, double> range, std::uint64_t every) {
             TotalCurveOptions options{.range = {range.first, range.second}, .every = every};
             if (most_steps) options.most_steps = *most_steps;
             return std::make_shared<TotalCurve>(worst_case ? Total::kWorstCase : Total::kPredicted,
                                                 options);
           }),
           py::arg("worst_case"), py::arg("most_steps") = py::none(),
           py::arg("range") = std::pair(0.0, std::numeric_limits<double>::infinity()),
           py::arg("every") = 1,
           "worst_case: the total is of worst cases. most_steps: above it, prices are rounded; 0: "
           "from the start, for rows in any order. range: of prices. every: of so many rows one "
           "is priced, as a sample.")
      .def_property_readonly("rows", &TotalCurve::rows)
      .def("merge", &TotalCurve::merge, py::arg("later"))
      .def("reaches", &TotalCurve::reaches, py::arg("usd"),
           "Whether the range has the price that spends it.")
      .def(
          "range_near",
          [](const TotalCurve& curve, double usd) {
            const PriceRange range = curve.range_near(usd);
            return std::pair(range.least_usd, range.most_usd);
          },
          py::arg("usd"), "A range for all rows, from a sample of them.")
      .def("allowance", &TotalCurve::allowance, py::arg("usd"))
      .def("to_bytes", [](const TotalCurve& curve) { return py::bytes(curve.to_bytes()); })
      .def_static(
          "from_bytes",
          [](const py::bytes& bytes) {
            return std::make_shared<TotalCurve>(TotalCurve::from_bytes(std::string_view(bytes)));
          },
          py::arg("bytes"));
  py::class_<Priced, std::shared_ptr<Priced>>(
      module, "PricedBatch", "The first pass of a total, which keeps the decisions of the rows.")
      .def(py::init([](std::shared_ptr<TotalCurve> curve) {
             return std::make_shared<Priced>(Priced{std::move(curve), {}});
           }),
           py::arg("curve").none(false), "curve: is added to; empty.")
      .def(
          "take",
          [](Priced& priced, const Allowance& allowance) {
            const ReleasedGil released;
            return priced.batch.take(allowance);
          },
          py::arg("allowance"),
          "The decisions within an allowance of the curve. None are left for another call.");
  py::list reasons;
  for (int i = 0; i <= static_cast<int>(RowReason::kNoEmbedding); ++i) {
    reasons.append(to_string(static_cast<RowReason>(i)));
  }
  module.attr("ROW_REASONS") = py::tuple(reasons);
}

}  // namespace r2router::python
