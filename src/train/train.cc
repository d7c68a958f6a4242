#include "r2router/train.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include "r2router/error.h"
#include "r2router/version.h"

#include "base/parallel.h"
#include "checkpoint/format_version.h"
#include "data/gaps.h"
#include "score/length_curves.h"
#include "train/json_text.h"
#include "train/learner.h"
#include "train/length_curves.h"
#include "train/ridge.h"

namespace r2router {
namespace {

using internal::fit_length_curve;
using internal::json_number;
using internal::json_text;
using internal::kHeadsPerPair;
using internal::Learner;
using internal::LearningProblem;
using internal::Length;
using internal::length_points;
using internal::RidgeProblem;

[[noreturn]] void throw_bad_option(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

[[noreturn]] void throw_bad_data(const std::string& message) {
  throw Error(ErrorCode::kBadData, message);
}

void check_options(const TrainOptions& options) {
  if (options.alphas.empty()) throw_bad_option("there is no α to train with: give at least one");
  for (const double alpha : options.alphas) {
    if (!(alpha > 0) || !std::isfinite(alpha)) {
      throw_bad_option("α is " + std::to_string(alpha) + ": expected a finite number above 0");
    }
  }
  for (const std::uint32_t neighbours : options.neighbours) {
    if (neighbours == 0) throw_bad_option("neighbours is 0: expected 1 or more");
  }
  if (options.neighbours.empty()) {
    throw_bad_option("there is no number of neighbours to train with: give at least one");
  }
  const MlpOptions& mlp = options.mlp;
  if (!(mlp.learning_rate > 0) || !std::isfinite(mlp.learning_rate)) {
    throw_bad_option("learning_rate is " + std::to_string(mlp.learning_rate) +
                     ": expected a finite number above 0");
  }
  if (!(mlp.dropout >= 0 && mlp.dropout < 1)) {
    throw_bad_option("dropout is " + std::to_string(mlp.dropout) +
                     ": expected a number from 0 to below 1");
  }
  if (mlp.batch == 0 || mlp.most_epochs == 0 || mlp.patience == 0 ||
      std::find(mlp.hidden.begin(), mlp.hidden.end(), 0u) != mlp.hidden.end()) {
    throw_bad_option(
        "batch, most_epochs, patience or the size of a hidden layer is 0: expected 1 or more");
  }
  if (options.folds < 2) {
    throw_bad_option("folds is " + std::to_string(options.folds) +
                     ": cross-validation needs at least 2");
  }
  if (options.predictor == PredictorKind::kMlp && options.folds < 3) {
    throw_bad_option(
        "folds is 2: a perceptron needs 3 or more, one to predict, one to stop by and the rest to "
        "train on");
  }
  if (options.holdout == 1) {
    throw_bad_option(
        "holdout is 1, which keeps every query out of training: give 0 for none, or 2 or "
        "more to keep one query in that many out");
  }
}

std::size_t thread_count(const TrainOptions& options) {
  return options.threads > 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

bool has_outcome(const OutcomeTable& table, std::size_t query) {
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    if (!std::isnan(table.scores[table.cell(query, pair)])) return true;
  }
  return false;
}

std::vector<std::vector<std::uint32_t>> make_folds(const OutcomeTable& table,
                                                   const TrainOptions& options) {
  std::vector<std::vector<std::uint32_t>> folds(options.folds);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    const std::string& text = table.queries[query].split_text();
    if (is_held_out(text, options.holdout) || !has_outcome(table, query)) continue;
    folds[fold_of(text, options.folds, options.seed)].push_back(static_cast<std::uint32_t>(query));
  }
  std::size_t queries = 0;
  for (const auto& fold : folds) queries += fold.size();
  for (const auto& fold : folds) {
    if (!fold.empty()) continue;
    throw_bad_data("queries to train on: " + std::to_string(queries) + ", too few to fill " +
                   std::to_string(options.folds) +
                   " folds; give more queries, or ask for fewer folds");
  }
  return folds;
}

/// Says which queries are not trained on, or not measured, for lack of outcomes.
void report_gaps(const OutcomeTable& table, const TrainOptions& options) {
  if (!options.log) return;
  std::vector<std::uint32_t> queries;
  for (std::uint32_t i = 0; i < table.queries.size(); ++i) {
    const QueryRecord& query = table.queries[i];
    if (query.original.empty() && !is_held_out(query.text, options.holdout)) queries.push_back(i);
  }
  const internal::Gaps gaps = internal::find_gaps(table, queries);
  std::string text = internal::describe(gaps);
  if (text.empty()) return;
  if (gaps.empty > 0) text += "; queries without an outcome are not used";
  if (gaps.incomplete > 0) {
    text += options.predictor == PredictorKind::kKnn
                ? "; neighbours are complete queries alone"
                : "; heads learn from the outcomes there are, settings are chosen on complete "
                  "queries";
  }
  options.log(LogLevel::kWarning, text);
}

/// The ridge penalty of the topics' scores. Small, because scores that hardly separate topics are
/// of no use, and no choice hangs on it: from 0.3 to 3, routers are alike.
constexpr double kTopicAlpha = 1;

/// For each query and topic, 1 or 0; NaN for a query of no topic.
std::vector<double> topic_targets(const OutcomeTable& table, const std::vector<std::string>& topics,
                                  const std::vector<std::vector<std::uint32_t>>& folds) {
  std::map<std::string_view, std::size_t> number_of;
  for (const std::string& topic : topics) number_of.emplace(topic, number_of.size());
  std::vector<double> targets(table.queries.size() * topics.size(),
                              std::numeric_limits<double>::quiet_NaN());
  std::vector<std::size_t> queries(topics.size());
  std::size_t folds_with_topics = 0;
  for (const std::vector<std::uint32_t>& fold : folds) {
    bool any = false;
    for (const std::uint32_t query : fold) {
      const auto topic = number_of.find(table.queries[query].dataset);
      if (topic == number_of.end()) continue;
      const auto row = targets.begin() + static_cast<std::ptrdiff_t>(query * topics.size());
      std::fill_n(row, topics.size(), 0.0);
      row[static_cast<std::ptrdiff_t>(topic->second)] = 1;
      ++queries[topic->second];
      any = true;
    }
    folds_with_topics += any;
  }
  for (std::size_t topic = 0; topic < topics.size(); ++topic) {
    if (queries[topic] > 0) continue;
    throw_bad_data("no query that is trained on is of the dataset \"" + topics[topic] +
                   "\", so it cannot be recognised: leave it out of the encoder's topics");
  }
  if (folds_with_topics < 2) {
    throw_bad_data(
        "all queries of the encoder's topics are in one fold, so that it cannot learn "
        "to recognise them: give more queries");
  }
  return targets;
}

/// Teaches the encoder its topics, and appends to each query's features in `embeddings` its shares.
TopicScores learn_topics(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                         const std::vector<float>& idf, const TrainOptions& options,
                         std::vector<float>& embeddings) {
  const std::vector<std::vector<std::uint32_t>> folds = make_folds(table, options);
  const std::vector<double> targets = topic_targets(table, encoder.topics, folds);
  const RidgeProblem problem{.embeddings = embeddings,
                             .dimension = encoder.dimension,
                             .targets = targets,
                             .heads = encoder.topics.size(),
                             .folds = folds};
  const internal::RidgeSolver solver(problem, thread_count(options));
  const auto learn = [&](std::optional<std::size_t> left_out) {
    const internal::LinearFit fit = solver.fit({&kTopicAlpha, 1}, left_out).front();
    const auto weights = fit.weights.reshaped().cast<float>();  // a column, so a row of scores each
    const auto intercepts = fit.intercepts.cast<float>();
    return TopicScores{{weights.begin(), weights.end()}, {intercepts.begin(), intercepts.end()}};
  };

  TopicScores scores = learn({});
  const std::size_t dimension = encoder.embedding_dimension();
  std::vector<float> with_shares(table.queries.size() * dimension);
  const auto embed = [&](std::size_t query, const Embedder& embedder) {
    const std::string_view text = table.queries[query].text;
    embedder.embed({&text, 1}, std::span(with_shares).subspan(query * dimension, dimension));
  };
  const auto learned_from_all = make_lexical_encoder(encoder, idf, scores);
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    embed(query, *learned_from_all);
  }
  for (std::size_t fold = 0; fold < folds.size(); ++fold) {
    const auto learned_from_others = make_lexical_encoder(encoder, idf, learn(fold));
    for (const std::uint32_t query : folds[fold]) embed(query, *learned_from_others);
  }
  embeddings = std::move(with_shares);
  return scores;
}

/// Every head must have something to learn from whichever fold is left out.
void check_outcomes(const OutcomeTable& table,
                    const std::vector<std::vector<std::uint32_t>>& folds) {
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    std::size_t folds_with_outcomes = 0;
    for (const std::vector<std::uint32_t>& fold : folds) {
      folds_with_outcomes += std::any_of(fold.begin(), fold.end(), [&](std::uint32_t query) {
        return !std::isnan(table.scores[table.cell(query, pair)]);
      });
    }
    if (folds_with_outcomes >= 2) continue;
    throw_bad_data(table.models[table.pairs[pair].model].name + " at budget " +
                   table.pairs[pair].budget.to_string() +
                   " has too few outcomes to train on: expected some in at least two folds; leave "
                   "the model out or add outcomes");
  }
}

double find_token_floor(const OutcomeTable& table,
                        const std::vector<std::vector<std::uint32_t>>& folds) {
  std::vector<double> lengths;
  for (const std::vector<std::uint32_t>& fold : folds) {
    for (const std::uint32_t query : fold) {
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        const double tokens = table.output_tokens[table.cell(query, pair)];
        if (table.pairs[pair].budget.is_unlimited() && !std::isnan(tokens)) {
          lengths.push_back(tokens);
        }
      }
    }
  }
  if (lengths.empty()) return 0;
  const auto quantile = lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 100);
  std::nth_element(lengths.begin(), quantile, lengths.end());
  return std::max(1.0, *quantile);
}

/// Averages over queries, kept as sums while folds are added.
void add_fold(const std::vector<PolicyPoint>& fold, double share,
              std::vector<PolicyPoint>& points) {
  points.resize(fold.size());
  for (std::size_t i = 0; i < fold.size(); ++i) {
    points[i].lambda = fold[i].lambda;
    points[i].cost += share * fold[i].cost;
    points[i].score += share * fold[i].score;
  }
}

/// Adds the squared error of each head; a quality is used clipped, and so it is measured.
void add_squared_errors(const OutcomeTable& table, const PredictionTable& predictions,
                        std::vector<double>& sums) {
  const std::size_t pairs = table.pairs.size();
  sums.resize(kHeadsPerPair * pairs);
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    const double quality = std::clamp(predictions.quality[cell], 0.0, 1.0) - table.scores[cell];
    const double tokens = predictions.output_tokens[cell] - table.output_tokens[cell];
    sums[kHeadsPerPair * (cell % pairs)] += quality * quality;
    sums[kHeadsPerPair * (cell % pairs) + 1] += tokens * tokens;
  }
}

/// What settings are judged by: queries that the heads were not fitted to.
struct Trial {
  std::vector<std::vector<std::uint32_t>> tested;  // of each fold: complete, and no edited copies
  std::vector<std::uint32_t> all_tested;
  BestSingle best;            // in the table's cost measure
  BestSingle best_available;  // in USD, as the router is going to decide
  std::vector<double> lambdas, lambdas_usd;
  SweepOptions whole_pool, as_served;

  double share(std::size_t fold) const {
    return static_cast<double>(tested[fold].size()) / static_cast<double>(all_tested.size());
  }
};

Trial make_trial(const LearningProblem& problem, double token_floor) {
  const OutcomeTable& table = problem.table;
  std::set<std::uint32_t> complete;  // edited copies are learned from, but not what is measured on
  for (const std::uint32_t query : complete_queries(table)) {
    if (table.queries[query].original.empty()) complete.insert(query);
  }
  Trial trial;
  for (const std::vector<std::uint32_t>& fold : problem.folds) {
    std::vector<std::uint32_t>& queries = trial.tested.emplace_back();
    std::ranges::copy_if(fold, std::back_inserter(queries),
                         [&](std::uint32_t query) { return complete.contains(query); });
    trial.all_tested.insert(trial.all_tested.end(), queries.begin(), queries.end());
  }
  if (trial.all_tested.empty()) {
    throw_bad_data(
        "no query that is trained on has an outcome of every (model, budget) pair, so no "
        "trade-off can be measured: choose models that answered the same queries");
  }
  const bool any_available = std::any_of(table.models.begin(), table.models.end(),
                                         [](const ModelSpec& model) { return model.available; });
  OutcomeTable every_fold = select_queries(table, trial.all_tested);
  trial.best = best_single(every_fold);
  trial.lambdas = lambda_grid(trial.best.unit);
  every_fold.cost_measure = CostMeasure::kUsd;
  trial.best_available = best_single(every_fold, any_available);
  trial.lambdas_usd = lambda_grid(best_single(every_fold).unit);
  trial.whole_pool = {.token_floor = token_floor};
  trial.as_served = {.token_floor = token_floor, .available_only = any_available};
  return trial;
}

/// The sweep over the whole pool of each setting, and of the mean curve.
struct Comparison {
  std::vector<std::vector<PolicyPoint>> settings;
  std::vector<PolicyPoint> mean_curve;
};

Comparison compare_settings(const LearningProblem& problem, const Trial& trial, Learner& learner) {
  const ProgressCallback& progress = problem.options.progress;
  std::vector<std::size_t> settings(learner.settings());
  std::iota(settings.begin(), settings.end(), std::size_t{0});
  Comparison result;
  result.settings.resize(settings.size());
  for (std::size_t fold = 0; fold < problem.folds.size(); ++fold) {
    if (progress) progress("cross-validating", fold, problem.folds.size());
    if (trial.tested[fold].empty()) continue;
    std::vector<std::uint32_t> others;
    for (std::size_t other = 0; other < problem.folds.size(); ++other) {
      if (other == fold) continue;
      others.insert(others.end(), problem.folds[other].begin(), problem.folds[other].end());
    }
    const OutcomeTable table = select_queries(problem.table, trial.tested[fold]);
    add_fold(sweep(table, predict_means(table, select_queries(problem.table, others)),
                   trial.lambdas, trial.whole_pool),
             trial.share(fold), result.mean_curve);
    const std::vector<PredictionTable> predictions =
        learner.predict_left_out(fold, trial.tested[fold], settings);
    internal::parallel_for(problem.threads, predictions.size(), [&](std::size_t i) {
      add_fold(sweep(table, predictions[i], trial.lambdas, trial.whole_pool), trial.share(fold),
               result.settings[i]);
    });
  }
  if (progress) progress("cross-validating", problem.folds.size(), problem.folds.size());
  return result;
}

/// The predicted and observed lengths of a pair in all folds but one, or in all.
std::vector<Length> lengths_of(const std::vector<OutcomeTable>& tables,
                               const std::vector<PredictionTable>& predictions, std::size_t pair,
                               std::size_t left_out) {
  std::vector<Length> lengths;
  for (std::size_t fold = 0; fold < tables.size(); ++fold) {
    if (fold == left_out) continue;
    for (std::size_t query = 0; query < tables[fold].queries.size(); ++query) {
      const std::size_t cell = tables[fold].cell(query, pair);
      lengths.push_back({predictions[fold].output_tokens[cell], tables[fold].output_tokens[cell]});
    }
  }
  return lengths;
}

/// What the chosen setting is worth, with its lengths corrected.
struct Validation {
  std::vector<LengthCurve> curves;     // one for each pair, or none if there are too few queries
  std::vector<PolicyPoint> all;        // over the whole pool
  std::vector<PolicyPoint> available;  // as users are served, in USD: chooses λ
  std::vector<double> squared_errors;  // summed, of each head
};

Validation validate_setting(const LearningProblem& problem, const Trial& trial, Learner& learner,
                            std::size_t setting) {
  const std::size_t folds = problem.folds.size(), pairs = problem.table.pairs.size();
  std::vector<OutcomeTable> tables(folds);
  std::vector<PredictionTable> predictions(folds);
  // Predicted once more, since those of all settings together would take a great deal of memory.
  for (std::size_t fold = 0; fold < folds; ++fold) {
    tables[fold] = select_queries(problem.table, trial.tested[fold]);
    if (trial.tested[fold].empty()) continue;
    predictions[fold] = learner.predict_left_out(fold, trial.tested[fold], {&setting, 1}).front();
  }
  // Curves that correct a fold must not have seen it; where there are too few for those, there are
  // none at all.
  std::size_t fewest = trial.all_tested.size();
  for (const std::vector<std::uint32_t>& fold : trial.tested) {
    fewest = std::min(fewest, trial.all_tested.size() - fold.size());
  }
  const std::size_t points = length_points(fewest);
  Validation result;
  std::vector<PredictionTable> corrected = predictions;
  if (points >= 2) {
    result.curves.resize(pairs);
    internal::parallel_for(problem.threads, pairs, [&](std::size_t pair) {
      result.curves[pair] = fit_length_curve(lengths_of(tables, predictions, pair, folds), points);
      for (std::size_t fold = 0; fold < folds; ++fold) {
        const LengthCurve curve =
            fit_length_curve(lengths_of(tables, predictions, pair, fold), points);
        for (std::size_t query = 0; query < tables[fold].queries.size(); ++query) {
          double& tokens = corrected[fold].output_tokens[tables[fold].cell(query, pair)];
          tokens = score::correct(curve, tokens);
        }
      }
    });
  }
  for (std::size_t fold = 0; fold < folds; ++fold) {
    if (trial.tested[fold].empty()) continue;
    add_squared_errors(tables[fold], corrected[fold], result.squared_errors);
    add_fold(sweep(tables[fold], corrected[fold], trial.lambdas, trial.whole_pool),
             trial.share(fold), result.all);
    tables[fold].cost_measure = CostMeasure::kUsd;
    add_fold(sweep(tables[fold], corrected[fold], trial.lambdas_usd, trial.as_served),
             trial.share(fold), result.available);
  }
  return result;
}

/// The index of the best setting; of equally good ones the most cautious, which is safer.
std::size_t choose_setting(const Learner& learner, const std::vector<DeferralMetrics>& metrics) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < metrics.size(); ++i) {
    const bool better = metrics[i].audc != metrics[best].audc
                            ? metrics[i].audc > metrics[best].audc
                            : learner.caution(i) > learner.caution(best);
    if (better) best = i;
  }
  return best;
}

/// The cheapest setting that reaches 95 % of the best single model's score, or else the best
/// setting.
DeferralPoint choose_default(const std::vector<PolicyPoint>& points, const BestSingle& best) {
  const PolicyPoint* chosen = nullptr;
  for (const PolicyPoint& point : points) {
    if (point.score < 0.95 * best.score) continue;
    // Of equal costs, such as those of free models, the better one.
    if (chosen == nullptr || point.cost < chosen->cost ||
        (point.cost == chosen->cost && point.score > chosen->score)) {
      chosen = &point;
    }
  }
  if (chosen == nullptr) {
    chosen = &*std::max_element(points.begin(), points.end(),
                                [](const auto& a, const auto& b) { return a.score < b.score; });
  }
  return {chosen->cost / best.unit, chosen->score, chosen->lambda};
}

std::string json_metrics(const DeferralMetrics& metrics) {
  return "{\"audc\": " + json_number(metrics.audc) + ", \"qnc\": " + json_number(metrics.qnc) +
         ", \"peak\": " + json_number(metrics.peak) + ", \"c95\": " + json_number(metrics.c95) +
         "}";
}

/// Where the checkpoint comes from, for its config: enough to make it again, and nothing (no date,
/// no path) that would differ when it is.
std::string provenance(const OutcomeTable& table, const TrainOptions& options,
                       const TrainReport& report, const Learner& learner, std::size_t chosen,
                       const std::vector<DeferralMetrics>& metrics) {
  std::string settings;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    settings += (settings.empty() ? "{" : ", {") + learner.describe(i) +
                ", \"audc\": " + json_number(metrics[i].audc) + "}";
  }
  const char* const list = options.predictor == PredictorKind::kRidge ? "alphas" : "settings";
  return "{\"program\": " + json_text(std::string("r2router ") + version()) +
         ", \"data\": " + internal::json_sources(table.sources) +
         ", \"training_queries\": " + std::to_string(report.training_queries) +
         ", \"held_out_queries\": " + std::to_string(report.held_out_queries) +
         ", \"holdout\": " + std::to_string(options.holdout) +
         ", \"folds\": " + std::to_string(options.folds) +
         ", \"seed\": " + std::to_string(options.seed) +
         (table.cost_measure == CostMeasure::kUsd
              ? ""
              : ", \"cost\": " + json_text(std::string(to_string(table.cost_measure)))) +
         ", " + learner.describe(chosen) + ", \"cross_validated\": {\"" + list + "\": [" +
         settings + "], \"router\": " + json_metrics(report.metrics) +
         ", \"mean_curve\": " + json_metrics(report.mean_curve) +
         ", \"default_lambda\": {\"score\": " + json_number(report.default_score) +
         ", \"cost\": " + json_number(report.default_cost) + "}}}";
}

std::unique_ptr<Learner> make_learner(const LearningProblem& problem) {
  switch (problem.options.predictor) {
    case PredictorKind::kKnn:
      return internal::make_knn_learner(problem);
    case PredictorKind::kMlp:
      return internal::make_mlp_learner(problem);
    case PredictorKind::kRidge:
      break;
  }
  return internal::make_ridge_learner(problem);
}

}  // namespace

void internal::check_embeddings(const OutcomeTable& table, std::span<const float> embeddings,
                                std::size_t dimension) {
  if (dimension == 0 || embeddings.size() / dimension != table.queries.size() ||
      embeddings.size() % dimension != 0) {
    throw_bad_option("there are " + std::to_string(table.queries.size()) + " queries and " +
                     std::to_string(embeddings.size()) + " numbers of embeddings of dimension " +
                     std::to_string(dimension) + ": expected one embedding for each query");
  }
  const auto bad = std::find_if(embeddings.begin(), embeddings.end(),
                                [](float value) { return !std::isfinite(value); });
  if (bad != embeddings.end()) {
    const auto position = static_cast<std::size_t>(bad - embeddings.begin());
    throw_bad_option("the embedding of query \"" + table.queries[position / dimension].id +
                     "\" has a value that is not a finite number, in dimension " +
                     std::to_string(position % dimension));
  }
}

std::vector<HeadName> internal::name_heads(const OutcomeTable& table) {
  std::vector<HeadName> names;
  for (const Pair& pair : table.pairs) {
    names.push_back({pair, Target::kQuality});
    names.push_back({pair, Target::kTokens});
  }
  return names;
}

std::vector<double> internal::head_targets(const OutcomeTable& table) {
  std::vector<double> targets(table.scores.size() * kHeadsPerPair);
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    targets[kHeadsPerPair * cell] = table.scores[cell];
    targets[kHeadsPerPair * cell + 1] = table.output_tokens[cell];
  }
  return targets;
}

Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                 std::size_t dimension, const TrainOptions& options, TrainReport* report_out) {
  check_options(options);
  validate(table);
  internal::check_embeddings(table, embeddings, dimension);

  TrainReport report;
  const LearningProblem problem{.table = table,
                                .embeddings = embeddings,
                                .dimension = dimension,
                                .folds = make_folds(table, options),
                                .options = options,
                                .threads = thread_count(options)};
  check_outcomes(table, problem.folds);
  report_gaps(table, options);
  const auto is_original = [&](std::size_t query) { return table.queries[query].original.empty(); };
  for (const auto& fold : problem.folds) {
    report.training_queries +=
        static_cast<std::size_t>(std::count_if(fold.begin(), fold.end(), is_original));
  }
  for (const QueryRecord& query : table.queries) {
    report.held_out_queries += query.original.empty() && is_held_out(query.text, options.holdout);
  }
  report.heads = kHeadsPerPair * table.pairs.size();

  if (options.progress) options.progress("reading embeddings", 0, 1);
  const std::unique_ptr<Learner> learner = make_learner(problem);
  const double token_floor = find_token_floor(table, problem.folds);
  const Trial trial = make_trial(problem, token_floor);
  const auto measured = [&](const std::vector<PolicyPoint>& points) {
    return measure(deferral_curve(points, trial.best.unit), trial.best.score);
  };
  const Comparison comparison = compare_settings(problem, trial, *learner);
  std::vector<DeferralMetrics> metrics;
  for (const auto& points : comparison.settings) metrics.push_back(measured(points));
  const std::size_t best = choose_setting(*learner, metrics);
  learner->report(best, metrics, report);
  report.mean_curve = measured(comparison.mean_curve);
  const Validation validation = validate_setting(problem, trial, *learner, best);
  report.metrics = measured(validation.all);
  const DeferralPoint chosen = choose_default(validation.available, trial.best_available);
  report.default_lambda = chosen.lambda;
  report.default_score = chosen.score;
  report.default_cost = chosen.cost;
  report.best_available = trial.best_available;

  if (options.progress) options.progress("fitting", 0, 1);
  Checkpoint checkpoint;
  checkpoint.predictor = learner->fit(best);
  for (const double sum : validation.squared_errors) {
    checkpoint.spreads.push_back(std::sqrt(sum / static_cast<double>(trial.all_tested.size())));
  }
  checkpoint.length_curves = validation.curves;  // a length head for each pair, in the same order
  Config& config = checkpoint.config;
  config.method = learner->method();
  config.predictor = options.predictor;
  config.embedding_dim = static_cast<std::uint32_t>(dimension);
  config.policy.lambda = report.default_lambda;
  std::set<Budget> budgets;
  for (const Pair& pair : table.pairs) budgets.insert(pair.budget);
  config.token_limits.assign(budgets.begin(), budgets.end());
  config.models = table.models;
  config.budget_mode = table.budget_mode;
  config.policy.rules = DecisionRules::kCorrected;
  config.policy.token_floor = token_floor;
  if (!validation.curves.empty()) {
    config.length_points = static_cast<std::uint32_t>(validation.curves.front().predicted.size());
  }
  config.training = provenance(table, options, report, *learner, best, metrics);
  config.format_version = internal::format_version_for(config);
  if (options.progress) options.progress("fitting", 1, 1);
  if (report_out != nullptr) *report_out = std::move(report);
  return checkpoint;
}

Checkpoint train(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                 const TrainOptions& options, TrainReport* report) {
  check_options(options);
  validate(table);
  std::vector<std::string_view> texts;
  for (const QueryRecord& query : table.queries) texts.push_back(query.text);
  const std::size_t dimension = encoder.dimension;
  std::vector<float> embeddings(texts.size() * dimension);
  LexicalEncoderSpec features = encoder;  // without what is still to be learned
  features.topics.clear();
  LexicalEncoderSpec plain = features;
  plain.has_idf = false;
  make_lexical_encoder(plain)->embed(texts, embeddings);

  std::vector<float> idf;
  if (encoder.has_idf) {
    std::vector<double> with_feature(dimension);
    double trained = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (is_held_out(table.queries[i].split_text(), options.holdout)) continue;
      ++trained;
      for (std::size_t j = 0; j < dimension; ++j) {
        with_feature[j] += embeddings[i * dimension + j] != 0;
      }
    }
    for (const double count : with_feature) {
      idf.push_back(static_cast<float>(1 + std::log((1 + trained) / (1 + count))));
    }
    make_lexical_encoder(features, idf)->embed(texts, embeddings);
  }
  TopicScores topics;
  if (!encoder.topics.empty()) topics = learn_topics(table, encoder, idf, options, embeddings);

  Checkpoint checkpoint = train(table, embeddings, encoder.embedding_dimension(), options, report);
  checkpoint.config.embedding_model = "lexical";
  checkpoint.config.encoder = encoder;
  checkpoint.config.format_version = internal::format_version_for(checkpoint.config);
  checkpoint.idf = std::move(idf);
  checkpoint.topics = std::move(topics);
  return checkpoint;
}

}  // namespace r2router
