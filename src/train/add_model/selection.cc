#include "train/add_model/selection.h"

#include <cmath>

#include "base/parallel.h"

namespace r2router::train {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

/// The probes' numbers that are in a fold, or those that are not.
std::vector<Index> probes_of(const std::vector<std::uint32_t>& fold_of, std::uint32_t fold,
                             bool inside) {
  std::vector<Index> probes;
  for (std::size_t i = 0; i < fold_of.size(); ++i) {
    if ((fold_of[i] == fold) == inside) probes.push_back(static_cast<Index>(i));
  }
  return probes;
}

}  // namespace

double sum_squares(const Eigen::ArrayXd& errors, const Eigen::ArrayXd& truth, Target target) {
  if (target == Target::kTokens) return errors.square().sum();
  return ((errors + truth).max(0.0).min(1.0) - truth).square().sum();
}

CrossValidated cross_validate(const MatrixXd& gram, const MatrixXd& targets,
                              const std::vector<Mixture>& mixtures,
                              const std::vector<std::uint32_t>& fold_of,
                              const AddModelOptions& options, std::size_t threads) {
  const std::size_t penalties = options.share_penalties.size();
  const auto settings = static_cast<Index>(options.alphas.size() * penalties);
  const double share = static_cast<double>(kHeadsPerPair) / static_cast<double>(targets.cols());
  CrossValidated result;
  for (std::size_t target = 0; target < kHeadsPerPair; ++target) {
    result.errors[target] = MatrixXd::Zero(settings, targets.rows());
    result.mean_errors[target] = VectorXd::Zero(targets.rows());
  }
  result.sums = MatrixXd::Zero(settings, targets.cols());
  for (std::uint32_t fold = 0; fold < options.folds; ++fold) {
    if (options.progress) options.progress("cross-validating", fold, options.folds);
    const std::vector<Index> tested = probes_of(fold_of, fold, true);
    if (tested.empty()) continue;
    const Rotated rotated(gram, probes_of(fold_of, fold, false));
    const MatrixXd projected = rotated.project(gram, tested);
    // A thread for each target, as the heads of one are summed.
    internal::parallel_for(threads, kHeadsPerPair, [&](std::size_t target) {
      for (auto i = target; i < mixtures.size(); i += kHeadsPerPair) {
        const auto column = static_cast<Index>(i);
        const RotatedHead head(rotated, targets.col(column), mixtures[i]);
        const Eigen::ArrayXd truth = targets.col(column)(tested);
        MatrixXd mixture = mixtures[i].predictions(tested, Eigen::all);
        mixture.rowwise() -= head.mixture.means;
        result.mean_errors[target](tested) +=
            (share * (truth - head.target.means[0]).square()).matrix();
        for (std::size_t a = 0; a < options.alphas.size(); ++a) {
          const std::vector<Solution> solutions =
              solve(rotated, head, options.alphas[a], options.share_penalties);
          for (std::size_t b = 0; b < penalties; ++b) {
            const auto& [shares, rest, mean] = solutions[b];
            const Eigen::ArrayXd error =
                (mixture * shares + projected * rest).array() + mean - truth;
            const auto setting = static_cast<Index>(a * penalties + b);
            result.errors[target](setting, tested) += (share * error.square()).matrix().transpose();
            result.sums(setting, column) += sum_squares(error, truth, static_cast<Target>(target));
          }
        }
      }
    });
  }
  return result;
}

Index choose_cautiously(const MatrixXd& errors) {
  Index least = 0;
  errors.rowwise().mean().minCoeff(&least);
  const auto queries = static_cast<double>(errors.cols());
  for (Index setting = errors.rows() - 1; setting > least; --setting) {
    const Eigen::ArrayXd worse = (errors.row(setting) - errors.row(least)).transpose();
    const double mean = worse.mean();
    const double standard_error = std::sqrt((worse - mean).square().sum()) / queries;
    if (mean <= standard_error) return setting;
  }
  return least;
}

}  // namespace r2router::train
