// What becomes of calls when a program ends: support/exit_program.cc ends in each of the ways.
// Every program must return its own status, with its output written and no word of complaint.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/fault_server.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router::testing {
namespace {

using Json = nlohmann::json;
using Steps = std::vector<Json>;

constexpr int kDimension = 8;

FaultServer& server() { return FaultServer::instance(); }

const Json kWorks = service({{"text", "{query}"}, {"dimension", kDimension}});
const Json kHangs = {{"wait", 300}};
const Steps kBeginsAndHangs = {
    {{"send",
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
      "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"text\"}}]}\n\n"}},
    {{"wait", 300}}};

/// Over plain HTTP and over TLS, which has separate state that ends with the process.
class ExitThreads : public ::testing::TestWithParam<const char*> {
 protected:
  /// `steps` answer each request. The program learns that `requests` of them have come, which it
  /// may wait for.
  void expect_good_end(const std::string& scenario, const Steps& steps, std::size_t requests = 0) {
    const FaultServer::Listener listener = server().listen(GetParam());
    const bool tls = GetParam() != std::string("http");
    const std::string path = server().path(std::vector<Steps>{steps});
    const TemporaryFolder folder;
    const std::string sign = folder / "requested";
    Process program({R2ROUTER_EXIT_PROGRAM, scenario,
                     (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + listener.port + path,
                     tls ? listener.ca_file : "", std::to_string(kDimension), sign});
    ASSERT_TRUE(wait_until([&] { return server().requests(path).size() >= requests; }));
    std::ofstream(sign).close();
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.exit_code, 7);
    EXPECT_EQ(outcome.out, "done\n");
    EXPECT_EQ(outcome.err, "");
  }
};

INSTANTIATE_TEST_SUITE_P(, ExitThreads, ::testing::Values("http", "good"), [](const auto& info) {
  return std::string(info.param == std::string("http") ? "Http" : "Https");
});

TEST_P(ExitThreads, IdleConnectionsOfAGlobal) { expect_good_end("idle-global", {kWorks}); }

TEST_P(ExitThreads, IdleConnectionsOfAFunctionStatic) {
  expect_good_end("idle-function-static", {kWorks});
}

TEST_P(ExitThreads, ClientThatIsNeverDestroyed) { expect_good_end("never-destroyed", {kWorks}); }

TEST_P(ExitThreads, DetachedThreadInAStream) { expect_good_end("stream", kBeginsAndHangs); }

TEST_P(ExitThreads, DetachedThreadInACompletion) { expect_good_end("completion", {kHangs}, 1); }

TEST_P(ExitThreads, DetachedThreadThatWaitsToAskAgain) {
  expect_good_end("completion", {answer(503, {{"error", "busy"}}, {{"Retry-After", "60"}})}, 1);
}

TEST_P(ExitThreads, DetachedThreadInSeveralEmbeddings) {
  expect_good_end("embedding", {kHangs}, 2);
}

TEST_P(ExitThreads, ManyDetachedThreads) { expect_good_end("many-threads", {kHangs}, 8); }

TEST_P(ExitThreads, GlobalThreadThatIsJoined) { expect_good_end("jthread", {kHangs}, 1); }

TEST_P(ExitThreads, ExitInACallback) { expect_good_end("exit-in-callback", kBeginsAndHangs); }

TEST_P(ExitThreads, CallAfterTheEnd) { expect_good_end("late-call", {kWorks}); }

/// What a parent's thread holds is lost in a child, and cannot be freed there.
class WithoutLeakDetection {
 public:
  WithoutLeakDetection() { ::setenv("ASAN_OPTIONS", (before_ + ":detect_leaks=0").c_str(), 1); }
  ~WithoutLeakDetection() { ::setenv("ASAN_OPTIONS", before_.c_str(), 1); }

 private:
  const std::string before_ = std::getenv("ASAN_OPTIONS") ? std::getenv("ASAN_OPTIONS") : "";
};

TEST_P(ExitThreads, ChildThatExitsDuringAParentsCall) {
  const WithoutLeakDetection none;
  expect_good_end("child-exits", kBeginsAndHangs);
}

TEST_P(ExitThreads, ForkDuringTheFirstUse) {
  const WithoutLeakDetection none;
  expect_good_end("first-use", {kWorks});
}

}  // namespace
}  // namespace r2router::testing
