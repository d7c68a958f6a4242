// Formats an answer as text.
#pragma once

#include <string>

#include "r2router/llm/completion.h"
#include "r2router/types.h"

namespace r2router::cli {

/// The separator between a decision and its answer.
std::string answer_rule();

/// The model, time and cost of an answer, as one line.
std::string answer_facts(const llm::Completion& completion, const Pool& pool);

}  // namespace r2router::cli
