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
// llm/generate.h calls the chosen model within that budget, and pipeline.h routes many queries.
//
// Each stage has its own header and can be used alone:
//     1  encoder.h      query                           -> embedding
//     2  scorer.h        embedding                       -> predictions for every pair
//     3  decision.h      predictions + prices + options  -> Decision
//     4  llm/generate.h  query + Decision                -> Completion
// The first three are the library r2router::r2router, the fourth is r2router::llm, which uses
// libcurl. query.h defines a query, and options.h the options of one call. checkpoint.h reads and
// writes the parts of a router. error.h has the only exception type. The library r2router::train
// trains a checkpoint on outcomes of your models (outcomes.h, train/train.h), evaluates it
// (eval/contenders.h), and finds the policy that meets a target (eval/calibrate.h).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/columns.h"
#include "r2router/decision.h"
#include "r2router/encoder.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/options.h"
#include "r2router/query.h"
#include "r2router/scorer.h"
#include "r2router/total.h"
#include "r2router/types.h"
#include "r2router/version.h"

namespace r2router {

/// Settings of a router for its whole life.
struct RouterOptions {
  /// Name from available_kernels(); empty: the fastest one that this machine supports.
  std::string kernel = {};
  /// Turns text into embeddings; empty: the checkpoint's own encoder, if it has one.
  std::shared_ptr<const Encoder> encoder = {};
  /// Receives diagnostics while a checkpoint is loaded; empty: they are discarded.
  LogCallback log = {};
};

/// Components of a router without a checkpoint. The scorer and the encoder are built-in ones
/// (make_scorer(), make_lexical_encoder(), …) or your own implementations of the interfaces.
struct RouterParts {
  Pool pool = {};  ///< the pairs of the scorer refer to it
  std::shared_ptr<const Scorer> scorer = {};
  std::shared_ptr<const Encoder> encoder = {};  ///< empty: queries must come as embeddings
  /// Used for settings that a call leaves empty. Empty rules: DecisionRules::kReference.
  Policy defaults = {};
  /// The instruction sent under a limited budget. "{budget}" is replaced by the number of tokens.
  std::string budget_prompt = {};
  /// Option::quality_spread for each of Scorer::pairs(); empty: unknown.
  std::vector<double> quality_spreads = {};
  /// As Config::length_sigma.
  double length_sigma = kDefaultLengthSigma;
};

/// The result for one query of several: a decision or an error.
class RouteResult {
 public:
  explicit RouteResult(Decision decision) : outcome_(std::move(decision)) {}
  explicit RouteResult(Error error) : outcome_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<Decision>(outcome_); }
  /// Throws the error if there is no decision.
  const Decision& decision() const& {
    if (!ok()) throw Error(error());
    return std::get<Decision>(outcome_);
  }
  Decision decision() && {
    if (!ok()) throw Error(error());
    return std::get<Decision>(std::move(outcome_));
  }
  /// Only if not ok().
  const Error& error() const { return std::get<Error>(outcome_); }

 private:
  std::variant<Decision, Error> outcome_;
};

/// Composes the stages. Immutable; every const method may be called from many threads at once
/// without locks. Copies are cheap and share the loaded data.
class R2ROUTER_EXPORT Router {
 public:
  /// Loads a checkpoint: a folder in either layout, or the name of an installed one, such as
  /// "r2-router"; empty: the default one. Throws what load_checkpoint() throws.
  static Router from_pretrained(const std::string& folder = {}, const RouterOptions& options = {});

  /// Where the default checkpoint is, as checkpoint_folder() finds it.
  static std::string default_checkpoint_path();

  explicit Router(Checkpoint checkpoint, const RouterOptions& options = {});

  /// Throws Error(kInvalidArgument) if there is no scorer, or the parts do not fit together.
  explicit Router(RouterParts parts);

  /// Returns a router with updated prices, which shares scorer and encoder with this one. Updates
  /// the models with apply_pool(), and throws what it throws.
  Router with_pool(const Pool& pool, const LogCallback& log = {}) const;

  /// Chooses a pair for a query: embeds it, unless it has an embedding, predicts and decides.
  /// Throws Error(kInvalidArgument) for a query without content, an embedding whose length is not
  /// dimension(), an embedding with a number that is not finite, or a bad option;
  /// Error(kUnsupported) for a text if this router has no encoder; and what the encoder throws. An
  /// embedding of zeros is accepted, as by the published package: linear heads then predict their
  /// intercepts.
  Decision route(const Query& query, const RouteOptions& options = {}) const;

  /// Routes several queries with one call of the encoder and one matrix product. The choices are
  /// those of route(). Each query has its own result, a decision or an error. `options`: one for
  /// all queries, or one for each; throws Error(kInvalidArgument) for any other number. Only the
  /// `cancel` of the first is used.
  std::vector<RouteResult> route(std::span<const Query> queries,
                                 const RouteOptions& options = {}) const;
  std::vector<RouteResult> route(std::span<const Query> queries,
                                 std::span<const RouteOptions> options) const;

  /// Routes a text.
  Decision route_text(std::string_view query, const RouteOptions& options = {}) const;

  /// Routes an embedding without copying it. Allocates no memory after a thread's first call unless
  /// options.rank or options.explain is set.
  Decision route(std::span<const float> embedding, const RouteOptions& options = {},
                 const QuerySize& size = {}) const;
  Decision route(std::span<const double> embedding, const RouteOptions& options = {},
                 const QuerySize& size = {}) const;

  /// Routes a matrix of `embeddings.size() / dimension()` rows, with the same choices. `sizes`: one
  /// for each row, one for all, or none. Runs on options.threads threads; options.rank and
  /// options.explain are not used. If any row cannot be routed, throws the error of the first such
  /// row, so that every row of the result is decided.
  DecisionBatch route_batch(std::span<const float> embeddings, const RouteOptions& options = {},
                            std::span<const QuerySize> sizes = {}) const;
  DecisionBatch route_batch(std::span<const double> embeddings, const RouteOptions& options = {},
                            std::span<const QuerySize> sizes = {}) const;

  /// Routes a column of a table on options.threads threads. The decisions are those of route() for
  /// each row; rows that cannot be routed have a reason instead. options.rank and options.explain
  /// are not used. `size` applies to every row; lengths that it leaves empty are estimated from a
  /// row's text. Throws if the options are invalid for every row, and Error(kUnsupported) for texts
  /// if this router has no encoder.
  DecisionBatch route(const QueryColumn& column, const RouteOptions& options = {},
                      const QuerySize& size = {}) const;

  /// The first pass of a total: adds what more money buys for the rows of a column to a curve.
  /// Options and rows as in route(); a row without a decision costs nothing. Throws
  /// Error(kInvalidArgument) if the options have a trade-off (objective, lambda or
  /// willingness_to_pay), which the total decides.
  void price(const QueryColumn& column, TotalCurve& curve, const RouteOptions& options = {},
             const QuerySize& size = {}) const;
  /// The same, and adds the decisions to a batch, which has those for the rows of the curve so far.
  /// The curve must not be of a sample (TotalCurveOptions::every).
  void price(const QueryColumn& column, TotalCurve& curve, PricedBatch& priced,
             const RouteOptions& options = {}, const QuerySize& size = {}) const;

  /// The second pass: route() within an allowance for all rows, of which these are the first. The
  /// reason of their decisions is kUsd, or kQualityMissed. Their costs are those of the first pass
  /// if column, options and size are.
  DecisionBatch route(const QueryColumn& column, const Allowance& allowance,
                      const RouteOptions& options = {}, const QuerySize& size = {}) const;

  /// Length of the embeddings that route() takes.
  std::size_t dimension() const;
  const Pool& pool() const;
  /// The checkpoint's config. For a router built from parts, only the pool, the policy, the budget
  /// prompt and the values derived from the scorer are set.
  const Config& config() const;
  const std::shared_ptr<const Scorer>& scorer() const;
  /// Empty if queries must come as embeddings.
  const std::shared_ptr<const Encoder>& encoder() const;

 private:
  struct State;
  explicit Router(std::shared_ptr<const State> state);

  std::shared_ptr<const State> state_;
};

}  // namespace r2router
