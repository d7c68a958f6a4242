// The JSON of the clients' APIs: OpenAI chat completions, OpenAI responses, Anthropic messages.
//
//     const Dialect& dialect = dialect_of(DialectKind::kChat);
//     const ClientRequest request = dialect.read(body, budget_prompt);
//     …choose a pair for request.text, request.size and request.policy…
//     send(dialect.write(request, {.model = model, .cap = option.max_tokens}));
//     const Answer answer = dialect.read_answer(response.body, model.name, key);
//     reply(answer.body);
//
// A request is rewritten in its own dialect, never translated into another. Edits are made in the
// text, so everything else is preserved byte by byte: unknown fields, their order, numbers and
// white space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/policy.h"
#include "r2router/pool.h"
#include "r2router/query.h"
#include "r2router/types.h"

#include "gateway/dialects/json_text.h"

namespace r2router::gateway {

enum class DialectKind : std::uint8_t {
  kChat,       ///< POST /v1/chat/completions
  kResponses,  ///< POST /v1/responses
  kMessages,   ///< POST /v1/messages
};
inline constexpr DialectKind kDialects[] = {DialectKind::kChat, DialectKind::kResponses,
                                            DialectKind::kMessages};

/// The name in configuration files and metrics: "chat", "responses", "messages".
std::string_view to_string(DialectKind kind) noexcept;
/// The dialect with this name; empty if there is none.
std::optional<DialectKind> find_dialect(std::string_view name) noexcept;

/// Part of a request that can make it cost more than the worst case of its tokens: a tool that the
/// server runs, a more expensive service tier, input of unknown size, or an unknown field.
struct Surcharge {
  std::string field;  ///< such as "tools[2].type"
  std::string name;   ///< without indices, such as "tools.type"; empty: it cannot be accepted
  std::string why;    ///< completes "FIELD: …", such as "web_search is billed per call"
};

inline constexpr std::size_t kMostRoutedBytes = std::size_t{32} << 10;

/// The parsed request of a client.
struct ClientRequest {
  DialectKind dialect = DialectKind::kChat;
  JsonText json;      ///< the body
  std::string model;  ///< as the client names it; may be empty
  /// The text to route: that of the last user message with text, else the last text of the
  /// conversation. A text above kMostRoutedBytes is reduced to its beginning and its end. Empty if
  /// the request has no text, such as an image alone.
  std::string text;
  /// Length, images and required capabilities. `input_tokens` estimates everything that is sent;
  /// `max_input_tokens` bounds it and includes the budget instruction, and `context_tokens` is a
  /// little above the estimate (see input_size.h). All are set.
  QuerySize size;
  std::optional<std::uint32_t> cap = {};  ///< the client's own cap, tokens per choice
  /// Number of answers that are generated, ≥ 1. Output is billed for each, so the worst case of the
  /// request is at most `choices` times the worst case of one answer.
  std::uint32_t choices = 1;
  bool stream = false;
  bool usage_wanted = false;  ///< the client requests the usage in the stream
  /// The input may be billed at Prices::cache_write, or kMostCacheWriteFactor times Prices::input
  /// if the pool does not have that price.
  bool writes_cache = false;
  /// At most one for each name. If empty, Option::worst_case_cost_usd times `choices` bounds the
  /// bill.
  std::vector<Surcharge> surcharges = {};
  // The `r2` object of the body:
  Policy policy = {};
  std::string policy_name = {};  ///< "policy"; empty: none
};

/// Where a request is sent, and with which limits.
struct Target {
  const ModelSpec& model;  ///< its openrouter_id, instruction, omit and request are used
  std::uint32_t cap = 0;   ///< tokens per choice, > 0; the client's own is sent if it is lower
  /// Chat only. kAutomatic: the field that the client used, or max_tokens. ModelSpec::omit
  /// overrides it.
  llm::CapField cap_field = llm::CapField::kAutomatic;
  std::string_view budget_instruction = {};  ///< llm::budget_instruction(); empty: none
};

/// The field that carries the cap of a chat: Target::cap_field unless that is kAutomatic or
/// ModelSpec::omit overrides it.
llm::CapField cap_field_of(const ClientRequest& request, const Target& target);

/// The most important content of an answer.
enum class Content : std::uint8_t {
  kNone,
  kReasoning,  ///< reasoning alone
  kRefusal,    ///< the model's refusal, or a content filter's
  kAnswer,     ///< text, a tool call, an image, …
};

/// The parsed answer of a server, whole or streamed.
struct Answer {
  /// For the client: the server's body with the name of the pool's model as `model`. Empty for a
  /// stream, and if the body is not JSON.
  std::string body = {};
  std::string id = {};                     ///< of the answer
  std::string served_model = {};           ///< as the server names it
  std::string finish_reason = {};          ///< as the dialect spells it; of the first choice
  bool truncated = false;                  ///< the cap ended it
  Content content = Content::kNone;        ///< of all choices
  std::optional<Usage> usage = {};         ///< empty: not reported
  std::optional<double> charged_usd = {};  ///< the server's own figure (OpenRouter's usage.cost)
  /// An error under status 200 (http_status is the one that it names, or 0), an answer that cannot
  /// be read or is cut off (kConnection), or one without content: kBudget if the cap was spent
  /// before any content, else kNoAnswer. After the last two, `body` is still the server's answer:
  /// if no other model is tried, the client may receive it.
  std::optional<Failure> failure = {};
};

/// What to do with an event of a stream.
enum class Action : std::uint8_t {
  kHold,  ///< keep its text until a later event is sent; discard it if another model is tried
  kSend,  ///< send what is held, then its text; from now on, no other model can be tried
  kDrop,  ///< the client does not expect this event
};

/// An error of the gateway, to be written in a dialect.
struct ErrorReport {
  int status = 500;          ///< HTTP's
  std::string message = {};  ///< UTF-8
  std::string code = {};     ///< for programs, such as "spending_limit"; empty: none
  std::string param = {};    ///< the request's field; empty: none
};

/// Reads the events of one streamed answer.
///
///     parser.feed(piece, [&](std::string_view name, std::string_view data) {
///       std::string text;
///       switch (reader->read(name, data, text)) { … }
///       return !reader->answer().failure;
///     });
///
/// Events that are not JSON are passed on unchanged. Not thread-safe.
class StreamReader {
 public:
  virtual ~StreamReader() = default;

  /// Reads an event as EventParser reports it. Appends the event for the client to `out`, complete
  /// with its name, and with the name of the pool's model as `model`. An error event sets
  /// answer().failure; it is kHold before content, else kSend.
  virtual Action read(std::string_view name, std::string_view data, std::string& out) = 0;

  /// Call it after the last event. Sets answer().failure to kConnection if the stream was cut off,
  /// or to kNoAnswer or kBudget if it had no content.
  virtual void finish() = 0;

  /// The answer read so far. Its `body` is empty.
  virtual const Answer& answer() const = 0;
  /// True once an event was kSend.
  virtual bool has_content() const = 0;
  /// True after the dialect's last event: [DONE], message_stop, response.completed, ….
  virtual bool ended() const = 0;

  /// The events that report an error within the stream and end it.
  virtual std::string error_events(const ErrorReport& error) const = 0;
};

/// One dialect. Immutable; all methods are thread-safe.
class Dialect {
 public:
  virtual ~Dialect() = default;

  virtual DialectKind kind() const = 0;
  /// The path of a call after an endpoint's base URL: "/chat/completions", "/responses",
  /// "/messages". Clients call "/v1" followed by this path.
  virtual std::string_view path() const = 0;

  /// Reads a client's request. `budget_prompt`: the template of the budget instruction, whose
  /// length is part of the bound on the input; empty: none. Throws Error(kInvalidArgument), whose
  /// where().option names the field (such as "messages[0].content" or "r2.max_cost_usd"), if the
  /// body is not JSON, is nested too deeply, repeats a name within an object, or has a field of
  /// another type than expected. Fields that only the server interprets are not checked.
  virtual ClientRequest read(std::string body, std::string_view budget_prompt) const = 0;

  /// The body to send. Differs from the client's only in: the model, the cap, the parameters of
  /// ModelSpec::request, those of ModelSpec::omit, the instructions at the end of the system text,
  /// stream_options of a streamed chat, a reasoning budget that the cap does not leave room for,
  /// and `r2`, which is removed. Throws Error(kInvalidArgument) if ModelSpec::request is not a JSON
  /// object.
  virtual std::string write(const ClientRequest& request, const Target& target) const = 0;

  /// Reads the body of a whole answer. `model`: the pool's name of the model. `key` never appears
  /// in messages. Never throws for what the body contains.
  virtual Answer read_answer(std::string_view body, std::string_view model,
                             const llm::Secret& key) const = 0;

  /// A reader for the answer to a streamed request. `key` must outlive it.
  virtual std::unique_ptr<StreamReader> read_stream(const ClientRequest& request,
                                                    std::string_view model,
                                                    const llm::Secret& key) const = 0;

  /// The body of an error response.
  virtual std::string write_error(const ErrorReport& error) const = 0;
};

const Dialect& dialect_of(DialectKind kind);

/// The answer to POST /v1/messages/count_tokens: the estimate of ClientRequest::size.
std::string token_count(const ClientRequest& request);

}  // namespace r2router::gateway
