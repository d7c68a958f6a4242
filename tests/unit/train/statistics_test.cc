#include "r2router/train/statistics.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/eval/perturb.h"

#include "checkpoint/safetensors.h"
#include "support/errors.h"
#include "support/heads.h"
#include "train/grouped_sums.h"
#include "train/learner.h"
#include "train/problem.h"

namespace r2router::train {
namespace {

using testing::error_of;
using testing::expect_error;
using testing::linear_heads;

constexpr std::size_t kWidth = 12;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Three models, one of them with a limited budget too. Scores and lengths depend on the features
/// and on noise.
struct Outcomes {
  OutcomeTable table;
  std::vector<float> embeddings;

  explicit Outcomes(std::size_t queries, std::uint32_t seed = 5) {
    std::mt19937 random(seed);
    table.models = {{.name = "small", .prices = {.output = 1}},
                    {.name = "middle", .prices = {.output = 4}},
                    {.name = "large", .prices = {.output = 20}}};
    table.pairs = {{0, Budget()}, {1, Budget(100)}, {1, Budget()}, {2, Budget()}};
    for (std::size_t i = 0; i < queries; ++i) {
      table.queries.push_back({.id = std::to_string(i),
                               .text = "question " + std::to_string(i),
                               .input_tokens = 10 + static_cast<std::int64_t>(random() % 30)});
      float features[kWidth];
      for (float& feature : features) {
        feature = static_cast<float>(random() % 1000) / 500 - 1;
        embeddings.push_back(feature);
      }
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        const float ease = features[pair] + 0.4f * static_cast<float>(pair) - 0.5f;
        table.scores.push_back(ease > static_cast<float>(random() % 100) / 100);
        table.output_tokens.push_back(
            std::round(200 + 60 * features[pair + 4] + static_cast<float>(random() % 40)));
      }
    }
  }

  void forget(std::size_t query, std::size_t pair) {
    table.scores[table.cell(query, pair)] = kNone;
    table.output_tokens[table.cell(query, pair)] = kNone;
  }

  /// Some queries lack one pair, some another, some all but one, and one has none.
  void forget_some() {
    for (std::size_t i = 0; i < table.queries.size(); ++i) {
      if (i % 7 == 0) forget(i, 1);
      if (i % 5 == 0) forget(i, 3);
      if (i % 11 == 0) {
        for (std::size_t pair = 1; pair < 4; ++pair) forget(i, pair);
      }
      if (i == 22) forget(i, 0);
    }
  }

  OutcomeData rows(const std::vector<std::uint32_t>& chosen) const {
    return select_rows({.table = table, .embeddings = embeddings, .dimension = kWidth}, chosen);
  }
};

StatisticsOptions options_of(const Outcomes& data, std::uint32_t sample = 20'000) {
  StatisticsOptions options;
  options.models = data.table.models;
  options.dimension = kWidth;
  options.budget_prompt = "At most {budget} tokens.";
  options.sample = sample;
  return options;
}

Statistics statistics_of(const Outcomes& data, std::uint32_t sample = 20'000) {
  Statistics statistics(options_of(data, sample));
  statistics.add(data.table, data.embeddings, 2);
  return statistics;
}

/// Statistics of `parts` random parts, merged in random order as a tree.
Statistics in_parts(const Outcomes& data, std::size_t parts, std::uint32_t seed,
                    std::uint32_t sample = 20'000) {
  std::mt19937 random(seed);
  std::vector<std::vector<std::uint32_t>> rows(parts);
  for (std::uint32_t i = 0; i < data.table.queries.size(); ++i) {
    rows[random() % parts].push_back(i);
  }
  std::vector<Statistics> all;
  for (std::vector<std::uint32_t>& part : rows) {
    std::ranges::shuffle(part, random);
    const OutcomeData own = data.rows(part);
    all.emplace_back(options_of(data, sample)).add(own, 1);
  }
  while (all.size() > 1) {
    std::ranges::shuffle(all, random);
    Statistics last = std::move(all.back());
    all.pop_back();
    all[random() % all.size()].merge(last);
  }
  return std::move(all.front());
}

const std::vector<double> kAlphas = {0.1, 1, 10, 100};

Checkpoint trained(const Outcomes& data, TrainReport& report) {
  TrainOptions options;
  options.alphas = kAlphas;
  return train(data.table, data.embeddings, kWidth, options, &report);
}

Checkpoint solved(const Statistics& statistics, TrainReport& report) {
  SolveOptions options;
  options.alphas = kAlphas;
  return statistics.solve(options, &report);
}

/// Weights are float32 in both, so that a difference of a rounding may become one of a unit in the
/// last place.
void expect_equal(const Checkpoint& own, const TrainReport& own_report, const Checkpoint& expected,
                  const TrainReport& expected_report) {
  EXPECT_EQ(own_report.alpha, expected_report.alpha);
  EXPECT_EQ(own_report.training_queries, expected_report.training_queries);
  EXPECT_EQ(own_report.held_out_queries, expected_report.held_out_queries);
  EXPECT_EQ(own_report.heads, expected_report.heads);
  ASSERT_EQ(own_report.alphas.size(), expected_report.alphas.size());
  for (std::size_t i = 0; i < own_report.alphas.size(); ++i) {
    EXPECT_NEAR(own_report.alphas[i].metrics.audc, expected_report.alphas[i].metrics.audc, 1e-12);
  }
  EXPECT_NEAR(own_report.metrics.audc, expected_report.metrics.audc, 1e-12);
  EXPECT_NEAR(own_report.mean_curve.audc, expected_report.mean_curve.audc, 1e-12);
  EXPECT_NEAR(own_report.default_lambda, expected_report.default_lambda, 1e-12);
  EXPECT_EQ(own.config.policy.token_floor, expected.config.policy.token_floor);
  EXPECT_EQ(own.config.models, expected.config.models);
  EXPECT_EQ(own.config.token_limits, expected.config.token_limits);

  const LinearHeads& heads = linear_heads(own);
  const LinearHeads& others = linear_heads(expected);
  EXPECT_EQ(heads.names, others.names);
  const auto& weights = std::get<std::vector<float>>(heads.weights);
  const auto& expected_weights = std::get<std::vector<float>>(others.weights);
  ASSERT_EQ(weights.size(), expected_weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(weights[i], expected_weights[i], 1e-9 + 1.2e-7 * std::abs(expected_weights[i]));
  }
  ASSERT_EQ(own.spreads.size(), expected.spreads.size());
  for (std::size_t i = 0; i < own.spreads.size(); ++i) {
    EXPECT_NEAR(own.spreads[i], expected.spreads[i], 1e-6 * expected.spreads[i]);
  }
  ASSERT_EQ(own.length_curves.size(), expected.length_curves.size());
  for (std::size_t i = 0; i < own.length_curves.size(); ++i) {
    ASSERT_EQ(own.length_curves[i].predicted.size(), expected.length_curves[i].predicted.size());
    for (std::size_t j = 0; j < own.length_curves[i].predicted.size(); ++j) {
      EXPECT_NEAR(own.length_curves[i].predicted[j], expected.length_curves[i].predicted[j], 1e-4);
      EXPECT_NEAR(own.length_curves[i].observed[j], expected.length_curves[i].observed[j], 1e-4);
    }
  }
}

/// The sums of the data, added in `parts` batches that are merged.
GroupedSums sums_of(const Outcomes& data, const Folds& folds, std::size_t parts,
                    const std::vector<double>& targets) {
  GroupedSums all(kWidth, folds.size());
  for (std::size_t part = 0; part < parts; ++part) {
    Folds own(folds.size());
    for (std::size_t fold = 0; fold < folds.size(); ++fold) {
      for (const std::uint32_t query : folds[fold]) {
        if (query * 7919 % parts == part) own[fold].push_back(query);
      }
    }
    GroupedSums sums(kWidth, folds.size());
    sums.extend(data.table.pairs);
    sums.add({.embeddings = data.embeddings,
              .dimension = kWidth,
              .targets = targets,
              .heads = kHeadsPerPair * data.table.pairs.size(),
              .folds = own},
             data.table.pairs, 1);
    all.merge(sums);
  }
  return all;
}

TEST(Statistics, SumsFitTheHeadsOfAllQueries) {
  for (const bool is_complete : {true, false}) {
    Outcomes data(500);
    if (!is_complete) data.forget_some();
    const Folds folds = make_folds(data.table, {});
    const std::vector<double> targets = head_targets(data.table);
    const RidgeProblem problem{.embeddings = data.embeddings,
                               .dimension = kWidth,
                               .targets = targets,
                               .heads = kHeadsPerPair * data.table.pairs.size(),
                               .folds = folds};
    const RidgeSolver solver(problem, 1);
    for (const std::size_t parts : {1u, 2u, 23u}) {
      const GroupedSums sums = sums_of(data, folds, parts, targets);
      for (const std::optional<std::size_t> left_out : {std::optional<std::size_t>(), {2}}) {
        const std::vector<LinearFit> own = sums.fit(kAlphas, left_out, 2);
        const std::vector<LinearFit> expected = solver.fit(kAlphas, left_out);
        for (std::size_t i = 0; i < kAlphas.size(); ++i) {
          const double weights = (own[i].weights - expected[i].weights).cwiseAbs().maxCoeff();
          EXPECT_LT(weights, 1e-9) << parts << " parts";
          const double intercepts =
              (own[i].intercepts - expected[i].intercepts).cwiseAbs().maxCoeff();
          EXPECT_LT(intercepts, 1e-9) << parts << " parts";
        }
      }
    }
  }
}

TEST(Statistics, SolveEqualsTrainingOnAllQueries) {
  for (const bool is_complete : {true, false}) {
    Outcomes data(900);
    if (!is_complete) data.forget_some();
    TrainReport expected_report;
    const Checkpoint expected = trained(data, expected_report);
    ASSERT_FALSE(expected.length_curves.empty());
    for (const std::size_t parts : {1u, 13u}) {
      TrainReport report;
      const Checkpoint own = solved(in_parts(data, parts, 1), report);
      EXPECT_NO_THROW(validate(own));
      expect_equal(own, report, expected, expected_report);
    }
  }
}

TEST(Statistics, EditedCopiesAreLearnedFromButNotMeasuredOn) {
  Outcomes data(300);
  const OutcomeTable copies = eval::add_perturbed_copies(data.table);
  ASSERT_GT(copies.queries.size(), data.table.queries.size());
  std::mt19937 random(1);
  data.table = copies;
  data.embeddings.resize(copies.queries.size() * kWidth);
  for (float& value : data.embeddings) value = static_cast<float>(random() % 1000) / 500 - 1;
  TrainReport expected_report, report;
  const Checkpoint expected = trained(data, expected_report);
  expect_equal(solved(in_parts(data, 5, 1), report), report, expected, expected_report);
}

TEST(Statistics, TheOrderAndThePartitionChangeRoundingOnly) {
  Outcomes data(2000);
  data.forget_some();
  // A small sample, so that some queries are left out of it.
  const Statistics whole = statistics_of(data, 300);
  EXPECT_EQ(whole.sampled_queries(), 300u);
  const std::string bytes = whole.to_bytes();
  const auto contents = [](const std::string& text) {
    return io::parse_safetensors({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()},
                                 "statistics");
  };
  const io::Safetensors expected = contents(bytes);
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    const Statistics merged = in_parts(data, 1 + 6 * seed, seed, 300);
    const std::string merged_bytes = merged.to_bytes();
    const io::Safetensors own = contents(merged_bytes);
    EXPECT_EQ(own.metadata, expected.metadata);
    ASSERT_EQ(own.tensors.size(), expected.tensors.size());
    for (std::size_t i = 0; i < own.tensors.size(); ++i) {
      ASSERT_EQ(own.tensors[i].name, expected.tensors[i].name);
      ASSERT_EQ(own.tensors[i].shape, expected.tensors[i].shape);
      if (own.tensors[i].name.starts_with("sample_")) {
        EXPECT_TRUE(std::ranges::equal(own.tensors[i].data, expected.tensors[i].data));
        continue;
      }
      const auto values = io::copy_elements<double>(own.tensors[i]);
      const auto others = io::copy_elements<double>(expected.tensors[i]);
      // Relative to the largest number: sums of positive and negative terms cancel.
      double largest = 0;
      for (const double value : others) largest = std::max(largest, std::abs(value));
      for (std::size_t j = 0; j < values.size(); ++j) {
        EXPECT_NEAR(values[j], others[j], 1e-12 * largest) << own.tensors[i].name;
      }
    }
  }
}

TEST(Statistics, HeadsLearnFromQueriesThatAreNotInTheSample) {
  const Outcomes data(3000);
  TrainReport expected_report, report;
  TrainOptions options;
  options.alphas = {10};
  const Checkpoint expected = train(data.table, data.embeddings, kWidth, options, &expected_report);
  SolveOptions solve_options;
  solve_options.alphas = {10};
  const Checkpoint own = statistics_of(data, 500).solve(solve_options, &report);
  EXPECT_EQ(report.training_queries, expected_report.training_queries);
  const auto& weights = std::get<std::vector<float>>(linear_heads(own).weights);
  const auto& others = std::get<std::vector<float>>(linear_heads(expected).weights);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(weights[i], others[i], 1e-9 + 1.2e-7 * std::abs(others[i]));
  }
  // What comes from the sample has its documented errors: three standard errors here.
  EXPECT_NEAR(report.metrics.audc, expected_report.metrics.audc, 3 * 0.5 / std::sqrt(500));
  for (std::size_t i = 0; i < own.spreads.size(); ++i) {
    EXPECT_NEAR(own.spreads[i], expected.spreads[i], expected.spreads[i] * 3 / std::sqrt(1000));
  }
}

TEST(Statistics, TablesMayHaveDifferentPairs) {
  Outcomes data(900);
  for (std::size_t i = 0; i < 450; ++i) data.forget(i, 2);
  for (std::size_t i = 450; i < 600; ++i) data.forget(i, 0);
  TrainReport expected_report, report;
  const Checkpoint expected = trained(data, expected_report);
  // As a reader makes them: without the pairs that have no outcome.
  const auto part = [&](std::uint32_t begin, std::uint32_t end, std::size_t absent) {
    std::vector<std::uint32_t> rows;
    for (std::uint32_t i = begin; i < end; ++i) rows.push_back(i);
    OutcomeData own = data.rows(rows);
    if (absent >= own.table.pairs.size()) return own;
    OutcomeTable& table = own.table;
    for (std::size_t query = table.queries.size(); query-- > 0;) {
      const auto cell = static_cast<std::ptrdiff_t>(table.cell(query, absent));
      table.scores.erase(table.scores.begin() + cell);
      table.output_tokens.erase(table.output_tokens.begin() + cell);
    }
    table.pairs.erase(table.pairs.begin() + static_cast<std::ptrdiff_t>(absent));
    if (absent == 0) {
      table.models.erase(table.models.begin());
      for (Pair& pair : table.pairs) --pair.model;
    }
    return own;
  };
  Statistics first(options_of(data)), second(options_of(data));
  first.add(part(0, 450, 2));
  first.add(part(450, 600, 0));
  second.add(part(600, 900, 9));
  second.merge(first);
  expect_equal(solved(second, report), report, expected, expected_report);
}

TEST(Statistics, LimitsCutAnswersOff) {
  const Outcomes data(600);
  Outcomes unlimited = data;
  unlimited.table.pairs = {{0, Budget()}, {2, Budget()}};
  unlimited.table.models = data.table.models;
  unlimited.table.scores.clear();
  unlimited.table.output_tokens.clear();
  for (std::size_t query = 0; query < data.table.queries.size(); ++query) {
    for (const std::size_t pair : {0u, 3u}) {
      unlimited.table.scores.push_back(data.table.scores[data.table.cell(query, pair)]);
      unlimited.table.output_tokens.push_back(
          data.table.output_tokens[data.table.cell(query, pair)]);
    }
  }
  Outcomes capped = unlimited;
  capped.table = apply_hard_cap(unlimited.table, std::vector<std::uint32_t>{150, 220});
  std::erase_if(capped.table.models, [](const ModelSpec& model) { return model.name == "middle"; });
  for (Pair& pair : capped.table.pairs) pair.model = pair.model == 0 ? 0 : 1;
  TrainReport expected_report, report;
  const Checkpoint expected = trained(capped, expected_report);
  StatisticsOptions options = options_of(unlimited);
  options.token_limits = {220, 150};
  Statistics statistics(options);
  statistics.add(unlimited.table, unlimited.embeddings);
  const Checkpoint own = solved(statistics, report);
  expect_equal(own, report, expected, expected_report);
  EXPECT_EQ(own.config.budget_mode, BudgetMode::kHardCap);
}

TEST(Statistics, TheEncoderMakesEmbeddings) {
  const Outcomes data(400);
  LexicalEncoderSpec encoder{.dimension = 64, .features = {LexicalFeatures{}}};
  TrainOptions train_options;
  train_options.alphas = kAlphas;
  TrainReport expected_report, report;
  const Checkpoint expected = train(data.table, encoder, train_options, &expected_report);
  StatisticsOptions options = options_of(data);
  options.dimension = 0;
  options.encoder = encoder;
  Statistics statistics(options);
  statistics.add(OutcomeData{.table = data.table}, 1);
  const Checkpoint own = solved(statistics, report);
  expect_equal(own, report, expected, expected_report);
  EXPECT_EQ(own.config.encoder, expected.config.encoder);
  EXPECT_EQ(own.config.format_version, expected.config.format_version);

  options.encoder->has_idf = true;
  expect_error(ErrorCode::kInvalidArgument, "IDF", [&] { Statistics{options}; });
}

TEST(Statistics, AFileHasEverything) {
  Outcomes data(900);
  data.forget_some();
  StatisticsOptions options = options_of(data, 200);
  options.embedding_model = "some-model";
  options.seed = UINT64_MAX;
  Statistics statistics(options);
  statistics.add(data.table, data.embeddings);
  const std::string file =
      (std::filesystem::temp_directory_path() / "r2router-statistics-test").string();
  statistics.save(file);
  const Statistics loaded = Statistics::load(file);
  std::filesystem::remove(file);
  EXPECT_EQ(loaded.to_bytes(), statistics.to_bytes());
  EXPECT_EQ(loaded.options().embedding_model, "some-model");
  EXPECT_EQ(loaded.options().seed, UINT64_MAX);
  EXPECT_EQ(loaded.options().models, data.table.models);
  TrainReport report, loaded_report;
  const Checkpoint own = solved(loaded, loaded_report);
  expect_equal(own, loaded_report, solved(statistics, report), report);
  EXPECT_EQ(own.config.embedding_model, "some-model");
  EXPECT_EQ(own.config.budget_prompt, "At most {budget} tokens.");
}

TEST(Statistics, EmptyOnesCanBeMergedAndSavedButNotSolved) {
  const Outcomes data(400);
  Statistics empty(options_of(data));
  expect_error(ErrorCode::kBadData, "too few to fill 5 folds", [&] { empty.solve(); });
  const std::string bytes = empty.to_bytes();
  Statistics loaded = Statistics::from_bytes(
      {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "empty");
  EXPECT_EQ(loaded.to_bytes(), bytes);
  const Statistics full = statistics_of(data);
  loaded.merge(full);
  EXPECT_EQ(loaded.to_bytes(), full.to_bytes());
  loaded.merge(empty);
  EXPECT_EQ(loaded.to_bytes(), full.to_bytes());
}

TEST(Statistics, OthersCannotBeMerged) {
  const Outcomes data(50);
  const auto expect_refused = [&](const char* name, auto change) {
    StatisticsOptions options = options_of(data);
    change(options);
    Statistics statistics(options_of(data));
    const std::string before = statistics.to_bytes();
    expect_error(ErrorCode::kInvalidArgument, std::string("their ") + name + " differs",
                 [&] { statistics.merge(Statistics(options)); });
    EXPECT_EQ(statistics.to_bytes(), before);
  };
  expect_refused("models", [](StatisticsOptions& own) { own.models.pop_back(); });
  expect_refused("models", [](StatisticsOptions& own) { own.models[0].prices.output = 3; });
  expect_refused("dimension", [](StatisticsOptions& own) { ++own.dimension; });
  expect_refused("folds", [](StatisticsOptions& own) { ++own.folds; });
  expect_refused("holdout", [](StatisticsOptions& own) { own.holdout = 0; });
  expect_refused("seed", [](StatisticsOptions& own) { ++own.seed; });
  expect_refused("sample", [](StatisticsOptions& own) { ++own.sample; });
  expect_refused("token_limits", [](StatisticsOptions& own) { own.token_limits = {50}; });
  expect_refused("cost_measure",
                 [](StatisticsOptions& own) { own.cost_measure = CostMeasure::kLength; });
}

TEST(Statistics, TablesThatDoNotFitAreRefusedAndChangeNothing) {
  Statistics statistics = statistics_of(Outcomes(50));
  const std::string before = statistics.to_bytes();
  const auto refused = [&](const std::string& message, const Outcomes& data, ErrorCode code) {
    expect_error(code, message, [&] { statistics.add(data.table, data.embeddings); });
    EXPECT_EQ(statistics.to_bytes(), before);
  };
  Outcomes unknown(50, 6);
  unknown.table.models[1].name = "stranger";
  refused("outcomes of stranger", unknown, ErrorCode::kBadData);
  Outcomes infinite(50, 6);
  infinite.embeddings[17] = std::numeric_limits<float>::quiet_NaN();
  refused("the embedding of query \"1\" has a value that is not a finite number, in dimension 5",
          infinite, ErrorCode::kInvalidArgument);
  Outcomes wide(50, 6);
  wide.table.scores[3] = 1.5;
  refused("the score 1.5", wide, ErrorCode::kBadData);
  Outcomes capped(50, 6);
  capped.table.budget_mode = BudgetMode::kHardCap;
  refused("hard caps already", capped, ErrorCode::kBadData);
  Outcomes few(50, 6);
  few.embeddings.pop_back();
  refused("expected one embedding for each query", few, ErrorCode::kInvalidArgument);
  expect_error(ErrorCode::kInvalidArgument, "have no embeddings",
               [&] { statistics.add(OutcomeData{.table = unknown.table}); });
}

/// Any change of a byte of the header, or a shorter file, is an Error or harmless; never a crash or
/// a large allocation, which the sanitizers would find.
TEST(Statistics, DamagedFilesAreErrors) {
  Outcomes data(120);
  data.forget_some();
  const std::string bytes = statistics_of(data).to_bytes();
  const auto load = [](const std::string& text) {
    return Statistics::from_bytes({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()},
                                  "damaged");
  };
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 40) {
    const Error error = error_of([&] { load(bytes.substr(0, size)); });
    EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint) << error.what();
    EXPECT_EQ(error.where().file, "damaged");
  }
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::string changed = bytes;
    changed[random() % 3000] = static_cast<char>(random());
    try {
      load(changed);
    } catch (const Error&) {
    }
  }
}

/// A file whose tensors and members are changed by `change`.
template <typename Change>
std::string changed_file(const Statistics& statistics, Change change) {
  const std::string bytes = statistics.to_bytes();
  io::Safetensors contents = io::parse_safetensors(
      {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "own");
  std::vector<std::vector<std::uint8_t>> data;
  for (io::TensorView& tensor : contents.tensors) {
    std::vector<std::uint8_t>& own = data.emplace_back(tensor.data.begin(), tensor.data.end());
    change(contents, tensor, own);
    tensor.data = own;
  }
  return io::write_safetensors(contents);
}

TEST(Statistics, HostileFilesAreErrors) {
  Outcomes data(200);
  data.forget_some();
  const Statistics statistics = statistics_of(data);
  const auto refused = [&](const std::string& message, auto change) {
    const std::string file = changed_file(statistics, change);
    expect_error(ErrorCode::kBadCheckpoint, message, [&] {
      Statistics::from_bytes({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()},
                             "hostile");
    });
  };
  const auto refused_member = [&](const std::string& message, const std::string& name,
                                  const std::string& value) {
    refused(message, [&](io::Safetensors& contents, auto&, auto&) {
      ASSERT_TRUE(contents.metadata.contains(name));
      contents.metadata[name] = value;
    });
  };
  const auto refused_number = [&](const std::string& message, const std::string& name,
                                  std::size_t place, double value) {
    refused(message, [&](io::Safetensors&, io::TensorView& tensor, std::vector<std::uint8_t>& own) {
      if (tensor.name == name) std::memcpy(own.data() + place * sizeof value, &value, sizeof value);
    });
  };
  refused_member("expected \"r2router-statistics\"", "format", "r2router");
  refused_member("expected \"1\"", "format_version", "2");
  refused_member("ascending order", "pairs", R"([[1, 100], [0, "unlimited"]])");
  refused_member("/__metadata__/pairs", "pairs", R"([[3, "unlimited"]])");
  refused_member("/__metadata__/groups/0/0", "pairs", R"([[0, "unlimited"]])");
  refused_member("each pair in one group", "groups", "[[0], [0]]");
  refused_member("/gram", "groups", "[]");
  const std::string options =
      R"({"cost": "usd", "folds": 5, "holdout": 5, "seed": 0, "sample": 20000,
          "training_queries": 1, "held_out_queries": 1})";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = options;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  refused_member("folds", "options", with("\"folds\": 5", "\"folds\": 4000000000"));
  refused_member("/gram", "options", with("\"folds\": 5", "\"folds\": 6"));
  refused_member("expected at most 100 ", "options", with("20000", "100"));
  refused_member("holdout is 1", "options", with("\"holdout\": 5", "\"holdout\": 1"));
  refused_member("cost", "options", with("usd", "euros"));
  refused_number("not a finite number", "gram", 3, std::numeric_limits<double>::infinity());
  refused_number("not a finite number", "targets", 0, kNone);
  refused_number("-1.000000 queries", "queries", 0, -1);
  refused_number("expected a whole number", "queries", 0, 0.5);
  refused_number("1.000000 queries more than its fold", "queries", 1, 1);
  refused_number("row 0 is not [fold", "sample_facts", 0, 5);
  refused_number("row 1 is not [fold", "sample_facts", 4, -3);
  refused_number("row 0 has the score 2", "sample_outcomes", 0, 2);
  refused_number("row 0 has the score", "sample_outcomes", 1, kNone);
}

TEST(Statistics, OptionsAreChecked) {
  const auto refused = [](const std::string& message, auto change) {
    StatisticsOptions options = options_of(Outcomes(1));
    change(options);
    expect_error(ErrorCode::kInvalidArgument, message, [&] { Statistics{options}; });
  };
  refused("models is empty", [](StatisticsOptions& own) { own.models.clear(); });
  refused("dimension is 0", [](StatisticsOptions& own) { own.dimension = 0; });
  refused("folds is 1", [](StatisticsOptions& own) { own.folds = 1; });
  refused("sample is 99", [](StatisticsOptions& own) { own.sample = 99; });
  refused("that of the encoder", [](StatisticsOptions& own) { own.encoder.emplace(); });
  StatisticsOptions without_prompt = options_of(Outcomes(1));
  without_prompt.budget_prompt.clear();
  Statistics statistics(without_prompt);
  const Outcomes data(400);
  statistics.add(data.table, data.embeddings);
  expect_error(ErrorCode::kInvalidArgument, "give the budget prompt", [&] { statistics.solve(); });
}

}  // namespace
}  // namespace r2router::train
