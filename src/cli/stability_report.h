// How steady a router's choices are under edits that leave a query's meaning alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "r2router/outcomes.h"
#include "r2router/router.h"

namespace r2router::cli {

/// Shares of queries, 0 to 1.
struct Stability {
  struct Shares {
    std::string edit;  ///< its kind; "all" for all of them
    double same_model = 0;
    double same_pair = 0;
  };
  std::size_t queries = 0;
  double lambda = 0;
  std::vector<Shares> shares;  ///< each kind of edit, then all
};

/// Routes the held-out queries (all, if none are held out), and each after every kind of edit, at
/// the router's default λ. Throws Error(kUnsupported) for a router that cannot route text, and
/// Error(kBadData) if there are no queries.
Stability measure_stability(const Router& router, const OutcomeTable& table, std::uint32_t holdout);

/// A table with a line for each kind of edit.
std::string stability_text(const Stability& stability);
nlohmann::ordered_json stability_json(const Stability& stability);

}  // namespace r2router::cli
