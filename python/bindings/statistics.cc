// Training from sums that are merged.
#include "r2router/train/statistics.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/pool.h"

#include "bindings.h"

namespace r2router::python {
namespace {

/// The models of the pool with these names, in its order; all for no names.
Pool choose(const Pool& pool, const std::vector<std::string>& names) {
  if (names.empty()) return pool;
  for (const std::string& name : names) {
    if (std::ranges::find(pool, name, &ModelSpec::name) != pool.end()) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "models has " + name +
                    ", which the pool does not have: add it there, or leave it "
                    "out");
  }
  Pool chosen;
  std::ranges::copy_if(pool, std::back_inserter(chosen), [&](const ModelSpec& model) {
    return std::ranges::find(names, model.name) != names.end();
  });
  return chosen;
}

train::Statistics make_statistics(const std::string& pool, const std::vector<std::string>& models,
                                  std::uint32_t dimension,
                                  const std::optional<LexicalEncoderSpec>& encoder,
                                  const std::string& embedding_model,
                                  const std::vector<std::uint32_t>& token_limits,
                                  const std::string& budget_prompt, std::uint32_t folds,
                                  std::uint32_t holdout, std::uint64_t seed, std::uint32_t sample,
                                  const std::string& cost) {
  train::StatisticsOptions options;
  options.models = choose(read_pool(pool), models);
  options.dimension = dimension;
  options.encoder = encoder;
  options.embedding_model = embedding_model;
  options.token_limits = token_limits;
  options.budget_prompt = budget_prompt;
  options.folds = folds;
  options.holdout = holdout;
  options.seed = seed;
  options.sample = sample;
  options.cost_measure = parse_cost_measure(cost);
  return train::Statistics(std::move(options));
}

void add(train::Statistics& self, const std::string& queries, const std::string& outcomes,
         const std::optional<Embeddings>& embeddings, bool ignore_unknown_models,
         std::uint32_t threads, py::object log) {
  const LogCallback to_log = to_log_callback(std::move(log));
  OutcomeData data;
  {
    const ReleasedGil released;
    data.table = read_outcomes(queries, outcomes, self.options().models,
                               {.ignore_unknown_models = ignore_unknown_models, .log = to_log});
    data.table.cost_measure = self.options().cost_measure;
  }
  if (embeddings) set_embeddings(data, *embeddings);
  const ReleasedGil released;
  self.add(data, threads);
}

std::tuple<std::shared_ptr<Checkpoint>, Dict, std::string> solve(const train::Statistics& self,
                                                                 const std::vector<double>& alphas,
                                                                 std::uint32_t threads,
                                                                 py::object progress) {
  train::SolveOptions options;
  if (!alphas.empty()) options.alphas = alphas;
  options.threads = threads;
  options.progress = to_progress_callback(std::move(progress));
  auto checkpoint = std::make_shared<Checkpoint>();
  train::TrainReport report;
  std::string text;
  {
    const ReleasedGil released;
    *checkpoint = self.solve(options, &report);
    text = to_text(report, *checkpoint);
  }
  return {checkpoint, training_to_dict(report, PredictorKind::kRidge), text};
}

py::bytes to_bytes(const train::Statistics& self) {
  std::string bytes;
  {
    const ReleasedGil released;
    bytes = self.to_bytes();
  }
  return bytes;
}

train::Statistics from_bytes(const py::bytes& bytes) {
  const std::string_view text = bytes;
  const ReleasedGil released;
  return train::Statistics::from_bytes(
      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, "the statistics");
}

}  // namespace

void register_statistics(py::module_& module) {
  using train::Statistics;
  using train::StatisticsOptions;
  py::class_<Statistics>(module, "Statistics", "Sums over the outcomes of queries.")
      .def(py::init(&make_statistics), py::kw_only(), py::arg("pool"), py::arg("models"),
           py::arg("dimension"), py::arg("encoder"), py::arg("embedding_model"),
           py::arg("token_limits"), py::arg("budget_prompt"), py::arg("folds"), py::arg("holdout"),
           py::arg("seed"), py::arg("sample"), py::arg("cost"))
      .def_property_readonly("dimension",
                             [](const Statistics& self) { return self.options().dimension; })
      .def_property_readonly("training_queries", &Statistics::training_queries)
      .def_property_readonly("held_out_queries", &Statistics::held_out_queries)
      .def_property_readonly("sampled_queries", &Statistics::sampled_queries)
      .def("add", &add, py::kw_only(), py::arg("queries"), py::arg("outcomes"),
           py::arg("embeddings"), py::arg("ignore_unknown_models"), py::arg("threads"),
           py::arg("log"))
      .def("merge", &Statistics::merge, py::arg("other"), py::call_guard<ReleasedGil>())
      .def("solve", &solve, py::kw_only(), py::arg("alphas"), py::arg("threads"),
           py::arg("progress"), "Returns the checkpoint, a report, and the report as text.")
      .def("save", &Statistics::save, py::arg("file"), py::call_guard<ReleasedGil>())
      .def_static("load", &Statistics::load, py::arg("file"), py::call_guard<ReleasedGil>())
      .def("to_bytes", &to_bytes)
      .def_static("from_bytes", &from_bytes, py::arg("contents"));
}

}  // namespace r2router::python
