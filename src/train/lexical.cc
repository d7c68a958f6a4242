// Training with the lexical encoder: its document frequencies and topics are learned first.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/error.h"
#include "r2router/train/train.h"

#include "base/parallel.h"
#include "checkpoint/format_version.h"
#include "train/problem.h"
#include "train/ridge.h"

namespace r2router::train {
namespace {

/// The ridge penalty of the topics' scores. Small, because scores that hardly separate topics are
/// useless. The choice hardly matters: values from 0.3 to 3 give equally good routers.
constexpr double kTopicAlpha = 1;

/// For each query and topic, 1 or 0; NaN for a query of no topic.
std::vector<double> topic_targets(const OutcomeTable& table, const std::vector<std::string>& topics,
                                  const Folds& folds) {
  std::map<std::string_view, std::size_t> number_of;
  for (const std::string& topic : topics) number_of.emplace(topic, number_of.size());
  std::vector<double> targets(table.queries.size() * topics.size(),
                              std::numeric_limits<double>::quiet_NaN());
  std::vector<std::size_t> queries(topics.size());
  std::size_t folds_with_topics = 0;
  for (const std::vector<std::uint32_t>& fold : folds) {
    bool any = false;
    for (const std::uint32_t query : fold) {
      const auto topic = number_of.find(table.queries[query].dataset);
      if (topic == number_of.end()) continue;
      const auto row = targets.begin() + static_cast<std::ptrdiff_t>(query * topics.size());
      std::fill_n(row, topics.size(), 0.0);
      row[static_cast<std::ptrdiff_t>(topic->second)] = 1;
      ++queries[topic->second];
      any = true;
    }
    folds_with_topics += any;
  }
  for (std::size_t topic = 0; topic < topics.size(); ++topic) {
    if (queries[topic] > 0) continue;
    throw_bad_data("no query that is trained on is of the dataset \"" + topics[topic] +
                   "\", so it cannot be recognised: leave it out of the encoder's topics");
  }
  if (folds_with_topics < 2) {
    throw_bad_data(
        "all queries of the encoder's topics are in one fold, so that it cannot learn "
        "to recognise them: give more queries");
  }
  return targets;
}

/// Teaches the encoder its topics, and appends to each query's features in `embeddings` its shares.
TopicScores learn_topics(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                         const std::vector<float>& idf, const TrainOptions& options,
                         std::vector<float>& embeddings) {
  const Folds folds = make_folds(table, options);
  const std::vector<double> targets = topic_targets(table, encoder.topics, folds);
  const RidgeProblem problem{.embeddings = embeddings,
                             .dimension = encoder.dimension,
                             .targets = targets,
                             .heads = encoder.topics.size(),
                             .folds = folds};
  const RidgeSolver solver(problem, internal::thread_count(options.threads));
  const auto learn = [&](std::optional<std::size_t> left_out) {
    const LinearFit fit = solver.fit({&kTopicAlpha, 1}, left_out).front();
    const auto weights = fit.weights.reshaped().cast<float>();  // a column, so a row of scores each
    const auto intercepts = fit.intercepts.cast<float>();
    return TopicScores{{weights.begin(), weights.end()}, {intercepts.begin(), intercepts.end()}};
  };

  TopicScores scores = learn({});
  const std::size_t dimension = encoder.embedding_dimension();
  std::vector<float> with_shares(table.queries.size() * dimension);
  const auto embed = [&](std::size_t query, const Encoder& encoder) {
    const std::string_view text = table.queries[query].text;
    encoder.embed({&text, 1}, std::span(with_shares).subspan(query * dimension, dimension));
  };
  const auto learned_from_all = make_lexical_encoder(encoder, idf, scores);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    embed(query, *learned_from_all);
  }
  for (std::size_t fold = 0; fold < folds.size(); ++fold) {
    const auto learned_from_others = make_lexical_encoder(encoder, idf, learn(fold));
    for (const std::uint32_t query : folds[fold]) embed(query, *learned_from_others);
  }
  embeddings = std::move(with_shares);
  return scores;
}

}  // namespace

Checkpoint train(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                 const TrainOptions& options, TrainReport* report) {
  check_options(options);
  validate(table);
  std::vector<std::string_view> texts;
  for (const QueryRecord& query : table.queries) texts.push_back(query.text);
  const std::size_t dimension = encoder.dimension;
  std::vector<float> embeddings(texts.size() * dimension);
  LexicalEncoderSpec features = encoder;  // without what is still to be learned
  features.topics.clear();
  LexicalEncoderSpec plain = features;
  plain.has_idf = false;
  make_lexical_encoder(plain)->embed(texts, embeddings);

  std::vector<float> idf;
  if (encoder.has_idf) {
    std::vector<double> with_feature(dimension);
    double trained = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (is_held_out(table.queries[i].split_text(), options.holdout)) continue;
      ++trained;
      for (std::size_t j = 0; j < dimension; ++j) {
        with_feature[j] += embeddings[i * dimension + j] != 0;
      }
    }
    for (const double count : with_feature) {
      idf.push_back(static_cast<float>(1 + std::log((1 + trained) / (1 + count))));
    }
    make_lexical_encoder(features, idf)->embed(texts, embeddings);
  }
  TopicScores topics;
  if (!encoder.topics.empty()) topics = learn_topics(table, encoder, idf, options, embeddings);

  Checkpoint checkpoint = train(table, embeddings, encoder.embedding_dimension(), options, report);
  checkpoint.config.embedding_model = "lexical";
  checkpoint.config.encoder = encoder;
  checkpoint.config.format_version = internal::format_version_for(checkpoint.config);
  checkpoint.encoder = LexicalEncoderTensors{std::move(idf), std::move(topics)};
  return checkpoint;
}

}  // namespace r2router::train
