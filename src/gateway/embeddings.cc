// POST /v1/embeddings: the body and the answer are passed on unchanged, and metered.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/error.h"

#include "base/token_bound.h"
#include "gateway/chooser.h"
#include "gateway/dialects/json_text.h"
#include "gateway/dialects/request_reader.h"
#include "gateway/routes.h"
#include "llm/http/endpoint.h"
#include "llm/http/server_error.h"

namespace r2router::gateway {
namespace {

/// Fields that cost nothing.
constexpr std::string_view kFree[] = {"model", "input",      "encoding_format", "dimensions",
                                      "user",  "input_type", "truncate"};

/// True for texts and tokens, alone or in lists: none of them makes more tokens than bytes.
bool is_text(JsonValue input) {
  if (!input.is_array()) return !input.is_object();
  for (const JsonValue element : input.children()) {
    if (!is_text(element)) return false;
  }
  return true;
}

/// What may cost more than the bytes of the body.
std::vector<Surcharge> surcharges_of(JsonValue request) {
  std::vector<Surcharge> surcharges;
  if (!is_text(request["input"])) {
    surcharges.push_back({"input", "input", "what is not text may cost more than its bytes"});
  }
  for (const JsonValue member : request.children()) {
    const auto is_named = [&](std::string_view name) { return member.is_named(name); };
    if (std::ranges::any_of(kFree, is_named) || !says_something(member)) continue;
    const std::string name = member.name();
    surcharges.push_back({name, name, "the gateway does not know that it is free of charge"});
  }
  return surcharges;
}

class Embedding final : public HttpTask, private llm::EventTransport::Receiver {
 public:
  Embedding(LoopContext& context, Incoming incoming, HttpReply& reply,
            const ServedEndpoint& endpoint, std::string model, double price)
      : context_(context),
        incoming_(std::move(incoming)),
        reply_(reply),
        endpoint_(endpoint),
        model_(std::move(model)),
        price_(price),
        most_tokens_(internal::most_tokens_of_json(incoming_.http.body)) {}

  ~Embedding() override {
    if (!call_) return;
    const bool sent = call_->sent();
    call_.reset();
    end(sent);
  }

  void start() {
    const Demand demand{.worst_case = Money::rounded_up(usd(static_cast<double>(most_tokens_))),
                        .tokens = incoming_.http.body.size() / 4};
    auto later = [this, alive = std::weak_ptr(alive_), &loop = context_.loop](Outcome outcome) {
      auto shared = std::make_shared<Outcome>(std::move(outcome));
      loop.post([this, alive, shared] {
        if (!alive.expired()) return on_reserved(std::move(*shared));
        if (auto* reservation = std::get_if<Reservation>(&*shared)) reservation->release();
      });
    };
    auto outcome = context_.ledger.reserve(incoming_.client->account, demand, Instant::now(),
                                           std::move(later));
    if (outcome) on_reserved(std::move(*outcome));
  }

 private:
  double usd(double tokens) const { return tokens * price_ / 1e6; }

  void on_reserved(Outcome outcome) {
    if (const auto* refusal = std::get_if<Refusal>(&outcome)) {
      return reply_error(reply_, incoming_,
                         {.status = refusal->limit == LimitKind::kLedger ? 503 : 429,
                          .message = refusal->message(),
                          .code = std::string("limit_") + name_of(refusal->limit)},
                         {{"x-should-retry", "false"}});
    }
    reservation_ = std::get<Reservation>(std::move(outcome));
    const llm::Endpoint& server = endpoint_.config.endpoint;
    llm::Request request{
        .url = llm::BaseUrl(server.base_url).with("/embeddings"),
        .headers = {{"Content-Type", "application/json"}},
        .body = std::move(incoming_.http.body),
        .deadline = llm::Clock::now() + std::chrono::duration_cast<llm::Clock::duration>(
                                            std::chrono::duration<double>(server.timeouts.total))};
    call_ = context_.loop.transport().start(endpoint_.checked, std::move(request), *this);
    ++endpoint_.condition->in_flight;
  }

  void on_head(const llm::Response&) override {}
  void on_body(std::string_view piece) override { body_ += piece; }

  void on_end(const llm::Response& response) override {
    call_.reset();
    if (response.failure) {
      end(response.sent && response.status < 400);
      return reply_error(reply_, incoming_,
                         {.status = response.failure->code == ErrorCode::kTimeout ? 504 : 502,
                          .message = endpoint_.redacted(response.failure->message),
                          .code = std::string(to_string(response.failure->code))});
    }
    if (response.status >= 300) {
      end(false);
      const llm::ServerError error = llm::read_server_error(response.body);
      const bool own = response.status == 401 || response.status == 402 || response.status == 403;
      return reply_error(reply_, incoming_,
                         {.status = own || response.status < 400 ? 502 : response.status,
                          .message = endpoint_.redacted(error.words),
                          .code = std::string(to_string(llm::classify(response.status, error)))});
    }
    std::optional<std::uint64_t> tokens;
    try {
      tokens = JsonText(body_).root()["usage"]["prompt_tokens"].count();
    } catch (const Error&) {  // passed on nevertheless
    }
    if (tokens) {
      --endpoint_.condition->in_flight;
      const Usage usage{.prompt_tokens = static_cast<std::int64_t>(*tokens)};
      reservation_.settle({.cost = Money::nearest(usd(static_cast<double>(*tokens))),
                           .usage = usage,
                           .model = model_,
                           .tag = incoming_.tag});
    } else {
      end(true);
    }
    reply_json(reply_, incoming_, body_);
  }

  void end(bool unknown) {
    --endpoint_.condition->in_flight;
    unknown ? reservation_.abandon({.model = model_, .tag = incoming_.tag})
            : reservation_.release();
  }

  LoopContext& context_;
  Incoming incoming_;
  HttpReply& reply_;
  const ServedEndpoint& endpoint_;
  const std::string model_;
  const double price_;
  const std::int64_t most_tokens_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Reservation reservation_;
  std::unique_ptr<llm::EventTransport::Call> call_;
  std::string body_;
};

}  // namespace

std::unique_ptr<HttpTask> embed(LoopContext& context, Incoming incoming, HttpReply& reply) {
  const Service& service = *incoming.service;
  const auto refuse = [&](int status, const std::string& message, const char* code) {
    reply_error(reply, incoming, {.status = status, .message = message, .code = code});
    return nullptr;
  };
  if (!service.config.embeddings) {
    return refuse(404,
                  "embeddings are not served: add \"embeddings\" to the gateway's configuration",
                  "not_found");
  }
  const EmbeddingsConfig& config = *service.config.embeddings;
  const auto endpoint =
      std::find_if(service.endpoints.begin(), service.endpoints.end(),
                   [&](const ServedEndpoint& one) { return one.config.name == config.endpoint; });
  std::string model;
  const Key* const key = incoming.client->key;
  try {
    const JsonText request(incoming.http.body);
    model = request.root()["model"].string();
    if (key != nullptr && key->limits.limits_money()) {
      refuse_surcharges(surcharges_of(request.root()), service.config.accepted_fields);
    }
  } catch (const Error& error) {
    return refuse(400, error.what(), "invalid_argument");
  }
  if (key != nullptr && key->models &&
      std::ranges::find(*key->models, model) == key->models->end()) {
    return refuse(403, "this key may not use the model \"" + model + "\"", "authentication");
  }
  const auto price = config.prices.find(model);
  if (price == config.prices.end()) {
    return refuse(404,
                  "there is no embedding model \"" + model +
                      "\": expected one with a price in the gateway's configuration",
                  "model_not_found");
  }
  auto task = std::make_unique<Embedding>(context, std::move(incoming), reply, *endpoint, model,
                                          price->second);
  task->start();
  return task;
}

}  // namespace r2router::gateway
