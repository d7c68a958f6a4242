// Decisions of the published Python package on its released checkpoints, reproduced field by field
// from checkpoints/r2-router, and from the released files where they are.
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/router.h"

#include "support/shared_data.h"

namespace r2router {
namespace {

using nlohmann::json;

constexpr std::size_t kRows = 256, kDimension = 1024;

// The 256 × 1024 float32 matrix is at the end of the file, after the .npy header.
std::vector<float> read_embeddings(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<float> values(kRows * kDimension);
  file.seekg(-static_cast<std::streamoff>(values.size() * sizeof(float)), std::ios::end);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  EXPECT_TRUE(file.good());
  return values;
}

std::vector<json> read_lines(const std::string& path) {
  std::vector<json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

json budget_json(Budget budget) {
  return budget.is_unlimited() ? json("unlimited") : json(budget.tokens());
}

// Field by field, floating-point values bit by bit. `expected` is as make_reference_rows.py says.
void expect_option(const Option& option, const json& expected, const std::string& where) {
  EXPECT_EQ(option.model, expected[0].get<std::uint32_t>()) << where;
  EXPECT_EQ(budget_json(option.budget), expected[1]) << where;
  EXPECT_EQ(option.quality, expected[2].get<double>()) << where;
  EXPECT_EQ(option.output_tokens, expected[3].get<double>()) << where;
  EXPECT_EQ(option.cost_usd, expected[4].get<double>()) << where;
  EXPECT_EQ(option.utility, expected[5].get<double>()) << where;
}

struct Source {
  std::string layout;
  std::string kernel;
};

class GoldenDecisions : public ::testing::TestWithParam<Source> {};

TEST_P(GoldenDecisions, MatchRowByRow) {
  const std::string source = R2ROUTER_SOURCE_DIR;
  const std::string folder = GetParam().layout == "native" ? source + "/checkpoints/r2-router"
                                                           : testing::shared_path("released");
  R2ROUTER_SKIP_WITHOUT(folder);
  const Router router = Router::from_pretrained(folder, {.kernel = GetParam().kernel});
  const auto embeddings = read_embeddings(source + "/tests/golden/reference/embeddings.npy");
  const std::vector<double> wide(embeddings.begin(), embeddings.end());
  const auto lines = read_lines(source + "/tests/golden/reference/decisions.jsonl");
  ASSERT_EQ(lines.size(), kRows);

  std::size_t full_rankings = 0;
  for (const json& line : lines) {
    const std::size_t row = line["row"];
    const std::string where = "row " + std::to_string(row);
    RouteOptions options;
    options.policy.lambda = line["lambda"].get<double>();
    const QuerySize size{.input_tokens = line["input_tokens"].get<std::int64_t>()};
    const auto embedding = std::span(embeddings).subspan(row * kDimension, kDimension);
    const Decision decision = router.route(embedding, options, size);
    const bool full = line.contains("ranking");
    expect_option(decision.chosen, full ? line["ranking"][0] : line["chosen"], where);

    const auto wide_embedding = std::span(wide).subspan(row * kDimension, kDimension);
    EXPECT_EQ(router.route(wide_embedding, options, size).chosen, decision.chosen)
        << where << " in float64";
    // A batch of several rows goes through other code than a single one.
    const auto both = std::span(embeddings).subspan(row / 16 * 16 * kDimension, 16 * kDimension);
    EXPECT_EQ(router.route_batch(both, options, {&size, 1}).option(row % 16), decision.chosen)
        << where << " in a batch";

    options.rank = true;
    const Decision ranked = router.route(embedding, options, size);
    ASSERT_EQ(ranked.ranking.size(), 176U);
    if (full) {
      ++full_rankings;
      ASSERT_EQ(line["ranking"].size(), ranked.ranking.size());
      for (std::size_t i = 0; i < ranked.ranking.size(); ++i) {
        expect_option(ranked.ranking[i], line["ranking"][i],
                      where + ", place " + std::to_string(i));
      }
    } else {
      for (std::size_t i = 0; i < 3; ++i) {
        const json& expected = line["top"][i];
        EXPECT_EQ(ranked.ranking[i].model, expected[0].get<std::uint32_t>()) << where;
        EXPECT_EQ(budget_json(ranked.ranking[i].budget), expected[1]) << where;
        EXPECT_EQ(ranked.ranking[i].utility, expected[2].get<double>()) << where;
      }
    }
  }
  EXPECT_EQ(full_rankings, 24U);
}

std::vector<Source> sources() {
  std::vector<Source> all;
  for (const std::string layout : {"joblib", "native"}) {
    for (const std::string& kernel : available_kernels()) all.push_back({layout, kernel});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(EveryLayoutAndKernel, GoldenDecisions, ::testing::ValuesIn(sources()),
                         [](const auto& info) {
                           return info.param.layout + "_" + info.param.kernel;
                         });

}  // namespace
}  // namespace r2router
