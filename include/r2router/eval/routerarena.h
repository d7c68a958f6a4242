// RouterArena's files: its cached results of every model, and the prediction file of a router. Use
// its prompts and outcomes only for testing, not for training.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "r2router/eval/router_evaluation.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/router.h"

namespace r2router::eval {

/// A model's answer in a cached result.
struct CachedAnswer {
  std::string text;
  bool exists = false, success = false;
  std::int64_t input_tokens = 0, output_tokens = 0;
};

/// Cached results of some models of a pool.
struct CachedResults {
  OutcomeTable table;                 ///< unlimited; NaN where an answer failed or was not scored
  std::vector<std::string> spelling;  ///< spelling of each of table.models in the files
  std::vector<CachedAnswer> answers;  ///< queries × models
};

/// Reads JSON lines, plain or compressed with gzip, with "global_index", "question", "llm_selected"
/// (a name or openrouter_id of the pool; others are ignored and reported, as by
/// read_outcomes()), "generated_answer", "success", "token_usage" and "evaluation_result", whose
/// "score" may be missing. A query's length is the mean of its models' counts. Throws
/// Error(kBadData) with file and line for a malformed or repeated line, and if no line has a model
/// of the pool.
R2ROUTER_EXPORT CachedResults read_cached_results(std::span<const std::string> files,
                                                  const Pool& pool,
                                                  const ReadOptions& options = {});

/// The model that a router chooses for each query among those of `results`, at its default λ:
/// indices into results.table.models. `embeddings`: queries × router.dimension().
R2ROUTER_EXPORT std::vector<std::uint32_t> choose_models(const Router& router,
                                                         const CachedResults& results,
                                                         std::span<const float> embeddings);

/// RouterArena's prediction file: the choice for each query with its cached answer, if there is
/// one.
R2ROUTER_EXPORT std::string predictions_json(const CachedResults& results,
                                             std::span<const std::uint32_t> choices);

/// Evaluates a router on cached results: CachedResults::table, with embeddings if the router has no
/// encoder. Uses all queries, and compares the router only with contenders that learn nothing from
/// them: options.against is ignored. `file` is only for the error message. Throws Error(kBadData)
/// if no query has a score of every model.
R2ROUTER_EXPORT RouterEvaluation evaluate_cached_results(const Router& router,
                                                         const OutcomeData& data,
                                                         EvaluationOptions options = {},
                                                         const std::string& file = {});

}  // namespace r2router::eval
