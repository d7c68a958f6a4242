// Fuzzes what a chat server may answer, whole, as a stream's event and as an error: whatever the
// bytes, there is an answer or a failure, in valid UTF-8.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/unicode.h"
#include "llm/chat/answer_text.h"
#include "llm/chat/chat_completion.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const r2router::Failure& failure) {
  require(!failure.message.empty() && r2router::is_utf8(failure.message));
  require(failure.http_status == 0 || (failure.http_status >= 400 && failure.http_status < 600));
}

void check(const r2router::llm::ChatAnswer& answer) {
  for (const auto* text :
       {&answer.text, &answer.reasoning, &answer.refusal, &answer.model, &answer.finish_reason}) {
    require(r2router::is_utf8(*text));
  }
  if (answer.usage) {
    require(answer.usage->prompt_tokens >= 0 && answer.usage->completion_tokens >= 0 &&
            answer.usage->reasoning_tokens >= 0);
  }
  if (answer.cost_usd) require(std::isfinite(*answer.cost_usd) && *answer.cost_usd >= 0);
  if (answer.failure) check(*answer.failure);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace llm = r2router::llm;
  const r2router::llm::Secret key("key");
  std::string_view input(reinterpret_cast<const char*>(data), size);

  check(llm::read_chat_answer(input, key));
  check(llm::read_chat_error(400, input, key));

  // What is shown of a text and what is thought are parts of it, however it is cut.
  for (const bool split : {false, true}) {
    llm::AnswerText whole(split), bytes(split);
    const std::string shown = whole.add(input) + whole.finish();
    std::string pieces;
    for (const char& byte : input) pieces += bytes.add({&byte, 1});
    pieces += bytes.finish();
    require(shown.size() + whole.thoughts().size() <= input.size());
    require(split || shown.empty() || shown == input);
    // White space is not known by its bytes.
    if (std::ranges::all_of(input, [](char c) { return (c & 0x80) == 0; })) {
      require(pieces == shown && bytes.thoughts() == whole.thoughts());
    }
  }

  // Each line is an event of a stream, named where it begins with "!": what has come only ever
  // grows.
  llm::ChatAnswer answer;
  std::size_t length = 0;
  while (!input.empty()) {
    std::string_view event = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(event.size() + 1, input.size()));
    const bool named = event.starts_with('!');
    if (named) event.remove_prefix(1);
    llm::read_chat_chunk(named ? "error" : "", event, answer, key);
    check(answer);
    require(answer.text.size() >= length);
    length = answer.text.size();
  }
  llm::end_chat_stream(answer);
  check(answer);
  require(answer.text.size() >= length);
  return 0;
}
