// Shared by the files of the binding. Each registers one kind of object; module.cc calls them all.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include "r2router/llm/generate.h"
#include "r2router/outcomes.h"
#include "r2router/router.h"
#include "r2router/train/train.h"

namespace r2router::python {

namespace py = pybind11;

/// Releases the interpreter's lock during native work. Use it and AcquiredGil instead of
/// pybind11's, which abort a process that ends while a daemon thread is in them.
class ReleasedGil {
 public:
  ReleasedGil();
  ~ReleasedGil();
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

/// Holds the interpreter's lock, on any thread.
class AcquiredGil {
 public:
  AcquiredGil();
  ~AcquiredGil();
  AcquiredGil(const AcquiredGil&) = delete;
  AcquiredGil& operator=(const AcquiredGil&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Calls a function of Python's from native code on any thread, which holds the lock.
void call(const py::object& function, const py::tuple& arguments);

void register_errors(py::module_& module);
void register_options(py::module_& module);
void register_checkpoint(py::module_& module);
void register_decision(py::module_& module);
void register_columns(py::module_& module);
void register_router(py::module_& module);
void register_servers(py::module_& module);
void register_outcomes(py::module_& module);
void register_train(py::module_& module);
void register_statistics(py::module_& module);
void register_evaluation(py::module_& module);
void register_program(py::module_& module);
/// Wrong arguments to any function that is registered get a TypeError of one line, which names the
/// argument. Call it last.
void explain_wrong_arguments(py::module_& module);

/// The unlimited budget in arrays.
constexpr std::int64_t kUnlimited = -1;
/// The budget as a number of an array.
std::int64_t to_number(Budget budget);
/// An int, or "unlimited".
py::object to_python(Budget budget);
/// From an int or "unlimited"; throws Error(kInvalidArgument) for anything else.
Budget to_budget(const py::handle& value);

/// A callback that passes diagnostics to Python's `log(level: int, message: str)`, with the levels
/// of the logging module. Acquires the GIL.
LogCallback to_log_callback(py::object log);

/// A callback that handles signals, so that Ctrl-C ends long work, and calls Python's
/// `progress(stage: str, done: int, total: int)` unless it is None. Acquires the GIL.
train::ProgressCallback to_progress_callback(py::object progress);

/// A dictionary with names for keys, which the stubs show as such.
using Dict = py::typing::Dict<py::str, py::object>;

/// The report's figures, with what was chosen and tried by this kind of predictor.
Dict training_to_dict(const train::TrainReport& report, PredictorKind kind);

/// Rows of embeddings.
using Embeddings = py::array_t<float, py::array::c_style>;
/// Copies the rows. Throws Error(kBadData) unless there is one for each query of the data.
void set_embeddings(OutcomeData& data, const Embeddings& embeddings);

/// Python strings in every decision of a router, created once.
class Labels {
 public:
  explicit Labels(const Pool& pool);
  Dict option(const Option& option) const;

 private:
  struct Model {
    py::str name, openrouter_id;
  };
  struct Keys {
    py::str model = intern("model"), openrouter_id = intern("openrouter_id"),
            budget = intern("budget"), quality = intern("predicted_quality"),
            output_tokens = intern("predicted_output_tokens"),
            cost_usd = intern("predicted_cost_usd"), risk = intern("risk");
  };
  static py::str intern(const char* text);

  Keys keys_;
  py::str unlimited_ = intern("unlimited");
  std::vector<Model> models_;
};

/// Numbers of a C-contiguous, aligned float32 or float64 array, borrowed from it.
/// Throws Error(kInvalidArgument) for another array: the facade converts those.
EmbeddingView view(const py::array& values);

/// A choice, with the data to rank the alternatives later. Immutable.
class Choice {
 public:
  /// `query`: with its embedding. `options`: what `decision` was made with.
  Choice(Router router, std::shared_ptr<const Labels> labels, Query query,
         const RouteOptions& options, const Decision& decision);

  /// The chosen option as a dictionary.
  Dict values() const { return labels_->option(chosen_); }
  /// Every admitted option, best first.
  py::typing::List<Dict> rank() const;
  /// The whole decision, with its ranking. Call it without the GIL.
  Decision decision() const { return decide(true, false); }
  /// Further facts about the choice, in addition to the published package's figures.
  Dict details() const;
  /// The runner-up, and how many pairs each constraint excluded.
  Dict explain() const;
  double lambda() const { return lambda_; }
  std::int64_t input_tokens() const { return input_tokens_; }

 private:
  Decision decide(bool rank, bool explain) const;

  Router router_;
  std::shared_ptr<const Labels> labels_;
  // A copy: the caller may change the array before the ranking is computed.
  Query query_;
  RouteOptions options_;
  Option chosen_;
  Reason reason_ = Reason::kUtility;
  double lambda_ = 0;
  std::int64_t input_tokens_ = 0;
};

/// The server for answers. Immutable.
struct Client {
  std::shared_ptr<const llm::Client> client;
};

/// The outcome of a call, as a dictionary; a failed one has the key "failure".
Dict to_python(const llm::Completion& completion, const Pool& pool);

/// Rows of each thread between two looks at signals: a few milliseconds' worth.
inline constexpr std::size_t kBlockRows = 2048;

/// Numbers of tokens, one after another in memory.
using TokenCounts = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

/// On this many threads, 0: all cores. Releases the GIL, and lets Python handle signals (Ctrl-C)
/// between blocks of rows. `size`: of every row, but for `input_tokens`, if there are any, and the
/// lengths of `texts`, if there are any.
DecisionBatch route_batch(const Router& router, const py::array& embeddings,
                          const RouteOptions& options, const QuerySize& size,
                          const TokenCounts& input_tokens, const std::vector<std::string>& texts,
                          std::uint32_t threads);

/// A first pass of a total that keeps the decisions.
struct Priced {
  std::shared_ptr<TotalCurve> curve;
  PricedBatch batch;
};

/// A pass of a total: the first one, which adds to a curve, the second one, or none.
using TotalPass =
    std::variant<std::monostate, std::shared_ptr<TotalCurve>, std::shared_ptr<Priced>, Allowance>;

/// Decisions for a column of an Arrow stream, on this many threads, 0: all cores. `name`: of the
/// column in a table; empty: the stream is of the column itself. None in the first pass of a total.
std::optional<DecisionBatch> route_stream(const Router& router, const py::capsule& capsule,
                                          const std::string& name, bool texts,
                                          const RouteOptions& options, const QuerySize& size,
                                          std::uint32_t threads, const TotalPass& pass);

/// The same for texts, of which some may be missing, for the rows of a matrix of embeddings, or for
/// texts with their embeddings.
std::optional<DecisionBatch> route_rows(const Router& router,
                                        const std::vector<std::optional<std::string>>& texts,
                                        const std::optional<py::array>& embeddings,
                                        const RouteOptions& options, const QuerySize& size,
                                        std::uint32_t threads, const TotalPass& pass);

/// The same for embeddings that may be missing or of other lengths.
std::optional<DecisionBatch> route_vectors(const Router& router,
                                           const std::vector<std::optional<py::array>>& vectors,
                                           const RouteOptions& options, const QuerySize& size,
                                           std::uint32_t threads, const TotalPass& pass);

}  // namespace r2router::python
