#include "gateway/routes.h"

#include <algorithm>
#include <charconv>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json_writer.h"
#include "base/unicode.h"
#include "gateway/dialects/model_list.h"
#include "gateway/page.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kJson = "application/json";

/// The key in "Authorization: Bearer …" or "x-api-key"; empty: none.
std::string_view key_of(const HttpRequest& request) {
  constexpr std::string_view kBearer = "bearer ";
  if (const std::string* value = llm::find_header(request.headers, "authorization")) {
    if (value->size() > kBearer.size() &&
        internal::lower_case(value->substr(0, kBearer.size())) == kBearer) {
      return trimmed(std::string_view(*value).substr(kBearer.size()));
    }
  }
  const std::string* value = llm::find_header(request.headers, "x-api-key");
  return value == nullptr ? std::string_view() : trimmed(*value);
}

/// Clients of Anthropic's API state its version with every request.
bool is_for_anthropic(const HttpRequest& request) {
  return request.path.starts_with("/v1/messages") ||
         llm::find_header(request.headers, "anthropic-version") != nullptr;
}

/// The dialect in which the client expects errors.
const Dialect& dialect_for(const HttpRequest& request) {
  return dialect_of(is_for_anthropic(request) ? DialectKind::kMessages : DialectKind::kChat);
}

/// `text` with the characters that are spelt as "%2F".
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    const char* const digits = text.data() + i + 1;
    if (text[i] == '%' && text.size() - i > 2 &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

/// The host of "host:port", without brackets.
std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.find(':'));
}

bool is_address(std::string_view host) {
  return host.find(':') != host.npos || host.find_first_not_of("0123456789.") == host.npos;
}

/// Whether a gateway without keys is used under this name. Any other name may be one that a web
/// page lets resolve to this machine after it was loaded ("DNS rebinding"): the browser then takes
/// the page and the gateway for one site, and lets the page read everything. This cannot be done
/// with an address.
bool is_known_host(const GatewayConfig& config, std::string_view host) {
  if (is_address(host)) return true;
  const std::string name = internal::lower_case(host);
  return name == "localhost" || name == internal::lower_case(config.host) ||
         std::ranges::find(config.allowed_hosts, name) != config.allowed_hosts.end();
}

/// Without keys, a web page in a browser that reaches the gateway must not be able to use it.
/// Returns why the request may come from one; empty: it does not.
std::optional<ErrorReport> refused_page(const Service& service, const HttpRequest& request) {
  const std::string* host = llm::find_header(request.headers, "host");
  if (host != nullptr && !is_known_host(service.config, host_of(*host))) {
    return ErrorReport{
        .status = 403,
        .message = "a gateway without keys is not used under the host name " +
                   excerpt(host_of(*host)) +
                   ", which a web page may have chosen: use localhost or an address, "
                   "add the name to allowed_hosts in the gateway's configuration, or "
                   "use keys",
        .code = "unknown_host"};
  }
  const std::string* origin = llm::find_header(request.headers, "origin");
  if (origin == nullptr) return std::nullopt;
  const std::size_t scheme = origin->find("://");
  if (host != nullptr && scheme != origin->npos && origin->substr(scheme + 3) == *host) {
    return std::nullopt;
  }
  return ErrorReport{
      .status = 403,
      .message = "requests of web pages from other origins are not answered without a key",
      .code = "other_origin"};
}

class Routes final : public HttpHandler {
 public:
  Routes(Loop& loop, Shared& shared)
      : shared_(shared),
        counts_(shared.metrics.add_loop()),
        context_{.loop = loop,
                 .counts = *counts_,
                 .log = *shared.log,
                 .ledger = *shared.ledger,
                 .random = std::mt19937_64(std::random_device{}())} {}

  bool wants_body(const HttpRequest& head) override {
    const std::shared_ptr<const Service> service = shared_.service.load();
    const Client* const client = service->find_client(key_of(head));
    return client != nullptr && (client->key != nullptr || !refused_page(*service, head));
  }

  std::unique_ptr<HttpTask> handle(HttpRequest request, HttpReply& reply) override {
    Incoming incoming{.service = shared_.service.load(), .http = std::move(request)};
    incoming.id = request_id(incoming.http);
    const std::string id = incoming.id;
    try {
      return route(std::move(incoming), reply);
    } catch (const std::bad_alloc&) {
      reply_error(reply, {.id = id},
                  {.status = 503, .message = "out of memory", .code = "out_of_memory"});
      return nullptr;
    }
  }

  std::string refusal(int status, std::string_view message, std::string_view path) override {
    context_.counts.change([](Counts& counts) { ++counts.refused["http"]; });
    return dialect_for(HttpRequest{.path = std::string(path)})
        .write_error({.status = status, .message = std::string(message), .code = "invalid_http"});
  }

 private:
  /// The client's own request id if it has the usual form, else a new one.
  std::string request_id(const HttpRequest& request) {
    const std::string* own = llm::find_header(request.headers, "x-request-id");
    constexpr std::string_view kAllowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
    if (own != nullptr && !own->empty() && own->size() <= 128 &&
        own->find_first_not_of(kAllowed) == own->npos) {
      return *own;
    }
    return context_.make_id();
  }

  std::unique_ptr<HttpTask> route(Incoming incoming, HttpReply& reply) {
    const std::string path = incoming.http.path;
    const bool get = incoming.http.method == "GET" || incoming.http.method == "HEAD";
    const bool post = incoming.http.method == "POST";
    const auto wrong_method = [&](const char* allowed) -> std::unique_ptr<HttpTask> {
      reply_error(reply, incoming,
                  {.status = 405,
                   .message = path + " expects " + allowed + ", found " + incoming.http.method,
                   .code = "method_not_allowed"},
                  {{"allow", allowed}});
      return nullptr;
    };
    if (std::optional<PageFile> file = page_file(path)) {
      if (!get) return wrong_method("GET");
      file->headers.emplace_back("x-request-id", incoming.id);
      reply.send(200, file->headers, file->content);
      return nullptr;
    }
    if (path == "/health" || path == "/health/live") {
      if (!get) return wrong_method("GET");
      reply_json(reply, incoming, R"({"status": "ok"})");
      return nullptr;
    }
    if (path == "/health/ready") return get ? readiness(incoming, reply) : wrong_method("GET");
    // All other paths require a key if there are keys.
    if (!authenticate(incoming, reply)) return nullptr;
    for (const DialectKind kind : kDialects) {
      const Dialect& dialect = dialect_of(kind);
      if (!path.starts_with("/v1") || path.substr(3) != dialect.path()) continue;
      if (!post) return wrong_method("POST");
      return complete(context_, dialect, std::move(incoming), reply);
    }
    if (path == "/v1/messages/count_tokens") {
      return post ? count_tokens(incoming, reply) : wrong_method("POST");
    }
    if (path == "/v1/models") return get ? list_models(incoming, reply) : wrong_method("GET");
    if (constexpr std::string_view kModel = "/v1/models/"; path.starts_with(kModel)) {
      const std::string id = percent_decoded(std::string_view(path).substr(kModel.size()));
      return get ? show_model(incoming, id, reply) : wrong_method("GET");
    }
    if (path == "/v1/decisions") {
      return post ? decide_queries(context_, std::move(incoming), reply) : wrong_method("POST");
    }
    if (path == "/v1/responses/compact") {
      reply_error(reply, incoming,
                  {.status = 501,
                   .message = "the gateway does not compact conversations, since what the server "
                              "returns has no known cost: let the client compact them itself",
                   .code = "not_implemented"},
                  {{"x-should-retry", "false"}});
      return nullptr;
    }
    if (path == "/v1/embeddings") {
      return post ? embed(context_, std::move(incoming), reply) : wrong_method("POST");
    }
    if (path == "/v1/spend") {
      return get ? report_spending(context_, std::move(incoming), reply) : wrong_method("GET");
    }
    if (path == "/metrics") return get ? metrics(incoming, reply) : wrong_method("GET");
    reply_error(reply, incoming,
                {.status = 404, .message = "there is nothing at this path", .code = "not_found"});
    return nullptr;
  }

  bool authenticate(Incoming& incoming, HttpReply& reply) {
    const Service& service = *incoming.service;
    const auto refuse = [&](const ErrorReport& report) {
      context_.counts.change([&](Counts& counts) { ++counts.refused[report.code]; });
      reply.send(report.status,
                 {{"content-type", std::string(kJson)}, {"x-request-id", incoming.id}},
                 dialect_for(incoming.http).write_error(report));
      return false;
    };
    const std::string_view key = key_of(incoming.http);
    incoming.client = service.find_client(key);
    if (incoming.client == nullptr) {
      return refuse({.status = 401,
                     .message = key.empty()
                                    ? "a key is required: send it as \"Authorization: Bearer KEY\" "
                                      "or \"x-api-key: KEY\""
                                    : "this key is not valid",
                     .code = "invalid_api_key"});
    }
    if (incoming.client->key == nullptr) {
      if (const auto refused = refused_page(service, incoming.http)) return refuse(*refused);
    }
    const std::string* tag = llm::find_header(incoming.http.headers, "x-r2-tag");
    if (incoming.client->key != nullptr) {
      const auto found = incoming.client->key->tag_of(tag == nullptr ? std::string_view() : *tag);
      if (!found) {
        return refuse({.status = 403,
                       .message = "this key may not use this tag (x-r2-tag)",
                       .code = "invalid_tag"});
      }
      incoming.tag = *found;
    }
    return true;
  }

  std::unique_ptr<HttpTask> readiness(const Incoming& incoming, HttpReply& reply) {
    const LedgerStatus ledger = context_.ledger.status();
    const bool ready = shared_.ready;
    std::string json;
    ObjectWriter writer(json);
    writer.text("status", ready ? "ready" : "stopping");
    writer.text_or_null("chat_problem", incoming.service->problem);
    writer.text_or_null("ledger_problem", ledger.problem);
    writer.close();
    reply.send(ready ? 200 : 503,
               {{"content-type", std::string(kJson)}, {"x-request-id", incoming.id}}, json);
    return nullptr;
  }

  std::unique_ptr<HttpTask> count_tokens(Incoming& incoming, HttpReply& reply) {
    const Dialect& dialect = dialect_of(DialectKind::kMessages);
    try {
      reply_json(reply, incoming, token_count(dialect.read(std::move(incoming.http.body), {})));
    } catch (const Error& error) {
      const ErrorReport report{
          .status = 400, .message = error.what(), .param = error.where().option};
      reply.send(400, {{"content-type", std::string(kJson)}, {"x-request-id", incoming.id}},
                 dialect.write_error(report));
    }
    return nullptr;
  }

  /// What the client may request.
  static std::vector<ListedModel> listed_models(const Incoming& incoming) {
    const Service& service = *incoming.service;
    std::vector<ListedModel> models = {{.id = "auto"}};
    for (const auto& [name, policy] : service.config.policies) {
      const Key* const key = incoming.client->key;
      if (key == nullptr || key->allows_policy(name)) models.push_back({.id = "auto:" + name});
    }
    for (std::size_t i = 0; i < service.pool().size(); ++i) {
      const ModelSpec& spec = service.pool()[i];
      if (service.models[i].endpoint == nullptr || !spec.available ||
          (service.out_of_bounds[i] | incoming.client->denied[i]) != 0) {
        continue;
      }
      const std::size_t slash = spec.openrouter_id.find('/');
      models.push_back({.id = spec.name,
                        .owner = slash == spec.openrouter_id.npos
                                     ? std::string()
                                     : spec.openrouter_id.substr(0, slash),
                        .context_tokens = spec.context_tokens,
                        .capabilities = spec.capabilities});
    }
    return models;
  }

  std::unique_ptr<HttpTask> list_models(const Incoming& incoming, HttpReply& reply) {
    reply_json(reply, incoming,
               model_list(listed_models(incoming), incoming.service->created,
                          is_for_anthropic(incoming.http)));
    return nullptr;
  }

  /// One model by an id that requests may use: that of the list, or a catalogue name.
  std::unique_ptr<HttpTask> show_model(const Incoming& incoming, const std::string& id,
                                       HttpReply& reply) {
    const Service& service = *incoming.service;
    for (const std::string_view name : {std::string_view(id), requested_model(id)}) {
      const auto index = service.find_model(name);
      const std::string_view listed = index ? service.pool()[*index].name : name;
      for (const ListedModel& model : listed_models(incoming)) {
        if (model.id != listed) continue;
        reply_json(reply, incoming,
                   model_entry(model, service.created, is_for_anthropic(incoming.http)));
        return nullptr;
      }
    }
    reply_error(reply, incoming,
                {.status = 404,
                 .message = service.unknown_model(id).message(),
                 .code = "model_not_found",
                 .param = "model"});
    return nullptr;
  }

  std::unique_ptr<HttpTask> metrics(const Incoming& incoming, HttpReply& reply) {
    const Service& service = *incoming.service;
    const auto now = llm::Clock::now();
    std::vector<std::pair<std::string, bool>> available;
    for (std::size_t i = 0; i < service.models.size(); ++i) {
      const ServedModel& model = service.models[i];
      if (model.endpoint == nullptr || !service.pool()[i].available) continue;
      available.emplace_back(
          service.pool()[i].name,
          model.condition->breaker.allows(now) && model.endpoint->condition->breaker.allows(now));
    }
    const LedgerStatus ledger = context_.ledger.status();
    const auto count = [](std::uint64_t value) { return static_cast<double>(value); };
    reply.send(
        200,
        {{"content-type", "text/plain; version=0.0.4; charset=utf-8"},
         {"x-request-id", incoming.id}},
        shared_.metrics.text(
            {{"ledger_writable", "1 if the ledger can be written.",
              ledger.problem.empty() ? 1.0 : 0.0},
             {"ledger_waiting", "Settled costs that are not written yet.", count(ledger.waiting)},
             {"config_reloads", "Reloads of the configuration since the start.",
              count(shared_.reloads)},
             {"config_reloads_failed", "Reloads that were rejected.",
              count(shared_.failed_reloads)}},
            available));
    return nullptr;
  }

  Shared& shared_;
  std::shared_ptr<CountsOfLoop> counts_;
  LoopContext context_;
};

}  // namespace

void reply_error(HttpReply& reply, const Incoming& incoming, const ErrorReport& error,
                 const llm::Headers& extra) {
  llm::Headers headers = {{"content-type", std::string(kJson)}, {"x-request-id", incoming.id}};
  headers.insert(headers.end(), extra.begin(), extra.end());
  reply.send(error.status, headers, dialect_for(incoming.http).write_error(error));
}

void reply_json(HttpReply& reply, const Incoming& incoming, const std::string& json) {
  reply.send(200, {{"content-type", std::string(kJson)}, {"x-request-id", incoming.id}}, json);
}

std::unique_ptr<HttpHandler> make_routes(Loop& loop, Shared& shared) {
  return std::make_unique<Routes>(loop, shared);
}

}  // namespace r2router::gateway
