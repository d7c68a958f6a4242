#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/llm/client.h"

#include "base/excerpt.h"
#include "base/unicode.h"
#include "llm/chat/answer_text.h"
#include "llm/chat/chat_completion.h"
#include "llm/http/endpoint.h"
#include "llm/http/retry.h"
#include "llm/http/server_error.h"
#include "llm/http/server_sent_events.h"
#include "llm/http/transport.h"
#include "pool/request_settings.h"

namespace r2router::llm {
namespace {

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void check(const ChatRequest& request) {
  if (request.model.empty()) refuse("the request names no model: expected its catalogue name");
  if (request.messages.empty()) refuse("there are no messages: expected at least the query");
  if (request.max_tokens == 0) refuse("max_tokens is 0: expected a cap of at least one token");
  if (request.temperature && !(std::isfinite(*request.temperature) && *request.temperature >= 0)) {
    refuse("temperature is " + std::to_string(*request.temperature) +
           ": expected a finite number, 0 or more");
  }
  for (const std::string& parameter : request.omit) {
    if (!internal::may_be_omitted(parameter)) {
      refuse("omit has " + excerpt(parameter) +
             ": expected optional parameters, such as \"temperature\"");
    }
  }
  const auto omits = [&](std::string_view parameter) {
    return std::ranges::find(request.omit, parameter) != request.omit.end();
  };
  if (omits(internal::kMaxTokens) && omits(internal::kMaxCompletionTokens)) {
    refuse(
        "omit has both \"max_tokens\" and \"max_completion_tokens\": one of them carries the cap");
  }
  const auto check_text = [](std::string_view text, const std::string& what) {
    std::size_t bad = 0;
    if (!is_utf8(text, &bad)) {
      refuse(what + " is not UTF-8 at byte " + std::to_string(bad) +
             ", which JSON requires: convert it");
    }
  };
  check_text(request.model, "the model's name");
  for (const std::string& model : request.fallback_models) check_text(model, "a model's name");
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    const Message& message = request.messages[i];
    const std::string place = "message " + std::to_string(i + 1);
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      refuse(place + " has the role " + excerpt(message.role) +
             ": expected \"system\", \"user\" or \"assistant\"");
    }
    check_text(message.content, place);
  }
}

/// Reads a streamed answer incrementally and passes its text on.
class StreamReader {
 public:
  StreamReader(const ChatRequest& request, const std::function<void(std::string_view)>& on_text,
               const Secret& key)
      : on_text_(on_text), key_(key), text_(request.split_thinking) {}
  StreamReader(const StreamReader&) = delete;  // on_event_ refers to it
  StreamReader& operator=(const StreamReader&) = delete;

  /// Takes a chunk of the body; false if no more is needed.
  bool add(std::string_view piece) {
    // A server without streaming answers with one JSON value. No event starts like that.
    if (const std::size_t first = piece.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
        !has_begun_ && first != piece.npos) {
      has_begun_ = true;
      is_json_ = piece[first] == '{' || piece[first] == '[';
    }
    if (is_json_ || body_.size() < kHead) body_ += piece;
    if (is_json_) return true;
    if (!parser_.feed(piece, on_event_)) {
      answer_.failure = Failure{.code = ErrorCode::kBadResponse,
                                .message = "an event of the streamed answer has more than " +
                                           std::to_string(kMostEventBytes) + " bytes"};
    }
    return !answer_.failure;
  }

  /// Everything received. `failure`: why it ended early.
  ChatAnswer finish(const std::optional<Failure>& failure) && {
    if (is_json_ && !failure) {
      answer_ = read_chat_answer(body_, key_);
    } else if (!answer_.failure) {
      parser_.finish(on_event_);
      end_chat_stream(answer_);
      if (!answer_.failure && !is_whole()) answer_.failure = failure ? failure : cut();
    }
    pass_on_new_text();
    pass_on(text_.finish());
    answer_.text = std::move(passed_on_);
    answer_.reasoning += text_.thoughts();
    return std::move(answer_);
  }

  std::optional<Clock::time_point> first_text() const { return first_text_; }

 private:
  static constexpr std::size_t kHead = 1024;
  static constexpr std::size_t kMostEventBytes = std::size_t{16} << 20;

  bool add_event(std::string_view name, std::string_view data) {
    has_events_ = true;
    read_chat_chunk(name, data, answer_, key_);
    pass_on_new_text();
    return !answer_.failure;
  }

  void pass_on_new_text() {
    const std::size_t begin = std::exchange(read_, answer_.text.size());
    pass_on(text_.add(std::string_view(answer_.text).substr(begin)));
  }

  void pass_on(std::string_view text) {
    if (text.empty()) return;
    if (!first_text_) first_text_ = Clock::now();
    passed_on_ += text;
    on_text_(text);
  }

  /// After a finish reason the text is complete, even if the connection then breaks.
  bool is_whole() const { return !answer_.finish_reason.empty() || answer_.done; }

  Failure cut() const {
    if (has_events_) {
      return {
          .code = ErrorCode::kConnection,
          .message = "the stream ended before the answer did, without a finish_reason; try again"};
    }
    return unreadable("a streamed answer consists of server-sent events", body_, key_);
  }

  const std::function<void(std::string_view)>& on_text_;
  const Secret& key_;
  const EventParser::OnEvent on_event_ = [this](std::string_view name, std::string_view data) {
    return add_event(name, data);
  };
  EventParser parser_{kMostEventBytes};
  ChatAnswer answer_;
  std::size_t read_ = 0;  ///< bytes of its text passed to text_
  AnswerText text_;
  std::string passed_on_;
  std::string body_;        ///< the whole body if it is JSON, else its beginning
  bool has_begun_ = false;  ///< non-blank text was received
  bool is_json_ = false;
  bool has_events_ = false;
  std::optional<Clock::time_point> first_text_;
};

/// Parameters that models do not support, as learned from errors. Only grows, and is lock-free: a
/// lock held by another thread during a fork() would stay locked in the child.
class UnsupportedParameters {
 public:
  UnsupportedParameters() = default;
  UnsupportedParameters(const UnsupportedParameters&) = delete;
  UnsupportedParameters& operator=(const UnsupportedParameters&) = delete;
  ~UnsupportedParameters() {
    for (const Node* node = first_.load(); node != nullptr;) delete std::exchange(node, node->next);
  }

  bool has(std::string_view model, std::string_view parameter) const {
    for (const Node* node = first_.load(); node != nullptr; node = node->next) {
      if (node->model == model && node->parameter == parameter) return true;
    }
    return false;
  }

  void add(const std::string& model, std::string_view parameter) {
    if (has(model, parameter)) return;
    auto* const node = new Node{model, std::string(parameter), first_.load()};
    while (!first_.compare_exchange_weak(node->next, node)) {
    }
  }

 private:
  struct Node {
    std::string model, parameter;
    Node* next;
  };
  std::atomic<Node*> first_ = nullptr;
};

class OpenAiClient final : public Client, public std::enable_shared_from_this<OpenAiClient> {
 public:
  OpenAiClient(const Endpoint& endpoint, std::string url, CapField cap_field, std::string provider)
      : endpoint_(endpoint),
        url_(std::move(url)),
        cap_field_(cap_field),
        provider_(std::move(provider)),
        transport_(make_transport(endpoint)) {}

  Completion complete(const ChatRequest& request, const CallOptions& options) const override {
    const auto self = shared_from_this();  // a static owner may be destroyed during the call
    check(request);
    const Clock::time_point start = Clock::now();
    RequestForm form = form_for(request);
    std::vector<Attempt> attempts;
    Completion completion;
    const auto make_try = [&] {
      Try made = try_once(request, form, options);
      made.result.changed =
          !made.completion.ok() && made.completion.text.empty() &&
          adapt(form, request, *made.completion.failure, made.said, options.on_text != nullptr);
      completion = std::move(made.completion);
      attempts.push_back(std::move(made.attempt));
      return made.result;
    };
    const Ended ended = with_retries(endpoint_.retry, options.deadline, options.cancel,
                                     options.max_charges, make_try);
    if (ended == Ended::kCancelled) {
      completion.failure->code = ErrorCode::kCancelled;
      completion.failure->message =
          "cancelled before the next attempt; the last one: " + completion.failure->message;
    } else if (ended == Ended::kDeadline) {
      completion.failure->message += "; no time is left for another attempt";
    } else if (ended == Ended::kCharges) {
      completion.failure->message += "; the cost limit leaves nothing for another attempt";
    }
    completion.attempts = std::move(attempts);
    completion.seconds = seconds_since(start);
    return completion;
  }

  double default_timeout() const override { return endpoint_.timeouts.total; }

 private:
  struct Try {
    Completion completion;
    Attempt attempt;
    TryResult result;
    ServerError said;
  };

  /// Optional parameters.
  static constexpr std::string_view kOptional[] = {"temperature", "stream_options", "models"};

  RequestForm form_for(const ChatRequest& request) const {
    RequestForm form{.cap_field = cap_field_, .omit = request.omit};
    for (const std::string_view parameter : kOptional) {
      if (unsupported_.has(request.model, parameter)) form.omit.emplace_back(parameter);
    }
    if (!form.sends(form.cap_name()) ||
        (unsupported_.has(request.model, form.cap_name()) && may_swap_cap(form, request))) {
      form.cap_field = other_cap_field(form.cap_field);
    }
    return form;
  }

  /// False if the pool prescribes the field.
  static bool may_swap_cap(const RequestForm& form, const ChatRequest& request) {
    const RequestForm swapped{.cap_field = other_cap_field(form.cap_field)};
    return std::ranges::find(request.omit, swapped.cap_name()) == request.omit.end();
  }

  /// Omits or rewrites the parameters that the server rejected, if possible. False if the request
  /// would not change.
  bool adapt(RequestForm& form, const ChatRequest& request, const Failure& failure,
             const ServerError& said, bool streamed) const {
    // OpenRouter does not say which: "No endpoints found that can handle the requested parameters".
    const bool any = said.words.find("requested parameters") != said.words.npos;
    const int status = failure.http_status;
    const bool at_fault =
        (failure.code == ErrorCode::kRefused || failure.code == ErrorCode::kUnsupported) &&
        (status == 400 || status == 422);
    if (!at_fault && !(any && status == 404)) return false;
    for (const std::string_view parameter : kOptional) {
      const bool sent = parameter == "temperature"      ? request.temperature.has_value()
                        : parameter == "stream_options" ? streamed
                                                        : !request.fallback_models.empty();
      if (!sent || !form.sends(parameter)) continue;
      const bool named = names_parameter(said, parameter);
      if (!named && !(any && parameter == "temperature")) continue;
      if (named && says_unsupported(said)) unsupported_.add(request.model, parameter);
      form.omit.emplace_back(parameter);
      return true;
    }
    const std::string cap(form.cap_name());
    const RequestForm swapped{.cap_field = other_cap_field(form.cap_field)};
    const bool rejected = rejects_parameter(status, said, cap);
    if ((!rejected && !any) || !may_swap_cap(form, request) || !form.sends(cap)) return false;
    if (rejected) unsupported_.add(request.model, cap);
    form.omit.push_back(cap);  // do not try it again
    if (!form.sends(swapped.cap_name())) return false;
    form.cap_field = swapped.cap_field;
    return true;
  }

  Try try_once(const ChatRequest& request, const RequestForm& form,
               const CallOptions& options) const {
    const Clock::time_point start = Clock::now();
    StreamReader stream(request, options.on_text, endpoint_.api_key);
    Request message{.url = url_,
                    .headers = {{"Content-Type", "application/json"}},
                    .body = chat_request(request, form, provider_, options.on_text != nullptr),
                    .deadline = options.deadline,
                    .cancel = options.cancel};
    if (options.on_text) {
      message.on_body = [&stream](std::string_view piece) { return stream.add(piece); };
    }
    const Response response = transport_->send(message);

    // A definite rejection: there is no answer, so nothing is charged.
    const bool refused = response.status != 0 && response.status / 100 != 2;
    ChatAnswer answer;
    if (refused) {
      answer.failure = refusal(response, answer.said);
    } else if (options.on_text) {
      answer = std::move(stream).finish(response.failure);
    } else if (response.failure) {
      answer.failure = response.failure;
    } else {
      answer = read_chat_answer(response.body, endpoint_.api_key);
      AnswerText text(request.split_thinking);
      answer.text = text.add(request.split_thinking ? with_opening_tag(answer.text) : answer.text);
      answer.text += text.finish();
      answer.reasoning += text.thoughts();
    }
    Completion completion{.text = answer.text,
                          .reasoning = answer.reasoning,
                          .refusal = answer.refusal,
                          .failure = answer.failure,
                          .requested_model = request.model,
                          .served_model = answer.model,
                          .finish_reason = answer.finish_reason,
                          .usage = answer.usage,
                          .charged_usd = answer.cost_usd};
    completion.redirected =
        !completion.served_model.empty() && completion.served_model != request.model;
    const std::int64_t tokens = completion.usage ? completion.usage->completion_tokens : 0;
    completion.truncated = tokens == request.max_tokens || ended_by_cap(completion.finish_reason);
    completion.over_cap = tokens > request.max_tokens;
    if (stream.first_text()) {
      completion.first_text_seconds =
          std::chrono::duration<double>(*stream.first_text() - start).count();
    }
    if (!completion.failure && completion.text.empty() && !answer.has_other_content) {
      completion.failure = no_answer(request, completion, answer.has_choice);
      completion.empty_after_reasoning = completion.failure->code == ErrorCode::kBudget;
    }

    Attempt attempt{.model = request.model,
                    .max_tokens = request.max_tokens,
                    .http_status = response.status,
                    .seconds = response.seconds,
                    .cost_usd = completion.charged_usd};
    if (!attempt.cost_usd && (refused || !response.sent)) attempt.cost_usd = 0;
    TryResult result = judge(endpoint_.retry, response);
    result.possibly_charged = !attempt.cost_usd || *attempt.cost_usd > 0;
    if (completion.failure) {
      complete_failure(*completion.failure, response);
      attempt.error = completion.failure->code;
      attempt.message = completion.failure->message;
      // An error under status 200 counts as the status that it names.
      if (refused || !response.failure) result.retryable = is_retried(*completion.failure);
    }
    if (!completion.failure || !completion.text.empty()) result.retryable = false;
    return {std::move(completion), std::move(attempt), result, std::move(answer.said)};
  }

  Failure refusal(const Response& response, ServerError& said) const {
    const std::string* location = find_header(response.headers, "location");
    if (response.status / 100 == 3 && location != nullptr) {
      // A query string may contain a key.
      const std::string address = location->substr(0, location->find('?'));
      return {.code = ErrorCode::kRefused,
              .message = "the server redirects to " + quoted(address, endpoint_.api_key) +
                         "; redirects are not followed, since the key must not be sent to other "
                         "addresses. Set the base URL to the target, or turn the redirect off"};
    }
    return read_chat_error(response.status, response.body, endpoint_.api_key, &said);
  }

  /// The failure for an empty answer.
  Failure no_answer(const ChatRequest& request, const Completion& completion,
                    bool has_choice) const {
    const std::string& reason = completion.finish_reason;
    std::string message;
    if (!completion.refusal.empty() || internal::lower_case(reason).find("refus") != reason.npos) {
      message = "the model refused to answer";
      if (!completion.refusal.empty()) {
        message += ": " + quoted(completion.refusal, endpoint_.api_key);
      }
    } else if (ended_by_filter(reason)) {
      message = "a content filter withheld the answer";
    } else if (completion.truncated) {
      return spent_without_text(request, completion.usage);
    } else if (!has_choice) {
      message = "the server's answer is empty: it has no choices";
    } else if (!completion.reasoning.empty()) {
      message = "the model ended its answer after the reasoning, without any text";
    } else {
      message = "the model's answer is empty";
    }
    if (!reason.empty()) {
      message += " (finish_reason " + quoted(reason, endpoint_.api_key) + ")";
    }
    return {.code = ErrorCode::kNoAnswer,
            .message = message + "; use another model, or rephrase the query"};
  }

  static Failure spent_without_text(const ChatRequest& request, const std::optional<Usage>& usage) {
    const std::string cap = std::to_string(request.max_tokens);
    if (usage && usage->completion_tokens < request.max_tokens) {
      return {.code = ErrorCode::kBudget,
              .message = "the server cut the answer off after " +
                         std::to_string(usage->completion_tokens) +
                         " tokens, before any text and below the cap of " + cap +
                         "; check the server's limit on output, or use another model"};
    }
    std::string message =
        "the answer's cap of " + cap + " tokens was spent before any text arrived";
    if (usage && usage->reasoning_tokens > 0) {
      message += ", " + std::to_string(usage->reasoning_tokens) + " of them on reasoning";
    }
    return {.code = ErrorCode::kBudget, .message = message + "; allow a larger budget"};
  }

  /// Adds data from the HTTP response.
  void complete_failure(Failure& failure, const Response& response) const {
    if (failure.http_status == 0) failure.http_status = response.status;
    const std::string* type = find_header(response.headers, "content-type");
    if (failure.code == ErrorCode::kBadResponse && !response.failure && type != nullptr) {
      failure.message += " (its Content-Type is " + quoted(*type, endpoint_.api_key) + ")";
    }
  }

  bool is_retried(const Failure& failure) const {
    // Some servers report "too many requests" only in text, and some use it for the account.
    const int status = failure.code == ErrorCode::kRateLimited ? 429 : failure.http_status;
    const std::vector<int>& statuses = endpoint_.retry.statuses;
    return failure.code != ErrorCode::kCredit &&
           std::ranges::find(statuses, status) != statuses.end();
  }

  const Endpoint endpoint_;
  const std::string url_;
  const CapField cap_field_;
  const std::string provider_;
  const std::shared_ptr<const Transport> transport_;
  mutable UnsupportedParameters unsupported_;
};

}  // namespace

std::shared_ptr<const Client> make_openai_client(const Endpoint& endpoint,
                                                 const OpenAiClientOptions& options) {
  const BaseUrl base(endpoint.base_url);
  const std::string host = url_host(base.address);
  const bool is_openrouter = host == "openrouter.ai";
  CapField cap_field = options.cap_field;
  if (cap_field == CapField::kAutomatic) {
    cap_field = is_openrouter || host == "api.openai.com" ? CapField::kMaxCompletionTokens
                                                          : CapField::kMaxTokens;
  }
  std::string provider = options.provider;
  if (is_openrouter || !provider.empty()) {
    provider = provider_preferences(provider, is_openrouter);
  }
  return std::make_shared<OpenAiClient>(endpoint, base.with("/chat/completions"), cap_field,
                                        std::move(provider));
}

}  // namespace r2router::llm
