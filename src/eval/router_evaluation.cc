#include "r2router/eval/router_evaluation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

#include "r2router/error.h"

#include "base/suggestion.h"
#include "base/unicode.h"
#include "data/gaps.h"

namespace r2router::eval {
namespace {

/// As in CARROT's paper; each only where there are enough queries to search.
constexpr std::uint32_t kDefaultNeighbours[] = {5, 80};
constexpr std::size_t kQueriesPerNeighbour = 10;
/// Policies that evaluate() adds by itself.
constexpr std::string_view kMixing = "random mixing";
/// Names that select several policies.
constexpr std::string_view kStandard = "standard", kModels = "models";
/// Routers of each kind of predictor, which cross-validation can train for comparison.
constexpr std::pair<std::string_view, PredictorKind> kTrainedRouters[] = {
    {"ridge router", PredictorKind::kRidge},
    {"kNN router", PredictorKind::kKnn},
    {"MLP router", PredictorKind::kMlp}};

/// A name as it is compared: in small letters, with spaces for hyphens.
std::string plain(std::string_view name) {
  std::string result = internal::lower_case(name);
  std::ranges::replace(result, '-', ' ');
  return result;
}

std::string neighbours_name(std::uint32_t k) { return "kNN-" + std::to_string(k); }

/// The k of "knn-k".
std::optional<std::uint32_t> neighbours_of(const std::string& plain_name) {
  if (!plain_name.starts_with("knn ")) return std::nullopt;
  const char* const begin = plain_name.data() + 4;
  const char* const end = plain_name.data() + plain_name.size();
  std::uint32_t k = 0;
  const auto [stop, error] = std::from_chars(begin, end, k);
  if (error != std::errc{} || stop != end || k == 0) return std::nullopt;
  return k;
}

/// Which policies are wanted.
class Selection {
 public:
  /// Throws Error(kNotFound) for a name that is neither of `known` (policies that need no search
  /// for neighbours) nor of kTrainedRouters (left out unless they are named), nor of the table's
  /// models.
  Selection(const std::vector<std::string>& against, const std::vector<std::string>& known,
            const Pool& models)
      : everything_(against.empty()) {
    std::vector<std::string> standard = known;
    standard.emplace_back(kMixing);
    std::vector<std::string> names = standard;
    for (const auto& [name, kind] : kTrainedRouters) names.emplace_back(name);
    for (const ModelSpec& model : models) names.push_back(model.name);
    names.emplace_back(kStandard);
    names.emplace_back(kModels);
    for (const std::string& name : against) {
      const std::string wanted = plain(name);
      if (const auto k = neighbours_of(wanted)) {
        neighbours_.push_back(*k);
      } else if (wanted == kStandard || wanted == kModels) {
        if (wanted == kStandard) insert(standard);
        for (const ModelSpec& model : models) policies_.insert(plain(model.name));
      } else if (std::any_of(names.begin(), names.end(),
                             [&](const std::string& other) { return plain(other) == wanted; })) {
        policies_.insert(wanted);
      } else {
        throw_unknown(name, names);
      }
    }
  }

  bool wants(const std::string& policy) const { return everything_ || names(policy); }
  /// Whether it was asked for by its own name.
  bool names(std::string_view policy) const { return policies_.contains(plain(policy)); }
  const std::vector<std::uint32_t>& neighbours() const { return neighbours_; }

 private:
  void insert(const std::vector<std::string>& names) {
    for (const std::string& name : names) policies_.insert(plain(name));
  }

  [[noreturn]] static void throw_unknown(const std::string& name,
                                         const std::vector<std::string>& names) {
    const auto meant = internal::likely_name(name, names);
    std::string known;
    for (const std::string& other : names) known += (known.empty() ? "" : ", ") + other;
    throw Error(ErrorCode::kNotFound, "there is no policy \"" + name + "\"" +
                                          (meant ? "; did you mean \"" + *meant + "\"?" : ".") +
                                          " There are: " + known + ", and knn-K for K neighbours");
  }

  bool everything_;
  std::set<std::string> policies_;
  std::vector<std::uint32_t> neighbours_;
};

/// Trains a router with a kind of predictor on what the one evaluated was trained on.
using TrainRival = std::function<Router(PredictorKind)>;

/// The router and what it is compared with, and what it chooses at its default λ.
struct Contest {
  std::vector<Contender> contenders;
  double default_lambda = 0;
  std::vector<std::uint32_t> default_pairs = {};  ///< for each query
};

/// What the router chooses at its default λ, as route does: by money and without models that are
/// not available, unless all are.
std::vector<std::uint32_t> choose_by_default(const Router& router, const OutcomeTable& table,
                                             const PredictionTable& predictions) {
  if (table.queries.empty()) return {};
  OutcomeTable in_usd = table;
  in_usd.cost_measure = CostMeasure::kUsd;
  bool any_available = false;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const bool known = !std::isnan(predictions.quality[table.cell(0, pair)]);
    any_available |= known && table.models[table.pairs[pair].model].available;
  }
  const std::vector<double> lambda = {router.config().default_lambda()};
  return choose_pairs(in_usd, predictions, lambda,
                      {.token_floor = router.config().policy.token_floor.value_or(0),
                       .available_only = any_available})
      .pairs;
}

/// `train_rival` may be empty. `queries`: how many complete ones all of the data has, by which the
/// k of CARROT-KNN is chosen unless it is asked for: the same for every fold.
Contest prepare(const Router& router, const TrainRival& train_rival, const OutcomeData& test,
                const OutcomeData& training, std::size_t queries,
                const EvaluationOptions& options) {
  if (options.progress) options.progress("predicting", 0, 1);
  const std::vector<float> embeddings = embed(router, test);
  const PredictionTable predictions =
      predict(test.table, router.pool(), *router.scorer(), embeddings);
  const SweepOptions sweep_options = {.token_floor = router.config().policy.token_floor.value_or(0),
                                      .available_only = options.available_only};
  Contest contest;
  const std::vector<Contender> standard =
      standard_contenders(test.table, predictions, training.table, sweep_options);
  std::vector<std::string> names;
  for (const Contender& contender : standard) names.push_back(contender.name);
  const Selection selection(options.against, names, test.table.models);
  for (const Contender& contender : standard) {
    if (contender.name == "router" || selection.wants(contender.name)) {
      contest.contenders.push_back(contender);
    }
  }
  std::vector<std::uint32_t> neighbours = selection.neighbours();
  if (options.against.empty()) {
    for (const std::uint32_t k : kDefaultNeighbours) {
      if (queries >= kQueriesPerNeighbour * k) neighbours.push_back(k);
    }
  }
  const auto trained = std::ranges::count_if(
      kTrainedRouters, [&](const auto& rival) { return selection.names(rival.first); });
  const std::size_t total =
      1 + options.rivals.size() + static_cast<std::size_t>(trained) + neighbours.size();
  std::size_t done = 0;
  const auto start_next = [&] {
    if (options.progress) options.progress("predicting", ++done, total);
  };
  for (const auto& [name, rival] : options.rivals) {
    start_next();
    contest.contenders.push_back(
        {name,
         predict(test.table, rival.pool(), *rival.scorer(), embed(rival, test)),
         {.token_floor = rival.config().policy.token_floor.value_or(0),
          .available_only = options.available_only}});
  }
  for (const auto& [name, kind] : kTrainedRouters) {
    if (!selection.names(name)) continue;
    if (!train_rival) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the policy \"" + std::string(name) +
                      "\" is a router to be trained: evaluate by cross-validation (folds), "
                      "or do not compare with it");
    }
    start_next();
    const Router rival = train_rival(kind);
    contest.contenders.push_back(
        {std::string(name), predict(test.table, rival.pool(), *rival.scorer(), embed(rival, test)),
         sweep_options});
  }
  if (!neighbours.empty()) {
    const OutcomeData known = select_rows(training, complete_queries(training.table));
    const std::vector<float> known_embeddings = embed(router, known);
    for (const std::uint32_t k : neighbours) {
      start_next();
      contest.contenders.push_back({neighbours_name(k),
                                    predict_neighbours(test.table, embeddings, known.table,
                                                       known_embeddings, router.dimension(), k),
                                    sweep_options});
    }
  }
  contest.default_lambda = router.config().default_lambda();
  contest.default_pairs = choose_by_default(router, test.table, predictions);
  return contest;
}

RouterEvaluation finish(OutcomeTable table, Contest contest, const EvaluationOptions& options) {
  RouterEvaluation result;
  result.default_lambda = contest.default_lambda;
  result.resampling = options.resampling;
  ResampleOptions resampling = options.resampling;
  if (options.progress && !resampling.progress) {
    resampling.progress = [&](std::size_t done, std::size_t total) {
      options.progress("resampling", done, total);
    };
  }
  result.evaluation = evaluate(table, contest.contenders, options.available_only, resampling);
  result.at_default =
      evaluate_chosen(table, contest.default_pairs, result.evaluation.best_single, resampling);
  const std::vector<ContenderResult>& policies = result.evaluation.policies;
  const auto mixing = std::ranges::find(policies, kMixing, &ContenderResult::name);
  result.over_mixing.audc = policies.front().metrics.audc - mixing->metrics.audc;
  if (mixing->advantage) result.over_mixing.interval = mixing->advantage->audc;
  if (options.by_dataset) {
    result.datasets =
        evaluate_datasets(table, contest.contenders, options.available_only, resampling);
  }
  std::vector<std::string> names;
  for (const Contender& contender : contest.contenders) names.push_back(contender.name);
  const Selection selection(options.against, names, table.models);
  const auto unwanted = [&](const ContenderResult& policy) {
    return std::find(names.begin(), names.end(), policy.name) == names.end() &&
           !selection.wants(policy.name);
  };
  std::erase_if(result.evaluation.policies, unwanted);
  for (DatasetEvaluation& dataset : result.datasets) {
    std::erase_if(dataset.evaluation.policies, unwanted);
  }
  result.evaluation.policies.front().name = options.name;
  for (DatasetEvaluation& dataset : result.datasets) {
    dataset.evaluation.policies.front().name = options.name;
  }
  result.table = std::move(table);
  return result;
}

/// Warns of queries that are not evaluated for lack of outcomes.
void report_incomplete(const OutcomeTable& table, const LogCallback& log) {
  std::vector<std::uint32_t> all(table.queries.size());
  std::iota(all.begin(), all.end(), 0u);
  const std::string gaps = internal::describe(internal::find_gaps(table, all));
  if (gaps.empty()) return;
  log(LogLevel::kWarning, gaps + "; only queries with every outcome are evaluated");
}

/// Warns of outcomes at budgets that the router does not know.
void report_unknown_pairs(const Router& router, const OutcomeTable& table, const LogCallback& log) {
  internal::Counts unknown;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    const Pair& own = table.pairs[pair];
    const std::string& name = table.models[own.model].name;
    const auto is_own = [&](const Pair& known) {
      return known.budget == own.budget && router.pool()[known.model].name == name;
    };
    if (std::ranges::any_of(router.scorer()->pairs(), is_own)) continue;
    std::size_t outcomes = 0;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      outcomes += !std::isnan(table.scores[table.cell(query, pair)]);
    }
    unknown.emplace_back(name + " at " + own.budget.to_string(), outcomes);
  }
  if (unknown.empty()) return;
  log(LogLevel::kWarning, "the router has no predictions for these pairs and never chooses them: " +
                              internal::list_counts(unknown));
}

/// Puts the predictions for some queries of a table among those for all.
void place(const PredictionTable& from, std::span<const std::uint32_t> queries, double token_floor,
           std::size_t pairs, PredictionTable& to) {
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      const std::size_t cell = queries[i] * pairs + pair;
      to.quality[cell] = from.quality[i * pairs + pair];
      // A NaN stays one.
      to.output_tokens[cell] = std::max(from.output_tokens[i * pairs + pair], token_floor);
    }
  }
}

}  // namespace

std::vector<float> embed(const Router& router, const OutcomeData& data) {
  if (!data.embeddings.empty()) {
    if (data.dimension == router.dimension()) return data.embeddings;
    throw Error(ErrorCode::kInvalidArgument,
                "the embeddings have " + std::to_string(data.dimension) +
                    " numbers each: expected " + std::to_string(router.dimension()) +
                    ", made by the encoder that the checkpoint was trained with (" +
                    router.config().embedding_model + ")",
                {.file = data.embeddings_file});
  }
  if (!router.encoder()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has no encoder of its own: give the queries' embeddings "
                "(model: " +
                    router.config().embedding_model + ")");
  }
  std::vector<std::string_view> texts;
  for (const QueryRecord& query : data.table.queries) texts.push_back(query.text);
  std::vector<float> embeddings(texts.size() * router.dimension());
  if (!texts.empty()) router.encoder()->embed(texts, embeddings);
  return embeddings;
}

RouterEvaluation evaluate_checkpoint(const Router& router, const OutcomeData& data,
                                     std::uint32_t holdout, const EvaluationOptions& options) {
  OutcomeData test = holdout > 0 ? select_part(data, holdout, true) : data;
  if (options.log) {
    report_unknown_pairs(router, data.table, options.log);
    report_incomplete(test.table, options.log);
  }
  test = select_rows(test, complete_queries(test.table));
  Contest contest = prepare(router, {}, test, select_part(data, holdout, false),
                            complete_queries(data.table).size(), options);
  return finish(std::move(test.table), std::move(contest), options);
}

std::optional<RouterEvaluation> evaluate_held_out(const Router& router, const OutcomeData& data,
                                                  std::uint32_t holdout, const LogCallback& log) {
  EvaluationOptions options{.resampling = {.resamples = kDefaultResamples}};
  options.against = {std::string(kStandard)};
  options.log = log;
  try {
    return evaluate_checkpoint(router, data, holdout, options);
  } catch (const Error& error) {
    if (log) log(LogLevel::kWarning, std::string("not evaluated: ") + error.what());
    return std::nullopt;
  }
}

RouterEvaluation cross_validate(const OutcomeData& data, const train::TrainRecipe& recipe,
                                std::uint32_t folds, const EvaluationOptions& options) {
  if (options.log) report_incomplete(data.table, options.log);
  const OutcomeData complete = select_rows(data, complete_queries(data.table));
  const std::size_t pairs = data.table.pairs.size();
  Contest whole;
  whole.default_lambda = std::numeric_limits<double>::quiet_NaN();
  whole.default_pairs.resize(complete.table.queries.size());
  for (std::uint32_t fold = 0; fold < folds; ++fold) {
    // Training divides what it is given by the same hash: another seed, or its folds would be ours.
    const std::uint64_t seed = recipe.options.seed + 0x5851f42d4c957f2d;
    const auto rows = [&](const OutcomeTable& table, bool in_fold) {
      std::vector<std::uint32_t> result;
      for (std::uint32_t i = 0; i < table.queries.size(); ++i) {
        if ((fold_of(table.queries[i].text, folds, seed) == fold) == in_fold) result.push_back(i);
      }
      return result;
    };
    const std::vector<std::uint32_t> tested = rows(complete.table, true);
    if (tested.empty()) continue;
    const OutcomeData training = select_rows(data, rows(data.table, false));
    const auto train_router = [&](PredictorKind kind) {
      train::TrainRecipe own = recipe;
      own.options.holdout = 0;
      own.options.predictor = kind;
      own.budget_prompt = "{budget}";  // it must have one, which is sent to nobody here
      return Router(train::train(training, own));
    };
    const Contest part =
        prepare(train_router(recipe.options.predictor), train_router, select_rows(complete, tested),
                training, complete.table.queries.size(), options);

    if (whole.contenders.empty()) {
      for (const Contender& contender : part.contenders) {
        Contender& added = whole.contenders.emplace_back(contender);
        added.sweep.token_floor = 0;  // it differs between folds, so place() applies it
        added.predictions.quality.assign(complete.table.scores.size(), 0);
        added.predictions.output_tokens = added.predictions.quality;
      }
    }
    for (std::size_t i = 0; i < whole.contenders.size(); ++i) {
      place(part.contenders[i].predictions, tested, part.contenders[i].sweep.token_floor, pairs,
            whole.contenders[i].predictions);
    }
    for (std::size_t i = 0; i < tested.size(); ++i) {
      whole.default_pairs[tested[i]] = part.default_pairs[i];
    }
  }
  if (whole.contenders.empty()) {
    throw Error(ErrorCode::kBadData,
                "no query has an outcome of every (model, budget) pair, so no trade-off can be "
                "measured: choose models that answered the same queries");
  }
  RouterEvaluation result = finish(complete.table, std::move(whole), options);
  result.folds = folds;
  return result;
}

std::optional<AddedModelComparison> compare_added_model(const Checkpoint& added,
                                                        const train::AddModelReport& report,
                                                        const OutcomeData& data,
                                                        std::uint32_t holdout,
                                                        const LogCallback& log) {
  if (!report.full || data.table.models.size() != added.config.models.size()) return std::nullopt;
  const OutcomeTable held_out = select_part(data, holdout, true).table;
  if (complete_queries(held_out).empty()) return std::nullopt;
  const auto metrics = [&](const Checkpoint& checkpoint) {
    return evaluate_checkpoint(Router(checkpoint), data, holdout, {.against = {"oracle"}})
        .evaluation.policies.front()
        .metrics;
  };
  try {
    return AddedModelComparison{metrics(added), metrics(report.full->checkpoint)};
  } catch (const Error& error) {
    if (log) log(LogLevel::kWarning, std::string("routers not compared: ") + error.what());
    return std::nullopt;
  }
}

}  // namespace r2router::eval
