// The text of a streamed answer, separated into what is shown and what is reasoning.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace r2router::llm {

/// Takes the chunks of a text and returns what can be shown. Leading white space is held back until
/// other text follows: a blank text is not an answer, so another model may be tried. With
/// `split_thinking`, <think>…</think> at the beginning is not shown but kept as thoughts.
class AnswerText {
 public:
  explicit AnswerText(bool split_thinking) : split_thinking_(split_thinking) {}

  /// Returns the new text that can be shown. Chunks end between characters, and so do results.
  std::string add(std::string_view piece);
  /// The same, after the last chunk.
  std::string finish();
  /// After finish(): the text between the tags, trimmed.
  std::string_view thoughts() const;

 private:
  enum class Stage { kBegin, kThoughts, kAfterThoughts, kText };

  const bool split_thinking_;
  Stage stage_ = Stage::kBegin;
  std::string held_;  // received, but not yet shown or added to the thoughts
  std::string thoughts_;
};

/// A whole text with the opening tag that some chat templates put into the prompt instead: only its
/// closing tag is part of the text.
std::string with_opening_tag(std::string text);

}  // namespace r2router::llm
