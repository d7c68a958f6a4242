// Updates the prices and availability of a pool from a catalogue: a server's list of models, or a
// table of prices in the format of model_prices_and_context_window.json.
#pragma once

#include <string>
#include <vector>

#include "r2router/error.h"
#include "r2router/export.h"

namespace r2router::llm {

/// Where the catalogue is, and which prices to ignore.
struct PriceSyncOptions {
  /// Server whose list of models is read: GET base_url/models.
  std::string base_url = "https://openrouter.ai/api/v1";
  /// A file or URL to read instead.
  std::string from = {};
  /// Certificate authorities to trust instead of the system's, PEM.
  std::string ca_file = {};
  /// Components of prices that calls are never charged for, such as "web_search".
  std::vector<std::string> ignored = {};
  /// Receives notes (kInfo) and warnings, such as a price that cannot be computed.
  LogCallback log = {};
};

/// The changes that a catalogue makes to a pool.
struct PriceSync {
  std::string before = {};                ///< the pool file's text
  std::string after = {};                 ///< its text with the changes
  std::vector<std::string> changes = {};  ///< a line for each; empty: nothing has changed
  bool any_unknown = false;               ///< a component of a price cannot be computed
  /// The elements of `changes` in which a price becomes more than ten times higher or lower. The
  /// source and the pool may use different units: ask before writing.
  std::vector<std::string> large_changes = {};
  std::vector<std::string> retiring = {};  ///< names of models whose last day is within 30 days
  /// Names of models that are not in the catalogue, or that have no catalogue name.
  std::vector<std::string> unlisted = {};
};

/// Compares a pool file with a catalogue. Writes nothing. A model is looked up by its
/// "openrouter_id". A model that is missing from a server's list, or whose last day has passed,
/// becomes unavailable. No model becomes available. Prices are in USD. Context, maximum output,
/// capabilities and last day are copied if the catalogue lists them. Everything else in the file is
/// unchanged.
///
/// Throws Error(kBadConfig) for an invalid pool, Error(kBadData) if the pool and the catalogue have
/// no model in common, Error(kBadResponse) if the source is not a catalogue, and the errors of a
/// failed call to a server.
R2ROUTER_EXPORT PriceSync compare_prices(const std::string& pool_file,
                                         const PriceSyncOptions& options = {});

/// Writes sync.after to the pool file atomically. Keeps a symbolic link. Throws Error(kIo) if the
/// file has changed since compare_prices() read it.
R2ROUTER_EXPORT void write_prices(const std::string& pool_file, const PriceSync& sync);

}  // namespace r2router::llm
