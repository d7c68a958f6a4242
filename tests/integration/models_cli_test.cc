// The models command: what it shows, what it writes, and what it does not change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/outcomes.h"

#include "base/date.h"
#include "support/fault_server.h"
#include "support/full_disk.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using testing::answer;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::lines_of;
using ::testing::Not;
using testing::Outcome;
using testing::put_file;
using testing::read_file;
using testing::run;
using testing::run_at_terminal;
using testing::service;

constexpr const char* kPool = R"({
  "note": "prices of a day",
  "unknown": [
    1.5,
    "größer"
  ],
  "models": {
    "zeta": {
      "openrouter_id": "v/zeta",
      "input_price_per_million": 0.07,
      "output_price_per_million": 2,
      "note": "the best"
    },
    "alpha": {
      "openrouter_id": "v/alpha",
      "input_price_per_million": 0.1,
      "output_price_per_million": 0.4,
      "available": true,
      "other": null
    },
    "own": {
      "openrouter_id": null,
      "input_price_per_million": 0,
      "output_price_per_million": 0,
      "available": true
    },
    "kept-out": {
      "openrouter_id": "v/kept-out",
      "input_price_per_million": 1,
      "output_price_per_million": 1,
      "available": false
    }
  }
}
)";

json model(const std::string& id, const std::string& prompt, const std::string& completion) {
  return {{"id", id}, {"pricing", {{"prompt", prompt}, {"completion", completion}}}};
}

/// A catalogue that agrees with kPool.
json same_catalogue() {
  return {model("v/zeta", "0.00000007", "0.000002"), model("v/alpha", "0.0000001", "4e-7"),
          model("v/kept-out", "0.000001", "0.000001"), model("v/other", "0", "0")};
}

std::string with(std::string text, const std::string& old, const std::string& now) {
  const std::size_t place = text.find(old);
  EXPECT_NE(place, text.npos) << old;
  return text.replace(place, old.size(), now);
}

class ModelsCli : public ::testing::Test {
 protected:
  ModelsCli() { put_file(pool_, kPool); }

  std::vector<std::string> command(const std::string& url,
                                   const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {R2ROUTER_CLI, "models", "sync", "--pool", pool_, "--base", url};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string serve(const json& catalogue) {
    return server_.script({{service({{"models", catalogue}})}});
  }
  void expect_untouched() const {
    EXPECT_EQ(read_file(pool_), kPool);
    EXPECT_EQ(folder_.names(), std::vector<std::string>{"pool.json"});
  }

  FaultServer& server_ = FaultServer::instance();
  testing::TemporaryFolder folder_;
  const std::string pool_ = folder_ / "pool.json";
};

TEST_F(ModelsCli, WritesWhatHasChangedAndNothingElse) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "0.00000005", "0.000002");
  catalogue[1]["expiration_date"] = "2020-02-29";
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("zeta: input $0.07 → $0.05 per million tokens\n"));
  EXPECT_THAT(outcome.out,
              HasSubstr("alpha: available → unavailable (its last day was 2020-02-29)\n"));
  EXPECT_EQ(lines_of(outcome.out).size(), 3u);
  EXPECT_EQ(read_file(pool_),
            with(with(kPool, "0.07", "0.05"), "\"available\": true", "\"available\": false"));
}

TEST_F(ModelsCli, KeepsAModelThatIsGoneAsUnavailable) {
  json catalogue = same_catalogue();
  catalogue.erase(0);
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("zeta: available → unavailable (the catalogue has no v/zeta)\n"));
  EXPECT_EQ(read_file(pool_), with(kPool, "\"note\": \"the best\"",
                                   "\"note\": \"the best\",\n      \"available\": false"));
}

TEST_F(ModelsCli, NotesHowMuchAModelReads) {
  json catalogue = same_catalogue();
  catalogue[1]["context_length"] = 131072;
  const std::string noted =
      with(kPool, "\"other\": null", "\"other\": null,\n      \"context_tokens\": 131072");
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("alpha: context unknown → 131072 tokens\n"));
  EXPECT_EQ(read_file(pool_), noted);
  EXPECT_THAT(run(command(serve(catalogue), {"--yes"})).out, HasSubstr("Nothing has changed"));
}

TEST_F(ModelsCli, LeavesAFileAloneThatAgrees) {
  json catalogue = same_catalogue();
  const auto written = std::filesystem::last_write_time(pool_);
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Nothing has changed"));
  EXPECT_EQ(std::filesystem::last_write_time(pool_), written);
  expect_untouched();
  // A model is never made available by itself, but one learns that it could be.
  EXPECT_THAT(outcome.err, HasSubstr("kept-out is offered"));
}

TEST_F(ModelsCli, WritesNothingUnasked) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "0.00000005", "0.000002");
  const std::string url = serve(catalogue);
  const Outcome outcome = run(command(url), "y\n");  // not a terminal: nobody is asked
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("$0.07 → $0.05"));
  EXPECT_THAT(outcome.err, HasSubstr("--yes"));
  expect_untouched();

  for (const std::string typed : {"n\n", "\n", "\x04"}) {
    const Outcome asked = run_at_terminal(command(url), typed);
    EXPECT_EQ(asked.exit_code, 0);
    EXPECT_THAT(asked.err, HasSubstr("[y/N]"));
    expect_untouched();
  }
  const Outcome agreed = run_at_terminal(command(url), "y\n");
  EXPECT_EQ(agreed.exit_code, 0);
  EXPECT_THAT(agreed.out, HasSubstr("Written to "));
  EXPECT_EQ(read_file(pool_), with(kPool, "0.07", "0.05"));
}

TEST_F(ModelsCli, MarksAPriceThatIsNotFixedAsUnknown) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "-1", "0.000002");
  const std::string url = serve(catalogue);
  const Outcome outcome = run(command(url, {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              HasSubstr("zeta: the price is unknown (prompt: \"-1\"): the model is not chosen"));
  EXPECT_THAT(outcome.out, HasSubstr("zeta: prompt becomes unknown (found \"-1\")\n"));
  // The number that is there remains what a call is expected to cost.
  EXPECT_EQ(read_file(pool_), with(kPool, "\"note\": \"the best\"",
                                   "\"note\": \"the best\",\n      \"unknown_prices\": {\n        "
                                   "\"prompt\": \"-1\"\n      }"));
  const Outcome again = run(command(url, {"--yes"}));
  EXPECT_THAT(again.out, HasSubstr("Nothing has changed"));
  EXPECT_THAT(again.err, HasSubstr("zeta: the price is unknown")) << "reported every time";
  EXPECT_EQ(run(command(serve(same_catalogue()), {"--yes"})).exit_code, 0);
  EXPECT_EQ(read_file(pool_), kPool);
}

TEST_F(ModelsCli, TakesOverEveryComponentAndShowsIt) {
  json catalogue = same_catalogue();
  json& pricing = catalogue[0]["pricing"];
  pricing["request"] = "0.005";
  pricing["input_cache_read"] = "0.000000007";
  pricing["web_search"] = "0.01";
  pricing["overrides"] = {{{"min_prompt_tokens", 128001}, {"prompt", "0.00000014"}}};
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* line :
       {"zeta: cached input none → $0.007 per million tokens\n", "zeta: per request none → $0.005",
        "zeta, above 128,000 input tokens: input none → $0.14 per million tokens\n",
        "zeta: web_search becomes unknown (found \"0.01\")\n"}) {
    EXPECT_THAT(outcome.out, HasSubstr(line));
  }
  const Prices expected{.input = 0.07,
                        .output = 2,
                        .cached_input = 0.007,
                        .per_request = 0.005,
                        .tiers = {{.above_input_tokens = 128000, .input = 0.14}},
                        .unknown = {{"web_search", "0.01"}}};
  EXPECT_EQ(read_pool(pool_)[0].prices, expected);

  pricing["overrides"][0]["prompt"] = "0.00000028";
  pricing.erase("request");
  const Outcome next = run(command(serve(catalogue), {"--yes", "--ignore", "web_search,audio"}));
  for (const char* line :
       {"zeta: per request $0.005 → none", "zeta: web_search is no longer unknown (was \"0.01\")\n",
        "zeta, above 128,000 input tokens: input $0.14 → $0.28 per million tokens\n"}) {
    EXPECT_THAT(next.out, HasSubstr(line));
  }
  EXPECT_THAT(next.err, Not(HasSubstr("unknown")));
  EXPECT_THAT(outcome.err, HasSubstr("--ignore"));
  EXPECT_EQ(run(command(serve(same_catalogue()), {"--yes"})).exit_code, 0);
  EXPECT_EQ(read_file(pool_), kPool) << "what a catalogue no longer has is gone";
}

TEST_F(ModelsCli, PointsOutAChangeByMoreThanTenfold) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "0.0000007", "0.0000021");
  catalogue[1] = model("v/alpha", "0.1", "0");
  const std::string url = serve(catalogue);
  const Outcome outcome = run(command(url));
  EXPECT_EQ(outcome.exit_code, 1) << "nobody has seen it";
  EXPECT_THAT(outcome.err, HasSubstr("2 prices change more than tenfold, so nothing is written"));
  EXPECT_THAT(outcome.err, HasSubstr("--yes"));
  EXPECT_THAT(outcome.out, HasSubstr("zeta: input $0.07 → $0.70 per million tokens\n"));
  EXPECT_THAT(outcome.out,
              HasSubstr("alpha: input $0.10 → $100000 per million tokens  (more than"));
  EXPECT_THAT(outcome.out, HasSubstr("alpha: output $0.40 → $0 per million tokens  (more than"));
  expect_untouched();

  const Outcome asked = run_at_terminal(command(url), "n\n");
  EXPECT_EQ(asked.exit_code, 0);
  EXPECT_THAT(asked.err, HasSubstr("2 prices change more than tenfold"));
  EXPECT_THAT(asked.err, HasSubstr("[y/N]"));
  expect_untouched();
  EXPECT_EQ(run(command(url, {"--yes"})).exit_code, 0);
  EXPECT_EQ(read_pool(pool_)[1].prices.input, 100'000);

  put_file(pool_, kPool);
  catalogue[1] = model("v/alpha", "0.0000001", "0.00000003");
  const Outcome one = run(command(serve(catalogue)));
  EXPECT_EQ(one.exit_code, 1);
  EXPECT_THAT(one.err, HasSubstr("1 price changes more than tenfold"));
  expect_untouched();
}

TEST_F(ModelsCli, TakesOverLimitsCapabilitiesAndTheLastDay) {
  json catalogue = same_catalogue();
  catalogue[0]["context_length"] = 200000;
  catalogue[0]["top_provider"] = {{"max_completion_tokens", 64000}};
  catalogue[0]["architecture"] = {{"input_modalities", {"text", "image"}}};
  catalogue[0]["supported_parameters"] = {"tools", "temperature"};
  catalogue[0]["expiration_date"] = "2999-12-31";
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* line :
       {"zeta: context unknown → 200000 tokens\n", "zeta: max output unknown → 64000 tokens\n",
        "zeta: capabilities unknown → tools, images\n", "zeta: retires unknown → 2999-12-31\n"}) {
    EXPECT_THAT(outcome.out, HasSubstr(line));
  }
  const ModelSpec zeta = read_pool(pool_)[0];
  EXPECT_EQ(zeta.context_tokens, 200000u);
  EXPECT_EQ(zeta.max_output_tokens, 64000u);
  EXPECT_EQ(zeta.capabilities, (Capabilities{Capability::kTools, Capability::kImages}));
  EXPECT_EQ(zeta.retires, "2999-12-31");
  EXPECT_THAT(run(command(serve(catalogue), {"--yes"})).out, HasSubstr("Nothing has changed"));

  catalogue[0]["top_provider"]["max_completion_tokens"] = 32000;
  catalogue[0]["supported_parameters"] = json::array();
  catalogue[0]["expiration_date"] = "2998-12-31";
  const Outcome next = run(command(serve(catalogue), {"--yes"}));
  for (const char* line :
       {"zeta: max output 64000 → 32000 tokens\n", "zeta: capabilities tools, images → images\n",
        "zeta: retires 2999-12-31 → 2998-12-31\n"}) {
    EXPECT_THAT(next.out, HasSubstr(line));
  }
  // What the catalogue does not list stays.
  EXPECT_THAT(run(command(serve(same_catalogue()), {"--yes"})).out, HasSubstr("Nothing has"));
  EXPECT_EQ(read_pool(pool_)[0].max_output_tokens, 32000u);
}

TEST_F(ModelsCli, TakesOverWhatATableOfPricesKnows) {
  json table = {{"zeta",
                 {{"litellm_provider", "v"},
                  {"input_cost_per_token", 7e-8},
                  {"output_cost_per_token", 2e-6},
                  {"max_input_tokens", 272000},
                  {"max_output_tokens", 128000},
                  {"supports_vision", true},
                  {"deprecation_date", "2999-12-31"}}}};
  const std::string file = folder_ / "prices.json";
  put_file(file, table.dump());
  const std::vector<std::string> from = {R2ROUTER_CLI, "models", "sync", "--pool",
                                         pool_,        "--from", file,   "--yes"};
  const Outcome outcome = run(from);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const ModelSpec zeta = read_pool(pool_)[0];
  EXPECT_EQ(zeta.context_tokens, 272000u);
  EXPECT_EQ(zeta.max_output_tokens, 128000u);
  EXPECT_EQ(zeta.capabilities, Capabilities{Capability::kImages});
  EXPECT_EQ(zeta.retires, "2999-12-31");
  EXPECT_THAT(run(from).out, HasSubstr("Nothing has changed"));

  // A context of 400,000 agrees with 272,000 of input and 128,000 of output.
  put_file(pool_, with(read_file(pool_), "272000", "400000"));
  EXPECT_THAT(run(from).out, HasSubstr("Nothing has changed"));
  put_file(pool_, with(read_file(pool_), "400000", "400001"));
  EXPECT_THAT(run(from).out, HasSubstr("zeta: context 400001 → 272000 tokens\n"));
}

std::string date_in(int days) {
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  return internal::date_text(today + std::chrono::days(days));
}

TEST_F(ModelsCli, ReportsModelsThatRetireSoon) {
  for (const int days : {2, 30, 31}) {
    put_file(pool_, kPool);
    json catalogue = same_catalogue();
    catalogue[0]["expiration_date"] = date_in(days);
    const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(read_pool(pool_)[0].retires, date_in(days));
    EXPECT_EQ(outcome.err.find("zeta retires on " + date_in(days)) != outcome.err.npos, days <= 30)
        << outcome.err;
    // The pool's own date counts where the catalogue has none.
    const Outcome own = run(command(serve(same_catalogue()), {"--yes"}));
    EXPECT_EQ(own.err.find("zeta retires on " + date_in(days)) != own.err.npos, days <= 30)
        << own.err;
  }
  put_file(pool_, with(kPool, "\"note\": \"the best\"", "\"retires\": \"2020-01-31\""));
  EXPECT_THAT(run(command(serve(same_catalogue()))).err,
              HasSubstr("zeta: its last day was 2020-01-31, as the pool has it"));
}

TEST_F(ModelsCli, ReportsModelsThatNoSourceKnows) {
  const Outcome outcome = run(command(serve(same_catalogue()), {"--yes"}));
  EXPECT_THAT(outcome.err, HasSubstr("own: no catalogue knows it"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("zeta")));
}

TEST_F(ModelsCli, ReadsOtherSourcesOfPrices) {
  const json table = {{"zeta",
                       {{"litellm_provider", "v"},
                        {"input_cost_per_token", 5e-8},
                        {"output_cost_per_token", 2e-6}}}};
  const std::string file = folder_ / "prices.json";
  put_file(file, table.dump());
  const auto command_from = [&](const std::string& source) {
    return std::vector<std::string>{R2ROUTER_CLI, "models", "sync", "--pool",
                                    pool_,        "--from", source, "--yes"};
  };
  const std::string url = server_.script({{{{"answer", {{"text", table.dump()}}}}}});
  for (const std::string& source : {file, url}) {
    put_file(pool_, kPool);
    const Outcome outcome = run(command_from(source));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(read_file(pool_), with(kPool, "0.07", "0.05")) << "a table says nothing of the rest";
    EXPECT_THAT(outcome.err, HasSubstr("alpha: " + source + " has no price for v/alpha"));
  }
  ASSERT_EQ(server_.requests(url).size(), 1u);
  EXPECT_EQ(server_.requests(url)[0].path, url.substr(url.rfind('/')));

  // Together's list, without the models that it does not have to name.
  put_file(pool_, kPool);
  json list = same_catalogue();
  list[0]["pricing"] = {{"hourly", 0}, {"input", 0.05}, {"output", 2}, {"base", 0}};
  put_file(file, list.dump());
  EXPECT_EQ(run(command_from(file)).exit_code, 0);
  EXPECT_EQ(read_file(pool_), with(kPool, "0.07", "0.05"));

  put_file(file, "{}");
  const Outcome bad = run(command_from(file));
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, HasSubstr("not a catalogue of models"));
  EXPECT_EQ(run(command_from(folder_ / "missing.json")).exit_code, 1);
}

// vLLM's list, for one.
TEST_F(ModelsCli, LeavesPricesAloneThatTheCatalogueDoesNotHave) {
  json catalogue = same_catalogue();
  for (json& entry : catalogue) entry.erase("pricing");
  const Outcome outcome = run(command(serve(catalogue), {"--yes"}));
  EXPECT_THAT(outcome.out, HasSubstr("Nothing has changed"));
  EXPECT_THAT(outcome.err, HasSubstr("zeta: the catalogue has no prices for v/zeta"));
  expect_untouched();
}

TEST_F(ModelsCli, WritesThroughALink) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "0.00000005", "0.000002");
  const std::string link = folder_ / "link.json";
  std::filesystem::create_symlink("pool.json", link);
  const Outcome outcome =
      run({R2ROUTER_CLI, "models", "sync", "--pool", link, "--base", serve(catalogue), "--yes"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(read_file(pool_), with(kPool, "0.07", "0.05"));
}

TEST_F(ModelsCli, LeavesTheFileWholeOnAFullDisk) {
  json catalogue = same_catalogue();
  catalogue[0] = model("v/zeta", "0.00000005", "0.000002");
  const std::string url = serve(catalogue);
  // There is space for the file, but not for its new contents as well.
  const std::string large = with(kPool, "prices of a day", std::string(40'000, 'x'));
  const auto result = testing::on_small_disk(folder_.path(), 60'000, [&] {
    put_file(pool_, large);
    const Outcome outcome = run(command(url, {"--yes"}));
    return outcome.exit_code == 1 && outcome.err.find("r2-router: error: ") != std::string::npos &&
           read_file(pool_) == large && folder_.names() == std::vector<std::string>{"pool.json"};
  });
  if (result == testing::SmallDisk::kNotPermitted) GTEST_SKIP() << "no right to mount a disk";
  EXPECT_EQ(result, testing::SmallDisk::kPassed);
}

TEST_F(ModelsCli, FailsInOneLineAndChangesNothing) {
  const auto expect_failure = [&](const std::string& url, const std::string& part) {
    const Outcome outcome = run(command(url, {"--yes"}));
    EXPECT_EQ(outcome.exit_code, 1) << part;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(lines_of(outcome.err).size(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    expect_untouched();
  };
  expect_failure(server_.script({{answer(200, {{"models", 7}})}}), "\"data\"");
  expect_failure(server_.script({{{{"answer", {{"text", "<html>"}}}}}}), "JSON");
  expect_failure(server_.script({{answer(404, {{"error", {{"message", "no such path"}}}})}}),
                 "no such path");
  // A catalogue of something else would make the whole pool unavailable.
  expect_failure(serve(json::array({model("other/model", "0", "0")})), "none of the pool's models");
  expect_failure(serve(json::array()), "none of the pool's models");
  expect_failure("http://127.0.0.1:" + server_.closed_port(), "127.0.0.1");
  expect_failure("https://127.0.0.1:" + server_.listen("good").port, "certificate");
  expect_failure("openrouter.ai", "http");
}

TEST_F(ModelsCli, RefusesAFileThatIsNoPool) {
  const std::string url = serve(same_catalogue());
  put_file(pool_, R"({"models": {"a": {"input_price_per_million": -1}}})");
  const Outcome outcome = run(command(url, {"--yes"}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/models/a/input_price_per_million"));
  EXPECT_TRUE(server_.requests(url).empty());
  EXPECT_EQ(run({R2ROUTER_CLI, "models", "sync"}).exit_code, 2);
  EXPECT_EQ(run({R2ROUTER_CLI, "models"}).exit_code, 2);
  EXPECT_THAT(run({R2ROUTER_CLI, "models", "sync", "--bad"}).err,
              HasSubstr("r2-router models sync --help"));
}

TEST_F(ModelsCli, SendsNoKey) {
  ::setenv("OPENROUTER_API_KEY", "sk-not-for-this", 1);
  const std::string url = serve(same_catalogue());
  EXPECT_EQ(run(command(url)).exit_code, 0);
  ::unsetenv("OPENROUTER_API_KEY");
  ASSERT_EQ(server_.requests(url).size(), 1u);
  EXPECT_EQ(server_.requests(url)[0].header("authorization"), "");
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
