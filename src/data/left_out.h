// Outcomes that a reader leaves out, so that none is left out without a word.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "r2router/outcomes.h"

#include "base/json.h"

namespace r2router::internal {

class LeftOut {
 public:
  /// `pool` and `options` must outlive the object.
  LeftOut(const Pool& pool, const ReadOptions& options);

  /// Counts an outcome of a model that the pool does not have. Throws the field's error if the pool
  /// has it under another spelling, unless options.ignore_unknown_models.
  void add_unknown(const io::JsonView& field, const std::string& model);
  /// Counts an outcome that has no score.
  void add_unscored(const std::string& model);

  /// Throws Error(kBadData) if a model of the pool without outcomes seems to have some under a
  /// misspelt name; else warns options.log of what was left out. `found`: for each model of the
  /// pool, whether it has outcomes. `file`: where they were read from.
  void report(const std::string& file, const std::vector<bool>& found) const;

  bool any_unknown() const { return !unknown_.empty(); }
  /// Unknown models with their numbers of outcomes.
  std::string list_unknown() const;

 private:
  using CountOf = std::map<std::string, std::size_t>;

  const ModelSpec* misspelt(const std::string& name, const std::vector<bool>& found) const;
  void warn(const std::string& file, const CountOf& counts, std::size_t further,
            const char* why) const;

  const Pool& pool_;
  const ReadOptions& options_;
  std::unordered_map<std::string, const ModelSpec*> spellings_;  // loose names and catalogue names
  CountOf unknown_, unscored_;
  std::size_t further_ = 0;  // outcomes of unknown models beyond those that are counted one by one
};

}  // namespace r2router::internal
