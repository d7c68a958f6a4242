#include "encode/tasks/wordpieces.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/checkpoint.h"
#include "r2router/error.h"
#include "r2router/router.h"
#include "r2router/train/task_table.h"

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::internal {
namespace {

using r2router::testing::error_of;
using r2router::testing::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Numbers = std::vector<std::uint32_t>;

WordpieceVectors vectors_of(const std::vector<std::string>& pieces) {
  WordpieceVectors vectors;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    for (const char byte : pieces[i]) {
      vectors.vocabulary.push_back(static_cast<std::uint8_t>(byte));
    }
    vectors.vocabulary.push_back('\n');
    const auto value = static_cast<std::int8_t>(10 * static_cast<int>(i) - 20);
    vectors.vectors.insert(vectors.vectors.end(), {value, 7, -128});
    vectors.scales.push_back(0.25F * static_cast<float>(i + 1));
  }
  return vectors;
}

WordpieceSpec spec_of(const WordpieceVectors& vectors) {
  return {.pieces = static_cast<std::uint32_t>(vectors.scales.size()),
          .dimension = 3,
          .bytes = static_cast<std::uint32_t>(vectors.vocabulary.size()),
          .weight = 2};
}

Numbers split(const Wordpieces& wordpieces, std::string_view text) {
  Numbers numbers = {99};
  wordpieces.split(text, numbers);
  return numbers;
}

// The golden texts were split by the package tokenizers (tests/golden/wordpieces/make_texts.py).
TEST(Wordpieces, AreThoseOfTokenizers) {
  const WordpieceVectors vectors =
      train::read_wordpiece_vectors(R2ROUTER_SOURCE_DIR "/checkpoints/default");
  const Wordpieces wordpieces(
      {.pieces = static_cast<std::uint32_t>(vectors.scales.size()),
       .dimension = static_cast<std::uint32_t>(vectors.vectors.size() / vectors.scales.size()),
       .bytes = static_cast<std::uint32_t>(vectors.vocabulary.size())},
      vectors);
  const char* const more = std::getenv("R2ROUTER_WORDPIECES");
  std::ifstream golden(
      more != nullptr ? more : R2ROUTER_SOURCE_DIR "/tests/golden/wordpieces/texts.jsonl");
  std::size_t count = 0;
  for (std::string line; std::getline(golden, line); ++count) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_EQ(split(wordpieces, row["text"].get<std::string>()), row["pieces"].get<Numbers>())
        << row["text"];
  }
  EXPECT_GE(count, 200U);
}

TEST(Wordpieces, TakeTheLongestPieceFirst) {
  const WordpieceVectors vectors =
      vectors_of({"[UNK]", "un", "una", "##aff", "##f", "##able", "a", "!", "##"});
  EXPECT_THAT(error_of([&] { Wordpieces(spec_of(vectors), vectors); }).what(),
              HasSubstr("piece 8 is empty"));
  const WordpieceVectors good = vectors_of({"[UNK]", "un", "una", "##f", "##able", "a", "!"});
  const Wordpieces wordpieces(spec_of(good), good);
  EXPECT_THAT(split(wordpieces, "Unaffable!"), ElementsAre(2, 3, 3, 4, 6));
  // "una" leaves "ble", and shorter prefixes are not tried again.
  EXPECT_THAT(split(wordpieces, "unable a"), ElementsAre(0, 5));
  EXPECT_THAT(split(wordpieces, ""), ElementsAre());
}

TEST(Wordpieces, HaveAMeanOfVectors) {
  const WordpieceVectors vectors = vectors_of({"[UNK]", "a", "b"});
  const Wordpieces wordpieces(spec_of(vectors), vectors);
  std::vector<double> mean(3, 5);
  wordpieces.average(Numbers{0, 2, 2}, mean);
  // 0.25 · (−20, 7, −128) + 2 · 0.75 · (0, 7, −128), made 2 long
  const double x = -5, y = 12.25, z = -224, factor = 2 / std::sqrt(x * x + y * y + z * z);
  EXPECT_NEAR(mean[0], factor * x, 1e-12);
  EXPECT_NEAR(mean[1], factor * y, 1e-12);
  EXPECT_NEAR(mean[2], factor * z, 1e-12);
  wordpieces.average({}, mean);
  EXPECT_THAT(mean, ElementsAre(0, 0, 0));
}

TEST(Wordpieces, RejectWhatDoesNotFit) {
  const WordpieceVectors good = vectors_of({"[UNK]", "a", "##b"});
  const auto expect_refusal = [&](auto change, const std::string& part) {
    WordpieceVectors vectors = good;
    WordpieceSpec spec = spec_of(good);
    change(spec, vectors);
    const Error error = error_of([&] { Wordpieces(spec, vectors); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(part));
  };
  using Spec = WordpieceSpec;
  using Vectors = WordpieceVectors;
  expect_refusal([](Spec& spec, Vectors&) { spec.pieces = 0; }, "0 pieces");
  expect_refusal([](Spec& spec, Vectors&) { spec.pieces = 4'000'000'000; },
                 "expected 1 to 1048576");
  expect_refusal([](Spec& spec, Vectors&) { spec.dimension = 2; }, "9 numbers of vectors");
  expect_refusal([](Spec& spec, Vectors&) { spec.weight = 0; }, "weight");
  expect_refusal([](Spec&, Vectors& own) { own.scales[1] = NAN; }, "scale");
  expect_refusal([](Spec&, Vectors& own) { own.vocabulary.back() = 'c'; }, "2 line feeds");
  expect_refusal([](Spec&, Vectors& own) { own.vocabulary[6] = 0xFF; }, "not UTF-8");
  expect_refusal([](Spec&, Vectors& own) { own.vocabulary[0] = '('; }, "no piece [UNK]");
  expect_refusal(
      [](Spec& spec, Vectors& own) {
        own = vectors_of({"[UNK]", "a", "##b", "a"});
        spec = spec_of(own);
      },
      "pieces 1 and 3 are the same");
}

TEST(Wordpieces, AreReadFromACheckpointOrAFile) {
  const std::string folder = R2ROUTER_SOURCE_DIR "/checkpoints/default";
  const WordpieceVectors vectors = train::read_wordpiece_vectors(folder);
  EXPECT_EQ(vectors, train::read_wordpiece_vectors(folder + "/model.safetensors"));
  const auto checkpoint = load_checkpoint(folder);
  EXPECT_EQ(vectors, std::get<TaskEncoderTensors>(checkpoint.encoder).wordpieces);
  const Error error =
      error_of([] { train::read_wordpiece_vectors(R2ROUTER_SOURCE_DIR "/checkpoints/r2-router"); });
  EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint);
  EXPECT_THAT(error.what(), HasSubstr("wordpieces"));
}

}  // namespace
}  // namespace r2router::internal
