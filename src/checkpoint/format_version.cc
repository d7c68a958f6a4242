#include "checkpoint/format_version.h"

#include <algorithm>

#include "encode/encoder_kind.h"

namespace r2router {

std::uint32_t internal::format_version_for(const Config& config) {
  const bool instructions = std::ranges::any_of(config.models, [](const ModelSpec& model) {
    return !model.instruction.empty() || model.instruction_tokens > 0;
  });
  // Older readers would ignore the rest of the policy, and break its constraints.
  const bool policy = config.policy != Policy{.lambda = config.policy.lambda,
                                              .token_floor = config.policy.token_floor,
                                              .rules = config.policy.rules};
  const bool predictor = config.predictor != PredictorKind::kRidge || config.length_points > 0;
  const std::uint32_t encoder = config.encoder ? format_version_for(*config.encoder) : 1;
  const std::uint32_t rest = policy ? 3 : instructions || predictor ? 2 : 1;
  return std::max(encoder, rest);
}

}  // namespace r2router
