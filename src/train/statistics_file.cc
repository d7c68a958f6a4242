// The file of train::Statistics: a safetensors file, specified in checkpoints/FORMAT.md.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "r2router/config.h"
#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "train/learner.h"
#include "train/statistics_data.h"

namespace r2router::train {
namespace {

using Eigen::Index;
using io::Json;
using io::JsonDocument;
using io::JsonView;
using io::Safetensors;
using io::TensorView;

constexpr const char* kFormat = "r2router-statistics";
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kFacts = 3;  // of a sampled query: fold, input tokens, is it a copy
constexpr double kMostCount = 9007199254740992;  // 2⁵³: below, float64 has every whole number

// Names in the header.
constexpr const char* kConfig = "config";
constexpr const char* kOptions = "options";
constexpr const char* kPairs = "pairs";
constexpr const char* kGroups = "groups";

/// Elements of a lower triangle.
std::size_t triangle(std::size_t dimension) { return dimension * (dimension + 1) / 2; }

/// Appends the lower triangle, row after row.
void append_lower(const Eigen::MatrixXd& matrix, std::vector<double>& out) {
  for (Index row = 0; row < matrix.rows(); ++row) {
    for (Index column = 0; column <= row; ++column) out.push_back(matrix(row, column));
  }
}

template <typename Value>
std::span<const std::uint8_t> bytes_of(const std::vector<Value>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(Value)};
}

/// The moments of a fold as they are in the file: over all queries, then the corrections of the
/// groups that have some in any fold.
std::vector<std::size_t> corrected_groups(const GroupedSums& sums) {
  std::vector<std::size_t> groups;
  for (std::size_t group = 0; !sums.pairs.empty() && group < sums.group_count(); ++group) {
    const bool corrected = std::ranges::any_of(
        sums.folds, [&](const auto& fold) { return !fold.corrections[group].empty(); });
    if (corrected) groups.push_back(group);
  }
  return groups;
}

/// Reads the tensors of a file, each checked against the shape that the header's other members
/// imply.
class Tensors {
 public:
  Tensors(const Safetensors& contents, const std::string& file)
      : contents_(contents), file_(file) {}

  template <typename Value>
  std::vector<Value> read(const std::string& name, const std::vector<std::uint64_t>& shape) const {
    const auto found = std::ranges::find(contents_.tensors, name, &TensorView::name);
    if (found == contents_.tensors.end()) {
      fail(name, "this tensor is missing; the file is incomplete, write it again");
    }
    if (found->type != io::kTypeOf<Value> || found->shape != shape) {
      fail(name, "found " + describe(found->type, found->shape) + ", expected " +
                     describe(io::kTypeOf<Value>, shape) +
                     " by the options and pairs of the file; write it again");
    }
    return io::copy_elements<Value>(*found);
  }

  /// Likewise, and every number must be finite.
  template <typename Value>
  std::vector<Value> read_finite(const std::string& name,
                                 const std::vector<std::uint64_t>& shape) const {
    std::vector<Value> values = read<Value>(name, shape);
    if (!std::ranges::all_of(values, [](Value value) { return std::isfinite(value); })) {
      fail(name, "found a value that is not a finite number; write the file again");
    }
    return values;
  }

  [[noreturn]] void fail(const std::string& name, const std::string& message) const {
    throw Error(ErrorCode::kBadCheckpoint, message, {.file = file_, .pointer = "/" + name});
  }

 private:
  static std::string describe(io::TensorType type, const std::vector<std::uint64_t>& shape) {
    return std::string(io::name_of(type)) + " " + Json(shape).dump();
  }

  const Safetensors& contents_;
  const std::string& file_;
};

const std::string& metadata_of(const Safetensors& contents, const std::string& key,
                               const std::string& file) {
  const auto found = contents.metadata.find(key);
  if (found != contents.metadata.end()) return found->second;
  throw Error(ErrorCode::kBadCheckpoint,
              "this field is missing; expected a file that train::Statistics has written",
              {.file = file, .pointer = "/__metadata__/" + key});
}

void expect_metadata(const Safetensors& contents, const std::string& key,
                     const std::string& expected, const std::string& file) {
  const std::string& found = metadata_of(contents, key, file);
  if (found == expected) return;
  throw Error(ErrorCode::kBadCheckpoint,
              "found " + excerpt(found) + ", expected " + excerpt(expected) +
                  "; read the file with the version of r2router that wrote it",
              {.file = file, .pointer = "/__metadata__/" + key});
}

constexpr std::string_view kCount = "a whole number from 0 to 9007199254740992";

/// The options and the counts of queries.
StatisticsData read_options(const Safetensors& contents, const std::string& file) {
  Config config = parse_config(metadata_of(contents, kConfig, file), file);
  StatisticsOptions options{.models = std::move(config.models),
                            .dimension = config.embedding_dim,
                            .embedding_model = std::move(config.embedding_model),
                            .budget_prompt = std::move(config.budget_prompt)};
  for (const Budget limit : config.token_limits) {
    if (limit.is_unlimited()) {
      throw Error(ErrorCode::kBadConfig, "found \"unlimited\", expected limits in tokens",
                  {.file = file, .pointer = "/token_limits"});
    }
    options.token_limits.push_back(limit.tokens());
  }
  if (config.encoder) {
    const auto* lexical = std::get_if<LexicalEncoderSpec>(&*config.encoder);
    if (lexical == nullptr) {
      throw Error(ErrorCode::kBadConfig,
                  "found another encoder than the lexical one, expected it or none",
                  {.file = file, .pointer = "/encoder"});
    }
    options.encoder = *lexical;
  }
  const JsonDocument document(metadata_of(contents, kOptions, file), file,
                              ErrorCode::kBadCheckpoint, "/__metadata__/options");
  const JsonView root = document.root();
  options.cost_measure = parse_cost_measure(root["cost"].string());
  options.folds = root["folds"].uint32(2, UINT32_MAX);
  options.holdout = root["holdout"].uint32(0, UINT32_MAX);
  options.seed = root["seed"].integer(0, UINT64_MAX, "a whole number");
  options.sample = root["sample"].uint32(0, UINT32_MAX);
  StatisticsData data(std::move(options));
  const auto most = static_cast<std::uint64_t>(kMostCount);
  data.training_queries = root["training_queries"].integer(0, most, kCount);
  data.held_out_queries = root["held_out_queries"].integer(0, most, kCount);
  return data;
}

void read_pairs(const Safetensors& contents, const std::string& file, StatisticsData& data) {
  const JsonDocument document(metadata_of(contents, kPairs, file), file, ErrorCode::kBadCheckpoint,
                              "/__metadata__/pairs");
  const auto models = static_cast<std::uint32_t>(data.options.models.size());
  for (const JsonView& entry : document.root().elements("an array of pairs")) {
    constexpr std::string_view kPair = "[index of a model, budget]";
    const auto parts = entry.elements(kPair);
    if (parts.size() != 2) entry.fail(kPair);
    const Pair pair{parts[0].uint32(0, models - 1), parts[1].budget()};
    if (!data.sums.pairs.empty() && pair <= data.sums.pairs.back()) {
      entry.fail("pairs in ascending order");
    }
    data.sums.pairs.push_back(pair);
  }
}

/// Groups with corrections, as lists of pairs; the other pairs are one more group. Returns the
/// number of each listed group among all.
std::vector<std::size_t> read_groups(const Safetensors& contents, const std::string& file,
                                     GroupedSums& sums) {
  const JsonDocument document(metadata_of(contents, kGroups, file), file, ErrorCode::kBadCheckpoint,
                              "/__metadata__/groups");
  std::vector<std::size_t> listed(sums.pairs.size(), 0);  // 0: in no list, else its position + 1
  const auto groups = document.root().elements("an array of groups");
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const auto pairs = groups[group].elements("an array of indices of pairs");
    if (pairs.empty()) groups[group].fail("at least one pair");
    for (const JsonView& entry : pairs) {
      if (sums.pairs.empty()) entry.fail("no pair, since there are none");
      const auto last = static_cast<std::uint32_t>(sums.pairs.size() - 1);
      std::size_t& place = listed[entry.uint32(0, last)];
      if (place != 0) entry.fail("each pair in one group");
      place = group + 1;
    }
  }
  std::vector<std::size_t> numbers(groups.size() + 1, SIZE_MAX);
  std::size_t next = 0;
  for (const std::size_t place : listed) {
    if (numbers[place] == SIZE_MAX) numbers[place] = next++;
    sums.groups.push_back(numbers[place]);
  }
  for (GroupedSums::Fold& fold : sums.folds) fold.corrections.resize(next);
  numbers.erase(numbers.begin());
  return numbers;
}

void read_sums(const Tensors& tensors, const std::vector<std::size_t>& corrected,
               GroupedSums& sums) {
  const std::uint64_t folds = sums.folds.size(), parts = 1 + corrected.size();
  const std::uint64_t dimension = sums.dimension, heads = kHeadsPerPair * sums.pairs.size();
  const auto gram = tensors.read_finite<double>("gram", {folds, parts, triangle(dimension)});
  const auto rows = tensors.read_finite<double>("sums", {folds, parts, dimension});
  const auto queries = tensors.read_finite<double>("queries", {folds, parts});
  const auto products = tensors.read_finite<double>("products", {folds, heads, dimension});
  const auto targets = tensors.read_finite<double>("targets", {folds, heads});
  const auto size = static_cast<Index>(dimension), columns = static_cast<Index>(heads);
  for (std::size_t number = 0; number < folds; ++number) {
    GroupedSums::Fold& fold = sums.folds[number];
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t place = number * parts + part;
      const double count = queries[place];
      const double seen = part == 0 ? count : fold.all.queries + count;
      if (!(seen >= 0) || seen > kMostCount || seen != std::floor(seen)) {
        tensors.fail("queries", "found a fold or group with " + std::to_string(seen) +
                                    " queries, expected " + std::string(kCount));
      }
      if (part > 0 && count > 0) {
        tensors.fail("queries", "found a group with " + std::to_string(count) +
                                    " queries more than its fold, expected 0 or less");
      }
      if (count == 0) continue;
      GroupedSums::Moments& moments = part == 0 ? fold.all : fold.corrections[corrected[part - 1]];
      moments.queries = count;
      moments.rows = Eigen::Map<const Eigen::VectorXd>(rows.data() + place * dimension, size);
      moments.gram.setZero(size, size);
      const double* from = gram.data() + place * triangle(dimension);
      for (Index row = 0; row < size; ++row) {
        for (Index column = 0; column <= row; ++column) moments.gram(row, column) = *from++;
      }
    }
    fold.products = Eigen::Map<const Eigen::MatrixXd>(products.data() + number * heads * dimension,
                                                      size, columns);
    fold.targets = Eigen::Map<const Eigen::VectorXd>(targets.data() + number * heads, columns);
  }
}

void read_sample(const Safetensors& contents, const Tensors& tensors, StatisticsData& data) {
  const auto keys_tensor = std::ranges::find(contents.tensors, "sample_keys", &TensorView::name);
  const std::uint64_t count = keys_tensor == contents.tensors.end() || keys_tensor->shape.empty()
                                  ? 0
                                  : keys_tensor->shape[0];
  if (count > data.options.sample) {
    tensors.fail("sample_keys", "found a sample of " + std::to_string(count) +
                                    " queries, expected at most " +
                                    std::to_string(data.options.sample) + " by the options");
  }
  const std::size_t dimension = data.options.dimension;
  const std::size_t numbers = kHeadsPerPair * data.sums.pairs.size();
  const auto keys = tensors.read<std::uint8_t>("sample_keys", {count, sizeof(std::uint64_t)});
  const auto facts = tensors.read_finite<double>("sample_facts", {count, kFacts});
  const auto outcomes = tensors.read<double>("sample_outcomes", {count, numbers});
  const auto embeddings = tensors.read_finite<float>("sample_embeddings", {count, dimension});
  for (std::size_t i = 0; i < count; ++i) {
    SampledQuery query;
    std::memcpy(&query.key, keys.data() + i * sizeof query.key, sizeof query.key);
    const double* fact = facts.data() + i * kFacts;
    const bool whole = std::floor(fact[0]) == fact[0] && std::floor(fact[1]) == fact[1];
    if (!whole || fact[0] < 0 || fact[0] >= data.options.folds || fact[1] < 0 ||
        fact[1] > kMostCount || (fact[2] != 0 && fact[2] != 1)) {
      tensors.fail("sample_facts",
                   "row " + std::to_string(i) +
                       " is not [fold, input tokens, 1 for an edited copy or 0]; write the file "
                       "again");
    }
    query.fold = static_cast<std::uint32_t>(fact[0]);
    query.input_tokens = static_cast<std::int64_t>(fact[1]);
    query.is_copy = fact[2] == 1;
    const auto own = std::span(outcomes).subspan(i * numbers, numbers);
    for (std::size_t pair = 0; pair < data.sums.pairs.size(); ++pair) {
      const double score = own[kHeadsPerPair * pair], tokens = own[kHeadsPerPair * pair + 1];
      if (std::isnan(score) && std::isnan(tokens)) continue;
      if (score >= 0 && score <= 1 && tokens >= 0 && std::isfinite(tokens)) continue;
      tensors.fail("sample_outcomes",
                   "row " + std::to_string(i) + " has the score " + std::to_string(score) +
                       " and the length " + std::to_string(tokens) +
                       ", expected a score from 0 to 1 and a length of 0 or more, or NaN in both");
    }
    query.outcomes.assign(own.begin(), own.end());
    const auto embedding = std::span(embeddings).subspan(i * dimension, dimension);
    query.embedding.assign(embedding.begin(), embedding.end());
    data.add_to_sample(std::move(query));
  }
}

}  // namespace

std::string encode(const StatisticsData& data) {
  const StatisticsOptions& options = data.options;
  const GroupedSums& sums = data.sums;
  Config config{.embedding_model = options.embedding_model,
                .embedding_dim = options.dimension,
                .models = options.models,
                .budget_prompt = options.budget_prompt};
  for (const std::uint32_t limit : options.token_limits) config.token_limits.emplace_back(limit);
  if (options.encoder) config.encoder = *options.encoder;
  const Json counts = {{"cost", to_string(options.cost_measure)},
                       {"folds", options.folds},
                       {"holdout", options.holdout},
                       {"seed", options.seed},
                       {"sample", options.sample},
                       {"training_queries", data.training_queries},
                       {"held_out_queries", data.held_out_queries}};
  Json pairs = Json::array();
  for (const Pair& pair : sums.pairs)
    pairs.push_back({pair.model, io::budget_to_json(pair.budget)});
  const std::vector<std::size_t> corrected = corrected_groups(sums);
  Json groups = Json::array();
  for (const std::size_t group : corrected) {
    Json members = Json::array();
    for (std::size_t pair = 0; pair < sums.pairs.size(); ++pair) {
      if (sums.groups[pair] == group) members.push_back(pair);
    }
    groups.push_back(std::move(members));
  }

  const std::size_t dimension = sums.dimension;
  std::vector<double> gram, rows, queries, products, targets;
  const auto append = [&](const GroupedSums::Moments& moments) {
    queries.push_back(moments.queries);
    if (moments.empty()) {
      gram.resize(gram.size() + triangle(dimension));
      rows.resize(rows.size() + dimension);
      return;
    }
    append_lower(moments.gram, gram);
    rows.insert(rows.end(), moments.rows.begin(), moments.rows.end());
  };
  for (const GroupedSums::Fold& fold : sums.folds) {
    append(fold.all);
    for (const std::size_t group : corrected) append(fold.corrections[group]);
    products.insert(products.end(), fold.products.data(),
                    fold.products.data() + fold.products.size());
    targets.insert(targets.end(), fold.targets.begin(), fold.targets.end());
  }

  std::vector<const SampledQuery*> sample;
  for (const SampledQuery& query : data.sample) sample.push_back(&query);
  std::ranges::stable_sort(sample, {}, &SampledQuery::key);
  std::vector<std::uint8_t> keys(sample.size() * sizeof(std::uint64_t));
  std::vector<double> facts, outcomes;
  std::vector<float> embeddings;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const SampledQuery& query = *sample[i];
    std::memcpy(keys.data() + i * sizeof query.key, &query.key, sizeof query.key);
    facts.insert(facts.end(),
                 {static_cast<double>(query.fold), static_cast<double>(query.input_tokens),
                  static_cast<double>(query.is_copy)});
    outcomes.insert(outcomes.end(), query.outcomes.begin(), query.outcomes.end());
    embeddings.insert(embeddings.end(), query.embedding.begin(), query.embedding.end());
  }

  const std::uint64_t folds = sums.folds.size(), parts = 1 + corrected.size();
  const std::uint64_t heads = kHeadsPerPair * sums.pairs.size(), count = sample.size();
  using enum io::TensorType;
  return io::write_safetensors(
      {.metadata = {{"format", kFormat},
                    {"format_version", std::to_string(kVersion)},
                    {kConfig, to_json(config)},
                    {kOptions, counts.dump()},
                    {kPairs, pairs.dump()},
                    {kGroups, groups.dump()}},
       .tensors = {
           {"gram", kFloat64, {folds, parts, triangle(dimension)}, bytes_of(gram)},
           {"sums", kFloat64, {folds, parts, dimension}, bytes_of(rows)},
           {"queries", kFloat64, {folds, parts}, bytes_of(queries)},
           {"products", kFloat64, {folds, heads, dimension}, bytes_of(products)},
           {"targets", kFloat64, {folds, heads}, bytes_of(targets)},
           {"sample_facts", kFloat64, {count, kFacts}, bytes_of(facts)},
           {"sample_outcomes", kFloat64, {count, heads}, bytes_of(outcomes)},
           {"sample_embeddings", kFloat32, {count, dimension}, bytes_of(embeddings)},
           {"sample_keys", kUint8, {count, sizeof(std::uint64_t)}, bytes_of(keys)},
       }});
}

StatisticsData decode(std::span<const std::uint8_t> bytes, const std::string& file) {
  const Safetensors contents = io::parse_safetensors(bytes, file);
  expect_metadata(contents, "format", kFormat, file);
  expect_metadata(contents, "format_version", std::to_string(kVersion), file);
  StatisticsData data = [&] {
    try {
      return read_options(contents, file);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInvalidArgument) throw;
      throw Error(ErrorCode::kBadCheckpoint, error.message(), {.file = file});
    }
  }();
  read_pairs(contents, file, data);
  const std::vector<std::size_t> corrected = read_groups(contents, file, data.sums);
  const Tensors tensors(contents, file);
  read_sums(tensors, corrected, data.sums);
  read_sample(contents, tensors, data);
  return data;
}

}  // namespace r2router::train
