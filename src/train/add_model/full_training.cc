#include "train/add_model/full_training.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "train/add_model/selection.h"

namespace r2router::train {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

MatrixXd errors_of(const LinearFit& fit, const MatrixXd& embeddings, const MatrixXd& targets) {
  MatrixXd errors = embeddings * fit.weights - targets;
  errors.rowwise() += fit.intercepts.transpose();
  return errors;
}

VectorXd mean_squares(const MatrixXd& errors, Target target) {
  const auto heads =
      Eigen::seqN(static_cast<Index>(target), errors.cols() / static_cast<Index>(kHeadsPerPair),
                  static_cast<Index>(kHeadsPerPair));
  return errors(Eigen::all, heads).cwiseAbs2().rowwise().mean();
}

NewHeads fit_fully(const OutcomeTable& table, const NewModel& model,
                   std::span<const float> embeddings, std::size_t dimension,
                   const AddModelOptions& options, std::size_t threads) {
  const std::size_t heads = model.heads();
  std::vector<double> targets(table.queries.size() * heads,
                              std::numeric_limits<double>::quiet_NaN());
  RidgeProblem problem{
      .embeddings = embeddings, .dimension = dimension, .targets = {}, .heads = heads, .folds = {}};
  problem.folds.resize(options.folds);
  std::vector<std::uint32_t> queries = model.outcomes;
  std::ranges::sort(queries);
  const MatrixXd given = gather_targets(table, model, queries);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (std::size_t head = 0; head < heads; ++head) {
      targets[queries[i] * heads + head] = given(static_cast<Index>(i), static_cast<Index>(head));
    }
    const std::string& text = table.queries[queries[i]].text;
    problem.folds[fold_of(text, options.folds, options.seed)].push_back(queries[i]);
  }
  problem.targets = targets;
  const RidgeSolver solver(problem, threads);
  const std::vector<double> alphas = TrainOptions().alphas;  // ascending
  MatrixXd errors[kHeadsPerPair];
  for (MatrixXd& of_target : errors) {
    of_target.resize(static_cast<Index>(alphas.size()), static_cast<Index>(queries.size()));
  }
  MatrixXd sums = MatrixXd::Zero(static_cast<Index>(alphas.size()), static_cast<Index>(heads));
  Index done = 0;
  for (std::size_t fold = 0; fold < options.folds; ++fold) {
    if (options.progress) options.progress("fitting to all outcomes", fold, options.folds);
    if (problem.folds[fold].empty()) continue;
    const MatrixXd x = gather_embeddings(embeddings, dimension, problem.folds[fold]);
    const MatrixXd y = gather_targets(table, model, problem.folds[fold]);
    const std::vector<LinearFit> fits = solver.fit(alphas, fold);
    for (std::size_t i = 0; i < alphas.size(); ++i) {
      const auto setting = static_cast<Index>(i);
      const MatrixXd of_fit = errors_of(fits[i], x, y);
      for (const Target target : {Target::kQuality, Target::kTokens}) {
        errors[static_cast<std::size_t>(target)].row(setting).segment(done, x.rows()) =
            mean_squares(of_fit, target).transpose();
        for (auto head = static_cast<Index>(target); head < of_fit.cols();
             head += static_cast<Index>(kHeadsPerPair)) {
          sums(setting, head) += sum_squares(of_fit.col(head), y.col(head), target);
        }
      }
    }
    done += x.rows();
  }
  const Index best[] = {choose_cautiously(errors[0]), choose_cautiously(errors[1])};
  const std::vector<double> chosen = {alphas[static_cast<std::size_t>(best[0])],
                                      alphas[static_cast<std::size_t>(best[1])]};
  std::vector<LinearFit> fits = solver.fit(chosen);
  for (Index head = 1; head < fits[0].weights.cols(); head += static_cast<Index>(kHeadsPerPair)) {
    fits[0].weights.col(head) = fits[1].weights.col(head);
    fits[0].intercepts[head] = fits[1].intercepts[head];
  }
  NewHeads result{std::move(fits[0]), {}};
  for (std::size_t head = 0; head < heads; ++head) {
    const double sum = sums(best[head % kHeadsPerPair], static_cast<Index>(head));
    result.spreads.push_back(std::sqrt(sum / static_cast<double>(queries.size())));
  }
  return result;
}

}  // namespace r2router::train
