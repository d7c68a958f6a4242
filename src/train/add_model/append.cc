#include "train/add_model/append.h"

#include <cstdint>
#include <utility>
#include <variant>

#include "r2router/error.h"

#include "checkpoint/format_version.h"
#include "train/learner.h"

namespace r2router::train {
namespace {

/// A curve without effect: there are too few probes to fit a correction of lengths.
LengthCurve straight_curve(std::uint32_t points) {
  LengthCurve curve;
  for (std::uint32_t i = 0; i < points; ++i) curve.predicted.push_back(i);
  curve.observed = curve.predicted;
  return curve;
}

}  // namespace

void check_new_name(const Config& config, const std::string& name) {
  for (const ModelSpec& model : config.models) {
    if (model.name != name) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has a model \"" + name +
                    "\" already: give the new one another name, or train the router again");
  }
}

Checkpoint append(const Checkpoint& checkpoint, const ModelSpec& model,
                  std::span<const Budget> budgets, const NewHeads& added) {
  const LinearFit& fit = added.fit;
  Checkpoint result = checkpoint;
  Config& config = result.config;
  const auto index = static_cast<std::uint32_t>(config.models.size());
  config.checkpoint_dirs.clear();
  config.models.push_back(model);
  config.format_version = internal::format_version_for(config);
  auto& heads = std::get<LinearHeads>(result.predictor);
  for (std::size_t i = 0; i < kHeadsPerPair * budgets.size(); ++i) {
    const Target target = i % kHeadsPerPair == 0 ? Target::kQuality : Target::kTokens;
    heads.names.push_back({{index, budgets[i / kHeadsPerPair]}, target});
    heads.intercepts.push_back(fit.intercepts[static_cast<Eigen::Index>(i)]);
    if (target == Target::kTokens && config.length_points > 0) {
      result.length_curves.push_back(straight_curve(config.length_points));
    }
  }
  std::visit(
      [&](auto& weights) {
        using Value = typename std::decay_t<decltype(weights)>::value_type;
        for (const double weight : fit.weights.reshaped()) {
          weights.push_back(static_cast<Value>(weight));
        }
      },
      heads.weights);
  // Without the spreads of the others, those of the new heads are of no use.
  if (!result.spreads.empty()) {
    result.spreads.insert(result.spreads.end(), added.spreads.begin(), added.spreads.end());
  }
  return result;
}

}  // namespace r2router::train
