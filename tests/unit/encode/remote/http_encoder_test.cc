// The encoder against a real server over real sockets.
#include "r2router/llm/http_encoder.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/encoder.h"
#include "r2router/error.h"
#include "r2router/router.h"

#include "support/base64.h"
#include "support/errors.h"
#include "support/fault_server.h"
#include "support/heads.h"

namespace r2router::llm {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using testing::answer;
using testing::base64;
using ::testing::ElementsAre;
using testing::error_of;
using testing::FaultServer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::SeenRequest;
using testing::service;
using ::testing::SizeIs;

constexpr std::size_t kDimension = 4;
constexpr const char* kKey = "sk-test-0123456789abcdef";

FaultServer& server() { return FaultServer::instance(); }

/// The script that answers every request with the same one step.
json all(const json& step) { return json::array({json::array({step})}); }

/// Retries come at once, and nothing is waited for longer than a test may take.
Endpoint endpoint_at(const std::string& url) {
  return {.base_url = url,
          .api_key = Secret(kKey),
          .timeouts = {.connect = 5, .first_byte = 5, .idle = 5, .total = 20},
          .retry = {.max_retries = 2, .first_delay = 0.001, .max_delay = 0.002}};
}

HttpEncoderOptions options() { return {.model = "test/encoder", .dimension = kDimension}; }

std::shared_ptr<const Encoder> encoder_at(const std::string& url) {
  return make_http_encoder(endpoint_at(url), options());
}

/// The embedding of a text that is requested alone.
std::vector<float> expected_embedding(const std::string& text) {
  static const std::string url = server().script(all(service({{"dimension", kDimension}})));
  static const auto one_by_one = encoder_at(url);
  return one_by_one->embed_one(text);
}

std::vector<std::vector<float>> embed(const Encoder& encoder,
                                      const std::vector<std::string_view>& texts,
                                      const std::stop_token& cancel = {}) {
  std::vector<float> out(texts.size() * encoder.dimension());
  encoder.embed(texts, out, cancel);
  std::vector<std::vector<float>> rows;
  for (auto row = out.begin(); row != out.end(); row += kDimension) {
    rows.emplace_back(row, row + kDimension);
  }
  return rows;
}

json data_of(const std::vector<std::pair<int, json>>& elements) {
  json data = json::array();
  for (const auto& [index, embedding] : elements) {
    data.push_back({{"index", index}, {"embedding", embedding}});
  }
  return {{"data", data}};
}

json good_answer() { return answer(200, data_of({{0, {1, 2, 3, 4}}})); }

// ---- What is sent ----

TEST(HttpEncoder, SendsTheRequestThatServersKnow) {
  const std::string url = server().script(all(service({{"dimension", kDimension}, {"key", kKey}})));
  Endpoint endpoint = endpoint_at(url);
  endpoint.headers = {{"X-Title", "tests"}};
  EXPECT_EQ(embed(*make_http_encoder(endpoint, options()), {"a", "é \"quoted\"\n"}).at(1),
            expected_embedding("é \"quoted\"\n"));
  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(1));
  const SeenRequest& request = requests[0];
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, url.substr(url.rfind('/')) + "/v1/embeddings");
  EXPECT_EQ(request.header("authorization"), std::string("Bearer ") + kKey);
  EXPECT_EQ(request.header("content-type"), "application/json");
  EXPECT_EQ(request.header("x-title"), "tests");
  EXPECT_EQ(request.json(), (json{{"model", "test/encoder"},
                                  {"encoding_format", "base64"},
                                  {"input", {"a", "é \"quoted\"\n"}}}));
}

TEST(HttpEncoder, KnowsBaseUrlsWithAndWithoutTheVersion) {
  for (const char* ending : {"", "/", "/v1", "/v1/", "//"}) {
    const std::string url = server().script(all(good_answer()));
    EXPECT_THAT(encoder_at(url + ending)->embed_one("a"), ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(server().requests(url).at(0).path, url.substr(url.rfind('/')) + "/v1/embeddings");
  }
}

TEST(HttpEncoder, KeepsTheQueryOfTheBaseUrlAndDoesNotShowIt) {
  const std::string url =
      server().script({{good_answer()}, {answer(400, {{"error", {{"message", "no"}}}})}});
  const auto encoder = encoder_at(" " + url + "/v1/?key=sk-secret");
  EXPECT_THAT(encoder->embed_one("a"), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(server().requests(url).at(0).path,
            url.substr(url.rfind('/')) + "/v1/embeddings?key=sk-secret");
  const Error error = error_of([&] { encoder->embed_one("b"); });
  EXPECT_THAT(error.what(), HasSubstr("/v1/embeddings: "));
  EXPECT_THAT(error.what(), Not(HasSubstr("sk-secret")));
}

TEST(HttpEncoder, AgreesWithTheNumbersOfTheServer) {
  // The same numbers through decimals and through Python's own base64.
  const std::string decimals =
      server().script(all(service({{"dimension", kDimension}, {"base64", "ignored"}})));
  EXPECT_EQ(encoder_at(decimals)->embed_one("some text"), expected_embedding("some text"));
  double squares = 0;
  for (const double value : expected_embedding("some text")) squares += value * value;
  EXPECT_NEAR(squares, 1, 1e-6);
}

// ---- Batches ----

TEST(HttpEncoder, SplitsIntoBatchesAndKeepsTheOrder) {
  for (const std::size_t concurrency : {1, 3, 64}) {
    const std::string url = server().script(all(service({{"dimension", kDimension}})));
    HttpEncoderOptions batched = options();
    batched.max_batch_texts = 3;
    batched.max_concurrency = concurrency;
    std::vector<std::string> texts;
    for (int i = 0; i < 40; ++i) texts.push_back("text " + std::to_string(i));
    const auto rows =
        embed(*make_http_encoder(endpoint_at(url), batched), {texts.begin(), texts.end()});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(rows[i], expected_embedding(texts[i])) << i;
    }
    const auto requests = server().requests(url);
    EXPECT_THAT(requests, SizeIs(14));
    std::set<int> connections;
    for (const SeenRequest& request : requests) {
      EXPECT_LE(request.json().at("input").size(), 3u);
      connections.insert(request.connection);
    }
    EXPECT_LE(connections.size(), concurrency);
  }
}

TEST(HttpEncoder, SplitsByBytesToo) {
  const std::string url = server().script(all(service({{"dimension", kDimension}})));
  HttpEncoderOptions batched = options();
  batched.max_batch_bytes = 10;
  batched.max_concurrency = 1;
  const std::string text(25, 'x');
  embed(*make_http_encoder(endpoint_at(url), batched),
        {"12345", "1234", "1", "2", text, "123456789", "0"});
  std::vector<std::size_t> sizes;
  for (const SeenRequest& request : server().requests(url)) {
    sizes.push_back(request.json().at("input").size());
  }
  EXPECT_THAT(sizes, ElementsAre(3, 1, 1, 2));
}

TEST(HttpEncoder, AsksForEachTextOnce) {
  const std::string url = server().script(all(service({{"dimension", kDimension}})));
  const auto rows = embed(*encoder_at(url), {"a", "b", "a", "a", "b"});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i], expected_embedding(i == 1 || i == 4 ? "b" : "a"));
  }
  EXPECT_EQ(server().requests(url).at(0).json().at("input"), json({"a", "b"}));
}

TEST(HttpEncoder, TheFirstFailureStopsTheOtherBatches) {
  // The first request is refused at once; the others would stall.
  const std::string url =
      server().script(json::array({{answer(404, {{"error", "no such model"}})}, {{{"wait", 30}}}}));
  HttpEncoderOptions batched = options();
  batched.max_batch_texts = 1;
  batched.max_concurrency = 3;
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(std::to_string(i));
  const auto start = std::chrono::steady_clock::now();
  const Error error = error_of([&] {
    embed(*make_http_encoder(endpoint_at(url), batched), {texts.begin(), texts.end()});
  });
  EXPECT_EQ(error.code(), ErrorCode::kRefused) << error.what();
  EXPECT_THAT(error.what(), HasSubstr("no such model"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
  EXPECT_LE(server().requests(url).size(), 3u);
}

// ---- Texts that the server refuses ----

/// The service, which answers so where a text contains "bad".
json refusing(const json& answer, const json& settings = json::object()) {
  json all_settings = {{"dimension", kDimension},
                       {"refuse", {{"containing", "bad"}, {"answer", answer.at("answer")}}}};
  all_settings.merge_patch(settings);
  return all(service(all_settings));
}

std::vector<std::string> numbered_texts(std::size_t count, const std::set<std::size_t>& bad = {}) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    texts.push_back((bad.contains(i) ? "bad " : "good ") + std::to_string(i));
  }
  return texts;
}

/// embed_each() of `texts`: the rejected texts' places. The other rows are checked.
std::vector<std::size_t> rejected_places(const Encoder& encoder,
                                         const std::vector<std::string>& texts,
                                         const std::string& message = {}) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<float> out(texts.size() * kDimension);
  std::vector<std::size_t> places;
  for (const auto& [place, failure] : encoder.embed_each(views, out)) {
    places.push_back(place);
    EXPECT_THAT(failure.message, HasSubstr(message));
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (std::ranges::find(places, i) != places.end()) continue;
    const auto row = out.begin() + static_cast<std::ptrdiff_t>(i * kDimension);
    EXPECT_EQ(std::vector<float>(row, row + kDimension), expected_embedding(texts[i])) << i;
  }
  return places;
}

TEST(HttpEncoder, FindsTheTextsThatTheServerRefuses) {
  const json too_long = {{"error", {{"message", "too long"}}}};
  for (const json& refusal : {answer(400, too_long), answer(413, too_long), answer(422, too_long),
                              answer(500, too_long), answer(503, too_long), answer(502, too_long),
                              answer(520, too_long), answer(200, {{"error", "too long"}}),
                              answer(200, {{"error", {{"code", 500}, {"message", "too long"}}}})}) {
    SCOPED_TRACE(refusal.dump());
    for (const std::set<std::size_t>& bad :
         {std::set<std::size_t>{0}, {12}, {6, 7}, {0, 1, 2, 3, 4, 5, 12}}) {
      const std::string url = server().script(refusing(refusal));
      const std::vector<std::size_t> places =
          rejected_places(*encoder_at(url), numbered_texts(13, bad), "too long");
      EXPECT_EQ(std::set<std::size_t>(places.begin(), places.end()), bad);
      EXPECT_LE(server().requests(url).size(), 2 * 13 + 4u);
    }
  }
}

TEST(HttpEncoder, HalvesABatchToFindOneText) {
  const std::string url = server().script(refusing(answer(400, {{"error", "too long"}})));
  const auto encoder = encoder_at(url);
  encoder->embed_one("base64 is accepted");
  EXPECT_THAT(rejected_places(*encoder, numbered_texts(64, {37})), ElementsAre(37));
  // The batch, and two halves on each of six levels.
  EXPECT_THAT(server().requests(url), SizeIs(1 + 1 + 12));
}

TEST(HttpEncoder, SplitsABatchThatIsTooLargeForTheServer) {
  const json too_many = {{"refuse", {{"texts", 8}, {"containing", nullptr}}}};
  const std::string url =
      server().script(refusing(answer(422, {{"error", "batch size 20 > 8"}}), too_many));
  EXPECT_THAT(rejected_places(*encoder_at(url), numbered_texts(20)), SizeIs(0));
  for (const SeenRequest& request : server().requests(url)) {
    EXPECT_GE(request.json().at("input").size(), 5u);
  }
}

TEST(HttpEncoder, NamesTheTextThatIsRefused) {
  const std::string url = server().script(refusing(answer(413, {{"error", "too long"}})));
  const auto encoder = encoder_at(url);
  const Error one = error_of([&] { embed(*encoder, {"a", "b", "a bad one"}); });
  EXPECT_EQ(one.code(), ErrorCode::kRefused);
  EXPECT_THAT(one.what(), AllOf(HasSubstr("texts[2], \"a bad one\" (9 bytes): http://127.0.0.1"),
                                HasSubstr("error 413: \"too long\""), Not(HasSubstr("more"))));
  const Error two = error_of([&] { embed(*encoder, {"a", "bad", "b", "bad"}); });
  EXPECT_THAT(two.what(), AllOf(HasSubstr("texts[1], \"bad\""),
                                HasSubstr("1 more texts failed, the next is texts[3]")));
  // The only text needs no name.
  const Error alone = error_of([&] { encoder->embed_one("bad"); });
  EXPECT_THAT(alone.what(), Not(HasSubstr("texts[")));
}

TEST(HttpEncoder, AZeroEmbeddingFailsItsTextOnly) {
  const std::string url =
      server().script(all(service({{"dimension", kDimension}, {"zero", "bad"}})));
  HttpEncoderOptions cached = options();
  cached.cache = std::make_shared<EmbeddingCache>(1 << 20);
  const auto encoder = make_http_encoder(endpoint_at(url), cached);
  EXPECT_THAT(rejected_places(*encoder, {"a", "bad", "b", "bad"}, "is all zeros"),
              ElementsAre(1, 3));
  EXPECT_THAT(server().requests(url), SizeIs(1));
  EXPECT_EQ(cached.cache->stats().entries, 2u) << "a text without an embedding is not kept";
  // If no embedding can be used, the server is at fault.
  testing::expect_error(ErrorCode::kBadResponse, "is all zeros", [&] {
    rejected_places(*encoder, {"bad 1", "bad 2"});
  });
}

TEST(HttpEncoder, TextsInOtherBatchesAreNotAffected) {
  const std::string url = server().script(refusing(answer(500, {{"error", "too long"}})));
  HttpEncoderOptions batched = options();
  batched.max_batch_texts = 4;
  batched.cache = std::make_shared<EmbeddingCache>(1 << 20);
  const auto encoder = make_http_encoder(endpoint_at(url), batched);
  const std::vector<std::string> texts = numbered_texts(30, {3, 17, 29});
  EXPECT_THAT(rejected_places(*encoder, texts), ElementsAre(3, 17, 29));
  EXPECT_EQ(batched.cache->stats().entries, 27u);
}

TEST(HttpEncoder, GivesUpWhenTheServerRefusesEverything) {
  for (const int status : {400, 500, 503}) {
    const std::string url = server().script(all(answer(status, {{"error", "out of order"}})));
    HttpEncoderOptions batched = options();
    batched.max_batch_texts = 100;
    batched.max_concurrency = 2;
    const auto encoder = make_http_encoder(endpoint_at(url), batched);
    const Error error = error_of([&] { rejected_places(*encoder, numbered_texts(1000)); });
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("out of order"), HasSubstr("too many failures in a row")));
    // Beside them the retries and the other encoding of both batches, and what the other thread was
    // about to send.
    EXPECT_LE(server().requests(url).size(), 32 + 2 * 3 + 2u);
  }
  // Also where each batch has one text.
  const std::string url = server().script(all(answer(500, {{"error", "out of order"}})));
  HttpEncoderOptions one_by_one = options();
  one_by_one.max_batch_texts = 1;
  one_by_one.max_concurrency = 1;
  const auto encoder = make_http_encoder(endpoint_at(url), one_by_one);
  EXPECT_THROW(rejected_places(*encoder, numbered_texts(1000)), Error);
  EXPECT_THAT(server().requests(url), SizeIs(16 * 3));  // each with its retries
}

TEST(HttpEncoder, StopsAtAServerThatRunsAnotherModel) {
  const std::string url = server().script(all(service({{"dimension", 7}})));
  HttpEncoderOptions batched = options();
  batched.max_concurrency = 1;
  const auto encoder = make_http_encoder(endpoint_at(url), batched);
  testing::expect_error(ErrorCode::kBadResponse, "has 7 numbers, expected 4",
                        [&] { rejected_places(*encoder, numbered_texts(1000)); });
  EXPECT_THAT(server().requests(url), SizeIs(1));
}

TEST(HttpEncoder, DoesNotSplitWhatIsNotAboutTexts) {
  for (const json& refusal :
       {answer(401, {}), answer(402, {}), answer(403, {}), answer(404, {}),
        answer(429, {}, {{"Retry-After", "3600"}}), answer(503, {}, {{"Retry-After", "3600"}})}) {
    const std::string url = server().script(all(refusal));
    EXPECT_THROW(rejected_places(*encoder_at(url), numbered_texts(8)), Error);
    EXPECT_THAT(server().requests(url), SizeIs(1)) << refusal;
  }
}

TEST(HttpEncoder, RetriesTheWholeBatchBeforeItIsSplit) {
  // A server that is unwell for a moment refuses no text.
  const json busy = answer(500, {{"error", "busy"}});
  const std::string url =
      server().script(json::array({{busy}, {busy}, {service({{"dimension", kDimension}})}}));
  EXPECT_THAT(rejected_places(*encoder_at(url), numbered_texts(8)), SizeIs(0));
  EXPECT_THAT(server().requests(url), SizeIs(3));
}

// ---- Encodings ----

TEST(HttpEncoder, FallsBackToDecimalsAndRemembers) {
  const std::string url =
      server().script(all(service({{"dimension", kDimension}, {"base64", false}})));
  const auto encoder = encoder_at(url);
  EXPECT_EQ(encoder->embed_one("a"), expected_embedding("a"));
  EXPECT_EQ(encoder->embed_one("b"), expected_embedding("b"));
  std::vector<std::string> formats;
  for (const SeenRequest& request : server().requests(url)) {
    formats.push_back(request.json().at("encoding_format"));
  }
  EXPECT_THAT(formats, ElementsAre("base64", "float", "float"));
}

TEST(HttpEncoder, TakesARefusalAtItsWordOnceBase64HasWorked) {
  const std::string url = server().script(
      json::array({{good_answer()}, {answer(422, {{"error", {{"message", "text too long"}}}})}}));
  const auto encoder = encoder_at(url);
  encoder->embed_one("a");
  testing::expect_error(ErrorCode::kRefused, "text too long", [&] { encoder->embed_one("b"); });
  EXPECT_THAT(server().requests(url), SizeIs(2));
}

TEST(HttpEncoder, TellsTheServersWordsWhenBothEncodingsAreRefused) {
  const std::string url = server().script(json::array(
      {{answer(400, {{"error", "base64?"}})}, {answer(400, {{"error", "text too long"}})}}));
  testing::expect_error(ErrorCode::kRefused, "text too long",
                        [&] { encoder_at(url)->embed_one("a"); });
  EXPECT_THAT(server().requests(url), SizeIs(2));
}

// ---- Before the network ----

TEST(HttpEncoder, RefusesTextsThatCannotBeSentBeforeAnythingIs) {
  const std::string url = server().script(all(good_answer()));
  const auto encoder = encoder_at(url);
  testing::expect_error(ErrorCode::kInvalidArgument, "texts[1] is empty", [&] {
    embed(*encoder, {"a", ""});
  });
  testing::expect_error(ErrorCode::kInvalidArgument, "texts[0] is nothing but white space",
                        [&] { embed(*encoder, {" \n"}); });
  testing::expect_error(ErrorCode::kInvalidArgument, "texts[1] is not UTF-8 at byte 3", [&] {
    embed(*encoder, {"a", "ab\xFF"});
  });
  std::vector<float> small(3);
  const std::string_view text = "a";
  testing::expect_error(ErrorCode::kInvalidArgument, "the output has room for 3 numbers", [&] {
    encoder->embed({&text, 1}, small);
  });
  encoder->embed({}, {});
  EXPECT_THAT(server().requests(url), SizeIs(0));
}

TEST(HttpEncoder, RefusesBadOptions) {
  const auto refused = [](const std::string& part, auto change) {
    Endpoint endpoint = endpoint_at("http://127.0.0.1:1");
    HttpEncoderOptions bad = options();
    change(endpoint, bad);
    testing::expect_error(ErrorCode::kInvalidArgument, part,
                          [&] { make_http_encoder(endpoint, bad); });
  };
  refused("model", [](Endpoint&, HttpEncoderOptions& o) { o.model = ""; });
  refused("model", [](Endpoint&, HttpEncoderOptions& o) { o.model = "\xFF"; });
  refused("dimension", [](Endpoint&, HttpEncoderOptions& o) { o.dimension = 0; });
  refused("max_batch_texts", [](Endpoint&, HttpEncoderOptions& o) { o.max_batch_texts = 0; });
  refused("max_concurrency", [](Endpoint&, HttpEncoderOptions& o) { o.max_concurrency = 0; });
  refused("not a URL", [](Endpoint& e, HttpEncoderOptions&) { e.base_url = "localhost:8000"; });
}

// ---- Faults ----

struct Fault {
  const char* name;
  json script;
  ErrorCode code;
  const char* message;
  std::size_t requests = 1;
};

/// So long that it is cut, also once each key in it has become shorter.
std::string many_keys() {
  std::string keys;
  for (int i = 0; i < 1000; ++i) keys += kKey;
  return keys;
}

std::vector<Fault> faults() {
  const json half = {{"send", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"data\": ["}};
  const json stall = {{"wait", 30}}, reset = {{"reset", true}}, close = {{"close", true}};
  const json status = json::object();
  const auto says = [](int code) {
    return answer(code, {{"error", {{"code", code}, {"message", "because"}}}});
  };
  const auto body = [](const json& value) { return all(answer(200, value)); };
  const float nan = std::nanf("");
  return {
      {"reset before headers", all(reset), ErrorCode::kConnection, "embedding server", 3},
      {"closed before headers", all(close), ErrorCode::kConnection, "embedding server", 3},
      {"reset in the body", json::array({{half, reset}}), ErrorCode::kConnection, ""},
      {"closed in the body", json::array({{half, close}}), ErrorCode::kConnection, ""},
      {"stall before headers", all(stall), ErrorCode::kTimeout, "", 3},
      {"stall in the body", json::array({{half, stall}}), ErrorCode::kTimeout, ""},
      {"trickle", json::array({{half, {{"trickle", std::string(1000, ' ')}, {"every", 0.2}}}}),
       ErrorCode::kTimeout, ""},
      {"400", all(says(400)), ErrorCode::kRefused, "error 400: \"because\"", 2},
      {"401", all(says(401)), ErrorCode::kAuthentication, "set a key that this server accepts"},
      {"402", all(says(402)), ErrorCode::kCredit, "add credit"},
      {"403", all(says(403)), ErrorCode::kAuthentication, "error 403: \"because\""},
      {"404", all(says(404)), ErrorCode::kRefused, "check the base URL"},
      {"413", all(says(413)), ErrorCode::kRefused, "error 413: \"because\""},
      {"429", all(says(429)), ErrorCode::kRateLimited, "error 429: \"because\"", 3},
      {"500", all(says(500)), ErrorCode::kServer, "error 500: \"because\"", 3},
      {"503", all({{"answer", {{"status", 503}, {"text", "<h1>gone</h1>"}}}}), ErrorCode::kServer,
       "error 503: \"gone\"", 3},
      {"wait too long", all(answer(429, {{"error", "because"}}, {{"Retry-After", "3600"}})),
       ErrorCode::kRateLimited, "error 429"},
      {"redirect", all(answer(307, {}, {{"Location", "http://elsewhere.invalid/"}})),
       ErrorCode::kRefused, "redirects (HTTP 307) to \"http://elsewhere.invalid/\""},
      {"error under 200", all(answer(200, {{"error", {{"code", 401}, {"message", "because"}}}})),
       ErrorCode::kAuthentication, "error 401: \"because\""},
      {"retryable error under 200",
       all(answer(200, {{"error", {{"code", 502}, {"message", "b"}}}})), ErrorCode::kServer,
       "error 502: \"b\"", 3},
      {"error under 200 without a code", all(answer(200, {{"error", "because"}})),
       ErrorCode::kServer, "reports an error: \"because\""},
      {"web page",
       all({{"answer",
             {{"text", "<html>hello</html>"}, {"headers", {{"Content-Type", "text/html"}}}}}}),
       ErrorCode::kBadResponse, "not declared as JSON and begins \"<html>hello</html>\""},
      {"no JSON", all({{"answer", {{"text", "{\"data\": [{\"index\": 0, \"embe"}}}}),
       ErrorCode::kBadResponse, "not valid JSON at byte"},
      {"garbage", all({{"answer", {{"text", std::string(3 << 20, '\x7F')}}}}),
       ErrorCode::kBadResponse, "not valid JSON at byte 1"},
      {"no HTTP", json::array({{{{"send", std::string(100000, 'x')}}, close}}),
       ErrorCode::kBadResponse, ""},
      {"endless body",
       json::array({{{{"send", "HTTP/1.1 200 OK\r\n\r\n"}}, {{"endless", "[[[["}}}}),
       ErrorCode::kBadResponse, ""},
      {"no embedding", body(data_of({})), ErrorCode::kBadResponse, "\"data\" has 0 elements"},
      {"two embeddings", body(data_of({{0, {1, 2, 3, 4}}, {1, {1, 2, 3, 4}}})),
       ErrorCode::kBadResponse, "more than 1 elements"},
      {"wrong index", body(data_of({{1, {1, 2, 3, 4}}})), ErrorCode::kBadResponse,
       "data[0].index is \"1\""},
      {"wrong dimension", body(data_of({{0, {1, 2, 3}}})), ErrorCode::kBadResponse,
       "data[0].embedding has 3 numbers, expected 4: does the server run the model"},
      {"wrong dimension in base64", body(data_of({{0, base64(std::vector<float>(6))}})),
       ErrorCode::kBadResponse, "data[0].embedding has 6 numbers, expected 4"},
      {"NaN", body(data_of({{0, base64(std::vector<float>{1, nan, 2, 3})}})),
       ErrorCode::kBadResponse, "data[0].embedding[1] is NaN"},
      {"zeros", body(data_of({{0, {0, 0, 0, 0}}})), ErrorCode::kBadResponse,
       "data[0].embedding is all zeros"},
      {"null for NaN", body(data_of({{0, {1, nullptr, 3, 4}}})), ErrorCode::kBadResponse,
       "data[0].embedding[1] is null"},
      {"the key in the error", all(answer(401, {{"error", std::string("bad key ") + kKey}})),
       ErrorCode::kAuthentication, "bad key"},
      {"the key at the cut of what is quoted",
       all(answer(500, {{"error", std::string(290, '.') + kKey}})), ErrorCode::kServer, "...[key]",
       3},
      {"the key again and again", all(answer(500, {{"error", many_keys()}})), ErrorCode::kServer,
       "[key][key]", 3},
      {"the key in place of JSON", all({{"answer", {{"text", std::string(kKey)}}}}),
       ErrorCode::kBadResponse, "begins \"[key]\""},
      {"the key in the answer", body(data_of({{0, kKey}})), ErrorCode::kBadResponse, "base64"},
  };
}

TEST(HttpEncoder, EveryFaultHasItsErrorAndLeaksNoKey) {
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.name);
    const std::string url = server().script(fault.script);
    Endpoint endpoint = endpoint_at(url);
    endpoint.timeouts = {.connect = 5, .first_byte = 0.3, .idle = 0.4, .total = 3};
    endpoint.max_response_bytes = 8 << 20;
    const auto encoder = make_http_encoder(endpoint, options());
    const Error error = error_of([&] { encoder->embed_one("some text"); });
    EXPECT_EQ(to_string(error.code()), to_string(fault.code)) << error.what();
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr(fault.message), HasSubstr("127.0.0.1:" + server().port()),
                      Not(HasSubstr("0123456789"))));
    EXPECT_LT(std::string_view(error.what()).size(), 2500u);
    EXPECT_THAT(server().requests(url), SizeIs(fault.requests)) << error.what();
  }
}

TEST(HttpEncoder, SaysThatNoServerIsThere) {
  const std::string port = server().closed_port();
  const Error error = error_of([&] { encoder_at("http://127.0.0.1:" + port)->embed_one("a"); });
  EXPECT_EQ(error.code(), ErrorCode::kConnection);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("127.0.0.1:" + port),
                                  HasSubstr("is an embedding server running there?")));
}

TEST(HttpEncoder, RetriesUntilTheServerIsWell) {
  const json reset = {{"reset", true}};
  for (const json& first : {reset, answer(429, {}, {{"Retry-After", "0"}}),
                            answer(429, {}, {{"Retry-After", "Fri, 01 Jan 2021 00:00:00 GMT"}}),
                            answer(500, {}), answer(502, {}), answer(503, {}), answer(504, {}),
                            answer(200, {{"error", {{"code", 503}}}})}) {
    const std::string url = server().script(json::array({{first}, {first}, {good_answer()}}));
    EXPECT_THAT(encoder_at(url)->embed_one("a"), ElementsAre(1, 2, 3, 4)) << first;
    EXPECT_THAT(server().requests(url), SizeIs(3));
  }
}

TEST(HttpEncoder, NoRetryOutlivesTheDeadline) {
  const std::string url = server().script(all(answer(503, {}, {{"Retry-After", "2"}})));
  Endpoint endpoint = endpoint_at(url);
  endpoint.timeouts.total = 1;
  const auto start = std::chrono::steady_clock::now();
  testing::expect_error(ErrorCode::kServer, "503",
                        [&] { make_http_encoder(endpoint, options())->embed_one("a"); });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1500));
  EXPECT_THAT(server().requests(url), SizeIs(1));
}

TEST(HttpEncoder, CancelEndsTheCall) {
  for (const json& script : {all({{"wait", 30}}), all(answer(503, {}, {{"Retry-After", "10"}}))}) {
    const std::string url = server().script(script);
    const auto encoder = encoder_at(url);
    std::stop_source stop;
    std::atomic<std::chrono::steady_clock::time_point> stopped;
    std::jthread canceller([&] {
      while (server().requests(url).empty()) std::this_thread::yield();
      stopped = std::chrono::steady_clock::now();
      stop.request_stop();
    });
    const Error error = error_of([&] { embed(*encoder, {"a"}, stop.get_token()); });
    const auto ended = std::chrono::steady_clock::now();
    canceller.join();
    EXPECT_EQ(to_string(error.code()), "cancelled") << error.what();
    EXPECT_LT(ended - stopped.load(), std::chrono::seconds(1));
  }
  // One that is cancelled already sends nothing.
  const std::string url = server().script(all(good_answer()));
  std::stop_source stop;
  stop.request_stop();
  testing::expect_error(ErrorCode::kCancelled, "",
                        [&] { embed(*encoder_at(url), {"a"}, stop.get_token()); });
  EXPECT_THAT(server().requests(url), SizeIs(0));
}

// ---- The cache ----

TEST(HttpEncoder, AsksOnlyForWhatTheCacheDoesNotHold) {
  const std::string url = server().script(all(service({{"dimension", kDimension}})));
  HttpEncoderOptions cached = options();
  cached.cache = std::make_shared<EmbeddingCache>(1 << 20);
  const auto encoder = make_http_encoder(endpoint_at(url), cached);
  embed(*encoder, {"a", "b"});
  EXPECT_EQ(embed(*encoder, {"b", "c", "a", "c"}),
            (std::vector{expected_embedding("b"), expected_embedding("c"), expected_embedding("a"),
                         expected_embedding("c")}));
  embed(*encoder, {"c", "a"});
  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[1].json().at("input"), json({"c"}));
  EXPECT_EQ(cached.cache->stats().hits, 4u);
  EXPECT_EQ(cached.cache->stats().misses, 3u);

  // Another model's embeddings are others.
  HttpEncoderOptions other = cached;
  other.model = "test/other";
  make_http_encoder(endpoint_at(url), other)->embed_one("a");
  EXPECT_THAT(server().requests(url), SizeIs(3));
}

TEST(HttpEncoder, KeepsWhatWasFetchedBeforeAFailure) {
  const std::string url =
      server().script(json::array({{service({{"dimension", kDimension}})}, {answer(404, {})}}));
  HttpEncoderOptions cached = options();
  cached.cache = std::make_shared<EmbeddingCache>(1 << 20);
  cached.max_batch_texts = 1;
  cached.max_concurrency = 1;
  const auto encoder = make_http_encoder(endpoint_at(url), cached);
  EXPECT_THROW(embed(*encoder, {"a", "b"}), Error);
  EXPECT_EQ(encoder->embed_one("a"), expected_embedding("a"));
  EXPECT_EQ(cached.cache->stats().entries, 1u) << "nothing of a failed request is kept";
}

TEST(HttpEncoder, ThreadsShareOneWithACache) {
  const std::string url = server().script(all(service({{"dimension", kDimension}})));
  HttpEncoderOptions cached = options();
  cached.cache = std::make_shared<EmbeddingCache>(2000);
  cached.max_batch_texts = 2;
  const auto encoder = make_http_encoder(endpoint_at(url), cached);
  std::vector<std::string> texts;
  std::vector<std::vector<float>> expected;
  for (int i = 0; i < 12; ++i) {
    texts.push_back("text " + std::to_string(i));
    expected.push_back(expected_embedding(texts.back()));
  }
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t round = 0; round < 10; ++round) {
        std::vector<std::string_view> some;
        for (std::size_t i = 0; i < 5; ++i)
          some.push_back(texts[(t + round + i * i) % texts.size()]);
        const auto rows = embed(*encoder, some);
        for (std::size_t i = 0; i < 5; ++i) {
          ASSERT_EQ(rows[i], expected[(t + round + i * i) % texts.size()]);
        }
      }
    });
  }
  threads.clear();
  EXPECT_GT(cached.cache->stats().hits, 0u);
}

// ---- A router over it ----

TEST(HttpEncoder, RoutesAsTheSameEmbeddingDoes) {
  const std::string url = server().script(all(service({{"dimension", kDimension}})));
  const auto encoder = encoder_at(url);
  for (const DecisionRules rules : {DecisionRules::kReference, DecisionRules::kCorrected}) {
    Checkpoint checkpoint = testing::random_checkpoint(5, 4, kDimension, 11);
    const Router router(checkpoint, {.encoder = encoder});
    for (const std::string text : {"Solve the equation: 2x + 5 = 13", "a", "質問"}) {
      const RouteOptions route_options{.policy = {.rules = rules}, .rank = true};
      const Decision by_text = router.route_text(text, route_options);
      const Decision by_embedding = router.route(expected_embedding(text), route_options,
                                                 {.input_tokens = by_text.input_tokens});
      ASSERT_FALSE(by_text.ranking.empty());
      ASSERT_EQ(by_text.ranking.size(), by_embedding.ranking.size());
      for (std::size_t i = 0; i < by_text.ranking.size(); ++i) {
        EXPECT_EQ(by_text.ranking[i].model, by_embedding.ranking[i].model);
        EXPECT_EQ(by_text.ranking[i].budget, by_embedding.ranking[i].budget);
        EXPECT_EQ(by_text.ranking[i].utility, by_embedding.ranking[i].utility);
      }
    }
  }
}

TEST(HttpEncoder, ARouterPassesTheWishToStopOn) {
  const std::string url = server().script(all(good_answer()));
  const Router router(testing::random_checkpoint(2, 1, kDimension, 1),
                      {.encoder = encoder_at(url)});
  std::stop_source stop;
  stop.request_stop();
  testing::expect_error(ErrorCode::kCancelled, "",
                        [&] { router.route_text("a", {.cancel = stop.get_token()}); });
  EXPECT_THAT(server().requests(url), SizeIs(0));
}

}  // namespace
}  // namespace r2router::llm
