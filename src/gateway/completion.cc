// The life of a request. One attempt at a time is in progress:
//
//     choose ──► reserve ──► send ──► answer ──► settle ──► reply
//       ▲           ▲                   │ failure
//       │           └── wait ◄── retry ─┤
//       └────────────── fallback ◄──────┘
//
// A fallback makes a new decision without the models that have failed, so it also takes recent
// failures of other requests into account. Nothing is retried once a part of the answer has been
// passed on.
//
// Every attempt reserves its own worst case. The reservation is released if the attempt was not
// billed (not sent, or rejected by an HTTP status other than a timeout), settled if the server
// reported the usage, and abandoned, which counts it as spent, if the cost is unknown. If the worst
// case is more than the key has left, the decision is repeated with the remaining amount as its
// limit, so that a cheaper pair is chosen.
//
// The headers of a stream are sent before its cost is known, so the cost is in a comment before the
// last event, which clients ignore: ": x-r2-cost-usd 0.00012".
#include "gateway/completion.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/error.h"
#include "r2router/llm/generate.h"

#include "base/decimal.h"
#include "base/unicode.h"
#include "gateway/chooser.h"
#include "gateway/dialects/error_body.h"
#include "llm/chat/chat_completion.h"
#include "llm/http/endpoint.h"
#include "llm/http/retry.h"
#include "llm/http/server_error.h"
#include "llm/http/server_sent_events.h"
#include "pool/prices.h"

namespace r2router::gateway {
namespace {

using Clock = llm::Clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

/// Headers that are passed on to the endpoint, in addition to those that begin with "anthropic-".
constexpr std::string_view kForwarded[] = {"traceparent", "tracestate", "openai-beta"};
constexpr std::size_t kMostEventBytes = std::size_t{16} << 20;
/// If a retry has to wait longer than this, in seconds, a fallback is tried instead.
constexpr double kLongestWaitBeforeFallback = 1;
/// Maximum number of new decisions for a request because its key has less left. Concurrent requests
/// also reduce the rest.
constexpr std::uint32_t kMostNarrowings = 3;
/// Maximum time between the last event of a stream and the end of the connection.
constexpr std::chrono::seconds kStreamEnd{1};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string shortest(double number) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}

/// Anthropic's beta header without the long context, whose price is not in the pool.
std::string without_long_context(std::string_view betas) {
  std::string kept;
  while (!betas.empty()) {
    const std::string_view beta = trimmed(betas.substr(0, betas.find(',')));
    betas.remove_prefix(std::min(betas.find(','), betas.size() - 1) + 1);
    if (beta.empty() || beta.starts_with("context-1m")) continue;
    if (!kept.empty()) kept += ',';
    kept += beta;
  }
  return kept;
}

/// Whether the endpoint's configuration has this header, in lower case, so that the client's would
/// be a second one.
bool is_set_by(const llm::Endpoint& endpoint, std::string_view name) {
  return std::ranges::any_of(endpoint.headers, [&](const auto& header) {
    return internal::lower_case(header.first) == name;
  });
}

/// Whether the server may have generated an answer in spite of this status: after a timeout of a
/// proxy, it may still be generating.
bool may_be_billed(int status) {
  constexpr int kGatewayTimeout = 504, kCloudflareTimeout = 524;
  return status < 300 || status == kGatewayTimeout || status == kCloudflareTimeout;
}

class Completion final : public HttpTask, private llm::EventTransport::Receiver {
 public:
  Completion(LoopContext& context, const Dialect& dialect, Incoming incoming, HttpReply& reply)
      : context_(context),
        dialect_(dialect),
        incoming_(std::move(incoming)),
        service_(*incoming_.service),
        reply_(reply),
        begin_(Clock::now()) {
    context_.counts.change([](Counts& counts) { ++counts.active; });
  }

  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  /// Also called when the client disconnects.
  ~Completion() override {
    if (call_) {
      const bool sent = call_->sent();
      call_.reset();
      end_attempt(sent);
      model().condition->breaker.on_neutral();
      count_attempt("cancelled", "");
    }
    if (status_ == 0) log(499, "cancelled");
    context_.counts.change([](Counts& counts) { --counts.active; });
  }

  /// Returns true if the request was answered immediately.
  bool start() {
    try {
      request_ =
          dialect_.read(std::move(incoming_.http.body), service_.router.config().budget_prompt);
      chooser_.emplace(incoming_, dialect_.kind(), request_);
      fallbacks_left_ = chooser_->is_named() ? 0 : service_.config.max_fallbacks;
    } catch (const Error& error) {
      fail(error);
      return true;
    }
    next();
    return status_ != 0;
  }

  void on_drained() override {
    if (std::exchange(paused_, false) && call_) call_->resume();
  }

 private:
  const ModelSpec& spec() const { return chooser_->pool()[candidate_.model]; }
  const ServedModel& model() const { return service_.models[candidate_.model]; }
  const ServedEndpoint& endpoint() const { return *model().endpoint; }
  const llm::Secret& key() const { return endpoint().config.endpoint.api_key; }

  // --- reserving and sending

  /// Chooses a pair and sends the request to its model.
  void next() {
    if (status_ != 0) return;
    try {
      candidate_ = chooser_->choose();
    } catch (const Error& error) {
      return last_failure_ ? reply_failure() : fail(error);
    }
    retries_ = 0;
    swapped_ = false;
    reserve();
  }

  void reserve() {
    const double input = static_cast<double>(request_.size.input_tokens.value_or(0));
    const Demand demand{
        .worst_case = Money::rounded_up(candidate_.worst_usd),
        .tokens = static_cast<std::uint64_t>(input + candidate_.output_tokens *
                                                         static_cast<double>(request_.choices)),
        .requests = attempts_ == 0 ? 1U : 0U};
    // The callback may run on another thread, and after this object was destroyed.
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

  void on_reserved(Outcome outcome) {
    if (const auto* refusal = std::get_if<Refusal>(&outcome)) {
      if (choose_cheaper(*refusal)) return reserve();
      return refuse_spending(*refusal);
    }
    reservation_ = std::get<Reservation>(std::move(outcome));
    send();
  }

  /// Chooses a pair within the amount that the key has left. Returns false if there is none.
  bool choose_cheaper(const Refusal& refusal) {
    const Money left = refusal.left();
    if (chooser_->is_named() || !refusal.is_of_money() || left.nano <= 1 ||
        narrowings_ == kMostNarrowings) {
      return false;
    }
    ++narrowings_;
    chooser_->narrow(Money{left.nano - 1});  // rounding up the worst case must not exceed it
    try {
      candidate_ = chooser_->choose();
    } catch (const Error&) {
      return false;
    }
    return true;
  }

  void send() {
    timer_.reset();
    ++attempts_;
    answer_ = {};
    body_.clear();
    held_.clear();
    cost_comment_.clear();
    reader_.reset();
    parser_.reset();
    const llm::Endpoint& server = endpoint().config.endpoint;
    const Clock::time_point now = Clock::now();
    if (attempts_ == 1) {
      deadline_ = now + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(std::min(server.timeouts.total, 1e8)));
      overhead_ms_ = Milliseconds(now - begin_).count();
      context_.counts.change(
          [&](Counts& counts) { counts.overhead_ms.add(overhead_ms_, kOverheadBounds); });
    }
    llm::Request request{.url = endpoint().urls[static_cast<std::size_t>(dialect_.kind())],
                         .headers = {{"Content-Type", "application/json"}},
                         .deadline = deadline_};
    for (const auto& [name, value] : incoming_.http.headers) {
      if (is_set_by(server, name)) continue;
      if (name == "anthropic-beta" && chooser_->is_limited() && spec().prices.tiers.empty()) {
        std::string kept = without_long_context(value);
        if (!kept.empty()) request.headers.emplace_back(name, std::move(kept));
      } else if (name.starts_with("anthropic-") ||
                 std::ranges::find(kForwarded, name) != std::end(kForwarded)) {
        request.headers.emplace_back(name, value);
      }
    }
    const llm::CapField learned = model().condition->cap_field;
    const Target target{
        .model = spec(),
        .cap = candidate_.cap,
        .cap_field = learned != llm::CapField::kAutomatic ? learned : endpoint().config.cap_field,
        .budget_instruction = instruction()};
    cap_field_ = cap_field_of(request_, target);
    try {
      request.body = dialect_.write(request_, target);
      call_ = context_.loop.transport().start(endpoint().checked, std::move(request), *this);
    } catch (const Error& error) {
      reservation_.release();
      return fail(error);
    }
    ++endpoint().condition->in_flight;
    model().condition->breaker.on_start(now);
    endpoint().condition->breaker.on_start(now);
  }

  const std::string& instruction() {
    instruction_ =
        chooser_->is_named()
            ? std::string()
            : llm::budget_instruction(service_.router.config().budget_prompt, candidate_.budget);
    return instruction_;
  }

  // --- the answer

  void on_head(const llm::Response& head) override {
    if (head.status >= 300 || !request_.stream) return;
    const std::string* type = llm::find_header(head.headers, "content-type");
    if (type != nullptr && type->find("json") != type->npos &&
        type->find("event-stream") == type->npos) {
      return;  // probably an error: read as a whole
    }
    parser_.emplace(kMostEventBytes);
    reader_ = dialect_.read_stream(request_, spec().name, key());
  }

  void on_body(std::string_view piece) override {
    if (!reader_) {
      body_ += piece;
      return;
    }
    const bool fits = parser_->feed(
        piece, [this](std::string_view name, std::string_view data) { return take(name, data); });
    if (!fits) {
      return cut(Failure{.code = ErrorCode::kBadResponse,
                         .message = "the server sent an event of more than " +
                                    std::to_string(kMostEventBytes >> 20) + " MiB"});
    }
    if (reader_->answer().failure) return cut(*reader_->answer().failure);
    if (reader_->ended() && !timer_) {
      timer_ = context_.loop.after(kStreamEnd, [this] { cut({}); });
    }
    if (!paused_ && begun_ && reply_.is_full()) {
      paused_ = true;
      call_->pause();
    }
  }

  /// One event of a stream.
  bool take(std::string_view name, std::string_view data) {
    if (reader_->ended()) return true;  // nothing can follow
    std::string text;
    const Action action = reader_->read(name, data, text);
    const bool failed = reader_->answer().failure.has_value();
    if (failed) text = endpoint().redacted(std::move(text));
    if (reader_->ended() && !failed) {
      cost_comment_ = cost_comment();
      text.insert(0, cost_comment_);
    }
    if (action == Action::kHold) {
      held_ += text;
    } else if (action == Action::kSend && (!failed || reader_->ended())) {
      begin_stream();
      reply_.write(held_ + text);
      held_.clear();
    }
    return !failed;
  }

  /// The whole answer has arrived, although the connection may break before the stream ends.
  bool is_whole() const {
    return reader_ && (reader_->ended() ||
                       (request_.choices == 1 && !reader_->answer().finish_reason.empty()));
  }

  /// The comment for the client; empty if the cost is unknown.
  std::string cost_comment() const {
    const std::optional<double> charged = charge(reader_->answer());
    return charged && cost_known_ ? comment_of(cost_usd_ + *charged) : std::string();
  }

  static std::string comment_of(double cost_usd) {
    return ": x-r2-cost-usd " + shortest(cost_usd) + "\n\n";
  }

  void begin_stream() {
    if (std::exchange(begun_, true)) return;
    first_seconds_ = seconds_since(incoming_.http.begin);
    // No other model can be asked from here on, and a stream may last for hours. An assignment
    // would keep the memory.
    (void)std::exchange(request_.json, JsonText());
    if (!service_.config.log.prompts) (void)std::exchange(request_.text, std::string());
    llm::Headers headers = result_headers();
    headers.emplace_back("content-type", "text/event-stream");
    headers.emplace_back("cache-control", "no-cache");
    reply_.begin(200, headers);
  }

  /// Ends the call before the server does. Without a failure, the answer is complete.
  void cut(std::optional<Failure> failure) {
    llm::Response response{.status = 200, .sent = true, .answered = true};
    call_.reset();
    timer_.reset();
    if (!failure) {
      reader_->finish();
      failure = reader_->answer().failure;
    }
    conclude(std::move(failure), response);
  }

  void on_end(const llm::Response& response) override {
    call_.reset();
    timer_.reset();
    std::optional<Failure> failure = response.failure;
    if (reader_) {
      if (!failure) parser_->finish([this](auto name, auto data) { return take(name, data); });
      if (is_whole()) failure.reset();  // the rest is not needed
      if (!failure) {
        reader_->finish();
        failure = reader_->answer().failure;
      }
    } else if (!failure && response.status >= 300) {
      const llm::ServerError error = llm::read_server_error(response.body);
      failure = Failure{.code = llm::classify(response.status, error),
                        .http_status = response.status,
                        .message = error.words};
      body_ = response.body;
      swap_cap_field(response.status, error);
    } else if (!failure) {
      answer_ = dialect_.read_answer(body_, spec().name, key());
      failure = answer_.failure;
      if (!failure && request_.stream) {
        failure = Failure{.code = ErrorCode::kBadResponse,
                          .message = "the server answered as a whole instead of streaming"};
      }
    }
    conclude(std::move(failure), response);
  }

  /// If the server requires the other field for the cap, prepares another attempt with it. Later
  /// requests to this model use that field from the start.
  void swap_cap_field(int status, const llm::ServerError& error) {
    const llm::RequestForm sent{.cap_field = cap_field_},
        other{.cap_field = llm::other_cap_field(cap_field_)};
    const auto& omit = spec().omit;
    if (dialect_.kind() != DialectKind::kChat || swapped_ ||
        !llm::rejects_parameter(status, error, sent.cap_name()) ||
        std::ranges::find(omit, other.cap_name()) != omit.end()) {
      return;
    }
    model().condition->cap_field = other.cap_field;
    swap_ = swapped_ = true;
  }

  /// The attempt has ended: settles it, and replies or tries again.
  void conclude(std::optional<Failure> failure, const llm::Response& response) {
    const bool unfinished = reader_ && !reader_->ended();
    if (reader_) answer_ = reader_->answer();
    if (failure) failure->message = endpoint().redacted(std::move(failure->message));
    settle(failure && unfinished, response);
    const llm::TryResult judged = llm::judge(endpoint().config.endpoint.retry, response);
    report_health(failure, judged.retry_after);
    count_attempt(failure ? "failure" : "success",
                  failure ? std::string(to_string(failure->code)) : std::string());
    if (!failure) return succeed();
    last_failure_ = std::move(failure);
    last_response_ = response;
    if (begun_) {
      // An answer without text may also be complete.
      const bool lacks_content =
          last_failure_->code == ErrorCode::kNoAnswer || last_failure_->code == ErrorCode::kBudget;
      return reader_->ended() || (lacks_content && is_whole()) ? end_stream() : break_off();
    }
    if (std::exchange(swap_, false)) return reserve();
    if (can_retry(judged)) return;
    if (can_fall_back()) return next();
    reply_failure();
  }

  /// Ends the reservation. `cut_off`: the reported usage is incomplete.
  void settle(bool cut_off, const llm::Response& response) {
    const bool reported = !cut_off && (answer_.usage || answer_.charged_usd);
    if (!reported) return end_attempt(response.sent && may_be_billed(response.status));
    --endpoint().condition->in_flight;
    const Usage usage = answer_.usage.value_or(Usage{});
    const std::optional<double> charged = charge(answer_);
    if (!charged) {
      cost_known_ = false;
      reservation_.abandon(settlement({}, usage));
      return;
    }
    cost_usd_ += *charged;
    chooser_->spend(*charged);
    reservation_.settle(settlement(Money::nearest(*charged), usage));
    context_.counts.change([&](Counts& counts) {
      Counts::Model& model = counts.models[spec().name];
      model.usage.prompt_tokens += usage.prompt_tokens;
      model.usage.completion_tokens += usage.completion_tokens;
      model.usage.reasoning_tokens += usage.reasoning_tokens;
      model.usage.cached_tokens += usage.cached_tokens;
      model.usage.cache_write_tokens += usage.cache_write_tokens;
      model.cost_usd += *charged;
      model.baseline_usd += baseline_usd(usage).value_or(*charged);
    });
  }

  /// The cost of an answer; empty if it is unknown.
  std::optional<double> charge(const Answer& answer) const {
    if (answer.charged_usd || !answer.usage) return answer.charged_usd;
    return internal::charge(spec().prices, *answer.usage, request_.size.images);
  }

  /// Ends an attempt without a bill. `unknown`: there may be one.
  void end_attempt(bool unknown) {
    --endpoint().condition->in_flight;
    if (!unknown) return reservation_.release();
    cost_known_ = false;
    chooser_->spend(candidate_.worst_usd);
    reservation_.abandon(settlement({}, {}));
  }

  std::optional<double> baseline_usd(const Usage& usage) const {
    if (!service_.baseline) return std::nullopt;
    return internal::charge(chooser_->pool()[*service_.baseline].prices, usage,
                            request_.size.images);
  }

  Settlement settlement(Money cost, const Usage& usage) {
    Settlement settlement{.cost = cost,
                          .usage = usage,
                          .model = spec().name,
                          .tag = incoming_.tag,
                          .requests = std::exchange(counted_, true) ? 0U : 1U};
    if (const auto usd = baseline_usd(usage); usd && usage.prompt_tokens > 0) {
      settlement.baseline = Money::nearest(*usd);
    }
    return settlement;
  }

  void report_health(const std::optional<Failure>& failure, std::optional<double> retry_after) {
    Breaker& of_model = model().condition->breaker;
    Breaker& of_endpoint = endpoint().condition->breaker;
    if (!failure) {
      of_model.on_success();
      of_endpoint.on_success();
      return;
    }
    const Clock::time_point now = Clock::now();
    const Blame blame = blame_for(failure->code);
    blame == Blame::kModel ? of_model.on_failure(now, retry_after) : of_model.on_neutral();
    blame == Blame::kEndpoint ? of_endpoint.on_failure(now, retry_after) : of_endpoint.on_neutral();
  }

  /// Starts to wait for a retry, if there is one.
  bool can_retry(const llm::TryResult& judged) {
    const llm::RetryPolicy& policy = endpoint().config.endpoint.retry;
    const bool listed =
        std::ranges::find(policy.statuses, last_failure_->http_status) != policy.statuses.end();
    if (!(judged.retryable || listed) || retries_ >= policy.max_retries) return false;
    const double delay = judged.retry_after.value_or(llm::backoff_delay(
        policy, retries_, std::uniform_real_distribution<double>(0, 1)(context_.random)));
    if (delay > policy.max_retry_after ||
        (delay > kLongestWaitBeforeFallback && fallbacks_left_ > 0) ||
        Clock::now() + std::chrono::duration<double>(delay) >= deadline_ ||
        !chooser_->affords(candidate_)) {
      return false;
    }
    ++retries_;
    timer_ = context_.loop.after(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(delay)),
        [this] { reserve(); });
    return true;
  }

  /// Excludes the failed model. Returns false if no other model is to be tried.
  bool can_fall_back() {
    if (fallbacks_left_ == 0 || Clock::now() >= deadline_ ||
        !chooser_->exclude(candidate_.model, last_failure_->code)) {
      return false;
    }
    --fallbacks_left_;
    return true;
  }

  // --- replies

  llm::Headers result_headers() const {
    llm::Headers headers = {{"x-request-id", incoming_.id}};
    const auto add = [&](const char* name, std::string value) {
      headers.emplace_back(name, std::move(value));
    };
    add("x-r2-decision-id", "dec-" + incoming_.id);
    if (attempts_ == 0) return headers;
    add("x-r2-model", spec().name);
    add("x-r2-budget", candidate_.budget.to_string());
    add("x-r2-max-tokens", std::to_string(candidate_.cap));
    if (candidate_.quality) add("x-r2-predicted-quality", shortest(*candidate_.quality));
    if (candidate_.cost_usd) add("x-r2-predicted-cost-usd", shortest(*candidate_.cost_usd));
    add("x-r2-attempts", std::to_string(attempts_));
    add("x-r2-overhead-ms", decimal(overhead_ms_, 3));
    return headers;
  }

  void succeed() {
    if (!reader_) return send_answer();
    begin_stream();
    if (!held_.empty()) reply_.write(held_);
    if (cost_comment_.empty() && cost_known_) reply_.write(comment_of(cost_usd_));
    done(200, "");
    reply_.finish();
  }

  void send_answer() {
    llm::Headers headers = result_headers();
    headers.emplace_back("content-type", "application/json");
    if (cost_known_) headers.emplace_back("x-r2-cost-usd", shortest(cost_usd_));
    first_seconds_ = seconds_since(incoming_.http.begin);
    done(200, last_failure_ ? std::string(to_string(last_failure_->code)) : std::string());
    reply_.send(200, headers, answer_.body);
  }

  /// Ends a complete stream, which has reported its failure itself.
  void end_stream() {
    done(200, std::string(to_string(last_failure_->code)));
    reply_.finish();
  }

  /// Fails in the middle of a stream.
  void break_off() {
    const ErrorReport report = report_of(*last_failure_);
    reply_.write(reader_->error_events(report));
    done(report.status, std::string(to_string(last_failure_->code)));
    reply_.finish();
  }

  void reply_failure() {
    const Failure& failure = *last_failure_;
    const bool no_content =
        failure.code == ErrorCode::kNoAnswer || failure.code == ErrorCode::kBudget;
    if (no_content && reader_ && !held_.empty()) {
      begin_stream();
      reply_.write(held_);
      done(200, std::string(to_string(failure.code)));
      return reply_.finish();
    }
    if (no_content && !reader_ && !answer_.body.empty()) return send_answer();
    const ErrorReport report = report_of(failure);
    // The server's own error body, which is in the client's dialect.
    const bool own = last_response_.status == report.status && report.status < 500 &&
                     body_.starts_with('{') && last_response_.status >= 400;
    reply_error(report, own ? endpoint().redacted(body_) : dialect_.write_error(report),
                retry_after_header());
  }

  llm::Headers retry_after_header() const {
    const std::string* value = llm::find_header(last_response_.headers, "retry-after");
    return value == nullptr ? llm::Headers{} : llm::Headers{{"retry-after", *value}};
  }

  void reply_error(const ErrorReport& report, const std::string& body, llm::Headers extra = {}) {
    llm::Headers headers = result_headers();
    headers.emplace_back("content-type", "application/json");
    // The gateway has already retried what can be retried.
    if (attempts_ > 0 || report.status == 400) headers.emplace_back("x-should-retry", "false");
    std::ranges::move(extra, std::back_inserter(headers));
    done(report.status, report.code);
    reply_.send(report.status, headers, body);
  }

  /// Replies with an error of the request itself.
  void fail(const Error& error) {
    ErrorReport report{.status = 400,
                       .message = error.what(),  // with the field: many clients show this alone
                       .code = std::string(to_string(error.code())),
                       .param = error.where().option};
    if (error.code() == ErrorCode::kNotFound) {
      report.status = 404;
      report.code = "model_not_found";
    } else if (error.code() == ErrorCode::kAuthentication) {
      report.status = 403;
    } else if (!service_.problem.empty() && error.code() == ErrorCode::kUnsupported) {
      report.status = 503;
      report.code = "no_endpoint";
    }
    context_.counts.change([&](Counts& counts) { ++counts.refused[report.code]; });
    reply_error(report, dialect_.write_error(report));
  }

  void refuse_spending(const Refusal& refusal) {
    const ErrorReport report{.status = refusal.limit == LimitKind::kLedger ? 503 : 429,
                             .message = refusal.message(),
                             .code = std::string("limit_") + name_of(refusal.limit)};
    llm::Headers headers;
    const bool rate = refusal.limit == LimitKind::kRequestsPerMinute ||
                      refusal.limit == LimitKind::kTokensPerMinute ||
                      refusal.limit == LimitKind::kLedger;
    if (refusal.retry_after) {
      const auto milliseconds = refusal.retry_after->count();
      headers.emplace_back("retry-after", std::to_string((milliseconds + 999) / 1000));
      headers.emplace_back("retry-after-ms", std::to_string(milliseconds));
    }
    if (!rate && attempts_ == 0) headers.emplace_back("x-should-retry", "false");
    context_.counts.change([&](Counts& counts) { ++counts.refused[report.code]; });
    reply_error(report, dialect_.write_error(report), std::move(headers));
  }

  // --- observing

  void count_attempt(const char* outcome, const std::string& code) {
    context_.counts.change([&](Counts& counts) { ++counts.attempts[{outcome, code}]; });
  }

  void done(int status, const std::string& error) { log(status, error); }

  void log(int status, const std::string& error) {
    status_ = status;
    const double seconds = seconds_since(incoming_.http.begin);
    const std::string model = attempts_ > 0 ? spec().name : std::string();
    context_.counts.change([&](Counts& counts) {
      ++counts.requests[{model, status}];
      if (model.empty()) return;
      counts.models[model].seconds.add(seconds, kSecondsBounds);
      if (first_seconds_) {
        counts.models[model].first_token_seconds.add(*first_seconds_, kSecondsBounds);
      }
    });
    if (!context_.log.enabled()) return;
    AccessEntry entry{.request_id = incoming_.id,
                      .key = incoming_.client->name(),
                      .tag = incoming_.tag,
                      .peer = incoming_.http.peer,
                      .method = incoming_.http.method,
                      .path = incoming_.http.path,
                      .dialect = std::string(to_string(dialect_.kind())),
                      .requested_model = request_.model,
                      .model = model,
                      .error = error,
                      .status = status,
                      .stream = request_.stream,
                      .attempts = attempts_,
                      .usage = answer_.usage,
                      .seconds = seconds,
                      .first_token_seconds = first_seconds_};
    if (service_.config.log.prompts) entry.prompt = request_.text;
    if (attempts_ > 0) {
      entry.budget = candidate_.budget.to_string();
      entry.max_tokens = candidate_.cap;
      entry.predicted_quality = candidate_.quality;
      entry.predicted_cost_usd = candidate_.cost_usd;
      if (cost_known_) entry.cost_usd = cost_usd_;
      entry.overhead_ms = overhead_ms_;
    }
    context_.log.write(entry);
  }

  LoopContext& context_;
  const Dialect& dialect_;
  Incoming incoming_;
  const Service& service_;
  HttpReply& reply_;
  const Clock::time_point begin_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  ClientRequest request_;
  std::optional<Chooser> chooser_;  // when the request has been read
  std::uint32_t narrowings_ = 0;
  std::uint32_t fallbacks_left_ = 0;
  Clock::time_point deadline_ = Clock::time_point::max();

  // The attempt.
  Candidate candidate_;
  std::string instruction_;
  Reservation reservation_;
  std::unique_ptr<llm::EventTransport::Call> call_;
  std::unique_ptr<Loop::Timer> timer_;  // of a retry, or of a stream's end
  std::optional<llm::EventParser> parser_;
  std::unique_ptr<StreamReader> reader_;
  std::string body_;
  std::string held_;  // events that are not passed on yet
  std::string cost_comment_;
  llm::CapField cap_field_ = llm::CapField::kAutomatic;  // that was sent
  bool swap_ = false, swapped_ = false;                  // the other one is tried; has been
  Answer answer_;
  std::uint32_t attempts_ = 0, retries_ = 0;
  std::optional<Failure> last_failure_;
  llm::Response last_response_;

  bool begun_ = false;    // a part of the answer was passed on
  bool paused_ = false;   // since the client reads slowly
  bool counted_ = false;  // as a request in the ledger
  double cost_usd_ = 0;
  bool cost_known_ = true;
  double overhead_ms_ = 0;
  std::optional<double> first_seconds_;
  int status_ = 0;  // of the reply; 0: there is none yet
};

}  // namespace

std::string LoopContext::make_id() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (int half = 0; half < 2; ++half) {
    std::uint64_t bits = random();
    for (int i = 0; i < 12; ++i, bits >>= 4) id += kDigits[bits & 15];
  }
  return id;
}

std::unique_ptr<HttpTask> complete(LoopContext& context, const Dialect& dialect, Incoming incoming,
                                   HttpReply& reply) {
  auto completion = std::make_unique<Completion>(context, dialect, std::move(incoming), reply);
  if (completion->start()) return nullptr;
  return completion;
}

}  // namespace r2router::gateway
