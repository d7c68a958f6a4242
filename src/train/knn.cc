// Nearest neighbours: nothing is fitted but how many are asked, and how they count.
#include <algorithm>
#include <set>
#include <utility>

#include "r2router/error.h"

#include "base/parallel.h"
#include "score/kernels.h"
#include "score/neighbour_search.h"
#include "train/learner.h"

namespace r2router::train {
namespace {

using Weighting = NearestNeighbours::Weighting;

/// Queries that one thread predicts at a time.
constexpr std::size_t kQueriesAtOnce = 64;

struct Setting {
  std::uint32_t neighbours;
  Weighting weighting;
};

class KnnLearner final : public Learner {
 public:
  explicit KnnLearner(const LearningProblem& problem) : problem_(problem) {
    std::set<std::uint32_t> complete;
    for (const std::uint32_t query : complete_queries(problem.table)) complete.insert(query);
    std::size_t all = 0, largest = 0;
    for (const std::vector<std::uint32_t>& fold : problem.folds) {
      std::vector<std::uint32_t>& queries = folds_.emplace_back();
      std::copy_if(fold.begin(), fold.end(), std::back_inserter(queries),
                   [&](std::uint32_t query) { return complete.contains(query); });
      all += queries.size();
      largest = std::max(largest, queries.size());
    }
    for (const std::uint32_t neighbours : problem.options.neighbours) {
      if (neighbours > all - largest) continue;
      settings_.push_back({neighbours, Weighting::kUniform});
      settings_.push_back({neighbours, Weighting::kSimilarity});
      most_ = std::max(most_, neighbours);
    }
    if (settings_.empty()) {
      throw Error(ErrorCode::kBadData,
                  "no number of neighbours to choose from is within " +
                      std::to_string(all - largest) +
                      ", the number of queries with an outcome of every pair that is left without "
                      "the largest fold: give a smaller number, or more queries");
    }
  }

  std::size_t settings() const override { return settings_.size(); }
  double caution(std::size_t setting) const override { return settings_[setting].neighbours; }

  std::vector<eval::PredictionTable> predict_left_out(
      std::size_t left_out, std::span<const std::uint32_t> queries,
      std::span<const std::size_t> settings) override {
    const NearestNeighbours data = gather(left_out);
    const score::NeighbourSearch search(data.embeddings, data.dimension, score::find_kernel({}));
    const std::vector<double> means = score::average_targets(data.targets, data.names.size());
    const std::size_t pairs = problem_.table.pairs.size();
    std::vector<eval::PredictionTable> results(settings.size());
    for (eval::PredictionTable& result : results) {
      result.quality.resize(queries.size() * pairs);
      result.output_tokens.resize(queries.size() * pairs);
    }
    const std::size_t blocks = (queries.size() + kQueriesAtOnce - 1) / kQueriesAtOnce;
    internal::parallel_for(problem_.threads, blocks, [&](std::size_t block) {
      const std::size_t begin = block * kQueriesAtOnce;
      const std::size_t count = std::min(kQueriesAtOnce, queries.size() - begin);
      std::vector<double> embeddings;
      for (const std::uint32_t query : queries.subspan(begin, count)) {
        const auto row =
            problem_.embeddings.subspan(query * problem_.dimension, problem_.dimension);
        embeddings.insert(embeddings.end(), row.begin(), row.end());
      }
      std::vector<std::vector<score::Neighbour>> found;
      search.search(embeddings, count, most_, found);
      std::vector<double> heads = means;
      for (std::size_t i = 0; i < settings.size(); ++i) {
        const auto& [neighbours, weighting] = settings_[settings[i]];
        for (std::size_t r = 0; r < count; ++r) {
          if (found[r].empty()) {
            heads = means;
          } else {
            score::average_targets(std::span(found[r]).first(neighbours), weighting, data.targets,
                                   heads);
          }
          for (std::size_t pair = 0; pair < pairs; ++pair) {
            const std::size_t cell = (begin + r) * pairs + pair;
            results[i].quality[cell] = heads[kHeadsPerPair * pair];
            results[i].output_tokens[cell] = heads[kHeadsPerPair * pair + 1];
          }
        }
      }
    });
    return results;
  }

  Predictor fit(std::size_t setting) override {
    NearestNeighbours data = gather(folds_.size());
    data.neighbours = settings_[setting].neighbours;
    data.weighting = settings_[setting].weighting;
    return data;
  }

  void report(std::size_t chosen, std::span<const eval::DeferralMetrics> metrics,
              TrainReport& report) const override {
    for (std::size_t i = 0; i < settings_.size(); ++i) {
      const auto [neighbours, weighting] = settings_[i];
      report.neighbour_counts.push_back({neighbours, weighting, metrics[i]});
    }
    report.neighbours = report.neighbour_counts[chosen];
  }

  std::string method() const override {
    return "nearest neighbours by cosine similarity: the mean of their scores and lengths for "
           "every "
           "(model, budget) pair";
  }
  void describe(std::size_t setting, ObjectWriter& object) const override {
    const auto [neighbours, weighting] = settings_[setting];
    object.number("neighbours", neighbours);
    object.text("weighting", weighting == Weighting::kUniform ? "uniform" : "similarity");
  }

 private:
  /// Embeddings and targets of the folds but one, or of all; queries in the table's order.
  NearestNeighbours gather(std::size_t left_out) const {
    std::vector<std::uint32_t> queries;
    for (std::size_t fold = 0; fold < folds_.size(); ++fold) {
      if (fold == left_out) continue;
      queries.insert(queries.end(), folds_[fold].begin(), folds_[fold].end());
    }
    std::sort(queries.begin(), queries.end());
    const OutcomeTable& table = problem_.table;
    NearestNeighbours data{.dimension = problem_.dimension, .names = name_heads(table)};
    for (const std::uint32_t query : queries) {
      const auto row = problem_.embeddings.subspan(query * problem_.dimension, problem_.dimension);
      data.embeddings.insert(data.embeddings.end(), row.begin(), row.end());
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        const std::size_t cell = table.cell(query, pair);
        data.targets.push_back(static_cast<float>(table.scores[cell]));
        data.targets.push_back(static_cast<float>(table.output_tokens[cell]));
      }
    }
    return data;
  }

  const LearningProblem& problem_;
  std::vector<std::vector<std::uint32_t>> folds_;  ///< those of the problem, only complete queries
  std::vector<Setting> settings_;
  std::uint32_t most_ = 0;  ///< neighbours in any setting
};

}  // namespace

std::unique_ptr<Learner> make_knn_learner(const LearningProblem& problem) {
  return std::make_unique<KnnLearner>(problem);
}

}  // namespace r2router::train
