// The gateway within a program. tests/gateway tests it as a program of its own, over HTTP.
#include "r2router/gateway.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/llm/client.h"

#include "llm/http/transport.h"
#include "support/errors.h"
#include "support/fault_server.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::put_file;
using testing::service;
using testing::TemporaryFolder;

llm::Response post(const Gateway& gateway, const std::string& path, const std::string& body) {
  const std::string url = gateway.url();
  return llm::make_transport({.base_url = url})->send({.url = url + path, .body = body});
}

constexpr const char* kChat =
    R"({"model": "auto", "messages": [{"role": "user", "content": "Who wrote Faust?"}]})";

TEST(Gateway, AnswersWithinAProgram) {
  FaultServer& server = FaultServer::instance();
  Gateway gateway({.listen = ":0", .llm_api_base = server.script({{service()}})});
  gateway.start();
  EXPECT_EQ(gateway.problem(), "");
  const llm::Response response = post(gateway, "/v1/chat/completions", kChat);
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_THAT(response.body, HasSubstr("An answer to: Who wrote Faust?"));
  gateway.stop();
  EXPECT_EQ(post(gateway, "/v1/chat/completions", kChat).status, 0);
}

TEST(Gateway, SeveralServeAtOnceButNotOnOnePort) {
  Gateway one({.listen = ":0"});
  Gateway two({.listen = ":0"});
  EXPECT_NE(one.port(), two.port());
  one.start();
  expect_error(ErrorCode::kIo, std::to_string(one.port()),
               [&] { Gateway({.listen = ":" + std::to_string(one.port())}); });
}

TEST(Gateway, KeepsItsConfigurationIfTheNewOneIsInvalid) {
  TemporaryFolder folder;
  put_file(folder / "gateway.json", R"({"listen": "127.0.0.1:0"})");
  Gateway gateway({.config_file = folder / "gateway.json", .watch_files = false});
  gateway.start();
  put_file(folder / "gateway.json", R"({"threats": 1})");
  expect_error(ErrorCode::kBadConfig, "/threats", [&] { gateway.reload(); });
  EXPECT_EQ(post(gateway, "/v1/decisions", R"({"query": "2 + 2?"})").status, 200);
  put_file(folder / "gateway.json", R"({"listen": "127.0.0.1:0", "policies": {"a": {}}})");
  gateway.reload();
  EXPECT_EQ(post(gateway, "/v1/decisions", R"({"query": "2 + 2?", "policy": "a"})").status, 200);
}

TEST(Gateway, ChecksWithoutServing) {
  EXPECT_NO_THROW(Gateway::check({}));
  expect_error(ErrorCode::kNotFound, "nowhere", [] { Gateway::check({.pool = "nowhere.json"}); });
  expect_error(ErrorCode::kBadConfig, "/bounds",
               [] { Gateway::check({.config = R"({"bounds": {"allow": ["no-such-model"]}})"}); });
}

}  // namespace
}  // namespace r2router
