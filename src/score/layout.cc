#include "score/layout.h"

#include <cstdint>
#include <map>
#include <set>

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
  std::map<Pair, std::size_t> number_of;  // for each pair, its place in the layout
  std::set<std::uint32_t> models;
  for (std::size_t h = 0; h < names.size(); ++h) {
    const HeadName& name = names[h];
    if (name.target != Target::kQuality) continue;
    const bool continues = !layout.pairs.empty() && name.pair.model == layout.pairs.back().model;
    if (!models.insert(name.pair.model).second && !continues) {
      throw_bad_checkpoint(describe(name) + " is separated from its model's other heads");
    }
    if (!number_of.emplace(name.pair, layout.pairs.size()).second) {
      throw_bad_checkpoint(describe(name) + " is given twice");
    }
    layout.pairs.push_back(name.pair);
    layout.quality_head.push_back(h);
  }
  layout.tokens_head.resize(layout.pairs.size());
  for (std::size_t h = 0; h < names.size(); ++h) {
    const HeadName& name = names[h];
    if (name.target != Target::kTokens) continue;
    const auto pair = number_of.find(name.pair);
    if (pair == number_of.end()) {
      throw_bad_checkpoint(describe(name) + " has no quality head of the same pair");
    }
    auto& slot = layout.tokens_head[pair->second];
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
