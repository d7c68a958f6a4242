#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/llm/client.h"

#include "base/unicode.h"
#include "support/chat.h"
#include "support/errors.h"
#include "support/fault_server.h"

namespace r2router::llm {
namespace {

using testing::answer;
using testing::chat_answer;
using testing::chat_endpoint;
using testing::chat_event;
using ::testing::ElementsAre;
using testing::expect_error;
using testing::expect_sound;
using testing::FaultServer;
using testing::finish_event;
using ::testing::HasSubstr;
using testing::kChatKey;
using testing::kClose;
using testing::kReset;
using testing::kStall;
using testing::send_stream;
using testing::service;
using testing::text_event;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

FaultServer& server() { return FaultServer::instance(); }

const ChatRequest kRequest = {
    .model = "vendor/model", .messages = {{"user", "What is x?"}}, .max_tokens = 100};

struct CallSettings {
  bool streamed = false;
  double seconds = 30;
  std::stop_token cancel = {};
  std::uint32_t max_charges = UINT32_MAX;
};

/// Asks, and checks what holds of every completion.
Completion ask(const Endpoint& endpoint, const CallSettings& settings = {},
               const ChatRequest& request = kRequest, const OpenAiClientOptions& options = {}) {
  std::string streamed;
  CallOptions call{.deadline = Clock::now() +
                               std::chrono::milliseconds(static_cast<int>(settings.seconds * 1000)),
                   .cancel = settings.cancel,
                   .max_charges = settings.max_charges};
  if (settings.streamed) {
    call.on_text = [&](std::string_view piece) {
      EXPECT_FALSE(piece.empty());
      EXPECT_TRUE(is_utf8(piece)) << piece;
      streamed += piece;
    };
  }
  const Completion completion = make_openai_client(endpoint, options)->complete(request, call);
  expect_sound(completion);
  if (settings.streamed) {
    EXPECT_EQ(streamed, completion.text);
    EXPECT_EQ(completion.first_text_seconds.has_value(), !streamed.empty());
  }
  return completion;
}

/// The first failed attempts' status or, without one, their error; then "ok" or the last failure.
std::vector<std::string> outcomes(const Completion& completion) {
  std::vector<std::string> outcomes;
  for (const Attempt& attempt : completion.attempts) {
    outcomes.push_back(!attempt.error             ? "ok"
                       : attempt.http_status == 0 ? std::string(to_string(*attempt.error))
                                                  : std::to_string(attempt.http_status));
  }
  return outcomes;
}

ErrorCode code_of(const Completion& completion) {
  EXPECT_TRUE(completion.failure);
  return completion.failure ? completion.failure->code : ErrorCode::kUnsupported;
}

TEST(OpenAiClient, AsksAsTheProtocolSays) {
  const std::string url = server().script({{service({{"key", kChatKey}})}});
  Endpoint endpoint = chat_endpoint(url + "/api/v1/");
  endpoint.headers = {{"HTTP-Referer", "https://example.org"}};
  for (const bool streamed : {false, true}) {
    const Completion completion = ask(endpoint, {.streamed = streamed});
    EXPECT_TRUE(completion.ok());
    EXPECT_EQ(completion.text, "An answer to: What is x?");
    EXPECT_EQ(completion.requested_model, "vendor/model");
    EXPECT_EQ(completion.served_model, "vendor/model");
    EXPECT_FALSE(completion.redirected);
    EXPECT_EQ(completion.finish_reason, "stop");
    EXPECT_EQ(completion.usage, (Usage{18, 7, 0}));
    EXPECT_FALSE(completion.charged_usd);
    EXPECT_FALSE(completion.truncated || completion.over_cap || completion.empty_after_reasoning);
    EXPECT_THAT(outcomes(completion), ElementsAre("ok"));
    EXPECT_EQ(completion.attempts[0].http_status, 200);
    EXPECT_EQ(completion.attempts[0].model, "vendor/model");
    EXPECT_EQ(completion.attempts[0].max_tokens, 100U);
    const testing::SeenRequest seen = server().requests(url).back();
    EXPECT_EQ(seen.method, "POST");
    EXPECT_THAT(seen.path, ::testing::EndsWith("/api/v1/chat/completions"));
    EXPECT_EQ(seen.header("authorization"), "Bearer " + kChatKey);
    EXPECT_EQ(seen.header("content-type"), "application/json");
    EXPECT_EQ(seen.header("http-referer"), "https://example.org");
    EXPECT_EQ(seen.json().at("max_tokens"), 100);
    EXPECT_FALSE(seen.json().contains("temperature")) << "nobody has set one";
    EXPECT_EQ(seen.json().value("stream", false), streamed);
    EXPECT_FALSE(seen.json().contains("provider"));
  }
}

TEST(OpenAiClient, SendsTheCapAndTheProviderPreferencesAsAskedFor) {
  const std::string url = server().script({{service()}});
  ask(chat_endpoint(url), {}, kRequest,
      {.cap_field = CapField::kMaxCompletionTokens, .provider = R"({"sort": "price"})"});
  const Json body = server().requests(url).back().json();
  EXPECT_EQ(body.at("max_completion_tokens"), 100);
  EXPECT_FALSE(body.contains("max_tokens"));
  EXPECT_EQ(body.at("provider"), (Json{{"sort", "price"}}));
}

TEST(OpenAiClient, KnowsWhichServersTakeWhichFields) {
  // A proxy replaces the servers. It receives the request's target.
  const auto body_for = [](const std::string& base_url, const std::string& provider = "") {
    const std::string path = server().path({{service()}});
    Endpoint endpoint = chat_endpoint(base_url + path);
    endpoint.proxy = "http://127.0.0.1:" + server().port();
    ask(endpoint, {}, kRequest, {.provider = provider});
    return server().requests(path).at(0).json();
  };
  const Json openrouter = body_for("http://openrouter.ai");
  EXPECT_EQ(openrouter.at("max_completion_tokens"), 100);
  EXPECT_EQ(openrouter.at("provider"), (Json{{"require_parameters", true}}));
  // Another preference must not lose the one that keeps the cap.
  EXPECT_EQ(body_for("http://openrouter.ai", R"({"sort": "price"})").at("provider"),
            (Json{{"sort", "price"}, {"require_parameters", true}}));
  EXPECT_EQ(body_for("http://openrouter.ai", R"({"require_parameters": false})").at("provider"),
            (Json{{"require_parameters", false}}));
  const Json openai = body_for("http://API.OpenAI.com:80");
  EXPECT_EQ(openai.at("max_completion_tokens"), 100);
  EXPECT_FALSE(openai.contains("provider"));
  const Json other = body_for("http://notopenrouter.ai");
  EXPECT_EQ(other.at("max_tokens"), 100);
  EXPECT_FALSE(other.contains("provider"));
}

TEST(OpenAiClient, TellsWhatBecameOfTheCap) {
  for (const bool streamed : {false, true}) {
    const auto with = [&](const Json& settings) {
      return ask(chat_endpoint(server().script({{service(settings)}})), {.streamed = streamed});
    };
    const Completion truncated = with({{"tokens", "all"}});
    EXPECT_TRUE(truncated.ok());
    EXPECT_TRUE(truncated.truncated);
    EXPECT_EQ(truncated.usage->completion_tokens, 100);

    const Completion eaten = with({{"tokens", "all"}, {"reasoning", 100}});
    EXPECT_EQ(code_of(eaten), ErrorCode::kBudget);
    EXPECT_TRUE(eaten.empty_after_reasoning);
    EXPECT_THAT(eaten.failure->message, HasSubstr("cap of 100 tokens"));
    EXPECT_EQ(eaten.usage->reasoning_tokens, 100);
    EXPECT_THAT(outcomes(eaten), ElementsAre("200"));

    const Completion redirected = with({{"served_model", "vendor/model-2024-08-06"}});
    EXPECT_TRUE(redirected.ok());
    EXPECT_TRUE(redirected.redirected);
    EXPECT_EQ(redirected.served_model, "vendor/model-2024-08-06");

    const Completion charged = with({{"prices", {{"vendor/model", {1.0, 2.0}}}}});
    EXPECT_DOUBLE_EQ(charged.charged_usd.value(), (18 * 1.0 + 7 * 2.0) / 1e6);
    EXPECT_EQ(charged.attempts[0].cost_usd, charged.charged_usd);
  }
  Json over = chat_answer("x = 4");
  over["usage"]["completion_tokens"] = 101;
  EXPECT_TRUE(ask(chat_endpoint(server().script({{answer(200, over)}}))).over_cap);
}

TEST(OpenAiClient, KnowsWhenTheCapCutTheAnswerOff) {
  const auto truncated = [](const std::string& reason, int tokens) {
    Json body = chat_answer("x = 4", reason);
    body["usage"]["completion_tokens"] = tokens;
    return ask(chat_endpoint(server().script({{answer(200, body)}}))).truncated;
  };
  for (const char* reason : {"length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length",
                             "max_output_tokens", "FINISH_REASON_MAX_TOKENS", "token_limit"}) {
    EXPECT_TRUE(truncated(reason, 3)) << reason;
  }
  for (const char* reason : {"stop", "eos", "end_turn", "tool_calls", "content_filter"}) {
    EXPECT_FALSE(truncated(reason, 99)) << reason;
  }
  EXPECT_TRUE(truncated("stop", 100)) << "as long as the cap";
  EXPECT_FALSE(truncated("stop", 101)) << "not cut off: the server ignores the cap";
}

/// A whole answer with this message, and the same in the events of a stream.
std::pair<Json, Json> both_ways(const Json& message, const std::string& reason = "stop") {
  const Json choice = {{"message", message}, {"finish_reason", reason}};
  const Json usage = {{"prompt_tokens", 5}, {"completion_tokens", 3}};
  const Json body = {{"choices", {choice}}, {"usage", usage}};
  const std::string events =
      chat_event({{"choices", {{{"delta", message}}}}}) + finish_event(reason) +
      chat_event({{"choices", Json::array()}, {"usage", usage}}) + "data: [DONE]\n\n";
  return {Json::array({answer(200, body)}), {send_stream(events), kClose}};
}

TEST(OpenAiClient, TakesAnAnswerWithoutTextForAFailure) {
  struct Case {
    Json message;
    std::string reason, part, reasoning = {}, refusal = {};
  };
  const std::vector<Case> cases = {
      {{{"content", ""}}, "stop", "the model's answer is empty"},
      {{{"content", nullptr}}, "stop", "the model's answer is empty"},
      {{{"content", " \n\t "}}, "stop", "the model's answer is empty"},
      {{{"content", "\u00A0"}}, "stop", "the model's answer is empty"},
      {{{"content", Json::array()}}, "stop", "the model's answer is empty"},
      {{{"content", nullptr}, {"tool_calls", Json::array()}},
       "stop",
       "the model's answer is empty"},
      {{{"content", nullptr}, {"reasoning_content", "Paris?"}},
       "stop",
       "after the reasoning",
       "Paris?"},
      {{{"content", "\n"}, {"reasoning", "Paris?"}}, "stop", "after the reasoning", "Paris?"},
      {{{"content", nullptr}, {"refusal", "I can't help."}},
       "stop",
       "the model refused to answer: \"I can't help.\"",
       "",
       "I can't help."},
      {{{"content", ""}}, "content_filter", "a content filter withheld the answer"},
      {{{"content", ""}}, "SAFETY", "a content filter withheld the answer"},
      {{{"content", ""}}, "refusal", "the model refused to answer"},
  };
  for (const Case& c : cases) {
    const auto [body, events] = both_ways(c.message, c.reason);
    for (const bool streamed : {false, true}) {
      const Completion completion =
          ask(chat_endpoint(server().script(Json::array({streamed ? events : body}))),
              {.streamed = streamed});
      EXPECT_EQ(code_of(completion), ErrorCode::kNoAnswer) << c.message;
      EXPECT_THAT(completion.failure->message, HasSubstr(c.part));
      EXPECT_THAT(completion.failure->message, HasSubstr(c.reason));
      EXPECT_EQ(completion.text, "");
      EXPECT_EQ(completion.reasoning, c.reasoning);
      EXPECT_EQ(completion.refusal, c.refusal);
      EXPECT_FALSE(completion.empty_after_reasoning);
      EXPECT_EQ(completion.usage, (Usage{5, 3, 0})) << "what it cost is known";
      EXPECT_THAT(outcomes(completion), ElementsAre("200")) << "not tried again";
    }
  }
  // The cap explains it.
  const auto [body, events] = both_ways({{"content", nullptr}, {"reasoning", "hm"}}, "MAX_TOKENS");
  for (const Json& steps : {body, events}) {
    const Completion spent =
        ask(chat_endpoint(server().script(Json::array({steps}))), {.streamed = steps == events});
    EXPECT_EQ(code_of(spent), ErrorCode::kBudget);
    EXPECT_THAT(spent.failure->message, HasSubstr("cut the answer off after 3 tokens"));
    EXPECT_TRUE(spent.empty_after_reasoning);
    EXPECT_EQ(spent.reasoning, "hm");
  }
  for (const Json& nothing : {Json{{"choices", nullptr}}, Json{{"choices", Json::array()}}}) {
    const std::string url = server().script({{answer(200, nothing)}});
    EXPECT_EQ(code_of(ask(chat_endpoint(url))), ErrorCode::kNoAnswer);
    EXPECT_EQ(code_of(ask(chat_endpoint(url), {.streamed = true})), ErrorCode::kNoAnswer);
  }
  const std::string done = server().script({{send_stream("data: [DONE]\n\n"), kClose}});
  EXPECT_EQ(code_of(ask(chat_endpoint(done), {.streamed = true})), ErrorCode::kNoAnswer);
}

TEST(OpenAiClient, TakesToolCallsAndTextBesideARefusalForAnAnswer) {
  const Json call = {{"id", "c"}, {"type", "function"}, {"function", {{"name", "f"}}}};
  for (const auto& [message, reason, text] :
       std::vector<std::tuple<Json, std::string, std::string>>{
           {{{"content", nullptr}, {"tool_calls", {call}}}, "tool_calls", ""},
           {{{"content", "\n"}, {"tool_calls", {call}}}, "tool_calls", ""},
           {{{"content", ""}, {"images", {{{"image_url", {{"url", "data:"}}}}}}}, "stop", ""},
           {{{"content", "No."}, {"refusal", "No."}}, "stop", "No."},
           {{{"content", "Half"}}, "content_filter", "Half"}}) {
    const auto [body, events] = both_ways(message, reason);
    for (const bool streamed : {false, true}) {
      const Completion completion =
          ask(chat_endpoint(server().script(Json::array({streamed ? events : body}))),
              {.streamed = streamed});
      EXPECT_TRUE(completion.ok()) << message;
      EXPECT_EQ(completion.text, text);
      EXPECT_EQ(completion.finish_reason, reason);
    }
  }
}

TEST(OpenAiClient, PartsThoughtsFromTheTextIfAsked) {
  const auto [body, events] = both_ways({{"content", "<think>\nhm\n</think>\n\nParis."}});
  for (const bool streamed : {false, true}) {
    ChatRequest request = kRequest;
    const std::string url = server().script(Json::array({streamed ? events : body}));
    EXPECT_EQ(ask(chat_endpoint(url), {.streamed = streamed}, request).text,
              "<think>\nhm\n</think>\n\nParis.");
    request.split_thinking = true;
    const Completion completion = ask(chat_endpoint(url), {.streamed = streamed}, request);
    EXPECT_EQ(completion.text, "Paris.");
    EXPECT_EQ(completion.reasoning, "hm");
  }
  ChatRequest request = kRequest;
  request.split_thinking = true;
  const auto untagged = both_ways({{"content", "hm\n</think>\n\nParis."}}).first;
  const Completion completion =
      ask(chat_endpoint(server().script(Json::array({untagged}))), {}, request);
  EXPECT_EQ(completion.text, "Paris.");
  EXPECT_EQ(completion.reasoning, "hm");
}

TEST(OpenAiClient, LeavesOutWhatTheServerRejectsByName) {
  const auto rejection = [](int status, const Json& error) {
    return Json::array({answer(status, error)});
  };
  ChatRequest request = kRequest;
  request.temperature = 0.5;
  for (const auto& [status, error] : std::vector<std::pair<int, Json>>{
           {400,
            {{"error",
              {{"message", "Unsupported value: 'temperature' does not support 0.5"},
               {"param", "temperature"}}}}},
           {400, {{"error", "temperature must be in [0, 0.2]"}}},
           {422, {{"detail", {{{"loc", {"body", "temperature"}}, {"msg", "Extra inputs"}}}}}},
           {404,
            {{"error",
              {{"message",
                "No endpoints found that can handle the requested "
                "parameters."}}}}}}) {
    const std::string url = server().script({rejection(status, error), {service()}});
    Endpoint endpoint = chat_endpoint(url);
    endpoint.retry.max_retries = 0;
    const Completion completion = ask(endpoint, {}, request);
    EXPECT_TRUE(completion.ok()) << error;
    EXPECT_THAT(outcomes(completion), ElementsAre(std::to_string(status), "ok"));
    EXPECT_EQ(completion.attempts[0].cost_usd, 0.0);
    const auto requests = server().requests(url);
    EXPECT_EQ(requests[0].json().at("temperature"), 0.5);
    EXPECT_FALSE(requests[1].json().contains("temperature"));
    EXPECT_EQ(requests[1].json().at("max_tokens"), 100);
  }
  // Once: a server that goes on naming it is believed.
  const std::string url =
      server().script({{answer(400, {{"error", "bad temperature"}})}, {service()}});
  EXPECT_TRUE(ask(chat_endpoint(url), {}, request).ok());
  const std::string stubborn = server().script({{answer(400, {{"error", "bad temperature"}})}});
  EXPECT_EQ(ask(chat_endpoint(stubborn), {}, request).attempts.size(), 2U);
  // Not what has not been sent, and not for another reason.
  EXPECT_EQ(ask(chat_endpoint(stubborn)).attempts.size(), 1U);
  const std::string key =
      server().script({{answer(400, {{"error", "Invalid API key: temperature"}})}});
  EXPECT_EQ(ask(chat_endpoint(key), {}, request).attempts.size(), 1U);
  // Usage of streams is requested only if the server supports it.
  const std::string old = server().script({{service({{"rejects", {"stream_options"}}})}});
  const Completion streamed = ask(chat_endpoint(old), {.streamed = true});
  EXPECT_TRUE(streamed.ok());
  EXPECT_THAT(outcomes(streamed), ElementsAre("400", "ok"));
}

TEST(OpenAiClient, SendsTheCapInTheFieldThatTheModelTakes) {
  for (const auto& [rejected, taken] : std::vector<std::pair<std::string, std::string>>{
           {"max_tokens", "max_completion_tokens"}, {"max_completion_tokens", "max_tokens"}}) {
    const CapField field =
        rejected == "max_tokens" ? CapField::kMaxTokens : CapField::kMaxCompletionTokens;
    const std::string url = server().script({{service({{"rejects", {rejected, "temperature"}}})}});
    const auto client = make_openai_client(chat_endpoint(url), {.cap_field = field});
    ChatRequest request = kRequest;
    request.temperature = 1;
    const CallOptions options{.deadline = Clock::now() + std::chrono::seconds(60)};
    EXPECT_THAT(outcomes(client->complete(request, options)), ElementsAre("400", "400", "ok"));
    // The client remembers what the model does not support, but only for that model.
    EXPECT_THAT(outcomes(client->complete(request, options)), ElementsAre("ok"));
    request.model = "vendor/other";
    EXPECT_THAT(outcomes(client->complete(request, options)), ElementsAre("400", "400", "ok"));
    const Json body = server().requests(url).back().json();
    EXPECT_EQ(body.at(taken), 100);
    EXPECT_FALSE(body.contains(rejected));
    // The pool can say it beforehand.
    request.model = "vendor/third";
    request.omit = {rejected, "temperature"};
    EXPECT_THAT(outcomes(client->complete(request, options)), ElementsAre("ok"));
  }
  // A server that takes neither, and one that objects to the number.
  const std::string neither =
      server().script({{service({{"rejects", {"max_tokens", "max_completion_tokens"}}})}});
  const Completion failed = ask(chat_endpoint(neither));
  EXPECT_EQ(code_of(failed), ErrorCode::kUnsupported);
  EXPECT_EQ(failed.attempts.size(), 2U);
  for (const char* message :
       {"max_tokens must be at least 16", "max_tokens or max_completion_tokens must be at least 16",
        "'max_tokens' or 'max_completion_tokens' is too large: 3000. This model's maximum context "
        "length is 2048 tokens"}) {
    const std::string url = server().script({{answer(400, {{"error", message}})}});
    EXPECT_EQ(ask(chat_endpoint(url)).attempts.size(), 1U) << message;
  }
}

TEST(OpenAiClient, CountsAChangedAttemptThatMayBeChargedFor) {
  const Json rejected = {{"error", {{"code", 400}, {"message", "bad temperature"}}}};
  const std::string url = server().script({{answer(200, rejected)}, {service()}});
  ChatRequest request = kRequest;
  request.temperature = 1;
  const Completion completion = ask(chat_endpoint(url), {.max_charges = 1}, request);
  EXPECT_THAT(outcomes(completion), ElementsAre("200"));
  EXPECT_THAT(completion.failure.value().message, HasSubstr("cost limit"));
}

TEST(OpenAiClient, SendsWhatTheModelRequires) {
  const std::string url = server().script({{service()}});
  ChatRequest request = kRequest;
  request.temperature = 0.5;
  request.omit = {"temperature"};
  request.extra = R"({"reasoning_effort": "low"})";
  ask(chat_endpoint(url), {}, request);
  const Json body = server().requests(url).back().json();
  EXPECT_EQ(body.at("reasoning_effort"), "low");
  EXPECT_FALSE(body.contains("temperature"));
}

TEST(OpenAiClient, KeepsTheQueryOfTheBaseUrl) {
  const std::string url = server().script({{service()}});
  ask(chat_endpoint("\n " + url + "/openai/v1/?api-version=2024-02-01 "));
  EXPECT_THAT(server().requests(url).back().path,
              ::testing::EndsWith("/openai/v1/chat/completions?api-version=2024-02-01"));
  Endpoint endpoint = chat_endpoint("HTTP://LOCALHOST" + url.substr(url.rfind(':')));
  EXPECT_TRUE(ask(endpoint).ok());
  // A query may hold a key: it is not in messages.
  const std::string elsewhere = server().script(
      {{answer(307, Json::object(), {{"Location", "http://h/v1?key=sk-secret-in-query"}})}});
  EXPECT_THAT(ask(chat_endpoint(elsewhere)).failure->message,
              ::testing::AllOf(HasSubstr("http://h/v1\""), ::testing::Not(HasSubstr("sk-secret"))));
}

TEST(OpenAiClient, RetriesWhatMayPass) {
  for (const bool streamed : {false, true}) {
    for (const int status : {408, 409, 425, 429, 500, 502, 503, 504, 520, 524, 529}) {
      const std::string url =
          server().script({{answer(status, {{"error", {{"message", "later"}}}})}, {service()}});
      const Completion completion = ask(chat_endpoint(url), {.streamed = streamed});
      EXPECT_TRUE(completion.ok());
      EXPECT_THAT(outcomes(completion), ElementsAre(std::to_string(status), "ok"));
      // A definite refusal costs nothing.
      EXPECT_EQ(completion.attempts[0].cost_usd, 0.0);
      EXPECT_THAT(completion.attempts[0].message, HasSubstr("\"later\""));
    }
    const std::string url = server().script({{kReset}, {kReset}, {service()}});
    const Completion completion = ask(chat_endpoint(url), {.streamed = streamed});
    EXPECT_TRUE(completion.ok());
    EXPECT_THAT(outcomes(completion), ElementsAre("connection", "connection", "ok"));
    // The server may have acted on what it got.
    EXPECT_FALSE(completion.attempts[0].cost_usd);
  }
}

TEST(OpenAiClient, GivesUpWhenRetriesAreSpent) {
  const Completion refused =
      ask(chat_endpoint("http://127.0.0.1:" + server().closed_port()), {.streamed = true});
  EXPECT_EQ(code_of(refused), ErrorCode::kConnection);
  EXPECT_THAT(outcomes(refused), ElementsAre("connection", "connection", "connection"));
  for (const Attempt& attempt : refused.attempts) EXPECT_EQ(attempt.cost_usd, 0.0);

  const std::string url = server().script({{answer(503, {{"error", "busy"}})}});
  const Completion busy = ask(chat_endpoint(url));
  EXPECT_EQ(code_of(busy), ErrorCode::kServer);
  EXPECT_EQ(busy.failure->http_status, 503);
  EXPECT_EQ(server().requests(url).size(), 3U);
}

TEST(OpenAiClient, WaitsAsLongAsTheServerAsks) {
  const auto wait_for = [](const std::string& retry_after) {
    const std::string url = server().script(
        {{answer(429, {{"error", {{"message", "slow"}}}}, {{"Retry-After", retry_after}})},
         {service()}});
    const Completion completion = ask(chat_endpoint(url));
    EXPECT_TRUE(completion.ok());
    return completion.seconds;
  };
  EXPECT_GE(wait_for("1"), 1.0);
  const std::time_t then = std::time(nullptr) + 2;
  char date[64];
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", std::gmtime(&then));
  EXPECT_GE(wait_for(date), 0.5) << date;
}

TEST(OpenAiClient, DoesNotRetryWithoutCredit) {
  const Json poor = {
      {"error", {{"message", "You exceeded your quota"}, {"type", "insufficient_quota"}}}};
  const Completion completion = ask(chat_endpoint(server().script({{answer(429, poor)}})));
  EXPECT_EQ(code_of(completion), ErrorCode::kCredit);
  EXPECT_EQ(completion.attempts.size(), 1U);
}

TEST(OpenAiClient, DoesNotRetryWhatWillNotPass) {
  const std::vector<std::pair<int, ErrorCode>> cases = {
      {400, ErrorCode::kRefused},  {401, ErrorCode::kAuthentication},
      {402, ErrorCode::kCredit},   {403, ErrorCode::kAuthentication},
      {404, ErrorCode::kNotFound}, {413, ErrorCode::kRefused},
      {422, ErrorCode::kRefused}};
  for (const bool streamed : {false, true}) {
    for (const auto& [status, code] : cases) {
      // A careless server repeats the key.
      const std::string url = server().script(
          {{answer(status, {{"error", {{"message", "bad key " + kChatKey + "!"}}}})}});
      const Completion completion = ask(chat_endpoint(url), {.streamed = streamed});
      EXPECT_EQ(code_of(completion), code) << status;
      EXPECT_EQ(completion.failure->http_status, status);
      EXPECT_THAT(completion.failure->message, HasSubstr("bad key "));
      EXPECT_THAT(outcomes(completion), ElementsAre(std::to_string(status)));
    }
  }
}

TEST(OpenAiClient, ReportsErrorsUnderStatus200) {
  for (const bool streamed : {false, true}) {
    const Json limited = {{"error", {{"code", 429}, {"message", "Slow down"}}}};
    const Completion retried =
        ask(chat_endpoint(server().script({{answer(200, limited)}, {service()}})),
            {.streamed = streamed});
    EXPECT_TRUE(retried.ok());
    EXPECT_THAT(outcomes(retried), ElementsAre("200", "ok"));
    EXPECT_EQ(retried.attempts[0].error, ErrorCode::kRateLimited);

    // The words say it where the server gives no number.
    const Json slow = {{"error", {{"code", "rate_limit_exceeded"}, {"message", "Slow down"}}}};
    EXPECT_THAT(outcomes(ask(chat_endpoint(server().script({{answer(200, slow)}, {service()}})),
                             {.streamed = streamed})),
                ElementsAre("200", "ok"));

    const Json poor = {{"error", {{"code", 402}, {"message", "Insufficient credits"}}}};
    const Completion failed =
        ask(chat_endpoint(server().script({{answer(200, poor)}})), {.streamed = streamed});
    EXPECT_EQ(code_of(failed), ErrorCode::kCredit);
    EXPECT_EQ(failed.failure->http_status, 402);
    EXPECT_EQ(failed.attempts.size(), 1U);
  }
}

TEST(OpenAiClient, RefusesWhatIsNoAnswer) {
  const std::string garbage(3'000'000, '\x07');
  const Json html = {{"answer",
                      {{"status", 200},
                       {"text", "<html>Sign in</html>"},
                       {"headers", {{"Content-Type", "text/html"}}}}}};
  const Json truncated = {{"answer",
                           {{"status", 200},
                            {"text", R"({"choices": [{"message": {"con)"},
                            {"headers", {{"Content-Type", "application/json"}}}}}};
  const Json megabytes = {{"answer", {{"status", 200}, {"text", garbage}}}};
  const Json empty = {{"answer", {{"status", 200}, {"text", ""}}}};
  for (const bool streamed : {false, true}) {
    for (const Json& step : {html, truncated, megabytes, empty}) {
      const Completion completion =
          ask(chat_endpoint(server().script({{step}})), {.streamed = streamed});
      EXPECT_EQ(code_of(completion), ErrorCode::kBadResponse);
      EXPECT_EQ(completion.attempts.size(), 1U);
      EXPECT_EQ(completion.attempts[0].http_status, 200);
      EXPECT_FALSE(completion.attempts[0].cost_usd);
      EXPECT_LT(completion.failure->message.size(), 4000U);
    }
    const Completion page = ask(chat_endpoint(server().script({{html}})), {.streamed = streamed});
    EXPECT_THAT(page.failure->message, HasSubstr("<html>Sign in</html>"));
    EXPECT_THAT(page.failure->message, HasSubstr("text/html"));
  }
}

TEST(OpenAiClient, BoundsAnEndlessBody) {
  for (const std::string text : {"x", ": comment\n", "data: {\"choices\": []}\n\n"}) {
    for (const bool streamed : {false, true}) {
      Endpoint endpoint = chat_endpoint(server().script({{send_stream(""), {{"endless", text}}}}));
      endpoint.max_response_bytes = 1 << 20;
      const Completion completion = ask(endpoint, {.streamed = streamed});
      EXPECT_EQ(code_of(completion), ErrorCode::kBadResponse);
      EXPECT_EQ(completion.attempts.size(), 1U);
    }
  }
}

TEST(OpenAiClient, KeepsThePartOfAnAnswerThatCame) {
  struct Case {
    Json steps;
    ErrorCode code;
  };
  const std::string half = text_event("Half ") + text_event("of it");
  const std::string error =
      chat_event({{"error", {{"code", 502}, {"message", "Provider disconnected"}}},
                  {"choices", {{{"delta", {{"content", ""}}}, {"finish_reason", "error"}}}}});
  const std::vector<Case> cases = {
      {{send_stream(half), kReset}, ErrorCode::kConnection},
      {{send_stream(half), kClose}, ErrorCode::kConnection},
      {{send_stream(half + ": no finish_reason, and no [DONE]\n\n"), kClose},
       ErrorCode::kConnection},
      {{send_stream(half + "data: {\"choices\": [{\"del"), kClose}, ErrorCode::kConnection},
      {{send_stream(half), kStall}, ErrorCode::kTimeout},
      {{send_stream(half + error), kClose}, ErrorCode::kServer},
      {{send_stream(half + "error: {\"code\": 500, \"message\": \"context shift\"}\n\n"), kClose},
       ErrorCode::kServer},
      {{send_stream(half + error), kStall}, ErrorCode::kServer},
      {{send_stream(half + "data: nonsense\n\n"), kClose}, ErrorCode::kBadResponse},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Endpoint endpoint = chat_endpoint(server().script(Json::array({cases[i].steps})));
    endpoint.timeouts.idle = 0.5;
    const Completion completion = ask(endpoint, {.streamed = true});
    EXPECT_EQ(code_of(completion), cases[i].code) << "case " << i;
    EXPECT_EQ(completion.text, "Half of it") << "case " << i;
    EXPECT_EQ(completion.attempts.size(), 1U) << "case " << i << ": retried after text";
  }
}

TEST(OpenAiClient, DoesNotRetryAWholeAnswerThatWasCut) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n";
  const Completion completion = ask(chat_endpoint(
      server().script({{{{"send", head + R"({"choices": [)"}}, kReset}, {service()}})));
  EXPECT_EQ(code_of(completion), ErrorCode::kConnection);
  EXPECT_EQ(completion.text, "");
  EXPECT_THAT(outcomes(completion), ElementsAre("200"));
}

TEST(OpenAiClient, TakesAStreamThatIsWholeInWhateverForm) {
  const std::string usage = chat_event(
      {{"choices", Json::array()}, {"usage", {{"prompt_tokens", 1}, {"completion_tokens", 2}}}});
  const std::string text = text_event("A whole ") + text_event("answer");
  for (const Json& steps : std::vector<Json>{
           {send_stream(text + finish_event() + usage + "data: [DONE]\n\n"), kClose},
           {send_stream(text + finish_event()), kClose},
           {send_stream(text + finish_event()), kReset},
           {send_stream(text + "data: [DONE]\n\n"), kClose},
           // Without the empty line after the last event, or any.
           {send_stream(text + R"(data: {"choices": [{"finish_reason": "stop"}]})"), kClose},
           {send_stream("data: {\"choices\": [{\"delta\": {\"content\": \"A whole answer\"}}]}\n"
                        "data: [DONE]\n"),
            kClose},
           {send_stream("event: ping\ndata: now\n\ndata:\n\n" + text + "data: null\n\n" +
                        finish_event() + "data: [DONE] \n\n"),
            kClose},
           // A server that knows no streams.
           Json::array({answer(200, chat_answer("A whole answer"))}),
           Json::array({answer(200, Json::array({chat_answer("A whole answer")}))})}) {
    const Completion completion =
        ask(chat_endpoint(server().script(Json::array({steps}))), {.streamed = true});
    EXPECT_TRUE(completion.ok()) << steps;
    EXPECT_EQ(completion.text, "A whole answer") << steps;
  }
}

TEST(OpenAiClient, ReadsAStreamThatComesByteByByte) {
  for (const std::string line_end : {"\n", "\r\n"}) {
    const std::string events = ": comment" + line_end + line_end +
                               R"(data: {"choices": [{"delta": {"content": "ü€😀"}}]})" + line_end +
                               line_end + text_event("\u00e9\n", line_end) + "data: [DONE]" +
                               line_end + line_end;
    const Json steps = {send_stream(""), {{"trickle", events}, {"every", 0.001}}, kClose};
    const Completion completion =
        ask(chat_endpoint(server().script(Json::array({steps}))), {.streamed = true});
    EXPECT_TRUE(completion.ok());
    EXPECT_EQ(completion.text, "ü€😀\u00e9\n");
  }
}

TEST(OpenAiClient, KeepsItsTimeLimits) {
  for (const bool streamed : {false, true}) {
    Endpoint endpoint = chat_endpoint(server().script({{kStall}, {kStall}, {service()}}));
    endpoint.timeouts.first_byte = 0.3;
    const Completion stalled = ask(endpoint, {.streamed = streamed});
    EXPECT_TRUE(stalled.ok());
    EXPECT_THAT(outcomes(stalled), ElementsAre("timeout", "timeout", "ok"));

    const Completion late =
        ask(chat_endpoint(server().script({{kStall}})), {.streamed = streamed, .seconds = 0.3});
    EXPECT_EQ(code_of(late), ErrorCode::kTimeout);
    EXPECT_EQ(late.attempts.size(), 1U);
    EXPECT_LT(late.seconds, 2);

    // Every byte comes in time, but not all of them.
    const Completion trickle =
        ask(chat_endpoint(server().script(
                {{send_stream(""), {{"trickle", std::string(1000, ':')}, {"every", 0.05}}}})),
            {.streamed = streamed, .seconds = 0.5});
    EXPECT_EQ(code_of(trickle), ErrorCode::kTimeout);
    EXPECT_LT(trickle.seconds, 3);
  }
  const Completion before = ask(chat_endpoint(server().script({{service()}})), {.seconds = 0});
  EXPECT_EQ(code_of(before), ErrorCode::kTimeout);
}

TEST(OpenAiClient, StopsAtOnceWhenCancelled) {
  for (const Json& steps :
       std::vector<Json>{Json::array({kStall}), {send_stream(text_event("Half")), kStall}}) {
    for (const bool streamed : {false, true}) {
      const Endpoint endpoint = chat_endpoint(server().script(Json::array({steps})));
      std::stop_source source;
      Clock::time_point asked;
      std::jthread canceller([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        asked = Clock::now();
        source.request_stop();
      });
      const Completion completion =
          ask(endpoint, {.streamed = streamed, .cancel = source.get_token()});
      EXPECT_LT(Clock::now() - asked, std::chrono::milliseconds(100));
      EXPECT_EQ(code_of(completion), ErrorCode::kCancelled);
      EXPECT_EQ(completion.attempts.size(), 1U);
    }
  }
}

TEST(OpenAiClient, DoesNotFollowToAnotherHost) {
  const std::string elsewhere = server().script({{service()}});
  const std::string url = server().script(
      {{answer(307, Json::object(), {{"Location", elsewhere + "/chat/completions"}})}});
  for (const bool streamed : {false, true}) {
    const Completion completion = ask(chat_endpoint(url), {.streamed = streamed});
    EXPECT_TRUE(completion.failure);
    EXPECT_EQ(completion.attempts.size(), 1U);
    EXPECT_EQ(completion.failure->http_status, 307);
    EXPECT_THAT(completion.failure->message, HasSubstr(elsewhere));
  }
  EXPECT_TRUE(server().requests(elsewhere).empty());
}

TEST(OpenAiClient, RefusesAServerThatItCannotTrust) {
  const FaultServer::Listener tls = server().listen("wrong-host");
  Endpoint endpoint = chat_endpoint("https://127.0.0.1:" + tls.port + server().path({{service()}}));
  endpoint.ca_file = tls.ca_file;
  const Completion completion = ask(endpoint);
  EXPECT_EQ(code_of(completion), ErrorCode::kUntrusted);
  EXPECT_EQ(completion.attempts.size(), 1U);
  EXPECT_EQ(completion.attempts[0].cost_usd, 0.0);
}

TEST(OpenAiClient, RetriesNoMoreThanMayBeCharged) {
  // Each reset may have been charged for; a definite refusal was not.
  const std::string url =
      server().script({{kReset}, {answer(500, {{"error", "later"}})}, {kReset}, {service()}});
  Endpoint endpoint = chat_endpoint(url);
  endpoint.retry.max_retries = 10;
  const Completion completion = ask(endpoint, {.max_charges = 2});
  EXPECT_EQ(code_of(completion), ErrorCode::kConnection);
  EXPECT_THAT(outcomes(completion), ElementsAre("connection", "500", "connection"));
  EXPECT_THAT(completion.failure->message, HasSubstr("cost limit"));
}

TEST(OpenAiClient, PassesThroughWhatTheCallbackThrows) {
  const auto client = make_openai_client(chat_endpoint(server().script({{service()}})));
  const CallOptions options{.deadline = Clock::now() + std::chrono::seconds(30),
                            .on_text = [](std::string_view) { throw std::logic_error("mine"); }};
  EXPECT_THROW(client->complete(kRequest, options), std::logic_error);
}

TEST(OpenAiClient, RefusesWhatCannotBeSent) {
  const auto client = make_openai_client(chat_endpoint("http://127.0.0.1:1"));
  const auto refuses = [&](const std::string& part, auto&& change) {
    ChatRequest request = kRequest;
    change(request);
    expect_error(ErrorCode::kInvalidArgument, part, [&] { client->complete(request, {}); });
  };
  refuses("model", [](ChatRequest& r) { r.model = ""; });
  refuses("no messages", [](ChatRequest& r) { r.messages.clear(); });
  refuses("\"tool\"", [](ChatRequest& r) { r.messages[0].role = "tool"; });
  refuses("byte 1", [](ChatRequest& r) { r.messages[0].content = "a\xFF"; });
  refuses("max_tokens", [](ChatRequest& r) { r.max_tokens = 0; });
  refuses("temperature", [](ChatRequest& r) { r.temperature = -1; });
  refuses("temperature", [](ChatRequest& r) { r.temperature = NAN; });
  refuses("\"messages\"", [](ChatRequest& r) { r.omit = {"messages"}; });
  refuses("carries the cap", [](ChatRequest& r) {
    r.omit = {"max_tokens", "max_completion_tokens"};
  });
  for (const std::string name :
       {"n", "best_of", "num_completions", "max_new_tokens", "prediction"}) {
    refuses("\"" + name + "\"", [&](ChatRequest& r) { r.extra = "{\"" + name + "\": 2}"; });
  }
  for (const char* provider : {"[]", "{", "\"order\"", "{\"a\": \"\xFF\"}"}) {
    expect_error(ErrorCode::kInvalidArgument, "provider", [&] {
      make_openai_client(chat_endpoint("http://127.0.0.1:1"), {.provider = provider});
    });
  }
}

TEST(OpenAiClient, ServesThreadsAtOnce) {
  const auto client = make_openai_client(chat_endpoint(server().script({{service()}})));
  std::atomic<int> right = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string query = std::to_string(t) + "/" + std::to_string(i);
        ChatRequest request = kRequest;
        request.messages[0].content = query;
        std::string streamed;
        CallOptions options{.deadline = Clock::now() + std::chrono::seconds(60)};
        if (i % 2 == 0) options.on_text = [&](std::string_view text) { streamed += text; };
        const Completion completion = client->complete(request, options);
        right += completion.ok() && completion.text == "An answer to: " + query &&
                 (i % 2 != 0 || streamed == completion.text);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(right, 80);
}

}  // namespace
}  // namespace r2router::llm
