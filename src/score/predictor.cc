#include <algorithm>
#include <cmath>
#include <utility>

#include "r2router/scorer.h"

#include "score/length_curves.h"

namespace r2router {
namespace {

std::shared_ptr<const Scorer> make(const LinearHeads& heads, std::string_view kernel) {
  return make_linear_scorer(heads, kernel);
}
std::shared_ptr<const Scorer> make(const NearestNeighbours& neighbours, std::string_view kernel) {
  return make_knn_scorer(neighbours, kernel);
}
std::shared_ptr<const Scorer> make(const MultilayerPerceptron& perceptron,
                                   std::string_view kernel) {
  return make_mlp_scorer(perceptron, kernel);
}

}  // namespace

std::optional<std::size_t> find_bad_element(EmbeddingView embedding) noexcept {
  return std::visit(
      [](auto values) -> std::optional<std::size_t> {
        const auto bad = std::ranges::find_if(values, [](auto value) {
          return !(std::abs(value) <= kLargestEmbeddingElement);  // so that NaN is one
        });
        if (bad == values.end()) return std::nullopt;
        return static_cast<std::size_t>(bad - values.begin());
      },
      embedding);
}

std::shared_ptr<const Scorer> make_scorer(const Predictor& predictor,
                                          std::span<const LengthCurve> curves,
                                          std::string_view kernel) {
  std::shared_ptr<const Scorer> scorer =
      std::visit([&](const auto& data) { return make(data, kernel); }, predictor);
  if (curves.empty()) return scorer;
  return score::correct_lengths(std::move(scorer), head_names(predictor), curves);
}

}  // namespace r2router
