// Decisions of the published Python package on the released checkpoints, reproduced field by field.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "r2router/router.h"

#include "support/shared_data.h"

namespace r2router {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kRows = 512, kDimension = 1024;

// The 512 × 1024 float32 matrix is at the end of the file, after the .npy header.
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

// Field by field, floating-point values bit by bit.
void expect_option(const Pool& pool, const Option& option, const json& expected,
                   const std::string& where) {
  EXPECT_EQ(pool[option.model].name, expected["model"]) << where;
  EXPECT_EQ(pool[option.model].openrouter_id, expected["openrouter_id"]) << where;
  EXPECT_EQ(budget_json(option.budget), expected["budget"]) << where;
  EXPECT_EQ(option.quality, expected["predicted_quality"].get<double>()) << where;
  EXPECT_EQ(option.output_tokens, expected["predicted_output_tokens"].get<double>()) << where;
  EXPECT_EQ(option.cost_usd, expected["predicted_cost_usd"].get<double>()) << where;
  EXPECT_EQ(option.utility, expected["risk"].get<double>()) << where;
}

struct Source {
  std::string layout;
  std::string kernel;
};

class GoldenDecisions : public ::testing::TestWithParam<Source> {
 protected:
  static std::string released() { return testing::shared_path("released"); }

  // A folder for this test only: tests run in parallel.
  std::string folder() const {
    std::string name = "r2router-golden-" + GetParam().layout + "-" + GetParam().kernel;
    return (fs::temp_directory_path() / (name + "-" + std::to_string(::getpid()))).string();
  }

  Router load() const {
    const RouterOptions options{.kernel = GetParam().kernel};
    if (GetParam().layout == "joblib") return Router::from_pretrained(released(), options);
    fs::remove_all(folder());
    save_checkpoint(load_checkpoint(released()), folder());
    Router router = Router::from_pretrained(folder(), options);
    fs::remove_all(folder());
    return router;
  }
};

TEST_P(GoldenDecisions, MatchRowByRow) {
  R2ROUTER_SKIP_WITHOUT(released());
  const Router router = load();
  const auto embeddings = read_embeddings(testing::shared_path("golden/embeddings.npy"));
  const std::vector<double> wide(embeddings.begin(), embeddings.end());
  const auto lines = read_lines(testing::shared_path("golden/decisions.jsonl"));
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
    expect_option(router.pool(), decision.chosen, line["decision"], where);

    const auto wide_embedding = std::span(wide).subspan(row * kDimension, kDimension);
    EXPECT_EQ(router.route(wide_embedding, options, size).chosen, decision.chosen)
        << where << " in float64";
    // A batch of several rows goes through other code than a single one.
    const auto both = std::span(embeddings).subspan(row / 16 * 16 * kDimension, 16 * kDimension);
    EXPECT_EQ(router.route_batch(both, options, {&size, 1}).options[row % 16], decision.chosen)
        << where << " in a batch";

    options.rank = true;
    const Decision ranked = router.route(embedding, options, size);
    ASSERT_EQ(ranked.ranking.size(), 176U);
    if (line.contains("all_options")) {
      ++full_rankings;
      ASSERT_EQ(line["all_options"].size(), ranked.ranking.size());
      for (std::size_t i = 0; i < ranked.ranking.size(); ++i) {
        expect_option(router.pool(), ranked.ranking[i], line["all_options"][i],
                      where + ", place " + std::to_string(i));
      }
    } else {
      for (std::size_t i = 0; i < 3; ++i) {
        const json& expected = line["top3"][i];
        EXPECT_EQ(router.pool()[ranked.ranking[i].model].name, expected[0]) << where;
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
