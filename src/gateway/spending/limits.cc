#include "gateway/spending/limits.h"

#include <string>

#include "base/decimal.h"
#include "base/usd.h"

namespace r2router::gateway {
namespace {

std::string in_words(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) return std::to_string((seconds + 59) / 60) + " min";
  if (seconds < 172800) return std::to_string((seconds + 3599) / 3600) + " h";
  return std::to_string((seconds + 86399) / 86400) + " days";
}

const char* period_of(LimitKind kind) {
  return kind == LimitKind::kPerDay     ? " per day (UTC)"
         : kind == LimitKind::kPerMonth ? " per month (UTC)"
                                        : " in total";
}

}  // namespace

const char* name_of(LimitKind kind) {
  switch (kind) {
    case LimitKind::kRequestsPerMinute:
      return "requests_per_minute";
    case LimitKind::kTokensPerMinute:
      return "tokens_per_minute";
    case LimitKind::kPerDay:
      return "per_day";
    case LimitKind::kPerMonth:
      return "per_month";
    case LimitKind::kTotal:
      return "total";
    case LimitKind::kLedger:
      return "ledger";
  }
  return "";
}

std::string Refusal::message() const {
  const std::string retry = retry_after ? " Retry in " + in_words(*retry_after) + "." : "";
  switch (limit) {
    case LimitKind::kRequestsPerMinute:
      return "The key's limit of " + with_thousands(allowed_count) +
             " requests per minute is reached." + retry;
    case LimitKind::kTokensPerMinute:
      return "The request needs about " + with_thousands(needed_count) +
             " tokens. The key's limit is " + with_thousands(allowed_count) +
             " tokens per minute, of which " + with_thousands(used_count) + " are used." + retry;
    case LimitKind::kLedger:
      return "Spending limits cannot be checked: " + problem + "." + retry;
    default:
      return "The request may cost up to " + usd_text(needed.usd()) + ". The key's limit is " +
             usd_text(allowed.usd()) + period_of(limit) + ": " + usd_text(spent.usd()) +
             " is spent, " + usd_text(reserved.usd()) +
             " is reserved by unfinished requests, and " + usd_text(left().usd()) + " is left." +
             retry;
  }
}

}  // namespace r2router::gateway
