// Checkpoints: everything that a trained router consists of, on disk and in memory.
#pragma once

#include <string>
#include <vector>

#include "r2router/config.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/scorer.h"

namespace r2router {

/// A trained router as plain data.
struct Checkpoint {
  Config config;
  Predictor predictor = {};     ///< of the kind that the config names
  std::vector<float> idf = {};  ///< the lexical encoder's weights, if its spec has them
  /// For each head the standard deviation of its error on queries that it was not fitted to, ≥ 0,
  /// in the unit of its target; empty: unknown.
  std::vector<double> spreads = {};
  TopicScores topics = {};  ///< the lexical encoder's, if its spec names topics
  /// One for each length head, in the order of the heads, of Config::length_points points; empty if
  /// that is 0.
  std::vector<LengthCurve> length_curves = {};
};

/// Reads a checkpoint folder in either layout: native (config.json + model.safetensors) or released
/// (config.json + checkpoints/*/*.joblib). Files are untrusted: nothing in them is ever executed,
/// sizes are checked before memory is taken, and every number is checked to be finite. In a
/// released folder a model whose files are missing is left out and told to `log`. Throws Error:
/// kNotFound (no such folder or config), kBadConfig, kBadCheckpoint, kUnsafe, kIo.
R2ROUTER_EXPORT Checkpoint load_checkpoint(const std::string& folder, const LogCallback& log = {});

/// Writes a native checkpoint to `folder`, which must not exist or be an empty folder. The folder
/// appears whole or not at all: it is written beside its place, synced, then renamed. Throws
/// Error(kIo) and leaves nothing behind when that fails; what validate() and to_json() throw.
R2ROUTER_EXPORT void save_checkpoint(const Checkpoint& checkpoint, const std::string& folder);

/// SHA-256 in hexadecimal of a checkpoint's predictor: of model.safetensors, or of a released
/// folder's joblib files one after another in pool order (limited, unlimited score, unlimited
/// token), leaving out the models that load_checkpoint() leaves out. Throws what load_checkpoint()
/// throws for the config.
R2ROUTER_EXPORT std::string checkpoint_checksum(const std::string& folder);

/// Throws Error(kBadCheckpoint) if config, predictor, spreads, IDF, topics and length curves do not
/// fit together.
R2ROUTER_EXPORT void validate(const Checkpoint& checkpoint, const std::string& file = {});

}  // namespace r2router
