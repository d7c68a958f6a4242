#include "llm/chat/answer_text.h"

#include <algorithm>
#include <utility>

#include "base/unicode.h"

namespace r2router::llm {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

/// Position of the first visible character, or text.size().
std::size_t first_visible(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = decode_utf8(text, position);
    // Unicode does not count zero-width spaces as white space.
    if (!is_space(c) && c != 0x200B && c != 0x2060 && c != 0xFEFF) return begin;
  }
  return text.size();
}

}  // namespace

std::string AnswerText::add(std::string_view piece) {
  if (stage_ == Stage::kText) return std::string(piece);
  held_ += piece;
  if (stage_ == Stage::kBegin) {
    const std::string_view visible = std::string_view(held_).substr(first_visible(held_));
    if (visible.empty()) return {};
    if (split_thinking_ && kOpen.starts_with(visible.substr(0, kOpen.size()))) {
      if (visible.size() < kOpen.size()) return {};  // the tag may be cut
      held_ = std::string(visible.substr(kOpen.size()));
      stage_ = Stage::kThoughts;
    } else {
      stage_ = Stage::kText;
      return std::exchange(held_, {});
    }
  }
  if (stage_ == Stage::kThoughts) {
    const std::size_t end = held_.find(kClose);
    const bool ended = end != held_.npos;
    // The last bytes may be the beginning of the tag.
    const std::size_t size = ended ? end : held_.size() - std::min(held_.size(), kClose.size() - 1);
    thoughts_.append(held_, 0, size);
    held_.erase(0, size + (ended ? kClose.size() : 0));
    if (!ended) return {};
    stage_ = Stage::kAfterThoughts;
  }
  held_.erase(0, first_visible(held_));
  if (held_.empty()) return {};
  stage_ = Stage::kText;
  return std::exchange(held_, {});
}

std::string AnswerText::finish() {
  if (stage_ == Stage::kThoughts) thoughts_ += std::exchange(held_, {});
  return first_visible(held_) == held_.size() ? std::string() : std::exchange(held_, {});
}

std::string with_opening_tag(std::string text) {
  const std::size_t end = text.find(kClose);
  if (end != text.npos && text.find(kOpen) > end) text.insert(0, kOpen);
  return text;
}

std::string_view AnswerText::thoughts() const { return trimmed(thoughts_); }

}  // namespace r2router::llm
