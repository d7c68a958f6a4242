// Checkpoints: a trained router, on disk and in memory.
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
  Predictor predictor = {};     ///< of the kind in the config
  EncoderTensors encoder = {};  ///< of the kind of Config::encoder; empty without one
  /// For each head, the standard deviation of its error on queries that were not used to fit it, ≥
  /// 0, in the unit of its target; empty: unknown.
  std::vector<double> spreads = {};
  /// One curve for each length head, in the order of the heads, with Config::length_points points
  /// each; empty if that is 0.
  std::vector<LengthCurve> length_curves = {};
};

/// Returns the folder of a checkpoint. `name` is the path of a folder or the name of a checkpoint
/// that is installed with the library, such as "r2-router"; an existing folder takes precedence.
/// Empty: the default checkpoint, which is $R2ROUTER_CHECKPOINT (a path or a name) if that is set,
/// else "default". Installed checkpoints are found relative to this library, so that an
/// installation can be moved, or else in the source tree that it was built from. Throws
/// Error(kNotFound) that lists the installed checkpoints or, for the default one, the places that
/// were searched.
R2ROUTER_EXPORT std::string checkpoint_folder(const std::string& name);

/// Reads a checkpoint in either layout: native (config.json + model.safetensors) or released
/// (config.json + checkpoints/*/*.joblib). `folder` is resolved by checkpoint_folder(), as in all
/// functions below that read a checkpoint. Files are untrusted: nothing in them is executed, sizes
/// are checked before memory is allocated, and all numbers must be finite. In a released folder, a
/// model whose files are missing is logged and skipped. Throws Error: kNotFound (no such folder or
/// config), kBadConfig, kBadCheckpoint, kUnsafe, kIo.
R2ROUTER_EXPORT Checkpoint load_checkpoint(const std::string& folder, const LogCallback& log = {});

/// Writes a native checkpoint to `folder`, which must be empty or not exist. The folder is written
/// under a temporary name, synced, then renamed, so it is complete or does not exist. If writing
/// fails, throws Error(kIo) and leaves nothing behind. Also throws what validate() and to_json()
/// throw.
R2ROUTER_EXPORT void save_checkpoint(const Checkpoint& checkpoint, const std::string& folder);

/// SHA-256 in hexadecimal of a checkpoint's predictor: of model.safetensors, or of the concatenated
/// joblib files of a released folder in pool order (limited, unlimited score, unlimited token),
/// without the models that load_checkpoint() skips. Throws what load_checkpoint() throws for the
/// config.
R2ROUTER_EXPORT std::string checkpoint_checksum(const std::string& folder);

/// Describes a checkpoint as a JSON object or as text for people: settings, budgets, models with
/// prices, predictor, origin and checksum, and the kernels of this machine. Loads the checkpoint,
/// so success implies that it is valid. Throws what load_checkpoint() throws.
R2ROUTER_EXPORT std::string checkpoint_json(const std::string& folder, const LogCallback& log = {});
R2ROUTER_EXPORT std::string checkpoint_text(const std::string& folder, const LogCallback& log = {});

/// Throws Error(kBadCheckpoint) if config, predictor, spreads, encoder and length curves are
/// inconsistent.
R2ROUTER_EXPORT void validate(const Checkpoint& checkpoint, const std::string& file = {});

}  // namespace r2router
