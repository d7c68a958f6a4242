#include <algorithm>
#include <cmath>
#include <string>

#include "r2router/error.h"
#include "r2router/eval/contenders.h"

#include "eval/predicted_points.h"

namespace r2router::eval {
namespace {

/// The table with predicted outcomes: quality clipped, lengths clamped to floor and budget.
OutcomeTable as_predicted(const OutcomeTable& table, const PredictionTable& predictions,
                          const SweepOptions& options) {
  const PredictedPoints points(table, predictions, options.token_floor);
  OutcomeTable predicted = table;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      const std::size_t cell = table.cell(query, pair);
      if (std::isnan(predictions.quality[cell])) continue;  // never chosen
      const internal::Point point = points.at(query, pair);
      predicted.scores[cell] = point.quality;
      predicted.output_tokens[cell] = point.tokens;
    }
  }
  return predicted;
}

std::vector<CalibrationBin> calibrate(const OutcomeTable& table, const OutcomeTable& predicted,
                                      const PredictionTable& predictions, std::size_t bins) {
  std::vector<std::size_t> cells;
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    if (!std::isnan(predictions.quality[cell])) cells.push_back(cell);
  }
  std::sort(cells.begin(), cells.end(), [&](std::size_t a, std::size_t b) {
    return predicted.scores[a] != predicted.scores[b] ? predicted.scores[a] < predicted.scores[b]
                                                      : a < b;
  });
  std::vector<CalibrationBin> result;
  for (std::size_t bin = 0; bin < bins; ++bin) {
    const std::size_t begin = cells.size() * bin / bins, end = cells.size() * (bin + 1) / bins;
    if (begin == end) continue;
    CalibrationBin sums;
    for (std::size_t i = begin; i < end; ++i) {
      sums.predicted += predicted.scores[cells[i]];
      sums.observed += table.scores[cells[i]];
    }
    sums.cells = end - begin;
    sums.predicted /= static_cast<double>(sums.cells);
    sums.observed /= static_cast<double>(sums.cells);
    result.push_back(sums);
  }
  return result;
}

}  // namespace

Reliability check_reliability(const OutcomeTable& table, const PredictionTable& predictions,
                              const ChosenPairs& choices, std::span<const double> lambdas,
                              const SweepOptions& options, std::size_t bins) {
  if (predictions.quality.size() != table.scores.size() ||
      predictions.output_tokens.size() != table.scores.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the predictions are not one for each cell of the table");
  }
  const OutcomeTable predicted = as_predicted(table, predictions, options);
  Reliability result{.predicted = average(predicted, choices, lambdas),
                     .shares = std::vector<double>(lambdas.size() * table.models.size()),
                     .calibration = calibrate(table, predicted, predictions, bins)};
  for (std::size_t i = 0; i < choices.pairs.size(); ++i) {
    const std::size_t setting = i % choices.settings;
    result.shares[setting * table.models.size() + table.pairs[choices.pairs[i]].model] += 1;
  }
  for (double& share : result.shares) share /= static_cast<double>(table.queries.size());
  return result;
}

}  // namespace r2router::eval
