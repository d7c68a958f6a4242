#include "llm/http/server_error.h"

#include <string>

#include <gtest/gtest.h>

namespace r2router::net {
namespace {

TEST(ServerError, KnowsTheFormsThatServersUse) {
  const auto expect = [](const std::string& body, int status, const std::string& words) {
    const ServerError error = read_server_error(body);
    EXPECT_EQ(error.status, status) << body;
    EXPECT_EQ(error.words, words) << body;
  };
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
  expect(R"({"detail": [{"msg": "field required"}]})", 0,
         R"({"detail": [{"msg": "field required"}]})");
  expect("upstream gone", 0, "upstream gone");
  expect("[1]", 0, "[1]");
  expect("", 0, "");
  // What came before a cut counts.
  expect(R"({"error": {"code": 503, "message": "gone")", 503, "gone");
}

TEST(ServerError, NestsToALimit) {
  EXPECT_EQ(read_server_error(R"({"error":)" + std::string(1000000, '[')).status, 0);
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += R"({"error":)";
  EXPECT_EQ(read_server_error(nested).status, 0);
}

}  // namespace
}  // namespace r2router::net
