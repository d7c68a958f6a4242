#include "data/left_out.h"

#include <string_view>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/suggestion.h"
#include "data/gaps.h"

namespace r2router::internal {
namespace {

constexpr std::size_t kMostNames = 1000;
constexpr const char* kOrIgnore =
    "or have outcomes of unknown models left out (ignore_unknown_models, or "
    "--ignore-unknown-models)";

std::string list(const std::map<std::string, std::size_t>& counts) {
  return list_counts({counts.begin(), counts.end()});
}

/// "large" of "vendor/large".
std::string_view last_part(std::string_view name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

LeftOut::LeftOut(const Pool& pool, const ReadOptions& options) : pool_(pool), options_(options) {
  for (const ModelSpec& model : pool) spellings_.try_emplace(loose_spelling(model.name), &model);
  for (const ModelSpec& model : pool) {
    if (model.openrouter_id.empty()) continue;
    spellings_.try_emplace(loose_spelling(model.openrouter_id), &model);
  }
}

void LeftOut::add_unknown(const io::JsonView& field, const std::string& model) {
  if (const auto entry = unknown_.find(model); entry != unknown_.end()) {
    ++entry->second;
    return;
  }
  const auto meant = spellings_.find(loose_spelling(model));
  if (meant != spellings_.end() && !options_.ignore_unknown_models) {
    const ModelSpec& known = *meant->second;
    field.fail_with("the pool has no model " + excerpt(model) + ", but " + excerpt(known.name) +
                    (known.openrouter_id == model ? ", whose catalogue name this is" : "") +
                    ": write the pool's name, " + kOrIgnore);
  }
  if (unknown_.size() < kMostNames) {
    unknown_[model] = 1;
  } else {
    ++further_;
  }
}

void LeftOut::add_unscored(const std::string& model) { ++unscored_[model]; }

void LeftOut::report(const std::string& file, const std::vector<bool>& found) const {
  for (const auto& [name, count] : unknown_) {
    const ModelSpec* const meant = misspelt(name, found);
    if (meant == nullptr || options_.ignore_unknown_models) continue;
    throw Error(ErrorCode::kBadData,
                "the file has " + count_of(count, "outcome", "outcomes") + " of " + excerpt(name) +
                    ", which the pool does not have, and none of " + excerpt(meant->name) +
                    ": correct the name if this is the same model, " + kOrIgnore,
                {.file = file});
  }
  if (!options_.log) return;
  warn(file, unknown_, further_, "of models that are not in the pool");
  warn(file, unscored_, 0, "without a score");
}

std::string LeftOut::list_unknown() const { return list(unknown_); }

const ModelSpec* LeftOut::misspelt(const std::string& name, const std::vector<bool>& found) const {
  const std::string loose = loose_spelling(name);
  for (std::size_t i = 0; i < pool_.size(); ++i) {
    if (found[i]) continue;
    for (const std::string& known : {pool_[i].name, pool_[i].openrouter_id}) {
      const std::string other = loose_spelling(known);
      if (!other.empty() &&
          (last_part(loose) == last_part(other) || is_misspelling(loose, other))) {
        return &pool_[i];
      }
    }
  }
  return nullptr;
}

void LeftOut::warn(const std::string& file, const CountOf& counts, std::size_t further,
                   const char* why) const {
  std::size_t sum = further;
  for (const auto& [name, count] : counts) sum += count;
  if (sum == 0) return;
  options_.log(LogLevel::kWarning, file + ": " + count_of(sum, "outcome", "outcomes") + " " + why +
                                       (sum == 1 ? " is" : " are") + " not used: " + list(counts));
}

}  // namespace r2router::internal
