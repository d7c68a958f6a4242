// Queries and outcomes, and keeping prices up to date.
#include "r2router/outcomes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/llm/price_sync.h"

#include "bindings.h"

namespace r2router::python {

void set_embeddings(OutcomeData& data, const Embeddings& embeddings) {
  const auto rows = static_cast<std::size_t>(embeddings.shape(0));
  if (rows != data.table.queries.size()) {
    throw Error(ErrorCode::kBadData, "there are " + std::to_string(data.table.queries.size()) +
                                         " queries and " + std::to_string(rows) +
                                         " embeddings: expected one row of embeddings for each");
  }
  data.dimension = static_cast<std::size_t>(embeddings.shape(1));
  data.embeddings.assign(embeddings.data(), embeddings.data() + embeddings.size());
}

namespace {

/// Only the queries if `outcomes` is empty. The models are those of the checkpoint, to which
/// `model` of the pool is added; or without a checkpoint those of the pool that `models` and
/// `least_coverage` choose.
OutcomeData read_data(const std::string& queries, const std::string& outcomes,
                      const std::string& pool,
                      const std::optional<std::shared_ptr<Checkpoint>>& optional_checkpoint,
                      const std::string& model, const std::string& dataset,
                      const std::optional<Embeddings>& embeddings, const std::string& cost,
                      bool ignore_unknown_models, const std::vector<std::string>& sources,
                      const std::vector<std::string>& models, double least_coverage,
                      const std::vector<std::uint32_t>& token_limits, py::object log) {
  const LogCallback to_log = to_log_callback(std::move(log));
  const std::shared_ptr<Checkpoint> checkpoint = optional_checkpoint.value_or(nullptr);
  OutcomeData data;
  Pool known;
  if (outcomes.empty()) {
    const ReleasedGil released;
    data.table.queries = read_queries(queries);
  } else {
    const ReleasedGil released;
    if (!pool.empty()) known = read_pool(pool);
    if (checkpoint) {
      known = model.empty() ? checkpoint->config.models
                            : train::extend_pool(checkpoint->config, known, model, pool);
    }
    data.table = read_outcomes(queries, outcomes, known,
                               {.ignore_unknown_models = ignore_unknown_models, .log = to_log});
    data.table.cost_measure = parse_cost_measure(cost);
    data.table.sources.clear();
    for (const std::string& file : sources) data.table.sources.push_back(hash_source(file));
  }
  if (embeddings) set_embeddings(data, *embeddings);
  if (outcomes.empty()) return data;
  const ReleasedGil released;
  if (!dataset.empty()) data = select_dataset(data, dataset);
  if (!checkpoint) data.table = choose_models(data.table, known, models, least_coverage, to_log);
  if (!token_limits.empty()) {
    data.table = apply_hard_cap(data.table, token_limits);
  } else if (checkpoint) {
    data.table = as_trained(data.table, checkpoint->config);
  }
  return data;
}

}  // namespace

train::ProgressCallback to_progress_callback(py::object progress) {
  auto shared = std::make_shared<py::object>(std::move(progress));
  return [shared](std::string_view stage, std::size_t done, std::size_t total) {
    const AcquiredGil acquired;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!shared->is_none()) call(*shared, py::make_tuple(stage, done, total));
  };
}

void register_outcomes(py::module_& module) {
  py::class_<OutcomeData>(module, "Data", "Queries, with their outcomes and embeddings if known.")
      .def_property_readonly("texts",
                             [](const OutcomeData& self) {
                               std::vector<std::string> texts;
                               for (const QueryRecord& query : self.table.queries) {
                                 texts.push_back(query.text);
                               }
                               return texts;
                             })
      .def_property_readonly("has_embeddings",
                             [](const OutcomeData& self) { return !self.embeddings.empty(); })
      .def("set_embeddings", &set_embeddings, py::arg("embeddings"));
  module.def("read_data", &read_data, py::kw_only(), py::arg("queries"), py::arg("outcomes"),
             py::arg("pool") = "", py::arg("checkpoint") = py::none(), py::arg("model") = "",
             py::arg("dataset") = "", py::arg("embeddings") = py::none(), py::arg("cost") = "usd",
             py::arg("ignore_unknown_models") = false,
             py::arg("sources") = std::vector<std::string>(),
             py::arg("models") = std::vector<std::string>(), py::arg("coverage") = 0.99,
             py::arg("token_limits") = std::vector<std::uint32_t>(), py::arg("log") = py::none(),
             "Queries and outcomes from files; only queries if outcomes is empty.");

  py::class_<llm::PriceSync>(module, "PriceSync", "The changes that a catalogue makes to a pool.")
      .def_readonly("before", &llm::PriceSync::before)
      .def_readonly("after", &llm::PriceSync::after)
      .def_readonly("changes", &llm::PriceSync::changes)
      .def_readonly("any_unknown", &llm::PriceSync::any_unknown)
      .def_readonly("large_changes", &llm::PriceSync::large_changes)
      .def_readonly("retiring", &llm::PriceSync::retiring)
      .def_readonly("unlisted", &llm::PriceSync::unlisted);
  module.def(
      "compare_prices",
      [](const std::string& pool, const std::string& base_url, const std::string& source,
         const std::string& ca_file, const std::vector<std::string>& ignored, py::object log) {
        const llm::PriceSyncOptions options{.base_url = base_url,
                                            .from = source,
                                            .ca_file = ca_file,
                                            .ignored = ignored,
                                            .log = to_log_callback(std::move(log))};
        const ReleasedGil released;
        return llm::compare_prices(pool, options);
      },
      py::kw_only(), py::arg("pool"), py::arg("base_url"), py::arg("source"), py::arg("ca_file"),
      py::arg("ignored"), py::arg("log"));
  module.def("write_prices", &llm::write_prices, py::arg("pool"), py::arg("sync"),
             py::call_guard<ReleasedGil>());
}

}  // namespace r2router::python
