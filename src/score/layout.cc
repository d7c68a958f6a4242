#include "score/layout.h"

#include <algorithm>

#include "r2router/error.h"

namespace r2router::score {

std::string describe(const HeadName& name) {
  return "the " + std::string(name.target == Target::kQuality ? "quality" : "token") +
         " head of model " + std::to_string(name.pair.model) + " at budget " +
         name.pair.budget.to_string();
}

void throw_bad_checkpoint(const std::string& message) {
  throw Error(ErrorCode::kBadCheckpoint, message);
}

Layout lay_out(std::span<const HeadName> names) {
  Layout layout;
  for (std::size_t h = 0; h < names.size(); ++h) {
    const HeadName& name = names[h];
    if (name.target != Target::kQuality) continue;
    if (!layout.pairs.empty() && name.pair.model != layout.pairs.back().model) {
      const auto earlier = std::find_if(layout.pairs.begin(), layout.pairs.end(),
                                        [&](const Pair& p) { return p.model == name.pair.model; });
      if (earlier != layout.pairs.end()) {
        throw_bad_checkpoint(describe(name) + " stands apart from its model's others");
      }
    }
    if (std::find(layout.pairs.begin(), layout.pairs.end(), name.pair) != layout.pairs.end()) {
      throw_bad_checkpoint(describe(name) + " is given twice");
    }
    layout.pairs.push_back(name.pair);
    layout.quality_head.push_back(h);
  }
  layout.tokens_head.resize(layout.pairs.size());
  for (std::size_t h = 0; h < names.size(); ++h) {
    const HeadName& name = names[h];
    if (name.target != Target::kTokens) continue;
    const auto pair = std::find(layout.pairs.begin(), layout.pairs.end(), name.pair);
    if (pair == layout.pairs.end()) {
      throw_bad_checkpoint(describe(name) + " has no quality head beside it");
    }
    auto& slot = layout.tokens_head[static_cast<std::size_t>(pair - layout.pairs.begin())];
    if (slot) throw_bad_checkpoint(describe(name) + " is given twice");
    slot = h;
  }
  for (std::size_t p = 0; p < layout.pairs.size(); ++p) {
    if (layout.pairs[p].budget.is_unlimited() && !layout.tokens_head[p]) {
      throw_bad_checkpoint(describe({layout.pairs[p], Target::kTokens}) + " is missing");
    }
  }
  if (layout.pairs.empty()) throw_bad_checkpoint("there is no quality head");
  return layout;
}

}  // namespace r2router::score
