// A router's evaluation as a page to read, to print and to pass on.
#pragma once

#include <string>

#include "cli/evaluation.h"

namespace r2router::cli {

/// One HTML file that holds everything it shows: no script, no address, nothing to load.
std::string evaluation_html(const RouterEvaluation& result);

}  // namespace r2router::cli
