#include "llm/http/server_error.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r2router::llm {
namespace {

using ::testing::ElementsAre;

void expect(const std::string& body, int status, const std::string& words) {
  const ServerError error = read_server_error(body);
  EXPECT_EQ(error.status, status) << body;
  EXPECT_EQ(error.words, words) << body;
}

TEST(ServerError, KnowsTheFormsThatServersUse) {
  expect(R"({"error": {"code": 429, "message": "slow down", "metadata": {"code": 1}}})", 429,
         "slow down");
  expect(R"({"error": {"message": "no \"key\"", "type": "x", "code": "401"}})", 401, "no \"key\"");
  expect(R"({"error": {"code": "model_not_found", "message": "no"}})", 0, "no");
  expect(R"({"error": {"code": 7, "message": "no"}})", 0, "no");
  expect(R"({"error": {"code": 400.5, "message": "no"}})", 0, "no");
  expect(R"({"error": {"message": "failed", "metadata": {"provider_name": "P", "raw": "full"}}})",
         0, "failed: full");
  expect(R"({"error": {"metadata": {"raw": "full"}}})", 0, "full");
  expect(R"({"error": "out of memory"})", 0, "out of memory");
  expect(R"({"object": "error", "message": "too long", "code": 400})", 400, "too long");
  expect(R"({"detail": "Not Found"})", 0, "Not Found");
  expect(R"({"Message": "User is not authorized"})", 0, "User is not authorized");
  expect("upstream gone", 0, "upstream gone");
  expect("[1]", 0, "[1]");
  expect("", 0, "");
  // What came before a cut counts.
  expect(R"({"error": {"code": 503, "message": "gone")", 503, "gone");
  expect(R"([{"error": {"code": 503, "message": "gone"}, "x": )", 503, "gone");
}

TEST(ServerError, ReadsListsAndObjects) {
  expect(R"([{"error": {"code": 400, "message": "bad key", "status": "INVALID_ARGUMENT"}}])", 400,
         "bad key");
  expect(R"({"detail": [{"type": "missing", "loc": ["body", "messages", 0], "msg": "required"},
                        {"msg": "and more"}]})",
         0, "body.messages.0: required; and more");
  expect(R"({"errors": [{"code": 7009, "message": "Model not found"}], "messages": []})", 0,
         "Model not found");
  expect(R"({"errors": ["one", "two"]})", 0, "one; two");
  expect(R"({"error": {"message": {"text": "bad", "detail": ["x"]}, "code": 400}})", 400, "bad: x");
  expect(R"({"error": {"message": [{"loc": ["body"], "msg": "field required"}]}})", 0,
         "body: field required");
  expect(R"({"detail": {"error": {"message": "deep"}}})", 0, "deep");
  expect(R"({"title": "Bad Request", "detail": "no model", "status": 400})", 400,
         "Bad Request: no model");
  expect(R"({"statusCode": 400, "error": "Bad Request", "message": "Bad Request: no model"})", 400,
         "Bad Request: no model");
  expect(R"({"error": {"message": "m", "details": [{"reason": "KEY_INVALID"}]}})", 0, "m");
}

TEST(ServerError, ReadsJsonWithinStrings) {
  expect(R"({"error": {"message": "{\"error\": {\"message\": \"inner\", \"code\": 429}}"}})", 429,
         "inner");
  expect(R"({"error": {"code": 400, "message": "upstream: {\"detail\": \"inner\"}"}})", 400,
         "upstream: inner");
  expect(R"({"error": {"message": "P failed", "metadata": {"raw": "[{\"error\": \"why\"}]"}}})", 0,
         "P failed: why");
  // What only looks like it stays.
  expect(R"({"error": "use {braces} or [1]"})", 0, "use {braces} or [1]");
  expect(R"({"error": "{\"a\": 1}"})", 0, R"({"a": 1})");
}

TEST(ServerError, IsOneLineOfText) {
  expect("<html>\r\n<head><title>502 Bad\nGateway</title></head><body>x</body></html>\r\n", 0,
         "502 Bad Gateway");
  expect("<!DOCTYPE html><html><body><h1>It&#39;s</h1><p>down &amp; out</p></body></html>", 0,
         "It's down & out");
  expect("<?xml version=\"1.0\"?><Error><Code>Denied</Code></Error>", 0, "Denied");
  expect("<>", 0, "<>");
  expect("one\n\ttwo\r\n\x07three ", 0, "one two three");
  expect(R"({"error": {"message": " a\n  b\u0000c "}})", 0, "a b c");
  expect("\xEF\xBB\xBF{\"error\": \"marked\"}", 0, "marked");
}

TEST(ServerError, KnowsWhichParametersAreAtFault) {
  const auto parameters = [](const char* body) { return read_server_error(body).parameters; };
  EXPECT_THAT(parameters(R"({"error": {"message": "m", "param": "max_tokens"}})"),
              ElementsAre("max_tokens"));
  EXPECT_THAT(parameters(R"({"error": {"message": "m", "param": null}})"), ElementsAre());
  EXPECT_THAT(parameters(R"({"detail": [{"loc": ["body", "top_p"], "msg": "m"}]})"),
              ElementsAre("body", "top_p"));
  EXPECT_THAT(parameters(R"([{"error": {"message": "m", "details": [
                  {"fieldViolations": [{"field": "generation_config.temperature"}]}]}}])"),
              ElementsAre("generation_config.temperature"));

  const auto named = [](const char* words, const char* name) {
    return names_parameter({.words = words}, name);
  };
  EXPECT_TRUE(named("Unsupported parameter: 'max_tokens' is", "max_tokens"));
  EXPECT_TRUE(named("max_tokens", "max_tokens"));
  EXPECT_FALSE(named("max_tokens_per_minute and my_max_tokens", "max_tokens"));
  EXPECT_TRUE(named("my_max_tokens, max_tokens", "max_tokens"));
  EXPECT_TRUE(names_parameter({.parameters = {"generation_config.temperature"}}, "temperature"));
  EXPECT_FALSE(names_parameter({.parameters = {"xtemperature"}}, "temperature"));

  EXPECT_TRUE(says_unsupported({.words = "Unrecognized request argument supplied: top_k"}));
  EXPECT_TRUE(says_unsupported({.words = "m", .kinds = "extra_forbidden"}));
  EXPECT_TRUE(says_unsupported({.words = "Please use 'max_completion_tokens' instead"}));
  EXPECT_FALSE(says_unsupported({.words = "max_tokens must be at least 16"}));
}

TEST(ServerError, NestsToALimit) {
  EXPECT_EQ(read_server_error(R"({"error":)" + std::string(1000000, '[')).status, 0);
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += R"({"error":)";
  EXPECT_EQ(read_server_error(nested).status, 0);
  std::string quoted = R"({"error": "deepest"})";
  for (int i = 0; i < 12; ++i) {
    std::string escaped;
    for (const char c : quoted)
      escaped += (c == '"' || c == '\\') ? std::string("\\") + c : std::string(1, c);
    quoted = R"({"error": ")" + escaped + "\"}";
    if (quoted.size() > 1000000) break;
  }
  EXPECT_FALSE(read_server_error(quoted).words.empty());
  std::string many = R"({"errors": [)";
  for (int i = 0; i < 100000; ++i) many += "\"words " + std::to_string(i) + "\",";
  EXPECT_LT(read_server_error(many + "\"\"]}").words.size(), 10000u);
}

TEST(Classify, GoesByTheWordsWhereTheStatusIsOpen) {
  const auto expect_code = [](ErrorCode code, std::initializer_list<const char*> messages) {
    for (const char* message : messages) {
      for (const int status : {0, 400, 403, 422}) {
        EXPECT_EQ(classify(status, {.words = message}), code) << status << " " << message;
      }
      EXPECT_EQ(classify(401, {.words = message}), ErrorCode::kAuthentication);
      EXPECT_EQ(classify(402, {.words = message}), ErrorCode::kCredit);
      EXPECT_EQ(classify(404, {.words = message}), ErrorCode::kNotFound);
      EXPECT_EQ(classify(429, {.words = message}), ErrorCode::kRateLimited);
      EXPECT_EQ(classify(500, {.words = message}), ErrorCode::kServer);
    }
  };
  expect_code(ErrorCode::kAuthentication,
              {"API key not valid. Please pass a valid API key.", "Please pass a valid API key",
               "Incorrect API key provided: sk-abc. You can find yours at …", "Invalid API-key",
               "invalid x-api-key", "Your api_key is expired", "No auth credentials found",
               "The apikey is missing", "Authentication Fails (no such user)", "Not authenticated",
               "UNAUTHENTICATED", "Unauthorized", "Invalid bearer token"});
  expect_code(ErrorCode::kCredit,
              {"Your credit balance is too low to access the API", "Insufficient Balance",
               "This request requires more credits, or fewer max_tokens"});
  expect_code(ErrorCode::kRateLimited, {"Rate limit reached for requests", "Too Many Requests",
                                        "RESOURCE_EXHAUSTED", "ThrottlingException"});
  expect_code(
      ErrorCode::kTooLong,
      {"This model's maximum context length is 2048 tokens. However, you requested 2723",
       "prompt is too long: 210000 tokens > 200000 maximum", "Input is too long",
       "the request exceeds the available context size. try increasing the context size",
       "The input token count (1200000) exceeds the maximum number of tokens allowed",
       "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
       "Request too large for model `m` on tokens per minute (TPM): Limit 6000",
       "Please reduce the length of the messages", "context_length_exceeded",
       "max_tokens is too large: 8192. This model supports at most 4096 completion tokens",
       "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens",
       "`max_tokens` must be less than or equal to `8192`",
       "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
       "it has a maxOutputTokens value of 100000 but the supported range is from 1 to 8193"});
  expect_code(ErrorCode::kNoAnswer,
              {"The response was filtered due to Azure OpenAI's content management policy",
               "Your request was rejected as a result of our safety system",
               "requires moderation on P. Your input was flagged for \"violence\"",
               "content_policy_violation", "Output data may contain inappropriate content",
               "Content Exists Risk", "The request was rejected: sensitive content",
               "the prompt violates our community guidelines",
               "Input text violates the usage rules of content policy"});
  expect_code(ErrorCode::kUnsupported,
              {"'temperature' does not support 0.7 with this model.",
               "Developer instruction is not enabled for models/gemma-3-4b-it",
               "max_tokens must be at least 16",
               "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16",
               "max_completion_tokens is too small", "max_tokens must be greater than 1"});
  expect_code(ErrorCode::kNotFound,
              {"Model not found", "The model `gpt-9` does not exist or you do not have access",
               "gpt-9 is not a valid model ID", "No endpoints found for a/b.", "model_not_found",
               "Project p does not have access to model `gpt-4`", "Unknown Model, please check"});
}

TEST(Classify, GoesByTheStatusWhereTheWordsSayNothing) {
  for (const char* words :
       {"", "messages: field required", "temperature: must be a number", "invalid token count",
        "The parameter `n` is not supported when the model is m"}) {
    EXPECT_EQ(classify(400, {.words = words}), ErrorCode::kRefused) << words;
    EXPECT_EQ(classify(403, {.words = words}), ErrorCode::kAuthentication) << words;
    EXPECT_EQ(classify(0, {.words = words}), ErrorCode::kServer) << words;
  }
  EXPECT_EQ(classify(0, {.words = "m", .kinds = "rate_limit_error rate_limit_exceeded"}),
            ErrorCode::kRateLimited);
  EXPECT_EQ(classify(429, {.words = "m", .kinds = "insufficient_quota"}), ErrorCode::kCredit);
  EXPECT_EQ(classify(409, {.words = "Model not found"}), ErrorCode::kServer);
}

}  // namespace
}  // namespace r2router::llm
