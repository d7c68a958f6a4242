#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/llm_client.h"

#include "base/excerpt.h"
#include "base/unicode.h"
#include "llm/chat/chat_completion.h"
#include "llm/http/retry.h"
#include "llm/http/server_sent_events.h"
#include "llm/http/transport.h"

namespace r2router {
namespace {

using net::Clock;

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
  if (!(std::isfinite(request.temperature) && request.temperature >= 0)) {
    refuse("temperature is " + std::to_string(request.temperature) +
           ": expected a finite number, 0 or more");
  }
  const auto check_text = [](std::string_view text, const std::string& what) {
    std::size_t bad = 0;
    if (!is_utf8(text, &bad)) {
      refuse(what + " is not UTF-8 at byte " + std::to_string(bad) +
             ": a request is JSON, which can carry nothing else");
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

/// Reads a streamed answer as it comes and tells its text.
class StreamReader {
 public:
  StreamReader(const std::function<void(std::string_view)>& on_text, const Secret& key)
      : on_text_(on_text), key_(key) {}

  /// Takes a piece of the body; false when no more is needed.
  bool add(std::string_view piece) {
    // A server that knows no streams answers with one JSON object, which no event begins like.
    if (const std::size_t first = piece.find_first_not_of(" \t\r\n");
        !has_begun_ && first != piece.npos) {
      has_begun_ = true;
      is_object_ = piece[first] == '{';
    }
    if (is_object_ || body_.size() < kHead) body_ += piece;
    if (is_object_) return true;
    if (!parser_.feed(piece, [&](std::string_view data) { return add_event(data); })) {
      answer_.failure = Failure{.code = ErrorCode::kBadResponse,
                                .message = "an event of the streamed answer has more than " +
                                           std::to_string(kMostEventBytes) + " bytes"};
    }
    return !answer_.failure;
  }

  /// All that came. `failure`: why no more did.
  client::ChatAnswer finish(const std::optional<Failure>& failure) && {
    if (is_object_ && !failure) {
      answer_ = client::read_chat_answer(body_, key_);
      tell(answer_.text);
    } else if (!answer_.failure && !is_whole()) {
      answer_.failure = failure ? failure : cut();
    }
    return std::move(answer_);
  }

  std::optional<Clock::time_point> first_text() const { return first_text_; }

 private:
  static constexpr std::size_t kHead = 1024;
  static constexpr std::size_t kMostEventBytes = std::size_t{16} << 20;

  bool add_event(std::string_view data) {
    has_events_ = true;
    const std::size_t told = answer_.text.size();
    client::read_chat_chunk(data, answer_, key_);
    tell(std::string_view(answer_.text).substr(told));
    return !answer_.failure;
  }

  void tell(std::string_view text) {
    if (text.empty()) return;
    if (!first_text_) first_text_ = Clock::now();
    on_text_(text);
  }

  /// With a finish reason the text is whole, whatever becomes of the connection then.
  bool is_whole() const {
    return !answer_.finish_reason.empty() || (answer_.done && !answer_.text.empty());
  }

  Failure cut() const {
    if (has_events_) {
      return {
          .code = ErrorCode::kConnection,
          .message = "the stream ended before the answer did, without a finish_reason; try again"};
    }
    return client::unreadable("a streamed answer consists of server-sent events", body_, key_);
  }

  const std::function<void(std::string_view)>& on_text_;
  const Secret& key_;
  net::EventParser parser_{kMostEventBytes};
  client::ChatAnswer answer_;
  std::string body_;        ///< all of one that is an object, the head of another
  bool has_begun_ = false;  ///< there was something but white space
  bool is_object_ = false;
  bool has_events_ = false;
  std::optional<Clock::time_point> first_text_;
};

class OpenAiClient final : public LlmClient, public std::enable_shared_from_this<OpenAiClient> {
 public:
  OpenAiClient(const Endpoint& endpoint, std::string url, CapField cap_field, std::string provider)
      : endpoint_(endpoint),
        url_(std::move(url)),
        cap_field_(cap_field),
        provider_(std::move(provider)),
        transport_(net::make_transport(endpoint)) {}

  Completion complete(const ChatRequest& request, const CallOptions& options) const override {
    const auto self = shared_from_this();  // a static owner may be destroyed during the call
    check(request);
    const Clock::time_point start = Clock::now();
    const std::string body =
        client::chat_request(request, cap_field_, provider_, options.on_text != nullptr);
    std::vector<Attempt> attempts;
    Completion completion;
    const auto make_try = [&] {
      Try made = try_once(request, body, options);
      completion = std::move(made.completion);
      attempts.push_back(std::move(made.attempt));
      return made.result;
    };
    const net::Ended ended = net::with_retries(endpoint_.retry, options.deadline, options.cancel,
                                               options.max_charges, make_try);
    if (ended == net::Ended::kCancelled) {
      completion.failure->code = ErrorCode::kCancelled;
      completion.failure->message =
          "cancelled before another try; the last one: " + completion.failure->message;
    } else if (ended == net::Ended::kDeadline) {
      completion.failure->message += "; no time is left for another try";
    } else if (ended == net::Ended::kCharges) {
      completion.failure->message += "; the cost limit leaves nothing for another try";
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
    net::TryResult result;
  };

  Try try_once(const ChatRequest& request, const std::string& body,
               const CallOptions& options) const {
    const Clock::time_point start = Clock::now();
    StreamReader stream(options.on_text, endpoint_.api_key);
    net::Request message{.url = url_,
                         .headers = {{"Content-Type", "application/json"}},
                         .body = body,
                         .deadline = options.deadline,
                         .cancel = options.cancel};
    if (options.on_text) {
      message.on_body = [&stream](std::string_view piece) { return stream.add(piece); };
    }
    const net::Response response = transport_->send(message);

    // A definite refusal: there is no answer, so nothing is charged.
    const bool refused = response.status != 0 && response.status / 100 != 2;
    client::ChatAnswer answer;
    if (refused) {
      answer.failure = refusal(response);
    } else if (options.on_text) {
      answer = std::move(stream).finish(response.failure);
    } else if (response.failure) {
      answer.failure = response.failure;
    } else {
      answer = client::read_chat_answer(response.body, endpoint_.api_key);
    }
    Completion completion{.text = std::move(answer.text),
                          .failure = std::move(answer.failure),
                          .requested_model = request.model,
                          .served_model = std::move(answer.model),
                          .finish_reason = std::move(answer.finish_reason),
                          .usage = answer.usage,
                          .charged_usd = answer.cost_usd};
    completion.redirected =
        !completion.served_model.empty() && completion.served_model != request.model;
    completion.truncated = completion.finish_reason == "length";
    completion.over_cap =
        completion.usage && completion.usage->completion_tokens > request.max_tokens;
    if (stream.first_text()) {
      completion.first_text_seconds =
          std::chrono::duration<double>(*stream.first_text() - start).count();
    }
    if (!completion.failure && completion.truncated && completion.text.empty()) {
      completion.empty_after_reasoning = true;
      completion.failure = spent_without_text(request, completion.usage);
    }

    Attempt attempt{.model = request.model,
                    .max_tokens = request.max_tokens,
                    .http_status = response.status,
                    .seconds = response.seconds,
                    .cost_usd = completion.charged_usd};
    if (!attempt.cost_usd && (refused || !response.sent)) attempt.cost_usd = 0;
    net::TryResult result = net::judge(endpoint_.retry, response);
    result.possibly_charged = !attempt.cost_usd || *attempt.cost_usd > 0;
    if (completion.failure) {
      complete_failure(*completion.failure, response);
      attempt.error = completion.failure->code;
      attempt.message = completion.failure->message;
      // An error under status 200 stands for the status that it names.
      if (refused || !response.failure) {
        result.retryable = is_retried(completion.failure->http_status);
      }
    }
    if (!completion.failure || !completion.text.empty()) result.retryable = false;
    return {std::move(completion), std::move(attempt), result};
  }

  Failure refusal(const net::Response& response) const {
    const std::string* location = net::find_header(response.headers, "location");
    if (response.status / 100 == 3 && location != nullptr) {
      return {.code = ErrorCode::kRefused,
              .message = "the server redirects to " + client::quoted(*location, endpoint_.api_key) +
                         ", which is not followed, for the key is not meant for it; if it is the "
                         "right one, give it as the base URL"};
    }
    return client::read_chat_error(response.status, response.body, endpoint_.api_key);
  }

  static Failure spent_without_text(const ChatRequest& request, const std::optional<Usage>& usage) {
    std::string message = "the answer's cap of " + std::to_string(request.max_tokens) +
                          " tokens was spent before any text came";
    if (usage && usage->reasoning_tokens > 0) {
      message += ", " + std::to_string(usage->reasoning_tokens) + " of them on reasoning";
    }
    return {.code = ErrorCode::kBudget, .message = message + "; allow a larger budget"};
  }

  /// Adds what only the response knows.
  void complete_failure(Failure& failure, const net::Response& response) const {
    if (failure.http_status == 0) failure.http_status = response.status;
    const std::string* type = net::find_header(response.headers, "content-type");
    if (failure.code == ErrorCode::kBadResponse && !response.failure && type != nullptr) {
      failure.message += " (its Content-Type is " + client::quoted(*type, endpoint_.api_key) + ")";
    }
  }

  bool is_retried(int status) const {
    const std::vector<int>& statuses = endpoint_.retry.statuses;
    return std::ranges::find(statuses, status) != statuses.end();
  }

  const Endpoint endpoint_;
  const std::string url_;
  const CapField cap_field_;
  const std::string provider_;
  const std::shared_ptr<const net::Transport> transport_;
};

}  // namespace

std::shared_ptr<const LlmClient> make_openai_client(const Endpoint& endpoint,
                                                    const OpenAiClientOptions& options) {
  constexpr std::string_view kPath = "/chat/completions";
  std::string url = endpoint.base_url;
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with(kPath)) {
    refuse("the base URL " + excerpt(endpoint.base_url) +
           " ends with /chat/completions: give only what stands before that");
  }
  const std::string host = net::url_host(url);
  const bool is_openrouter = host == "openrouter.ai";
  CapField cap_field = options.cap_field;
  if (cap_field == CapField::kAutomatic) {
    cap_field = is_openrouter || host == "api.openai.com" ? CapField::kMaxCompletionTokens
                                                          : CapField::kMaxTokens;
  }
  std::string provider = options.provider;
  if (is_openrouter || !provider.empty()) {
    provider = client::provider_preferences(provider, is_openrouter);
  }
  return std::make_shared<OpenAiClient>(endpoint, url.append(kPath), cap_field,
                                        std::move(provider));
}

}  // namespace r2router
