// A checkpoint's config.json: the pool, the budgets, the encoder and the rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/decision.h"
#include "r2router/embedder.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/policy.h"
#include "r2router/types.h"

namespace r2router {

/// How a budget acts on an answer, which decides what the heads were trained to predict.
enum class BudgetMode : std::uint8_t {
  kPrompted,  ///< the model is told to stay within the budget
  kHardCap,   ///< the answer is cut off at the budget; a cut answer scores 0 in training
};

/// The kinds of predictors, in the order of Predictor's alternatives.
enum class PredictorKind : std::uint8_t {
  kRidge,  ///< linear heads
  kKnn,    ///< k nearest neighbours
  kMlp,    ///< a multilayer perceptron
};

/// "ridge", "knn" or "mlp": the kind's spelling in config.json and on the command line.
R2ROUTER_EXPORT std::string_view to_string(PredictorKind kind) noexcept;

/// The kind of that spelling. Throws Error(kInvalidArgument) that lists them.
R2ROUTER_EXPORT PredictorKind parse_predictor_kind(std::string_view text);

/// Contents of config.json. A superset of the released package's: fields that it lacks have the
/// defaults below. Specified in checkpoints/FORMAT.md.
struct Config {
  /// 0: a released folder of joblib files; 1 and 2: the native format. Writing takes the lowest
  /// that has what the config needs.
  std::uint32_t format_version = 0;
  std::string router_name = "R2-Router";
  std::string method = {};
  PredictorKind predictor = PredictorKind::kRidge;
  std::string embedding_model = {};  ///< what an embedding server must serve, or "lexical"
  std::uint32_t embedding_dim = 0;
  std::vector<Budget> token_limits = {};
  Pool models = {};
  /// For each of `models` in a released folder, the name of its folder under checkpoints/; else
  /// empty.
  std::vector<std::string> checkpoint_dirs = {};
  std::optional<LexicalEncoderSpec> encoder = {};  ///< empty: embeddings come from outside
  BudgetMode budget_mode = BudgetMode::kPrompted;
  /// What a model is told under a limited budget; "{budget}" stands for the number of tokens.
  std::string budget_prompt = {};
  /// What holds where a call's policy is empty. In JSON lambda is "default_lambda", rules and
  /// token_floor have their names, and the rest is the object "policy". Empty rules: kReference.
  Policy policy = {};
  /// Points of each of Checkpoint::length_curves; 0: lengths are as the heads give them.
  std::uint32_t length_points = 0;
  std::string training =
      {};  ///< provenance: a JSON object as text, carried through unchanged; or empty

  double default_lambda() const { return policy.lambda.value_or(kDefaultLambda); }

  /// `policy`, with no margin above budgets if they are hard caps: the heads were trained on
  /// answers cut off there.
  Policy default_policy() const {
    Policy defaults = policy;
    if (budget_mode == BudgetMode::kHardCap && !defaults.cap.margin) defaults.cap.margin = 0;
    return defaults;
  }
};

/// What a model is told under a limited budget where a config of prompted budgets does not say.
R2ROUTER_EXPORT std::string_view default_budget_prompt() noexcept;

/// Parses config.json. `file` is only for error messages.
/// Throws Error(kBadConfig) with the JSON pointer of what is wrong, and Error(kUnsafe) for a
/// checkpoint_dir that leads out of its folder.
R2ROUTER_EXPORT Config parse_config(std::string_view json, const std::string& file = "config.json");

/// The config as JSON text, in the native format (so without checkpoint_dirs); parse_config() gives
/// it back. Throws Error(kInvalidArgument) or Error(kBadConfig) for a config that it would refuse.
R2ROUTER_EXPORT std::string to_json(const Config& config);

/// Brings the config's models up to date with a pool file (read_pool() in outcomes.h): each takes
/// every field of the pool's model of the same name but the instruction, which its heads were
/// trained under. The pool is the whole of what may be called, so a model that it lacks becomes
/// unavailable and is told to `log`; so is a model that only the pool has, for which the checkpoint
/// has no heads. Order and everything else stay. Throws Error(kInvalidArgument), with nothing
/// changed, if they have no model in common.
R2ROUTER_EXPORT void apply_pool(Config& config, const Pool& pool, const LogCallback& log = {});

}  // namespace r2router
