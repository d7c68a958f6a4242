// Whole answers in all dialects, and the gateway's errors.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/dialects/dialect.h"
#include "unit/gateway/dialects/random_json.h"
#include "unit/gateway/dialects/streams.h"

namespace r2router::gateway {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kChat = DialectKind::kChat, kResponses = DialectKind::kResponses,
               kMessages = DialectKind::kMessages;

Answer answer_of(DialectKind kind, const std::string& body) {
  return dialect_of(kind).read_answer(body, "small", kKey);
}

std::string chat_body(const std::string& message, const std::string& reason = "stop",
                      const std::string& rest = "") {
  return R"({"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"vendor/small-2026","choices":[{"index":0,"message":)" +
         message + R"(,"logprobs":null,"finish_reason":")" + reason +
         R"("}],"usage":{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}})" +
         rest + "}";
}
std::string response_body(const std::string& output, const std::string& status = "completed",
                          const std::string& rest = "") {
  return R"({"id":"resp_1","object":"response","status":")" + status +
         R"(","error":null,"incomplete_details":null,"model":"vendor/small-2026","output":[)" +
         output + "]," + kResponseUsage + rest + "}";
}
std::string message_body(const std::string& content, const std::string& reason = "end_turn") {
  return R"({"model":"vendor/small-2026","id":"msg_1","type":"message","role":"assistant","content":[)" +
         content + R"(],"stop_reason":")" + reason +
         R"(","stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":6,"cache_read_input_tokens":4,"output_tokens":9,"service_tier":"standard"}})";
}

TEST(Answer, ReadsUsageAndRenamesTheModel) {
  const std::vector<std::pair<DialectKind, std::string>> bodies = {
      {kChat, chat_body(R"({"role":"assistant","content":"Goethe."})")},
      {kResponses,
       response_body(R"({"type":"message","content":[{"type":"output_text","text":"Goethe."}]})")},
      {kMessages, message_body(R"({"type":"text","text":"Goethe."})")}};
  for (const auto& [kind, body] : bodies) {
    const Answer answer = answer_of(kind, body);
    EXPECT_FALSE(answer.failure) << answer.failure->message;
    EXPECT_EQ(answer.body, renamed(body)) << "everything else keeps its bytes";
    EXPECT_EQ(answer.served_model, "vendor/small-2026");
    EXPECT_EQ(answer.content, Content::kAnswer);
    EXPECT_FALSE(answer.truncated);
    ASSERT_TRUE(answer.usage);
    EXPECT_EQ(answer.usage->prompt_tokens, 20);
    EXPECT_EQ(answer.usage->completion_tokens, 9);
    EXPECT_EQ(answer.usage->cached_tokens, 4);
    EXPECT_EQ(answer.usage->reasoning_tokens, kind == kMessages ? 0 : 3);
    EXPECT_EQ(answer.usage->cache_write_tokens, kind == kMessages ? 6 : 0);
  }
}

TEST(Answer, AddsTheModelWhereTheServerNamesNone) {
  const std::string body = R"({"choices":[{"message":{"content":"x"}}]})";
  EXPECT_EQ(Json::parse(answer_of(kChat, body).body)["model"], "small");
}

TEST(Answer, TellsContentFromReasoningAndRefusals) {
  struct Case {
    DialectKind kind;
    std::string body;
    Content content;
  };
  const std::vector<Case> cases = {
      {kChat, chat_body(R"({"content":null,"tool_calls":[{"id":"c","function":{"name":"f"}}]})"),
       Content::kAnswer},
      {kChat, chat_body(R"({"content":null,"function_call":{"name":"f"}})"), Content::kAnswer},
      {kChat, chat_body(R"({"content":"","images":[{"type":"image_url"}]})"), Content::kAnswer},
      {kChat, chat_body(R"({"content":[{"type":"text","text":"x"}]})"), Content::kAnswer},
      {kChat, chat_body(R"({"content":null,"refusal":"I can't."})"), Content::kRefusal},
      {kChat, chat_body(R"({"content":null})", "content_filter"), Content::kRefusal},
      {kChat, chat_body(R"({"content":"","reasoning_content":"Hm"})"), Content::kReasoning},
      {kChat, chat_body(R"({"content":[{"type":"thinking","thinking":"Hm"}]})"),
       Content::kReasoning},
      {kChat, chat_body(R"({"content":" \n","tool_calls":[],"reasoning":""})"), Content::kNone},
      {kChat, R"({"choices":[]})", Content::kNone},
      {kChat, R"({"choices":[{"text":"x"}]})", Content::kAnswer},
      {kResponses, response_body(R"({"type":"function_call","name":"f","arguments":"{}"})"),
       Content::kAnswer},
      {kResponses, response_body(R"({"type":"reasoning","summary":[]})"), Content::kNone},
      {kResponses,
       response_body(
           R"({"type":"reasoning","summary":[{"type":"summary_text","text":"Hm"}]},{"type":"message","content":[]})"),
       Content::kReasoning},
      {kResponses,
       response_body(R"({"type":"message","content":[{"type":"refusal","refusal":"I can't."}]})"),
       Content::kRefusal},
      {kResponses, response_body(""), Content::kNone},
      {kMessages, message_body(R"({"type":"tool_use","id":"t","name":"Read","input":{}})"),
       Content::kAnswer},
      {kMessages, message_body(R"({"type":"thinking","thinking":"Hm","signature":"x"})"),
       Content::kReasoning},
      {kMessages, message_body("", "refusal"), Content::kRefusal},
      {kMessages, message_body(""), Content::kNone},
  };
  for (const auto& [kind, body, content] : cases) {
    const Answer answer = answer_of(kind, body);
    EXPECT_EQ(answer.content, content) << body;
    EXPECT_EQ(answer.failure.has_value(), content <= Content::kReasoning) << body;
    if (answer.failure) {
      EXPECT_EQ(answer.failure->code, ErrorCode::kNoAnswer);
    }
    EXPECT_FALSE(answer.body.empty()) << "the client may get it if nothing better comes";
  }
}

TEST(Answer, SaysThatTheCapCutItOff) {
  struct Case {
    DialectKind kind;
    std::string with_text, without_text;
  };
  const std::string incomplete =
      R"({"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[)";
  for (const auto& [kind, with_text, without_text] : std::vector<Case>{
           {kChat, chat_body(R"({"content":"x"})", "length"),
            chat_body(R"({"content":"","reasoning":"Hm"})", "length")},
           {kResponses,
            incomplete + R"({"type":"message","content":[{"type":"output_text","text":"x"}]}]})",
            incomplete + "]}"},
           {kMessages, message_body(R"({"type":"text","text":"x"})", "max_tokens"),
            message_body("", "max_tokens")}}) {
    EXPECT_TRUE(answer_of(kind, with_text).truncated);
    EXPECT_FALSE(answer_of(kind, with_text).failure);
    EXPECT_TRUE(answer_of(kind, without_text).truncated);
    EXPECT_EQ(answer_of(kind, without_text).failure->code, ErrorCode::kBudget);
  }
}

TEST(Answer, FindsAnErrorUnderStatus200) {
  const Answer chat = answer_of(
      kChat,
      R"({"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"busy"}}})");
  EXPECT_EQ(chat.failure->code, ErrorCode::kRateLimited);
  EXPECT_EQ(chat.failure->http_status, 429);
  EXPECT_THAT(chat.failure->message, HasSubstr("busy"));
  EXPECT_EQ(
      answer_of(
          kChat,
          R"({"choices":[{"message":{"content":""},"finish_reason":"error","error":{"code":502,"message":"x"}}]})")
          .failure->http_status,
      502);
  EXPECT_EQ(
      answer_of(
          kResponses,
          R"({"object":"response","status":"failed","error":{"code":"server_error","message":"x"},"output":[]})")
          .failure->code,
      ErrorCode::kServer);
  EXPECT_EQ(
      answer_of(kMessages, R"({"type":"error","error":{"type":"rate_limit_error","message":"x"}})")
          .failure->code,
      ErrorCode::kRateLimited);
  for (const DialectKind kind : kDialects) {
    for (const char* error : {"null", "{}", "false", "\"\""}) {
      const std::string body =
          R"({"choices":[{"message":{"content":"x"}}],"output":[{"type":"function_call"}],"content":[{"type":"text","text":"x"}],"error":)" +
          std::string(error) + "}";
      EXPECT_FALSE(answer_of(kind, body).failure) << body;
    }
  }
}

TEST(Answer, ReportsWhatIsNoAnswer) {
  for (const DialectKind kind : kDialects) {
    for (const std::string body :
         {"", "<html>502 Bad Gateway</html>", "[]", "null", "7", "{}", R"({"choices":7})",
          R"({"id":"x"})", "{\"choices\":[{\"message\":{\"content\":\"\xFF\"}}]}"}) {
      const Answer answer = answer_of(kind, body);
      ASSERT_TRUE(answer.failure) << body;
      EXPECT_EQ(answer.failure->code, ErrorCode::kBadResponse) << body;
      EXPECT_FALSE(answer.failure->message.empty());
    }
  }
}

TEST(Answer, AnswersInTheBackgroundAreNoFailures) {
  const Answer answer = answer_of(
      kResponses, R"({"id":"resp_1","status":"queued","output":[],"usage":null,"error":null})");
  EXPECT_FALSE(answer.failure);
  EXPECT_FALSE(answer.usage);
}

TEST(Answer, ReadsTheServersOwnFigureOfTheCost) {
  EXPECT_EQ(answer_of(kChat, R"({"choices":[],"usage":{"cost":0.25}})").charged_usd, 0.25);
  EXPECT_EQ(answer_of(kResponses, R"({"output":[],"usage":{"cost":0.25}})").charged_usd, 0.25);
  EXPECT_EQ(answer_of(kMessages, R"({"content":[],"usage":{"cost":0.25}})").charged_usd, 0.25);
  for (const DialectKind kind : kDialects) {
    for (const char* cost : {"-1", "\"x\"", "null", "1e999"}) {
      EXPECT_FALSE(answer_of(kind, R"({"choices":[],"output":[],"content":[],"usage":{"cost":)" +
                                       std::string(cost) + "}}")
                       .charged_usd);
    }
  }
}

TEST(Answer, IgnoresCountsThatAreNone) {
  for (const DialectKind kind : kDialects) {
    for (const char* usage :
         {"null", "[]", "{}", R"({"prompt_tokens":"x","completion_tokens":1})",
          R"({"input_tokens":-1,"output_tokens":1})", R"({"input_tokens":7})"}) {
      EXPECT_FALSE(answer_of(kind, R"({"choices":[],"output":[],"content":[],"usage":)" +
                                       std::string(usage) + "}")
                       .usage)
          << usage;
    }
  }
}

// Whatever JSON a server answers, there is an answer or a failure, and the body keeps its members.
TEST(Answer, NeverFailsOnRandomJson) {
  RandomJson random(5);
  for (int round = 0; round < 1000; ++round) {
    const std::string value = random.value(4);
    const std::string body = R"({"a":)" + value + R"(,"choices":[{"message":)" + value +
                             R"(}],"output":[)" + value + R"(],"content":[)" + value +
                             R"(],"usage":)" + value + "}";
    for (const DialectKind kind : kDialects) {
      const Answer answer = answer_of(kind, body);
      EXPECT_TRUE(answer.body.starts_with(body.substr(0, body.size() - 1))) << answer.body;
    }
  }
}

// ---- Errors of the gateway

TEST(WriteError, HasTheEnvelopeOfTheDialect) {
  const ErrorReport report{.status = 429,
                           .message = "the limit of \"alice\" is reached \xFF",
                           .code = "spending_limit",
                           .param = "max_tokens"};
  for (const DialectKind kind : {kChat, kResponses}) {
    EXPECT_EQ(
        Json::parse(dialect_of(kind).write_error(report)),
        Json::parse(
            R"({"error":{"message":"the limit of \"alice\" is reached \ufffd","type":"rate_limit_error","param":"max_tokens","code":"spending_limit"}})"));
    EXPECT_EQ(
        Json::parse(dialect_of(kind).write_error({.status = 500, .message = "x"})),
        Json::parse(R"({"error":{"message":"x","type":"api_error","param":null,"code":null}})"));
  }
  const Json messages = Json::parse(dialect_of(kMessages).write_error(report));
  EXPECT_EQ(messages["type"], "error");
  EXPECT_EQ(messages["error"]["type"], "rate_limit_error");
  EXPECT_EQ(messages["error"]["message"], "the limit of \"alice\" is reached \xEF\xBF\xBD");
}

TEST(WriteError, NamesTheTypeByTheStatus) {
  const auto type = [](DialectKind kind, int status) {
    return Json::parse(
               dialect_of(kind).write_error({.status = status, .message = "x"}))["error"]["type"]
        .get<std::string>();
  };
  EXPECT_EQ(type(kChat, 400), "invalid_request_error");
  EXPECT_EQ(type(kChat, 401), "authentication_error");
  EXPECT_EQ(type(kChat, 502), "api_error");
  EXPECT_EQ(type(kMessages, 400), "invalid_request_error");
  EXPECT_EQ(type(kMessages, 401), "authentication_error");
  EXPECT_EQ(type(kMessages, 413), "request_too_large");
  EXPECT_EQ(type(kMessages, 503), "overloaded_error");
  EXPECT_EQ(type(kMessages, 502), "api_error");
}

// ---- Names

TEST(Dialect, IsFoundByItsName) {
  for (const DialectKind kind : kDialects) {
    EXPECT_EQ(find_dialect(to_string(kind)), kind);
    EXPECT_EQ(dialect_of(kind).kind(), kind);
  }
  EXPECT_FALSE(find_dialect("Chat"));
}

}  // namespace
}  // namespace r2router::gateway
