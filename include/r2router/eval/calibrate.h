// Calibration: finds the setting that meets a target on a sample of queries. It uses predicted
// costs and qualities, or the observed ones if the outcomes of the sample are known.
//
// As the setting increases, each query moves from one of its options to the next: with
// willingness_to_pay along the upper hull of quality over cost, with quality_fraction along the
// staircase of the cheapest option of at least a given quality. The sample's mean cost and mean
// quality are therefore step functions of the setting whose steps are known exactly, so no grid is
// searched. Predicted means never decrease. Realised means may decrease: of the settings that meet
// a target, calibration chooses the highest for a cost and the lowest for a quality.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/config.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/policy.h"
#include "r2router/router.h"
#include "r2router/types.h"

namespace r2router::eval {

/// The required mean over a sample of queries.
struct CalibrationTarget {
  enum class Kind : std::uint8_t {
    kCost,     ///< cost of a query at most `value`, USD
    kQuality,  ///< quality at least `value`, from 0 to 1
    /// Quality at least `value`, from 0 to 1, times the mean quality of each query's best option by
    /// prediction. If several are equal, the best option is the one at the highest setting.
    kShareOfBest,
  };
  Kind kind = Kind::kCost;
  double value = 0;

  friend bool operator==(const CalibrationTarget&, const CalibrationTarget&) = default;
};

/// Parses a target: a cost such as "0.05/1k", "0.05 USD per 1000" (for a thousand queries) or
/// "0.002 USD" (for one), with or without "$" before it; "95% of best"; or "quality 0.7". Spaces
/// and case do not matter. Throws Error(kInvalidArgument) for anything else.
R2ROUTER_EXPORT CalibrationTarget parse_target(std::string_view text);

/// The setting that is calibrated.
enum class CalibratedSetting : std::uint8_t {
  kWillingnessToPay,  ///< Policy::willingness_to_pay: the cheapest way to a mean quality
  kQualityFraction,   ///< Policy::quality_fraction: the same share of the best for every query
};

struct CalibrationOptions {
  CalibratedSetting setting = CalibratedSetting::kWillingnessToPay;
  std::uint32_t resamples = 1000;  ///< of the bootstrap, 1 to 100,000
  std::uint64_t seed = 0;          ///< of the bootstrap
  /// Called before each resample, on the calling thread. An exception ends the calibration and
  /// propagates.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
};

/// The observed cost and score of an option.
struct RealisedOption {
  double cost_usd = 0, quality = 0;
};

/// Means per query.
struct MeanFigures {
  double cost_usd = 0, quality = 0;
};

/// A figure of the sample and its 95 % bootstrap interval over queries.
struct CalibratedFigure {
  double value = 0, low = 0, high = 0;
};

struct Calibration {
  CalibrationTarget target = {};
  CalibratedSetting kind = CalibratedSetting::kWillingnessToPay;  ///< the kind of `setting`
  CalibratedFigure setting = {};  ///< meets the target on the sample and on its resamples
  /// Whether these figures are realised ones; otherwise they are predicted.
  bool realised = false;
  // At that setting, per query:
  CalibratedFigure cost_usd = {};
  CalibratedFigure quality = {};
  double best_quality = 0;     ///< mean over each query's best option by prediction
  MeanFigures predicted = {};  ///< at the same setting, for comparison with realised figures
  std::size_t queries = 0;
};

/// Finds the setting. `options`: for each query all admitted options, as in Decision::ranking for
/// Objective::kBest under the required constraints. `realised`: the observed cost and score of each
/// option, in the same order; empty: unknown, so predictions are used. Throws
/// Error(kInvalidArgument) if there are no queries or a query has no options, for options out of
/// range, realised figures that are not finite or not one for each option, or a target that cannot
/// be reached; the message gives the reachable range.
R2ROUTER_EXPORT Calibration calibrate(std::span<const std::vector<Option>> options,
                                      const CalibrationTarget& target,
                                      const CalibrationOptions& how = {},
                                      std::span<const std::vector<RealisedOption>> realised = {});

/// `base` with its trade-off replaced by the calibrated setting.
R2ROUTER_EXPORT Policy calibrated_policy(const Policy& base, const Calibration& calibration);

/// The same as JSON text, with the target and its figures as "calibration".
R2ROUTER_EXPORT std::string to_json(const Policy& base, const Calibration& calibration);

/// The arguments of calibrate().
struct CalibrationSample {
  std::vector<std::vector<Option>> options = {};           ///< for each query, all admitted options
  std::vector<std::vector<RealisedOption>> realised = {};  ///< real figures; empty: unknown
  std::size_t incomplete = 0;  ///< queries ignored because outcomes are missing
};

/// The part of the data to calibrate a router on: outcomes in the form that it was trained on
/// (as_trained()), of queries that were held out of training (one in `holdout`; empty:
/// trained_holdout(); 0: all queries). Data without outcomes is returned unchanged. `file` is only
/// for the error message. Throws Error(kBadData) if no query is left.
R2ROUTER_EXPORT OutcomeData calibration_data(const OutcomeData& data, const Config& config,
                                             std::optional<std::uint32_t> holdout = {},
                                             const LogCallback& log = {},
                                             const std::string& file = {});

/// Ranks the options of the data's queries under the constraints of `base`, and, if the data has
/// outcomes (table.pairs is not empty), finds their observed costs and scores. An answer that is
/// longer than its cap is truncated and scores 0. The data must come from calibration_data().
/// `file` is only for the error message. Throws Error(kBadData) if a pair that may be chosen has no
/// outcomes or no query has all of them, Error(kInvalidArgument) for outcomes with a continuous
/// policy, and what embed() throws.
R2ROUTER_EXPORT CalibrationSample sample_options(const Router& router, const OutcomeData& data,
                                                 const Policy& base, const std::string& file = {});

/// The result as a few lines of text. `incomplete` as in CalibrationSample.
R2ROUTER_EXPORT std::string to_text(const Calibration& calibration, std::size_t incomplete = 0);

}  // namespace r2router::eval
