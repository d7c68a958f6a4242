// Streams as servers send them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/dialects/dialect.h"
#include "llm/http/server_sent_events.h"
#include "unit/gateway/dialects/requests.h"

namespace r2router::gateway::testing {

inline const llm::Secret kKey("sk-test-8d1f0c35");

/// An event with these data.
inline std::string event(std::string_view data, std::string_view name = {}) {
  std::string text = name.empty() ? "" : "event: " + std::string(name) + "\n";
  return text + "data: " + std::string(data) + "\n\n";
}
/// An event that is named like the "type" of its data.
inline std::string typed_event(std::string_view data) {
  return event(data, Json::parse(data)["type"].get<std::string>());
}

/// A chunk of a chat stream; `rest` follows the choices.
inline std::string chat_chunk(const std::string& choices,
                              const std::string& rest = R"(,"usage":null)") {
  return event(
      R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"vendor/small-2026","system_fingerprint":"fp_1","choices":[)" +
      choices + "]" + rest + "}");
}
inline std::string chat_delta(const std::string& delta, const std::string& reason = "null") {
  return chat_chunk(R"({"index":0,"delta":)" + delta + R"(,"logprobs":null,"finish_reason":)" +
                    reason + "}");
}
inline const std::string kChatRole =
    chat_delta(R"({"role":"assistant","content":"","refusal":null})");
inline const std::string kChatUsage = chat_chunk(
    "",
    R"(,"usage":{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0}})");
inline const std::string kDone = event("[DONE]");

/// OpenAI.
inline const std::string kChatStream = kChatRole + chat_delta(R"({"content":"Goethe "})") +
                                       chat_delta(R"({"content":"wrote é😀."})") +
                                       chat_delta("{}", R"("stop")") + kChatUsage + kDone;

inline std::string response_event(const std::string& type, const std::string& status,
                                  const std::string& rest) {
  return typed_event(
      R"({"type":")" + type +
      R"(","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1790000000,"status":")" +
      status + R"(","model":"vendor/small-2026",)" + rest + "}}");
}
inline const std::string kResponseCreated =
    response_event("response.created", "in_progress",
                   R"("error":null,"incomplete_details":null,"output":[],"usage":null)");
inline const std::string kResponseInProgress = response_event(
    "response.in_progress", "in_progress", R"("error":null,"output":[],"usage":null)");
inline const std::string kResponseUsage =
    R"("usage":{"input_tokens":20,"input_tokens_details":{"cached_tokens":4},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":29})";

/// OpenAI, a text.
inline const std::string kResponsesStream =
    kResponseCreated + kResponseInProgress +
    typed_event(
        R"({"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","content":[],"role":"assistant"},"sequence_number":2})") +
    typed_event(
        R"({"type":"response.content_part.added","item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","annotations":[],"text":""},"sequence_number":3})") +
    typed_event(
        R"({"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Goethe wrote é😀.","sequence_number":4})") +
    typed_event(
        R"({"type":"response.output_text.done","item_id":"msg_1","output_index":0,"content_index":0,"text":"Goethe wrote é😀.","sequence_number":5})") +
    typed_event(
        R"({"type":"response.output_item.done","output_index":0,"item":{"id":"msg_1","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"text":"Goethe wrote é😀."}],"role":"assistant"},"sequence_number":6})") +
    response_event(
        "response.completed", "completed",
        R"("error":null,"output":[{"id":"msg_1","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"text":"Goethe wrote é😀."}],"role":"assistant"}],)" +
            kResponseUsage);

inline const std::string kMessageStart = typed_event(
    R"({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"vendor/small-2026","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":6,"cache_read_input_tokens":4,"output_tokens":1}}})");
inline const std::string kPing = typed_event(R"({"type": "ping"})");
inline const std::string kMessageStop = typed_event(R"({"type":"message_stop"})");
inline std::string message_delta(const std::string& reason) {
  return typed_event(R"({"type":"message_delta","delta":{"stop_reason":")" + reason +
                     R"(","stop_sequence":null},"usage":{"output_tokens":9}})");
}
inline std::string block_start(const std::string& block) {
  return typed_event(R"({"type":"content_block_start","index":0,"content_block":)" + block + "}");
}
inline std::string block_delta(const std::string& delta) {
  return typed_event(R"({"type":"content_block_delta","index":0,"delta":)" + delta + "}");
}
inline const std::string kBlockStop = typed_event(R"({"type":"content_block_stop","index":0})");

/// Anthropic, a text.
inline const std::string kMessagesStream =
    kMessageStart + block_start(R"({"type":"text","text":""})") + kPing +
    block_delta(R"({"type":"text_delta","text":"Goethe "})") +
    block_delta(R"({"type":"text_delta","text":"wrote é😀."})") + kBlockStop +
    message_delta("end_turn") + kMessageStop;

/// What a client receives, and what was read.
struct Relayed {
  std::string sent;  ///< to the client
  std::string held;  ///< never sent
  std::vector<Action> actions;
  Answer answer;
  bool has_content = false, ended = false;
};

/// Relays a stream that arrives in these pieces.
inline Relayed relay(DialectKind kind, const std::vector<std::string_view>& pieces,
                     bool usage_wanted = true) {
  ClientRequest request;
  request.usage_wanted = usage_wanted;
  const auto reader = dialect_of(kind).read_stream(request, "small", kKey);
  llm::EventParser parser(1 << 20);
  Relayed relayed;
  const auto on_event = [&](std::string_view name, std::string_view data) {
    std::string text;
    const Action action = reader->read(name, data, text);
    relayed.actions.push_back(action);
    EXPECT_EQ(text.empty(), action == Action::kDrop);
    relayed.held += text;
    if (action == Action::kSend) relayed.sent += std::exchange(relayed.held, {});
    return true;
  };
  for (const std::string_view piece : pieces) EXPECT_TRUE(parser.feed(piece, on_event));
  parser.finish(on_event);
  reader->finish();
  relayed.answer = reader->answer();
  relayed.has_content = reader->has_content();
  relayed.ended = reader->ended();
  return relayed;
}

inline Relayed relay(DialectKind kind, const std::string& stream, bool usage_wanted = true) {
  return relay(kind, std::vector<std::string_view>{stream}, usage_wanted);
}

/// The stream with the name of the pool's model.
inline std::string renamed(std::string stream) {
  constexpr std::string_view kServed = "vendor/small-2026";
  for (std::size_t at = 0; (at = stream.find(kServed, at)) != stream.npos;) {
    stream.replace(at, kServed.size(), "small");
  }
  return stream;
}

}  // namespace r2router::gateway::testing
