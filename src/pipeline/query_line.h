// One line of a JSONL query file: what it may hold, and how it is parsed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/capability.h"
#include "r2router/policy.h"

namespace r2router::internal {

/// A JSON object with "query" (a string) or "embedding" (an array of numbers), and, each optional,
/// "id" (any scalar), "input_tokens", "max_input_tokens", "images", "requires" (a list of names),
/// "explain", "all_options", "policy" and every setting of a policy file (r2router/settings.h).
/// null means an absent value.
struct QueryLine {
  /// More numbers than any encoder gives: the limit on what one line may make us hold.
  static constexpr std::size_t kMaxDimension = std::size_t{1} << 20;

  /// What is wrong with the line, for a person; empty if nothing is. Only `id` counts then.
  std::string error = {};
  std::string id = {};  ///< as JSON text, unchanged; empty if there is none
  std::optional<std::string> query = {};
  std::optional<std::vector<double>> embedding = {};  ///< as long as the line says, all finite
  std::optional<std::int64_t> input_tokens = {}, max_input_tokens = {};  ///< ≥ 0
  std::optional<std::uint32_t> images = {};
  std::optional<Capabilities> requirements = {};
  std::optional<bool> explain = {}, all_options = {};
  std::optional<std::string> policy = {};  ///< a file or a name
  Policy settings = {};                    ///< what the line sets itself
};

/// Parses one line. Never throws for what the line holds: it is untrusted, and a bad line is the
/// normal case of `error`. Without an error, exactly one of `query` and `embedding` is set.
QueryLine parse_query_line(std::string_view line);

}  // namespace r2router::internal
