// generate() with a router, against a server that takes all it is allowed to.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/llm/generate.h"
#include "r2router/router.h"

#include "pool/model_spec.h"
#include "support/chat.h"
#include "support/fault_server.h"
#include "support/heads.h"
#include "support/prices.h"

namespace r2router {
namespace {

using testing::answer;
using testing::chat_endpoint;
using testing::expect_sound;
using testing::FaultServer;
using testing::kReset;
using testing::kStall;
using testing::service;
using Json = nlohmann::json;

constexpr std::size_t kDimension = 64;

FaultServer& server() { return FaultServer::instance(); }

Router text_router() {
  Checkpoint checkpoint = testing::random_checkpoint(6, 5, kDimension, 61, true);
  checkpoint.config.policy.rules = DecisionRules::kCorrected;
  checkpoint.config.budget_prompt = "Use at most {budget} tokens, whatever the question.";
  for (std::size_t model = 0; model < checkpoint.config.models.size(); model += 2) {
    checkpoint.config.models[model].instruction = std::string(40 * model, '!') + " Be brief.";
    checkpoint.config.models[model].instruction_tokens = 3;
  }
  return Router(std::move(checkpoint),
                {.encoder = make_lexical_encoder({.dimension = kDimension})});
}

/// A server that always answers with as many tokens as it may, at the pool's prices.
Json greedy_service(const Pool& pool) {
  Json prices;
  for (const ModelSpec& model : pool) {
    prices[model.openrouter_id] = {model.prices.input, model.prices.output};
  }
  return service({{"tokens", "all"}, {"prices", prices}});
}

/// What the server could have charged for a request, at the most, USD.
double highest_charge(const testing::SeenRequest& request, const Pool& pool) {
  const Json body = request.json();
  const auto model =
      std::ranges::find(pool, body.at("model").get<std::string>(), &ModelSpec::openrouter_id);
  std::size_t prompt = 0;
  for (const Json& message : body.at("messages")) {
    prompt += message.at("content").get<std::string>().size() + 8;
  }
  return (static_cast<double>(prompt) * model->prices.input +
          body.at("max_tokens").get<double>() * model->prices.output) /
         1e6;
}

/// A router whose models have random prices with every component.
Router router_at_random_prices(std::mt19937_64& random, std::uint64_t seed) {
  Checkpoint checkpoint = testing::random_checkpoint(6, 5, kDimension, seed, true);
  checkpoint.config.policy.rules = DecisionRules::kCorrected;
  checkpoint.config.budget_prompt = "Use at most {budget} tokens, whatever the question.";
  for (ModelSpec& model : checkpoint.config.models) {
    model.prices = testing::random_prices(random, 100);
    model.available = true;
  }
  checkpoint.config.models.front().prices.unknown = {{"web_search", "0.01"}};
  return Router(std::move(checkpoint),
                {.encoder = make_lexical_encoder({.dimension = kDimension})});
}

// A server that bills the whole price of every request but those that it refuses, whether or not it
// answers and whatever it says of its bill, against the cost limit of calls with retries, fallbacks
// and fallbacks named to the provider.
TEST(RouterGenerate, StaysWithinTheCostLimitAtPricesWithEveryComponent) {
  std::mt19937_64 random(63);
  std::map<std::string, int> seen;
  for (int i = 0; i < 600; ++i) {
    const Router router = router_at_random_prices(random, 100 + i % 7);
    const Pool& pool = router.pool();
    std::string query = "?";
    for (std::size_t words = random() % 60; words > 0; --words) query += " word";
    const RouteOptions route{
        .policy = {.lambda = std::vector{0.0, 0.9, 0.999, 0.99999}[random() % 4],
                   .max_cost_usd =
                       1e-6 * std::exp(0.01 * static_cast<double>(300 + random() % 600))},
        .rank = true};
    const auto images = static_cast<std::uint32_t>(random() % 3 == 0 ? random() % 3 : 0);
    Decision decision;
    try {
      decision = router.route({.text = query, .size = {.images = images}}, route);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kBudget) << error.what();
      ++seen["nothing fits"];
      continue;
    }
    for (const Option& option : decision.ranking) {
      ASSERT_LE(option.worst_case_cost_usd, *route.policy.max_cost_usd);
      ASSERT_TRUE(decision.model(option).prices.unknown.empty());
    }

    Json prices;
    for (const ModelSpec& model : pool) {
      nlohmann::ordered_json fields;
      io::add_prices(model.prices, fields);
      prices[model.openrouter_id] = fields;
    }
    const std::string kind = std::vector<std::string>{"plain", "cached", "written"}[random() % 3];
    const bool reasons = random() % 2 == 0, silent = random() % 6 != 0;
    // An error that is not refused by its status is billed as well, and says what was used of it.
    const Json refused = answer(503, {{"error", "down"}});
    const Json failed = answer(200, {{"error", {{"code", 502}, {"message", "failed"}}}});
    const std::vector<Json> faults = {Json::array({refused}), Json::array({failed}),
                                      Json::array({kReset})};
    Json script = Json::array();
    for (std::size_t count = random() % 4; count > 0; --count) {
      script.push_back(faults[random() % 3]);
    }
    Json settings = {{"tokens", "all"},  {"prices", prices}, {"prompt", kind},
                     {"silent", silent}, {"images", images}, {"hides_details", random() % 3 == 0}};
    if (reasons) settings["reasoning"] = 15;  // fewer than any cap
    script.push_back(Json::array({service(settings)}));
    llm::Endpoint endpoint = chat_endpoint(server().script(script));
    endpoint.retry.max_retries = static_cast<std::uint32_t>(random() % 3);
    llm::GenerateOptions options{.max_fallbacks = static_cast<std::uint32_t>(random() % 4)};
    if (random() % 3 == 0) options.on_text = [](std::string_view) {};
    options.provider_fallback = random() % 3 == 0;
    const llm::Completion completion =
        llm::generate(*llm::make_openai_client(endpoint), router, query, decision, options);
    expect_sound(completion);
    ++seen[completion.ok() ? "answered" : "failed"];

    double total = 0, last = 0;
    const std::vector<testing::SeenRequest> requests = server().requests(endpoint.base_url);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      const Json& step = script[std::min(r, script.size() - 1)];
      if (step == faults[0]) continue;
      const Json body = requests[r].json();
      std::int64_t prompt = 0;
      for (const Json& message : body.at("messages")) {
        prompt += std::ssize(message.at("content").get<std::string>()) + 8;
      }
      const auto cap = body.at("max_tokens").get<std::int64_t>();
      const bool answered = r >= script.size() - 1;
      // What was billed for is all reasoning where no answer came.
      const std::int64_t reasoning = !reasons ? 0 : answered ? 15 : cap;
      const std::string model = body.at("model");
      last = testing::bill(std::ranges::find(pool, model, &ModelSpec::openrouter_id)->prices,
                           kind == "plain" ? prompt : 0, kind == "cached" ? prompt : 0,
                           kind == "written" ? prompt : 0, cap - reasoning, reasoning, images);
      total += last;
    }
    ASSERT_LE(total, *route.policy.max_cost_usd * (1 + 1e-12)) << requests.size() << " requests";
    if (completion.ok() && silent && !settings["hides_details"].get<bool>()) {
      ASSERT_NEAR(completion.computed_usd.value(), last, 1e-12);
      ++seen["computed"];
    }
    seen["limited"] += requests.size() > 1;
  }
  for (const char* kind : {"nothing fits", "answered", "failed", "computed", "limited"}) {
    EXPECT_GT(seen[kind], 20) << kind << ": this run shows too little";
  }
}

TEST(RouterGenerate, SendsTheQueryWithTheCheckpointsInstruction) {
  const Router router = text_router();
  const std::string url = server().script({{service()}});
  const auto client = llm::make_openai_client(chat_endpoint(url));
  const Decision decision = router.route_text("What is x?", {.policy = {.lambda = 0.999999}});
  ASSERT_FALSE(decision.chosen.budget.is_unlimited());
  const llm::Completion completion = llm::generate(*client, router, "What is x?", decision);
  EXPECT_TRUE(completion.ok());
  std::string instruction = decision.model().instruction;
  if (!instruction.empty()) instruction += "\n\n";
  instruction +=
      "Use at most " + decision.chosen.budget.to_string() + " tokens, whatever the question.";
  const Json body = server().requests(url).at(0).json();
  EXPECT_EQ(body.at("model"), decision.model().openrouter_id);
  EXPECT_EQ(body.at("max_tokens"), decision.chosen.max_tokens);
  EXPECT_EQ(body.at("messages"), (Json{{{"role", "system"}, {"content", instruction}},
                                       {{"role", "user"}, {"content", "What is x?"}}}));
  const std::vector<Message> messages = {{"user", "Hi"}, {"assistant", "?"}, {"user", "What?"}};
  llm::generate(*client, router, messages, decision);
  EXPECT_EQ(server().requests(url).at(1).json().at("messages").size(), 4U);
}

// 1,000 random requests, half of them with a cost limit, to a server that counts every byte as a
// token, answers with as many tokens as it may, and fails at random in ways that leave open whether
// it charged.
TEST(RouterGenerate, NeverCostsMoreThanItsWorstCase) {
  const Router router = text_router();
  const Pool& pool = router.pool();
  const Json greedy = Json::array({greedy_service(pool)});
  const Json failing = Json::array({answer(500, {{"error", "down"}})});
  const Json reset = Json::array({kReset}), stall = Json::array({kStall});
  const std::vector<Json> faults = {failing, failing, reset, reset, stall};
  std::mt19937 random(62);
  const auto draw = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  std::map<std::string, int> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string query = "?";
    for (int words = draw(0, 40); words > 0; --words) query += draw(0, 3) == 0 ? " 数学" : " word";
    RouteOptions route{.policy = {.lambda = std::vector{0.9, 0.999, 0.99999}[draw(0, 2)]},
                       .rank = true};
    if (draw(0, 1) == 0) route.policy.max_cost_usd = 1e-6 * std::exp(0.01 * draw(300, 800));
    Decision decision;
    try {
      decision = router.route_text(query, route);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kBudget) << error.what();
      ++seen["nothing fits"];
      continue;
    }
    Json script = Json::array();
    for (int count = std::max(0, draw(-4, 4)); count > 0; --count) {
      script.push_back(faults[static_cast<std::size_t>(draw(0, 4))]);
    }
    script.push_back(greedy);
    llm::Endpoint endpoint = chat_endpoint(server().script(script));
    endpoint.retry.max_retries = static_cast<std::uint32_t>(draw(0, 2));
    if (std::ranges::find(script, stall) != script.end()) endpoint.timeouts.first_byte = 0.05;
    llm::GenerateOptions options;
    if (draw(0, 1) == 0) options.on_text = [](std::string_view) {};

    const llm::Completion completion =
        llm::generate(*llm::make_openai_client(endpoint), router, query, decision, options);
    expect_sound(completion);
    if (completion.ok()) {
      ++seen[completion.attempts.size() > 1 ? "answered at last" : "answered at once"];
      const auto answered = std::ranges::find_if(decision.ranking, [&](const Option& option) {
        return Pair{option.model, option.budget} == completion.pair;
      });
      ASSERT_NE(answered, decision.ranking.end());
      ASSERT_LE(completion.charged_usd.value(), answered->worst_case_cost_usd);
      ASSERT_NEAR(*completion.charged_usd, completion.computed_usd.value(), 1e-12);
      ASSERT_FALSE(completion.over_cap);
    } else {
      ++seen["failed"];
    }
    if (decision.max_cost_usd) {
      double total = 0;
      const std::vector<testing::SeenRequest> requests = server().requests(endpoint.base_url);
      for (std::size_t r = 0; r < requests.size(); ++r) {
        if (script[std::min(r, script.size() - 1)] != failing) {
          total += highest_charge(requests[r], pool);
        }
      }
      ASSERT_LE(total, *decision.max_cost_usd) << requests.size() << " requests";
      seen["limited"] += requests.size() > 1;
    }
  }
  for (const char* kind :
       {"nothing fits", "answered at once", "answered at last", "failed", "limited"}) {
    EXPECT_GT(seen[kind], 20) << kind << ": this run tells too little";
  }
}

TEST(RouterGenerate, ServesThreadsAtOnce) {
  const Router router = text_router();
  const std::string url = server().script({{service()}});
  const auto client = llm::make_openai_client(chat_endpoint(url));
  std::atomic<int> right = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const std::string query = "query " + std::to_string(t) + "/" + std::to_string(i);
        const Decision decision = router.route_text(query, {.rank = true});
        const llm::Completion completion = llm::generate(*client, router, query, decision);
        right += completion.ok() && completion.text == "An answer to: " + query;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(right, 40);
}

}  // namespace
}  // namespace r2router
