#include "r2router/eval/learning_curve.h"

#include <algorithm>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/eval/router_evaluation.h"

#include "base/decimal.h"
#include "base/fold_hash.h"
#include "base/text_layout.h"

namespace r2router::eval {
namespace {

using Json = nlohmann::ordered_json;

/// The checkpoint without the models that the table lacks: they cannot be evaluated.
Checkpoint with_models_of(const OutcomeTable& table, const Checkpoint& checkpoint) {
  const auto* heads = std::get_if<LinearHeads>(&checkpoint.predictor);
  if (heads == nullptr) return checkpoint;  // which train() rejects
  Checkpoint result = checkpoint;
  Config& config = result.config;
  config.models.clear();
  config.checkpoint_dirs.clear();
  std::vector<std::uint32_t> new_index(checkpoint.config.models.size(), UINT32_MAX);
  for (std::size_t i = 0; i < new_index.size(); ++i) {
    const ModelSpec& model = checkpoint.config.models[i];
    if (std::ranges::find(table.models, model.name, &ModelSpec::name) == table.models.end()) {
      continue;
    }
    new_index[i] = static_cast<std::uint32_t>(config.models.size());
    config.models.push_back(model);
  }
  LinearHeads kept{.dimension = heads->dimension, .weights = heads->weights};
  result.spreads.clear();
  result.length_curves.clear();
  std::visit([](auto& weights) { weights.clear(); }, kept.weights);
  std::size_t length_head = 0;
  for (std::size_t i = 0; i < heads->names.size(); ++i) {
    HeadName name = heads->names[i];
    const std::size_t curve = length_head;
    length_head += name.target == Target::kTokens;
    name.pair.model = new_index[name.pair.model];
    if (name.pair.model == UINT32_MAX) continue;
    kept.names.push_back(name);
    kept.intercepts.push_back(heads->intercepts[i]);
    std::visit(
        [&](auto& weights) {
          const auto& all = std::get<std::decay_t<decltype(weights)>>(heads->weights);
          const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * heads->dimension);
          weights.insert(weights.end(), begin,
                         begin + static_cast<std::ptrdiff_t>(heads->dimension));
        },
        kept.weights);
    if (!checkpoint.spreads.empty()) result.spreads.push_back(checkpoint.spreads[i]);
    if (name.target == Target::kTokens && !checkpoint.length_curves.empty()) {
      result.length_curves.push_back(checkpoint.length_curves[curve]);
    }
  }
  result.predictor = std::move(kept);
  return result;
}

void check(const LearningCurveOptions& options) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  if (options.holdout < 2) {
    refuse("holdout is " + std::to_string(options.holdout) +
           ": expected 2 or more, since the curve is measured on the queries held out");
  }
  if (std::ranges::find(options.queries, 0u) != options.queries.end()) {
    refuse("the numbers of queries to train on have a 0: expected positive numbers");
  }
}

Json metrics_json(const DeferralMetrics& metrics) {
  return {{"audc", metrics.audc}, {"peak", metrics.peak}};
}

}  // namespace

LearningCurve learning_curve(const Checkpoint& whole_prior, const OutcomeData& whole_data,
                             const LearningCurveOptions& options) {
  check(options);
  OutcomeData data = whole_data;
  const bool limited = std::ranges::any_of(
      data.table.pairs, [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited) data.table = as_trained(data.table, whole_prior.config);
  const auto prior = std::make_shared<const Checkpoint>(with_models_of(data.table, whole_prior));
  const OutcomeData training = select_part(data, options.holdout, false);
  std::vector<std::uint32_t> order(training.table.queries.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](std::uint32_t query) {
    return internal::fold_hash(training.table.queries[query].text, options.seed);
  });

  LearningCurve curve;
  // The router's metrics, and with `mean_curve` those of the mean curve.
  const auto evaluate = [&](const Checkpoint& checkpoint, DeferralMetrics* mean_curve) {
    const RouterEvaluation result =
        evaluate_checkpoint(Router(checkpoint), data, options.holdout, {.against = {"mean-curve"}});
    curve.held_out_queries = result.table.queries.size();
    const auto& policies = result.evaluation.policies;
    if (mean_curve != nullptr) {
      *mean_curve = std::ranges::find(policies, "mean curve", &ContenderResult::name)->metrics;
    }
    return policies.front().metrics;
  };
  curve.prior = evaluate(*prior, &curve.mean_curve);

  std::set<std::size_t> sizes(options.queries.begin(), options.queries.end());
  sizes.erase(sizes.lower_bound(order.size()), sizes.end());
  sizes.insert(order.size());
  for (const std::size_t size : sizes) {
    const OutcomeData part = select_rows(training, std::span(order).first(size));
    train::TrainRecipe recipe = options.recipe;
    recipe.options.holdout = 0;
    recipe.budget_prompt = prior->config.budget_prompt;
    LearningPoint& point = curve.points.emplace_back();
    point.queries = size;
    try {
      point.scratch = evaluate(train::train(part, recipe), nullptr);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kBadData) throw;
    }
    recipe.prior = prior;
    train::TrainReport report;
    point.prior = evaluate(train::train(part, recipe, &report), nullptr);
    point.prior_alpha = report.alpha;
  }
  return curve;
}

std::string to_text(const LearningCurve& curve) {
  std::vector<std::vector<std::string>> rows = {{"queries", "on the prior", "from scratch", "α"}};
  rows.push_back({"0", decimal(curve.prior.audc, 4), "", ""});
  for (const LearningPoint& point : curve.points) {
    rows.push_back({with_thousands(point.queries), decimal(point.prior.audc, 4),
                    point.scratch ? decimal(point.scratch->audc, 4) : "too few",
                    decimal(point.prior_alpha, 1)});
  }
  return "Area under the deferral curve on " + with_thousands(curve.held_out_queries) +
         " queries held out, by the number of queries with outcomes (mean curve: " +
         decimal(curve.mean_curve.audc, 4) + "):\n\n" + table_text(rows, {});
}

std::string to_json(const LearningCurve& curve) {
  Json points = Json::array();
  for (const LearningPoint& point : curve.points) {
    points.push_back({{"queries", point.queries},
                      {"prior", metrics_json(point.prior)},
                      {"prior_alpha", point.prior_alpha},
                      {"scratch", point.scratch ? metrics_json(*point.scratch) : Json()}});
  }
  return Json({{"held_out_queries", curve.held_out_queries},
               {"mean_curve", metrics_json(curve.mean_curve)},
               {"prior", metrics_json(curve.prior)},
               {"points", std::move(points)}})
      .dump(2);
}

}  // namespace r2router::eval
