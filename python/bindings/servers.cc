// Bindings of servers for embeddings and answers.
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/encoder.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/llm/http_encoder.h"

#include "bindings.h"

namespace r2router::python {
namespace {

/// Embeddings from a server, with a cache.
class HttpEncoder {
 public:
  HttpEncoder(const llm::Endpoint& endpoint, const std::string& model, std::size_t dimension,
              std::size_t cache_bytes)
      : cache_(cache_bytes == 0 ? nullptr : std::make_shared<EmbeddingCache>(cache_bytes)),
        encoder_(llm::make_http_encoder(
            endpoint, {.model = model, .dimension = dimension, .cache = cache_})) {}

  py::array_t<float> embed(const std::vector<std::string>& texts,
                           const std::stop_source& cancel) const {
    const std::size_t dimension = encoder_->dimension();
    py::array_t<float> embeddings({texts.size(), dimension});
    const std::span<float> out(embeddings.mutable_data(), texts.size() * dimension);
    const ReleasedGil released;
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    encoder_->embed(views, out, cancel.get_token());
    return embeddings;
  }

  /// Hits and misses so far.
  std::pair<std::uint64_t, std::uint64_t> cache_counts() const {
    if (!cache_) return {0, 0};
    const EmbeddingCache::Stats stats = cache_->stats();
    return {stats.hits, stats.misses};
  }

 private:
  std::shared_ptr<EmbeddingCache> cache_;
  std::shared_ptr<const Encoder> encoder_;
};

llm::Endpoint make_endpoint(const std::string& base_url, const std::optional<std::string>& api_key,
                            const std::string& ca_file, std::optional<double> timeout) {
  llm::Endpoint endpoint{.base_url = base_url, .ca_file = ca_file};
  if (api_key) endpoint.api_key = llm::Secret(*api_key);
  if (timeout) endpoint.timeouts.total = *timeout;
  return endpoint;
}

/// None if there is no value.
template <typename Value>
py::object to_object(const std::optional<Value>& value) {
  if (!value) return py::none();
  return py::cast(*value);
}

/// The code's name, as in the C++ library.
py::str to_object(ErrorCode code) {
  const std::string_view name = to_string(code);
  return py::str(name.data(), name.size());
}

Dict attempt_to_python(const llm::Attempt& attempt, const Pool& pool) {
  Dict values;
  values["model"] = pool[attempt.pair.model].name;
  values["openrouter_id"] = attempt.model;
  values["budget"] = to_python(attempt.pair.budget);
  values["max_tokens"] = attempt.max_tokens;
  values["http_status"] = attempt.http_status == 0 ? py::none() : py::cast(attempt.http_status);
  values["error"] = attempt.error ? py::object(to_object(*attempt.error)) : py::none();
  values["message"] = attempt.message;
  values["seconds"] = attempt.seconds;
  values["cost_usd"] = to_object(attempt.cost_usd);
  return values;
}

}  // namespace

Dict to_python(const llm::Completion& completion, const Pool& pool) {
  Dict values;
  values["response"] = completion.text;
  values["model"] = pool[completion.pair.model].name;
  values["openrouter_id"] = completion.requested_model;
  values["budget"] = to_python(completion.pair.budget);
  Dict usage;
  const auto count = [&](std::int64_t Usage::*field) -> py::object {
    return completion.usage ? py::cast(*completion.usage.*field) : py::none();
  };
  usage["prompt_tokens"] = count(&Usage::prompt_tokens);
  usage["completion_tokens"] = count(&Usage::completion_tokens);
  usage["reasoning_tokens"] = count(&Usage::reasoning_tokens);
  usage["cached_tokens"] = count(&Usage::cached_tokens);
  usage["cache_write_tokens"] = count(&Usage::cache_write_tokens);
  values["usage"] = usage;
  values["charged_usd"] = to_object(completion.charged_usd);
  values["computed_usd"] = to_object(completion.computed_usd);
  const auto text_or_none = [](const std::string& text) -> py::object {
    return text.empty() ? py::none() : py::cast(text);
  };
  values["served_model"] = text_or_none(completion.served_model);
  values["redirected"] = completion.redirected;
  values["finish_reason"] = text_or_none(completion.finish_reason);
  values["truncated"] = completion.truncated;
  values["over_cap"] = completion.over_cap;
  values["empty_after_reasoning"] = completion.empty_after_reasoning;
  values["reasoning"] = text_or_none(completion.reasoning);
  values["refusal"] = text_or_none(completion.refusal);
  values["first_text_seconds"] = to_object(completion.first_text_seconds);
  values["seconds"] = completion.seconds;
  py::list attempts;
  for (const llm::Attempt& attempt : completion.attempts) {
    attempts.append(attempt_to_python(attempt, pool));
  }
  values["attempts"] = attempts;
  if (completion.failure) {
    Dict failure;
    failure["error"] = to_object(completion.failure->code);
    failure["http_status"] = completion.failure->http_status == 0
                                 ? py::none()
                                 : py::cast(completion.failure->http_status);
    failure["message"] = completion.failure->message;
    values["failure"] = failure;
  }
  return values;
}

void register_servers(py::module_& module) {
  py::class_<std::stop_source>(module, "CancelSource",
                               "Cancels the calls that it was passed to. Thread-safe.")
      .def(py::init<>())
      .def("cancel", [](std::stop_source& source) { source.request_stop(); });

  py::class_<llm::Endpoint>(module, "Endpoint", "A server and how to call it.")
      .def(py::init(&make_endpoint), py::arg("base_url"), py::arg("api_key") = py::none(),
           py::arg("ca_file") = "", py::arg("timeout") = py::none());

  py::class_<HttpEncoder>(module, "HttpEncoder", "Embeddings from a server.")
      .def(py::init<const llm::Endpoint&, const std::string&, std::size_t, std::size_t>(),
           py::arg("endpoint"), py::arg("model"), py::arg("dimension"), py::arg("cache_bytes"))
      .def("embed", &HttpEncoder::embed, py::arg("texts"), py::arg("cancel"))
      .def("cache_counts", &HttpEncoder::cache_counts, "Hits and misses so far.");

  py::class_<Client>(module, "Client", "Answers from a server.")
      .def(py::init([](const llm::Endpoint& endpoint, const std::string& provider) {
             return Client{llm::make_openai_client(endpoint, {.provider = provider})};
           }),
           py::arg("endpoint"), py::arg("provider") = "");

  module.def(
      "api_key_from_environment",
      []() -> std::optional<std::string> {
        const llm::Secret key = llm::api_key_from_environment();
        if (key.empty()) return std::nullopt;
        return key.reveal();
      },
      "The value of OPENROUTER_API_KEY, or None.");
}

}  // namespace r2router::python
