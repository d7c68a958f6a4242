// Answers as text for people.
#include <cstdint>
#include <string>

#include "r2router/llm/completion.h"

#include "base/decimal.h"
#include "base/text_layout.h"
#include "base/usd.h"

namespace r2router::llm {
namespace {

std::string usd(double amount) { return usd_text(amount, 4); }

std::string tokens_text(const Usage& usage) {
  const auto count = [](std::int64_t tokens) {
    return with_thousands(static_cast<std::uint64_t>(tokens));
  };
  const std::string text =
      count(usage.prompt_tokens) + " tokens in, " + count(usage.completion_tokens) + " out";
  return usage.reasoning_tokens > 0 ? text + " (" + count(usage.reasoning_tokens) + " of reasoning)"
                                    : text;
}

}  // namespace

std::string to_text(const Completion& completion, const Pool& pool) {
  std::string line = pool[completion.pair.model].name;
  if (completion.redirected) line += ", served by " + printable(completion.served_model);
  if (completion.usage) line += ", " + tokens_text(*completion.usage);
  // Prefer the server's figure, which is what is charged.
  if (completion.charged_usd) {
    line += ", " + usd(*completion.charged_usd) + " charged";
  } else if (completion.computed_usd) {
    line += ", " + usd(*completion.computed_usd) + " by the pool's prices";
  }
  line += ", " + decimal(completion.seconds, 2) + " s";
  if (completion.first_text_seconds) {
    line += " (first text after " + decimal(*completion.first_text_seconds, 2) + " s)";
  }
  if (completion.attempts.size() > 1) {
    line += ", " + std::to_string(completion.attempts.size()) + " attempts";
  }
  if (completion.truncated) {
    const bool at_cap =
        !completion.usage || completion.attempts.empty() ||
        completion.usage->completion_tokens >= completion.attempts.back().max_tokens;
    line += at_cap ? ", cut off at its cap" : ", cut off by the server below its cap";
  }
  return line + '\n';
}

}  // namespace r2router::llm
