// An answer as a person reads it.
#pragma once

#include <string>

#include "r2router/llm/completion.h"
#include "r2router/types.h"

namespace r2router::cli {

/// What stands between a decision and the answer that it led to.
std::string answer_rule();

/// Who answered, what it took and what it cost, as one line.
std::string answer_facts(const llm::Completion& completion, const Pool& pool);

}  // namespace r2router::cli
