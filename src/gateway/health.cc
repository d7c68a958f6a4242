#include "gateway/health.h"

#include <algorithm>
#include <chrono>

namespace r2router::gateway {
namespace {

std::int64_t ticks(Breaker::Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

std::int64_t ticks(std::chrono::nanoseconds duration) { return duration.count(); }

}  // namespace

bool Breaker::allows(Clock::time_point now) const {
  const std::int64_t until = open_until_;
  return until == 0 || (ticks(now) >= until && ticks(now) >= probe_until_);
}

void Breaker::on_start(Clock::time_point now) {
  if (open_until_ != 0) probe_until_ = ticks(now) + ticks(kLongestProbe);
}

void Breaker::on_success() {
  failures_ = 0;
  open_until_ = 0;
  probe_until_ = 0;
}

void Breaker::on_failure(Clock::time_point now, std::optional<double> retry_after) {
  const std::uint32_t failures = ++failures_;
  probe_until_ = 0;
  if (failures < kThreshold) return;
  const std::uint32_t doublings = std::min<std::uint32_t>(failures - kThreshold, 10);
  std::int64_t pause = std::min(ticks(kFirstPause) << doublings, ticks(kLongestPause));
  if (retry_after) {
    const double longest = std::chrono::duration<double>(kLongestPause).count();
    pause = std::max(pause, static_cast<std::int64_t>(std::min(*retry_after, longest) * 1e9));
  }
  open_until_ = ticks(now) + pause;
}

void Breaker::on_neutral() { probe_until_ = 0; }

Blame blame_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kRateLimited:
    case ErrorCode::kServer:
    case ErrorCode::kTimeout:
    case ErrorCode::kBadResponse:
      return Blame::kModel;
    case ErrorCode::kConnection:
    case ErrorCode::kUntrusted:
    case ErrorCode::kAuthentication:
    case ErrorCode::kCredit:
      return Blame::kEndpoint;
    default:
      return Blame::kNobody;
  }
}

std::shared_ptr<Condition> Health::condition(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Condition>& condition = conditions_[name];
  if (!condition) condition = std::make_shared<Condition>();
  return condition;
}

}  // namespace r2router::gateway
