#include "r2router/eval/perturb.h"

#include <algorithm>
#include <cctype>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/encoder.h"
#include "r2router/outcomes.h"

#include "base/unicode.h"
#include "support/errors.h"

namespace r2router::eval {
namespace {

using ::testing::EndsWith;
using testing::expect_error;

constexpr const char* kQuestion =
    "What is the Capital of France, if any? Answer briefly: one word; no more.\nA. Paris\nB. Lyon";

/// The kind's edits of the text under many seeds.
std::set<std::string> edits(std::string_view text, Perturbation kind, std::uint64_t seeds = 200) {
  std::set<std::string> all;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) all.insert(perturb(text, kind, seed));
  return all;
}

/// What is left of a text without its ASCII characters for which `is_dropped` holds.
template <typename Predicate>
std::string without(std::string_view text, Predicate is_dropped) {
  std::string rest(text);
  std::erase_if(rest, [&](char c) { return is_dropped(static_cast<unsigned char>(c)) != 0; });
  return rest;
}

TEST(Perturb, CaseChangesNothingButCase) {
  const auto lower = [](std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) {
      return static_cast<char>(c < 0x80 ? std::tolower(c) : c);
    });
    return text;
  };
  const std::set<std::string> all = edits("Is É an A or an o?", Perturbation::kCase);
  EXPECT_EQ(all, (std::set<std::string>{"is É an a or an o?", "IS É AN A OR AN O?",
                                        "Is É An A Or An O?"}));
  for (const std::string& edited : edits(kQuestion, Perturbation::kCase)) {
    EXPECT_EQ(lower(edited), lower(kQuestion));
  }
}

TEST(Perturb, WhiteSpaceIsAddedOnlyWhereThereIsSome) {
  const auto encoder = make_lexical_encoder({});
  for (const std::string& edited : edits(kQuestion, Perturbation::kWhiteSpace)) {
    EXPECT_GT(edited.size(), std::string_view(kQuestion).size());
    EXPECT_EQ(without(edited, isspace), without(kQuestion, isspace));
    EXPECT_EQ(encoder->embed_one(edited), encoder->embed_one(kQuestion));  // the words are the same
  }
}

TEST(Perturb, PunctuationIsLeftOutAtEndsOfWordsAlone) {
  const std::string text = "Is 3.14 < f(x,y)? Yes, or no.";
  const std::set<std::string> all = edits(text, Perturbation::kPunctuation, 2000);
  EXPECT_EQ(all.size(), 8u);  // each of the three marks is there or not
  EXPECT_TRUE(all.contains("Is 3.14 < f(x,y) Yes or no"));
  EXPECT_TRUE(all.contains(text));
  EXPECT_EQ(edits("?!", Perturbation::kPunctuation).count(""), 0u);  // something is left
  EXPECT_EQ(edits(" ? ", Perturbation::kPunctuation), std::set<std::string>{" ? "});
}

TEST(Perturb, ATypoSwapsTwoInnerLetters) {
  const std::set<std::string> all = edits("the planets on it", Perturbation::kTypos, 2000);
  EXPECT_EQ(all, (std::set<std::string>{"the palnets on it", "the plnaets on it",
                                        "the plaents on it", "the plantes on it"}));
  EXPECT_EQ(edits("abcd", Perturbation::kTypos), std::set<std::string>{"acbd"});
  EXPECT_EQ(edits("one two 1234", Perturbation::kTypos), std::set<std::string>{"one two 1234"});
}

TEST(Perturb, AboutOneWordInTwentyHasATypo) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "abcd ";
  const std::string edited = perturb(text, Perturbation::kTypos);
  std::size_t typos = 0;
  for (std::size_t i = 0; i < edited.size(); i += 5) typos += edited.substr(i, 4) == "acbd";
  EXPECT_NEAR(static_cast<double>(typos), 100, 40);
}

TEST(Perturb, PolitenessStandsInFront) {
  const std::set<std::string> all = edits(kQuestion, Perturbation::kPoliteness);
  EXPECT_EQ(all.size(), 4u);
  for (const std::string& edited : all) EXPECT_THAT(edited, EndsWith(std::string(" ") + kQuestion));
}

TEST(Perturb, IsTheSameEverywhereAndAlways) {
  // Checkpoints trained on copies are made again bit for bit only if these stay.
  EXPECT_EQ(perturb(kQuestion, Perturbation::kCase),
            "What Is The Capital Of France, If Any? Answer Briefly: One Word; No More.\nA. "
            "Paris\nB. Lyon");
  EXPECT_EQ(perturb(kQuestion, Perturbation::kWhiteSpace),
            "What  is the  Capital of  France, if any? Answer  briefly: one  word;  no more.\nA.  "
            "Paris\nB. Lyon\n");
  EXPECT_EQ(
      perturb(kQuestion, Perturbation::kPunctuation),
      "What is the Capital of France, if any? Answer briefly one word no more\nA. Paris\nB. Lyon");
  EXPECT_EQ(perturb(kQuestion, Perturbation::kTypos),
            "What is the Capital of France, if any? Answer briefly: one word; no more.\nA. "
            "Paris\nB. Loyn");
  EXPECT_EQ(perturb(kQuestion, Perturbation::kPoliteness),
            "Please answer the following question. What is the Capital of France, if any? Answer "
            "briefly: one word; no more.\nA. Paris\nB. Lyon");
  for (const Perturbation kind : kPerturbations) {
    EXPECT_EQ(perturb(kQuestion, kind, 7), perturb(kQuestion, kind, 7)) << to_string(kind);
    EXPECT_GT(edits(kQuestion, kind).size(), 2u) << to_string(kind);  // the seed matters
  }
}

TEST(Perturb, KeepsUtf8AndSurvivesWhatIsNot) {
  const std::string texts[] = {"",
                               " \n",
                               "日本語の質問です。カタカナ、한국어？",
                               "naïve Größe, ÉCOLE! 👩‍👩‍👧 …",
                               "\xFF\xFE, bad \xC0\xAF. end\xE4\xB8",
                               std::string("nul\0inside, here", 16)};
  for (const std::string& text : texts) {
    for (const Perturbation kind : kPerturbations) {
      for (const std::string& edited : edits(text, kind, 20)) {
        EXPECT_EQ(is_utf8(edited), is_utf8(text)) << to_string(kind);
        // Only ASCII characters were touched.
        const auto ascii = [](unsigned char c) { return c < 0x80; };
        EXPECT_EQ(without(edited, ascii), without(text, ascii)) << to_string(kind);
      }
    }
  }
}

OutcomeTable two_queries() {
  OutcomeTable table;
  table.models = {{.name = "a"}};
  table.pairs = {{0, Budget::unlimited()}};
  table.queries = {{.id = "1", .text = "first question?", .dataset = "law", .input_tokens = 9},
                   {.id = "2", .text = "second question."}};
  table.scores = {0.25, 1};
  table.output_tokens = {30, 40};
  return table;
}

TEST(AddPerturbedCopies, EveryKindOfEveryQueryFollowsItsOriginal) {
  const OutcomeTable copies = add_perturbed_copies(two_queries(), 3);
  ASSERT_EQ(copies.queries.size(), 12u);
  for (std::size_t row = 0; row < 12; ++row) {
    const QueryRecord& query = copies.queries[row];
    const QueryRecord original = two_queries().queries[row / 6];
    EXPECT_EQ(copies.scores[row], row < 6 ? 0.25 : 1);
    EXPECT_EQ(copies.output_tokens[row], row < 6 ? 30 : 40);
    EXPECT_EQ(query.dataset, original.dataset);
    EXPECT_EQ(query.split_text(), original.text);
    EXPECT_EQ(query.original.empty(), row % 6 == 0);
    if (row % 6 == 0) {
      EXPECT_EQ(query.text, original.text);
    } else {
      EXPECT_EQ(query.text, perturb(original.text, kPerturbations[row % 6 - 1], 3));
    }
  }
  EXPECT_EQ(copies.queries[4].id, "1, typos");
}

TEST(AddPerturbedCopies, RefusesABadTable) {
  OutcomeTable table = two_queries();
  table.scores.pop_back();
  expect_error(ErrorCode::kBadData, "", [&] { add_perturbed_copies(table); });
}

}  // namespace
}  // namespace r2router::eval
