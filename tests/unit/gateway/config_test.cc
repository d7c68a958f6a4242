#include "gateway/config.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::gateway {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::put_file;
using testing::TemporaryFolder;

struct GatewayConfigTest : ::testing::Test {
  GatewayConfigTest() { ::unsetenv("OPENROUTER_API_KEY"); }
  static GatewayConfig read(const std::string& json) { return load_config({.config = json}); }
  static Error error(const std::string& json) {
    return error_of([&] { read(json); });
  }
};

TEST_F(GatewayConfigTest, WithoutSettingsThereIsNothingToSendRequestsTo) {
  const GatewayConfig config = load_config({});
  EXPECT_EQ(config.host, "127.0.0.1");
  EXPECT_EQ(config.port, 4000);
  EXPECT_TRUE(config.endpoints.empty());
  EXPECT_FALSE(config.checkpoint.empty());
}

TEST_F(GatewayConfigTest, TheKeyOfTheEnvironmentMakesOpenRouterTheEndpoint) {
  ::setenv("OPENROUTER_API_KEY", "sk-or-1", 1);
  const GatewayConfig config = load_config({});
  ASSERT_EQ(config.endpoints.size(), 1U);
  EXPECT_EQ(config.endpoints[0].endpoint.base_url, "https://openrouter.ai/api/v1");
  EXPECT_EQ(config.endpoints[0].endpoint.api_key.reveal(), "sk-or-1");
  const GatewayConfig local = load_config({.llm_api_base = "http://127.0.0.1:8000/v1"});
  EXPECT_EQ(local.endpoints.at(0).endpoint.base_url, "http://127.0.0.1:8000/v1");
  ::unsetenv("OPENROUTER_API_KEY");
}

TEST_F(GatewayConfigTest, ReadsEverySetting) {
  TemporaryFolder folder;
  put_file(folder / "secret", "sk-1\n");
  put_file(folder / "good.json", R"({"objective": "best"})");
  put_file(folder / "gateway.json", R"({
    // where
    "listen": "[::1]:0", "threads": 3, /* "no": 1, */
    "limits": {"body_bytes": 2048, "buffered_bytes": 4096, "head_seconds": 0.5},
    "accepted_fields": ["provider", "tools.type"], "allowed_hosts": ["Gateway.example"],
    "policy": {"lambda": 0.5}, "policies": {"good": "good.json", "cheap": {"objective": "cheapest"}},
    "bounds": {"max_cost_usd": 0.5}, "max_fallbacks": 1,
    "endpoints": {"main": {"base_url": "https://host/v1", "api_key": "file:secret",
      "key_header": "x-api-key", "headers": {"X-Title": "a // b"}, "dialects": ["messages"],
      "timeouts": {"idle": 9}, "max_retries": 4, "cap_field": "max_tokens", "concurrency": 5}},
    "embeddings": {"endpoint": "main", "input_price_per_million": {"e": 0.1}},
    "keys": [{"name": "a", "hash": "sha256:)" +
                                        std::string(64, 'a') + R"(",
      "limits": {"usd_per_day": 1.5, "usd_total": 9, "requests_per_minute": 3},
      "models": ["x"], "policies": [], "tags": ["t"]}],
    "ledger": "spend.db", "log": {"access": "access.log", "prompts": true}})");
  const GatewayConfig config = load_config({.config_file = folder / "gateway.json"});
  EXPECT_EQ(config.host, "::1");
  EXPECT_EQ(config.port, 0);
  EXPECT_EQ(config.threads, 3U);
  EXPECT_EQ(config.limits.body_bytes, 2048U);
  EXPECT_EQ(config.limits.buffered_bytes, 4096U);
  EXPECT_EQ(config.limits.head, 0.5);
  EXPECT_THAT(config.accepted_fields, ElementsAre("provider", "tools.type"));
  EXPECT_THAT(config.allowed_hosts, ElementsAre("gateway.example"));
  EXPECT_EQ(config.policy.lambda, 0.5);
  EXPECT_EQ(config.policies.at("good").objective, Objective::kBest);
  EXPECT_EQ(config.policies.at("cheap").objective, Objective::kCheapest);
  EXPECT_EQ(config.bounds.max_cost_usd, 0.5);
  const EndpointConfig& endpoint = config.endpoints.at(0);
  EXPECT_EQ(endpoint.endpoint.api_key.reveal(), "sk-1") << "without the line break";
  EXPECT_EQ(endpoint.endpoint.key_header, "x-api-key");
  EXPECT_EQ(endpoint.endpoint.headers.at(0).second, "a // b") << "no comment within a string";
  EXPECT_THAT(endpoint.dialects, ElementsAre(DialectKind::kMessages));
  EXPECT_EQ(endpoint.endpoint.timeouts.idle, 9);
  EXPECT_EQ(endpoint.endpoint.retry.max_retries, 4U);
  EXPECT_EQ(endpoint.cap_field, llm::CapField::kMaxTokens);
  EXPECT_EQ(endpoint.concurrency, 5U);
  EXPECT_EQ(config.embeddings->prices.at("e"), 0.1);
  const Key& key = config.keys.at(0);
  EXPECT_EQ(key.limits.per_day, Money::nearest(1.5));
  EXPECT_EQ(key.limits.total, Money::nearest(9));
  EXPECT_EQ(key.limits.requests_per_minute, 3U);
  EXPECT_TRUE(key.policies && key.policies->empty());
  EXPECT_EQ(config.ledger.location, folder / "spend.db") << "relative to the file";
  EXPECT_EQ(config.log.access, folder / "access.log");
  EXPECT_TRUE(config.log.prompts);
  std::vector<std::string> paths;
  for (const SourceFile& file : config.files) paths.push_back(file.path);
  EXPECT_THAT(paths, ::testing::IsSupersetOf(
                         {folder / "gateway.json", folder / "secret", folder / "good.json"}));
}

TEST_F(GatewayConfigTest, NamesTheFieldOfAnError) {
  const auto expect = [&](const std::string& json, const std::string& pointer,
                          const std::string& part) {
    const Error found = error(json);
    EXPECT_EQ(to_string(found.code()), to_string(ErrorCode::kBadConfig)) << json;
    EXPECT_EQ(found.where().pointer, pointer) << found.what();
    EXPECT_THAT(found.what(), HasSubstr(part));
  };
  expect(R"({"polices": {}})", "/polices", "did you mean \"policies\"");
  expect(R"({"limits": {"body_bites": 1}})", "/limits/body_bites", "body_bytes");
  expect(R"({"listen": "a:b"})", "/listen", "HOST:PORT");
  expect(R"({"listen": "127.0.0.1:70000"})", "/listen", "HOST:PORT");
  expect(R"({"threads": 0})", "/threads", "from 1");
  expect(R"({"endpoints": {}})", "/endpoints", "at least one");
  expect(R"({"endpoints": {"a": {}}})", "/endpoints/a/base_url", "missing");
  expect(R"({"endpoints": {"a": {"base_url": "ftp://x"}}})", "/endpoints/a/base_url", "http");
  expect(R"({"endpoints": {"a": {"base_url": "http://x/v1/chat/completions"}}})",
         "/endpoints/a/base_url", "remove it");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "headers": {"Host": "y"}}}})",
         "/endpoints/a/headers", "the header Host");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "key_header": "content-type"}}})",
         "/endpoints/a/key_header", "the header content-type");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "proxy": "x"}}})", "/endpoints/a/proxy",
         "SOCKS");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "dialects": ["chta"]}}})",
         "/endpoints/a/dialects/0", "chat");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "timeouts": {"idle": 0}}}})",
         "/endpoints/a/timeouts/idle", "seconds");
  expect(R"({"policy": {"lamda": 1}})", "/policy", "lambda");
  expect(R"({"bounds": {"lambda": 1}})", "/bounds", "max_cost_usd");
  expect(R"({"keys": [{"name": "a", "hash": "a"}]})", "/keys/0/hash", "sha256");
  expect(R"({"keys": [{"name": "a", "limits": {"usd_per_day": -1}}]})",
         "/keys/0/limits/usd_per_day", "USD");
  expect(R"({"tls": {"certificate": "a"}})", "/tls/key", "PEM");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "dialects": []}}})",
         "/endpoints/a/dialects", "at least one");
  expect(R"({"endpoints": {"a": {"base_url": "http://x", "api_key": "env:"}}})",
         "/endpoints/a/api_key", "no name");
  expect(R"({"keys": [{"name": "a", "hash": "sha256:)" + std::string(64, 'a') +
             R"(", "policies": ["chaep"]}]})",
         "/keys/0/policies", "\"chaep\"");
  expect(R"({"embeddings": {"endpoint": "none"}})", "/embeddings/endpoint", "there are none");
  expect(R"({"endpoints": {"main": {"base_url": "http://x"}}, "embeddings": {"endpoint": "man"}})",
         "/embeddings/endpoint", "the name of an endpoint: main");
  expect(R"({"policy": "chaep"})", "/policy", "found \"chaep\"");
  expect(R"({"policies": {"a": "none.json"}})", "/policies/a", "found \"none.json\"");
  expect(R"({"keys": [{"name": "a"}]})", "/keys/0/hash", "missing");
  expect(R"({"keys": [{"hash": "sha256:)" + std::string(64, 'a') + "\"}]}", "/keys/0/name",
         "no name");
  expect(R"({"allowed_hosts": ["http://host"]})", "/allowed_hosts/0", "without a port");
  expect(R"({"threads": 1, "threads": 2})", "/threads", "");
}

TEST_F(GatewayConfigTest, ThePolicyMayBeOneOfThePolicies) {
  const GatewayConfig config =
      read(R"({"policy": "cheap", "policies": {"cheap": {"objective": "cheapest"}}})");
  EXPECT_EQ(config.policy.objective, Objective::kCheapest);
}

TEST_F(GatewayConfigTest, ChecksTheAddressOfTheDefaultEndpoint) {
  const Error found =
      error_of([] { load_config({.llm_api_base = "http://127.0.0.1:8000/v1/responses"}); });
  EXPECT_EQ(found.where().option, "llm_api_base");
  EXPECT_THAT(found.what(), HasSubstr("\"/responses\""));
}

TEST_F(GatewayConfigTest, ChecksTheFilesOfTls) {
  TemporaryFolder folder;
  put_file(folder / "a.pem", "no certificate");
  const Error found =
      error(R"({"tls": {"certificate": ")" + (folder / "a.pem") + R"(", "key": "missing"}})");
  EXPECT_EQ(found.code(), ErrorCode::kBadConfig);
  EXPECT_EQ(found.where().file, folder / "a.pem");
  EXPECT_THAT(found.what(), HasSubstr("PEM"));
}

TEST_F(GatewayConfigTest, AFileOfAKeyHasOne) {
  TemporaryFolder folder;
  put_file(folder / "secret", "\n");
  EXPECT_THAT(error(R"({"endpoints": {"a": {"base_url": "http://x", "api_key": "file:)" +
                    (folder / "secret") + "\"}}}")
                  .what(),
              HasSubstr("expected a key"));
}

TEST_F(GatewayConfigTest, KeysDoNotBelongIntoTheFile) {
  const Error found =
      error(R"({"endpoints": {"a": {"base_url": "http://x", "api_key": "sk-live-12345"}}})");
  EXPECT_EQ(found.where().pointer, "/endpoints/a/api_key");
  EXPECT_THAT(found.what(), HasSubstr("env:NAME"));
  EXPECT_THAT(found.what(), Not(HasSubstr("12345")));
  ::unsetenv("R2_TEST_MISSING");
  EXPECT_THAT(
      error(R"({"endpoints": {"a": {"base_url": "http://x", "api_key": "env:R2_TEST_MISSING"}}})")
          .what(),
      HasSubstr("R2_TEST_MISSING is not set"));
}

TEST_F(GatewayConfigTest, OtherMachinesNeedKeysOrPermission) {
  EXPECT_THAT(error(R"({"listen": "0.0.0.0:4000"})").what(), HasSubstr("--allow-anonymous"));
  EXPECT_NO_THROW(read(R"({"listen": "0.0.0.0:4000", "allow_anonymous": true})"));
  EXPECT_THAT(error(R"({"listen": "127.0.0.1.example.org:4000"})").what(),
              HasSubstr("--allow-anonymous"));
  EXPECT_NO_THROW(read(R"({"listen": "127.1.2.3:1"})"));
  EXPECT_NO_THROW(read(R"({"listen": "localhost:1"})"));
  EXPECT_NO_THROW(load_config({.listen = "0.0.0.0:1", .allow_anonymous = true}));
}

TEST(WithoutComments, KeepsStringsAndPositions) {
  EXPECT_EQ(without_comments("{// a\n\"b\": \"//\\\"/*\" /* c\n */}"),
            "{    \n\"b\": \"//\\\"/*\"     \n   }");
  EXPECT_EQ(without_comments("1 /* open"), "1 /* open");
}

// ---- The schema, from which the reference of the settings is made

using Json = nlohmann::ordered_json;

/// An object of the configuration with named members.
struct SchemaObject {
  std::string before, after;  ///< a configuration around its members
  std::string pointer;
  Json properties;
};

const Json& schema() {
  static const Json document =
      Json::parse(std::ifstream(R2ROUTER_SOURCE_DIR "/config/gateway.schema.json"));
  return document;
}

Json resolved(Json node) {
  if (!node.contains("$ref")) return node;
  Json target = schema().at(Json::json_pointer(node["$ref"].get<std::string>().substr(1)));
  target.update(node);
  return target;
}

void collect(const Json& unresolved, const std::string& before, const std::string& after,
             const std::string& pointer, std::vector<SchemaObject>& out) {
  const Json node = resolved(unresolved);
  if (node.contains("properties")) {
    out.push_back({before + "{", "}" + after, pointer, node["properties"]});
    for (const auto& [name, member] : node["properties"].items()) {
      collect(member, before + "{\"" + name + "\": ", "}" + after, pointer + "/" + name, out);
    }
  }
  if (node.contains("additionalProperties") && node["additionalProperties"].is_object()) {
    collect(node["additionalProperties"], before + "{\"a\": ", "}" + after, pointer + "/a", out);
  }
  if (node.contains("items")) {
    collect(node["items"], before + "[", "]" + after, pointer + "/0", out);
  }
  if (node.contains("oneOf")) {
    for (const Json& one : node["oneOf"]) collect(one, before, after, pointer, out);
  }
}

std::vector<SchemaObject> objects_of_schema() {
  std::vector<SchemaObject> objects;
  collect(schema(), "", "", "", objects);
  return objects;
}

TEST(GatewaySchema, HasTheSettingsOfTheReader) {
  std::set<std::string> places;
  for (const SchemaObject& object : objects_of_schema()) {
    places.insert(object.pointer);
    // A wrong name makes the reader list all that it knows.
    const Error error = error_of(
        [&] { load_config({.config = object.before + R"("qqqqqqqq": 1)" + object.after}); });
    EXPECT_EQ(error.where().pointer, object.pointer + "/qqqqqqqq");
    const std::string text = error.what();
    for (const auto& [name, unused] : object.properties.items()) {
      EXPECT_THAT(text, HasSubstr(name)) << "in " << object.pointer;
    }
    const auto commas =
        static_cast<std::size_t>(std::ranges::count(text.substr(text.find("expected ")), ','));
    EXPECT_EQ(commas + 1, object.properties.size()) << text;
  }
  EXPECT_THAT(places,
              ElementsAre("", "/embeddings", "/endpoints/a", "/endpoints/a/timeouts", "/keys/0",
                          "/keys/0/limits", "/ledger", "/limits", "/log", "/tls"));
}

TEST(GatewaySchema, HasTheTypesAndRangesOfTheReader) {
  std::size_t bounds = 0;
  for (const SchemaObject& object : objects_of_schema()) {
    for (const auto& [name, unresolved] : object.properties.items()) {
      const Json member = resolved(unresolved);
      const std::string pointer = object.pointer + "/" + name;
      const auto pointer_of_error = [&, &name = name](const std::string& value) {
        try {
          load_config({.config = object.before + "\"" + name + "\": " + value + object.after});
        } catch (const Error& error) {
          return error.where().pointer;
        }
        return std::string("none");
      };
      EXPECT_TRUE(member.contains("description")) << pointer;
      if (name != "$schema") {  // which is ignored
        EXPECT_THAT(pointer_of_error("[[1]]"), ::testing::StartsWith(pointer));
      }
      for (const auto& [bound, step] : {std::pair("minimum", -1), std::pair("maximum", 1)}) {
        if (!member.contains(bound)) continue;
        ++bounds;
        const Json limit = member[bound];
        const Json beyond = limit.is_number_integer() ? Json(limit.get<std::int64_t>() + step)
                                                      : Json(limit.get<double>() + 1e-4 * step);
        EXPECT_EQ(pointer_of_error(beyond.dump()), pointer) << beyond;
        EXPECT_NE(pointer_of_error(limit.dump()), pointer) << limit;
      }
    }
  }
  EXPECT_GT(bounds, 40U);
}

TEST(GatewaySchema, HasTheDefaultsOfTheCode) {
  const GatewayConfig config = load_config({.llm_api_base = "http://127.0.0.1:1"});
  const ServerLimits& limits = config.limits;
  const llm::Endpoint& endpoint = config.endpoints.at(0).endpoint;
  const auto number = [](auto value) { return static_cast<double>(value); };
  const std::map<std::string, double> defaults = {
      {"/allow_anonymous", config.allow_anonymous},
      {"/limits/header_bytes", number(limits.header_bytes)},
      {"/limits/body_bytes", number(limits.body_bytes)},
      {"/limits/buffered_bytes", number(limits.buffered_bytes)},
      {"/limits/connections", number(limits.connections)},
      {"/limits/head_seconds", limits.head},
      {"/limits/body_seconds", limits.body},
      {"/limits/idle_seconds", limits.idle},
      {"/limits/write_seconds", limits.write},
      {"/limits/drain_seconds", limits.drain},
      {"/max_fallbacks", config.max_fallbacks},
      {"/log/prompts", config.log.prompts},
      {"/endpoints/a/timeouts/connect", endpoint.timeouts.connect},
      {"/endpoints/a/timeouts/first_byte", endpoint.timeouts.first_byte},
      {"/endpoints/a/timeouts/idle", endpoint.timeouts.idle},
      {"/endpoints/a/timeouts/total", endpoint.timeouts.total},
      {"/endpoints/a/max_retries", endpoint.retry.max_retries},
      {"/endpoints/a/max_response_bytes", number(endpoint.max_response_bytes)}};
  std::map<std::string, double> documented;
  for (const SchemaObject& object : objects_of_schema()) {
    for (const auto& [name, member] : object.properties.items()) {
      const Json value = member.value("default", Json());
      if (value.is_boolean() || value.is_number()) {
        documented[object.pointer + "/" + name] =
            value.is_boolean() ? number(value.get<bool>()) : value.get<double>();
      }
    }
  }
  EXPECT_EQ(documented, defaults);
}

}  // namespace
}  // namespace r2router::gateway
