#include "cli/answer_text.h"

#include <cstdio>

#include "base/usd.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

std::string number(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string tokens_text(const Usage& usage) {
  std::string text = with_thousands(static_cast<std::uint64_t>(usage.prompt_tokens)) +
                     " tokens in, " +
                     with_thousands(static_cast<std::uint64_t>(usage.completion_tokens)) + " out";
  if (usage.reasoning_tokens > 0) {
    text += " (" + with_thousands(static_cast<std::uint64_t>(usage.reasoning_tokens)) +
            " of reasoning)";
  }
  return text;
}

}  // namespace

std::string answer_rule() { return std::string(72, '-') + '\n'; }

std::string answer_facts(const llm::Completion& completion, const Pool& pool) {
  std::string line = pool[completion.pair.model].name;
  if (completion.redirected) {
    line += ", served by " + printable(completion.served_model);
  }
  if (completion.usage) line += ", " + tokens_text(*completion.usage);
  // Prefer the server's figure, which is what is charged.
  if (completion.charged_usd) {
    line += ", " + usd_text(*completion.charged_usd, 4) + " charged";
  } else if (completion.computed_usd) {
    line += ", " + usd_text(*completion.computed_usd, 4) + " by the pool's prices";
  }
  line += number(", %.2f s", completion.seconds);
  if (completion.first_text_seconds) {
    line += number(" (first text after %.2f s)", *completion.first_text_seconds);
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

}  // namespace r2router::cli
