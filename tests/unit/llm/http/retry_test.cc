#include "llm/http/retry.h"

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace r2router::llm {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr std::uint32_t kAnyCharges = UINT32_MAX;
constexpr Clock::time_point kNoDeadline = Clock::time_point::max();

TEST(Classify, FollowsTheMeaningOfAStatus) {
  const auto expect = [](ErrorCode code, std::initializer_list<int> statuses) {
    for (const int status : statuses) EXPECT_EQ(classify(status), code) << status;
  };
  expect(ErrorCode::kAuthentication, {401, 403});
  expect(ErrorCode::kCredit, {402});
  expect(ErrorCode::kRateLimited, {429});
  expect(ErrorCode::kServer, {408, 409, 425, 500, 502, 503, 504, 520, 524, 529, 599});
  expect(ErrorCode::kRefused, {400, 404, 405, 412, 413, 418, 422, 451});
}

TEST(BackoffDelay, DoublesUpToItsMost) {
  const RetryPolicy policy{.first_delay = 0.5, .max_delay = 3};
  EXPECT_EQ(backoff_delay(policy, 0, 1), 0.5);
  EXPECT_EQ(backoff_delay(policy, 1, 1), 1);
  EXPECT_EQ(backoff_delay(policy, 2, 1), 2);
  EXPECT_EQ(backoff_delay(policy, 3, 1), 3);
  EXPECT_EQ(backoff_delay(policy, UINT32_MAX, 1), 3);
  EXPECT_EQ(backoff_delay(policy, 2, 0.25), 0.5) << "full jitter: down to nothing";
  EXPECT_EQ(backoff_delay(policy, 2, 0), 0);
  EXPECT_EQ(backoff_delay({.first_delay = 0}, UINT32_MAX, 1), 0) << "not 0 × ∞";
}

TEST(ParseRetryAfter, ReadsSecondsAndTheThreeFormsOfAnHttpDate) {
  // RFC 9110, 5.6.7 gives these three as the same moment: 784111777 s after the epoch.
  const auto before = system_clock::from_time_t(784111777 - 90);
  EXPECT_EQ(parse_retry_after("120", before), 120);
  EXPECT_EQ(parse_retry_after("0", before), 0);
  EXPECT_EQ(parse_retry_after("1.5", before), 1.5) << "not of the standard, but seen";
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", before), 90);
  EXPECT_EQ(parse_retry_after("Sunday, 06-Nov-94 08:49:37 GMT", before), 90);
  EXPECT_EQ(parse_retry_after("Sun Nov  6 08:49:37 1994", before), 90);
  const auto after = system_clock::from_time_t(784111777 + 90);
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", after), 0) << "it has passed";
  for (const std::string bad : {"", "soon", "-5", "nan", "inf", "5 minutes", "1e3", "0x10"}) {
    EXPECT_EQ(parse_retry_after(bad, before), std::nullopt) << bad;
  }
  const std::string endless(400, '9');
  EXPECT_GT(parse_retry_after(endless, before), 1e100) << "more than anybody waits for";
}

Response answered(int status, Headers headers = {}) {
  return {.status = status, .headers = std::move(headers), .sent = true, .answered = true};
}

Response failed(ErrorCode code, bool sent, bool answered, int status = 0) {
  return {.status = status, .failure = Failure{.code = code}, .sent = sent, .answered = answered};
}

TEST(Judge, RetriesWhatMayPassAndWhatGaveNoAnswer) {
  const RetryPolicy policy;
  for (const int status :
       {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 528, 529}) {
    EXPECT_TRUE(judge(policy, answered(status)).retryable) << status;
  }
  for (const int status : {200, 302, 400, 401, 402, 403, 404, 422, 501, 505, 519, 530}) {
    EXPECT_FALSE(judge(policy, answered(status)).retryable) << status;
  }
  EXPECT_FALSE(judge({.statuses = {418}}, answered(429)).retryable);
  EXPECT_TRUE(judge({.statuses = {418}}, answered(418)).retryable);

  EXPECT_TRUE(judge(policy, failed(ErrorCode::kConnection, false, false)).retryable);
  EXPECT_TRUE(judge(policy, failed(ErrorCode::kTimeout, true, false)).retryable);
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kConnection, true, true, 200)).retryable);
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kUntrusted, false, false)).retryable);
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kCancelled, false, false)).retryable);
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kBadResponse, true, false)).retryable);
}

TEST(Judge, CountsAsChargedWhatMayHaveBeenWorkedFor) {
  const RetryPolicy policy;
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kConnection, false, false)).possibly_charged);
  EXPECT_TRUE(judge(policy, failed(ErrorCode::kTimeout, true, false)).possibly_charged);
  EXPECT_TRUE(judge(policy, failed(ErrorCode::kConnection, true, true, 200)).possibly_charged);
  EXPECT_FALSE(judge(policy, failed(ErrorCode::kConnection, true, true, 503)).possibly_charged);
  EXPECT_FALSE(judge(policy, answered(503)).possibly_charged);
}

TEST(Judge, ReadsRetryAfter) {
  EXPECT_EQ(judge({}, answered(429, {{"date", "x"}, {"retry-after", "7"}})).retry_after, 7);
  EXPECT_EQ(judge({}, answered(429, {{"retry-after", "soon"}})).retry_after, std::nullopt);
  EXPECT_EQ(judge({}, answered(429)).retry_after, std::nullopt);
}

/// Runs tries that all come to the same; returns why they ended, and counts them.
Ended run(const RetryPolicy& policy, const TryResult& result, int& tries,
          Clock::time_point deadline = kNoDeadline, std::uint32_t max_charges = kAnyCharges,
          const std::stop_token& cancel = {}) {
  tries = 0;
  return with_retries(policy, deadline, cancel, max_charges, [&] {
    ++tries;
    return result;
  });
}

constexpr TryResult kRetryable = {.retryable = true};
const RetryPolicy kQuick = {.max_retries = 3, .first_delay = 0.001, .max_delay = 0.001};

TEST(WithRetries, EndsWithTheFirstTryThatIsSettled) {
  int tries = 0;
  EXPECT_EQ(run(kQuick, {.retryable = false}, tries), Ended::kSettled);
  EXPECT_EQ(tries, 1);
  tries = 0;
  EXPECT_EQ(with_retries(kQuick, kNoDeadline, {}, kAnyCharges,
                         [&] { return TryResult{.retryable = ++tries < 3}; }),
            Ended::kSettled);
  EXPECT_EQ(tries, 3);
}

TEST(WithRetries, EndsWhenTheRetriesAreSpent) {
  int tries = 0;
  EXPECT_EQ(run(kQuick, kRetryable, tries), Ended::kRetries);
  EXPECT_EQ(tries, 4);
  EXPECT_EQ(run({.max_retries = 0}, kRetryable, tries), Ended::kRetries);
  EXPECT_EQ(tries, 1);
}

TEST(WithRetries, MakesNoTryThatCouldBeChargedBeyondTheLimit) {
  int tries = 0;
  const TryResult charged = {.retryable = true, .possibly_charged = true};
  EXPECT_EQ(run(kQuick, charged, tries, kNoDeadline, 2), Ended::kCharges);
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(run(kQuick, kRetryable, tries, kNoDeadline, 1), Ended::kRetries);
  EXPECT_EQ(tries, 4) << "what was certainly not charged does not count";
}

TEST(WithRetries, MakesAChangedTryAtOnceAndBesideTheRetries) {
  const RetryPolicy policy = {.max_retries = 1, .first_delay = 1000, .max_delay = 1000};
  int tries = 0;
  const auto changed = [&](int times, std::uint32_t max_charges, bool charged) {
    tries = 0;
    return with_retries(policy, kNoDeadline, {}, max_charges, [&] {
      return TryResult{.changed = ++tries <= times, .possibly_charged = charged};
    });
  };
  EXPECT_EQ(changed(5, kAnyCharges, false), Ended::kSettled);
  EXPECT_EQ(tries, 6);
  EXPECT_EQ(changed(5, 2, true), Ended::kCharges);
  EXPECT_EQ(tries, 2);
  // No retry has been used up, and none is waited for: a change that is retryable too.
  std::stop_source stop;
  stop.request_stop();
  tries = 0;
  const auto again = [&] {
    ++tries;
    return TryResult{.retryable = true, .changed = true};
  };
  EXPECT_EQ(with_retries(policy, kNoDeadline, stop.get_token(), kAnyCharges, again),
            Ended::kCancelled);
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(with_retries(policy, Clock::now(), {}, kAnyCharges, again), Ended::kDeadline);
  EXPECT_EQ(tries, 2);
}

TEST(WithRetries, BeginsNoWaitThatWouldOutliveTheDeadline) {
  int tries = 0;
  const auto start = Clock::now();
  const RetryPolicy slow = {.max_retry_after = 1000};
  EXPECT_EQ(
      run(slow, {.retryable = true, .retry_after = 500}, tries, start + std::chrono::seconds(400)),
      Ended::kDeadline);
  EXPECT_EQ(tries, 1);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(100)) << "it has waited";
}

TEST(WithRetries, HeedsRetryAfterUpToItsLimit) {
  int tries = 0;
  const RetryPolicy policy = {
      .max_retries = 1, .first_delay = 1000, .max_delay = 1000, .max_retry_after = 2};
  const auto start = Clock::now();
  EXPECT_EQ(run(policy, {.retryable = true, .retry_after = 0.05}, tries), Ended::kRetries);
  EXPECT_EQ(tries, 2);
  EXPECT_GE(Clock::now() - start, milliseconds(50)) << "less than the server asks for";
  EXPECT_EQ(run(policy, {.retryable = true, .retry_after = 2.1}, tries), Ended::kServer);
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(run(policy, {.retryable = true, .retry_after = 1e300}, tries), Ended::kServer);
}

TEST(WithRetries, ThreadsCancelAWait) {
  int tries = 0;
  const RetryPolicy slow = {.max_retry_after = 1000};
  std::stop_source stop;
  std::jthread canceller([&] {
    std::this_thread::sleep_for(milliseconds(50));
    stop.request_stop();
  });
  const auto start = Clock::now();
  EXPECT_EQ(run(slow, {.retryable = true, .retry_after = 500}, tries, kNoDeadline, kAnyCharges,
                stop.get_token()),
            Ended::kCancelled);
  EXPECT_EQ(tries, 1);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(100));
}

TEST(WithRetries, LetsPassWhatATryThrows) {
  EXPECT_THROW(with_retries(kQuick, kNoDeadline, {}, kAnyCharges,
                            []() -> TryResult { throw std::runtime_error("of the try"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace r2router::llm
