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

/// Embeddings of which each has its own length.
class Vectors final : public QueryColumn {
 public:
  using Values = std::vector<std::optional<std::vector<double>>>;

  explicit Vectors(const Values& values) : values_(values) {}
  std::size_t size() const override { return values_.size(); }
  QueryCell cell(std::size_t row) const override {
    if (!values_[row]) return {};
    return {.embedding = std::span<const double>(*values_[row])};
  }

 private:
  const Values& values_;
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
    export_arrow(*self.batch, schema, &exported);
    if (!self.done) std::swap<ArrowArray>(self.chunk, exported);
    return 0;
  }
  static int get_next(ArrowArrayStream* stream, ArrowArray* array) {
    BatchStream& self = of(stream);
    if (!self.done && self.chunk.release == nullptr) {
      Owned<ArrowSchema> unused;
      export_arrow(*self.batch, &unused, &self.chunk);
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

/// Python's view of a DecisionBatch.
class Decisions {
 public:
  explicit Decisions(DecisionBatch batch)
      : batch_(std::make_shared<const DecisionBatch>(std::move(batch))) {}

  std::size_t size() const { return batch_->size(); }

  py::tuple arrow_array(const py::object&) const {
    auto schema = std::make_unique<ArrowSchema>();
    auto array = std::make_unique<ArrowArray>();
    export_arrow(*batch_, schema.get(), array.get());
    return py::make_tuple(to_capsule(std::move(schema), "arrow_schema"),
                          to_capsule(std::move(array), "arrow_array"));
  }

  py::capsule arrow_stream(const py::object&) const {
    auto stream = std::make_unique<ArrowArrayStream>(
        ArrowArrayStream{.get_schema = BatchStream::get_schema,
                         .get_next = BatchStream::get_next,
                         .get_last_error = BatchStream::get_last_error,
                         .release = BatchStream::release,
                         .private_data = new BatchStream{batch_}});
    return to_capsule(std::move(stream), "arrow_array_stream");
  }

  /// By the name of a column, a NumPy array; where a number is missing, it is masked.
  Dict columns() const {
    const auto rows = static_cast<py::ssize_t>(size());
    py::array_t<bool> decided(rows);
    py::array_t<std::uint32_t> model(rows);
    py::array_t<std::int64_t> budget(rows), max_tokens(rows);
    py::array_t<std::uint8_t> reason(rows);
    for (py::ssize_t i = 0; i < rows; ++i) {
      const auto row = static_cast<std::size_t>(i);
      decided.mutable_at(i) = batch_->decided(row);
      model.mutable_at(i) = batch_->model[row];
      budget.mutable_at(i) = to_number(batch_->budget[row]);
      max_tokens.mutable_at(i) = batch_->max_tokens[row];
      reason.mutable_at(i) = static_cast<std::uint8_t>(batch_->reason[row]);
    }
    const auto figures = [&](const std::vector<double>& values) {
      return py::array_t<double>(rows, values.data());
    };
    Dict columns;
    columns["decided"] = decided;
    columns["model"] = model;
    columns["budget"] = budget;
    columns["max_tokens"] = max_tokens;
    columns["predicted_quality"] = figures(batch_->quality);
    columns["predicted_output_tokens"] = figures(batch_->output_tokens);
    columns["predicted_cost_usd"] = figures(batch_->cost_usd);
    columns["worst_case_cost_usd"] = figures(batch_->worst_case_cost_usd);
    columns["reason"] = reason;
    return columns;
  }

 private:
  std::shared_ptr<const DecisionBatch> batch_;
};

/// Routes in parts, between which Python can handle signals. The rows come after those of the
/// batch, or of the curve in the first pass of a total.
void route_into(const Router& router, const QueryColumn& column, const RouteOptions& options,
                const QuerySize& size, const TotalPass& pass, DecisionBatch& batch) {
  const std::size_t most = kBlockRows * internal::thread_count(options.threads);
  std::size_t begin = 0;
  do {
    const std::size_t count = std::min(most, column.size() - begin);
    {
      const ReleasedGil released;
      const Part part(column, begin, count);
      if (const auto* curve = std::get_if<std::shared_ptr<TotalCurve>>(&pass)) {
        router.price(part, **curve, options, size);
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
py::object decisions_or_none(DecisionBatch batch, const TotalPass& pass) {
  if (std::holds_alternative<std::shared_ptr<TotalCurve>>(pass)) return py::none();
  return py::cast(Decisions(std::move(batch)));
}

std::tuple<bool, double, std::uint64_t, double> arguments_of(const Allowance& allowance) {
  return {allowance.total == Total::kWorstCase, allowance.price_usd, allowance.rows,
          allowance.spent_usd};
}

DecisionBatch empty_batch(const Router& router) {
  return {.pool = std::make_shared<const Pool>(router.pool())};
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

/// Throws if the column holds embeddings where texts are expected, or the reverse.
void check_kind(ColumnKind kind, bool texts, const std::string& name) {
  if (kind == ColumnKind::kNull || (kind == ColumnKind::kText) == texts) return;
  const std::string expected = texts ? "text" : "embedding", found = texts ? "embedding" : "text";
  throw Error(ErrorCode::kInvalidArgument, "the column \"" + name + "\" holds " + found +
                                               "s: name it with " + found + "= instead of " +
                                               expected + "=");
}

[[noreturn]] void throw_stream_error(ArrowArrayStream& stream) {
  const char* message = stream.get_last_error(&stream);
  throw Error(ErrorCode::kBadData,
              "the Arrow stream has failed: " +
                  std::string(message == nullptr ? "no reason given" : message));
}

}  // namespace

/// `name`: of a column of a table; empty: the stream is of the column.
py::object route_stream(const Router& router, const py::capsule& capsule, const std::string& name,
                        bool texts, const RouteOptions& options, const QuerySize& size,
                        std::uint32_t threads, const TotalPass& pass) {
  auto* stream =
      static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array_stream"));
  if (stream == nullptr) throw py::error_already_set();
  Owned<ArrowSchema> schema;
  if (stream->get_schema(stream, &schema) != 0) throw_stream_error(*stream);
  const bool is_table = !name.empty();
  const std::int64_t child = is_table ? find_column(schema, name) : 0;
  const ArrowSchema& type = is_table ? *schema.children[child] : schema;
  check_kind(column_kind(type), texts, name);
  DecisionBatch batch = empty_batch(router);
  const RouteOptions own = with_threads(options, threads);
  // Options are checked even if there are no chunks.
  const Rows::Texts no_texts;
  route_into(router, Rows(no_texts, {}, router.dimension()), own, size, pass, batch);
  while (true) {
    Owned<ArrowArray> chunk;
    if (stream->get_next(stream, &chunk) != 0) throw_stream_error(*stream);
    if (chunk.release == nullptr) break;
    ArrowArray column = is_table ? *chunk.children[child] : static_cast<const ArrowArray&>(chunk);
    if (is_table) {  // a table's offset and length hold for its columns
      column.offset += chunk.offset;
      column.length = chunk.length;
    }
    route_into(router, *arrow_column(type, column), own, size, pass, batch);
  }
  return decisions_or_none(std::move(batch), pass);
}

py::object route_rows(const Router& router, const std::vector<std::optional<std::string>>& texts,
                      const std::optional<py::array>& embeddings, const RouteOptions& options,
                      const QuerySize& size, std::uint32_t threads, const TotalPass& pass) {
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
  DecisionBatch batch = empty_batch(router);
  route_into(router, Rows(texts, matrix, dimension), with_threads(options, threads), size, pass,
             batch);
  return decisions_or_none(std::move(batch), pass);
}

py::object route_vectors(const Router& router,
                         const std::vector<std::optional<std::vector<double>>>& vectors,
                         const RouteOptions& options, const QuerySize& size, std::uint32_t threads,
                         const TotalPass& pass) {
  DecisionBatch batch = empty_batch(router);
  route_into(router, Vectors(vectors), with_threads(options, threads), size, pass, batch);
  return decisions_or_none(std::move(batch), pass);
}

void register_columns(py::module_& module) {
  py::class_<Decisions>(module, "Decisions", "Decisions for the rows of a table. Immutable.")
      .def("__len__", &Decisions::size)
      .def("__arrow_c_array__", &Decisions::arrow_array, py::arg("requested_schema") = py::none())
      .def("__arrow_c_stream__", &Decisions::arrow_stream, py::arg("requested_schema") = py::none())
      .def("columns", &Decisions::columns,
           "NumPy arrays by name. decided: whether a row has a decision; the other figures of one "
           "that has none mean nothing. model: index; reason: index into ROW_REASONS.");
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
  py::list reasons;
  for (int i = 0; i <= static_cast<int>(RowReason::kNoEmbedding); ++i) {
    reasons.append(to_string(static_cast<RowReason>(i)));
  }
  module.attr("ROW_REASONS") = py::tuple(reasons);
}

}  // namespace r2router::python
