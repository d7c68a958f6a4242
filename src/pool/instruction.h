// Names of pool entries that combine a model with an instruction.
#pragma once

#include <string>
#include <string_view>

#include "r2router/types.h"

namespace r2router::internal {

/// "gpt-4 (concise)"; for an empty instruction the model's own name.
inline std::string instructed_name(std::string_view model, std::string_view instruction) {
  std::string name(model);
  if (!instruction.empty()) name.append(" (").append(instruction).append(")");
  return name;
}

/// The name of an entry's model, without the instruction. The text in brackets need not be
/// ModelSpec::instruction: a pool file may use a short name for a long instruction.
inline std::string_view base_model_name(const ModelSpec& entry) {
  const std::string_view name = entry.name;
  const std::size_t bracket = name.rfind(" (");
  const bool instructed = !entry.instruction.empty() && name.ends_with(')');
  return instructed && bracket != std::string_view::npos ? name.substr(0, bracket) : name;
}

}  // namespace r2router::internal
