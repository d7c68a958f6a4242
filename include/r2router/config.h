// A checkpoint's config.json: pool, budgets, encoder and decision rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/decision.h"
#include "r2router/encoder.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/policy.h"
#include "r2router/types.h"

namespace r2router {

/// How a budget limits an answer. Determines the target of the heads in training.
enum class BudgetMode : std::uint8_t {
  kPrompted,  ///< the prompt asks the model to stay within the budget
  kHardCap,   ///< the answer is cut off at the budget; a cut answer scores 0 in training
};

/// The kinds of predictors, in the order of Predictor's alternatives.
enum class PredictorKind : std::uint8_t {
  kRidge,  ///< linear heads
  kKnn,    ///< k nearest neighbours
  kMlp,    ///< a multilayer perceptron
};

/// "ridge", "knn" or "mlp", as in config.json and on the command line.
R2ROUTER_EXPORT std::string_view to_string(PredictorKind kind) noexcept;

/// Parses such a name. Throws Error(kInvalidArgument) that lists the valid names.
R2ROUTER_EXPORT PredictorKind parse_predictor_kind(std::string_view text);

/// Contents of config.json. A superset of the released package's: missing fields have the defaults
/// below. Specified in checkpoints/FORMAT.md.
struct Config {
  /// 0: a released folder of joblib files; 1 to 4: the native format. Written as the lowest
  /// version that supports the config.
  std::uint32_t format_version = 0;
  std::string router_name = "R2-Router";
  std::string method = {};
  PredictorKind predictor = PredictorKind::kRidge;
  std::string embedding_model =
      {};  ///< model of the embedding server, or the built-in "lexical" or "tasks"
  std::uint32_t embedding_dim = 0;
  std::vector<Budget> token_limits = {};
  Pool models = {};
  /// In a released folder, the name of each model's folder under checkpoints/; else empty.
  std::vector<std::string> checkpoint_dirs = {};
  std::optional<EncoderSpec> encoder = {};  ///< empty: the caller provides embeddings
  BudgetMode budget_mode = BudgetMode::kPrompted;
  /// System message under a limited budget; "{budget}" is replaced by the number of tokens.
  std::string budget_prompt = {};
  /// Defaults for a call's policy. In JSON, lambda is "default_lambda", rules and token_floor keep
  /// their names, and the rest is the object "policy". Empty rules: kReference.
  Policy policy = {};
  /// Points of each of Checkpoint::length_curves; 0: the heads predict lengths directly.
  std::uint32_t length_points = 0;
  /// Spread of the lengths of unlimited answers around their predictions: the standard deviation of
  /// their logarithm, in (0, 4]. Determines the cap of the unlimited budget (CapRule::unlimited).
  double length_sigma = kDefaultLengthSigma;
  std::string training = {};  ///< provenance: a JSON object as text, kept unchanged; or empty

  double default_lambda() const { return policy.lambda.value_or(kDefaultLambda); }

  /// `policy`, but with a margin of 0 by default if budgets are hard caps: the heads were trained
  /// on answers that were cut off at the budget.
  Policy default_policy() const {
    Policy defaults = policy;
    if (budget_mode == BudgetMode::kHardCap && !defaults.cap.margin) defaults.cap.margin = 0;
    return defaults;
  }
};

/// Default of Config::budget_prompt for prompted budgets.
R2ROUTER_EXPORT std::string_view default_budget_prompt() noexcept;

/// Parses config.json. `file` is only for error messages.
/// Throws Error(kBadConfig) with the JSON pointer of the invalid field, and Error(kUnsafe) for a
/// checkpoint_dir that escapes its folder.
R2ROUTER_EXPORT Config parse_config(std::string_view json, const std::string& file = "config.json");

/// The config as JSON text in the native format (without checkpoint_dirs), which parse_config()
/// reads back. Throws Error(kInvalidArgument) or Error(kBadConfig) for a config that parse_config()
/// would reject.
R2ROUTER_EXPORT std::string to_json(const Config& config);

/// Updates the config's models from a pool file (read_pool() in pool.h). Replaces each model's
/// fields with those of the pool entry of the same name, except the instruction: the heads were
/// trained with it. Only models of the pool may be called, so a model that is missing from the pool
/// is logged and marked unavailable. A model that is only in the pool is logged and ignored, since
/// the checkpoint has no heads for it. Everything else is unchanged, including the order. Throws
/// Error(kInvalidArgument), without changes, if the two have no model in common.
R2ROUTER_EXPORT void apply_pool(Config& config, const Pool& pool, const LogCallback& log = {});

}  // namespace r2router
