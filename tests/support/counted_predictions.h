// Exact predictions from a list, which count how often they were asked for.
#pragma once

#include <cstddef>

#include "r2router/scorer.h"

#include "route/decide.h"

namespace r2router::testing {

class CountedPredictions final : public internal::ExactSource {
 public:
  explicit CountedPredictions(const Predictions& predictions) : predictions_(predictions) {}
  void exact(std::size_t pair, double& quality, double& tokens) const override {
    ++asked;
    quality = predictions_.quality[pair];
    tokens = predictions_.tokens[pair];
  }
  mutable std::size_t asked = 0;

 private:
  const Predictions& predictions_;
};

}  // namespace r2router::testing
