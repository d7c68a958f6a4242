// A decision as a person reads it.
#pragma once

#include <cstddef>
#include <string>

#include "r2router/types.h"

namespace r2router::cli {

/// How many of the ranked options the table shows.
inline constexpr std::size_t kTableRows = 15;

/// The models that were considered, in pool order, as one line. `decision.ranking` must be filled.
std::string candidates_text(const Decision& decision);

/// What was chosen and what is expected of it, a fact a line. `decision.ranking` must be filled.
std::string decision_text(const Decision& decision);

/// What the choice won by, the runner-up and what the constraints left out, a fact a line.
/// `decision.explanation` must be filled.
std::string explanation_text(const Decision& decision);

/// The best kTableRows of `decision.ranking` as an aligned table.
std::string ranking_text(const Decision& decision);

}  // namespace r2router::cli
