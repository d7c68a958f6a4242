// The text of a streamed answer, separated into what is shown and what is reasoning.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace r2router::llm {

/// Takes the pieces of a text and returns what can be shown. White space at the beginning is held
/// back until something else comes: a blank text is not an answer, and another model may give one.
/// With `split_thinking`, <think>…</think> at the beginning is not shown but kept as thoughts.
class AnswerText {
 public:
  explicit AnswerText(bool split_thinking) : split_thinking_(split_thinking) {}

  /// What of all pieces so far can be shown and has not been returned. Pieces end between
  /// characters, and so does what is returned.
  std::string add(std::string_view piece);
  /// The same after the last piece.
  std::string finish();
  /// After finish(): what was between the tags, without the white space around it.
  std::string_view thoughts() const;

 private:
  enum class Stage { kBegin, kThoughts, kAfterThoughts, kText };

  const bool split_thinking_;
  Stage stage_ = Stage::kBegin;
  std::string held_;  // what has come and is neither shown nor thought yet
  std::string thoughts_;
};

}  // namespace r2router::llm
