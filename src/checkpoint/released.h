// The folder layout of the released checkpoints: config.json and, for each model,
// checkpoints/<checkpoint_dir>/ with three joblib files.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "r2router/checkpoint.h"

namespace r2router::io {

/// A model's files: a dict of regressors keyed "<tokens>_score" for the limited budgets, then one
/// regressor each for the quality and the length of an answer without limit.
inline constexpr std::array<std::string_view, 3> kReleasedFiles = {
    "limited_score_predictors.joblib",
    "unlimited_score_predictor.joblib",
    "unlimited_token_predictor.joblib",
};

/// Path of one of kReleasedFiles. `checkpoint_dir` is one of Config::checkpoint_dirs.
std::string released_path(const std::string& folder, const std::string& checkpoint_dir,
                          std::string_view file);

/// The absolute path of the released folder that is `r2_router` in the current folder, or the
/// current folder itself; or empty.
std::optional<std::string> find_released_folder();

/// Reads the heads of every model in `config`, which parse_config() has read from the same folder.
/// The heads are float32 if all files are, else float64. A model that lacks a file is removed from
/// the returned config and logged as a warning. Throws Error: kNotFound if no model is left;
/// kBadCheckpoint or kUnsafe for an invalid file.
Checkpoint load_released(const std::string& folder, Config config, const LogCallback& log);

}  // namespace r2router::io
