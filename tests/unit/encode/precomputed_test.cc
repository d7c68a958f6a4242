#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/encoder.h"
#include "r2router/error.h"

namespace r2router {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Runs `call`, which must throw an Error, and returns the Error.
template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kIo, "");
}

TEST(Precomputed, GivesEachTextItsRowInTheOrderAsked) {
  const auto encoder = make_precomputed_encoder({"one", "two", "three"}, {1, 2, 3, 4, 5, 6}, 2);
  EXPECT_EQ(encoder->dimension(), 2u);
  EXPECT_THAT(encoder->embed_one("two"), ElementsAre(3, 4));
  const std::vector<std::string_view> texts = {"three", "one", "three"};
  std::vector<float> out(6);
  encoder->embed(texts, out);
  EXPECT_THAT(out, ElementsAre(5, 6, 1, 2, 5, 6));
}

TEST(Precomputed, AnUnknownTextIsNotFoundAndNothingIsWritten) {
  const auto encoder = make_precomputed_encoder({"one", "two"}, {1, 2}, 1);
  const std::vector<std::string_view> texts = {"one", "Two"};
  std::vector<float> out = {7, 7};
  const Error error = error_of([&] { encoder->embed(texts, out); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_THAT(error.what(), HasSubstr("texts[1], \"Two\""));
  EXPECT_THAT(out, ElementsAre(7, 7));
}

TEST(Precomputed, ALongTextIsQuotedInPartWithoutCuttingACharacter) {
  const auto encoder = make_precomputed_encoder({"one"}, {1}, 1);
  std::string text = "x";
  for (int i = 0; i < 1000; ++i) text += "語";
  const Error error = error_of([&] { encoder->embed_one(text); });
  EXPECT_THAT(error.what(), HasSubstr("語…\""));
  EXPECT_LT(std::string(error.what()).size(), 300u);
}

TEST(Precomputed, AnEmptyTextOrAnOutputOfAnotherSizeIsRefused) {
  const auto encoder = make_precomputed_encoder({"one", "two"}, {1, 2, 3, 4}, 2);
  EXPECT_EQ(error_of([&] { encoder->embed_one(""); }).code(), ErrorCode::kInvalidArgument);
  const std::vector<std::string_view> texts = {"one", "two"};
  for (const std::size_t size : {0, 2, 3, 5, 6}) {
    std::vector<float> out(size);
    const Error error = error_of([&] { encoder->embed(texts, out); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << size;
    EXPECT_THAT(error.what(), HasSubstr("2 × 2"));
  }
}

TEST(Precomputed, SizesThatDisagreeAreRefused) {
  EXPECT_THAT(error_of([] {
                make_precomputed_encoder({"a", "b"}, {1, 2, 3}, 2);
              }).what(),
              HasSubstr("3 numbers for 2 texts, expected 2"));
  EXPECT_THAT(error_of([] {
                make_precomputed_encoder({"a", "b"}, {1, 2}, 2);
              }).what(),
              HasSubstr("2 numbers for 2 texts"));
  EXPECT_THAT(error_of([] { make_precomputed_encoder({}, {}, 0); }).what(),
              HasSubstr("dimension is 0"));
  // 2 × (2⁶³ + 1) would be 2 if it could wrap round.
  const std::size_t huge = (std::size_t{1} << 63) + 1;
  EXPECT_THAT(error_of([&] {
                make_precomputed_encoder({"a", "b"}, {1, 2}, huge);
              }).what(),
              HasSubstr("2 numbers for 2 texts"));
}

TEST(Precomputed, OneTextMayBeGivenTwiceButNotWithDifferentRows) {
  const auto encoder = make_precomputed_encoder({"a", "b", "a"}, {1, 2, 1}, 1);
  EXPECT_THAT(encoder->embed_one("a"), ElementsAre(1));
  const Error error = error_of([] { make_precomputed_encoder({"a", "b", "a"}, {1, 2, 3}, 1); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("texts[0] and texts[2] are the same, \"a\""));
}

TEST(Precomputed, BlankTextsAndNumbersThatAreNotFiniteAreRefused) {
  EXPECT_THAT(error_of([] {
                make_precomputed_encoder({"a", " \t"}, {1, 2}, 1);
              }).what(),
              HasSubstr("texts[1] is empty or all white space"));
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(error_of([&] {
                  make_precomputed_encoder({"a", "b"}, {1, 2, 3, bad}, 2);
                }).what(),
                HasSubstr("element 1 of the row of texts[1], \"b\""));
  }
}

}  // namespace
}  // namespace r2router
