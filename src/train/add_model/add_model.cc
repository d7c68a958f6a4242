// Adding a model to a checkpoint from a few of its outcomes: the steps are those of add_model()
// below.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "r2router/error.h"
#include "r2router/version.h"

#include "base/json_writer.h"
#include "base/parallel.h"
#include "train/add_model/append.h"
#include "train/add_model/full_training.h"
#include "train/add_model/mixture.h"
#include "train/add_model/new_model.h"
#include "train/add_model/selection.h"
#include "train/problem.h"
#include "train/provenance.h"

namespace r2router::train {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr std::uint32_t kMostProbes = 2000;

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
/// The report about a target's heads, and the spread of each head.
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

void write_heads(ObjectWriter& object, std::string_view key, const AddedHeads& heads) {
  object.object(key, [&](ObjectWriter& entry) {
    entry.number("alpha", heads.alpha);
    entry.number("share_penalty", heads.share_penalty);
    entry.number("error", heads.error);
  });
}

/// The origin of the new heads, then that of the others.
std::string provenance(const Checkpoint& before, const OutcomeTable& table, const NewModel& model,
                       const AddModelReport& report, const AddModelOptions& options) {
  std::string text;
  ObjectWriter object(text);
  object.text("program", std::string("r2router ") + version());
  object.text("added_model", model.spec.name);
  write_sources(object, table.sources);
  object.number("probes", report.probes);
  object.number("holdout", options.holdout);
  object.number("seed", options.seed);
  write_heads(object, "quality", report.quality);
  write_heads(object, "tokens", report.tokens);
  object.raw("before", before.config.training.empty() ? "null" : before.config.training);
  object.close();
  return text;
}

}  // namespace

Checkpoint add_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                     std::span<const float> embeddings, const std::string& name,
                     const AddModelOptions& options, AddModelReport* report_out) {
  check_options(options);
  const LinearHeads& base = linear_heads(checkpoint);
  validate(checkpoint);
  validate(table);
  check_embeddings(table, embeddings, base.dimension);
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
  Checkpoint result = append(checkpoint, model.spec, model.budgets, added);
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
    comparison.checkpoint = append(checkpoint, model.spec, model.budgets, full);
  }
  if (options.progress) options.progress("fitting", 1, 1);
  if (report_out != nullptr) *report_out = std::move(report);
  return result;
}

}  // namespace r2router::train
