#include "r2router/router.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/settings.h"

#include "base/parallel.h"
#include "base/unicode.h"
#include "route/candidates.h"
#include "route/decide.h"
#include "route/query_length.h"
#include "route/stairs.h"

namespace r2router {
namespace {

using internal::is_blank;

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
  internal::Stairs stairs;
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

/// Calls body(first row, number of rows) for blocks of rows, on several threads. If calls throw,
/// rethrows what the first block of them threw, so that the error does not depend on the threads.
template <typename Body>
void for_each_block(std::size_t rows, std::size_t threads, const Body& body) {
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<std::size_t> failed = SIZE_MAX;  // the first block that has thrown
  const std::size_t blocks = (rows + kBatchRows - 1) / kBatchRows;
  internal::parallel_for(internal::thread_count(threads), blocks, [&](std::size_t block) {
    if (block > failed) return;
    try {
      body(block * kBatchRows, std::min(kBatchRows, rows - block * kBatchRows));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (block > failed) return;
      failed = block;
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
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

/// One of every so many rows, at another place among them each time, so that rows that repeat are
/// not the same ones; `before`: rows of columns before this one.
class SampledColumn final : public QueryColumn {
 public:
  SampledColumn(const QueryColumn& column, std::uint64_t before, std::uint64_t every)
      : column_(column), before_(before), every_(every) {
    const std::uint64_t end = before + column.size();
    first_ = before / every;
    if (place_in(first_) < before) ++first_;
    std::uint64_t blocks = (end + every - 1) / every;
    if (blocks > first_ && place_in(blocks - 1) >= end) --blocks;
    size_ = blocks > first_ ? blocks - first_ : 0;
  }
  std::size_t size() const override { return size_; }
  QueryCell cell(std::size_t row) const override {
    return column_.cell(place_in(first_ + row) - before_);
  }

 private:
  /// The row that is taken of a block of rows. Multiples of the golden ratio are spread evenly.
  std::uint64_t place_in(std::uint64_t block) const {
    const std::uint64_t fraction = block * 0x9e3779b97f4a7c15U >> 32;  // of 2^32
    return block * every_ + (fraction * every_ >> 32);
  }

  const QueryColumn& column_;
  std::uint64_t before_, every_, first_ = 0;
  std::size_t size_ = 0;
};

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
        std::shared_ptr<const Encoder> own_encoder, std::vector<double> own_spreads,
        std::string_view kernel)
      : config(std::move(own_config)),
        defaults(config.default_policy()),
        scorer(std::move(own_scorer)),
        encoder(std::move(own_encoder)),
        spreads(std::move(own_spreads)),
        tasks(task_elements(config)),
        exact(scorer->pairs().size()),
        table(std::make_shared<const Pool>(config.models), scorer->pairs(),
              pair_facts(*scorer, spreads, recognises_tasks(config), config.length_sigma), kernel) {
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
  DecisionBatch route_batch(EmbeddingView embeddings, const RouteOptions& options,
                            std::span<const QuerySize> sizes) const;

  DecisionBatch route(const QueryColumn& column, const RouteOptions& options,
                      const QuerySize& size) const;
  DecisionBatch route(const QueryColumn& column, const Allowance& allowance,
                      const RouteOptions& options, const QuerySize& size) const;
  /// `priced`: null if the decisions are not kept.
  void price(const QueryColumn& column, TotalCurve& curve, PricedBatch* priced,
             const RouteOptions& options, const QuerySize& size) const;

  /// Calls decide(row, embedding, row of the estimates, memory) for the rows of a column that can
  /// be routed, and sets the reasons of the others. What it throws for a row is that row's reason.
  template <typename Decide>
  void for_each_row(const QueryColumn& column, const internal::Rule& rule,
                    const RouteOptions& options, const QuerySize& size,
                    std::span<RowReason> reasons, const Decide& decide) const;
  /// The rule for a column, but for the facts of its queries.
  internal::Rule resolve_rule(const RouteOptions& options, const QuerySize& size) const;
  internal::Rule resolve_total(Total total, const RouteOptions& options,
                               const QuerySize& size) const;
  /// Finds the stairs for a row of the estimates, by the rule; all are in `memory`.
  void find_stairs(const EmbeddingView& embedding, std::size_t row, Total total,
                   const PriceRange& range, Memory& memory) const;

  struct Block;
  void read_block(const QueryColumn& column, std::size_t begin, std::size_t count, Block& block,
                  std::span<RowReason> reasons) const;
  void embed_block(Block& block, const std::stop_token& cancel, std::span<RowReason> reasons) const;
  void gather_block(Block& block) const;

  internal::InputTokens length_of(const Query& query) const {
    if (query.size.input_tokens && query.size.max_input_tokens) return {};  // which are used
    return internal::estimate_length(query, config.budget_prompt);
  }
  /// The text to embed. Throws if there is none, or nothing to embed it with.
  std::string_view text_to_embed(const Query& query) const;
  void check_dimension(const EmbeddingView& embedding) const;
  void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const;
  internal::EstimateView estimates_of(std::size_t row, const Memory& memory) const;
  /// Sets the size of the query in the rule, and the models that it admits; both are in `memory`.
  void resolve_size(const QuerySize& size, internal::InputTokens otherwise, Memory& memory) const;
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
                                       std::move(encoder), std::move(spreads), options.kernel);
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
                                       std::move(parts.encoder), std::move(parts.quality_spreads),
                                       std::string_view());
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

internal::EstimateView Router::State::estimates_of(std::size_t row, const Memory& memory) const {
  const Estimates& estimates = memory.estimates;
  const std::size_t pairs = table.pairs().size();
  return {.quality = std::span(estimates.quality).subspan(row * pairs, pairs),
          .tokens = std::span(estimates.tokens).subspan(row * pairs, pairs),
          .quality_error = estimates.quality_error,
          .tokens_error = estimates.tokens_error,
          .scale = estimates.scale[row]};
}

void Router::State::resolve_size(const QuerySize& size, internal::InputTokens otherwise,
                                 Memory& memory) const {
  internal::resolve_size(size, otherwise, memory.rule);
  internal::admit_models(table, memory.rule, memory.decision);
}

internal::Choice Router::State::choose(EmbeddingView embedding, std::size_t row,
                                       Memory& memory) const {
  const internal::EstimateView view = estimates_of(row, memory);
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
  resolve_size(size, otherwise, memory);
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
        resolve_size(queries[query].size, length_of(queries[query]), memory);
        results[query].emplace(decide_row(block.subspan(r * dimension, dimension), r, own, memory));
      });
    }
  }

  std::vector<RouteResult> in_order;
  in_order.reserve(results.size());
  for (std::optional<RouteResult>& result : results) in_order.push_back(*std::move(result));
  return in_order;
}

namespace {

void set_row(std::size_t row, const internal::Choice& choice, DecisionBatch& batch) {
  batch.set(row, internal::reported(choice.option, choice.goal), choice.goal.reason);
}

void set_row(std::size_t row, const Allowance& allowance, const internal::Stairs& stairs,
             DecisionBatch& batch) {
  if (stairs.stairs.empty()) {
    batch.reason[row] = RowReason::kNoOption;
  } else {
    batch.set(row, stairs.at(allowance, row), stairs.reason);
  }
}

/// Also adds the steps within a range of prices.
void set_row(std::size_t row, Total total, const PriceRange& range, const internal::Stairs& stairs,
             DecisionBatch& batch, std::vector<PricedBatch::Step>& steps) {
  set_row(row, {.total = total, .price_usd = range.least_usd}, stairs, batch);
  for (const internal::Stair& stair : stairs.stairs) {
    if (stair.price_usd <= range.least_usd || stair.price_usd > range.most_usd) continue;
    steps.push_back({.price_usd = stair.price_usd, .row = row, .option = stair.option});
  }
}

}  // namespace

DecisionBatch Router::State::route_batch(EmbeddingView embeddings, const RouteOptions& options,
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

  internal::Rule rule;
  internal::resolve(options, defaults, *table.pool(), rule);
  for (const QuerySize& size : sizes) {  // checks them before any work
    internal::resolve_size(size, internal::kDefaultInputTokens, rule);
  }
  DecisionBatch batch = DecisionBatch::of(table.pool(), rows);
  for_each_block(rows, options.threads, [&](std::size_t begin, std::size_t count) {
    const MemoryLease lease;
    Memory& memory = *lease;
    memory.rule = rule;
    if (sizes.size() <= 1) {
      resolve_size(sizes.empty() ? QuerySize{} : sizes[0], internal::kDefaultInputTokens, memory);
    }
    estimate(slice(embeddings, begin * dimension, count * dimension), count, memory.estimates);
    for (std::size_t r = 0; r < count; ++r) {
      const EmbeddingView embedding = slice(embeddings, (begin + r) * dimension, dimension);
      if (!std::isfinite(memory.estimates.scale[r])) throw_bad_element(embedding, begin + r);
      if (sizes.size() > 1) {
        resolve_size(sizes[begin + r], internal::kDefaultInputTokens, memory);
      }
      set_row(begin + r, choose(embedding, r, memory), batch);
    }
  });
  return batch;
}

/// Where a row that has passed its checks is found.
struct Router::State::Block {
  std::vector<std::size_t> rows;  ///< of the column
  std::vector<QueryCell> cells;   ///< of these
  std::vector<float> floats;      ///< their embeddings, unless they are adjacent in memory
  std::vector<double> doubles;    ///< instead, if one of them is of doubles
  EmbeddingView embeddings;
};

/// Checks the rows' queries, and sets the reasons of those that cannot be routed.
void Router::State::read_block(const QueryColumn& column, std::size_t begin, std::size_t count,
                               Block& block, std::span<RowReason> reasons) const {
  for (std::size_t row = begin; row < begin + count; ++row) {
    const QueryCell cell = column.cell(row);
    if (!cell.embedding && !cell.text) {
      reasons[row] = RowReason::kNull;
    } else if (cell.embedding && length(*cell.embedding) != scorer->dimension()) {
      reasons[row] = RowReason::kWrongLength;
    } else if (!cell.embedding && is_blank(*cell.text)) {
      reasons[row] = RowReason::kEmpty;
    } else {
      block.rows.push_back(row);
      block.cells.push_back(cell);
    }
  }
}

/// Makes the embeddings of texts that come without one.
void Router::State::embed_block(Block& block, const std::stop_token& cancel,
                                std::span<RowReason> reasons) const {
  std::vector<std::string_view> texts;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < block.cells.size(); ++i) {
    if (block.cells[i].embedding) continue;
    texts.push_back(*block.cells[i].text);
    places.push_back(i);
  }
  if (texts.empty()) return;
  if (!encoder) text_to_embed({});  // throws
  const std::size_t dimension = scorer->dimension();
  block.floats.resize(texts.size() * dimension);
  std::vector<bool> rejected(texts.size());
  try {
    for (const auto& [text, failure] : encoder->embed_each(texts, block.floats, cancel)) {
      rejected.at(text) = true;
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) throw;
    rejected.assign(texts.size(), true);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0, text = 0; i < block.cells.size(); ++i) {
    if (!block.cells[i].embedding) {
      if (rejected[text]) {
        reasons[block.rows[i]] = RowReason::kNoEmbedding;
        ++text;
        continue;
      }
      block.cells[i].embedding =
          std::span<const float>(block.floats).subspan(text++ * dimension, dimension);
    }
    block.rows[kept] = block.rows[i];
    block.cells[kept++] = block.cells[i];
  }
  block.rows.resize(kept);
  block.cells.resize(kept);
}

/// The block's embeddings as a matrix, without a copy if they are one already.
void Router::State::gather_block(Block& block) const {
  const std::size_t dimension = scorer->dimension();
  const auto gather = [&]<typename Number>(std::vector<Number>& copies) {
    const auto numbers = [&](const QueryCell& cell) {
      return std::get<std::span<const Number>>(*cell.embedding).data();
    };
    const auto apart = [&](const QueryCell& one, const QueryCell& next) {
      return numbers(one) + dimension != numbers(next);
    };
    if (std::ranges::adjacent_find(block.cells, apart) == block.cells.end()) {
      block.embeddings = std::span(numbers(block.cells.front()), block.cells.size() * dimension);
      return;
    }
    std::vector<Number> rows;
    rows.reserve(block.cells.size() * dimension);
    for (const QueryCell& cell : block.cells) {
      rows.insert(rows.end(), numbers(cell), numbers(cell) + dimension);
    }
    copies = std::move(rows);
    block.embeddings = std::span<const Number>(copies);
  };
  const auto is = [&]<typename Number>(Number) {
    return std::ranges::all_of(block.cells, [](const QueryCell& cell) {
      return std::holds_alternative<std::span<const Number>>(*cell.embedding);
    });
  };
  if (is(float{})) {
    gather(block.floats);
  } else if (is(double{})) {
    gather(block.doubles);
  } else {
    for (const QueryCell& cell : block.cells) {
      std::visit(
          [&](auto row) { block.doubles.insert(block.doubles.end(), row.begin(), row.end()); },
          *cell.embedding);
    }
    block.embeddings = std::span<const double>(block.doubles);
  }
}

template <typename Decide>
void Router::State::for_each_row(const QueryColumn& column, const internal::Rule& rule,
                                 const RouteOptions& options, const QuerySize& size,
                                 std::span<RowReason> reasons, const Decide& decide) const {
  for_each_block(column.size(), options.threads, [&](std::size_t begin, std::size_t count) {
    Block block;
    read_block(column, begin, count, block, reasons);
    embed_block(block, options.cancel, reasons);
    if (block.rows.empty()) return;
    gather_block(block);
    const MemoryLease lease;
    Memory& memory = *lease;
    memory.rule = rule;
    estimate(block.embeddings, block.rows.size(), memory.estimates);
    bool resolved = false;  // for `last`
    internal::InputTokens last;
    for (std::size_t r = 0; r < block.rows.size(); ++r) {
      const std::size_t row = block.rows[r];
      if (!std::isfinite(memory.estimates.scale[r])) {
        reasons[row] = RowReason::kNotFinite;
        continue;
      }
      internal::InputTokens length = internal::kDefaultInputTokens;
      if (const auto& text = block.cells[r].text) {
        length = {.expected = estimate_input_tokens(*text),
                  .most = most_input_tokens(*text, config.budget_prompt)};
      }
      try {
        if (!resolved || length != last) {
          resolved = false;
          resolve_size(size, length, memory);
          last = length;
          resolved = true;
        }
        decide(row, slice(block.embeddings, r * scorer->dimension(), scorer->dimension()), r,
               memory);
      } catch (const Error& error) {
        // Options that leave no pair, or a text longer than `size` allows; others are refused for
        // every row.
        if (error.code() != ErrorCode::kInvalidArgument && error.code() != ErrorCode::kBudget) {
          throw;
        }
        reasons[row] = RowReason::kNoOption;
      }
    }
  });
}

internal::Rule Router::State::resolve_rule(const RouteOptions& options,
                                           const QuerySize& size) const {
  internal::Rule rule;
  internal::resolve(options, defaults, *table.pool(), rule);
  internal::resolve_size(size, {.expected = 0, .most = INT64_MAX}, rule);  // checks it
  return rule;
}

DecisionBatch Router::State::route(const QueryColumn& column, const RouteOptions& options,
                                   const QuerySize& size) const {
  const internal::Rule rule = resolve_rule(options, size);
  DecisionBatch batch = DecisionBatch::of(table.pool(), column.size());
  for_each_row(column, rule, options, size, batch.reason,
               [&](std::size_t row, const EmbeddingView& embedding, std::size_t r, Memory& memory) {
                 set_row(row, choose(embedding, r, memory), batch);
               });
  return batch;
}

internal::Rule Router::State::resolve_total(Total total, const RouteOptions& options,
                                            const QuerySize& size) const {
  for (const Setting& setting : settings()) {
    if (!setting.trade_off || !value_of(setting, options.policy)) continue;
    throw Error(ErrorCode::kInvalidArgument,
                std::string(to_string(total)) + " and " + std::string(setting.name) +
                    " contradict each other: the total decides what quality may cost; remove one "
                    "of them");
  }
  internal::Rule rule = resolve_rule(options, size);
  internal::limit_total(total, rule);
  return rule;
}

void Router::State::find_stairs(const EmbeddingView& embedding, std::size_t row, Total total,
                                const PriceRange& range, Memory& memory) const {
  const internal::EstimateView view = estimates_of(row, memory);
  internal::find_stairs(table, memory.rule, total, range, view,
                        ScorerSource(*scorer, embedding, view), memory.decision, memory.stairs);
}

void Router::State::price(const QueryColumn& column, TotalCurve& curve, PricedBatch* priced,
                          const RouteOptions& options, const QuerySize& size) const {
  const Total total = curve.total();
  const PriceRange range = curve.options().range;
  const internal::Rule rule = resolve_total(total, options, size);
  const SampledColumn sample(column, curve.rows(), curve.options().every);
  if (priced != nullptr && curve.options().every != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "the decisions of a sample cannot be kept: price all rows (every = 1)");
  }
  DecisionBatch batch = DecisionBatch::of(table.pool(), priced != nullptr ? sample.size() : 0);
  batch.reason.resize(sample.size());
  // The steps of each block, in whose order they are added.
  struct Steps {
    std::vector<TotalCurve::Step> costs;
    std::vector<PricedBatch::Step> options;
  };
  std::vector<Steps> blocks(sample.size() / kBatchRows + 1);
  for_each_row(sample, rule, options, size, batch.reason,
               [&](std::size_t row, const EmbeddingView& embedding, std::size_t r, Memory& memory) {
                 find_stairs(embedding, r, total, range, memory);
                 Steps& steps = blocks[row / kBatchRows];
                 internal::append_steps(memory.stairs, total, range, row, steps.costs);
                 if (priced == nullptr) return;
                 set_row(row, total, range, memory.stairs, batch, steps.options);
               });
  if (priced != nullptr) {
    const std::size_t before = priced->batch.size();
    for (Steps& steps : blocks) {
      for (PricedBatch::Step& step : steps.options) step.row += before;
      priced->steps.insert(priced->steps.end(), steps.options.begin(), steps.options.end());
    }
    priced->batch.append(batch);
  }
  for (const Steps& steps : blocks) curve.add(steps.costs, 0);
  curve.add({}, column.size());
}

DecisionBatch Router::State::route(const QueryColumn& column, const Allowance& allowance,
                                   const RouteOptions& options, const QuerySize& size) const {
  const internal::Rule rule = resolve_total(allowance.total, options, size);
  DecisionBatch batch = DecisionBatch::of(table.pool(), column.size());
  const PriceRange range{allowance.price_usd, allowance.price_usd};
  for_each_row(column, rule, options, size, batch.reason,
               [&](std::size_t row, const EmbeddingView& embedding, std::size_t r, Memory& memory) {
                 find_stairs(embedding, r, allowance.total, range, memory);
                 set_row(row, allowance, memory.stairs, batch);
               });
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
                                              state_->spreads, state_->table.kernel().name));
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

DecisionBatch Router::route_batch(std::span<const float> embeddings, const RouteOptions& options,
                                  std::span<const QuerySize> sizes) const {
  return state_->route_batch(embeddings, options, sizes);
}

DecisionBatch Router::route_batch(std::span<const double> embeddings, const RouteOptions& options,
                                  std::span<const QuerySize> sizes) const {
  return state_->route_batch(embeddings, options, sizes);
}

DecisionBatch Router::route(const QueryColumn& column, const RouteOptions& options,
                            const QuerySize& size) const {
  return state_->route(column, options, size);
}

void Router::price(const QueryColumn& column, TotalCurve& curve, const RouteOptions& options,
                   const QuerySize& size) const {
  state_->price(column, curve, nullptr, options, size);
}

void Router::price(const QueryColumn& column, TotalCurve& curve, PricedBatch& priced,
                   const RouteOptions& options, const QuerySize& size) const {
  state_->price(column, curve, &priced, options, size);
}

DecisionBatch Router::route(const QueryColumn& column, const Allowance& allowance,
                            const RouteOptions& options, const QuerySize& size) const {
  return state_->route(column, allowance, options, size);
}

std::size_t Router::dimension() const { return state_->scorer->dimension(); }
const Pool& Router::pool() const { return *state_->table.pool(); }
const Config& Router::config() const { return state_->config; }
const std::shared_ptr<const Scorer>& Router::scorer() const { return state_->scorer; }
const std::shared_ptr<const Encoder>& Router::encoder() const { return state_->encoder; }

}  // namespace r2router
