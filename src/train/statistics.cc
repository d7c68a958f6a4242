#include "r2router/train/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "r2router/error.h"

#include "base/file.h"
#include "base/parallel.h"
#include "checkpoint/format_version.h"
#include "encode/encoder_kind.h"
#include "train/learner.h"
#include "train/problem.h"
#include "train/statistics_data.h"

namespace r2router::train {
namespace {

constexpr std::uint32_t kMostFolds = 1000;
constexpr std::uint32_t kLeastSample = 100;
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// The options, checked and with the dimension of the encoder.
StatisticsOptions complete(StatisticsOptions options) {
  const auto expect = [](bool valid, const char* name, std::uint64_t found, const char* expected) {
    if (valid) return;
    throw_bad_option(std::string(name) + " is " + std::to_string(found) + ": expected " + expected);
  };
  if (options.models.empty()) throw_bad_option("models is empty: give at least one model");
  if (options.encoder) {
    const LexicalEncoderSpec& encoder = *options.encoder;
    if (encoder.has_idf || !encoder.topics.empty()) {
      throw_bad_option(
          "the encoder has IDF weights or topics, which are learned from all texts at once: leave "
          "them out, or train on one machine");
    }
    make_lexical_encoder(encoder);  // checks it
    if (options.dimension == 0) options.dimension = encoder.dimension;
    expect(options.dimension == encoder.dimension, "dimension", options.dimension,
           "that of the encoder");
    options.embedding_model = "lexical";
  }
  expect(options.dimension >= 1 && options.dimension <= internal::kMostDimensions, "dimension",
         options.dimension, "the length of an embedding, 1 to 65,536");
  expect(options.folds >= 2 && options.folds <= kMostFolds, "folds", options.folds, "2 to 1,000");
  expect(options.holdout != 1, "holdout", options.holdout,
         "0 for none, or 2 or more to keep one query in that many out of training");
  std::ranges::sort(options.token_limits);
  if (std::ranges::adjacent_find(options.token_limits) != options.token_limits.end() ||
      (!options.token_limits.empty() && options.token_limits.front() == 0)) {
    throw_bad_option("token_limits has a 0 or a number twice: expected different limits above 0");
  }
  expect(options.sample >= kLeastSample, "sample", options.sample, "100 or more");
  return options;
}

bool has_lower_key(const SampledQuery& a, const SampledQuery& b) { return a.key < b.key; }

/// Independent of the hashes that hold queries out and choose folds. The zero separates id and
/// text.
std::uint64_t sample_key(const QueryRecord& query) {
  std::string id_and_text = query.id;
  id_and_text += '\0';
  id_and_text += query.text;
  return query_hash(id_and_text);
}

/// The table's pairs, with indices into `models`.
std::vector<Pair> match_pairs(const OutcomeTable& table, const Pool& models) {
  std::vector<Pair> pairs = table.pairs;
  for (Pair& pair : pairs) {
    const std::string& name = table.models[pair.model].name;
    const auto found = std::ranges::find(models, name, &ModelSpec::name);
    if (found == models.end()) {
      throw_bad_data("the table has outcomes of " + name +
                     ", which is not a model of the statistics: add it to their models before the "
                     "first batch, or leave its outcomes out");
    }
    pair.model = static_cast<std::uint32_t>(found - models.begin());
  }
  return pairs;
}

/// The sample as a table with the pairs that saw outcomes.
OutcomeTable to_table(const StatisticsData& data, const std::vector<SampledQuery>& sample) {
  const StatisticsOptions& options = data.options;
  OutcomeTable table;
  table.budget_mode = options.token_limits.empty() ? BudgetMode::kPrompted : BudgetMode::kHardCap;
  table.cost_measure = options.cost_measure;
  std::map<std::uint32_t, std::uint32_t> models;  // of the options, and of the table
  for (Pair pair : data.sums.pairs) {
    const auto [model, is_new] =
        models.try_emplace(pair.model, static_cast<std::uint32_t>(table.models.size()));
    if (is_new) table.models.push_back(options.models[pair.model]);
    pair.model = model->second;
    table.pairs.push_back(pair);
  }
  for (const SampledQuery& query : sample) {
    table.queries.push_back({.id = std::to_string(query.key),
                             .text = {},
                             .input_tokens = query.input_tokens,
                             .original = query.is_copy ? "another query" : ""});
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      table.scores.push_back(query.outcomes[kHeadsPerPair * pair]);
      table.output_tokens.push_back(query.outcomes[kHeadsPerPair * pair + 1]);
    }
  }
  return table;
}

/// Throws unless every fold has queries, and every pair has outcomes in two of them.
void check_sums(const GroupedSums& sums, const OutcomeTable& table) {
  std::vector<std::size_t> queries;
  for (const GroupedSums::Fold& fold : sums.folds) {
    queries.push_back(static_cast<std::size_t>(fold.all.queries));
  }
  check_folds(queries);
  for (std::size_t pair = 0; pair < sums.pairs.size(); ++pair) {
    std::size_t folds_with_outcomes = 0;
    for (std::size_t fold = 0; fold < sums.folds.size(); ++fold) {
      folds_with_outcomes += sums.seen(fold, pair) > 0;
    }
    if (folds_with_outcomes < 2) throw_too_few_outcomes(table, table.pairs[pair]);
  }
}

}  // namespace

StatisticsData::StatisticsData(StatisticsOptions given)
    : options(complete(std::move(given))), sums(options.dimension, options.folds) {}

void StatisticsData::extend(std::span<const Pair> more) {
  const std::vector<Pair> before = sums.pairs;
  sums.extend(more);
  if (sums.pairs.size() == before.size()) return;
  for (SampledQuery& query : sample) {
    std::vector<double> outcomes(kHeadsPerPair * sums.pairs.size(), kMissing);
    for (std::size_t pair = 0; pair < before.size(); ++pair) {
      const auto place = std::ranges::lower_bound(sums.pairs, before[pair]) - sums.pairs.begin();
      std::copy_n(query.outcomes.begin() + static_cast<std::ptrdiff_t>(kHeadsPerPair * pair),
                  kHeadsPerPair,
                  outcomes.begin() + static_cast<std::ptrdiff_t>(kHeadsPerPair) * place);
    }
    query.outcomes = std::move(outcomes);
  }
}

void StatisticsData::add_to_sample(SampledQuery query) {
  sample.push_back(std::move(query));
  std::ranges::push_heap(sample, has_lower_key);
  if (sample.size() <= options.sample) return;
  std::ranges::pop_heap(sample, has_lower_key);
  sample.pop_back();
}

Statistics::Statistics(StatisticsOptions options)
    : data_(std::make_unique<StatisticsData>(std::move(options))) {}
Statistics::Statistics(std::unique_ptr<StatisticsData> data) : data_(std::move(data)) {}
Statistics::Statistics(const Statistics& other)
    : data_(std::make_unique<StatisticsData>(*other.data_)) {}
Statistics::Statistics(Statistics&& other) noexcept = default;
Statistics& Statistics::operator=(const Statistics& other) { return *this = Statistics(other); }
Statistics& Statistics::operator=(Statistics&& other) noexcept = default;
Statistics::~Statistics() = default;

const StatisticsOptions& Statistics::options() const { return data_->options; }
std::size_t Statistics::training_queries() const { return data_->training_queries; }
std::size_t Statistics::held_out_queries() const { return data_->held_out_queries; }
std::size_t Statistics::sampled_queries() const { return data_->sample.size(); }

void Statistics::add(const OutcomeTable& given, std::span<const float> embeddings,
                     std::uint32_t threads) {
  const StatisticsOptions& options = data_->options;
  validate(given);
  check_embeddings(given, embeddings, options.dimension);
  if (given.budget_mode != BudgetMode::kPrompted || given.cost_measure != options.cost_measure) {
    throw_bad_data(
        "the table has hard caps already, or another cost measure than the statistics: give "
        "unlimited answers and the options' token_limits, and the options' cost_measure");
  }
  OutcomeTable capped;
  if (!options.token_limits.empty()) capped = apply_hard_cap(given, options.token_limits);
  const OutcomeTable& table = options.token_limits.empty() ? given : capped;
  const std::vector<Pair> pairs = match_pairs(table, options.models);
  data_->extend(pairs);
  std::vector<std::size_t> places;  // of the table's pairs among those of the sums
  for (const Pair& pair : pairs) {
    const auto place = std::ranges::lower_bound(data_->sums.pairs, pair);
    places.push_back(static_cast<std::size_t>(place - data_->sums.pairs.begin()));
  }

  std::vector<std::vector<std::uint32_t>> folds(options.folds);
  for (std::size_t i = 0; i < table.queries.size(); ++i) {
    const QueryRecord& query = table.queries[i];
    const bool is_copy = !query.original.empty();
    if (is_held_out(query.split_text(), options.holdout)) {
      data_->held_out_queries += !is_copy;
      continue;
    }
    if (!has_outcome(table, i)) continue;
    const std::uint32_t fold = fold_of(query.split_text(), options.folds, options.seed);
    folds[fold].push_back(static_cast<std::uint32_t>(i));
    data_->training_queries += !is_copy;

    const std::uint64_t key = sample_key(query);
    if (data_->sample.size() == options.sample && key >= data_->sample.front().key) continue;
    const auto embedding = embeddings.subspan(i * options.dimension, options.dimension);
    std::vector<double> outcomes(kHeadsPerPair * data_->sums.pairs.size(), kMissing);
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
      outcomes[kHeadsPerPair * places[pair]] = table.scores[table.cell(i, pair)];
      outcomes[kHeadsPerPair * places[pair] + 1] = table.output_tokens[table.cell(i, pair)];
    }
    data_->add_to_sample({.key = key,
                          .fold = fold,
                          .input_tokens = query.input_tokens,
                          .is_copy = is_copy,
                          .embedding = {embedding.begin(), embedding.end()},
                          .outcomes = std::move(outcomes)});
  }
  const std::vector<double> targets = head_targets(table);
  data_->sums.add({.embeddings = embeddings,
                   .dimension = options.dimension,
                   .targets = targets,
                   .heads = kHeadsPerPair * pairs.size(),
                   .folds = std::move(folds)},
                  pairs, internal::thread_count(threads));
}

void Statistics::add(const OutcomeData& data, std::uint32_t threads) {
  if (!data.embeddings.empty() || data.table.queries.empty()) {
    return add(data.table, data.embeddings, threads);
  }
  const StatisticsOptions& options = data_->options;
  if (!options.encoder) {
    throw_bad_option("the queries have no embeddings: add them, or set the encoder of the options");
  }
  std::vector<std::string_view> texts;
  for (const QueryRecord& query : data.table.queries) texts.push_back(query.text);
  std::vector<float> embeddings(texts.size() * options.dimension);
  make_lexical_encoder(*options.encoder)->embed(texts, embeddings);
  add(data.table, embeddings, threads);
}

void Statistics::merge(const Statistics& other) {
  const StatisticsOptions& own = data_->options;
  const StatisticsOptions& others = other.data_->options;
  const auto expect_equal = [](bool equal, const char* name) {
    if (equal) return;
    throw_bad_option(std::string("the statistics to merge have other options: their ") + name +
                     " differs; make both with the same options");
  };
  expect_equal(own.models == others.models, "models");
  expect_equal(own.dimension == others.dimension, "dimension");
  expect_equal(own.encoder == others.encoder, "encoder");
  expect_equal(own.embedding_model == others.embedding_model, "embedding_model");
  expect_equal(own.budget_prompt == others.budget_prompt, "budget_prompt");
  expect_equal(own.token_limits == others.token_limits, "token_limits");
  expect_equal(own.cost_measure == others.cost_measure, "cost_measure");
  expect_equal(own.folds == others.folds, "folds");
  expect_equal(own.holdout == others.holdout, "holdout");
  expect_equal(own.seed == others.seed, "seed");
  expect_equal(own.sample == others.sample, "sample");

  StatisticsData added = *other.data_;
  data_->extend(added.sums.pairs);
  added.extend(data_->sums.pairs);
  for (SampledQuery& query : added.sample) data_->add_to_sample(std::move(query));
  data_->sums.merge(added.sums);
  data_->training_queries += added.training_queries;
  data_->held_out_queries += added.held_out_queries;
}

Checkpoint Statistics::solve(const SolveOptions& options, TrainReport* report) const {
  const StatisticsOptions& own = data_->options;
  TrainOptions train_options;  // member by member: GCC 12 warns of an initialiser list
  train_options.alphas = options.alphas;
  train_options.folds = own.folds;
  train_options.holdout = own.holdout;
  train_options.seed = own.seed;
  train_options.threads = options.threads;
  train_options.progress = options.progress;
  check_options(train_options);
  std::vector<SampledQuery> sample = data_->sample;
  std::ranges::stable_sort(sample, {}, &SampledQuery::key);
  const OutcomeTable table = to_table(*data_, sample);
  check_sums(data_->sums, table);
  check_budget_prompt(table, own.budget_prompt);
  std::vector<float> embeddings;
  Folds folds(own.folds);
  for (std::uint32_t i = 0; i < sample.size(); ++i) {
    embeddings.insert(embeddings.end(), sample[i].embedding.begin(), sample[i].embedding.end());
    folds[sample[i].fold].push_back(i);
  }
  sample.clear();
  const LearningProblem problem{.table = table,
                                .embeddings = embeddings,
                                .dimension = own.dimension,
                                .folds = std::move(folds),
                                .options = train_options,
                                .threads = internal::thread_count(options.threads)};
  const std::unique_ptr<Learner> learner = make_ridge_learner(
      problem, [&](std::span<const double> alphas, std::optional<std::size_t> left_out) {
        return data_->sums.fit(alphas, left_out, problem.threads);
      });
  TrainReport result;
  result.training_queries = data_->training_queries;
  result.held_out_queries = data_->held_out_queries;
  result.heads = kHeadsPerPair * table.pairs.size();
  Checkpoint checkpoint = fit_checkpoint(problem, *learner, result);
  checkpoint.config.embedding_model = own.embedding_model;
  checkpoint.config.budget_prompt = own.budget_prompt;
  if (own.encoder) {
    checkpoint.config.encoder = own.encoder;
    checkpoint.encoder = LexicalEncoderTensors{};
    checkpoint.config.format_version = internal::format_version_for(checkpoint.config);
  }
  if (report != nullptr) *report = std::move(result);
  return checkpoint;
}

void Statistics::save(const std::string& file) const { io::write_file(file, to_bytes()); }

Statistics Statistics::load(const std::string& file) {
  const io::MappedFile mapped(file);
  return from_bytes(mapped.bytes(), file);
}

std::string Statistics::to_bytes() const { return encode(*data_); }

Statistics Statistics::from_bytes(std::span<const std::uint8_t> bytes, const std::string& file) {
  return Statistics(std::make_unique<StatisticsData>(decode(bytes, file)));
}

}  // namespace r2router::train
