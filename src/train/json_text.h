// JSON for provenance: the few kinds of values that it has. (nlohmann's library stays in io.)
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "r2router/outcomes.h"

namespace r2router::internal {

/// A string in quotes.
std::string json_text(std::string_view text);

/// The shortest decimal that gives the number back.
std::string json_number(double value);

/// null if there is none.
std::string json_number(const std::optional<double>& value);

/// An array of the files that outcomes were read from.
std::string json_sources(std::span<const DataSource> sources);

}  // namespace r2router::internal
