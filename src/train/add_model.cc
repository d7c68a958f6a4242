// Adding a model to a checkpoint from a few of its outcomes.
//
// All heads of the new model share their probes, so one eigendecomposition K = U·Λ·Uᵀ of the
// centred Gram matrix serves every head and every strength α. In the rotated coordinates z = Uᵀ·y
// and G = Uᵀ·F, where the columns of F are what the mixture's heads predict, ridge regression from
// a mixture leaves z − G·c scaled by D⁻¹ = (Λ/α + 1)⁻¹, and the shares c are those of generalised
// least squares: (Gᵀ·D⁻¹·G + β·v)·c = Gᵀ·D⁻¹·z + β·v/m.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>

#include "r2router/error.h"
#include "r2router/version.h"

#include "base/decimal.h"
#include "base/excerpt.h"
#include "base/fold_hash.h"
#include "base/parallel.h"
#include "checkpoint/format_version.h"
#include "data/gaps.h"
#include "train/json_text.h"
#include "train/learner.h"
#include "train/problem.h"
#include "train/ridge.h"

namespace r2router {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using internal::kHeadsPerPair;

constexpr std::uint32_t kFewestProbes = 20;
constexpr std::uint32_t kMostProbes = 2000;

[[noreturn]] void throw_bad_option(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void check_strengths(const char* name, const std::vector<double>& values) {
  double last = 0;
  for (const double value : values) {
    if (!(value > last) || !std::isfinite(value)) {
      throw_bad_option(std::string(name) + " has " + std::to_string(value) +
                       ": expected finite numbers above 0, in ascending order");
    }
    last = value;
  }
  if (values.empty()) throw_bad_option(std::string(name) + " is empty: give at least one");
}

void check_options(const AddModelOptions& options) {
  if (options.probes < kFewestProbes || options.probes > kMostProbes) {
    throw_bad_option("probes is " + std::to_string(options.probes) + ": expected " +
                     std::to_string(kFewestProbes) + " to " + std::to_string(kMostProbes) +
                     "; with more outcomes, train the router again");
  }
  check_strengths("alphas", options.alphas);
  check_strengths("share_penalties", options.share_penalties);
  if (options.folds < 2) {
    throw_bad_option("folds is " + std::to_string(options.folds) +
                     ": cross-validation needs at least 2");
  }
  if (options.holdout == 1) {
    throw_bad_option("holdout is 1, which keeps every query out: give 0 for none, or 2 or more");
  }
}

const LinearHeads& linear_heads(const Checkpoint& checkpoint) {
  if (const auto* heads = std::get_if<LinearHeads>(&checkpoint.predictor)) return *heads;
  throw Error(ErrorCode::kUnsupported,
              "the checkpoint's predictor is \"" +
                  std::string(to_string(checkpoint.config.predictor)) +
                  "\": a model can be added to linear heads (\"ridge\") alone; train the router "
                  "again with the new model's outcomes");
}

/// The new model's part of the table.
struct NewModel {
  ModelSpec spec;
  std::vector<std::size_t> columns = {};     ///< its pairs in the table
  std::vector<Budget> budgets = {};          ///< of each column
  std::vector<std::uint32_t> outcomes = {};  ///< queries to learn from, in the order of probes
  std::vector<std::uint32_t> held_out = {};  ///< queries that are not

  std::size_t heads() const { return kHeadsPerPair * columns.size(); }
};

NewModel find_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                    const std::string& name, const AddModelOptions& options) {
  const Config& config = checkpoint.config;
  const auto has_name = [&](const ModelSpec& model) { return model.name == name; };
  const auto found = std::ranges::find_if(table.models, has_name);
  if (found == table.models.end()) {
    throw_bad_option("there are no outcomes of a model \"" + name + "\": name one that has some");
  }
  if (std::ranges::any_of(config.models, has_name)) {
    throw_bad_option("the checkpoint has a model \"" + name +
                     "\" already: give the new one another name, or train the router again");
  }
  NewModel model{.spec = *found};
  const auto index = static_cast<std::uint32_t>(found - table.models.begin());
  for (std::size_t column = 0; column < table.pairs.size(); ++column) {
    if (table.pairs[column].model != index) continue;
    const Budget budget = table.pairs[column].budget;
    const std::vector<Budget>& known = config.token_limits;
    if (!known.empty() && std::ranges::find(known, budget) == known.end()) {
      throw Error(ErrorCode::kBadData,
                  name + " has outcomes at budget " + budget.to_string() +
                      ", which is not among the checkpoint's: leave them out, or train the router "
                      "again");
    }
    model.columns.push_back(column);
    model.budgets.push_back(budget);
  }
  std::size_t incomplete = 0;
  for (std::uint32_t query = 0; query < table.queries.size(); ++query) {
    if (!table.queries[query].original.empty()) continue;  // an edited copy tells nothing new
    const bool complete = std::ranges::none_of(model.columns, [&](std::size_t column) {
      return std::isnan(table.scores[table.cell(query, column)]);
    });
    if (!complete || model.columns.empty()) {
      ++incomplete;
      continue;
    }
    const bool held_out = is_held_out(table.queries[query].text, options.holdout);
    (held_out ? model.held_out : model.outcomes).push_back(query);
  }
  if (options.log && incomplete > 0) {
    options.log(LogLevel::kWarning, internal::count_of(incomplete, "query", "queries") + " of " +
                                        with_thousands(table.queries.size()) +
                                        " are not used: they lack an outcome of " + excerpt(name));
  }
  std::ranges::stable_sort(model.outcomes, {}, [&](std::uint32_t query) {
    return internal::fold_hash(table.queries[query].text, options.seed);
  });
  if (model.outcomes.size() < kFewestProbes) {
    throw Error(ErrorCode::kBadData, name + " has outcomes of each of its pairs on " +
                                         std::to_string(model.outcomes.size()) +
                                         " queries that are not held out: expected at least " +
                                         std::to_string(kFewestProbes) + ", better a few hundred");
  }
  return model;
}

/// Targets of all heads for some queries, a query in each row.
MatrixXd gather_targets(const OutcomeTable& table, const NewModel& model,
                        std::span<const std::uint32_t> queries) {
  MatrixXd targets(static_cast<Index>(queries.size()), static_cast<Index>(model.heads()));
  for (Index row = 0; row < targets.rows(); ++row) {
    for (std::size_t i = 0; i < model.columns.size(); ++i) {
      const std::size_t cell = table.cell(queries[static_cast<std::size_t>(row)], model.columns[i]);
      targets(row, static_cast<Index>(kHeadsPerPair * i)) = table.scores[cell];
      targets(row, static_cast<Index>(kHeadsPerPair * i + 1)) = table.output_tokens[cell];
    }
  }
  return targets;
}

MatrixXd gather_embeddings(std::span<const float> embeddings, std::size_t dimension,
                           std::span<const std::uint32_t> queries) {
  MatrixXd rows(static_cast<Index>(queries.size()), static_cast<Index>(dimension));
  for (Index row = 0; row < rows.rows(); ++row) {
    const float* x = embeddings.data() + queries[static_cast<std::size_t>(row)] * dimension;
    rows.row(row) = Eigen::Map<const Eigen::RowVectorXf>(x, rows.cols()).cast<double>();
  }
  return rows;
}

/// The strength of the penalty on control variates' weights, as a share penalty: just enough for
/// residuals that are all alike.
constexpr double kControlPenalty = 0.01;

/// The heads of the checkpoint that a new head may be a mixture of.
struct Mixture {
  std::vector<std::uint32_t> models;
  MatrixXd weights;      ///< dimension × heads
  MatrixXd predictions;  ///< probes × heads, without intercepts, which centring would take away
  MatrixXd residuals;    ///< probes × those of the heads whose outcomes are known for every probe
};

MatrixXd to_matrix(const std::vector<VectorXd>& columns, Index rows) {
  MatrixXd matrix(rows, static_cast<Index>(columns.size()));
  for (std::size_t i = 0; i < columns.size(); ++i) matrix.col(static_cast<Index>(i)) = columns[i];
  return matrix;
}

/// A model's outcomes on the probes; empty if the table does not have them all.
VectorXd find_outcomes(const OutcomeTable& table, const std::string& model, Budget budget,
                       Target target, std::span<const std::uint32_t> probes) {
  const auto pair = std::ranges::find_if(table.pairs, [&](const Pair& other) {
    return other.budget == budget && table.models[other.model].name == model;
  });
  if (pair == table.pairs.end()) return {};
  const auto column = static_cast<std::size_t>(pair - table.pairs.begin());
  const std::vector<double>& values =
      target == Target::kQuality ? table.scores : table.output_tokens;
  VectorXd outcomes(static_cast<Index>(probes.size()));
  for (std::size_t i = 0; i < probes.size(); ++i) {
    outcomes[static_cast<Index>(i)] = values[table.cell(probes[i], column)];
  }
  return outcomes.hasNaN() ? VectorXd() : outcomes;
}

Mixture find_mixture(const Checkpoint& checkpoint, const OutcomeTable& table, Budget budget,
                     Target target, std::span<const std::uint32_t> probes,
                     const MatrixXd& embeddings) {
  const LinearHeads& heads = linear_heads(checkpoint);
  Mixture mixture;
  std::vector<VectorXd> columns, residuals;
  for (std::size_t i = 0; i < heads.names.size(); ++i) {
    const HeadName& name = heads.names[i];
    if (name.pair.budget != budget || name.target != target) continue;
    mixture.models.push_back(name.pair.model);
    std::visit(
        [&](const auto& weights) {
          using Value = typename std::decay_t<decltype(weights)>::value_type;
          using Row = Eigen::Matrix<Value, Eigen::Dynamic, 1>;
          columns.push_back(Eigen::Map<const Row>(weights.data() + i * heads.dimension,
                                                  static_cast<Index>(heads.dimension))
                                .template cast<double>());
        },
        heads.weights);
    const std::string& model = checkpoint.config.models[name.pair.model].name;
    const VectorXd outcomes = find_outcomes(table, model, budget, target, probes);
    if (outcomes.size() == 0) continue;
    residuals.push_back((outcomes - embeddings * columns.back()).array() - heads.intercepts[i]);
  }
  mixture.weights = to_matrix(columns, embeddings.cols());
  mixture.residuals = to_matrix(residuals, embeddings.rows());
  mixture.predictions = embeddings * mixture.weights;
  return mixture;
}

/// Probes that heads are fitted to, rotated. Rows of every matrix given are probes in this order.
struct Rotated {
  std::vector<Index> probes;
  Eigen::RowVectorXd gram_mean;  ///< of the probes' rows of the Gram matrix, by column
  double gram_grand_mean = 0;
  VectorXd eigenvalues;
  MatrixXd eigenvectors;

  Rotated(const MatrixXd& gram, std::vector<Index> some) : probes(std::move(some)) {
    MatrixXd centred = gram(probes, probes);
    gram_mean = centred.colwise().mean();
    gram_grand_mean = gram_mean.mean();
    centred.rowwise() -= gram_mean;
    centred.colwise() -= gram_mean.transpose();
    centred.array() += gram_grand_mean;
    const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(centred);
    eigenvalues = solver.eigenvalues().cwiseMax(0);
    eigenvectors = solver.eigenvectors();
  }

  /// Products of other probes, centred in the same way, with the eigenvectors.
  MatrixXd project(const MatrixXd& gram, const std::vector<Index>& others) const {
    MatrixXd products = gram(others, probes);
    const VectorXd means = products.rowwise().mean();
    products.rowwise() -= gram_mean;
    products.colwise() -= means;
    products.array() += gram_grand_mean;
    return products * eigenvectors;
  }
};

/// Columns of the probes' data, in rotated coordinates.
struct RotatedColumns {
  Eigen::RowVectorXd means;
  double variance = 0;  ///< mean over the columns of the sum of squares about the mean
  MatrixXd values;

  RotatedColumns(const Rotated& rotated, const MatrixXd& all) {
    MatrixXd columns = all(rotated.probes, Eigen::all);
    means = columns.colwise().mean();
    columns.rowwise() -= means;
    if (columns.cols() > 0) variance = columns.squaredNorm() / static_cast<double>(columns.cols());
    values = rotated.eigenvectors.transpose() * columns;
  }
};

/// One head's data.
struct RotatedHead {
  RotatedColumns target;    ///< z
  RotatedColumns mixture;   ///< G and v
  RotatedColumns controls;  ///< residuals of the heads in the mixture

  RotatedHead(const Rotated& rotated, const VectorXd& targets, const Mixture& all)
      : target(rotated, targets),
        mixture(rotated, all.predictions),
        controls(rotated, all.residuals) {}
};

/// The shares c of the mixture, a, so that w = Σ cⱼ·wⱼ + Xᵀ·U·a, and the mean that is left of the
/// target when the controls' is taken out.
struct Solution {
  VectorXd shares;
  VectorXd rest;
  double mean = 0;
};

/// For one α and each β.
std::vector<Solution> solve(const Rotated& rotated, const RotatedHead& head, double alpha,
                            const std::vector<double>& share_penalties) {
  const VectorXd inverse = (rotated.eigenvalues.array() / alpha + 1).inverse();
  const Index shares = head.mixture.values.cols(), controls = head.controls.values.cols();
  MatrixXd columns(head.target.values.rows(), shares + controls);
  columns << head.mixture.values, head.controls.values;
  const MatrixXd weighted = inverse.asDiagonal() * columns;
  const MatrixXd products = columns.transpose() * weighted;
  const VectorXd right = weighted.transpose() * head.target.values;
  VectorXd prior = VectorXd::Zero(shares + controls);
  prior.head(shares).setConstant(1 / std::max(1.0, static_cast<double>(shares)));
  std::vector<Solution> solutions;
  for (const double penalty : share_penalties) {
    VectorXd strengths(shares + controls);
    // Columns that are the same for every probe tell nothing, and must not make it singular.
    strengths.head(shares).setConstant(head.mixture.variance > 0 ? penalty * head.mixture.variance
                                                                 : 1);
    strengths.tail(controls).setConstant(
        head.controls.variance > 0 ? kControlPenalty * head.controls.variance : 1);
    MatrixXd penalised = products;
    penalised.diagonal() += strengths;
    const VectorXd solution = penalised.ldlt().solve(right + strengths.cwiseProduct(prior));
    const VectorXd left = head.target.values - columns * solution;
    solutions.push_back({solution.head(shares), inverse.cwiseProduct(left) / alpha,
                         head.target.means[0] - head.controls.means.dot(solution.tail(controls))});
  }
  return solutions;
}

/// The probes' numbers that are in a fold, or those that are not.
std::vector<Index> probes_of(const std::vector<std::uint32_t>& fold_of, std::uint32_t fold,
                             bool inside) {
  std::vector<Index> probes;
  for (std::size_t i = 0; i < fold_of.size(); ++i) {
    if ((fold_of[i] == fold) == inside) probes.push_back(static_cast<Index>(i));
  }
  return probes;
}

/// A head's squared errors, summed as its spread counts them: a quality is used clipped, and so it
/// is measured.
double sum_squares(const Eigen::ArrayXd& errors, const Eigen::ArrayXd& truth, Target target) {
  if (target == Target::kTokens) return errors.square().sum();
  return ((errors + truth).max(0.0).min(1.0) - truth).square().sum();
}

/// Squared errors on the probes that heads were not fitted to.
struct CrossValidated {
  // Averaged over the heads of a target.
  MatrixXd errors[kHeadsPerPair];       ///< for each target, (α, β) in this order × probes
  VectorXd mean_errors[kHeadsPerPair];  ///< of predicting the mean, for each probe
  MatrixXd sums;                        ///< (α, β) × heads, as sum_squares()
};

CrossValidated cross_validate(const MatrixXd& gram, const MatrixXd& targets,
                              const std::vector<Mixture>& mixtures,
                              const std::vector<std::uint32_t>& fold_of,
                              const AddModelOptions& options, std::size_t threads) {
  const std::size_t penalties = options.share_penalties.size();
  const auto settings = static_cast<Index>(options.alphas.size() * penalties);
  const double share = static_cast<double>(kHeadsPerPair) / static_cast<double>(targets.cols());
  CrossValidated result;
  for (std::size_t target = 0; target < kHeadsPerPair; ++target) {
    result.errors[target] = MatrixXd::Zero(settings, targets.rows());
    result.mean_errors[target] = VectorXd::Zero(targets.rows());
  }
  result.sums = MatrixXd::Zero(settings, targets.cols());
  for (std::uint32_t fold = 0; fold < options.folds; ++fold) {
    if (options.progress) options.progress("cross-validating", fold, options.folds);
    const std::vector<Index> tested = probes_of(fold_of, fold, true);
    if (tested.empty()) continue;
    const Rotated rotated(gram, probes_of(fold_of, fold, false));
    const MatrixXd projected = rotated.project(gram, tested);
    // A thread for each target, as the heads of one are summed.
    internal::parallel_for(threads, kHeadsPerPair, [&](std::size_t target) {
      for (auto i = target; i < mixtures.size(); i += kHeadsPerPair) {
        const auto column = static_cast<Index>(i);
        const RotatedHead head(rotated, targets.col(column), mixtures[i]);
        const Eigen::ArrayXd truth = targets.col(column)(tested);
        MatrixXd mixture = mixtures[i].predictions(tested, Eigen::all);
        mixture.rowwise() -= head.mixture.means;
        result.mean_errors[target](tested) +=
            (share * (truth - head.target.means[0]).square()).matrix();
        for (std::size_t a = 0; a < options.alphas.size(); ++a) {
          const std::vector<Solution> solutions =
              solve(rotated, head, options.alphas[a], options.share_penalties);
          for (std::size_t b = 0; b < penalties; ++b) {
            const auto& [shares, rest, mean] = solutions[b];
            const Eigen::ArrayXd error =
                (mixture * shares + projected * rest).array() + mean - truth;
            const auto setting = static_cast<Index>(a * penalties + b);
            result.errors[target](setting, tested) += (share * error.square()).matrix().transpose();
            result.sums(setting, column) += sum_squares(error, truth, static_cast<Target>(target));
          }
        }
      }
    });
  }
  return result;
}

/// The largest strengths whose error is within one standard error of the least. What is least by a
/// hair leaves noise in the heads, and the choice of the best pair picks it up. Source: Hastie,
/// Tibshirani, Friedman, "The Elements of Statistical Learning", section 7.10. `errors`: strengths,
/// ascending, × queries.
Index choose_cautiously(const MatrixXd& errors) {
  Index least = 0;
  errors.rowwise().mean().minCoeff(&least);
  const auto queries = static_cast<double>(errors.cols());
  for (Index setting = errors.rows() - 1; setting > least; --setting) {
    const Eigen::ArrayXd worse = (errors.row(setting) - errors.row(least)).transpose();
    const double mean = worse.mean();
    const double standard_error = std::sqrt((worse - mean).square().sum()) / queries;
    if (mean <= standard_error) return setting;
  }
  return least;
}

/// What is told of the heads of a target, and each one's spread.
AddedHeads choose(const CrossValidated& validated, Target target, const AddModelOptions& options,
                  std::vector<double>& spreads) {
  const auto i = static_cast<std::size_t>(target);
  const Index setting = choose_cautiously(validated.errors[i]);
  const auto penalties = static_cast<Index>(options.share_penalties.size());
  const auto probes = static_cast<double>(validated.errors[i].cols());
  for (std::size_t head = i; head < spreads.size(); head += kHeadsPerPair) {
    spreads[head] = std::sqrt(validated.sums(setting, static_cast<Index>(head)) / probes);
  }
  return {.alpha = options.alphas[static_cast<std::size_t>(setting / penalties)],
          .share_penalty = options.share_penalties[static_cast<std::size_t>(setting % penalties)],
          .error = std::sqrt(validated.errors[i].row(setting).mean()),
          .mean_error = std::sqrt(validated.mean_errors[i].mean())};
}

/// The new model's heads, and the spread of each.
struct NewHeads {
  internal::LinearFit fit;
  std::vector<double> spreads;
};

/// A curve that changes nothing: too few probes are left to tell how far lengths are off.
LengthCurve straight_curve(std::uint32_t points) {
  LengthCurve curve;
  for (std::uint32_t i = 0; i < points; ++i) curve.predicted.push_back(i);
  curve.observed = curve.predicted;
  return curve;
}

/// The checkpoint with the model and its heads at the end.
Checkpoint append(const Checkpoint& checkpoint, const NewModel& model, const NewHeads& added) {
  const internal::LinearFit& fit = added.fit;
  Checkpoint result = checkpoint;
  Config& config = result.config;
  const auto index = static_cast<std::uint32_t>(config.models.size());
  config.checkpoint_dirs.clear();
  config.models.push_back(model.spec);
  config.format_version = internal::format_version_for(config);
  auto& heads = std::get<LinearHeads>(result.predictor);
  for (std::size_t i = 0; i < model.heads(); ++i) {
    const Target target = i % kHeadsPerPair == 0 ? Target::kQuality : Target::kTokens;
    heads.names.push_back({{index, model.budgets[i / kHeadsPerPair]}, target});
    heads.intercepts.push_back(fit.intercepts[static_cast<Index>(i)]);
    if (target == Target::kTokens && config.length_points > 0) {
      result.length_curves.push_back(straight_curve(config.length_points));
    }
  }
  std::visit(
      [&](auto& weights) {
        using Value = typename std::decay_t<decltype(weights)>::value_type;
        for (const double weight : fit.weights.reshaped()) {
          weights.push_back(static_cast<Value>(weight));
        }
      },
      heads.weights);
  // Without the spreads of the others, those of the new heads are of no use.
  if (!result.spreads.empty()) {
    result.spreads.insert(result.spreads.end(), added.spreads.begin(), added.spreads.end());
  }
  return result;
}

/// Errors of a fit: a query in each row, a head in each column.
MatrixXd errors_of(const internal::LinearFit& fit, const MatrixXd& embeddings,
                   const MatrixXd& targets) {
  MatrixXd errors = embeddings * fit.weights - targets;
  errors.rowwise() += fit.intercepts.transpose();
  return errors;
}

/// Squared errors averaged over the heads of a target, for each query.
VectorXd mean_squares(const MatrixXd& errors, Target target) {
  const auto heads =
      Eigen::seqN(static_cast<Index>(target), errors.cols() / static_cast<Index>(kHeadsPerPair),
                  static_cast<Index>(kHeadsPerPair));
  return errors(Eigen::all, heads).cwiseAbs2().rowwise().mean();
}

/// Heads fitted to every outcome, without any mixture.
NewHeads fit_fully(const OutcomeTable& table, const NewModel& model,
                   std::span<const float> embeddings, std::size_t dimension,
                   const AddModelOptions& options, std::size_t threads) {
  const std::size_t heads = model.heads();
  std::vector<double> targets(table.queries.size() * heads,
                              std::numeric_limits<double>::quiet_NaN());
  internal::RidgeProblem problem{
      .embeddings = embeddings, .dimension = dimension, .targets = {}, .heads = heads, .folds = {}};
  problem.folds.resize(options.folds);
  std::vector<std::uint32_t> queries = model.outcomes;
  std::ranges::sort(queries);
  const MatrixXd given = gather_targets(table, model, queries);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (std::size_t head = 0; head < heads; ++head) {
      targets[queries[i] * heads + head] = given(static_cast<Index>(i), static_cast<Index>(head));
    }
    const std::string& text = table.queries[queries[i]].text;
    problem.folds[fold_of(text, options.folds, options.seed)].push_back(queries[i]);
  }
  problem.targets = targets;
  const internal::RidgeSolver solver(problem, threads);
  const std::vector<double> alphas = TrainOptions().alphas;  // ascending
  MatrixXd errors[kHeadsPerPair];
  for (MatrixXd& of_target : errors) {
    of_target.resize(static_cast<Index>(alphas.size()), static_cast<Index>(queries.size()));
  }
  MatrixXd sums = MatrixXd::Zero(static_cast<Index>(alphas.size()), static_cast<Index>(heads));
  Index done = 0;
  for (std::size_t fold = 0; fold < options.folds; ++fold) {
    if (options.progress) options.progress("fitting to all outcomes", fold, options.folds);
    if (problem.folds[fold].empty()) continue;
    const MatrixXd x = gather_embeddings(embeddings, dimension, problem.folds[fold]);
    const MatrixXd y = gather_targets(table, model, problem.folds[fold]);
    const std::vector<internal::LinearFit> fits = solver.fit(alphas, fold);
    for (std::size_t i = 0; i < alphas.size(); ++i) {
      const auto setting = static_cast<Index>(i);
      const MatrixXd of_fit = errors_of(fits[i], x, y);
      for (const Target target : {Target::kQuality, Target::kTokens}) {
        errors[static_cast<std::size_t>(target)].row(setting).segment(done, x.rows()) =
            mean_squares(of_fit, target).transpose();
        for (auto head = static_cast<Index>(target); head < of_fit.cols();
             head += static_cast<Index>(kHeadsPerPair)) {
          sums(setting, head) += sum_squares(of_fit.col(head), y.col(head), target);
        }
      }
    }
    done += x.rows();
  }
  const Index best[] = {choose_cautiously(errors[0]), choose_cautiously(errors[1])};
  const std::vector<double> chosen = {alphas[static_cast<std::size_t>(best[0])],
                                      alphas[static_cast<std::size_t>(best[1])]};
  std::vector<internal::LinearFit> fits = solver.fit(chosen);
  for (Index head = 1; head < fits[0].weights.cols(); head += static_cast<Index>(kHeadsPerPair)) {
    fits[0].weights.col(head) = fits[1].weights.col(head);
    fits[0].intercepts[head] = fits[1].intercepts[head];
  }
  NewHeads result{std::move(fits[0]), {}};
  for (std::size_t head = 0; head < heads; ++head) {
    const double sum = sums(best[head % kHeadsPerPair], static_cast<Index>(head));
    result.spreads.push_back(std::sqrt(sum / static_cast<double>(queries.size())));
  }
  return result;
}

std::string json_heads(const AddedHeads& heads) {
  return "{\"alpha\": " + internal::json_number(heads.alpha) +
         ", \"share_penalty\": " + internal::json_number(heads.share_penalty) +
         ", \"error\": " + internal::json_number(heads.error) + "}";
}

/// Where the new heads come from, then where the others do.
std::string provenance(const Checkpoint& before, const OutcomeTable& table, const NewModel& model,
                       const AddModelReport& report, const AddModelOptions& options) {
  using internal::json_text;
  return "{\"program\": " + json_text(std::string("r2router ") + version()) +
         ", \"added_model\": " + json_text(model.spec.name) +
         ", \"data\": " + internal::json_sources(table.sources) +
         ", \"probes\": " + std::to_string(report.probes) +
         ", \"holdout\": " + std::to_string(options.holdout) +
         ", \"seed\": " + std::to_string(options.seed) +
         ", \"quality\": " + json_heads(report.quality) +
         ", \"tokens\": " + json_heads(report.tokens) +
         ", \"before\": " + (before.config.training.empty() ? "null" : before.config.training) +
         "}";
}

}  // namespace

Checkpoint add_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                     std::span<const float> embeddings, const std::string& name,
                     const AddModelOptions& options, AddModelReport* report_out) {
  check_options(options);
  const LinearHeads& base = linear_heads(checkpoint);
  validate(checkpoint);
  validate(table);
  internal::check_embeddings(table, embeddings, base.dimension);
  const NewModel model = find_model(checkpoint, table, name, options);
  const std::size_t threads = internal::thread_count(options.threads);

  const auto probes =
      std::span(model.outcomes).first(std::min<std::size_t>(options.probes, model.outcomes.size()));
  const MatrixXd x = gather_embeddings(embeddings, base.dimension, probes);
  const MatrixXd targets = gather_targets(table, model, probes);
  const MatrixXd gram = x * x.transpose();
  std::vector<std::uint32_t> folds;
  for (const std::uint32_t query : probes) {
    folds.push_back(fold_of(table.queries[query].text, options.folds, options.seed));
  }
  if (std::ranges::adjacent_find(folds, std::not_equal_to<>()) == folds.end()) {
    throw Error(ErrorCode::kBadData,
                "the outcomes of " + name +
                    " are on too few texts to fill two folds of probes: "
                    "expected outcomes on different texts, better a few hundred");
  }
  std::vector<Mixture> mixtures;
  for (std::size_t i = 0; i < model.heads(); ++i) {
    const Target target = i % kHeadsPerPair == 0 ? Target::kQuality : Target::kTokens;
    mixtures.push_back(
        find_mixture(checkpoint, table, model.budgets[i / kHeadsPerPair], target, probes, x));
  }

  AddModelReport report{.probes = probes.size()};
  const CrossValidated validated = cross_validate(gram, targets, mixtures, folds, options, threads);
  NewHeads added{{MatrixXd(x.cols(), targets.cols()), VectorXd(targets.cols())},
                 std::vector<double>(model.heads())};
  report.quality = choose(validated, Target::kQuality, options, added.spreads);
  report.tokens = choose(validated, Target::kTokens, options, added.spreads);

  std::vector<Index> all(probes.size());
  std::iota(all.begin(), all.end(), Index{0});
  const Rotated rotated(gram, all);
  const Eigen::RowVectorXd mean = x.colwise().mean();
  for (std::size_t i = 0; i < model.heads(); ++i) {
    AddedHeads& chosen = i % kHeadsPerPair == 0 ? report.quality : report.tokens;
    const auto column = static_cast<Index>(i);
    const RotatedHead head(rotated, targets.col(column), mixtures[i]);
    const Solution solution = solve(rotated, head, chosen.alpha, {chosen.share_penalty}).front();
    // The eigenvectors are of centred data, so that centring x here would change nothing.
    added.fit.weights.col(column) = mixtures[i].weights * solution.shares +
                                    x.transpose() * (rotated.eigenvectors * solution.rest);
    added.fit.intercepts[column] = solution.mean - mean * added.fit.weights.col(column);
    chosen.shares.resize(checkpoint.config.models.size());
    for (std::size_t j = 0; j < mixtures[i].models.size(); ++j) {
      chosen.shares[mixtures[i].models[j]] +=
          solution.shares[static_cast<Index>(j)] / static_cast<double>(model.columns.size());
    }
  }
  Checkpoint result = append(checkpoint, model, added);
  result.config.training = provenance(checkpoint, table, model, report, options);

  if (model.outcomes.size() > probes.size() && !model.held_out.empty()) {
    const NewHeads full = fit_fully(table, model, embeddings, base.dimension, options, threads);
    FullTraining& comparison = report.full.emplace();
    comparison.training_queries = model.outcomes.size();
    comparison.held_out_queries = model.held_out.size();
    const MatrixXd held_out = gather_embeddings(embeddings, base.dimension, model.held_out);
    const MatrixXd truth = gather_targets(table, model, model.held_out);
    const auto error = [&](const NewHeads& heads, Target target) {
      return std::sqrt(mean_squares(errors_of(heads.fit, held_out, truth), target).mean());
    };
    comparison.quality_error = error(full, Target::kQuality);
    comparison.tokens_error = error(full, Target::kTokens);
    comparison.added_quality_error = error(added, Target::kQuality);
    comparison.added_tokens_error = error(added, Target::kTokens);
    comparison.checkpoint = append(checkpoint, model, full);
  }
  if (options.progress) options.progress("fitting", 1, 1);
  if (report_out != nullptr) *report_out = std::move(report);
  return result;
}

}  // namespace r2router
