// r2router: choose, for each query, a (model, token budget) pair.
//
//     #include <r2router/router.h>
//
//     auto router = r2router::Router::from_pretrained();              // the built-in checkpoint
//     auto decision = router.route_text("Solve the equation: 2x + 5 = 13");
//     decision.model().name;           // which LLM to call
//     decision.chosen.budget;          // how many tokens it may spend
//     decision.chosen.quality;         // how good the answer is expected to be, 0 to 1
//     decision.chosen.cost_usd;        // what it is expected to cost
//
// llm/generate.h calls the chosen model within that budget.
//
// The stages, each in its own header, each usable alone:
//     1  embedder.h      text                            -> embedding
//     2  scorer.h        embedding                       -> predictions for every pair
//     3  decision.h      predictions + prices + options  -> Decision
//     4  llm/generate.h  query + Decision                -> Completion
// The first three are the library r2router::r2router, the fourth is r2router::llm, which uses
// libcurl. checkpoint.h reads and writes what a router is made of; options.h has the options of one
// call; error.h has the one exception type. From known answers of your models, outcomes.h and
// train.h make a checkpoint, eval.h measures it, and calibrate.h finds the policy that meets a
// target (r2router::train).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/decision.h"
#include "r2router/embedder.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/options.h"
#include "r2router/scorer.h"
#include "r2router/types.h"
#include "r2router/version.h"

namespace r2router {

/// Settings of a router for its whole life.
struct RouterOptions {
  /// Name from available_kernels(); empty: the fastest that this machine runs.
  std::string kernel = {};
  /// Turns text into embeddings; empty: the checkpoint's own encoder, if it has one.
  std::shared_ptr<const Embedder> embedder = {};
  /// Receives remarks while a checkpoint is loaded; empty: they are dropped.
  LogCallback log = {};
};

/// Decisions for a batch of queries: options[i] is the choice for row i, reasons[i] what it won by.
struct BatchDecision {
  std::vector<Option> options;
  std::vector<Reason> reasons;
  std::shared_ptr<const Pool> pool;
};

/// Composes the stages. Immutable; every const method may be called from many threads at once
/// without locks. Copies are cheap and share the loaded data.
class R2ROUTER_EXPORT Router {
 public:
  /// Loads a checkpoint folder in either layout; empty: default_checkpoint_path().
  /// Throws what load_checkpoint() throws.
  static Router from_pretrained(const std::string& folder = {}, const RouterOptions& options = {});

  /// Where the default checkpoint is: $R2ROUTER_CHECKPOINT if set, else the installed one (found
  /// relative to this library, so that an installation can be moved), else the one in the source
  /// tree it was built from. Throws Error(kNotFound) that lists the places looked at.
  static std::string default_checkpoint_path();

  explicit Router(Checkpoint checkpoint, const RouterOptions& options = {});

  /// Chooses a pair for an embedding of dimension() finite numbers. Allocates no memory after a
  /// thread's first call unless options.rank is set. Throws Error(kInvalidArgument) for a wrong
  /// length, a value that is not finite, or a bad option. An embedding of zeros is accepted, as by
  /// the published package: linear heads then predict their intercepts.
  Decision route(std::span<const float> embedding, const RouteOptions& options = {}) const;
  Decision route(std::span<const double> embedding, const RouteOptions& options = {}) const;

  /// Embeds a query and chooses a pair for it. Throws Error(kInvalidArgument) for an empty query,
  /// and Error(kUnsupported) if this router has no embedder.
  Decision route_text(std::string_view query, const RouteOptions& options = {}) const;

  /// Chooses for `embeddings.size() / dimension()` rows at once: one matrix product instead of many
  /// matrix-vector products, with the same choices. `input_tokens` and `max_input_tokens`: one
  /// number for each row, or empty to use the options' for all. options.rank and options.explain
  /// are not used.
  BatchDecision route_batch(std::span<const float> embeddings, const RouteOptions& options = {},
                            std::span<const std::int64_t> input_tokens = {},
                            std::span<const std::int64_t> max_input_tokens = {}) const;
  BatchDecision route_batch(std::span<const double> embeddings, const RouteOptions& options = {},
                            std::span<const std::int64_t> input_tokens = {},
                            std::span<const std::int64_t> max_input_tokens = {}) const;

  /// Length of the embeddings that route() takes.
  std::size_t dimension() const;
  const Pool& pool() const;
  const Config& config() const;
  const std::shared_ptr<const Scorer>& scorer() const;
  /// Empty if queries must come as embeddings.
  const std::shared_ptr<const Embedder>& embedder() const;

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace r2router
