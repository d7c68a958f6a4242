// The predictions of an evaluation, as decide() bounds them under the corrected rules.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "r2router/eval/contenders.h"

#include "route/candidates.h"

namespace r2router::eval {

/// Both tables must outlive it.
class PredictedPoints {
 public:
  PredictedPoints(const OutcomeTable& table, const PredictionTable& predictions, double token_floor)
      : table_(table),
        predictions_(predictions),
        pairs_(std::make_shared<const Pool>(table.models), table.pairs, facts(predictions)) {
    rule_.decision_rules = DecisionRules::kCorrected;
    rule_.token_floor = token_floor;
  }

  /// The pair's prediction must be known.
  internal::Point at(std::size_t query, std::size_t pair) const {
    return internal::exact_point(pairs_, rule_, Row(*this, query), pair);
  }

 private:
  class Row final : public internal::ExactSource {
   public:
    Row(const PredictedPoints& points, std::size_t query) : points_(points), query_(query) {}
    void exact(std::size_t pair, double& quality, double& tokens) const override {
      const std::size_t cell = points_.table_.cell(query_, pair);
      quality = points_.predictions_.quality[cell];
      tokens = points_.predictions_.output_tokens[cell];
    }

   private:
    const PredictedPoints& points_;
    std::size_t query_;
  };

  static std::vector<PairFacts> facts(const PredictionTable& predictions) {
    std::vector<PairFacts> facts;
    for (const bool predicted : predictions.predicts_length) {
      facts.push_back({.predicts_length = predicted});
    }
    return facts;
  }

  const OutcomeTable& table_;
  const PredictionTable& predictions_;
  internal::DecisionTable pairs_;
  internal::Rule rule_;
};

}  // namespace r2router::eval
