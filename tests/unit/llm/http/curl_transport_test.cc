// Over real sockets: tests/support/fault_server.py is at the other end of most tests.
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "r2router/version.h"

#include "llm/http/transport.h"
#include "support/errors.h"
#include "support/fault_server.h"
#include "support/temporary_folder.h"

namespace r2router::llm {
namespace {

using ::testing::AllOf;
using testing::answer;
using testing::expect_error;
using testing::FaultServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing::TemporaryFolder;
using Json = nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

// What no message may hold.
const std::string kKey = "sk-secret-0123456789abcdef";

// Long enough for a slow machine, short enough for a person; nothing waits that long unless it is
// broken.
constexpr double kLong = 60;

FaultServer& server() { return FaultServer::instance(); }

Endpoint endpoint_at(const std::string& base_url) {
  return {.base_url = base_url,
          .api_key = Secret(kKey),
          .timeouts = {.connect = kLong, .first_byte = kLong, .idle = kLong}};
}

Response send(const Transport& transport, Request request) {
  Response response = transport.send(request);
  if (response.failure) {
    EXPECT_THAT(response.failure->message, Not(HasSubstr(kKey)));
    EXPECT_THAT(response.failure->message, Not(IsEmpty()));
    EXPECT_EQ(response.failure->http_status, response.status);
  }
  return response;
}

/// One POST to an endpoint over a separate connection.
Response post(const Endpoint& endpoint, const std::string& body = "{}") {
  return send(*make_transport(endpoint), {.url = endpoint.base_url + "/x", .body = body});
}

/// What a request is answered with, step by step.
using Steps = std::vector<Json>;
Json send_text(const std::string& text) { return {{"send", text}}; }
Json send_again_and_again(const std::string& text) { return {{"endless", text}}; }
Json wait(double seconds) { return {{"wait", seconds}}; }
Json close() { return {{"close", true}}; }
Json reset() { return {{"reset", true}}; }
Json good() { return answer(200, Json::object()); }

/// The URL below which the n-th request is answered by the n-th of these.
std::string script(const std::vector<Steps>& answers) { return server().script(answers); }
/// Only its path: for another port.
std::string path(const std::vector<Steps>& answers) { return server().path(answers); }

/// One POST that these steps answer.
Response post_to(const Steps& steps) { return post(endpoint_at(script({steps}))); }

/// The header's value, or "" without it.
std::string header(const Response& response, const std::string& name) {
  const std::string* const value = find_header(response.headers, name);
  return value == nullptr ? "" : *value;
}

void expect_failure(const Response& response, ErrorCode code, const std::string& part) {
  ASSERT_TRUE(response.failure) << "HTTP " << response.status << ": " << response.body;
  EXPECT_EQ(to_string(response.failure->code), to_string(code)) << response.failure->message;
  EXPECT_THAT(response.failure->message, HasSubstr(part));
}

/// Sets a variable of the environment, or takes it away, until the end of the test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CurlTransport, SendsTheRequestAndGivesTheAnswer) {
  const std::string url =
      script({{answer(200, {{"x", "é"}}, {{"X-Name", " a: b \t"}, {"X-Empty", ""}})}});
  Endpoint endpoint = endpoint_at(url);
  endpoint.headers = {{"HTTP-Referer", "https://example.org"}, {"X-Empty", ""}};
  const std::string body = "{\"text\": \"\xC3\xA9\"}" + std::string(1, '\0') + "after";
  const Response response =
      send(*make_transport(endpoint), {.url = url + "/chat/completions?a=b",
                                       .headers = {{"Content-Type", "application/json"}},
                                       .body = body});
  EXPECT_FALSE(response.failure);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(Json::parse(response.body), Json({{"x", "é"}}));
  EXPECT_TRUE(response.sent);
  EXPECT_TRUE(response.answered);
  EXPECT_GT(response.seconds, 0);
  ASSERT_NE(find_header(response.headers, "x-name"), nullptr);
  EXPECT_EQ(header(response, "x-name"), "a: b");
  EXPECT_EQ(header(response, "x-empty"), "");
  EXPECT_EQ(find_header(response.headers, "x-other"), nullptr);

  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_THAT(requests[0].path, ::testing::EndsWith("/chat/completions?a=b"));
  EXPECT_EQ(requests[0].body, body);
  EXPECT_EQ(requests[0].header("authorization"), "Bearer " + kKey);
  EXPECT_EQ(requests[0].header("content-type"), "application/json");
  EXPECT_EQ(requests[0].header("http-referer"), "https://example.org");
  EXPECT_TRUE(requests[0].headers.contains("x-empty"));
  EXPECT_EQ(requests[0].header("user-agent"), "r2router/" R2ROUTER_VERSION);
  EXPECT_FALSE(requests[0].headers.contains("accept-encoding")) << "nothing bounds what it unpacks";
}

TEST(CurlTransport, GetsWithoutABodyAndSendsNoKeyWithoutOne) {
  const std::string url = script({{good()}});
  const auto transport = make_transport({.base_url = url});
  EXPECT_EQ(send(*transport, {.method = "GET", .url = url + "/models"}).status, 200);
  // The same connection, now with a body: nothing of the request before is left.
  EXPECT_EQ(send(*transport, {.url = url + "/x", .body = "{}"}).status, 200);
  EXPECT_EQ(send(*transport, {.method = "GET", .url = url + "/models"}).status, 200);
  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(requests[0].method, "GET");
  EXPECT_EQ(requests[1].method, "POST");
  EXPECT_EQ(requests[2].method, "GET");
  EXPECT_EQ(requests[2].body, "");
  EXPECT_FALSE(requests[0].headers.contains("authorization"));
}

TEST(CurlTransport, SendsALongBodyWithoutAskingFirst) {
  const std::string url = script({{good()}});
  const std::string body(3 << 20, 'x');
  EXPECT_EQ(post(endpoint_at(url), body).status, 200);
  const auto requests = server().requests(url);
  EXPECT_EQ(requests.at(0).body, body);
  EXPECT_FALSE(requests.at(0).headers.contains("expect"));
}

TEST(CurlTransport, AnErrorStatusIsAnAnswer) {
  for (const int status : {400, 401, 402, 404, 408, 429, 500, 503}) {
    const Response response = post_to({answer(status, {{"error", "no"}}, {{"Retry-After", "7"}})});
    EXPECT_FALSE(response.failure);
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.body, R"({"error": "no"})");
    EXPECT_EQ(header(response, "retry-after"), "7");
  }
}

TEST(CurlTransport, PassesOverInterimAnswers) {
  const Response response =
      post_to({send_text("HTTP/1.1 103 Early Hints\r\nLink: early\r\n\r\n"
                         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")});
  EXPECT_FALSE(response.failure);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "ok");
  EXPECT_EQ(find_header(response.headers, "link"), nullptr);
}

TEST(CurlTransport, FollowsNoRedirect) {
  const std::string other = script({{good()}});
  for (const int status : {301, 302, 303, 307, 308}) {
    const Response response = post_to({answer(status, Json::object(), {{"Location", other}})});
    EXPECT_FALSE(response.failure);
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(header(response, "location"), other);
  }
  EXPECT_THAT(server().requests(other), IsEmpty()) << "the key went with it";
}

TEST(CurlTransport, HandsTheBodyOfASuccessOverAsItComes) {
  const std::string url = script(
      {{send_text("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none"), wait(0.2), send_text("two")},
       {answer(500, {{"error", "no"}})}});
  const auto transport = make_transport(endpoint_at(url));
  std::vector<std::string> pieces;
  const Request request{.url = url + "/x", .on_body = [&](std::string_view piece) {
                          pieces.emplace_back(piece);
                          return true;
                        }};
  Response response = send(*transport, request);
  EXPECT_FALSE(response.failure);
  EXPECT_THAT(pieces, ::testing::ElementsAre("one", "two"));
  EXPECT_EQ(response.body, "");
  pieces.clear();
  response = send(*transport, request);
  EXPECT_EQ(response.status, 500);
  EXPECT_THAT(pieces, IsEmpty()) << "an error is no part of the answer";
  EXPECT_EQ(response.body, R"({"error": "no"})");
}

TEST(CurlTransport, EndsATransferWhenItsReaderHasEnough) {
  const std::string url =
      script({{send_text("HTTP/1.1 200 OK\r\n\r\n"), send_again_and_again("more ")}});
  const auto transport = make_transport(endpoint_at(url));
  int calls = 0;
  const Response response = send(
      *transport, {.url = url + "/x", .on_body = [&](std::string_view) { return ++calls < 3; }});
  EXPECT_FALSE(response.failure);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(calls, 3);
}

TEST(CurlTransport, LetsPassWhatAReaderThrowsAndWorksOn) {
  const std::string url = script({{good()}});
  const auto transport = make_transport(endpoint_at(url));
  EXPECT_THROW(send(*transport, {.url = url + "/x",
                                 .on_body = [](std::string_view) -> bool {
                                   throw std::runtime_error("of the reader");
                                 }}),
               std::runtime_error);
  EXPECT_EQ(send(*transport, {.url = url + "/x"}).status, 200);
}

// ---- Faults
// --------------------------------------------------------------------------------------

TEST(CurlTransportFaults, Refused) {
  const Response response = post(endpoint_at("http://127.0.0.1:" + server().closed_port()));
  expect_failure(response, ErrorCode::kConnection, "127.0.0.1:");
  EXPECT_FALSE(response.sent);
  EXPECT_FALSE(response.answered);
  EXPECT_EQ(response.status, 0);
}

TEST(CurlTransportFaults, NameNotFound) {
  const Response response = post(endpoint_at("http://no-such-host.invalid:81"));
  expect_failure(response, ErrorCode::kConnection, "no-such-host.invalid:81");
  EXPECT_FALSE(response.sent);
}

/// Listens, but lets nobody in: its queue is full, so that a connection is neither made nor
/// refused.
class FullListener {
 public:
  FullListener() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockets_.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    ::bind(sockets_[0], raw, size);
    ::listen(sockets_[0], 0);
    ::getsockname(sockets_[0], raw, &size);
    port_ = ntohs(address.sin_port);
    for (int i = 0; i < 4; ++i) {
      sockets_.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::connect(sockets_.back(), raw, size);
    }
  }
  FullListener(const FullListener&) = delete;
  FullListener& operator=(const FullListener&) = delete;
  ~FullListener() {
    for (const int socket : sockets_) ::close(socket);
  }

  std::string port() const { return std::to_string(port_); }

 private:
  std::vector<int> sockets_;
  int port_ = 0;
};

TEST(CurlTransportFaults, ConnectionThatIsNeverMade) {
  const FullListener full;
  Endpoint endpoint = endpoint_at("http://127.0.0.1:" + full.port());
  endpoint.timeouts.connect = 0.3;
  Response response = post(endpoint);
  expect_failure(response, ErrorCode::kTimeout, "within 0.3 s (the limit Timeouts::connect)");
  EXPECT_FALSE(response.sent);
  EXPECT_LT(response.seconds, kLong / 2);

  endpoint.base_url = "https://127.0.0.1:" + server().listen("http").port;
  response = post(endpoint);
  expect_failure(response, ErrorCode::kTimeout, "within 0.3 s (the limit Timeouts::connect)");
  EXPECT_FALSE(response.sent) << "TLS is a part of connecting";
}

TEST(CurlTransportFaults, ResetOrClosedBeforeHeaders) {
  for (const Json& step : {reset(), close()}) {
    const Response response = post_to({step});
    expect_failure(response, ErrorCode::kConnection, "127.0.0.1:" + server().port());
    EXPECT_TRUE(response.sent);
    EXPECT_FALSE(response.answered);
    EXPECT_EQ(response.status, 0);
  }
}

TEST(CurlTransportFaults, ResetOrClosedMidBody) {
  for (const std::string head : {"Content-Length: 100\r\n\r\npartial",
                                 "Transfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n"}) {
    for (const Json& step : {reset(), close()}) {
      const Response response = post_to({send_text("HTTP/1.1 200 OK\r\n" + head), wait(0.1), step});
      expect_failure(response, ErrorCode::kConnection, "in its answer");
      EXPECT_TRUE(response.answered);
      EXPECT_EQ(response.status, 200);
      EXPECT_EQ(response.body, "partial");
    }
  }
}

TEST(CurlTransportFaults, StallBeforeHeaders) {
  Endpoint endpoint = endpoint_at(script({{wait(kLong)}}));
  endpoint.timeouts.first_byte = 0.3;
  const Response response = post(endpoint);
  expect_failure(response, ErrorCode::kTimeout, "within 0.3 s");
  EXPECT_TRUE(response.sent);
  EXPECT_FALSE(response.answered);
  EXPECT_GE(response.seconds, 0.3);
  EXPECT_LT(response.seconds, kLong / 2);
}

TEST(CurlTransportFaults, StallMidBody) {
  Endpoint endpoint = endpoint_at(
      script({{send_text("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"), wait(kLong)}}));
  endpoint.timeouts.idle = 0.3;
  const Response response = post(endpoint);
  expect_failure(response, ErrorCode::kTimeout, "nothing for 0.3 s");
  EXPECT_TRUE(response.answered);
  EXPECT_EQ(response.body, "part");
  EXPECT_LT(response.seconds, kLong / 2);
}

TEST(CurlTransportFaults, SlowTrickleEndsAtTheDeadline) {
  Endpoint endpoint =
      endpoint_at(script({{send_text("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
                           {{"trickle", std::string(5000, 'x')}, {"every", 0.02}}}}));
  endpoint.timeouts.idle = 10;  // each byte comes well within
  const auto deadline = Clock::now() + milliseconds(500);
  const Response response =
      send(*make_transport(endpoint), {.url = endpoint.base_url + "/x", .deadline = deadline});
  expect_failure(response, ErrorCode::kTimeout, "deadline");
  EXPECT_TRUE(response.answered);
  EXPECT_GT(response.body.size(), 1U);
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_LT(response.seconds, kLong / 2);
}

TEST(CurlTransportFaults, PastTheDeadlineNothingIsSent) {
  const std::string url = script({{good()}});
  const auto transport = make_transport(endpoint_at(url));
  send(*transport, {.url = url + "/x"});  // so that there is a connection to send on
  const Response response = send(*transport, {.url = url + "/x", .deadline = Clock::now()});
  expect_failure(response, ErrorCode::kTimeout, "deadline");
  EXPECT_FALSE(response.sent);
  EXPECT_THAT(server().requests(url), SizeIs(1));
}

TEST(CurlTransportFaults, EndlessBody) {
  for (const std::string head :
       {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
        "HTTP/1.1 500 Error\r\n\r\n"}) {
    Endpoint endpoint = endpoint_at(script({{send_text(head), send_again_and_again("spam")}}));
    endpoint.max_response_bytes = 100000;
    const Response response = post(endpoint);
    expect_failure(response, ErrorCode::kBadResponse, "100000 bytes");
    EXPECT_LE(response.body.size(), 100000U);
  }
}

TEST(CurlTransportFaults, EndlessBodyOfAStream) {
  Endpoint endpoint =
      endpoint_at(script({{send_text("HTTP/1.1 200 OK\r\n\r\n"), send_again_and_again("spam")}}));
  endpoint.max_response_bytes = 100000;
  std::size_t bytes = 0;
  const Response response =
      send(*make_transport(endpoint),
           {.url = endpoint.base_url + "/x", .on_body = [&](std::string_view piece) {
              bytes += piece.size();
              return true;
            }});
  expect_failure(response, ErrorCode::kBadResponse, "100000 bytes");
  EXPECT_LE(bytes, 100000U);
}

// Unasked, and a few bytes that unpack to many.
TEST(CurlTransportFaults, CompressedBodyIsBoundedAsItIsUnpacked) {
  // gzip of 100,000 spaces.
  const std::string url =
      script({{send_text("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
               {{"send_base64",
                 "ODUNCh+LCAAAAAAAAgPtwTEBAAAAwqAq65/SGh5AAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                 "AAAAAAAAAK8GLfB5yqCGAQANCjANCg0K"}}}});
  Endpoint endpoint = endpoint_at(url);
  endpoint.max_response_bytes = 10000;
  const Response response = post(endpoint);
  expect_failure(response, ErrorCode::kBadResponse, "10000 bytes");
}

TEST(CurlTransportFaults, EndlessHeaders) {
  const Response many =
      post_to({send_text("HTTP/1.1 200 OK\r\n"),
               send_again_and_again("X-Filler: " + std::string(90, 'x') + "\r\n")});
  expect_failure(many, ErrorCode::kBadResponse, "headers");
  const Response one = post_to({send_text("HTTP/1.1 200 OK\r\nX: "), send_again_and_again("xxxx")});
  expect_failure(one, ErrorCode::kBadResponse, "headers");
  EXPECT_TRUE(one.answered);
}

TEST(CurlTransportFaults, GarbageInsteadOfHttp) {
  for (const std::string& garbage :
       {std::string("SSH-2.0-OpenSSH_9.2\r\n"), std::string("\0\1\2", 3), std::string(100, 'x'),
        std::string("HTTP/9.9 200 OK\r\n\r\n")}) {
    const Response response = post_to({send_text(garbage), close()});
    expect_failure(response, ErrorCode::kBadResponse, "does not answer as an HTTP server");
  }
}

TEST(CurlTransportFaults, FurtherCallsWorkAfterAFault) {
  const std::string url = script(
      {{reset()}, {send_text("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), close()}, {good()}});
  const auto transport = make_transport(endpoint_at(url));
  EXPECT_TRUE(send(*transport, {.url = url + "/x"}).failure);
  EXPECT_TRUE(send(*transport, {.url = url + "/x"}).failure);
  const Response response = send(*transport, {.url = url + "/x"});
  EXPECT_FALSE(response.failure);
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(server().requests(url), SizeIs(3)) << "each was sent once";
}

// ---- Connections
// ---------------------------------------------------------------------------------

TEST(CurlTransportConnections, AThousandCallsOpenOne) {
  const std::string url = script({{good()}});
  const auto transport = make_transport(endpoint_at(url));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(send(*transport, {.url = url + "/x", .body = "{}"}).status, 200);
  }
  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(1000));
  for (const auto& request : requests) ASSERT_EQ(request.connection, requests[0].connection);
}

TEST(CurlTransportConnections, AClosedOneIsReplaced) {
  const std::string url = script({{good(), close()}, {answer(201, Json::object())}});
  const auto transport = make_transport(endpoint_at(url));
  EXPECT_EQ(send(*transport, {.url = url + "/x", .body = "{}"}).status, 200);
  std::this_thread::sleep_for(milliseconds(200));  // for the close to arrive
  const Response response = send(*transport, {.url = url + "/x", .body = "{}"});
  EXPECT_FALSE(response.failure);
  EXPECT_EQ(response.status, 201);
  const auto requests = server().requests(url);
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_NE(requests[0].connection, requests[1].connection);
}

// libcurl would send the request again, and an answer to each could be charged for.
TEST(CurlTransportConnections, ARequestIsSentOnceWhenAKeptOneDies) {
  for (const Json& step : {reset(), close()}) {
    const std::string url = script({{good()}, {step}, {good()}});
    const auto transport = make_transport(endpoint_at(url));
    EXPECT_EQ(send(*transport, {.url = url + "/x", .body = "{}"}).status, 200);
    const Response response = send(*transport, {.url = url + "/x", .body = "{}"});
    expect_failure(response, ErrorCode::kConnection, "without an answer");
    EXPECT_TRUE(response.sent);
    EXPECT_FALSE(response.answered);
    EXPECT_THAT(server().requests(url), SizeIs(2));
  }
}

TEST(CurlTransportConnections, ThreadsShareThem) {
  constexpr int kThreads = 8, kCalls = 25;
  const std::string url = script({{testing::service()}});
  const auto transport = make_transport(endpoint_at(url));
  std::atomic<int> good = 0;
  for (int round = 0; round < 2; ++round) {  // the second round finds open connections
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kCalls; ++i) {
          const std::string text = std::to_string(round) + "/" + std::to_string(t * kCalls + i);
          const Json body = {{"model", "m"}, {"messages", {{{"role", "user"}, {"content", text}}}}};
          const Response response =
              transport->send({.url = url + "/chat/completions", .body = body.dump()});
          const Json answer = Json::parse(response.body, nullptr, false);
          if (!response.failure && !answer.is_discarded() &&
              answer["choices"][0]["message"]["content"] == "An answer to: " + text) {
            ++good;
          }
        }
      });
    }
  }
  EXPECT_EQ(good, 2 * kThreads * kCalls);
  std::map<int, int> connections;
  for (const auto& request : server().requests(url)) ++connections[request.connection];
  EXPECT_LE(connections.size(), static_cast<std::size_t>(kThreads));
}

// ---- Cancellation
// --------------------------------------------------------------------------------

/// Cancels a running call from another thread, and expects it to return soon.
void expect_cancelled(const Endpoint& endpoint, bool sent) {
  std::stop_source stop;
  Clock::time_point stopped;
  std::jthread canceller([&] {
    std::this_thread::sleep_for(milliseconds(200));
    stopped = Clock::now();
    stop.request_stop();
  });
  const Response response =
      send(*make_transport(endpoint),
           {.url = endpoint.base_url + "/x", .body = "{}", .cancel = stop.get_token()});
  const auto returned = Clock::now();
  canceller.join();
  expect_failure(response, ErrorCode::kCancelled, "cancelled");
  EXPECT_EQ(response.sent, sent);
  // A tenth of a second on a machine that has the time.
  EXPECT_LT(returned - stopped, seconds(2));
}

TEST(CurlTransportCancellation, ThreadsEndACallWhileItConnects) {
  const FullListener full;
  expect_cancelled(endpoint_at("http://127.0.0.1:" + full.port()), false);
}

TEST(CurlTransportCancellation, ThreadsEndACallDuringTheTlsHandshake) {
  // The server waits for a request in the clear that does not come.
  expect_cancelled(endpoint_at("https://127.0.0.1:" + server().listen("http").port), false);
}

TEST(CurlTransportCancellation, ThreadsEndACallBeforeItsAnswer) {
  expect_cancelled(endpoint_at(script({{wait(kLong)}})), true);
}

TEST(CurlTransportCancellation, ThreadsEndACallInItsAnswer) {
  expect_cancelled(endpoint_at(script({{send_text("HTTP/1.1 200 OK\r\n\r\nx"), wait(kLong)}})),
                   true);
}

TEST(CurlTransportCancellation, NothingIsSentAfterIt) {
  const std::string url = script({{good()}});
  const auto transport = make_transport(endpoint_at(url));
  send(*transport, {.url = url + "/x"});  // so that there is a connection to send on
  std::stop_source stop;
  stop.request_stop();
  const Response response = send(*transport, {.url = url + "/x", .cancel = stop.get_token()});
  expect_failure(response, ErrorCode::kCancelled, "cancelled");
  EXPECT_FALSE(response.sent);
  EXPECT_THAT(server().requests(url), SizeIs(1));
}

// ---- TLS
// -----------------------------------------------------------------------------------------

class CurlTransportTls : public ::testing::Test {
 protected:
  Endpoint endpoint_with(const std::string& certificate, const std::string& host = "127.0.0.1") {
    listener_ = server().listen(certificate);
    path_ = path({{good()}});
    Endpoint endpoint = endpoint_at("https://" + host + ":" + listener_.port + path_);
    endpoint.ca_file = listener_.ca_file;
    return endpoint;
  }

  void expect_untrusted(const Endpoint& endpoint, const std::string& part) {
    const Response response = post(endpoint);
    expect_failure(response, ErrorCode::kUntrusted, part);
    EXPECT_FALSE(response.sent);
    EXPECT_THAT(server().requests(path_), IsEmpty());
  }

  FaultServer::Listener listener_;
  std::string path_;
};

TEST_F(CurlTransportTls, TrustsTheAuthorityThatItIsGiven) {
  for (const std::string host : {"127.0.0.1", "localhost"}) {
    const Endpoint endpoint = endpoint_with("good", host);
    const Response response = post(endpoint);
    EXPECT_FALSE(response.failure) << response.failure->message;
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(server().requests(path_).at(0).header("authorization"), "Bearer " + kKey);
  }
}

TEST_F(CurlTransportTls, RefusesAnAuthorityThatTheSystemDoesNotKnow) {
  Endpoint endpoint = endpoint_with("good");
  endpoint.ca_file.clear();
  expect_untrusted(endpoint, "ca_file");
}

TEST_F(CurlTransportTls, RefusesAnExpiredCertificate) {
  expect_untrusted(endpoint_with("expired"), "expired");
}

TEST_F(CurlTransportTls, RefusesTheCertificateOfAnotherHost) {
  expect_untrusted(endpoint_with("wrong-host"), "127.0.0.1");
  expect_untrusted(endpoint_with("wrong-host", "localhost"), "localhost");
}

TEST_F(CurlTransportTls, RefusesAnAuthorityFileThatIsNone) {
  const TemporaryFolder folder;
  testing::put_file(folder / "ca.pem", "no certificate");
  Endpoint endpoint = endpoint_with("good");
  endpoint.ca_file = folder / "ca.pem";
  expect_untrusted(endpoint, "ca_file");
}

TEST_F(CurlTransportTls, KeepsAConnectionOpen) {
  const Endpoint endpoint = endpoint_with("good");
  const auto transport = make_transport(endpoint);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(send(*transport, {.url = endpoint.base_url + "/x", .body = "{}"}).status, 200);
  }
  const auto requests = server().requests(path_);
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(requests[0].connection, requests[2].connection);
}

// A library may not let a broken pipe end the program.
TEST_F(CurlTransportTls, SurvivesAServerThatGoesAwayWhileABodyIsSent) {
  Endpoint endpoint = endpoint_with("good");
  endpoint.base_url = "https://127.0.0.1:" + listener_.port + path({{reset()}});
  // By this length the server has read all when the most is still to come.
  const Response response = send(*make_transport(endpoint), {.url = endpoint.base_url + "/x",
                                                             .headers = {{"Content-Length", "5"}},
                                                             .body = std::string(8 << 20, 'x')});
  expect_failure(response, ErrorCode::kConnection, "127.0.0.1:" + listener_.port);
  EXPECT_TRUE(response.sent);
}

/// nghttpd, which only supports HTTP/2 and echoes what is posted to it.
class Http2Server {
 public:
  Http2Server(const std::string& port, const std::string& key, const std::string& certificate) {
    const std::vector<std::string> arguments = {
        "nghttpd", "--address=127.0.0.1", "--echo-upload", port, key, certificate};
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) {
      pointers.push_back(const_cast<char*>(argument.c_str()));
    }
    pointers.push_back(nullptr);
    if (::posix_spawnp(&process_, pointers[0], nullptr, nullptr, pointers.data(), environ) != 0) {
      process_ = 0;
    }
  }
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;
  ~Http2Server() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

  bool is_running() const { return process_ != 0; }

 private:
  pid_t process_ = 0;
};

TEST(CurlTransportHttp2, ThreadsSpeakItWhereItIsOffered) {
  const std::string ca_file = server().listen("good").ca_file;
  const std::string folder = std::filesystem::path(ca_file).parent_path();
  const std::string port = server().closed_port();
  const Http2Server http2(port, folder + "/key.pem", folder + "/good.pem");
  if (!http2.is_running()) {
    GTEST_SKIP() << "nghttpd is not here; on Debian: apt-get install nghttp2-server";
  }
  Endpoint endpoint = endpoint_at("https://127.0.0.1:" + port);
  endpoint.ca_file = ca_file;
  const auto transport = make_transport(endpoint);
  Response response;
  for (int i = 0; i < 100 && response.status == 0; ++i) {  // until it listens
    response = send(*transport, {.url = endpoint.base_url + "/x", .body = "first"});
    if (response.status == 0) std::this_thread::sleep_for(milliseconds(100));
  }
  ASSERT_FALSE(response.failure) << response.failure->message;
  EXPECT_EQ(response.body, "first");
  EXPECT_THAT(header(response, "server"), HasSubstr("nghttp"));

  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i) {
          // The last is larger than the window that HTTP/2 begins with.
          std::string body = std::to_string(t) + "/" + std::to_string(i);
          if (i == 9) body.resize(200000, 'x');
          const Response answer = transport->send({.url = endpoint.base_url + "/x", .body = body});
          good += !answer.failure && answer.status == 200 && answer.body == body;
        }
      });
    }
  }
  EXPECT_EQ(good, 40);
}

// ---- Proxies
// -------------------------------------------------------------------------------------

TEST(CurlTransportProxy, IsTheEndpointsOwn) {
  const std::string target = path({{good()}});
  Endpoint endpoint = endpoint_at("http://llm.invalid" + target);
  endpoint.proxy = "http://user:proxy-password@127.0.0.1:" + server().port();
  const Variable all("no_proxy", "*");  // which speaks of the environment's proxies
  EXPECT_EQ(post(endpoint).status, 200);
  const auto requests = server().requests(target);
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_TRUE(requests[0].proxied);
  EXPECT_EQ(requests[0].header("host"), "llm.invalid");

  endpoint.proxy = "http://user:proxy-password@127.0.0.1:" + server().closed_port();
  const Response response = post(endpoint);
  expect_failure(response, ErrorCode::kConnection, "llm.invalid:80");
  EXPECT_THAT(response.failure->message, Not(HasSubstr("proxy-password")));
}

TEST(CurlTransportProxy, IsTheEnvironmentsUnlessThatExceptsTheHost) {
  const std::string target = path({{good()}});
  const std::string proxy = "http://127.0.0.1:" + server().port();
  const Variable http("http_proxy", proxy.c_str());
  {
    const Variable none("no_proxy", nullptr);
    const Variable none_either("NO_PROXY", nullptr);
    EXPECT_EQ(post(endpoint_at("http://llm.invalid" + target)).status, 200);
    EXPECT_TRUE(server().requests(target).at(0).proxied);
  }
  const std::string excepted = "http://localhost:" + server().port() + target;
  const Variable no_proxy("no_proxy", "other.invalid,localhost");
  EXPECT_EQ(post(endpoint_at(excepted)).status, 200);
  EXPECT_FALSE(server().requests(target).at(1).proxied);
}

TEST(CurlTransportProxy, IsATunnelForTls) {
  const FaultServer::Listener listener = server().listen("good");
  const std::string target = path({{good()}});
  Endpoint endpoint = endpoint_at("https://localhost:" + listener.port + target);
  endpoint.ca_file = listener.ca_file;
  endpoint.proxy = "http://127.0.0.1:" + server().port();
  const Response response = post(endpoint);
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(server().tunnels(), ::testing::Contains("localhost:" + listener.port));
  EXPECT_FALSE(server().requests(target).at(0).proxied) << "it saw what goes through the tunnel";

  endpoint.base_url = "https://localhost:" + server().closed_port();
  const Response refused = post(endpoint);
  expect_failure(refused, ErrorCode::kConnection, "localhost:");
  EXPECT_FALSE(refused.sent) << "the proxy has only been asked for a tunnel";
}

// ---- Compression

TEST(CurlTransport, UndoesCompressionThatItHasNotAskedFor) {
  const std::string text(100'000, 'x');
  for (const std::string coding : {"gzip", "deflate"}) {
    for (const bool streamed : {false, true}) {
      for (const int status : {200, 400}) {
        const Json step = {
            {"answer", {{"status", status}, {"text", text}, {"compressed", coding}}}};
        const std::string url = script({{step}});
        std::string body;
        Request request{.url = url};
        if (streamed) {
          request.on_body = [&](std::string_view piece) {
            body += piece;
            return true;
          };
        }
        const Response response = send(*make_transport(endpoint_at(url)), request);
        EXPECT_FALSE(response.failure);
        EXPECT_EQ(body + response.body, text) << coding;
        EXPECT_EQ(server().requests(url).at(0).header("accept-encoding"), "");
      }
    }
  }
}

TEST(CurlTransport, LimitsWhatCompressionHides) {
  const Json large = {{"answer", {{"text", std::string(1'000'000, 'x')}, {"compressed", "gzip"}}}};
  Endpoint endpoint = endpoint_at(script({{large}}));
  endpoint.max_response_bytes = 100'000;
  expect_failure(post(endpoint), ErrorCode::kBadResponse, "max_response_bytes");
  const Json broken = {
      {"answer", {{"text", "no gzip"}, {"headers", {{"Content-Encoding", "gzip"}}}}}};
  expect_failure(post_to({broken}), ErrorCode::kBadResponse,
                 "compressed answer that cannot be read");
}

// ---- Addresses and options
// -----------------------------------------------------------------------

TEST(MakeTransport, RefusesAnAddressThatIsNone) {
  for (const auto& [url, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "not a URL"},
           {"localhost:8000", "http://"},
           {"llm.example.org/v1", "http://"},
           {"http://", "not a URL"},
           {"http://a b", "not a URL"},
           {"http://host:99999", "not a URL"},
           {"ftp://host", "\"ftp://\""},
           {"file:///etc/passwd", "\"file://\""},
           {"http://sk-secret@host", "api_key"},
           {"http://user:sk-secret@host", "api_key"},
           {"http://host/v1#", "\"#\""},
           {"http://host/?key=sk-secret#", "\"#\""},
           {"http://host/v1/chat/completions", "ends with \"/chat/completions\""},
           {"http://host/v1/completions/", "remove it"},
           {"http://host/v1/embeddings?key=sk-secret", "\"/embeddings\""},
           {"http://host/responses", "\"/responses\""},
           {"http://host/v1/messages", "\"/messages\""},
           {"http://ho st?key=sk-secret", "not a URL"},
           {"sk-secret", "not a URL"}}) {
    const Error error = testing::error_of([&url = url] { make_transport({.base_url = url}); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << url;
    EXPECT_THAT(error.what(), AllOf(HasSubstr(part), Not(HasSubstr("sk-secret")))) << url;
  }
  for (const std::string url :
       {"http://host", "https://host:8443/v1/", "http://[::1]:8000", " HTTPS://Host/V1\n",
        "http://host/v1?api-version=1", "http://host?", "http://host/completions/v1"}) {
    EXPECT_NO_THROW(make_transport({.base_url = url})) << url;
  }
}

TEST(MakeTransport, RefusesHeadersThatHttpDoesNotAdmit) {
  const auto with = [](const std::string& name, const std::string& value) {
    return [=] { make_transport({.base_url = "http://host", .headers = {{name, value}}}); };
  };
  using std::string;
  for (const string& name : {string(""), string("a b"), string("a:"), string("a\r\nb"),
                             string("a\0b", 3), string("\xC3\xA9")}) {
    expect_error(ErrorCode::kInvalidArgument, "name that HTTP does not allow", with(name, "v"));
  }
  for (const string& value : {string("a\nb"), string("a\r"), string("a\0b", 3)}) {
    expect_error(ErrorCode::kInvalidArgument, "header X-A", with("X-A", value));
  }
  for (const char* name : {"Host", "content-length", "Transfer-Encoding", "Connection", "Expect",
                           "Content-Type", "Accept-Encoding"}) {
    expect_error(ErrorCode::kInvalidArgument, std::string("the header ") + name, with(name, "x"));
    expect_error(ErrorCode::kInvalidArgument, std::string("the header ") + name, [=] {
      make_transport({.base_url = "http://host", .api_key = Secret("k"), .key_header = name});
    });
  }
  EXPECT_NO_THROW(with("X-Title", "é")());
  EXPECT_NO_THROW(with("Authorization", "Basic abc")());
  expect_error(ErrorCode::kInvalidArgument, "both", [] {
    make_transport({.base_url = "http://host",
                    .api_key = Secret("k"),
                    .headers = {{"authorization", "Bearer k"}}});
  });
}

TEST(MakeTransport, RefusesLimitsThatAreNone) {
  const auto with = [](auto&& change) {
    return [=] {
      Endpoint endpoint = {.base_url = "http://host"};
      change(endpoint);
      make_transport(endpoint);
    };
  };
  for (const double bad : {0.0, -1.0, std::nan("")}) {
    expect_error(ErrorCode::kInvalidArgument, "Timeouts::connect",
                 with([=](Endpoint& e) { e.timeouts.connect = bad; }));
    expect_error(ErrorCode::kInvalidArgument, "Timeouts::first_byte",
                 with([=](Endpoint& e) { e.timeouts.first_byte = bad; }));
    expect_error(ErrorCode::kInvalidArgument, "Timeouts::idle",
                 with([=](Endpoint& e) { e.timeouts.idle = bad; }));
    expect_error(ErrorCode::kInvalidArgument, "Timeouts::total",
                 with([=](Endpoint& e) { e.timeouts.total = bad; }));
  }
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    expect_error(ErrorCode::kInvalidArgument, "RetryPolicy::first_delay",
                 with([=](Endpoint& e) { e.retry.first_delay = bad; }));
    expect_error(ErrorCode::kInvalidArgument, "RetryPolicy::max_delay",
                 with([=](Endpoint& e) { e.retry.max_delay = bad; }));
    expect_error(ErrorCode::kInvalidArgument, "RetryPolicy::max_retry_after",
                 with([=](Endpoint& e) { e.retry.max_retry_after = bad; }));
  }
  expect_error(ErrorCode::kNotFound, "/no/such/file.pem",
               with([](Endpoint& e) { e.ca_file = "/no/such/file.pem"; }));
  for (const std::string bad :
       {"127.0.0.1:3128", "ftp://user:sk-secret@host", "http://", "sk-secret"}) {
    const Error error = testing::error_of(with([=](Endpoint& e) { e.proxy = bad; }));
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("proxy"), Not(HasSubstr("sk-secret"))));
  }
}

TEST(MakeTransport, TakesLimitsThatAreNever) {
  Endpoint endpoint = endpoint_at(script({{good()}}));
  endpoint.timeouts = {
      .connect = HUGE_VAL, .first_byte = HUGE_VAL, .idle = 1e300, .total = HUGE_VAL};
  EXPECT_EQ(post(endpoint).status, 200);
}

TEST(UrlHost, IsTheHostInLowerCase) {
  EXPECT_EQ(url_host("https://OpenRouter.ai/api/v1"), "openrouter.ai");
  EXPECT_EQ(url_host("http://user@127.0.0.1:8000"), "127.0.0.1");
  EXPECT_EQ(url_host("https://openrouter.ai.example.org/openrouter.ai"),
            "openrouter.ai.example.org");
  EXPECT_EQ(url_host("no URL"), "");
}

}  // namespace
}  // namespace r2router::llm
