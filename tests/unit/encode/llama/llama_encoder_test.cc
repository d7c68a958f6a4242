// A tiny Qwen3, compared with the embeddings that transformers makes of it
// (tests/support/embedding_model.py).
#include "r2router/llama_encoder.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/router.h"

#include "support/errors.h"
#include "support/heads.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::error_of;
using testing::expect_error;

const std::filesystem::path kFolder =
    std::filesystem::path(R2ROUTER_SOURCE_DIR) / "tests/golden/embedding_model";
const std::string kModel = (kFolder / "model.gguf").string();

/// llama.cpp keeps keys and values in 16 bits.
constexpr double kDistance = 1e-3;

struct Expected {
  std::vector<std::string> texts;
  std::vector<std::vector<double>> rows;

  Expected() {
    std::ifstream file(kFolder / "expected.json");
    for (const auto& entry : nlohmann::json::parse(file)) {
      texts.push_back(entry.at("text"));
      rows.push_back(entry.at("embedding"));
    }
  }

  std::vector<std::string_view> views() const { return {texts.begin(), texts.end()}; }
};

double cosine(std::span<const float> a, const std::vector<double>& b) {
  double product = 0, left = 0, right = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    product += a[i] * b[i];
    left += static_cast<double>(a[i]) * a[i];
    right += b[i] * b[i];
  }
  EXPECT_NEAR(left, 1, 1e-5);
  return product / std::sqrt(left * right);
}

/// Without the blank texts, which embed() refuses.
Expected not_blank() {
  Expected expected;
  for (std::size_t i = expected.texts.size(); i-- > 0;) {
    if (expected.texts[i].find_first_not_of(" \n") != std::string::npos) continue;
    expected.texts.erase(expected.texts.begin() + static_cast<std::ptrdiff_t>(i));
    expected.rows.erase(expected.rows.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return expected;
}

void expect_rows(const Encoder& encoder, const Expected& expected) {
  std::vector<float> out(expected.texts.size() * encoder.dimension());
  encoder.embed(expected.views(), out);
  for (std::size_t i = 0; i < expected.texts.size(); ++i) {
    const auto row = std::span(out).subspan(i * encoder.dimension(), encoder.dimension());
    EXPECT_GT(cosine(row, expected.rows[i]), 1 - kDistance) << expected.texts[i];
  }
}

TEST(LlamaEncoder, AgreesWithTransformersInABatchAndAlone) {
  const Expected expected = not_blank();
  ASSERT_GE(expected.texts.size(), 7u);
  const auto encoder = make_llama_encoder(kModel, {.threads = 1});
  ASSERT_EQ(encoder->dimension(), expected.rows[0].size());
  expect_rows(*encoder, expected);
  for (std::size_t i = 0; i < expected.texts.size(); ++i) {
    EXPECT_GT(cosine(encoder->embed_one(expected.texts[i]), expected.rows[i]), 1 - kDistance);
  }
}

TEST(LlamaEncoder, GroupsOfManyTextsKeepTheirOrder) {
  Expected expected = not_blank();
  const Expected once = expected;
  for (int repeat = 0; repeat < 8; ++repeat) {
    for (std::size_t i = 0; i < once.texts.size(); ++i) {
      expected.texts.push_back(once.texts[(i * 3) % once.texts.size()]);
      expected.rows.push_back(once.rows[(i * 3) % once.texts.size()]);
    }
  }
  expect_rows(*make_llama_encoder(kModel, {.threads = 1}), expected);
}

TEST(LlamaEncoder, ServesSeveralThreads) {
  const Expected expected = not_blank();
  for (const std::uint32_t threads_of_a_call : {1U, 0U}) {
    const auto encoder = make_llama_encoder(kModel, {.threads = threads_of_a_call});
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { expect_rows(*encoder, expected); });
  }
}

TEST(LlamaEncoder, ARouterDecidesAsByTheExpectedEmbedding) {
  const Expected expected = not_blank();
  const Checkpoint checkpoint = testing::random_checkpoint(5, 3, expected.rows[0].size(), 1);
  const Router router(checkpoint, {.encoder = make_llama_encoder(kModel, {.threads = 1})});
  for (std::size_t i = 0; i < expected.texts.size(); ++i) {
    const Decision by_text = router.route_text(expected.texts[i]);
    const Decision by_row = router.route(
        std::span(expected.rows[i]), {},
        {.input_tokens = by_text.input_tokens, .max_input_tokens = by_text.max_input_tokens});
    EXPECT_EQ(by_text.chosen.model, by_row.chosen.model) << expected.texts[i];
    EXPECT_EQ(by_text.chosen.budget, by_row.chosen.budget) << expected.texts[i];
    EXPECT_NEAR(by_text.chosen.quality, by_row.chosen.quality, 0.01) << expected.texts[i];
  }
}

#ifdef R2ROUTER_CLI
TEST(LlamaEncoder, TheProgramRunsAModelThatFitsTheCheckpoint) {
  const Expected expected = not_blank();
  const testing::TemporaryFolder folder;
  const auto route = [&](std::size_t dimension) {
    const std::string checkpoint = folder / std::to_string(dimension);
    save_checkpoint(testing::random_checkpoint(5, 3, dimension, 1), checkpoint);
    return testing::run({R2ROUTER_CLI, "route", "--checkpoint-dir", checkpoint, "--encoder", kModel,
                         "--query", expected.texts[1], "--json"});
  };
  const testing::Outcome fits = route(expected.rows[1].size());
  ASSERT_EQ(fits.exit_code, 0) << fits.err;
  EXPECT_EQ(fits.err, "");
  const Router router(testing::random_checkpoint(5, 3, expected.rows[1].size(), 1),
                      {.encoder = make_llama_encoder(kModel)});
  EXPECT_EQ(nlohmann::json::parse(fits.out).at("model"),
            router.route_text(expected.texts[1]).model().name);
  const testing::Outcome other = route(64);
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, ::testing::HasSubstr("vectors of 32 numbers"));
  EXPECT_THAT(other.err, ::testing::HasSubstr("64"));
}
#endif

TEST(LlamaEncoder, ALongTextIsRejectedAloneOrCut) {
  const std::string text = "Who wrote Faust?";  // 10 tokens with the one that ends it
  const auto strict = make_llama_encoder(kModel, {.max_tokens = 9});
  expect_error(ErrorCode::kTooLong, "10 tokens, expected at most 9",
               [&] { strict->embed_one(text); });
  const std::vector<std::string_view> texts = {text, "a"};
  std::vector<float> out(2 * strict->dimension());
  const auto rejected = strict->embed_each(texts, out);
  ASSERT_EQ(rejected.size(), 1u);
  EXPECT_EQ(rejected[0].text, 0u);
  EXPECT_EQ(rejected[0].failure.code, ErrorCode::kTooLong);
  const std::vector<float> second(out.begin() + static_cast<std::ptrdiff_t>(strict->dimension()),
                                  out.end());
  EXPECT_EQ(second, strict->embed_one("a"));

  // Two tokens are left: the first of the text, and the one that ends it.
  const auto cut = make_llama_encoder(kModel, {.max_tokens = 2, .truncate = true});
  const std::vector<float> whole = make_llama_encoder(kModel, {.threads = 1})->embed_one("a");
  EXPECT_GT(cosine(cut->embed_one("a b c"), {whole.begin(), whole.end()}), 1 - 1e-6);
}

TEST(LlamaEncoder, BadArgumentsAreRefused) {
  expect_error(ErrorCode::kInvalidArgument, "expected 1 to 2048",
               [] { make_llama_encoder(kModel, {.max_tokens = 2049}); });
  const auto encoder = make_llama_encoder(kModel, {.threads = 1});
  expect_error(ErrorCode::kInvalidArgument, "empty", [&] { encoder->embed_one(""); });
  expect_error(ErrorCode::kInvalidArgument, "white space", [&] { encoder->embed_one(" "); });
}

TEST(LlamaEncoder, ACancelledCallThrowsAndTheNextOneWorks) {
  const Expected expected = not_blank();
  const auto encoder = make_llama_encoder(kModel, {.threads = 1});
  std::stop_source source;
  source.request_stop();
  std::vector<float> out(expected.texts.size() * encoder->dimension());
  EXPECT_EQ(error_of([&] { encoder->embed(expected.views(), out, source.get_token()); }).code(),
            ErrorCode::kCancelled);
  expect_rows(*encoder, expected);
}

TEST(LlamaEncoder, FilesThatAreNoModelsAreRefusedWithoutOutput) {
  const testing::TemporaryFolder folder;
  const auto with = [&](const std::string& content) {
    const std::string path = folder / "model.gguf";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  };
  std::ifstream file(kModel, std::ios::binary);
  const std::string model{std::istreambuf_iterator<char>(file), {}};
  ASSERT_GT(model.size(), 100'000u);
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  expect_error(ErrorCode::kNotFound, "missing.gguf",
               [&] { make_llama_encoder(folder / "missing.gguf"); });
  expect_error(ErrorCode::kNotFound, "GGUF", [&] { make_llama_encoder(folder.path()); });
  expect_error(ErrorCode::kBadCheckpoint, "does not begin with GGUF",
               [&] { make_llama_encoder(with("safetensors")); });
  expect_error(ErrorCode::kBadCheckpoint, "does not begin with GGUF",
               [&] { make_llama_encoder(with("")); });
  for (const std::size_t size : {std::size_t{4}, std::size_t{1000}, model.size() / 2}) {
    const Error error = error_of([&] { make_llama_encoder(with(model.substr(0, size))); });
    EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint) << size;
    EXPECT_THAT(error.what(), ::testing::HasSubstr("model.gguf"));
    EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("()"))) << "says why";
  }
  make_llama_encoder(kModel, {.threads = 1})->embed_one("a");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace r2router
