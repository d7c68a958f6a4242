// RouterArena's files: the cached results that it keeps of every model, and the predictions of a
// router that it takes. Its prompts and outcomes are for testing alone: nothing is learned from
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "r2router/router.h"

#include "cli/outcome_data.h"

namespace r2router::cli {

/// A model's answer in a cached result.
struct CachedAnswer {
  std::string text;
  bool exists = false, success = false;
  std::int64_t input_tokens = 0, output_tokens = 0;
};

/// Cached results of some models of a pool.
struct CachedResults {
  OutcomeTable table;                 ///< unlimited; NaN where an answer failed or was not scored
  std::vector<std::string> spelling;  ///< of each of table.models, as the files have it
  std::vector<CachedAnswer> answers;  ///< queries × models
};

/// Reads files as io::for_each_row() does, with "global_index", "question", "llm_selected" (a name
/// or openrouter_id of the pool; others are left out, as read_outcomes() does, and reported),
/// "generated_answer", "success", "token_usage" and "evaluation_result", whose "score" may be
/// missing. A query's length is the mean of what its models counted. Throws Error(kBadData) with
/// file and line for a line that is not so or repeats, and if no line is of a model of the pool.
CachedResults read_cached_results(const std::vector<std::string>& files, const Pool& pool,
                                  bool ignore_unknown_models);

/// The model that a router chooses for each query among those of `results`, at its default λ:
/// indices into results.table.models. `embeddings`: queries × router.dimension().
std::vector<std::uint32_t> choose_models(const Router& router, const CachedResults& results,
                                         const std::vector<float>& embeddings);

/// RouterArena's prediction file: the choice for each query with its cached answer, if there is
/// one.
std::string predictions_json(const CachedResults& results,
                             const std::vector<std::uint32_t>& choices);

}  // namespace r2router::cli
