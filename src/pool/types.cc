#include "r2router/types.h"

#include "r2router/version.h"

namespace r2router {

std::string Budget::to_string() const {
  return is_unlimited() ? "unlimited" : std::to_string(tokens_);
}

void Budget::throw_bad_count(std::uint32_t count) {
  throw Error(ErrorCode::kInvalidArgument,
              "a limited budget of " + std::to_string(count) +
                  " tokens: expected 1 to 4294967294, or Budget::unlimited()");
}

std::string_view to_string(Reason reason) noexcept {
  switch (reason) {
    case Reason::kUtility:
      return "risk";
    case Reason::kUsd:
      return "usd";
    case Reason::kCheapest:
      return "cheapest";
    case Reason::kBest:
      return "best";
    case Reason::kQualityMissed:
      break;
  }
  return "quality_missed";
}

std::string_view to_string(Constraint constraint) noexcept {
  switch (constraint) {
    case Constraint::kModels:
      return "models";
    case Constraint::kMaxCost:
      return "max_cost";
    case Constraint::kMaxOutputTokens:
      return "max_output_tokens";
    case Constraint::kContext:
      return "context";
    case Constraint::kMaxLatency:
      return "max_latency";
    case Constraint::kQuality:
      return "quality";
    case Constraint::kRequirements:
      break;
  }
  return "requirements";
}

const char* version() noexcept { return R2ROUTER_VERSION; }

}  // namespace r2router
