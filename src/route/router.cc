#include "r2router/router.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include <dlfcn.h>

#include "r2router/settings.h"

#include "base/unicode.h"
#include "route/decide.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;

/// Assumed length of a query given as an embedding; the published package's default.
constexpr internal::InputTokens kDefaultInputTokens{.expected = 100, .most = 100};

/// Embeddings scored together: enough to read the heads from memory once for many queries, few
/// enough to keep the estimates in the L2 cache.
constexpr std::size_t kBatchRows = 96;

std::size_t length(const EmbeddingView& view) {
  return std::visit([](auto values) { return values.size(); }, view);
}

EmbeddingView slice(const EmbeddingView& view, std::size_t offset, std::size_t count) {
  return std::visit([&](auto values) -> EmbeddingView { return values.subspan(offset, count); },
                    view);
}

[[noreturn]] void throw_bad_element(const EmbeddingView& view, std::optional<std::size_t> row) {
  throw Error(ErrorCode::kInvalidArgument,
              "element " + std::to_string(find_bad_element(view).value_or(0)) +
                  " of the embedding" + (row ? " in row " + std::to_string(*row) : "") +
                  " is NaN, infinite or beyond 1e250: expected finite numbers");
}

void check_one_each(std::span<const std::int64_t> numbers, const char* name, std::size_t rows) {
  if (numbers.empty() || numbers.size() == rows) return;
  throw Error(ErrorCode::kInvalidArgument,
              "there are " + std::to_string(rows) + " embeddings, but " + name + " has " +
                  std::to_string(numbers.size()) + " numbers: give one for each, or none");
}

/// Memory that a thread reuses from call to call.
struct Scratch {
  internal::Rule rule;
  Estimates estimates;
  internal::Scratch decision;
  std::vector<float> embedding;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

class ScorerSource final : public internal::ExactSource {
 public:
  ScorerSource(const Scorer& scorer, EmbeddingView embedding,
               const internal::EstimateView& estimates)
      : scorer_(scorer), embedding_(embedding), estimates_(estimates) {}
  void exact(std::size_t pair, double& quality, double& tokens) const override {
    if (estimates_.quality_error[pair] == 0 && estimates_.tokens_error[pair] == 0) {
      quality = estimates_.quality[pair];
      tokens = estimates_.tokens[pair];
    } else {
      scorer_.predict_pair(embedding_, pair, quality, tokens);
    }
  }

 private:
  const Scorer& scorer_;
  EmbeddingView embedding_;
  const internal::EstimateView& estimates_;
};

std::vector<internal::PairFacts> pair_facts(std::span<const Pair> pairs,
                                            std::span<const HeadName> heads,
                                            std::span<const double> spreads) {
  std::map<Pair, internal::PairFacts> facts;
  for (const Pair& pair : pairs) facts[pair].has_length_head = false;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    internal::PairFacts& of_pair = facts[heads[i].pair];
    if (heads[i].target == Target::kTokens) {
      of_pair.has_length_head = true;
    } else if (!spreads.empty()) {
      of_pair.quality_spread = spreads[i];
    }
  }
  std::vector<internal::PairFacts> ordered;
  for (const Pair& pair : pairs) ordered.push_back(facts[pair]);
  return ordered;
}

}  // namespace

struct Router::Parts {
  Parts(Checkpoint checkpoint, const RouterOptions& options)
      : config(std::move(checkpoint.config)),
        defaults(config.default_policy()),
        scorer(make_scorer(checkpoint.predictor, checkpoint.length_curves, options.kernel)),
        embedder(options.embedder),
        table(std::make_shared<const Pool>(config.models), scorer->pairs(),
              pair_facts(scorer->pairs(), head_names(checkpoint.predictor), checkpoint.spreads)) {
    if (!embedder && config.encoder) {
      embedder = make_lexical_encoder(*config.encoder, std::move(checkpoint.idf),
                                      std::move(checkpoint.topics));
    }
    if (embedder && embedder->dimension() != scorer->dimension()) {
      throw Error(ErrorCode::kInvalidArgument, "the embedder returns vectors of " +
                                                   std::to_string(embedder->dimension()) +
                                                   " numbers, the checkpoint's heads expect " +
                                                   std::to_string(scorer->dimension()));
    }
  }

  Decision route(EmbeddingView embedding, const RouteOptions& options,
                 internal::InputTokens input_tokens) const;
  BatchDecision route_batch(EmbeddingView embeddings, const RouteOptions& options,
                            std::span<const std::int64_t> input_tokens,
                            std::span<const std::int64_t> max_input_tokens) const;
  /// Chooses for a row of the thread's estimates, by the thread's rule.
  internal::Choice choose(EmbeddingView embedding, std::size_t row) const {
    Scratch& memory = scratch();
    const Estimates& estimates = memory.estimates;
    const std::size_t pairs = table.pairs().size();
    const internal::EstimateView view{
        .quality = std::span(estimates.quality).subspan(row * pairs, pairs),
        .tokens = std::span(estimates.tokens).subspan(row * pairs, pairs),
        .quality_error = estimates.quality_error,
        .tokens_error = estimates.tokens_error,
        .scale = estimates.scale[row]};
    return internal::choose(table, memory.rule, view, ScorerSource(*scorer, embedding, view),
                            memory.decision);
  }

  Config config;
  Policy defaults;
  std::shared_ptr<const Scorer> scorer;
  std::shared_ptr<const Embedder> embedder;
  internal::DecisionTable table;
};

Decision Router::Parts::route(EmbeddingView embedding, const RouteOptions& options,
                              internal::InputTokens input_tokens) const {
  if (length(embedding) != scorer->dimension()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the embedding has " + std::to_string(length(embedding)) + " numbers, expected " +
                    std::to_string(scorer->dimension()) +
                    ": use the encoder that the checkpoint was " + "trained with (" +
                    config.embedding_model + ")");
  }
  Scratch& memory = scratch();
  internal::resolve(options, defaults, *table.pool(), input_tokens, memory.rule);
  scorer->estimate(embedding, 1, memory.estimates);
  if (!std::isfinite(memory.estimates.scale[0])) throw_bad_element(embedding, {});
  const internal::Choice choice = choose(embedding, 0);
  Decision decision = internal::make_decision(table, memory.rule, choice);
  if (options.rank || options.explain) {
    Predictions predictions;
    scorer->predict(embedding, predictions);
    internal::add_details(table, memory.rule, choice, options, predictions, decision);
  }
  return decision;
}

BatchDecision Router::Parts::route_batch(EmbeddingView embeddings, const RouteOptions& options,
                                         std::span<const std::int64_t> input_tokens,
                                         std::span<const std::int64_t> max_input_tokens) const {
  const std::size_t dimension = scorer->dimension();
  if (length(embeddings) % dimension != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the embeddings have " + std::to_string(length(embeddings)) +
                    " numbers, which is not a multiple of " + std::to_string(dimension));
  }
  const std::size_t rows = length(embeddings) / dimension;
  check_one_each(input_tokens, "input_tokens", rows);
  check_one_each(max_input_tokens, "max_input_tokens", rows);
  const bool lengths_differ = !input_tokens.empty() || !max_input_tokens.empty();
  const auto input_of_row = [&](std::size_t row) {
    return internal::resolve_input(
        input_tokens.empty() ? options.input_tokens : input_tokens[row],
        max_input_tokens.empty() ? options.max_input_tokens : max_input_tokens[row],
        kDefaultInputTokens);
  };
  for (std::size_t row = 0; lengths_differ && row < rows; ++row) input_of_row(row);

  BatchDecision batch{.options = {}, .reasons = {}, .pool = table.pool()};
  batch.options.reserve(rows);
  batch.reasons.reserve(rows);
  Scratch& memory = scratch();
  internal::resolve(options, defaults, *table.pool(), kDefaultInputTokens, memory.rule);
  for (std::size_t begin = 0; begin < rows; begin += kBatchRows) {
    const std::size_t count = std::min(kBatchRows, rows - begin);
    scorer->estimate(slice(embeddings, begin * dimension, count * dimension), count,
                     memory.estimates);
    for (std::size_t r = 0; r < count; ++r) {
      const EmbeddingView embedding = slice(embeddings, (begin + r) * dimension, dimension);
      if (!std::isfinite(memory.estimates.scale[r])) throw_bad_element(embedding, begin + r);
      if (lengths_differ) memory.rule.input = input_of_row(begin + r);
      const Decision decision = internal::make_decision(table, memory.rule, choose(embedding, r));
      batch.options.push_back(decision.chosen);
      batch.reasons.push_back(decision.reason);
    }
  }
  return batch;
}

Router Router::from_pretrained(const std::string& folder, const RouterOptions& options) {
  return Router(load_checkpoint(folder.empty() ? default_checkpoint_path() : folder, options.log),
                options);
}

std::string Router::default_checkpoint_path() {
  if (const char* chosen = std::getenv("R2ROUTER_CHECKPOINT");
      chosen != nullptr && *chosen != '\0') {
    return chosen;
  }
  // Relative to the file that holds this code: a shared library in lib/, or a program in bin/.
  std::vector<fs::path> places;
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&Router::default_checkpoint_path), &self) != 0 &&
      self.dli_fname != nullptr) {
    std::error_code ignored;
    fs::path file = fs::canonical(self.dli_fname, ignored);
    // For a program started through PATH, this may be only its name.
    if (ignored) file = fs::canonical("/proc/self/exe", ignored);
    for (fs::path up = file.parent_path().parent_path(); up.has_relative_path();
         up = up.parent_path()) {
      places.push_back(up / "share/r2router/checkpoints/default");
    }
  }
#ifdef R2ROUTER_SOURCE_CHECKPOINT
  places.emplace_back(R2ROUTER_SOURCE_CHECKPOINT);
#endif
  std::string looked;
  for (const fs::path& place : places) {
    std::error_code ignored;
    if (fs::exists(place / "config.json", ignored)) return place.string();
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  throw Error(ErrorCode::kNotFound,
              "the default checkpoint was not found in " + looked +
                  ": name a checkpoint folder, or set R2ROUTER_CHECKPOINT to one");
}

Router::Router(Checkpoint checkpoint, const RouterOptions& options) {
  validate(checkpoint);
  check(checkpoint.config.policy);
  parts_ = std::make_shared<const Parts>(std::move(checkpoint), options);
}

Decision Router::route(std::span<const float> embedding, const RouteOptions& options) const {
  return parts_->route(embedding, options, kDefaultInputTokens);
}

Decision Router::route(std::span<const double> embedding, const RouteOptions& options) const {
  return parts_->route(embedding, options, kDefaultInputTokens);
}

Decision Router::route_text(std::string_view query, const RouteOptions& options) const {
  if (!parts_->embedder) {
    throw Error(ErrorCode::kUnsupported,
                "this checkpoint has no encoder, so text cannot be routed: its heads were "
                "trained on embeddings of \"" +
                    parts_->config.embedding_model +
                    "\". Give an embedder in RouterOptions, or embed the query and call route()");
  }
  if (internal::is_blank(query)) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("the query is empty") +
                    (query.empty() ? "" : ", nothing but white space") + ": expected some text");
  }
  std::vector<float>& embedding = scratch().embedding;
  embedding.resize(dimension());
  parts_->embedder->embed(std::span(&query, 1), embedding, options.cancel);
  return parts_->route(std::span<const float>(embedding), options,
                       {.expected = estimate_input_tokens(query),
                        .most = most_input_tokens(query, parts_->config.budget_prompt)});
}

BatchDecision Router::route_batch(std::span<const float> embeddings, const RouteOptions& options,
                                  std::span<const std::int64_t> input_tokens,
                                  std::span<const std::int64_t> max_input_tokens) const {
  return parts_->route_batch(embeddings, options, input_tokens, max_input_tokens);
}

BatchDecision Router::route_batch(std::span<const double> embeddings, const RouteOptions& options,
                                  std::span<const std::int64_t> input_tokens,
                                  std::span<const std::int64_t> max_input_tokens) const {
  return parts_->route_batch(embeddings, options, input_tokens, max_input_tokens);
}

std::size_t Router::dimension() const { return parts_->scorer->dimension(); }
const Pool& Router::pool() const { return *parts_->table.pool(); }
const Config& Router::config() const { return parts_->config; }
const std::shared_ptr<const Scorer>& Router::scorer() const { return parts_->scorer; }
const std::shared_ptr<const Embedder>& Router::embedder() const { return parts_->embedder; }

}  // namespace r2router
