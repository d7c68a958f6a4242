#include "llm/chat/chat_completion.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/unicode.h"

namespace r2router::llm {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const ChatRequest kRequest = {.model = "vendor/model",
                              .messages = {{"system", "Be brief."}, {"user", "Grüße \"x\"\n"}},
                              .max_tokens = 360,
                              .temperature = 0.25};

const Secret kKey("sk-0123456789");

ChatAnswer whole(std::string_view body) { return read_chat_answer(body, kKey); }
Failure error_of(int status, std::string_view body) { return read_chat_error(status, body, kKey); }

/// A whole answer with a message of this content and these members.
ChatAnswer answer_with(const Json& content, const Json& more = Json::object()) {
  Json body = {{"choices", {{{"message", {{"content", content}}}, {"finish_reason", "stop"}}}}};
  body.update(more);
  return whole(body.dump());
}

/// What a stream of these events says.
ChatAnswer stream_of(const std::vector<std::string>& events) {
  ChatAnswer answer;
  for (const std::string& event : events) read_chat_chunk("", event, answer, kKey);
  end_chat_stream(answer);
  return answer;
}

/// What a stream of one event of this name says.
ChatAnswer event_of(std::string_view name, std::string_view data) {
  ChatAnswer answer;
  read_chat_chunk(name, data, answer, kKey);
  return answer;
}

/// The event of a stream that brings this text, as JSON spells it.
std::string delta(const std::string& escaped_text, const std::string& field = "content") {
  return R"({"choices": [{"delta": {")" + field + R"(": ")" + escaped_text + R"("}}]})";
}

TEST(ChatRequest, HasTheModelTheMessagesAndAlwaysACap) {
  EXPECT_EQ(Json::parse(chat_request(kRequest, {}, "", false)), Json::parse(R"({
    "model": "vendor/model",
    "messages": [{"role": "system", "content": "Be brief."},
                 {"role": "user", "content": "Grüße \"x\"\n"}],
    "max_tokens": 360,
    "temperature": 0.25})"));
}

TEST(ChatRequest, TellsProvidersWhatTheyUnderstand) {
  ChatRequest request = kRequest;
  request.fallback_models = {"vendor/second", "vendor/third"};
  const Json body = Json::parse(chat_request(request, {.cap_field = CapField::kMaxCompletionTokens},
                                             R"({"require_parameters": true})", true));
  EXPECT_EQ(body.at("max_completion_tokens"), 360);
  EXPECT_FALSE(body.contains("max_tokens"));
  EXPECT_EQ(body.at("models"), (Json{"vendor/second", "vendor/third"}));
  EXPECT_EQ(body.at("provider"), (Json{{"require_parameters", true}}));
  EXPECT_EQ(body.at("stream"), true);
  // Without it, servers other than OpenRouter stream no usage.
  EXPECT_EQ(body.at("stream_options"), (Json{{"include_usage", true}}));
}

TEST(ChatRequest, HasWhatIsSetAndNothingElse) {
  ChatRequest request = kRequest;
  request.temperature.reset();
  EXPECT_FALSE(Json::parse(chat_request(request, {}, "", false)).contains("temperature"));
  request.temperature = 0;
  request.fallback_models = {"b"};
  const RequestForm bare{.omit = {"temperature", "stream_options", "models", "provider"}};
  const Json body = Json::parse(chat_request(request, bare, "{}", true));
  std::vector<std::string> names;
  for (const auto& [name, value] : body.items()) names.push_back(name);
  EXPECT_THAT(names, ::testing::ElementsAre("max_tokens", "messages", "model", "stream"));
}

TEST(ChatRequest, HasWhatTheModelRequires) {
  ChatRequest request = kRequest;
  request.extra = R"({"temperature": 1, "reasoning": {"effort": "low"}})";
  const Json body = Json::parse(chat_request(request, {}, "", false));
  EXPECT_EQ(body.at("temperature"), 1) << "in place of the caller's";
  EXPECT_EQ(body.at("reasoning"), (Json{{"effort", "low"}}));
  for (const char* bad : {"[]", "{", R"({"max_tokens": 1})", R"({"n": 2})", R"({"messages": []})",
                          R"({"tools": []})", R"({"stream": true})"}) {
    request.extra = bad;
    EXPECT_THROW(chat_request(request, {}, "", false), Error) << bad;
  }
}

TEST(ChatAnswer, HoldsWhatTheServerSays) {
  const ChatAnswer answer = whole(R"({
    "id": "x", "model": "vendor/model-0806",
    "choices": [{"index": 0, "finish_reason": "length",
                 "message": {"role": "assistant", "content": "x = 4", "reasoning": "Subtract."}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 90, "total_tokens": 101, "cost": 0.0125,
              "cost_details": {"upstream_inference_cost": 7},
              "completion_tokens_details": {"reasoning_tokens": 80}}})");
  EXPECT_FALSE(answer.failure);
  EXPECT_EQ(answer.text, "x = 4");
  EXPECT_EQ(answer.reasoning, "Subtract.");
  EXPECT_EQ(answer.model, "vendor/model-0806");
  EXPECT_EQ(answer.finish_reason, "length");
  EXPECT_EQ(answer.usage, (Usage{11, 90, 80}));
  EXPECT_EQ(answer.cost_usd, 0.0125);
}

TEST(ChatAnswer, TakesTheFormsInWhichServersDiffer) {
  EXPECT_EQ(answer_with(nullptr).text, "");
  EXPECT_EQ(answer_with(Json::parse(R"([{"type": "text", "text": "a"}, {"type": "image"},
                                        {"type": "text", "text": "b"}])"))
                .text,
            "ab");
  EXPECT_FALSE(answer_with("a").usage);
  EXPECT_FALSE(answer_with("a", {{"usage", nullptr}}).usage);
  EXPECT_FALSE(answer_with("a", {{"error", nullptr}}).failure);
  EXPECT_EQ(answer_with("a", {{"usage", {{"prompt_tokens", 1.0}, {"completion_tokens", 2}}}}).usage,
            (Usage{1, 2, 0}));
  EXPECT_EQ(
      answer_with("a", {{"usage", {{"prompt_tokens", "1"}, {"completion_tokens", " 2 "}}}}).usage,
      (Usage{1, 2, 0}));
  // An invalid count or charge is ignored, so the worst case is assumed.
  for (const Json& wrong :
       {Json(-1), Json("twelve"), Json("12x"), Json("-1"), Json(1e300), Json::array()}) {
    EXPECT_FALSE(
        answer_with("a", {{"usage", {{"prompt_tokens", 1}, {"completion_tokens", wrong}}}}).usage)
        << wrong;
  }
  EXPECT_FALSE(answer_with("a", {{"usage", {{"cost", -0.5}}}}).cost_usd);
  EXPECT_EQ(answer_with("a", {{"usage", {{"cost", "0.5"}}}}).cost_usd, 0.5);
  EXPECT_FALSE(answer_with("a", {{"usage", {{"cost", "1e999"}}}}).cost_usd);
}

TEST(ChatAnswer, PartsReasoningAndRefusalFromTheText) {
  const auto message_of = [](const std::string& message) {
    const ChatAnswer answer = whole(R"({"choices": [{"message": )" + message + "}]}");
    EXPECT_FALSE(answer.failure) << message;
    return answer;
  };
  for (
      const std::string message :
      {R"({"content": "a", "reasoning_content": "why", "reasoning": "wh"})",
       R"({"content": "a", "reasoning_content": null, "reasoning": "why"})",
       R"({"content": "a", "thinking": "why"})",
       R"({"content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "w"},
                                                  {"type": "reasoning.summary", "summary": "hy"},
                                                  {"type": "reasoning.encrypted", "data": "x"}]})",
       R"({"content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "a"}]})",
       R"({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, "a"]})",
       R"({"content": [{"type": "reasoning", "text": "why"}, {"type": "text", "text": "a"}]})"}) {
    EXPECT_EQ(message_of(message).text, "a") << message;
    EXPECT_EQ(message_of(message).reasoning, "why") << message;
  }
  for (const std::string message : {R"({"content": null, "refusal": "No."})",
                                    R"({"content": [{"type": "refusal", "refusal": "No."}]})"}) {
    EXPECT_EQ(message_of(message).text, "") << message;
    EXPECT_EQ(message_of(message).refusal, "No.") << message;
    EXPECT_FALSE(message_of(message).has_other_content) << message;
  }
  EXPECT_EQ(message_of(R"({"content": "a", "refusal": null})").refusal, "");
}

TEST(ChatAnswer, KnowsWhatIsNoTextButAnAnswer) {
  const auto has_other = [](const std::string& message) {
    return whole(R"({"choices": [{"message": )" + message + "}]}").has_other_content;
  };
  EXPECT_TRUE(has_other(R"({"content": null, "tool_calls": [{"id": "c"}]})"));
  EXPECT_TRUE(has_other(R"({"function_call": {"name": "f"}})"));
  EXPECT_TRUE(has_other(R"({"content": "", "images": [{"image_url": {}}]})"));
  EXPECT_TRUE(has_other(R"({"audio": {"id": "a"}})"));
  EXPECT_TRUE(has_other(R"({"content": [{"type": "image_url", "image_url": {}}]})"));
  EXPECT_FALSE(has_other(R"({"content": null, "tool_calls": [], "function_call": null})"));
  EXPECT_FALSE(has_other(R"({"content": [], "images": {}, "audio": null})"));
}

TEST(ChatAnswer, MayBeEmptyWithoutAFailureToRead) {
  for (const std::string body : {R"({"choices": null})", R"({"choices": []})",
                                 R"({"id": null, "choices": null})", R"([{"choices": []}])"}) {
    EXPECT_FALSE(whole(body).failure) << body;
    EXPECT_FALSE(whole(body).has_choice) << body;
  }
  for (const std::string body :
       {R"({"choices": [{"message": null}]})", R"({"choices": [{"finish_reason": "safety"}]})",
        R"({"choices": [{"message": {"content": null}}]})",
        R"({"choices": [{"message": {}, "finish_reason": "stop"}]})"}) {
    EXPECT_FALSE(whole(body).failure) << body;
    EXPECT_TRUE(whole(body).has_choice) << body;
    EXPECT_EQ(whole(body).text, "") << body;
  }
}

TEST(ChatAnswer, TakesJsonAsPythonWritesIt) {
  const ChatAnswer answer = whole(
      R"({"choices": [{"message": {"content": "NaN \" Infinity"}, "logprobs": [NaN, -Infinity, -1,
          Infinity]}]})");
  EXPECT_FALSE(answer.failure);
  EXPECT_EQ(answer.text, "NaN \" Infinity");
}

TEST(ChatAnswer, IsNoFailureForAnErrorThatSaysNothing) {
  for (const char* nothing : {"null", "\"\"", "\" \"", "{}", "false", "[]", "0",
                              R"({"message": "", "code": null})", R"([null, {}])"}) {
    const Json error = Json::parse(nothing);
    EXPECT_FALSE(answer_with("a", {{"error", error}}).failure) << nothing;
    const ChatAnswer streamed = stream_of({Json{
        {"choices", {{{"delta", {{"content", "a"}}}, {"error", error}}}},
        {"error", error}}.dump()});
    EXPECT_FALSE(streamed.failure) << nothing;
    EXPECT_EQ(streamed.text, "a");
    EXPECT_EQ(whole(Json{{"error", error}}.dump()).failure.value().code, ErrorCode::kBadResponse);
  }
  EXPECT_TRUE(answer_with("a", {{"error", true}}).failure);
  EXPECT_THAT(whole(R"({"error": true, "message": "no \"x\"", "choices": null})").failure->message,
              HasSubstr(R"("no \"x\"")"));
}

TEST(ChatAnswer, IsAFailureWhereItCannotBeRead) {
  for (const std::string body :
       {"", "<html>Bad gateway</html>", "{\"choices\": [", "[]", "7", "{}", "[{}, {}]",
        R"({"choices": [{}]})", R"({"choices": {"message": {"content": "a"}}})",
        R"({"choices": [{"message": {"content": 7}}]})",
        R"({"choices": [{"message": {"content": "a"}}]} trailing)",
        R"({"choices": [{"message": "a"}], "choices": 0})"}) {
    const ChatAnswer answer = whole(body);
    ASSERT_TRUE(answer.failure) << body;
    EXPECT_EQ(answer.failure->code, ErrorCode::kBadResponse) << body;
  }
  EXPECT_THAT(whole("<html>").failure->message, HasSubstr("\"<html>\""));
}

TEST(ChatAnswer, IsBoundedInDepthAndNumberOfValues) {
  const std::string deep(1'000'000, '[');
  EXPECT_EQ(whole(deep).failure->code, ErrorCode::kBadResponse);
  std::string many = R"({"choices": [{"message": {"content": "a"}}], "x": [0)";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  EXPECT_EQ(whole(many + "]}").failure->code, ErrorCode::kBadResponse);
}

TEST(ChatAnswer, IsValidUtf8Whatever) {
  const std::string before = R"({"choices": [{"message": {"content": ")", after = "\"}}]}";
  for (const auto& [said, read] : std::vector<std::pair<std::string, std::string>>{
           {"a\xFFz", "a\uFFFDz"},
           {"a\xE2\x82", "a\uFFFD\uFFFD"},
           {R"(a\ud83dz)", "a\uFFFDz"},
           {R"(\ude00)", "\uFFFD"},
           {R"(\ud83d\ud83d\ude00)", "\uFFFD\U0001F600"},
           {R"(\\ud83d)", "\\ud83d"},
           {R"(\u00fc\"\\)", "ü\"\\"},
           {"\uFFFD", "\uFFFD"}}) {
    const ChatAnswer answer = whole(before + said + after);
    EXPECT_FALSE(answer.failure) << said;
    EXPECT_EQ(answer.text, read) << said;
  }
  EXPECT_TRUE(whole(before + "\\").failure);
  EXPECT_TRUE(whole(before + R"(\u12)").failure);
}

TEST(ChatAnswer, MayBeAnErrorUnderStatus200) {
  const auto failure_of = [](const Json& error) {
    return whole(Json{{"error", error}}.dump()).failure.value();
  };
  const Failure limited = failure_of({{"code", 429}, {"message", "Slow \"down\""}});
  EXPECT_EQ(limited.code, ErrorCode::kRateLimited);
  EXPECT_EQ(limited.http_status, 429);
  EXPECT_THAT(limited.message, HasSubstr(R"(error 429: "Slow \"down\"")"));
  EXPECT_EQ(failure_of({{"code", "402"}, {"message", "m"}}).code, ErrorCode::kCredit);
  for (const Json& error : {Json{{"code", "server_error"}, {"message", "m"}}, Json("m"),
                            Json{{"message", "m"}}, Json{{"code", -5}}, Json{{"code", 1e300}}}) {
    EXPECT_EQ(failure_of(error).code, ErrorCode::kServer) << error;
    EXPECT_EQ(failure_of(error).http_status, 0) << error;
  }
  // Reports that are not in "error".
  for (const std::string body :
       {R"({"object": "error", "message": "words", "code": 429})",
        R"({"detail": [{"msg": "words", "code": 429}]})", R"([{"error": {"message": "words",
        "code": 429}}])",
        R"({"errors": [{"message": "words", "code": 429}], "result": null})"}) {
    EXPECT_EQ(whole(body).failure.value().code, ErrorCode::kRateLimited) << body;
    EXPECT_THAT(whole(body).failure->message, HasSubstr("\"words\"")) << body;
  }
  const ChatAnswer partial = whole(R"({"choices": [{"message": {"content": "Half of"},
      "finish_reason": "error", "error": {"code": 502, "message": "Provider gone"}}]})");
  EXPECT_EQ(partial.text, "Half of");
  EXPECT_EQ(partial.failure.value().http_status, 502);
}

TEST(ChatError, QuotesTheServerAndSaysWhatToDo) {
  const auto with = [](int status, const std::string& message) {
    return error_of(status, Json{{"error", {{"message", message}}}}.dump());
  };
  EXPECT_EQ(
      with(401, "No auth credentials found"),
      (Failure{.code = ErrorCode::kAuthentication,
               .http_status = 401,
               .message = "the server reports error 401: \"No auth credentials found\"; set a "
                          "key that it accepts, for example in OPENROUTER_API_KEY"}));
  EXPECT_EQ(with(402, "").code, ErrorCode::kCredit);
  EXPECT_THAT(with(402, "").message, HasSubstr("add credit"));
  EXPECT_EQ(error_of(503, "").message, "the server reports error 503");
  EXPECT_EQ(error_of(502, "<html>\xFF</html>").message,
            "the server reports error 502: \"\\ufffd\"");
  EXPECT_EQ(error_of(500, "").code, ErrorCode::kServer);
  // As other servers put it.
  for (const std::string body :
       {R"({"error": "words"})", R"({"object": "error", "message": "words"})",
        R"({"detail": "words"})",
        R"({"error": {"metadata": {"raw": "words", "provider_name": "P"}}})"}) {
    EXPECT_EQ(error_of(422, body).message, "the server reports error 422: \"words\"");
  }
  EXPECT_LT(with(500, std::string(1'000'000, 'x')).message.size(), 600U);
}

TEST(ChatError, HoldsNoPartOfTheKey) {
  // Wherever the server's words are cut.
  for (std::size_t before = 0; before < 500; ++before) {
    const std::string words = kKey.reveal() + std::string(before, 'x') + kKey.reveal();
    for (const Failure& failure :
         {error_of(401, words), error_of(401, Json{{"error", words}}.dump()),
          whole(words).failure.value(), whole(Json(words).dump()).failure.value(),
          stream_of({words}).failure.value()}) {
      ASSERT_THAT(failure.message, ::testing::Not(HasSubstr("sk-"))) << before;
    }
  }
}

TEST(ChatError, TellsAnUnknownModelFromAFaultyRequest) {
  const auto code_of = [](int status, const std::string& message) {
    return error_of(status, Json{{"error", {{"message", message}}}}.dump()).code;
  };
  EXPECT_EQ(code_of(404, "whatever"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(400, "a/b is not a valid model ID"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(400, "The model `a` does not exist"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(400, "'max_tokens' is not supported with this model"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(400, "This model's maximum context length is 8192"), ErrorCode::kTooLong);
  EXPECT_EQ(code_of(422, "temperature: must be a number"), ErrorCode::kRefused);
  EXPECT_EQ(code_of(500, "model not found"), ErrorCode::kServer);
}

TEST(ChatChunk, AddsUpToTheAnswer) {
  const ChatAnswer answer = stream_of(
      {R"({"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})",
       R"({"choices": [{"index": 0, "delta": {"content": "Half"}, "finish_reason": null}]})",
       R"({"choices": [{"index": 0, "delta": {"reasoning": "hm", "content": null}}]})",
       R"({"choices": [{"index": 0, "delta": {"content": " and half"}}], "usage": null})",
       R"({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})",
       R"({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.5}})",
       "[DONE]", "ignored"});
  EXPECT_FALSE(answer.failure);
  EXPECT_EQ(answer.text, "Half and half");
  EXPECT_EQ(answer.model, "m");
  EXPECT_EQ(answer.finish_reason, "stop");
  EXPECT_EQ(answer.usage, (Usage{3, 4, 0}));
  EXPECT_EQ(answer.cost_usd, 0.5);
  EXPECT_TRUE(answer.done);
}

TEST(ChatChunk, AnErrorEndsTheAnswerAndKeepsWhatCameBefore) {
  for (const std::string code : {"502", "\"502\""}) {
    const ChatAnswer answer =
        stream_of({R"({"choices": [{"delta": {"content": "Half"}}]})",
                   R"({"error": {"code": )" + code + R"(, "message": "Provider disconnected"},
             "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]})",
                   R"({"choices": [{"delta": {"content": " more"}, "finish_reason": "stop"}]})"});
    EXPECT_EQ(answer.text, "Half");
    EXPECT_EQ(answer.failure.value().http_status, 502);
    EXPECT_EQ(answer.failure->code, ErrorCode::kServer);
    EXPECT_THAT(answer.failure->message, HasSubstr("Provider disconnected"));
  }
  EXPECT_EQ(
      stream_of({R"({"choices": [{"delta": {}, "finish_reason": "error"}]})"}).failure.value().code,
      ErrorCode::kServer);
  EXPECT_EQ(stream_of({"nonsense"}).failure.value().code, ErrorCode::kBadResponse);
  EXPECT_EQ(stream_of({R"({"choices": [{"del)"}).failure.value().code, ErrorCode::kBadResponse);
  EXPECT_EQ(stream_of({R"({"choices": [{"delta": {"content": 7}}]})"}).failure.value().code,
            ErrorCode::kBadResponse);
}

TEST(ChatChunk, IgnoresWhatKeepsAConnectionOpen) {
  ChatAnswer answer;
  for (const auto& [name, data] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"", " "},
           {"", "null"},
           {"", "{}"},
           {"", "[]"},
           {"", "7"},
           {"", "\"ping\""},
           {"", "ping"},
           {"", "Keep-Alive"},
           {"", "heartbeat"},
           {"ping", "2026-01-01T00:00:00Z"},
           {"ping", "{\"type\": \"ping\"}"},
           {"ping", ""},
           {"something-new", "any text"},
           {"something-new", "{\"a\": 1}"},
           {"", R"({"choices": null, "usage": null})"},
           {"", R"({"choices": [{"index": 0, "delta": null}]})"},
           {"", R"({"type": "ping", "message": "still here"})"}}) {
    read_chat_chunk(name, data, answer, kKey);
    EXPECT_FALSE(answer.failure || answer.done) << name << ": " << data;
    EXPECT_EQ(answer.text, "");
  }
  read_chat_chunk("completion", delta("Paris"), answer, kKey);
  EXPECT_EQ(answer.text, "Paris") << "an event may have any name";
}

TEST(ChatChunk, KnowsTheEndHoweverItIsSpelt) {
  for (const char* end :
       {"[DONE]", "[DONE] ", " [DONE]\n", "\"[DONE]\"", "[done]", "DONE", "done"}) {
    EXPECT_TRUE(stream_of({end}).done) << end;
    EXPECT_FALSE(stream_of({end}).failure) << end;
  }
  EXPECT_TRUE(event_of("done", "bye").done);
  EXPECT_FALSE(stream_of({delta("[DONE]")}).done);
}

TEST(ChatChunk, ReadsAnEventThatIsAnError) {
  for (const char* data : {R"({"code": 500, "message": "words"})", R"({"error": {"code": 500,
                           "message": "words"}})"}) {
    const ChatAnswer answer = event_of("error", data);
    EXPECT_EQ(answer.failure.value().http_status, 500) << data;
    EXPECT_THAT(answer.failure->message, HasSubstr("\"words\"")) << data;
  }
  EXPECT_THAT(event_of("error", "plain words").failure.value().message,
              HasSubstr("\"plain words\""));
  EXPECT_THAT(event_of("", R"({"type": "error", "error": {"type": "overloaded_error",
                                "message": "Overloaded"}})")
                  .failure.value()
                  .message,
              HasSubstr("\"Overloaded\""));
  EXPECT_THAT(event_of("", R"({"object": "error", "message": "words"})").failure.value().message,
              HasSubstr("\"words\""));
}

TEST(ChatChunk, TakesAWholeMessageInPlaceOfAPiece) {
  const std::string message =
      R"({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]})";
  EXPECT_EQ(stream_of({message}).text, "Paris.");
  EXPECT_EQ(stream_of({delta("Par"), delta("is."), message}).text, "Paris.");
  EXPECT_EQ(stream_of({R"([{"choices": [{"delta": {"content": "Paris."}}]}])"}).text, "Paris.");
}

TEST(ChatChunk, ReadsOneChoice) {
  const auto choice = [](int index, const char* text) {
    return Json{{"choices", {{{"index", index}, {"delta", {{"content", text}}}}}}}.dump();
  };
  EXPECT_EQ(stream_of({choice(0, "a"), choice(1, "x"), delta("b"), choice(0, "c")}).text, "abc");
  EXPECT_EQ(stream_of({choice(1, "a"), choice(0, "x"), choice(1, "b")}).text, "ab");
}

TEST(ChatChunk, AddsUpReasoningAndRefusal) {
  ChatAnswer answer = stream_of({delta("hm", "reasoning_content"), delta(", so", "reasoning"),
                                 delta("Par"), delta("is."), delta(".", "thinking")});
  EXPECT_EQ(answer.text, "Paris.");
  EXPECT_EQ(answer.reasoning, "hm, so.");
  answer = stream_of({delta("I can't", "refusal"), delta(" help.", "refusal")});
  EXPECT_EQ(answer.refusal, "I can't help.");
  EXPECT_TRUE(
      stream_of({R"({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]})"}).has_other_content);
  EXPECT_EQ(stream_of({delta("a"), R"({"choices": [{"delta": {}, "finish_reason": "null"}]})"})
                .finish_reason,
            "");
}

TEST(ChatChunk, JoinsACharacterThatIsCut) {
  const auto text_of = [](const std::vector<std::string>& pieces) {
    std::vector<std::string> events;
    for (const std::string& piece : pieces) {
      // As some servers do, the text is there a second time.
      events.push_back(R"({"choices": [{"delta": {"content": ")" + piece +
                       R"("}, "logprobs": {"token": ")" + piece + R"("}}]})");
      events.push_back("{}");
    }
    const ChatAnswer answer = stream_of(events);
    EXPECT_FALSE(answer.failure);
    EXPECT_TRUE(is_utf8(answer.text));
    return answer.text;
  };
  EXPECT_EQ(text_of({R"(Hi \ud83d)", R"(\ude00!)"}), "Hi \U0001F600!");
  EXPECT_EQ(text_of({R"(Hi \uD83D)", "", "", R"(\uDE00)"}), "Hi \U0001F600");
  EXPECT_EQ(text_of({R"(\ud83d)", R"(\udc68\u200d\ud83d)", R"(\udc69)"}),
            "\U0001F468\u200D\U0001F469");
  EXPECT_EQ(text_of({"Hi \xF0\x9F", "\x98\x80!"}), "Hi \U0001F600!");
  EXPECT_EQ(text_of({"\xF0", "\x9F", "\x98", "\x80 \xC3", "\xB6"}), "\U0001F600 ö");
  EXPECT_EQ(text_of({"\xE2\x82", "\xAC"}), "€");
  // Where the rest does not come, U+FFFD replaces it, as in a whole answer.
  EXPECT_EQ(text_of({R"(Hi \ud83d)"}), "Hi \uFFFD");
  EXPECT_EQ(text_of({R"(Hi \ud83d)", "x"}), "Hi \uFFFDx");
  EXPECT_EQ(text_of({R"(\ude00)", R"(\ud83d)", R"(\ud83d)", R"(\ude00)"}),
            "\uFFFD\uFFFD\U0001F600");
  EXPECT_EQ(text_of({"\xF0\x9F", "x"}), "\uFFFDx");
  EXPECT_EQ(text_of({"\x80", "\xFF", "a\xC3\xB6"}), "\uFFFD\uFFFDaö");
  // The text and the reasoning are not joined to each other.
  ChatAnswer answer =
      stream_of({delta(R"(a\ud83d)", "reasoning"), delta("b"), delta(R"(\ude00)", "reasoning")});
  EXPECT_EQ(answer.text, "b");
  EXPECT_EQ(answer.reasoning, "a\U0001F600");
}

}  // namespace
}  // namespace r2router::llm
