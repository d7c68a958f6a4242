#include "r2router/llm/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/router.h"

#include "support/chat.h"
#include "support/errors.h"
#include "support/fault_server.h"
#include "support/heads.h"

namespace r2router::llm {
namespace {

using testing::answer;
using testing::chat_answer;
using testing::chat_endpoint;
using ::testing::ElementsAre;
using testing::expect_error;
using testing::expect_sound;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::kClose;
using testing::kReset;
using testing::kStall;
using testing::send_stream;
using testing::service;
using testing::text_event;
using Json = nlohmann::json;

constexpr const char* kPrompt = "Use at most {budget} tokens.";
const std::vector<Message> kMessages = {{"user", "What is x?"}};

FaultServer& server() { return FaultServer::instance(); }

/// Three models at $1, $2 and $4 a million output tokens, input free. The ranking holds two pairs
/// of each, and one of a model that is not available and one of a model without a catalogue name.
Decision decision_of_three() {
  Pool pool;
  for (int m = 0; m < 5; ++m) {
    pool.push_back({.name = "model-" + std::to_string(m),
                    .openrouter_id = "vendor/model-" + std::to_string(m),
                    .prices = {.output = static_cast<double>(1 << m)}});
  }
  pool[3].available = false;
  pool[4].openrouter_id = "";
  Decision decision;
  decision.pool = std::make_shared<const Pool>(pool);
  const auto add = [&](std::uint32_t model, std::uint32_t budget) {
    const std::uint32_t cap = budget * 12 / 10;
    decision.ranking.push_back({.model = model,
                                .budget = Budget(budget),
                                .max_tokens = cap,
                                .worst_case_cost_usd = cap * pool[model].prices.output / 1e6});
  };
  add(0, 100);
  add(0, 1000);
  add(3, 100);
  add(4, 100);
  add(1, 1000);
  add(2, 500);
  add(1, 50);
  add(2, 10);
  decision.chosen = decision.ranking.front();
  return decision;
}

Completion run(const std::string& url, const Decision& decision = decision_of_three(),
               GenerateOptions options = {}, Endpoint endpoint = chat_endpoint("")) {
  endpoint.base_url = url;
  endpoint.retry.max_retries = 1;
  const Completion completion =
      generate(*make_openai_client(endpoint), kMessages, decision, kPrompt, options);
  expect_sound(completion);
  return completion;
}

std::vector<std::string> models_asked(const Completion& completion) {
  std::vector<std::string> models;
  for (const Attempt& attempt : completion.attempts) models.push_back(attempt.model);
  return models;
}

TEST(BudgetInstruction, PutsTheNumberInItsPlaces) {
  EXPECT_EQ(budget_instruction("{budget}: not above {budget}.", Budget(30)), "30: not above 30.");
  EXPECT_EQ(budget_instruction(kPrompt, Budget::unlimited()), "");
  EXPECT_EQ(budget_instruction("", Budget(30)), "");
  EXPECT_EQ(budget_instruction("Be {brief}.", Budget(30)), "Be {brief}.");
}

TEST(Generate, SendsTheInstructionTheCapAndTheMessages) {
  const std::string url = server().script({{service()}});
  const Completion completion = run(url);
  EXPECT_TRUE(completion.ok());
  EXPECT_EQ(completion.pair, (Pair{0, Budget(100)}));
  EXPECT_EQ(completion.requested_model, "vendor/model-0");
  EXPECT_GT(completion.seconds, 0);
  // 23 + 8 for the instruction, 10 + 8 for the query; 7 tokens of answer at $1 a million.
  EXPECT_EQ(completion.usage, (Usage{49, 7, 0}));
  EXPECT_DOUBLE_EQ(completion.computed_usd.value(), 7e-6);
  EXPECT_EQ(completion.attempts[0].cost_usd, completion.computed_usd);
  EXPECT_EQ(completion.attempts[0].pair, completion.pair);
  EXPECT_EQ(completion.attempts[0].max_tokens, 120U);
  const Json body = server().requests(url).at(0).json();
  EXPECT_EQ(body.at("max_tokens"), 120);
  EXPECT_FALSE(body.contains("temperature"));
  EXPECT_EQ(body.at("messages"), (Json{{{"role", "system"}, {"content", "Use at most 100 tokens."}},
                                       {{"role", "user"}, {"content", "What is x?"}}}));
}

TEST(Generate, KeepsOneSystemMessage) {
  const std::string url = server().script({{service()}});
  const auto client = make_openai_client(chat_endpoint(url));
  const std::vector<Message> messages = {{"system", "Answer in French."}, {"user", "Hello"}};
  Decision decision = decision_of_three();
  generate(*client, messages, decision, kPrompt);
  EXPECT_EQ(server().requests(url).back().json().at("messages"),
            (Json{{{"role", "system"}, {"content", "Use at most 100 tokens.\n\nAnswer in French."}},
                  {{"role", "user"}, {"content", "Hello"}}}));
  decision.chosen.budget = Budget::unlimited();
  generate(*client, messages, decision, kPrompt);
  EXPECT_EQ(server().requests(url).back().json().at("messages").at(0).at("content"),
            "Answer in French.");
}

TEST(Generate, SaysTheInstructionOfTheModelsEntry) {
  const Json failing = Json::array({answer(503, {{"error", "busy"}})});
  Decision decision = decision_of_three();
  Pool pool = *decision.pool;
  pool[0].instruction = "Be brief.";
  // The same model as the first under another instruction: no use where the first has failed.
  pool[1].openrouter_id = pool[0].openrouter_id;
  pool[2].instruction = "Be exact.";
  decision.pool = std::make_shared<const Pool>(pool);
  const std::string url = server().script({failing, failing, {service()}});
  const auto told = [&](std::size_t request) {
    return server().requests(url).at(request).json().at("messages");
  };
  const Completion completion = run(url, decision);
  EXPECT_THAT(models_asked(completion),
              ElementsAre("vendor/model-0", "vendor/model-0", "vendor/model-2"));
  const auto expected = [](const char* instruction) {
    return Json{{{"role", "system"}, {"content", instruction}},
                {{"role", "user"}, {"content", "What is x?"}}};
  };
  EXPECT_EQ(told(0), expected("Be brief.\n\nUse at most 100 tokens."));
  EXPECT_EQ(told(2), expected("Be exact.\n\nUse at most 500 tokens."));

  decision.chosen.budget = Budget::unlimited();
  const std::string unlimited = server().script({{service()}});
  run(unlimited, decision);
  EXPECT_EQ(server().requests(unlimited).at(0).json().at("messages"), expected("Be brief."));
}

TEST(Generate, FallsBackToTheBestPairOfTheNextModel) {
  const Json failing = Json::array({answer(503, {{"error", "busy"}})});
  const Json missing = Json::array({answer(404, {{"error", "no such model"}})});
  const std::string url = server().script({failing, failing, missing, {service()}});
  const Completion completion = run(url);
  EXPECT_TRUE(completion.ok());
  EXPECT_THAT(models_asked(completion),
              ElementsAre("vendor/model-0", "vendor/model-0", "vendor/model-1", "vendor/model-2"));
  EXPECT_EQ(completion.pair, (Pair{2, Budget(500)}));
  EXPECT_EQ(completion.attempts[2].pair, (Pair{1, Budget(1000)}));
  EXPECT_EQ(completion.attempts[2].error, ErrorCode::kNotFound);
  EXPECT_DOUBLE_EQ(completion.computed_usd.value(), 7 * 4e-6);
  // The request is made anew for each pair.
  const Json body = server().requests(url).at(3).json();
  EXPECT_EQ(body.at("max_tokens"), 600);
  EXPECT_EQ(body.at("messages").at(0).at("content"), "Use at most 500 tokens.");
}

TEST(Generate, FallsBackNoMoreOftenThanAllowed) {
  const std::string url = server().script({{answer(404, {{"error", "no such model"}})}});
  for (const std::uint32_t allowed : {0U, 1U, 2U, 9U}) {
    const Completion completion = run(url, decision_of_three(), {.max_fallbacks = allowed});
    EXPECT_EQ(completion.failure.value().code, ErrorCode::kNotFound);
    EXPECT_EQ(completion.attempts.size(), 1 + std::min(allowed, 2U));
  }
  Decision unranked = decision_of_three();
  unranked.ranking.clear();
  EXPECT_EQ(run(url, unranked).attempts.size(), 1U);
}

TEST(Generate, FallsBackWhereAnotherModelMayAnswer) {
  const auto steps = [](int status, const Json& body) {
    return Json::array({answer(status, body)});
  };
  const auto choice = [&](const Json& message, const char* reason) {
    return steps(200, {{"choices", {{{"message", message}, {"finish_reason", reason}}}}});
  };
  const Json page = {{"answer", {{"text", "<html>Sign in</html>"}}}};
  const std::vector<std::pair<Json, ErrorCode>> cases = {
      {steps(400, {{"message", "This model's maximum context length is 2048 tokens."}}),
       ErrorCode::kTooLong},
      {steps(400, {{"error", "prompt is too long: 210000 tokens > 200000 maximum"}}),
       ErrorCode::kTooLong},
      {steps(400, {{"error", {{"code", "content_filter"}, {"message", "filtered"}}}}),
       ErrorCode::kNoAnswer},
      {steps(403, {{"error", "Your input was flagged"}}), ErrorCode::kNoAnswer},
      {steps(400, {{"error", "model x is not a valid model ID"}}), ErrorCode::kNotFound},
      {steps(400, {{"error", "Developer instruction is not enabled for models/x"}}),
       ErrorCode::kUnsupported},
      {steps(404, {{"error", "No endpoints found"}}), ErrorCode::kNotFound},
      {steps(200, {{"id", nullptr}, {"choices", nullptr}}), ErrorCode::kNoAnswer},
      {steps(200, {{"choices", Json::array()}}), ErrorCode::kNoAnswer},
      {choice({{"content", ""}}, "stop"), ErrorCode::kNoAnswer},
      {choice({{"content", " \n"}}, "stop"), ErrorCode::kNoAnswer},
      {choice({{"content", nullptr}, {"refusal", "No."}}, "stop"), ErrorCode::kNoAnswer},
      {choice({{"content", nullptr}, {"reasoning", "hm"}}, "stop"), ErrorCode::kNoAnswer},
      {choice({{"content", ""}}, "content_filter"), ErrorCode::kNoAnswer},
      {choice({{"content", ""}, {"reasoning", "hm"}}, "length"), ErrorCode::kBudget},
      {Json::array({page}), ErrorCode::kBadResponse},
      {{send_stream(testing::chat_event({{"choices", Json::array()}})), kClose},
       ErrorCode::kConnection},
  };
  for (const auto& [failing, code] : cases) {
    for (const bool streamed : {false, true}) {
      if (code == ErrorCode::kConnection && !streamed) continue;
      const std::string url = server().script({failing, {service()}});
      std::string text;
      GenerateOptions options;
      if (streamed) options.on_text = [&](std::string_view piece) { text += piece; };
      const Completion completion = run(url, decision_of_three(), options);
      EXPECT_TRUE(completion.ok()) << failing;
      EXPECT_THAT(models_asked(completion), ElementsAre("vendor/model-0", "vendor/model-1"));
      EXPECT_EQ(completion.attempts.at(0).error, code) << failing;
      EXPECT_EQ(completion.text, "An answer to: What is x?");
      if (streamed) {
        EXPECT_EQ(text, completion.text);
      }
      EXPECT_EQ(completion.refusal + completion.reasoning, "") << "of the model that answered";
    }
  }
}

/// The decision of three, where models 0 and 1 are of one family.
Decision decision_of_a_family(const std::string& request_of_0, const std::string& request_of_1) {
  Decision decision = decision_of_three();
  Pool pool = *decision.pool;
  pool[0].family = pool[1].family = "thinker";
  pool[0].request = request_of_0;
  pool[1].request = request_of_1;
  decision.pool = std::make_shared<const Pool>(pool);
  return decision;
}

TEST(Generate, FallsBackToAnotherFamily) {
  const char* kHigh = R"({"reasoning_effort": "high"})";
  const char* kLow = R"({"reasoning_effort": "low"})";
  const Json long_thought = answer(
      200,
      {{"choices",
        {{{"message", {{"content", ""}, {"reasoning", "hm"}}}, {"finish_reason", "length"}}}}});
  for (const Json& failure :
       {answer(404, {{"error", "no such model"}}),
        answer(403, {{"error", "Your input was flagged"}}),
        answer(400, {{"error", "Developer instruction is not enabled for models/x"}}),
        answer(200, {{"choices", Json::array()}})}) {
    const std::string url = server().script({{failure}, {service()}});
    const Completion completion = run(url, decision_of_a_family(kHigh, kLow));
    EXPECT_TRUE(completion.ok()) << failure;
    EXPECT_EQ(completion.attempts.back().model, "vendor/model-2") << failure;
    EXPECT_THAT(models_asked(completion), ::testing::Not(::testing::Contains("vendor/model-1")));
  }

  // A lower effort may answer within the cap that this one has spent on reasoning.
  const std::string url = server().script({{long_thought}, {service()}});
  EXPECT_THAT(models_asked(run(url, decision_of_a_family(kHigh, kLow))),
              ElementsAre("vendor/model-0", "vendor/model-1"));
  const std::string same = server().script({{long_thought}, {service()}});
  EXPECT_THAT(models_asked(run(same, decision_of_a_family(kHigh, kHigh))),
              ElementsAre("vendor/model-0", "vendor/model-2"));
}

// Entries of one catalogue name, with and without a family.
TEST(Generate, TriesAnotherEffortOnlyWithinAFamily) {
  const Json long_thought = answer(
      200,
      {{"choices",
        {{{"message", {{"content", ""}, {"reasoning", "hm"}}}, {"finish_reason", "length"}}}}});
  for (const bool family : {false, true}) {
    Decision decision =
        decision_of_a_family(R"({"reasoning_effort": "high"})", R"({"reasoning_effort": "low"})");
    Pool pool = *decision.pool;
    pool[1].openrouter_id = pool[0].openrouter_id;
    if (!family) pool[0].family = pool[1].family = "";
    decision.pool = std::make_shared<const Pool>(pool);
    const std::string url = server().script({{long_thought}, {service()}});
    const Completion completion = run(url, decision);
    EXPECT_TRUE(completion.ok());
    EXPECT_EQ(completion.pair.model, family ? 1U : 2U);
    // No pair of a model that is gone is tried, whatever its effort.
    const std::string gone =
        server().script({{answer(404, {{"error", "no such model"}})}, {service()}});
    EXPECT_EQ(run(gone, decision).pair.model, 2U);
  }
}

TEST(Generate, SendsEachModelWhatItTakes) {
  const std::string url = server().script({{answer(404, {{"error", "gone"}})}, {service()}});
  Decision decision = decision_of_three();
  Pool pool = *decision.pool;
  pool[0].omit = {"temperature", "max_tokens"};
  pool[1].request = R"({"reasoning_effort": "low"})";
  decision.pool = std::make_shared<const Pool>(pool);
  run(url, decision, {.temperature = 0.5});
  const auto requests = server().requests(url);
  EXPECT_FALSE(requests.at(0).json().contains("temperature"));
  EXPECT_EQ(requests.at(0).json().at("max_completion_tokens"), 120);
  EXPECT_EQ(requests.at(1).json().at("temperature"), 0.5);
  EXPECT_EQ(requests.at(1).json().at("max_tokens"), 1200);
  EXPECT_EQ(requests.at(1).json().at("reasoning_effort"), "low");
  // Those that take another request cannot answer this one in the provider's hands.
  const std::string other = server().script({{service()}});
  run(other, decision, {.provider_fallback = true});
  EXPECT_FALSE(server().requests(other).at(0).json().contains("models"));
}

TEST(Generate, ChargesAnEmptyAnswerToTheCostLimit) {
  // Model 0 bills 100 millionths of a dollar for nothing; 60 are left.
  Json empty = chat_answer("");
  empty["usage"]["completion_tokens"] = 100;
  Decision decision = decision_of_three();
  decision.max_cost_usd = 160e-6;
  const Completion completion = run(server().script({{answer(200, empty)}, {service()}}), decision);
  EXPECT_TRUE(completion.ok());
  EXPECT_DOUBLE_EQ(completion.attempts.at(0).cost_usd.value(), 100e-6);
  EXPECT_EQ(completion.pair, (Pair{2, Budget(10)})) << "$4 · 12 tokens; the other pairs cost more";
}

TEST(Generate, DoesNotFallBackWhereAnotherModelWouldNotHelp) {
  for (const int status : {400, 401, 402, 403, 413, 422}) {
    const std::string url = server().script({{answer(status, {{"error", "no"}})}, {service()}});
    EXPECT_EQ(run(url).attempts.size(), 1U) << status;
  }
  // A bad key is the caller's, whatever the status.
  for (const int status : {200, 400, 403}) {
    const std::string url = server().script(
        {{answer(status, {{"error", {{"message", "API key not valid"}}}})}, {service()}});
    EXPECT_EQ(run(url).failure.value().code, ErrorCode::kAuthentication);
    EXPECT_EQ(server().requests(url).size(), 1U) << status;
  }
  // What has been streamed cannot be taken back.
  const std::string url = server().script({{send_stream(text_event("Half")), kReset}, {service()}});
  const Completion completion = run(url, decision_of_three(), {.on_text = [](std::string_view) {}});
  EXPECT_EQ(completion.attempts.size(), 1U);
  EXPECT_EQ(completion.text, "Half");
}

TEST(Generate, SharesItsDeadline) {
  const std::string url = server().script({{kStall}});
  const Completion completion = run(url, decision_of_three(), {.timeout = 0.5});
  EXPECT_EQ(completion.failure.value().code, ErrorCode::kTimeout);
  EXPECT_EQ(completion.attempts.size(), 1U);
  EXPECT_GE(completion.seconds, 0.5);
  EXPECT_LT(completion.seconds, 3);
}

TEST(Generate, StopsAtOnceWhenCancelled) {
  std::stop_source source;
  const std::string url =
      server().script({{send_stream(text_event("Half") + text_event(" more")), kStall}});
  const Completion completion = run(
      url, decision_of_three(),
      {.on_text = [&](std::string_view) { source.request_stop(); }, .cancel = source.get_token()});
  EXPECT_EQ(completion.failure.value().code, ErrorCode::kCancelled);
  EXPECT_THAT(completion.text, ::testing::StartsWith("Half"));
  EXPECT_LT(completion.seconds, 3);
}

TEST(Generate, NamesTheFallbacksToTheProvider) {
  const std::string url = server().script({{service({{"served_model", "vendor/model-2"}})}});
  Decision decision = decision_of_three();
  const Completion completion = run(url, decision, {.provider_fallback = true});
  Json body = server().requests(url).back().json();
  EXPECT_EQ(body.at("model"), "vendor/model-0");
  EXPECT_EQ(body.at("models"), (Json{"vendor/model-1", "vendor/model-2"}));
  EXPECT_EQ(body.at("max_tokens"), 120);
  EXPECT_TRUE(completion.redirected);
  // The bill is the serving model's: $4 a million.
  EXPECT_DOUBLE_EQ(completion.computed_usd.value(), 7 * 4e-6);
  EXPECT_EQ(completion.pair, (Pair{0, Budget(100)}));

  // Only what could be paid for: 120 tokens of model 1 cost 240 millionths, of model 2 480.
  decision.max_cost_usd = 300e-6;
  run(url, decision, {.provider_fallback = true});
  EXPECT_EQ(server().requests(url).back().json().at("models"), (Json{"vendor/model-1"}));

  // One that cannot write as much as the cap, that is at another endpoint, or of the same family.
  decision.max_cost_usd.reset();
  const Pool before = *decision.pool;
  for (const auto& change : std::vector<std::function<void(Pool&)>>{
           [](Pool& pool) { pool[1].max_output_tokens = 119; },
           [](Pool& pool) { pool[1].endpoint = "local"; },
           [](Pool& pool) { pool[0].family = pool[1].family = "f"; }}) {
    Pool changed = before;
    change(changed);
    decision.pool = std::make_shared<const Pool>(changed);
    run(url, decision, {.provider_fallback = true});
    EXPECT_EQ(server().requests(url).back().json().at("models"), (Json{"vendor/model-2"}));
  }
  decision.pool = std::make_shared<const Pool>(before);

  // A model with another instruction cannot answer in place of the first.
  Pool pool = *decision.pool;
  pool[1].instruction = "Be brief.";
  decision.pool = std::make_shared<const Pool>(pool);
  run(url, decision, {.provider_fallback = true});
  EXPECT_EQ(server().requests(url).back().json().at("models"), (Json{"vendor/model-2"}));
}

TEST(Generate, CountsAnUnknownOutcomeAsFullyCharged) {
  // The chosen pair may cost 120 millionths of a dollar. A reset leaves open whether it did.
  Decision decision = decision_of_three();
  const std::string url = server().script({{kReset}, {kReset}, {service()}});
  decision.max_cost_usd = 119e-6;
  Completion completion = run(url, decision);
  EXPECT_EQ(completion.failure.value().code, ErrorCode::kBudget);
  EXPECT_TRUE(completion.attempts.empty());
  EXPECT_THAT(completion.failure->message, HasSubstr("$0.00012"));

  decision.max_cost_usd = 160e-6;
  completion = run(server().script({{kReset}, {kReset}, {service()}}), decision);
  // No retry (120 + 120), but model-2's pair of 10 tokens (120 + 48 > 160) does not fit either.
  EXPECT_EQ(completion.failure.value().code, ErrorCode::kConnection);
  EXPECT_EQ(completion.attempts.size(), 1U);
  EXPECT_THAT(completion.failure->message, HasSubstr("cost limit"));

  decision.max_cost_usd = 170e-6;
  completion = run(server().script({{kReset}, {kReset}, {service()}}), decision);
  EXPECT_EQ(completion.failure.value().code, ErrorCode::kConnection);
  EXPECT_THAT(models_asked(completion), ElementsAre("vendor/model-0", "vendor/model-2"));

  // Definite refusals cost nothing.
  const Json failing = Json::array({answer(500, {{"error", "down"}})});
  decision.max_cost_usd = 120e-6;
  completion = run(server().script({failing, failing, {service()}}), decision);
  EXPECT_TRUE(completion.ok());
  EXPECT_EQ(completion.pair, (Pair{1, Budget(50)}));  // 60 tokens at $2; 1000 would not fit
}

TEST(Generate, RefusesWhatMakesNoSense) {
  const auto client = make_openai_client(chat_endpoint("http://127.0.0.1:1"));
  const auto refuses = [&](const std::string& part, const Decision& decision,
                           const std::vector<Message>& messages = kMessages,
                           const GenerateOptions& options = {}) {
    expect_error(ErrorCode::kInvalidArgument, part,
                 [&] { generate(*client, messages, decision, kPrompt, options); });
  };
  Decision decision = decision_of_three();
  refuses("no messages", decision, {});
  refuses("timeout", decision, kMessages, {.timeout = 0.0});
  refuses("timeout", decision, kMessages, {.timeout = NAN});
  refuses("temperature", decision, kMessages, {.temperature = -0.5});
  refuses("a decision of a router", Decision{});
  decision.chosen.max_tokens = 0;
  refuses("a decision of a router", decision);
  decision = decision_of_three();
  decision.chosen.model = 4;
  refuses("\"model-4\" has no catalogue name", decision);
}

}  // namespace
}  // namespace r2router::llm
