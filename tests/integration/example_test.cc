// The example that needs a server, run as its users would run it.
#ifdef R2ROUTER_GENERATE_EXAMPLE

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/fault_server.h"
#include "support/process.h"

namespace r2router {
namespace {

using testing::FaultServer;
using ::testing::HasSubstr;
using testing::Outcome;

TEST(RouteAndGenerateExample, StreamsAnAnswer) {
  FaultServer& server = FaultServer::instance();
  const std::string url =
      server.script({{testing::answer(503, {{"error", "busy"}})}, {testing::service()}});
  const Outcome outcome = testing::run({R2ROUTER_GENERATE_EXAMPLE, "What is x?", url});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\nAn answer to: What is x?\n"));
  EXPECT_THAT(outcome.out, HasSubstr("at attempt 2"));
  EXPECT_EQ(server.requests(url).at(1).json().at("stream"), true);
}

TEST(RouteAndGenerateExample, SaysWhatWentWrong) {
  FaultServer& server = FaultServer::instance();
  const Outcome outcome = testing::run(
      {R2ROUTER_GENERATE_EXAMPLE, "What is x?", server.script({{testing::answer(401, {})}})});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("OPENROUTER_API_KEY"));
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_GENERATE_EXAMPLE
