// What the route command was asked to do.
#pragma once

#include <optional>
#include <string>

#include "r2router/options.h"
#include "r2router/query.h"

#include "cli/policy_options.h"
#include "cli/servers.h"

namespace r2router::cli {

struct RouteSettings {
  /// Where the queries come from: one of these is set.
  std::optional<std::string> query, file, input, embeddings;
  std::string checkpoint_dir, pool, kernel;
  bool json = false, verbose = false;
  PolicySettings policy = {};
  RouteOptions options = {};  ///< the same for every query
  QuerySize size = {};        ///< likewise
  ServerSettings servers = {};

  /// Decisions and answers are printed for people.
  bool as_text() const { return !json && !input; }
};

}  // namespace r2router::cli
