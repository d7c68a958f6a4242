#include "llm/catalogue.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/fault_server.h"

namespace r2router::client {
namespace {

using r2router::testing::answer;
using r2router::testing::error_of;
using r2router::testing::expect_error;
using r2router::testing::FaultServer;
using r2router::testing::service;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(UsdPerMillion, MovesTheDecimalPointOfTheDigitsThemselves) {
  // 0.00000005 · 1e6 is 0.049999999999999996 in floating point.
  EXPECT_EQ(usd_per_million("0.00000005"), 0.05);
  EXPECT_EQ(usd_per_million("0.0000001"), 0.1);
  EXPECT_EQ(usd_per_million("0.000000071"), 0.071);
  EXPECT_EQ(usd_per_million("0"), 0);
  EXPECT_EQ(usd_per_million("0.000015"), 15);
  EXPECT_EQ(usd_per_million("1"), 1e6);
  EXPECT_EQ(usd_per_million("5e-8"), 0.05);
  EXPECT_EQ(usd_per_million("7.1E-08"), 0.071);
  EXPECT_EQ(usd_per_million("1e+1"), 1e7);
  EXPECT_EQ(usd_per_million(".5"), 5e5);
}

TEST(UsdPerMillion, IsNothingForWhatIsNoFixedPrice) {
  for (const char* text : {"-1", "-0.0000001", "", " ", "free", "0.1 ", " 0.1", "1e", "1e999",
                           "1e99999999999", "inf", "nan", "0x1", "1,5", "1.2.3", "+1", "1001"}) {
    EXPECT_FALSE(usd_per_million(text)) << '"' << text << '"';
  }
  EXPECT_TRUE(usd_per_million("1000"));  // a thousand dollars a token: the most
}

TEST(ReadCatalogue, ReadsPricesAndLastDays) {
  const auto models = read_catalogue(R"({"data": [
    {"id": "v/a", "name": "A", "pricing": {"prompt": "0.00000005", "completion": "0.0000002",
     "request": "0"}, "expiration_date": "2026-01-31", "context_length": 131072},
    {"id": "v/b", "pricing": {"prompt": "-1", "completion": "-1"}, "expiration_date": null, "context_length": 1.5},
    {"id": "v/c", "expiration_date": "2026-02-01T10:00:00Z"},
    {"id": "v/d", "pricing": {"prompt": 5e-8, "completion": true}, "expiration_date": "soon", "context_length": 0}]})");
  ASSERT_EQ(models.size(), 4u);
  EXPECT_EQ(models[0].id, "v/a");
  EXPECT_EQ(models[0].input_price_per_million, 0.05);
  EXPECT_EQ(models[0].output_price_per_million, 0.2);
  EXPECT_EQ(models[0].context_tokens, 131072u);
  EXPECT_EQ(models[0].expiration_date, "2026-01-31");
  EXPECT_FALSE(models[1].input_price_per_million);
  EXPECT_FALSE(models[1].output_price_per_million);
  EXPECT_FALSE(models[1].context_tokens);
  EXPECT_EQ(models[1].expiration_date, "");
  EXPECT_FALSE(models[2].input_price_per_million);
  EXPECT_EQ(models[2].expiration_date, "2026-02-01");
  EXPECT_EQ(models[3].input_price_per_million, 0.05);
  EXPECT_FALSE(models[3].output_price_per_million);
  EXPECT_FALSE(models[3].context_tokens);
  EXPECT_EQ(models[3].expiration_date, "");
}

TEST(ReadCatalogue, SaysWhereItIsNotACatalogue) {
  const auto expect_fault = [](const std::string& body, const std::string& part) {
    expect_error(ErrorCode::kBadResponse, part, [&] { read_catalogue(body); });
  };
  expect_fault("", "not JSON");
  expect_fault("<html>", "not JSON");
  expect_fault(R"({"data": [)", "not JSON");
  expect_fault("[]", "\"data\"");
  expect_fault("7", "\"data\"");
  expect_fault(R"({"models": []})", "\"data\"");
  expect_fault(R"({"data": {}})", "\"data\"");
  expect_fault(R"({"data": [{"id": "a"}, 5]})", "number at /data/1");
  expect_fault(R"({"data": [{"id": 7}]})", "/data/0/id");
  expect_fault(R"({"data": [{"id": ""}]})", "/data/0/id");
  expect_fault(std::string(100000, '['), "not JSON");
}

TEST(FetchCatalogue, AsksWithoutAKeyBelowTheBaseUrl) {
  auto& server = FaultServer::instance();
  const std::string url =
      server.script({{service({{"models", {{{"id", "v/a"}}, {{"id", "v/b"}}}}})}});
  EXPECT_EQ(fetch_catalogue({.base_url = url}).size(), 2u);
  EXPECT_EQ(fetch_catalogue({.base_url = url + "/"}).size(), 2u);
  const auto requests = server.requests(url);
  ASSERT_EQ(requests.size(), 2u);
  for (const auto& request : requests) {
    EXPECT_EQ(request.method, "GET");
    EXPECT_EQ(request.path, url.substr(url.rfind('/')) + "/models");
    EXPECT_EQ(request.header("authorization"), "");
  }
}

TEST(FetchCatalogue, TriesAgainAfterAPassingFailure) {
  auto& server = FaultServer::instance();
  const std::string url = server.script(
      {{answer(503, {{"error", {{"code", 503}, {"message", "busy"}}}})}, {service()}});
  EXPECT_TRUE(fetch_catalogue({.base_url = url, .retry = {.first_delay = 0.01}}).empty());
  EXPECT_EQ(server.requests(url).size(), 2u);
}

TEST(FetchCatalogue, TellsWhyThereIsNone) {
  auto& server = FaultServer::instance();
  const RetryPolicy once = {.max_retries = 0};
  const std::string gone =
      server.script({{answer(404, {{"error", {{"code", 404}, {"message", "no such path"}}}})}});
  expect_error(ErrorCode::kNotFound, "no such path",
               [&] { fetch_catalogue({.base_url = gone, .retry = once}); });
  expect_error(ErrorCode::kConnection, "127.0.0.1", [&] {
    fetch_catalogue({.base_url = "http://127.0.0.1:" + server.closed_port(), .retry = once});
  });
  const std::string html = server.script({{{{"answer", {{"text", "<html>"}}}}}});
  expect_error(ErrorCode::kBadResponse, "not JSON",
               [&] { fetch_catalogue({.base_url = html, .retry = once}); });
}

}  // namespace
}  // namespace r2router::client
