// The members of a decision's JSON, for writers that add other members.
#pragma once

#include "r2router/types.h"

#include "base/json_writer.h"

namespace r2router {

/// "budget".
void write_budget(ObjectWriter& object, Budget budget);

/// From "model" to "worst_case_cost_usd".
void write_option(ObjectWriter& object, const Option& option, const Pool& pool);

/// "explanation", if the decision has one, and "all_options" if requested.
void write_details(ObjectWriter& object, const Decision& decision, bool all_options);

}  // namespace r2router
