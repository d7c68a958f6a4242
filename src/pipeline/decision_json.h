// A decision, and the answer that it led to, as one line of JSON with the keys of the published
// Python package.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "r2router/llm/completion.h"
#include "r2router/types.h"

namespace r2router::internal {

/// Identifies the query of an output line. Empty members are omitted.
struct QueryLabel {
  std::string_view id = {};  ///< JSON text
  std::optional<std::string_view> query = {};
  std::optional<std::uint64_t> row = {};  ///< of an embedding in its file, from 0
};

/// One object and a line break: the label, and the members of to_json(Decision), with "all_options"
/// on request.
std::string decision_json(const QueryLabel& label, const Decision& decision, bool all_options);

/// The same of the option that answered, which after a fallback is not the chosen one, with its
/// answer: "response", "usage", "charged_usd", "computed_usd", "attempts" and what else a
/// Completion holds; null for what is not known.
std::string answer_json(const QueryLabel& label, const Decision& decision,
                        const llm::Completion& completion, bool all_options);

/// One object and a line break: "error", "line" and the id, if it is known.
std::string error_json(std::string_view id, std::string_view message, std::uint64_t line);

/// The same for an answer that did not come: "error", "error_code", "line" where the query has one,
/// and what is known of the answer, "response" being the part of it that came.
std::string failure_json(const QueryLabel& label, std::optional<std::uint64_t> line,
                         const llm::Completion& completion, const Pool& pool);

}  // namespace r2router::internal
