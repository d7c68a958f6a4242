#include "gateway/health.h"

#include <chrono>

#include <gtest/gtest.h>

namespace r2router::gateway {
namespace {

using std::chrono::seconds;

struct BreakerTest : ::testing::Test {
  void fail(std::uint32_t times) {
    for (std::uint32_t i = 0; i < times; ++i) breaker.on_failure(now, {});
  }
  Breaker breaker;
  Breaker::Clock::time_point now = Breaker::Clock::now();
};

TEST_F(BreakerTest, OpensAfterFailuresInARowOnly) {
  fail(Breaker::kThreshold - 1);
  EXPECT_TRUE(breaker.allows(now));
  breaker.on_success();
  fail(Breaker::kThreshold - 1);
  EXPECT_TRUE(breaker.allows(now));
  fail(1);
  EXPECT_FALSE(breaker.allows(now));
}

TEST_F(BreakerTest, LetsOneProbeThroughAtATime) {
  fail(Breaker::kThreshold);
  now += Breaker::kFirstPause;
  ASSERT_TRUE(breaker.allows(now));
  breaker.on_start(now);
  EXPECT_FALSE(breaker.allows(now)) << "a probe is in progress";
  breaker.on_neutral();
  EXPECT_TRUE(breaker.allows(now)) << "it said nothing";
  breaker.on_start(now);
  breaker.on_success();
  EXPECT_TRUE(breaker.allows(now));
  EXPECT_FALSE(breaker.is_open());
}

TEST_F(BreakerTest, WaitsTwiceAsLongAfterEachFailedProbe) {
  fail(Breaker::kThreshold);
  seconds pause = Breaker::kFirstPause;
  for (int i = 0; i < 12; ++i) {
    EXPECT_FALSE(breaker.allows(now + pause - seconds(1)));
    now += pause;
    ASSERT_TRUE(breaker.allows(now));
    breaker.on_start(now);
    fail(1);
    pause = std::min(pause * 2, Breaker::kLongestPause);
  }
}

TEST_F(BreakerTest, WaitsAsLongAsTheServerAsks) {
  for (std::uint32_t i = 0; i < Breaker::kThreshold; ++i) breaker.on_failure(now, 60.0);
  EXPECT_FALSE(breaker.allows(now + seconds(59)));
  EXPECT_TRUE(breaker.allows(now + seconds(60)));
  for (std::uint32_t i = 0; i < 3; ++i) breaker.on_failure(now, 1e300);
  EXPECT_TRUE(breaker.allows(now + Breaker::kLongestPause)) << "but not forever";
}

TEST(Blame, ErrorsOfTheRequestAreNobodysFault) {
  EXPECT_EQ(blame_for(ErrorCode::kRefused), Blame::kNobody);
  EXPECT_EQ(blame_for(ErrorCode::kTooLong), Blame::kNobody);
  EXPECT_EQ(blame_for(ErrorCode::kNoAnswer), Blame::kNobody);
  EXPECT_EQ(blame_for(ErrorCode::kServer), Blame::kModel);
  EXPECT_EQ(blame_for(ErrorCode::kConnection), Blame::kEndpoint);
  EXPECT_EQ(blame_for(ErrorCode::kAuthentication), Blame::kEndpoint);
}

TEST(Health, ConditionsOutliveThoseWhoAskForThem) {
  Health health;
  health.condition("a")->in_flight = 3;
  EXPECT_EQ(health.condition("a")->in_flight, 3U);
  EXPECT_EQ(health.condition("b")->in_flight, 0U);
}

}  // namespace
}  // namespace r2router::gateway
