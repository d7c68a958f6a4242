// The precision of a predictor's weights, for reports.
#pragma once

#include <variant>
#include <vector>

#include "r2router/scorer.h"

namespace r2router::cli {

inline const char* precision(const Predictor& predictor) {
  const auto* heads = std::get_if<LinearHeads>(&predictor);
  const bool wide = heads != nullptr && std::holds_alternative<std::vector<double>>(heads->weights);
  return wide ? "float64" : "float32";
}

}  // namespace r2router::cli
