// The router itself.
#include "r2router/router.h"

#include <algorithm>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/stl.h>

#include "bindings.h"

namespace r2router::python {
namespace {

/// A model's index, then budgets, quality, output tokens and cost, by ascending budget.
using QualityCurve = std::tuple<std::uint32_t, py::array_t<std::int64_t>, py::array_t<double>,
                                py::array_t<double>, py::array_t<double>>;

class RouterBinding {
 public:
  /// Roles and contents.
  using Messages = std::vector<std::pair<std::string, std::string>>;

  RouterBinding(const std::shared_ptr<Checkpoint>& checkpoint, const std::string& kernel)
      : router_(make_router(*checkpoint, kernel)),
        labels_(std::make_shared<const Labels>(router_.pool())) {}

  Choice route(const py::array& embedding, const RouteOptions& options,
               const QuerySize& size) const {
    const EmbeddingView numbers = view(embedding);
    const Decision decision = [&] {
      const ReleasedGil released;
      return std::visit([&](auto values) { return router_.route(values, options, size); }, numbers);
    }();
    return Choice(router_, labels_, embedded(numbers, size), options, decision);
  }

  std::vector<Choice> route_texts(const std::vector<std::string>& texts,
                                  const py::array& embeddings, const RouteOptions& options,
                                  const QuerySize& size) const {
    const EmbeddingView rows = view(embeddings);
    const std::size_t dimension = router_.dimension();
    if (static_cast<std::size_t>(embeddings.size()) != texts.size() * dimension) {
      throw Error(ErrorCode::kInvalidArgument,
                  "expected embeddings of shape (" + std::to_string(texts.size()) + ", " +
                      std::to_string(dimension) + "), one row for each text");
    }
    const ReleasedGil released;
    std::vector<Query> queries;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      queries.push_back(std::visit(
          [&](auto numbers) { return embedded(numbers.subspan(i * dimension, dimension), size); },
          rows));
      queries.back().text = texts[i];
      // A query without a text has an unknown length; an empty text has the least.
      QuerySize& own = queries.back().size;
      if (texts[i].empty() && !own.input_tokens) {
        own.input_tokens = estimate_input_tokens(texts[i]);
        if (!own.max_input_tokens) {
          own.max_input_tokens = most_input_tokens(texts[i], router_.config().budget_prompt);
        }
      }
    }
    std::vector<RouteResult> results = router_.route(queries, options);
    std::vector<Choice> choices;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Decision decision = std::move(results[i]).decision();
      queries[i].text.clear();  // its lengths are all that the ranking depends on
      queries[i].size.input_tokens = decision.input_tokens;
      queries[i].size.max_input_tokens = decision.max_input_tokens;
      choices.emplace_back(router_, labels_, std::move(queries[i]), options, decision);
    }
    return choices;
  }

  DecisionBatch route_batch(const py::array& embeddings, const RouteOptions& options,
                            const QuerySize& size, const TokenCounts& input_tokens,
                            const std::vector<std::string>& texts, std::uint32_t threads) const {
    return python::route_batch(router_, embeddings, options, size, input_tokens, texts, threads);
  }

  std::optional<DecisionBatch> route_stream(const py::capsule& stream, const std::string& column,
                                            bool texts, const RouteOptions& options,
                                            const QuerySize& size, std::uint32_t threads,
                                            const TotalPass& pass) const {
    return python::route_stream(router_, stream, column, texts, options, size, threads, pass);
  }

  std::optional<DecisionBatch> route_rows(const std::vector<std::optional<std::string>>& texts,
                                          const std::optional<py::array>& embeddings,
                                          const RouteOptions& options, const QuerySize& size,
                                          std::uint32_t threads, const TotalPass& pass) const {
    return python::route_rows(router_, texts, embeddings, options, size, threads, pass);
  }

  std::optional<DecisionBatch> route_vectors(
      const std::vector<std::optional<std::vector<double>>>& vectors, const RouteOptions& options,
      const QuerySize& size, std::uint32_t threads, const TotalPass& pass) const {
    return python::route_vectors(router_, vectors, options, size, threads, pass);
  }

  py::array_t<float> embed(const std::vector<std::string>& texts) const {
    if (!router_.encoder()) {
      throw Error(ErrorCode::kUnsupported, "this checkpoint has no encoder of its own");
    }
    const std::size_t dimension = router_.dimension();
    py::array_t<float> embeddings({texts.size(), dimension});
    const std::span<float> out(embeddings.mutable_data(), texts.size() * dimension);
    const ReleasedGil released;
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    router_.encoder()->embed(views, out);
    return embeddings;
  }

  /// Asks the choice's model, or on failure those that come next.
  Dict generate(const Client& client, const Messages& messages, const Choice& choice,
                std::optional<double> temperature, std::optional<double> timeout,
                std::uint32_t max_fallbacks, bool split_thinking, const py::object& on_text,
                const std::stop_source& cancel) const {
    return ask(
        client, messages, [&] { return choice.decision(); },
        {.temperature = temperature,
         .timeout = timeout,
         .max_fallbacks = max_fallbacks,
         .split_thinking = split_thinking},
        on_text, cancel);
  }

  /// Asks this model with this budget, and no other. `max_tokens`: the cap, if it is known.
  Dict generate_pair(const Client& client, const Messages& messages, std::uint32_t model,
                     const py::object& budget, std::optional<double> temperature,
                     std::optional<double> timeout, bool split_thinking, const py::object& on_text,
                     const std::stop_source& cancel, std::optional<std::uint32_t> max_tokens,
                     std::optional<double> max_cost_usd) const {
    const Pair pair{model, to_budget(budget)};
    const auto decide = [&] {
      Decision decision = decision_for(pair, messages);
      decision.max_cost_usd = max_cost_usd;
      if (max_tokens) llm::set_cap(decision, *max_tokens);
      return decision;
    };
    return ask(client, messages, decide,
               {.temperature = temperature,
                .timeout = timeout,
                .max_fallbacks = 0,
                .split_thinking = split_thinking},
               on_text, cancel);
  }

  /// One for each model.
  std::vector<QualityCurve> quality_curves(const py::array& embedding,
                                           std::int64_t input_tokens) const;

 private:
  /// The decision for a pair that the caller has chosen; its predictions mean nothing.
  Decision decision_for(const Pair& pair, const Messages& messages) const {
    const Config& config = router_.config();
    std::int64_t most = 0;
    for (const auto& [role, content] : messages) {
      most += most_input_tokens(content, config.budget_prompt);
    }
    return decide(std::make_shared<const Pool>(router_.pool()), {&pair, 1},
                  {.quality = {0}, .tokens = {0}}, {.policy = {.available_only = false}},
                  config.default_policy(), {}, {.input_tokens = 0, .max_input_tokens = most});
  }

  template <typename Decide>
  Dict ask(const Client& client, const Messages& messages, Decide decide,
           llm::GenerateOptions options, const py::object& on_text,
           const std::stop_source& cancel) const {
    if (!on_text.is_none()) {
      options.on_text = [&on_text](std::string_view text) {
        const AcquiredGil acquired;
        call(on_text, py::make_tuple(text));
      };
    }
    options.cancel = cancel.get_token();
    std::vector<Message> conversation;
    for (const auto& [role, content] : messages) conversation.push_back({role, content});
    const llm::Completion completion = [&] {
      const ReleasedGil released;
      return llm::generate(*client.client, router_, conversation, decide(), options);
    }();
    return to_python(completion, router_.pool());
  }

  /// A copy of the embedding as a query.
  static Query embedded(const EmbeddingView& embedding, const QuerySize& size) {
    Query query{.size = size};
    std::visit(
        [&](auto numbers) {
          using Number = std::remove_const_t<typename decltype(numbers)::element_type>;
          query.embedding = std::vector<Number>(numbers.begin(), numbers.end());
        },
        embedding);
    return query;
  }

  static Router make_router(const Checkpoint& checkpoint, const std::string& kernel) {
    const ReleasedGil released;
    return Router(checkpoint, {.kernel = kernel});
  }

  Router router_;
  std::shared_ptr<const Labels> labels_;
};

std::vector<QualityCurve> RouterBinding::quality_curves(const py::array& embedding,
                                                        std::int64_t input_tokens) const {
  // By this objective nothing is rounded, and the checkpoint's own rules predict.
  const RouteOptions options{.policy = {.objective = Objective::kBest, .available_only = false},
                             .rank = true};
  const QuerySize size{.input_tokens = input_tokens};
  const EmbeddingView values = view(embedding);
  std::vector<Option> ranking;
  {
    const ReleasedGil released;
    ranking = std::visit([&](auto v) { return router_.route(v, options, size).ranking; }, values);
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
  const auto none = py::none();
  py::class_<RouterBinding>(module, "Router",
                            "Immutable; every method may be called from many threads.")
      .def(py::init<const std::shared_ptr<Checkpoint>&, const std::string&>(),
           py::arg("checkpoint").none(false), py::arg("kernel") = "")
      .def("route", &RouterBinding::route, py::arg("embedding"), py::arg("options"),
           py::arg("size"))
      .def("route_texts", &RouterBinding::route_texts, py::arg("texts"), py::arg("embeddings"),
           py::arg("options"), py::arg("size"),
           "The choice for each row of embeddings, of which texts say how long the queries are "
           "unless size does.")
      .def("route_batch", &RouterBinding::route_batch, py::arg("embeddings"), py::arg("options"),
           py::arg("size"), py::arg("input_tokens"), py::arg("texts"), py::arg("threads") = 0,
           "input_tokens: one for each row, or none to use the size's. texts: those that the rows "
           "are embeddings of, for their lengths, or none.")
      .def(
          "route_stream", &RouterBinding::route_stream, py::arg("stream"), py::arg("column"),
          py::arg("texts"), py::arg("options"), py::arg("size"), py::arg("threads") = 0,
          py::arg("total") = none,
          "stream: an Arrow capsule of a table, or of a column if that has no name. texts: whether "
          "the column has to be of texts or of embeddings. total: a TotalCurve to add to, an "
          "Allowance, or None.")
      .def("route_rows", &RouterBinding::route_rows, py::arg("texts"), py::arg("embeddings"),
           py::arg("options"), py::arg("size"), py::arg("threads") = 0, py::arg("total") = none,
           "texts: some may be None; or empty. embeddings: of the same rows, or None.")
      .def("route_vectors", &RouterBinding::route_vectors, py::arg("vectors"), py::arg("options"),
           py::arg("size"), py::arg("threads") = 0, py::arg("total") = none)
      .def("embed", &RouterBinding::embed, py::arg("texts"))
      .def("generate", &RouterBinding::generate, py::arg("client"), py::arg("messages"),
           py::arg("choice"), py::arg("temperature"), py::arg("timeout"), py::arg("max_fallbacks"),
           py::arg("split_thinking"), py::arg("on_text"), py::arg("cancel"))
      .def("generate_pair", &RouterBinding::generate_pair, py::arg("client"), py::arg("messages"),
           py::arg("model"), py::arg("budget"), py::arg("temperature"), py::arg("timeout"),
           py::arg("split_thinking"), py::arg("on_text"), py::arg("cancel"),
           py::arg("max_tokens") = py::none(), py::arg("max_cost_usd") = py::none(),
           "max_tokens: the cap, None: that of the pair. max_cost_usd: of all attempts together; "
           "one whose outcome is unknown counts in full.")
      .def("quality_curves", &RouterBinding::quality_curves, py::arg("embedding"),
           py::arg("input_tokens"),
           "For each model (index, budgets, quality, output_tokens, cost_usd).");
}

}  // namespace r2router::python
