// Streamed answers in all dialects.
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/dialects/dialect.h"
#include "unit/gateway/dialects/streams.h"

namespace r2router::gateway {
namespace {

using namespace testing;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kChat = DialectKind::kChat, kResponses = DialectKind::kResponses,
               kMessages = DialectKind::kMessages;

struct Stream {
  DialectKind kind;
  const std::string& text;
};
const Stream kStreams[] = {
    {kChat, kChatStream}, {kResponses, kResponsesStream}, {kMessages, kMessagesStream}};

/// An answer that is complete.
void expect_complete(const Relayed& relayed) {
  EXPECT_FALSE(relayed.answer.failure) << relayed.answer.failure->message;
  EXPECT_TRUE(relayed.has_content);
  EXPECT_EQ(relayed.held, "");
}

/// Nothing was sent, so that another model may answer.
void expect_unsent(const Relayed& relayed, ErrorCode code) {
  ASSERT_TRUE(relayed.answer.failure);
  EXPECT_EQ(to_string(relayed.answer.failure->code), to_string(code))
      << relayed.answer.failure->message;
  EXPECT_FALSE(relayed.has_content);
  EXPECT_EQ(relayed.sent, "");
  EXPECT_THAT(relayed.actions, Each(Not(Action::kSend)));
}

TEST(Stream, PassesOnEveryEventWithTheNameOfThePoolsModel) {
  for (const auto& [kind, text] : kStreams) {
    const Relayed relayed = relay(kind, text);
    expect_complete(relayed);
    EXPECT_EQ(relayed.sent, renamed(text));
    EXPECT_TRUE(relayed.ended);
    EXPECT_EQ(relayed.answer.content, Content::kAnswer);
    EXPECT_EQ(relayed.answer.served_model, "vendor/small-2026");
    EXPECT_FALSE(relayed.answer.id.empty());
    EXPECT_FALSE(relayed.answer.truncated);
    ASSERT_TRUE(relayed.answer.usage);
    EXPECT_EQ(relayed.answer.usage->prompt_tokens, 20);
    EXPECT_EQ(relayed.answer.usage->completion_tokens, 9);
    EXPECT_EQ(relayed.answer.usage->cached_tokens, 4);
  }
}

TEST(Stream, ReadsTheDetailsOfTheUsage) {
  EXPECT_EQ(relay(kChat, kChatStream).answer.usage->reasoning_tokens, 3);
  EXPECT_EQ(relay(kResponses, kResponsesStream).answer.usage->reasoning_tokens, 3);
  EXPECT_EQ(relay(kMessages, kMessagesStream).answer.usage->cache_write_tokens, 6);
}

TEST(Stream, IsTheSameHoweverItIsCut) {
  for (const auto& [kind, text] : kStreams) {
    const Relayed whole = relay(kind, text);
    const std::string_view view = text;
    for (std::size_t cut = 0; cut <= view.size(); ++cut) {
      const Relayed relayed =
          relay(kind, std::vector<std::string_view>{view.substr(0, cut), view.substr(cut)});
      ASSERT_EQ(relayed.sent, whole.sent) << "cut at " << cut;
      ASSERT_EQ(relayed.actions, whole.actions) << "cut at " << cut;
      ASSERT_EQ(relayed.answer.usage, whole.answer.usage);
    }
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < view.size(); ++i) bytes.push_back(view.substr(i, 1));
    EXPECT_EQ(relay(kind, bytes).sent, whole.sent);
  }
}

// Whatever arrived before the connection broke, a client that got nothing can get another answer,
// and one that got something is told.
TEST(Stream, NoticesThatItWasCutOff) {
  for (const auto& [kind, text] : kStreams) {
    const Relayed whole = relay(kind, text);
    std::size_t complete = 0;
    for (std::size_t size = 0; size < text.size(); ++size) {
      const Relayed relayed = relay(kind, text.substr(0, size));
      EXPECT_TRUE(whole.sent.starts_with(relayed.sent));
      EXPECT_EQ(relayed.sent.empty(), !relayed.has_content);
      if (!relayed.answer.failure) {
        // The rest is only the end mark or the usage.
        EXPECT_FALSE(relayed.answer.finish_reason.empty());
        ++complete;
      } else {
        EXPECT_EQ(relayed.answer.failure->code, ErrorCode::kConnection);
      }
    }
    EXPECT_LT(complete, text.size() / 2);
  }
}

TEST(Stream, HoldsWhatComesBeforeTheContent) {
  using enum Action;
  EXPECT_THAT(relay(kChat, kChatStream).actions,
              ::testing::ElementsAre(kHold, kSend, kSend, kSend, kSend, kSend));
  EXPECT_THAT(relay(kResponses, kResponsesStream).actions,
              ::testing::ElementsAre(kHold, kHold, kHold, kHold, kSend, kSend, kSend, kSend));
  EXPECT_THAT(relay(kMessages, kMessagesStream).actions,
              ::testing::ElementsAre(kHold, kHold, kHold, kSend, kSend, kSend, kSend, kSend));
}

TEST(Stream, HoldsWhiteSpaceUntilThereIsText) {
  const Relayed chat =
      relay(kChat, kChatRole + chat_delta(R"({"content":"\n\n"})") +
                       chat_delta(R"({"content":"x"})") + chat_delta("{}", R"("stop")") + kDone);
  expect_complete(chat);
  EXPECT_EQ(chat.actions[1], Action::kHold);
  EXPECT_EQ(chat.actions[2], Action::kSend);
  EXPECT_THAT(chat.sent, HasSubstr(R"("\n\n")"));
}

TEST(Stream, PassesOnReasoningAtOnce) {
  for (const char* delta :
       {R"({"reasoning_content":"Hm"})", R"({"reasoning":"Hm","content":""})",
        R"({"reasoning_details":[{"type":"reasoning.text","text":"Hm"}],"content":""})"}) {
    EXPECT_EQ(relay(kChat, kChatRole + chat_delta(delta)).actions[1], Action::kSend) << delta;
  }
  EXPECT_EQ(
      relay(kResponses,
            kResponseCreated +
                typed_event(R"({"type":"response.reasoning_summary_text.delta","delta":"Hm"})"))
          .actions[1],
      Action::kSend);
  EXPECT_EQ(relay(kMessages, kMessageStart + block_start(R"({"type":"thinking","thinking":""})") +
                                 block_delta(R"({"type":"thinking_delta","thinking":"Hm"})"))
                .actions,
            (std::vector{Action::kHold, Action::kHold, Action::kSend}));
}

TEST(Stream, TreatsToolCallsAndRefusalsAsContent) {
  const Relayed calls = relay(
      kChat,
      chat_delta(
          R"({"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]})") +
          chat_delta(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]})") +
          chat_delta(
              R"({"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"weather","arguments":"{}"}}]})") +
          chat_delta("{}", R"("tool_calls")") + kDone);
  expect_complete(calls);
  EXPECT_EQ(calls.answer.content, Content::kAnswer);
  EXPECT_EQ(calls.answer.finish_reason, "tool_calls");
  EXPECT_EQ(calls.actions[0], Action::kSend);

  const Relayed refusal = relay(kChat, kChatRole + chat_delta(R"({"refusal":"I can't."})") +
                                           chat_delta("{}", R"("stop")") + kDone);
  expect_complete(refusal);
  EXPECT_EQ(refusal.answer.content, Content::kRefusal);

  const Relayed call = relay(
      kResponses,
      kResponseCreated +
          typed_event(
              R"({"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"shell","arguments":"","status":"in_progress"}})") +
          typed_event(R"({"type":"response.function_call_arguments.delta","delta":"{}"})") +
          response_event("response.completed", "completed",
                         R"("output":[{"type":"function_call"}],)" + kResponseUsage));
  expect_complete(call);
  EXPECT_EQ(call.actions[1], Action::kSend) << "its name is not repeated later";

  const Relayed use = relay(
      kMessages, kMessageStart +
                     block_start(R"({"type":"tool_use","id":"toolu_1","name":"Read","input":{}})") +
                     block_delta(R"({"type":"input_json_delta","partial_json":""})") + kBlockStop +
                     message_delta("tool_use") + kMessageStop);
  expect_complete(use);
  EXPECT_EQ(use.actions[1], Action::kSend);
  const Relayed refused = relay(kMessages, kMessageStart + message_delta("refusal") + kMessageStop);
  expect_complete(refused);
  EXPECT_EQ(refused.answer.content, Content::kRefusal);
}

TEST(Stream, HasNoContentIfItEndsWithout) {
  const std::string blank = chat_delta(R"({"content":""})");
  expect_unsent(relay(kChat, kChatRole + blank + chat_delta("{}", R"("stop")") + kDone),
                ErrorCode::kNoAnswer);
  const Relayed cut =
      relay(kChat, kChatRole + chat_delta("{}", R"("length")") + kChatUsage + kDone);
  expect_unsent(cut, ErrorCode::kBudget);
  EXPECT_TRUE(cut.answer.truncated);
  EXPECT_EQ(cut.answer.usage->completion_tokens, 9) << "it is billed nevertheless";
  expect_unsent(
      relay(
          kResponses,
          kResponseCreated +
              response_event(
                  "response.incomplete", "incomplete",
                  R"("incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"reasoning","summary":[]}],)" +
                      kResponseUsage)),
      ErrorCode::kBudget);
  expect_unsent(relay(kMessages, kMessageStart + message_delta("end_turn") + kMessageStop),
                ErrorCode::kNoAnswer);
  expect_unsent(relay(kMessages, kMessageStart + message_delta("max_tokens") + kMessageStop),
                ErrorCode::kBudget);
}

TEST(Stream, SaysThatReasoningSpentTheCap) {
  const Relayed relayed = relay(kChat, kChatRole + chat_delta(R"({"reasoning":"Hm"})") +
                                           chat_delta("{}", R"("length")") + kDone);
  EXPECT_TRUE(relayed.has_content);
  EXPECT_EQ(relayed.answer.content, Content::kReasoning);
  EXPECT_EQ(relayed.answer.failure->code, ErrorCode::kBudget);
  EXPECT_EQ(relayed.held, "") << "the client has all of it";
}

TEST(Stream, SendsAWholeAnswerThatHadNoDeltas) {
  const Relayed relayed = relay(
      kResponses,
      kResponseCreated + typed_event(R"({"type":"response.something.new","sequence_number":1})") +
          response_event(
              "response.completed", "completed",
              R"("output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}],)" +
                  kResponseUsage));
  expect_complete(relayed);
  EXPECT_EQ(relayed.actions, (std::vector{Action::kHold, Action::kHold, Action::kSend}));
}

TEST(Stream, DropsTheUsageThatTheClientDidNotAskFor) {
  const Relayed relayed = relay(kChat, kChatStream, /*usage_wanted=*/false);
  expect_complete(relayed);
  EXPECT_EQ(relayed.actions[4], Action::kDrop);
  EXPECT_THAT(relayed.sent, Not(HasSubstr("prompt_tokens")));
  EXPECT_TRUE(relayed.sent.ends_with(kDone));
  EXPECT_EQ(relayed.answer.usage->prompt_tokens, 20) << "it is read all the same";
  // The other dialects always have it.
  EXPECT_EQ(relay(kMessages, kMessagesStream, false).sent, renamed(kMessagesStream));
}

// ---- Variants of servers

TEST(Stream, ReadsAzures) {
  const std::string filters =
      R"(,"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}])";
  const std::string first = chat_chunk("", filters);
  const Relayed relayed = relay(kChat,
                                first + kChatRole + chat_delta(R"({"content":"x"})") +
                                    chat_delta("{}", R"("stop")") + kChatUsage + kDone,
                                /*usage_wanted=*/false);
  expect_complete(relayed);
  EXPECT_EQ(relayed.actions[0], Action::kHold) << "not content, but not a usage either";
  EXPECT_THAT(relayed.sent, HasSubstr("prompt_filter_results"));
  const Relayed filtered =
      relay(kChat, first + kChatRole + chat_delta("{}", R"("content_filter")") + kDone);
  EXPECT_EQ(filtered.answer.content, Content::kRefusal);
}

TEST(Stream, ReadsOpenRouters) {
  const Relayed relayed = relay(
      kChat,
      ": OPENROUTER PROCESSING\n\n" + kChatRole + chat_delta(R"({"content":"x"})") +
          ": OPENROUTER PROCESSING\n\n" +
          chat_chunk(
              R"({"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop","native_finish_reason":"STOP"})") +
          chat_chunk(
              R"({"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null})",
              R"(,"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cost":0.000123,"cost_details":{"upstream_inference_cost":null}})") +
          kDone,
      /*usage_wanted=*/false);
  expect_complete(relayed);
  EXPECT_EQ(relayed.answer.charged_usd, 0.000123);
  EXPECT_EQ(relayed.answer.usage->prompt_tokens, 5);
  EXPECT_EQ(relayed.answer.finish_reason, "stop");
}

TEST(Stream, ReadsAnErrorThatOpenRouterReportsWithinAChunk) {
  const std::string error = chat_chunk(
      R"({"index":0,"delta":{"content":""},"finish_reason":"error"})",
      R"(,"error":{"code":502,"message":"Provider disconnected","metadata":{"provider_name":"X"}})");
  expect_unsent(relay(kChat, kChatRole + error), ErrorCode::kServer);
  const Relayed after = relay(kChat, kChatRole + chat_delta(R"({"content":"x"})") + error);
  EXPECT_EQ(after.answer.failure->http_status, 502);
  EXPECT_THAT(after.answer.failure->message, HasSubstr("Provider disconnected"));
  EXPECT_EQ(after.actions.back(), Action::kSend);
  EXPECT_THAT(after.sent, HasSubstr("Provider disconnected"));
}

TEST(Stream, ReadsErrorEvents) {
  expect_unsent(
      relay(
          kChat,
          event(
              R"({"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}})")),
      ErrorCode::kRateLimited);
  expect_unsent(relay(kChat, event(R"({"message":"overloaded","code":529})", "error")),
                ErrorCode::kServer);
  expect_unsent(relay(kChat, event("Too Many Requests", "error")), ErrorCode::kRateLimited);
  const std::string overloaded = typed_event(
      R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"})");
  expect_unsent(relay(kMessages, kMessageStart + kPing + overloaded), ErrorCode::kServer);
  const Relayed after =
      relay(kMessages, kMessageStart + block_start(R"({"type":"text","text":"x"})") + overloaded);
  EXPECT_EQ(after.actions.back(), Action::kSend);
  EXPECT_EQ(after.answer.failure->code, ErrorCode::kServer);

  expect_unsent(
      relay(
          kResponses,
          kResponseCreated +
              typed_event(
                  R"({"type":"error","code":"rate_limit_exceeded","message":"Rate limit reached","param":null,"sequence_number":1})")),
      ErrorCode::kRateLimited);
  const Relayed failed = relay(
      kResponses,
      kResponseCreated +
          response_event(
              "response.failed", "failed",
              R"("error":{"code":"context_length_exceeded","message":"Your input exceeds the context window of this model."},"output":[],"usage":null)"));
  expect_unsent(failed, ErrorCode::kTooLong);
  EXPECT_TRUE(failed.ended);
}

TEST(Stream, IgnoresEmptyErrors) {
  for (const char* error : {"null", "{}", "\"\"", "false", "[]"}) {
    const std::string rest = R"(,"error":)" + std::string(error);
    expect_complete(relay(
        kChat, chat_chunk(R"({"index":0,"delta":{"content":"x"},"finish_reason":"stop"})", rest)));
  }
}

TEST(Stream, ReadsSeveralChoices) {
  const auto delta = [](int index, const std::string& content, const std::string& reason) {
    return chat_chunk(R"({"index":)" + std::to_string(index) + R"(,"delta":)" + content +
                      R"(,"finish_reason":)" + reason + "}");
  };
  const Relayed relayed =
      relay(kChat, delta(1, R"({"content":"a"})", "null") + delta(0, R"({"content":"b"})", "null") +
                       delta(1, "{}", R"("length")") + delta(0, "{}", R"("stop")") + kDone);
  expect_complete(relayed);
  EXPECT_EQ(relayed.answer.finish_reason, "stop") << "that of the first choice";
  EXPECT_TRUE(relayed.answer.truncated);
}

TEST(Stream, KeepsTheBytesOfUnusualEvents) {
  // Numbers, escapes, white space and unknown fields.
  const std::string odd = event(
      R"({ "model" : "vendor/small-2026","choices":[{"delta":{"content":"\u00e9\/"},"logprob":-1.50e-05,"x":1e400}],  "timings":{"a":1.0} })");
  EXPECT_EQ(relay(kChat, odd).sent, renamed(odd));
  // JSON on several lines.
  EXPECT_EQ(relay(kChat,
                  "data: {\"model\": \"m\",\ndata: \"choices\": [{\"delta\": "
                  "{\"content\": \"x\"}}]}\n\n")
                .sent,
            "data: {\"model\": \"small\",\ndata: \"choices\": [{\"delta\": {\"content\": "
            "\"x\"}}]}\n\n");
}

TEST(Stream, PassesOnWhatIsNotJson) {
  // Half of a character, which a server without care cuts between two tokens.
  const std::string half = event("{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}");
  const Relayed relayed = relay(kChat, kChatRole + half + chat_delta(R"({"content":"x"})") + half +
                                           chat_delta("{}", R"("stop")") + kDone);
  expect_complete(relayed);
  EXPECT_EQ(relayed.sent, renamed(kChatRole + half + chat_delta(R"({"content":"x"})") + half +
                                  chat_delta("{}", R"("stop")") + kDone));
  for (const DialectKind kind : kDialects) {
    expect_unsent(relay(kind, event("ping") + event("<html>") + event("7") + event("[]")),
                  ErrorCode::kConnection);
  }
}

TEST(Stream, NeverShowsTheKey) {
  const std::string error =
      event(R"({"error":{"message":"Incorrect API key provided: sk-test-8d1f0c35"}})");
  const Relayed relayed = relay(kChat, error);
  EXPECT_EQ(relayed.answer.failure->code, ErrorCode::kAuthentication);
  EXPECT_THAT(relayed.answer.failure->message, Not(HasSubstr("8d1f0c35")));
}

// ---- Errors of the gateway

std::string error_events(DialectKind kind, const std::string& stream) {
  const auto reader = dialect_of(kind).read_stream({}, "small", kKey);
  llm::EventParser parser(1 << 20);
  parser.feed(stream, [&](std::string_view name, std::string_view data) {
    std::string text;
    reader->read(name, data, text);
    return true;
  });
  return reader->error_events(
      {.status = 502, .message = "the \"server\" failed", .code = "upstream_failed"});
}

TEST(Stream, ReportsAnErrorInItsDialect) {
  const std::string chat = error_events(kChat, kChatRole);
  EXPECT_TRUE(chat.starts_with("data: {") && chat.ends_with("\n\n"));
  EXPECT_EQ(Json::parse(chat.substr(6))["error"]["message"], "the \"server\" failed");

  const std::string messages = error_events(kMessages, kMessageStart);
  constexpr std::string_view kHead = "event: error\ndata: ";
  ASSERT_TRUE(messages.starts_with(kHead));
  const Json error = Json::parse(messages.substr(kHead.size()));
  EXPECT_EQ(error["type"], "error");
  EXPECT_EQ(error["error"]["type"], "api_error");

  std::vector<std::pair<std::string, Json>> events;
  llm::EventParser parser(1 << 20);
  parser.feed(error_events(kResponses, kResponsesStream),
              [&](std::string_view name, std::string_view data) {
                events.emplace_back(name, Json::parse(data));
                return true;
              });
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].first, "response.failed");
  EXPECT_EQ(events[0].second["response"]["id"], "resp_1");
  EXPECT_EQ(events[0].second["response"]["error"]["code"], "upstream_failed");
  EXPECT_EQ(events[1].first, "error");
  EXPECT_EQ(events[1].second["message"], "the \"server\" failed");
  EXPECT_EQ(events[1].second["error"]["message"], "the \"server\" failed");
  EXPECT_EQ(events[1].second["sequence_number"],
            events[0].second["sequence_number"].get<int>() + 1);
}

// The gateway's own errors are read by the gateway as errors.
TEST(Stream, ReportsErrorsThatItReads) {
  for (const auto& [kind, text] : kStreams) {
    const Relayed relayed = relay(kind, error_events(kind, text));
    ASSERT_TRUE(relayed.answer.failure);
    EXPECT_THAT(relayed.answer.failure->message, HasSubstr("failed"));
  }
}

}  // namespace
}  // namespace r2router::gateway
