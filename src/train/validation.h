// Cross-validation of a learner's settings by the area under the deferral curve, and the choice of
// the default λ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "r2router/eval/contenders.h"
#include "r2router/scorer.h"

#include "train/learner.h"

namespace r2router::train {

/// What settings are judged by: queries that the heads were not fitted to.
struct Trial {
  std::vector<std::vector<std::uint32_t>> tested;  // of each fold: complete, and no edited copies
  std::vector<std::uint32_t> all_tested;
  eval::BestSingle best;            // in the table's cost measure
  eval::BestSingle best_available;  // in USD, as the router is going to decide
  std::vector<double> lambdas, lambdas_usd;
  eval::SweepOptions whole_pool, as_served;

  double share(std::size_t fold) const {
    return static_cast<double>(tested[fold].size()) / static_cast<double>(all_tested.size());
  }
};

/// Throws Error(kBadData) if no query is complete.
Trial make_trial(const LearningProblem& problem, double token_floor);

/// The sweep over the whole pool of each setting, and of the mean curve.
struct Comparison {
  std::vector<std::vector<eval::SweepPoint>> settings;
  /// Of each setting, the squared error of each tested query's scores, averaged over the pairs.
  std::vector<std::vector<double>> errors;
  std::vector<eval::SweepPoint> mean_curve;
};

Comparison compare_settings(const LearningProblem& problem, const Trial& trial, Learner& learner);

/// What the chosen setting is worth; with `correct_lengths`, with its lengths corrected.
struct Validation {
  std::vector<LengthCurve> curves;    // one for each pair, or none if there are too few queries
  std::vector<eval::SweepPoint> all;  // over the whole pool
  std::vector<eval::SweepPoint> available;  // as users are served, in USD: chooses λ
  std::vector<double> squared_errors;       // summed, of each head
};

Validation validate_setting(const LearningProblem& problem, const Trial& trial, Learner& learner,
                            std::size_t setting, bool correct_lengths);

/// The index of the best setting; of equally good ones the most cautious, which is safer.
std::size_t choose_setting(const Learner& learner,
                           const std::vector<eval::DeferralMetrics>& metrics);

/// The cheapest setting that reaches 95 % of the best single model's score, or else the best
/// setting.
eval::DeferralPoint choose_default(const std::vector<eval::SweepPoint>& points,
                                   const eval::BestSingle& best);

}  // namespace r2router::train
