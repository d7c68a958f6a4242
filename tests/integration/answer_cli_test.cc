// The route command with servers: embeddings that it asks for, answers that it gets, and what it
// does when either fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "r2router/llm/generate.h"
#include "r2router/llm/http_encoder.h"
#include "r2router/router.h"

#include "support/fault_server.h"
#include "support/heads.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::answer;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::lines_of;
using ::testing::Not;
using testing::Outcome;
using testing::Process;
using testing::put_file;
using testing::run_at_terminal;
using testing::SeenRequest;
using testing::service;
using ::testing::StartsWith;
using testing::wait_until;

constexpr const char* kPrompt = "Solve the equation: 2x + 5 = 13";
constexpr const char* kKey = "sk-never-to-be-seen-7f3a";
constexpr std::size_t kDimension = 64;

json error(int status, const std::string& message) {
  return answer(status, {{"error", {{"code", status}, {"message", message}}}});
}

class AnswerCli : public ::testing::Test {
 protected:
  AnswerCli() {
    Checkpoint checkpoint = testing::random_checkpoint(5, 3, kDimension, 1);
    checkpoint.config.policy.lambda = 0.9;
    checkpoint.config.budget_prompt = "At most {budget} tokens.";
    save_checkpoint(checkpoint, external_);
    checkpoint.config.embedding_model = "lexical";
    checkpoint.config.encoder = LexicalEncoderSpec{.dimension = kDimension};
    save_checkpoint(checkpoint, lexical_);
    ::setenv("OPENROUTER_API_KEY", kKey, 1);
  }
  ~AnswerCli() override { ::unsetenv("OPENROUTER_API_KEY"); }

  static std::vector<std::string> command(const std::string& checkpoint,
                                          const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {R2ROUTER_CLI, "route", "--checkpoint-dir", checkpoint};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  /// Every run is looked through for the key.
  static Outcome checked(const Outcome& outcome) {
    EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr(kKey)));
    return outcome;
  }

  Outcome route(const std::vector<std::string>& arguments, const std::string& input = {}) const {
    return checked(testing::run(command(lexical_, arguments), input));
  }
  Outcome route_external(const std::vector<std::string>& arguments,
                         const std::string& input = {}) const {
    return checked(testing::run(command(external_, arguments), input));
  }

  std::string write(const std::string& name, const std::string& contents) const {
    put_file(folder_ / name, contents);
    return folder_ / name;
  }

  /// JSON lines of queries "query 0", "query 1", …
  static std::string queries(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      lines += json{{"id", i}, {"query", "query " + std::to_string(i)}}.dump() + "\n";
    }
    return lines;
  }

  Decision decide(const std::string& query) const {
    return Router::from_pretrained(lexical_).route_text(
        query, {.policy = {.available_only = true}, .rank = true});
  }

  FaultServer& server_ = FaultServer::instance();
  testing::TemporaryFolder folder_;
  const std::string lexical_ = folder_ / "lexical";
  const std::string external_ = folder_ / "external";
};

// --- one query

TEST_F(AnswerCli, AnswersAQueryForAPerson) {
  const std::string url = server_.script({{service({{"text", "x = 4\r\n\x1b[2J"}})}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  const std::string model = decide(kPrompt).model().name;
  const std::string rule = std::string(72, '-') + '\n';
  EXPECT_THAT(outcome.out, StartsWith("Candidate LLMs:    model-0, model-1, model-2, model-4\n"));
  EXPECT_THAT(outcome.out, HasSubstr("\nSelected LLM:      " + model + "  "));
  // The terminal is not the model's to command.
  EXPECT_THAT(outcome.out, HasSubstr(rule + "x = 4\n\uFFFD[2J\n" + rule + model + ", "));
  EXPECT_THAT(lines_of(outcome.out).back(), HasSubstr(" tokens in, 7 out, $0.0"));
}

TEST_F(AnswerCli, SendsThePairThatWasChosen) {
  const std::string url = server_.script({{service()}});
  const Outcome outcome =
      route({"--query", kPrompt, "--llm-api-base", url, "--temperature", "0.25", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto requests = server_.requests(url);
  ASSERT_EQ(requests.size(), 1u);
  const Decision decision = decide(kPrompt);
  const json body = requests[0].json();
  EXPECT_EQ(requests[0].header("authorization"), std::string("Bearer ") + kKey);
  EXPECT_EQ(body.at("model"), decision.model().openrouter_id);
  EXPECT_EQ(body.at("max_tokens"), decision.chosen.max_tokens);
  EXPECT_EQ(body.at("temperature"), 0.25);
  EXPECT_EQ(body.at("messages").back().at("content"), kPrompt);
  const std::string instruction =
      llm::budget_instruction("At most {budget} tokens.", decision.chosen.budget);
  if (!instruction.empty()) {
    EXPECT_EQ(body.at("messages")[0].at("content"), instruction);
  }
}

TEST_F(AnswerCli, PrintsTheAnswerAsJson) {
  const Decision decision = decide(kPrompt);
  const std::string& model = decision.model().openrouter_id;
  const std::string url = server_.script(
      {{service({{"prices", {{model, {1.5, 2.5}}}}, {"tokens", 9}, {"reasoning", 2}})}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  ASSERT_EQ(lines_of(outcome.out).size(), 1u);
  const json line = json::parse(outcome.out);
  EXPECT_EQ(line.at("query"), kPrompt);
  EXPECT_EQ(line.at("model"), decision.model().name);
  EXPECT_EQ(line.at("predicted_cost_usd"), decision.chosen.cost_usd);
  EXPECT_EQ(line.at("response"), std::string("An answer to: ") + kPrompt);
  const std::int64_t prompt_tokens = line.at("usage").at("prompt_tokens");
  EXPECT_EQ(line.at("usage").at("completion_tokens"), 9);
  EXPECT_EQ(line.at("usage").at("reasoning_tokens"), 2);
  EXPECT_DOUBLE_EQ(line.at("charged_usd"), (prompt_tokens * 1.5 + 9 * 2.5) / 1e6);
  EXPECT_DOUBLE_EQ(
      line.at("computed_usd"),
      (prompt_tokens * decision.model().prices.input + 9 * decision.model().prices.output) / 1e6);
  EXPECT_EQ(line.at("served_model"), model);
  EXPECT_EQ(line.at("redirected"), false);
  EXPECT_EQ(line.at("finish_reason"), "stop");
  ASSERT_EQ(line.at("attempts").size(), 1u);
  EXPECT_EQ(line.at("attempts")[0].at("http_status"), 200);
  EXPECT_EQ(line.at("attempts")[0].at("max_tokens"), decision.chosen.max_tokens);
  EXPECT_FALSE(line.contains("all_options"));
}

TEST_F(AnswerCli, StreamsAnAnswerAsItComes) {
  const std::string url = server_.script({{service({{"text", "one two three"}, {"pause", 0.4}})}});
  Process process(command(lexical_, {"--query", kPrompt, "--llm-api-base", url, "--stream"}));
  EXPECT_TRUE(wait_until([&] { return process.out().find("one") != std::string::npos; }));
  EXPECT_THAT(process.out(), Not(HasSubstr("three"))) << "it came in one piece";
  const Outcome outcome = checked(process.wait());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("-\none two three\n-"));
  EXPECT_THAT(lines_of(outcome.out).back(), HasSubstr("first text after "));
}

TEST_F(AnswerCli, FallsBackToTheNextModelAndSaysSo) {
  const std::string url = server_.script({{error(404, "no endpoints found")}, {service()}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json line = json::parse(outcome.out);
  const Decision decision = decide(kPrompt);
  const json& attempts = line.at("attempts");
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0].at("model"), decision.model().name);
  EXPECT_EQ(attempts[0].at("http_status"), 404);
  EXPECT_EQ(attempts[0].at("error"), "not_found");
  EXPECT_THAT(attempts[0].at("message").get<std::string>(), HasSubstr("no endpoints found"));
  // What is printed of the pair is what was predicted of the one that answered.
  const auto other =
      std::find_if(decision.ranking.begin(), decision.ranking.end(),
                   [&](const Option& option) { return option.model != decision.chosen.model; });
  EXPECT_EQ(attempts[1].at("model"), decision.model(*other).name);
  EXPECT_EQ(line.at("model"), decision.model(*other).name);
  EXPECT_EQ(line.at("risk"), other->utility);
  EXPECT_THAT(route({"--query", kPrompt, "--llm-api-base",
                     server_.script({{error(404, "gone")}, {service()}})})
                  .out,
              HasSubstr(", 2 attempts"));
}

TEST_F(AnswerCli, FallsBackWhereAModelGivesNoText) {
  const auto reply = [](const json& message, const char* reason) {
    return json::array(
        {answer(200, {{"choices", {{{"message", message}, {"finish_reason", reason}}}},
                      {"usage", {{"prompt_tokens", 5}, {"completion_tokens", 3}}}})});
  };
  const json refusal = reply({{"content", nullptr}, {"refusal", "I can't help."}}, "stop");
  const json thought = reply({{"content", ""}, {"reasoning_content", "Paris?"}}, "stop");
  const std::string url = server_.script({refusal, thought, {service()}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json line = json::parse(outcome.out);
  EXPECT_EQ(line.at("response"), std::string("An answer to: ") + kPrompt);
  EXPECT_TRUE(line.at("refusal").is_null());
  EXPECT_TRUE(line.at("reasoning").is_null());
  ASSERT_EQ(line.at("attempts").size(), 3u);
  std::set<std::string> models;
  for (const json& attempt : line.at("attempts")) models.insert(attempt.at("model"));
  EXPECT_EQ(models.size(), 3u);
  EXPECT_EQ(line.at("attempts")[0].at("error"), "no_answer");
  EXPECT_THAT(line.at("attempts")[0].at("message").get<std::string>(), HasSubstr("I can't help."));

  // Alone, its words are in fields of their own.
  const auto alone = [&](const json& steps) {
    const Outcome failed =
        route({"--query", kPrompt, "--llm-api-base", server_.script(json::array({steps})),
               "--max-fallbacks", "0", "--json"});
    EXPECT_EQ(failed.exit_code, 1);
    EXPECT_EQ(lines_of(failed.err).size(), 1u);
    const json said = json::parse(failed.out);
    EXPECT_EQ(said.at("error_code"), "no_answer");
    EXPECT_EQ(said.at("response"), "");
    return said;
  };
  EXPECT_EQ(alone(refusal).at("refusal"), "I can't help.");
  EXPECT_EQ(alone(thought).at("reasoning"), "Paris?");
}

TEST_F(AnswerCli, FallsBackFromAStreamWithoutText) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
  const std::string events =
      R"(data: {"choices": [{"delta": {"content": "\n"}}]})"
      "\n\n"
      R"(data: {"choices": [{"delta": {"reasoning": "hm"}, "finish_reason": "stop"}]})"
      "\n\ndata: [DONE]\n\n";
  const std::string url = server_.script(
      {{{{"send", head + events}}, {{"close", true}}}, {service({{"text", "Paris."}})}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--stream"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("-\nParis.\n-")) << "the white space has not been printed";
  EXPECT_THAT(outcome.out, HasSubstr(", 2 attempts"));
}

TEST_F(AnswerCli, FallsBackFromAModelThatTheQueryIsTooLongFor) {
  const std::string url = server_.script(
      {{error(400, "This model's maximum context length is 2048 tokens. You requested 2723.")},
       {service()}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out).at("attempts")[0].at("error"), "too_long");
}

TEST_F(AnswerCli, SendsWhatEachModelTakes) {
  const std::string url = server_.script({{service({{"rejects", {"temperature", "max_tokens"}}})}});
  // Nothing is sent that nobody has set.
  EXPECT_EQ(route({"--query", kPrompt, "--llm-api-base", url, "--json"}).exit_code, 0);
  const auto sent = [&](std::size_t i) { return server_.requests(url).at(i).json(); };
  ASSERT_EQ(server_.requests(url).size(), 2u);
  EXPECT_FALSE(sent(0).contains("temperature"));
  EXPECT_TRUE(sent(0).contains("max_tokens"));
  EXPECT_EQ(sent(1).at("max_completion_tokens"), sent(0).at("max_tokens"));
  // What is set and rejected is left out; each attempt is on record, and none is a fallback.
  const json line = json::parse(route({"--query", kPrompt, "--llm-api-base", url, "--temperature",
                                       "0.5", "--max-fallbacks", "0", "--json"})
                                    .out);
  ASSERT_EQ(line.at("attempts").size(), 3u);
  EXPECT_EQ(line.at("attempts")[0].at("http_status"), 400);
  EXPECT_EQ(line.at("attempts")[2].at("error"), nullptr);

  // A pool says so beforehand.
  json models = json::object();
  for (int i = 0; i < 5; ++i) {
    const std::string name = "model-" + std::to_string(i);
    models[name] = {{"openrouter_id", "pool/" + name},
                    {"input_price_per_million", 0},
                    {"output_price_per_million", 1},
                    {"omit", {"temperature", "max_tokens"}},
                    {"request", {{"reasoning_effort", "low"}}}};
  }
  const std::string pool = write("pool.json", json{{"models", models}}.dump());
  const std::string configured =
      server_.script({{service({{"rejects", {"temperature", "max_tokens"}}})}});
  EXPECT_EQ(route({"--query", kPrompt, "--llm-api-base", configured, "--pool", pool,
                   "--temperature", "0.5"})
                .exit_code,
            0);
  ASSERT_EQ(server_.requests(configured).size(), 1u);
  EXPECT_EQ(server_.requests(configured)[0].json().at("reasoning_effort"), "low");
}

TEST_F(AnswerCli, TakesBaseUrlsAsTheyArePasted) {
  const std::string url = server_.script({{service()}});
  const std::string port = url.substr(url.rfind(':'), url.rfind('/') - url.rfind(':'));
  const std::string pasted =
      " HTTP://LocalHost" + port + url.substr(url.rfind('/')) + "/v1/?api-version=2024-02-01\n";
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", pasted});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(server_.requests(url).at(0).path,
              ::testing::EndsWith("/v1/chat/completions?api-version=2024-02-01"));
}

TEST_F(AnswerCli, PartsThoughtsFromTheAnswerIfAsked) {
  const std::string url =
      server_.script({{service({{"text", "<think>\nhm\n</think>\n\nParis."}})}});
  const json whole = json::parse(route({"--query", kPrompt, "--llm-api-base", url, "--json"}).out);
  EXPECT_EQ(whole.at("response"), "<think>\nhm\n</think>\n\nParis.");
  const json split = json::parse(
      route({"--query", kPrompt, "--llm-api-base", url, "--json", "--split-thinking"}).out);
  EXPECT_EQ(split.at("response"), "Paris.");
  EXPECT_EQ(split.at("reasoning"), "hm");
}

TEST_F(AnswerCli, DoesNotGarbleMessagesForAShortKey) {
  for (const std::string key : {"1", "EMPTY"}) {
    const std::string url = server_.script({{error(401, "1 EMPTY key: Bearer " + key)}});
    const Outcome outcome =
        route({"--query", kPrompt, "--llm-api-base", url, "--llm-api-key", key});
    EXPECT_THAT(outcome.err, HasSubstr("error 401: \"1 EMPTY key: Bearer [key]\""));
  }
}

TEST_F(AnswerCli, AsksNoOtherModelIfToldSo) {
  const std::string url = server_.script({{error(404, "no endpoints found")}, {service()}});
  const Outcome outcome =
      route({"--query", kPrompt, "--llm-api-base", url, "--max-fallbacks", "0"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no endpoints found"));
  EXPECT_EQ(server_.requests(url).size(), 1u);
}

TEST_F(AnswerCli, AsksOnlyModelsThatAreAvailable) {
  // The reference rules would not leave them out.
  const std::string url = server_.script({{service()}});
  const Outcome outcome =
      route({"--input", "-", "--llm-api-base", url, "--rules", "reference"}, queries(40));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, Not(HasSubstr("model-3")));
}

TEST_F(AnswerCli, SaysWhenNothingFitsTheCostLimit) {
  const std::string url = server_.script({{service()}});
  const Outcome outcome =
      route({"--query", kPrompt, "--llm-api-base", url, "--max-cost", "0.0000001"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(lines_of(outcome.err).size(), 1u);
  EXPECT_THAT(outcome.err, HasSubstr("may cost up to $"));
  EXPECT_TRUE(server_.requests(url).empty());
  // In JSON lines it is reported in order.
  const Outcome lines =
      route({"--input", "-", "--llm-api-base", url, "--max-cost", "0.0000001"}, queries(2));
  EXPECT_EQ(lines.exit_code, 1);
  EXPECT_EQ(lines_of(lines.out).size(), 2u);
}

TEST_F(AnswerCli, TellsAWrongKeyWithoutShowingIt) {
  const std::string url = server_.script({{service({{"key", "the right one"}})}});
  for (const bool as_json : {false, true}) {
    std::vector<std::string> arguments = {"--query", kPrompt, "--llm-api-base", url};
    if (as_json) arguments.push_back("--json");
    const Outcome outcome = route(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.err, StartsWith("r2-router: error: "));
    EXPECT_THAT(outcome.err, HasSubstr("OPENROUTER_API_KEY"));
    EXPECT_EQ(lines_of(outcome.err).size(), 1u);
    if (as_json) {
      EXPECT_EQ(json::parse(outcome.out).at("error_code"), "authentication");
      EXPECT_EQ(json::parse(outcome.out).at("attempts").size(), 1u);
    }
  }
  // A server may say it aloud.
  const std::string echo = server_.script({{error(401, std::string("bad key ") + kKey)}});
  EXPECT_THAT(route({"--query", kPrompt, "--llm-api-base", echo}).err, HasSubstr("bad key "));
  EXPECT_EQ(route({"--input", "-", "--llm-api-base", echo}, queries(2)).exit_code, 1);
}

TEST_F(AnswerCli, TakesTheKeyFromTheCommandLineFirst) {
  const std::string url = server_.script({{service()}});
  const std::string other = "sk-another-0b1c";
  const Outcome outcome =
      route({"--query", kPrompt, "--llm-api-base", url, "--llm-api-key", other});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(server_.requests(url)[0].header("authorization"), "Bearer " + other);
  EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr(other)));
  // One that no header can hold is not shown either.
  const Outcome bad =
      route({"--query", kPrompt, "--llm-api-base", url, "--llm-api-key", other + "\n"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, Not(HasSubstr(other)));
}

TEST_F(AnswerCli, TellsAnAnswerThatWasCutWithWhatCameOfIt) {
  const std::string url = server_.script({{{{"send",
                                             "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream"
                                             "\r\n\r\ndata: {\"choices\": [{\"index\": 0, "
                                             "\"delta\": {\"content\": \"Half an ans\"}}]}\n\n"}},
                                           {{"reset", true}}}});
  const Outcome outcome = route({"--query", kPrompt, "--llm-api-base", url, "--stream"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("-\nHalf an ans\n-"));
  EXPECT_EQ(lines_of(outcome.err).size(), 1u);
}

TEST_F(AnswerCli, KeepsToItsTimeLimit) {
  const std::string url = server_.script({{{{"wait", 60}}}});
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome =
      route({"--query", kPrompt, "--llm-api-base", url, "--timeout", "0.3", "--json"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(json::parse(outcome.out).at("error_code"), "timeout");
}

TEST_F(AnswerCli, TrustsTheAuthorityThatItIsGiven) {
  const FaultServer::Listener listener = server_.listen("good");
  const std::string url = "https://127.0.0.1:" + listener.port + server_.path({{service()}});
  const Outcome trusted =
      route({"--query", kPrompt, "--llm-api-base", url, "--ca-file", listener.ca_file});
  EXPECT_EQ(trusted.exit_code, 0) << trusted.err;
  const Outcome refused =
      route({"--query", kPrompt, "--llm-api-base", url, "--max-fallbacks", "0", "--json"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(json::parse(refused.out).at("error_code"), "untrusted");
}

TEST_F(AnswerCli, TakesPricesAndAvailabilityFromAPoolFile) {
  const Decision before = decide(kPrompt);
  json models = json::object();
  for (int i = 0; i < 4; ++i) {
    const std::string name = "model-" + std::to_string(i);
    if (name == before.model().name) continue;  // not listed: unavailable
    models[name] = {{"openrouter_id", "pool/" + name},
                    {"input_price_per_million", 0},
                    {"output_price_per_million", 0},
                    {"available", i != 3}};
  }
  const std::string pool = write("pool.json", json{{"models", models}}.dump());
  const std::string url = server_.script({{service()}});
  const Outcome outcome = route({"--query", kPrompt, "--rules", "corrected", "--pool", pool,
                                 "--llm-api-base", url, "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json line = json::parse(outcome.out);
  EXPECT_NE(line.at("model"), before.model().name);
  EXPECT_EQ(line.at("openrouter_id"), "pool/" + line.at("model").get<std::string>());
  EXPECT_EQ(line.at("predicted_cost_usd"), 0);
  EXPECT_EQ(server_.requests(url)[0].json().at("model"), line.at("openrouter_id"));
  EXPECT_THAT(outcome.err, HasSubstr("model " + before.model().name + ", "));
}

// --- several queries

TEST_F(AnswerCli, PrintsInOrderWhatFinishesOutOfOrder) {
  json answers = json::array();
  for (int i = 0; i < 8; ++i) {
    answers.push_back({{{"wait", i % 4 == 0 ? 0.4 : 0.0}}, service()});
  }
  const std::string url = server_.script(answers);
  const Outcome outcome =
      route({"--input", "-", "--llm-api-base", url, "--concurrency", "4"}, queries(8));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    const json line = json::parse(lines[i]);
    EXPECT_EQ(line.at("id"), i);
    EXPECT_EQ(line.at("response"), "An answer to: query " + std::to_string(i));
  }
  // Several were under way at once: they could not share a connection.
  std::set<int> connections;
  for (const SeenRequest& request : server_.requests(url)) connections.insert(request.connection);
  EXPECT_GT(connections.size(), 1u);
  EXPECT_LE(connections.size(), 4u);
}

TEST_F(AnswerCli, TellsAFailureInItsPlaceAndGoesOn) {
  const std::string url = server_.script({{service()}, {error(400, "bad request")}, {service()}});
  const std::string input =
      "{\"query\": \"a\", \"id\": 1}\nnot JSON\n{\"query\": \"b\", \"id\": 2}\n"
      "{\"embedding\": [1], \"id\": 3}\n{\"query\": \" \", \"id\": 4}\n{\"query\": \"c\", \"id\": "
      "5}\n";
  const Outcome outcome =
      route({"--input", "-", "--llm-api-base", url, "--concurrency", "1"}, input);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "");
  std::vector<json> lines;
  for (const std::string& line : lines_of(outcome.out)) lines.push_back(json::parse(line));
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0].at("response"), "An answer to: a");
  EXPECT_THAT(lines[1].at("error").get<std::string>(), HasSubstr("not valid JSON"));
  EXPECT_EQ(lines[1].at("line"), 2);
  EXPECT_EQ(lines[2].at("id"), 2);
  EXPECT_THAT(lines[2].at("error").get<std::string>(), HasSubstr("bad request"));
  EXPECT_EQ(lines[2].at("error_code"), "refused");
  EXPECT_EQ(lines[2].at("line"), 3);
  EXPECT_EQ(lines[2].at("attempts")[0].at("http_status"), 400);
  EXPECT_THAT(lines[3].at("error").get<std::string>(), HasSubstr("cannot be answered"));
  EXPECT_THAT(lines[4].at("error").get<std::string>(), HasSubstr("empty"));
  EXPECT_EQ(lines[5].at("response"), "An answer to: c");
}

TEST_F(AnswerCli, GoesOnWithTheNextLineOfAFileForPeople) {
  const std::string file = write("queries.txt", "first\nsecond\n\xFF\nthird\n");
  for (const bool stream : {false, true}) {
    const std::string url = server_.script({{service()}, {error(400, "bad request")}, {service()}});
    std::vector<std::string> arguments = {"--file", file, "--llm-api-base", url};
    arguments.push_back(stream ? "--stream" : "--concurrency=1");
    const Outcome outcome = route(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.out, HasSubstr("An answer to: first\n"));
    EXPECT_THAT(outcome.out, HasSubstr("\nNot answered:      "));
    EXPECT_THAT(outcome.out, HasSubstr("bad request"));
    EXPECT_THAT(outcome.out, HasSubstr(file + ":3 at byte "));
    EXPECT_THAT(outcome.out, HasSubstr("An answer to: third\n"));
    EXPECT_EQ(outcome.err, "r2-router: error: 2 of 4 queries were not answered\n");
  }
}

TEST_F(AnswerCli, CtrlCPrintsWhatIsFinishedAndCancelsTheRest) {
  // One of the first two hangs; those after it are answered, but have to wait for their turn.
  const std::string url = server_.script({{{{"wait", 60}}}, {service()}});
  const std::string file = write("queries.jsonl", queries(100));
  Process process(
      command(lexical_, {"--input", file, "--llm-api-base", url, "--concurrency", "2"}));
  EXPECT_TRUE(wait_until([&] { return server_.requests(url).size() >= 5; }));
  const auto begin = std::chrono::steady_clock::now();
  process.signal(SIGINT);
  const Outcome outcome = checked(process.wait());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.err, StartsWith("r2-router: interrupted: "));
  int answered = 0;
  int cancelled = 0;
  const auto lines = lines_of(outcome.out);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const json line = json::parse(lines[i]);
    EXPECT_EQ(line.at("id"), i);
    if (line.contains("error")) {
      EXPECT_EQ(line.at("error_code"), "cancelled");
      ++cancelled;
    } else {
      EXPECT_EQ(line.at("response"), "An answer to: query " + std::to_string(i));
      ++answered;
    }
  }
  EXPECT_GE(answered, 4);
  EXPECT_GE(cancelled, 1);
  EXPECT_LT(lines.size(), 20u) << "new queries were begun";
}

TEST_F(AnswerCli, CtrlCEndsTheWaitForInput) {
  const std::string url = server_.script({{service()}});
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  Process process(command(lexical_, {"--input", "-", "--llm-api-base", url}), pipe[0]);
  const std::string first = queries(1) + "{\"query\": \"half a li";
  ASSERT_EQ(::write(pipe[1], first.data(), first.size()), static_cast<ssize_t>(first.size()));
  // Answered at once, although more input may come.
  EXPECT_TRUE(wait_until([&] { return !process.out().empty(); }));
  process.signal(SIGINT);
  const Outcome outcome = checked(process.wait());
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_EQ(lines_of(outcome.out).size(), 1u);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_F(AnswerCli, CtrlCEndsAStreamWithWhatHasCome) {
  const std::string url = server_.script({{service({{"text", "one two"}, {"pause", 30}})}});
  Process process(command(lexical_, {"--query", kPrompt, "--llm-api-base", url, "--stream"}));
  // Its first piece is empty, and comes with the headers.
  EXPECT_TRUE(wait_until([&] { return server_.requests(url).size() == 1; }));
  process.signal(SIGINT);
  const Outcome outcome = checked(process.wait());
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.out, HasSubstr("\nSelected LLM: "));
}

TEST_F(AnswerCli, StaysDeafToCtrlCInTheBackground) {
  // Like a background job of a shell.
  const auto old = std::signal(SIGINT, SIG_IGN);
  const std::string url = server_.script({{{{"wait", 0.5}}, service()}});
  Process process(command(lexical_, {"--query", kPrompt, "--llm-api-base", url}));
  std::signal(SIGINT, old);
  EXPECT_TRUE(wait_until([&] { return server_.requests(url).size() == 1; }));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().exit_code, 0);
}

TEST_F(AnswerCli, ShowsProgressOnATerminal) {
  const std::string url = server_.script({{service()}});
  const std::string file = write("queries.jsonl", queries(3));
  const Outcome outcome =
      checked(run_at_terminal(command(lexical_, {"--input", file, "--llm-api-base", url}), ""));
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(lines_of(outcome.out).size(), 3u);
  EXPECT_THAT(outcome.err, HasSubstr("\r\x1b[K3 queries answered"));
  EXPECT_THAT(outcome.err, ::testing::EndsWith("\r\x1b[K")) << "the line is left behind";
}

TEST_F(AnswerCli, TellsThatItsOutputCannotBeWritten) {
  const std::string url = server_.script({{service()}});
  const Outcome outcome = testing::run(command(lexical_, {"--input", "-", "--llm-api-base", url}),
                                       queries(50), "/dev/full");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write to standard output"));
  EXPECT_LT(server_.requests(url).size(), 50u) << "it went on asking in vain";
}

// --- embedding servers

TEST_F(AnswerCli, HasTextEmbeddedInBatches) {
  const std::string url = server_.script({{service({{"dimension", kDimension}})}});
  const Outcome outcome = route_external({"--input", "-", "--embed-url", url}, queries(50));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto requests = server_.requests(url);
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].json().at("model"), "random");  // as the checkpoint calls it
  EXPECT_EQ(requests[0].header("authorization"), "") << "the key is for another server";

  const auto encoder =
      llm::make_http_encoder({.base_url = url}, {.model = "m", .dimension = kDimension});
  const Router router = Router::from_pretrained(external_, {.encoder = encoder});
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 50u);
  for (int i = 0; i < 50; ++i) {
    const json line = json::parse(lines[i]);
    const Decision decision = router.route_text("query " + std::to_string(i));
    EXPECT_EQ(line.at("model"), decision.model().name);
    EXPECT_EQ(line.at("risk"), decision.chosen.utility);
  }
}

TEST_F(AnswerCli, NamesTheEmbeddingModelAndKeyAsTold) {
  const std::string url = server_.script({{service({{"dimension", kDimension}})}});
  const Outcome outcome =
      route_external({"--query", kPrompt, "--embed-url", url, "--embed-model", "other/name",
                      "--embed-api-key", "sk-embed-51", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto requests = server_.requests(url);
  EXPECT_EQ(requests[0].json().at("model"), "other/name");
  EXPECT_EQ(requests[0].header("authorization"), "Bearer sk-embed-51");
}

TEST_F(AnswerCli, FindsTheOneTextThatTheServerRefuses) {
  for (const int status : {400, 500}) {
    const json refusal = error(status, "input is too large").at("answer");
    const std::string url = server_.script({{service(
        {{"dimension", kDimension}, {"refuse", {{"containing", "y 1"}, {"answer", refusal}}}})}});
    const Outcome outcome = route_external({"--input", "-", "--embed-url", url}, queries(3));
    EXPECT_EQ(outcome.exit_code, 1);
    const auto lines = lines_of(outcome.out);
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_TRUE(json::parse(lines[0]).contains("model"));
    EXPECT_EQ(json::parse(lines[1]).at("line"), 2);
    EXPECT_THAT(json::parse(lines[1]).at("error").get<std::string>(), HasSubstr("too large"));
    EXPECT_TRUE(json::parse(lines[2]).contains("model"));

    // Plain text has the error in its place.
    const Outcome text =
        route_external({"--file", "-", "--embed-url", url}, "query 0\nquery 1\nquery 2\n");
    EXPECT_EQ(text.exit_code, 1);
    EXPECT_THAT(text.out, HasSubstr("Query:             query 1\nNot routed:        http://"));
    EXPECT_THAT(text.out, HasSubstr("Query:             query 2\nSelected LLM:"));
    EXPECT_EQ(lines_of(text.err).size(), 1u);
    EXPECT_THAT(text.err, HasSubstr("1 of 3 queries were not routed"));
  }
}

TEST_F(AnswerCli, RefusesAnEmbeddingOfZeros) {
  const std::string url =
      server_.script({{service({{"dimension", kDimension}, {"zero", "query"}})}});
  const Outcome outcome = route_external({"--query", "a query", "--embed-url", url});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("data[0].embedding is all zeros"));
  const json line = {{"embedding", std::vector<int>(kDimension)}};
  const Outcome given = route_external({"--input", "-"}, line.dump() + "\n");
  EXPECT_EQ(given.exit_code, 1);
  EXPECT_THAT(given.out, HasSubstr("the embedding is all zeros"));
}

TEST_F(AnswerCli, TellsEveryQueryThatTheEmbeddingServerIsAway) {
  const std::string url = "http://127.0.0.1:" + server_.closed_port();
  const Outcome outcome =
      route_external({"--input", "-", "--embed-url", url, "--timeout", "0.2"}, queries(3));
  EXPECT_EQ(outcome.exit_code, 1);
  const auto lines = lines_of(outcome.out);
  ASSERT_EQ(lines.size(), 3u);
  for (const std::string& line : lines) {
    EXPECT_THAT(json::parse(line).at("error").get<std::string>(), HasSubstr("127.0.0.1"));
  }
  // Plain text that is only routed stops, but keeps the output before it.
  const Outcome text =
      route_external({"--file", "-", "--embed-url", url, "--timeout", "0.2"}, "a\nb\n");
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_EQ(lines_of(text.err).size(), 1u);
}

TEST_F(AnswerCli, RefusesAnEmbeddingServerWhereItIsOfNoUse) {
  const Outcome outcome =
      route({"--query", kPrompt, "--embed-url", "http://127.0.0.1:" + server_.port()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("remove --embed-url"));
  const Outcome file = route({"--query", kPrompt, "--encoder", "model.gguf"});
  EXPECT_EQ(file.exit_code, 1);
  EXPECT_THAT(file.err, HasSubstr("remove --encoder"));
  const Outcome none = route_external({"--query", kPrompt});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("--embed-url"));
}

TEST_F(AnswerCli, NamesAnEmbeddingModelThatItCannotRun) {
  const Outcome outcome = route_external({"--query", kPrompt, "--encoder", "no-such.gguf"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(lines_of(outcome.err).size(), 1u);
  EXPECT_THAT(outcome.err, HasSubstr("no-such.gguf"));
}

// --- usage

TEST_F(AnswerCli, RefusesOptionsThatDoNotGoTogether) {
  const auto expect_usage_error = [&](const std::vector<std::string>& arguments,
                                      const std::string& part) {
    const Outcome outcome = route(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << part;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(lines_of(outcome.err).size(), 1u);
  };
  const std::string base = "http://127.0.0.1:9";
  expect_usage_error({"--query", "a", "--stream"}, "--llm-api-base");
  expect_usage_error({"--query", "a", "--llm-api-key", kKey}, "--llm-api-base");
  expect_usage_error({"--query", "a", "--embed-model", "m"}, "--embed-url");
  expect_usage_error({"--query", "a", "--encoder", "m.gguf", "--embed-url", base}, "--encoder");
  expect_usage_error({"--embeddings", "x.npy", "--encoder", "m.gguf"}, "--embeddings");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--stream", "--json"}, "--stream");
  expect_usage_error({"--input", "-", "--llm-api-base", base, "--stream"}, "--stream");
  expect_usage_error({"--embeddings", "x.npy", "--llm-api-base", base}, "--embeddings");
  expect_usage_error({"--query", "a", "--llm-api-base", ""}, "--llm-api-base");
  expect_usage_error({"--query", "a", "--llm-api-base", "openrouter.ai"}, "http://");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--timeout", "0"}, "--timeout");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--timeout", "nan"}, "--timeout");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--temperature", "-1"},
                     "--temperature");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--concurrency", "0"},
                     "--concurrency");
  expect_usage_error({"--query", "a", "--llm-api-base", base, "--cap-field", "tokens"},
                     "max_completion_tokens or max_tokens");
  expect_usage_error({"--query", "a", "--max-cost", "-1"}, "--max-cost");
  expect_usage_error({"--query", "a", "--max-cost", "nan"}, "--max-cost");
}

TEST_F(AnswerCli, SendsTheCapInTheFieldThatItIsTold) {
  const std::string url = server_.script({{service()}});
  EXPECT_EQ(
      route({"--query", kPrompt, "--llm-api-base", url, "--cap-field", "max_completion_tokens"})
          .exit_code,
      0);
  EXPECT_TRUE(server_.requests(url)[0].json().contains("max_completion_tokens"));
}

TEST_F(AnswerCli, WarnsOfKeysOnTheCommandLine) {
  const Outcome help = testing::run({R2ROUTER_CLI, "route", "--help"});
  EXPECT_THAT(help.out, HasSubstr("--llm-api-key"));
  EXPECT_THAT(help.out, HasSubstr("OPENROUTER_API_KEY"));
  EXPECT_THAT(help.out, HasSubstr("safer"));
}

// --- a released checkpoint, an embedding server and an LLM server: the reference's flow

void expect_answered(const Outcome& outcome, const std::string& embed_url,
                     const std::string& llm_url, const std::string& embedding_model) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json line = json::parse(outcome.out);
  for (const char* key : {"query", "response", "model", "openrouter_id", "budget",
                          "predicted_quality", "predicted_cost_usd", "risk", "usage"}) {
    EXPECT_TRUE(line.contains(key)) << key;  // what the published package prints
  }
  auto& server = FaultServer::instance();
  const auto embedded = server.requests(embed_url);
  ASSERT_EQ(embedded.size(), 1u);
  EXPECT_EQ(embedded[0].path, embed_url.substr(embed_url.rfind('/')) + "/v1/embeddings");
  EXPECT_EQ(embedded[0].json().at("model"), embedding_model);
  const auto asked = server.requests(llm_url);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].json().at("model"), line.at("openrouter_id"));
}

TEST_F(AnswerCli, AReleasedFolderIsRoutedAndAnswered) {
  const fs::path fixtures = fs::path(R2ROUTER_SOURCE_DIR) / "tests" / "golden" / "joblib";
  const std::string released = folder_ / "released";
  json config = {{"embedding_dim", 5}, {"embedding_model", "five/numbers"}};
  for (const std::string name : {"first", "second"}) {
    const fs::path model = fs::path(released) / "checkpoints" / (name + "_ridge");
    fs::create_directories(model);
    fs::copy(fixtures / "numpy2_float32_protocol4.joblib",
             model / "limited_score_predictors.joblib");
    fs::copy(fixtures / "numpy2_float32_one.joblib", model / "unlimited_score_predictor.joblib");
    fs::copy(fixtures / "numpy2_solver_lsqr.joblib", model / "unlimited_token_predictor.joblib");
    config["models"][name] = {{"openrouter_id", "vendor/" + name},
                              {"input_price_per_million", 1},
                              {"output_price_per_million", 2},
                              {"checkpoint_dir", name + "_ridge"}};
  }
  put_file(released + "/config.json", config.dump());
  const std::string embed = server_.script({{service({{"dimension", 5}})}});
  const std::string llm = server_.script({{service()}});
  expect_answered(checked(testing::run(command(released, {"--query", kPrompt, "--embed-url", embed,
                                                          "--llm-api-base", llm, "--json"}))),
                  embed, llm, "five/numbers");
}

TEST_F(AnswerCli, ThePublishedCheckpointIsRoutedAndAnswered) {
  const std::string embed = server_.script({{service({{"dimension", 1024}})}});
  const std::string llm = server_.script({{service()}});
  expect_answered(
      checked(testing::run(command("r2-router", {"--query", kPrompt, "--embed-url", embed,
                                                 "--llm-api-base", llm, "--json"}))),
      embed, llm, "Qwen/Qwen3-0.6B");
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
