// Chat completions from the scripted server, and what is expected of every one.
#pragma once

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/llm/client.h"

#include "base/unicode.h"
#include "support/fault_server.h"

namespace r2router::testing {

inline const std::string kChatKey = "sk-test-8d1f0c35";

/// An endpoint that is patient with a busy machine and quick between retries.
inline llm::Endpoint chat_endpoint(const std::string& base_url) {
  return {.base_url = base_url,
          .api_key = llm::Secret(kChatKey),
          .retry = {.max_retries = 2, .first_delay = 0.001, .max_delay = 0.01}};
}

/// An event of a streamed answer.
inline std::string chat_event(const nlohmann::json& data, const std::string& line_end = "\n") {
  return "data: " + data.dump() + line_end + line_end;
}
inline std::string text_event(const std::string& text, const std::string& line_end = "\n") {
  return chat_event({{"choices", {{{"delta", {{"content", text}}}}}}}, line_end);
}
inline std::string finish_event(const std::string& reason = "stop") {
  return chat_event(
      {{"choices", {{{"delta", nlohmann::json::object()}, {"finish_reason", reason}}}}});
}

/// The step that sends the head of a streamed answer which ends with its connection, and `events`.
inline nlohmann::json send_stream(const std::string& events) {
  return {
      {"send",
       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + events}};
}

inline const nlohmann::json kClose = {{"close", true}}, kReset = {{"reset", true}},
                            kStall = {{"wait", 30}};

/// The body of a whole answer.
inline nlohmann::json chat_answer(const std::string& text, const std::string& reason = "stop") {
  return {{"model", "vendor/model"},
          {"choices", {{{"message", {{"content", text}}}, {"finish_reason", reason}}}},
          {"usage", {{"prompt_tokens", 5}, {"completion_tokens", 3}}}};
}

/// What holds of every completion, whatever happened.
inline void expect_sound(const llm::Completion& completion) {
  std::vector<std::string> said = {completion.text, completion.requested_model,
                                   completion.served_model, completion.finish_reason};
  if (completion.failure) {
    said.push_back(completion.failure->message);
    EXPECT_FALSE(completion.failure->message.empty());
    if (!completion.attempts.empty()) {
      EXPECT_EQ(completion.attempts.back().error, completion.failure->code);
    }
  } else {
    ASSERT_FALSE(completion.attempts.empty());
    EXPECT_FALSE(completion.attempts.back().error);
  }
  for (std::size_t i = 0; i < completion.attempts.size(); ++i) {
    const llm::Attempt& attempt = completion.attempts[i];
    said.push_back(attempt.model);
    said.push_back(attempt.message);
    EXPECT_GT(attempt.max_tokens, 0U);
    EXPECT_GE(attempt.seconds, 0);
    EXPECT_EQ(attempt.error.has_value(), !attempt.message.empty());
    EXPECT_TRUE(attempt.error || i + 1 == completion.attempts.size()) << "a success was retried";
  }
  for (const std::string& text : said) {
    EXPECT_EQ(text.find(kChatKey), text.npos) << text;
    EXPECT_TRUE(is_utf8(text));
  }
}

}  // namespace r2router::testing
