// Options of a routing call that are one number, by their names in JSON.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "r2router/options.h"

namespace r2router {

inline constexpr std::pair<std::string_view, std::optional<double> RouteOptions::*>
    kRouteNumbers[] = {{"lambda", &RouteOptions::lambda},
                       {"willingness_to_pay", &RouteOptions::willingness_to_pay},
                       {"token_floor", &RouteOptions::token_floor},
                       {"min_quality", &RouteOptions::min_quality},
                       {"quality_fraction", &RouteOptions::quality_fraction},
                       {"max_cost_usd", &RouteOptions::max_cost_usd},
                       {"max_latency_ms", &RouteOptions::max_latency_ms}};

}  // namespace r2router
