// Queries that come as text or as JSON lines: the part of `route` that prints replies to them.
#pragma once

#include <memory>

#include "r2router/router.h"

#include "cli/route_settings.h"

namespace r2router::cli {

/// Routes what --query, --file or --input holds, and answers it if there is a client. Returns the
/// program's exit code. Throws what ends the whole run.
int route_queries(const RouteSettings& settings, const Router& router,
                  std::shared_ptr<const llm::Client> client);

}  // namespace r2router::cli
