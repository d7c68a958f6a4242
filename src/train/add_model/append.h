// A checkpoint with one more model.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "r2router/checkpoint.h"

#include "train/ridge.h"

namespace r2router::train {

/// The new model's heads, and the spread of each.
struct NewHeads {
  LinearFit fit;
  std::vector<double> spreads;
};

/// Throws Error(kInvalidArgument) if the checkpoint has a model of this name.
void check_new_name(const Config& config, const std::string& name);

/// The checkpoint of linear heads with the model and its heads at the end: for each budget a
/// quality head and a length head. The lengths get straight curves, and the spreads are used if the
/// checkpoint has some.
Checkpoint append(const Checkpoint& checkpoint, const ModelSpec& model,
                  std::span<const Budget> budgets, const NewHeads& added);

}  // namespace r2router::train
