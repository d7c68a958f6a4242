#include "llm/chat/answer_text.h"

#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace r2router::llm {
namespace {

/// What is shown of a text, and what is thought, however it is cut.
std::pair<std::string, std::string> parts(std::string_view text, bool split_thinking) {
  std::pair<std::string, std::string> first;
  for (std::size_t size = 1; size <= text.size() + 1; ++size) {
    AnswerText answer(split_thinking);
    std::string shown;
    for (std::size_t i = 0; i < text.size(); i += size) shown += answer.add(text.substr(i, size));
    shown += answer.finish();
    const std::pair<std::string, std::string> all(shown, answer.thoughts());
    if (size == 1) first = all;
    EXPECT_EQ(all, first) << text << " in pieces of " << size;
  }
  return first;
}

TEST(AnswerText, IsTheTextItself) {
  for (const std::string text :
       {"Paris.", " \n Paris. \n", "<think>hm</think>Paris.", "a <think>b</think>"}) {
    EXPECT_EQ(parts(text, false), (std::pair<std::string, std::string>(text, ""))) << text;
  }
}

TEST(AnswerText, ShowsNothingOfNothing) {
  for (const std::string text : {"", " ", "\n\t \r\n"}) {
    EXPECT_EQ(parts(text, false).first, "");
    EXPECT_EQ(parts(text, true).first, "");
  }
  // Pieces end between characters.
  AnswerText answer(false);
  EXPECT_EQ(answer.add("\u00A0\u3000"), "");
  EXPECT_EQ(answer.add("\u200B\uFEFF"), "");
  AnswerText other = answer;
  EXPECT_EQ(answer.finish(), "");
  EXPECT_EQ(other.add("x"), "\u00A0\u3000\u200B\uFEFFx") << "what comes later brings it out";
}

TEST(AnswerText, PartsThoughtsFromTheAnswer) {
  const auto expect = [](const std::string& text, const std::string& shown,
                         const std::string& thoughts) {
    EXPECT_EQ(parts(text, true), (std::pair<std::string, std::string>(shown, thoughts))) << text;
  };
  expect("<think>\nlet me see\n</think>\n\nParis.\n", "Paris.\n", "let me see");
  expect(" \n<think>a < b </thin k</think>Paris.", "Paris.", "a < b </thin k");
  expect("<think>\n\n</think>\n\nParis.", "Paris.", "");
  expect("<think>never ended </thin", "", "never ended </thin");
  expect("<think>only</think> \n", "", "only");
  // Only at the beginning: what comes later is part of the answer.
  expect("<thinner>", "<thinner>", "");
  expect("<thin", "<thin", "");
  expect("The tag <think>x</think>", "The tag <think>x</think>", "");
  expect("<think>a</think><think>b</think>c", "<think>b</think>c", "a");
}

// Templates of reasoning models end the prompt with the opening tag.
TEST(AnswerText, GetsTheOpeningTagThatIsInThePrompt) {
  EXPECT_EQ(with_opening_tag("\nhm\n</think>\n\nParis."), "<think>\nhm\n</think>\n\nParis.");
  EXPECT_EQ(with_opening_tag("</think>Paris."), "<think></think>Paris.");
  for (const std::string text :
       {"", "Paris.", "<think>hm</think>Paris.", " <think>hm", "The tag <think>x</think>"}) {
    EXPECT_EQ(with_opening_tag(text), text);
  }
}

TEST(AnswerText, ShowsAtOnceWhatIsPlainText) {
  AnswerText answer(true);
  EXPECT_EQ(answer.add("P"), "P");
  EXPECT_EQ(answer.add("aris"), "aris");
  AnswerText thinking(true);
  EXPECT_EQ(thinking.add("<think>x</think>P"), "P");
}

}  // namespace
}  // namespace r2router::llm
