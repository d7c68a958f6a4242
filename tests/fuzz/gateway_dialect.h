// Fuzzes a dialect of the gateway with what a client may send and a server may answer: whatever the
// bytes, a request is read or refused, and an answer is passed on or is a failure.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/unicode.h"
#include "gateway/dialects/dialect.h"
#include "llm/http/server_sent_events.h"

namespace r2router::gateway {

inline void require(bool condition) {
  if (!condition) std::abort();
}

inline void check_answer(const Answer& answer) {
  require(is_utf8(answer.id) && is_utf8(answer.served_model) && is_utf8(answer.finish_reason));
  if (answer.failure) require(!answer.failure->message.empty() && is_utf8(answer.failure->message));
  if (answer.usage) {
    const Usage& usage = *answer.usage;
    require(usage.prompt_tokens >= 0 && usage.completion_tokens >= 0 &&
            usage.reasoning_tokens >= 0 && usage.cached_tokens >= 0 &&
            usage.cache_write_tokens >= 0);
  }
  if (answer.charged_usd) require(std::isfinite(*answer.charged_usd) && *answer.charged_usd >= 0);
}

inline void fuzz_request(const Dialect& dialect, std::string_view body) {
  ClientRequest request;
  try {
    request = dialect.read(std::string(body), "Use at most {budget} tokens.");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::kInvalidArgument && is_utf8(error.what()));
    return;
  }
  const QuerySize& size = request.size;
  require(size.input_tokens && *size.input_tokens >= 1);
  require(*size.max_input_tokens >= *size.input_tokens);
  require(size.context_tokens && *size.context_tokens <= *size.max_input_tokens);
  require(request.surcharges.size() < 100 && request.text.size() <= kMostRoutedBytes + 1);
  for (const Surcharge& surcharge : request.surcharges) {
    require(is_utf8(surcharge.field) && is_utf8(surcharge.name) && is_utf8(surcharge.why));
  }
  require(request.choices >= 1 && request.cap.value_or(1) >= 1);
  require(is_utf8(request.text) && is_utf8(request.model));

  ModelSpec model{.name = "small", .openrouter_id = "vendor/small"};
  model.omit = {"temperature", "stream_options"};
  model.request = R"({"reasoning_effort": "low", "thinking": {"budget_tokens": 2000}})";
  model.instruction = "Be concise.";
  const std::string sent =
      dialect.write(request, {.model = model, .cap = 1500, .budget_instruction = "Be brief."});
  // What is sent is a request of the same dialect: with this model, with a cap within both limits,
  // without settings of the gateway, and with the same text.
  const ClientRequest again = dialect.read(sent, {});
  require(again.model == "vendor/small");
  require(again.cap == std::min(request.cap.value_or(1500), 1500U));
  require(!again.json.root()["r2"].present() && !again.json.root()["temperature"].present());
  require(again.stream == request.stream && again.choices == request.choices);
  require(again.size.images == request.size.images);
  require(request.text.empty() || again.text.find(request.text) != std::string::npos);
}

inline void fuzz_stream(const Dialect& dialect, std::string_view stream) {
  const llm::Secret key("key");
  ClientRequest request;
  const auto reader = dialect.read_stream(request, "small", key);
  llm::EventParser parser(std::size_t{1} << 20);
  bool sent = false;
  const auto on_event = [&](std::string_view name, std::string_view data) {
    std::string text;
    const Action action = reader->read(name, data, text);
    require(text.empty() == (action == Action::kDrop));
    require(text.empty() || text.ends_with("\n\n"));
    require(!sent || action != Action::kHold);
    sent |= action == Action::kSend;
    require(sent == reader->has_content());
    check_answer(reader->answer());
    return true;
  };
  parser.feed(stream, on_event);
  parser.finish(on_event);
  reader->finish();
  check_answer(reader->answer());
  require(!reader->error_events({.status = 502, .message = "failed"}).empty());
}

inline void fuzz_dialect(DialectKind kind, const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const Dialect& dialect = dialect_of(kind);
  fuzz_request(dialect, input);
  fuzz_stream(dialect, input);
  const llm::Secret key("key");
  const Answer answer = dialect.read_answer(input, "small", key);
  check_answer(answer);
  if (answer.content == Content::kAnswer) require(!answer.body.empty());
}

}  // namespace r2router::gateway
