#include "r2router/router.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/settings.h"

#include "route/candidates.h"
#include "route/decide.h"
#include "route/query_length.h"

namespace r2router {
namespace {

/// Embeddings scored together: enough for the heads to be read from memory once for many queries,
/// few enough for the estimates to stay in the second-level cache.
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

EmbeddingView view_of(const Query& query) {
  return std::visit([](const auto& numbers) -> EmbeddingView { return std::span(numbers); },
                    query.embedding);
}

/// Memory that a thread reuses from call to call.
struct Memory {
  internal::Rule rule;
  Estimates estimates;
  internal::Scratch decision;
  std::vector<float> embedding;
};

/// The thread's Memory; or a new one while that is in use, which it is if an encoder or a scorer
/// that the library does not know routes in its turn.
class MemoryLease {
 public:
  MemoryLease() : own_(in_use_ ? std::make_unique<Memory>() : nullptr) { in_use_ = true; }
  ~MemoryLease() {
    if (!own_) in_use_ = false;
  }
  MemoryLease(const MemoryLease&) = delete;
  MemoryLease& operator=(const MemoryLease&) = delete;

  Memory& operator*() const {
    thread_local Memory shared;
    return own_ ? *own_ : shared;
  }

 private:
  static thread_local bool in_use_;
  std::unique_ptr<Memory> own_;
};

thread_local bool MemoryLease::in_use_ = false;

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

/// For each pair the spread of its quality head; empty if the checkpoint has none.
std::vector<double> quality_spreads(const Checkpoint& checkpoint, std::span<const Pair> pairs) {
  if (checkpoint.spreads.empty()) return {};
  const std::vector<HeadName>& heads = head_names(checkpoint.predictor);
  std::map<Pair, double> spread_of;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (heads[i].target == Target::kQuality) spread_of[heads[i].pair] = checkpoint.spreads[i];
  }
  std::vector<double> spreads;
  for (const Pair& pair : pairs) spreads.push_back(spread_of[pair]);
  return spreads;
}

bool recognises_tasks(const Config& config) {
  return config.encoder && std::holds_alternative<TaskEncoderSpec>(*config.encoder);
}

/// `by_quality`: the qualities are averages over the tasks that a text may be.
std::vector<PairFacts> pair_facts(const Scorer& scorer, std::span<const double> spreads,
                                  bool by_quality, double length_sigma) {
  std::vector<PairFacts> facts(scorer.pairs().size());
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (!spreads.empty()) facts[i].quality_spread = spreads[i];
    facts[i].spread_by_quality = by_quality && !spreads.empty();
    facts[i].predicts_length = scorer.predicts_length(i);
    facts[i].length_sigma = length_sigma;
  }
  return facts;
}

[[noreturn]] void refuse_parts(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

const Scorer& checked(const std::shared_ptr<const Scorer>& scorer) {
  if (!scorer) refuse_parts("RouterParts::scorer is empty: expected one, such as make_scorer()'s");
  if (scorer->dimension() == 0) {
    refuse_parts("the scorer takes embeddings of dimension 0: expected a positive dimension");
  }
  return *scorer;
}

/// What the parts say of a config; the rest has its defaults.
Config config_of(RouterParts& parts) {
  const Scorer& scorer = checked(parts.scorer);
  Config config{.method = "custom",
                .embedding_dim = static_cast<std::uint32_t>(scorer.dimension()),
                .models = std::move(parts.pool),
                .budget_prompt = std::move(parts.budget_prompt),
                .policy = std::move(parts.defaults),
                .length_sigma = parts.length_sigma};
  std::set<Budget> budgets;
  for (const Pair& pair : scorer.pairs()) budgets.insert(pair.budget);
  config.token_limits.assign(budgets.begin(), budgets.end());
  return config;
}

/// Tasks whose shares are elements of a checkpoint's embeddings.
struct TaskElements {
  std::vector<std::string> names;
  std::size_t first = 0;  ///< the element of names[0]; the others follow
};

TaskElements task_elements(const Config& config) {
  if (!config.encoder) return {};
  if (const auto* tasks = std::get_if<TaskEncoderSpec>(&*config.encoder)) return {tasks->tasks};
  const auto* lexical = std::get_if<LexicalEncoderSpec>(&*config.encoder);
  return lexical == nullptr ? TaskElements{} : TaskElements{lexical->topics, lexical->dimension};
}

void explain_tasks(const TaskElements& elements, const EmbeddingView& embedding,
                   Explanation& explanation) {
  constexpr double kLeastShare = 0.01;
  if (elements.names.empty()) return;
  double total = 0;
  std::visit(
      [&](auto numbers) {
        for (std::size_t i = 0; i < elements.names.size(); ++i) {
          const auto share = static_cast<double>(numbers[elements.first + i]);
          total += share;
          if (share >= kLeastShare) explanation.tasks.push_back({elements.names[i], share});
        }
      },
      embedding);
  std::ranges::stable_sort(explanation.tasks, std::ranges::greater(), &TaskShare::share);
  explanation.familiarity = std::clamp(total, 0.0, 1.0);
}

}  // namespace

/// All of it is shared by the copies of a router; scorer and encoder by those with other prices
/// too.
struct Router::State {
  State(Config own_config, std::shared_ptr<const Scorer> own_scorer,
        std::shared_ptr<const Encoder> own_encoder, std::vector<double> own_spreads)
      : config(std::move(own_config)),
        defaults(config.default_policy()),
        scorer(std::move(own_scorer)),
        encoder(std::move(own_encoder)),
        spreads(std::move(own_spreads)),
        tasks(task_elements(config)),
        exact(scorer->pairs().size()),
        table(std::make_shared<const Pool>(config.models), scorer->pairs(),
              pair_facts(*scorer, spreads, recognises_tasks(config), config.length_sigma)) {
    check(config.policy);
    if (encoder && encoder->dimension() != scorer->dimension()) {
      refuse_parts("the encoder makes vectors of " + std::to_string(encoder->dimension()) +
                   " numbers, the checkpoint's heads expect " +
                   std::to_string(scorer->dimension()));
    }
  }

  static std::shared_ptr<const State> of(Checkpoint checkpoint, const RouterOptions& options);
  static std::shared_ptr<const State> of(RouterParts parts);

  Decision route(EmbeddingView embedding, const RouteOptions& options, const QuerySize& size,
                 internal::InputTokens otherwise, Memory& memory) const;
  Decision route(const Query& query, const RouteOptions& options) const;
  Decision route_text(std::string_view text, const RouteOptions& options, const QuerySize& size,
                      internal::InputTokens otherwise) const;
  std::vector<RouteResult> route(std::span<const Query> queries,
                                 std::span<const RouteOptions> options) const;
  BatchDecision route_batch(EmbeddingView embeddings, const RouteOptions& options,
                            std::span<const QuerySize> sizes) const;

  internal::InputTokens length_of(const Query& query) const {
    if (query.size.input_tokens && query.size.max_input_tokens) return {};  // which are used
    return internal::estimate_length(query, config.budget_prompt);
  }
  /// The text to embed. Throws if there is none, or nothing to embed it with.
  std::string_view text_to_embed(const Query& query) const;
  void check_dimension(const EmbeddingView& embedding) const;
  void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const;
  /// Decides for a row of the estimates, by the rule; both are in `memory`.
  internal::Choice choose(EmbeddingView embedding, std::size_t row, Memory& memory) const;
  Decision decide_row(EmbeddingView embedding, std::size_t row, const RouteOptions& options,
                      Memory& memory) const;

  Config config;
  Policy defaults;
  std::shared_ptr<const Scorer> scorer;
  std::shared_ptr<const Encoder> encoder;
  std::vector<double> spreads;  ///< for each pair, or empty
  TaskElements tasks;
  std::vector<double> exact;  ///< for each pair a bound of 0
  internal::DecisionTable table;
};

std::shared_ptr<const Router::State> Router::State::of(Checkpoint checkpoint,
                                                       const RouterOptions& options) {
  validate(checkpoint);
  auto scorer = make_scorer(checkpoint.predictor, checkpoint.length_curves, options.kernel);
  auto encoder = options.encoder;
  if (!encoder && checkpoint.config.encoder) {
    encoder = make_encoder(*checkpoint.config.encoder, std::move(checkpoint.encoder));
  }
  auto spreads = quality_spreads(checkpoint, scorer->pairs());
  return std::make_shared<const State>(std::move(checkpoint.config), std::move(scorer),
                                       std::move(encoder), std::move(spreads));
}

std::shared_ptr<const Router::State> Router::State::of(RouterParts parts) {
  Config config = config_of(parts);
  const std::size_t pairs = parts.scorer->pairs().size();
  if (!parts.quality_spreads.empty() && parts.quality_spreads.size() != pairs) {
    refuse_parts("there are " + std::to_string(pairs) + " pairs, but " +
                 std::to_string(parts.quality_spreads.size()) +
                 " quality spreads: give one for each, or none");
  }
  return std::make_shared<const State>(std::move(config), std::move(parts.scorer),
                                       std::move(parts.encoder), std::move(parts.quality_spreads));
}

std::string_view Router::State::text_to_embed(const Query& query) const {
  if (!encoder) {
    const std::string& model = config.embedding_model;
    throw Error(
        ErrorCode::kUnsupported,
        "this router has no encoder of its own, so text cannot be routed" +
            (model.empty() ? "" : ": its heads were trained on embeddings of \"" + model + '"') +
            ". Give it an encoder, or set Query::embedding");
  }
  return internal::routed_text(query);
}

void Router::State::check_dimension(const EmbeddingView& embedding) const {
  if (length(embedding) == scorer->dimension()) return;
  throw Error(ErrorCode::kInvalidArgument,
              "the embedding has " + std::to_string(length(embedding)) + " numbers, expected " +
                  std::to_string(scorer->dimension()) +
                  ": use the encoder that the checkpoint was trained with (" +
                  config.embedding_model + ")");
}

void Router::State::estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const {
  scorer->estimate(embeddings, rows, out);
  const std::size_t pairs = table.pairs().size();
  const auto one_each = [&](std::span<const double> errors) {
    return errors.empty() || errors.size() == pairs;
  };
  if (out.quality.size() < rows * pairs || out.tokens.size() < rows * pairs ||
      out.scale.size() < rows || !one_each(out.quality_error) || !one_each(out.tokens_error)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the scorer's estimates are not of the size that Estimates describes, for " +
                    std::to_string(rows) + " rows of " + std::to_string(pairs) + " pairs");
  }
  if (out.quality_error.empty()) out.quality_error = exact;
  if (out.tokens_error.empty()) out.tokens_error = exact;
}

internal::Choice Router::State::choose(EmbeddingView embedding, std::size_t row,
                                       Memory& memory) const {
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

Decision Router::State::decide_row(EmbeddingView embedding, std::size_t row,
                                   const RouteOptions& options, Memory& memory) const {
  if (!std::isfinite(memory.estimates.scale[row])) throw_bad_element(embedding, {});
  const internal::Choice choice = choose(embedding, row, memory);
  Decision decision = internal::make_decision(table, memory.rule, choice);
  if (options.rank || options.explain) {
    Predictions predictions;
    scorer->predict(embedding, predictions);
    internal::add_details(table, memory.rule, choice, options, predictions, decision);
    if (decision.explanation) explain_tasks(tasks, embedding, *decision.explanation);
  }
  return decision;
}

Decision Router::State::route(EmbeddingView embedding, const RouteOptions& options,
                              const QuerySize& size, internal::InputTokens otherwise,
                              Memory& memory) const {
  check_dimension(embedding);
  internal::resolve(options, defaults, *table.pool(), memory.rule);
  internal::resolve_size(size, otherwise, memory.rule);
  estimate(embedding, 1, memory.estimates);
  return decide_row(embedding, 0, options, memory);
}

Decision Router::State::route_text(std::string_view text, const RouteOptions& options,
                                   const QuerySize& size, internal::InputTokens otherwise) const {
  const MemoryLease lease;
  std::vector<float>& embedding = (*lease).embedding;
  embedding.resize(scorer->dimension());
  encoder->embed(std::span(&text, 1), embedding, options.cancel);
  return route(std::span<const float>(embedding), options, size, otherwise, *lease);
}

Decision Router::State::route(const Query& query, const RouteOptions& options) const {
  if (!query.has_embedding()) {
    return route_text(text_to_embed(query), options, query.size, length_of(query));
  }
  const MemoryLease lease;
  return route(view_of(query), options, query.size, length_of(query), *lease);
}

std::vector<RouteResult> Router::State::route(std::span<const Query> queries,
                                              std::span<const RouteOptions> options) const {
  if (options.size() != 1 && options.size() != queries.size()) {
    throw Error(ErrorCode::kInvalidArgument, "there are " + std::to_string(queries.size()) +
                                                 " queries, but " + std::to_string(options.size()) +
                                                 " options: give one for each, or one for all");
  }
  const auto options_of = [&](std::size_t query) -> const RouteOptions& {
    return options.size() == 1 ? options.front() : options[query];
  };
  std::vector<std::optional<RouteResult>> results(queries.size());
  const auto attempt = [&](std::size_t query, auto route) {
    try {
      route();
    } catch (const Error& error) {
      results[query].emplace(error);
    }
  };

  // A matrix of the queries in float32: first those to be embedded, then those that are already.
  std::vector<std::string_view> texts;
  std::vector<std::size_t> row_queries, embedded;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    attempt(i, [&] {
      if (!queries[i].has_embedding()) {
        texts.push_back(text_to_embed(queries[i]));
        row_queries.push_back(i);
        return;
      }
      check_dimension(view_of(queries[i]));
      if (std::holds_alternative<std::span<const float>>(view_of(queries[i]))) {
        embedded.push_back(i);
      } else {
        results[i].emplace(route(queries[i], options_of(i)));
      }
    });
  }
  const std::size_t dimension = scorer->dimension();
  const auto floats_of = [&](std::size_t query) {
    return std::get<std::span<const float>>(view_of(queries[query]));
  };
  const bool adjacent =
      texts.empty() && std::ranges::adjacent_find(embedded, [&](std::size_t one, std::size_t next) {
                         return floats_of(one).data() + dimension != floats_of(next).data();
                       }) == embedded.end();
  std::vector<float> copies(adjacent ? 0 : (texts.size() + embedded.size()) * dimension);
  std::span<const float> rows = copies;
  if (adjacent) {
    if (!embedded.empty()) rows = {floats_of(embedded[0]).data(), embedded.size() * dimension};
  } else {
    auto row = copies.begin() + static_cast<std::ptrdiff_t>(texts.size() * dimension);
    for (const std::size_t i : embedded) row = std::ranges::copy(floats_of(i), row).out;
  }
  row_queries.insert(row_queries.end(), embedded.begin(), embedded.end());
  if (!texts.empty()) {
    try {
      for (const auto& [text, failure] : encoder->embed_each(
               texts, std::span(copies).first(texts.size() * dimension), options.front().cancel)) {
        results[row_queries.at(text)].emplace(Error(failure.code, failure.message));
      }
    } catch (const Error& error) {
      for (std::size_t row = 0; row < texts.size(); ++row) {
        results[row_queries[row]].emplace(error);
      }
    }
  }

  const MemoryLease lease;
  Memory& memory = *lease;
  const RouteOptions* resolved = nullptr;
  for (std::size_t begin = 0; begin < row_queries.size(); begin += kBatchRows) {
    const std::size_t count = std::min(kBatchRows, row_queries.size() - begin);
    const auto block = rows.subspan(begin * dimension, count * dimension);
    std::optional<Error> unscored;
    try {
      estimate(block, count, memory.estimates);
    } catch (const Error& error) {  // of a scorer that the library does not know
      unscored = error;
    }
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t query = row_queries[begin + r];
      if (results[query]) continue;
      attempt(query, [&] {
        const RouteOptions& own = options_of(query);
        if (unscored) throw Error(*unscored);
        if (&own != resolved) {
          resolved = nullptr;  // until it has been
          internal::resolve(own, defaults, *table.pool(), memory.rule);
          resolved = &own;
        }
        internal::resolve_size(queries[query].size, length_of(queries[query]), memory.rule);
        results[query].emplace(decide_row(block.subspan(r * dimension, dimension), r, own, memory));
      });
    }
  }

  std::vector<RouteResult> in_order;
  in_order.reserve(results.size());
  for (std::optional<RouteResult>& result : results) in_order.push_back(*std::move(result));
  return in_order;
}

BatchDecision Router::State::route_batch(EmbeddingView embeddings, const RouteOptions& options,
                                         std::span<const QuerySize> sizes) const {
  const std::size_t dimension = scorer->dimension();
  if (length(embeddings) % dimension != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the embeddings have " + std::to_string(length(embeddings)) +
                    " numbers, which is not a multiple of " + std::to_string(dimension));
  }
  const std::size_t rows = length(embeddings) / dimension;
  if (sizes.size() > 1 && sizes.size() != rows) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(rows) + " embeddings, but " +
                    std::to_string(sizes.size()) + " sizes: give one for each, one for all, or " +
                    "none");
  }

  BatchDecision batch{.options = {}, .reasons = {}, .pool = table.pool()};
  batch.options.reserve(rows);
  batch.reasons.reserve(rows);
  const MemoryLease lease;
  Memory& memory = *lease;
  internal::resolve(options, defaults, *table.pool(), memory.rule);
  const auto resolve_size = [&](const QuerySize& size) {
    internal::resolve_size(size, internal::kDefaultInputTokens, memory.rule);
  };
  for (const QuerySize& size : sizes) resolve_size(size);  // checks them before any work
  if (sizes.empty()) resolve_size({});
  for (std::size_t begin = 0; begin < rows; begin += kBatchRows) {
    const std::size_t count = std::min(kBatchRows, rows - begin);
    estimate(slice(embeddings, begin * dimension, count * dimension), count, memory.estimates);
    for (std::size_t r = 0; r < count; ++r) {
      const EmbeddingView embedding = slice(embeddings, (begin + r) * dimension, dimension);
      if (!std::isfinite(memory.estimates.scale[r])) throw_bad_element(embedding, begin + r);
      if (sizes.size() > 1) resolve_size(sizes[begin + r]);
      const Decision decision =
          internal::make_decision(table, memory.rule, choose(embedding, r, memory));
      batch.options.push_back(decision.chosen);
      batch.reasons.push_back(decision.reason);
    }
  }
  return batch;
}

Router Router::from_pretrained(const std::string& folder, const RouterOptions& options) {
  return Router(load_checkpoint(folder, options.log), options);
}

std::string Router::default_checkpoint_path() { return checkpoint_folder({}); }

Router::Router(Checkpoint checkpoint, const RouterOptions& options)
    : Router(State::of(std::move(checkpoint), options)) {}

Router::Router(RouterParts parts) : Router(State::of(std::move(parts))) {}

Router::Router(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Router Router::with_pool(const Pool& pool, const LogCallback& log) const {
  Config config = state_->config;
  apply_pool(config, pool, log);
  return Router(std::make_shared<const State>(std::move(config), state_->scorer, state_->encoder,
                                              state_->spreads));
}

Decision Router::route(const Query& query, const RouteOptions& options) const {
  return state_->route(query, options);
}

std::vector<RouteResult> Router::route(std::span<const Query> queries,
                                       const RouteOptions& options) const {
  return state_->route(queries, std::span(&options, 1));
}

std::vector<RouteResult> Router::route(std::span<const Query> queries,
                                       std::span<const RouteOptions> options) const {
  return state_->route(queries, options);
}

Decision Router::route_text(std::string_view query, const RouteOptions& options) const {
  return state_->route(Query{.text = std::string(query)}, options);
}

Decision Router::route(std::span<const float> embedding, const RouteOptions& options,
                       const QuerySize& size) const {
  const MemoryLease lease;
  return state_->route(embedding, options, size, internal::kDefaultInputTokens, *lease);
}

Decision Router::route(std::span<const double> embedding, const RouteOptions& options,
                       const QuerySize& size) const {
  const MemoryLease lease;
  return state_->route(embedding, options, size, internal::kDefaultInputTokens, *lease);
}

BatchDecision Router::route_batch(std::span<const float> embeddings, const RouteOptions& options,
                                  std::span<const QuerySize> sizes) const {
  return state_->route_batch(embeddings, options, sizes);
}

BatchDecision Router::route_batch(std::span<const double> embeddings, const RouteOptions& options,
                                  std::span<const QuerySize> sizes) const {
  return state_->route_batch(embeddings, options, sizes);
}

std::size_t Router::dimension() const { return state_->scorer->dimension(); }
const Pool& Router::pool() const { return *state_->table.pool(); }
const Config& Router::config() const { return state_->config; }
const std::shared_ptr<const Scorer>& Router::scorer() const { return state_->scorer; }
const std::shared_ptr<const Encoder>& Router::encoder() const { return state_->encoder; }

}  // namespace r2router
