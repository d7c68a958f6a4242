// The router itself.
#include "r2router/router.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <pybind11/stl.h>

#include "bindings.h"

namespace r2router::python {
namespace {

/// A model's index, then budgets, quality, output tokens and cost, by ascending budget.
using QualityCurve = std::tuple<std::uint32_t, py::array_t<std::int64_t>, py::array_t<double>,
                                py::array_t<double>, py::array_t<double>>;

class RouterBinding {
 public:
  RouterBinding(const std::shared_ptr<Checkpoint>& checkpoint, const std::string& kernel)
      : router_(make_router(*checkpoint, kernel)),
        labels_(std::make_shared<const Labels>(router_.pool())) {}

  Choice route(const py::array& embedding, const RouteOptions& options) const {
    return Choice(router_, labels_, embedding, options);
  }

  Batch route_batch(const py::array& embeddings, const RouteOptions& options,
                    const py::array_t<std::int64_t>& input_tokens) const {
    return python::route_batch(router_, embeddings, options, input_tokens);
  }

  py::array_t<float> embed(const std::vector<std::string>& texts) const {
    if (!router_.embedder()) {
      throw Error(ErrorCode::kUnsupported, "this checkpoint has no encoder of its own");
    }
    const std::size_t dimension = router_.dimension();
    py::array_t<float> embeddings({texts.size(), dimension});
    const std::span<float> out(embeddings.mutable_data(), texts.size() * dimension);
    const py::gil_scoped_release released;
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    router_.embedder()->embed(views, out);
    return embeddings;
  }

  /// One for each model.
  std::vector<QualityCurve> quality_curves(const py::array& embedding,
                                           std::int64_t input_tokens) const;

 private:
  static Router make_router(const Checkpoint& checkpoint, const std::string& kernel) {
    const py::gil_scoped_release released;
    return Router(checkpoint, {.kernel = kernel});
  }

  Router router_;
  std::shared_ptr<const Labels> labels_;
};

std::vector<QualityCurve> RouterBinding::quality_curves(const py::array& embedding,
                                                        std::int64_t input_tokens) const {
  // The corrected rules round nothing; with the checkpoint's own floor they predict what it
  // predicts.
  const Config& config = router_.config();
  const bool corrected = config.rules == DecisionRules::kCorrected;
  const RouteOptions options{.input_tokens = input_tokens,
                             .available_only = false,
                             .token_floor = corrected ? config.token_floor : 0,
                             .rules = DecisionRules::kCorrected,
                             .rank = true};
  const EmbeddingView values = view(embedding);
  std::vector<Option> ranking;
  {
    const py::gil_scoped_release released;
    ranking = std::visit([&](auto v) { return router_.route(v, options).ranking; }, values);
    std::sort(ranking.begin(), ranking.end(), [](const Option& a, const Option& b) {
      return std::pair(a.model, a.budget) < std::pair(b.model, b.budget);
    });
  }
  std::vector<QualityCurve> curves;
  for (auto begin = ranking.begin(); begin != ranking.end();) {
    const std::uint32_t model = begin->model;
    const auto end =
        std::find_if(begin, ranking.end(), [&](const Option& o) { return o.model != model; });
    const auto count = static_cast<py::ssize_t>(end - begin);
    py::array_t<std::int64_t> budgets(count);
    py::array_t<double> quality(count), output_tokens(count), cost_usd(count);
    for (py::ssize_t i = 0; i < count; ++i, ++begin) {
      budgets.mutable_at(i) = to_number(begin->budget);
      quality.mutable_at(i) = begin->quality;
      output_tokens.mutable_at(i) = begin->output_tokens;
      cost_usd.mutable_at(i) = begin->cost_usd;
    }
    curves.emplace_back(model, budgets, quality, output_tokens, cost_usd);
  }
  return curves;
}

}  // namespace

void register_router(py::module_& module) {
  py::class_<RouterBinding>(module, "Router",
                            "Immutable; every method may be called from many threads.")
      .def(py::init<const std::shared_ptr<Checkpoint>&, const std::string&>(),
           py::arg("checkpoint"), py::arg("kernel") = "")
      .def("route", &RouterBinding::route, py::arg("embedding"), py::arg("options"))
      .def("route_batch", &RouterBinding::route_batch, py::arg("embeddings"), py::arg("options"),
           py::arg("input_tokens"), "input_tokens: one for each row, or none to use the options'.")
      .def("embed", &RouterBinding::embed, py::arg("texts"))
      .def("quality_curves", &RouterBinding::quality_curves, py::arg("embedding"),
           py::arg("input_tokens"),
           "For each model (index, budgets, quality, output_tokens, cost_usd).");
}

}  // namespace r2router::python
