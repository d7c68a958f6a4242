// Training by a recipe, and the reports of training.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/eval/perturb.h"
#include "r2router/eval/router_evaluation.h"
#include "r2router/train/train.h"

#include "base/decimal.h"
#include "train/problem.h"

namespace r2router::train {
namespace {

using Json = nlohmann::ordered_json;

/// The setting that was chosen, and from how many.
std::string chosen_text(const TrainReport& report, PredictorKind predictor) {
  char text[128];
  switch (predictor) {
    case PredictorKind::kKnn: {
      const auto& [neighbours, weighting, metrics] = report.neighbours;
      std::snprintf(text, sizeof text, "%u nearest neighbours, weighted %s, the best of %zu",
                    neighbours,
                    weighting == NearestNeighbours::Weighting::kUniform ? "alike" : "by similarity",
                    report.neighbour_counts.size());
      return text;
    }
    case PredictorKind::kMlp:
      return "A perceptron, trained for " + std::to_string(report.epochs) + " epochs";
    case PredictorKind::kRidge:
      break;
  }
  std::snprintf(text, sizeof text, "α = %g, the best of %zu", report.alpha, report.alphas.size());
  return text;
}

/// "score 0.66 at 0.19 of the best available model's cost".
std::string default_text(const TrainReport& report, const Checkpoint& checkpoint) {
  const eval::BestSingle& best = report.best_available;
  const std::string score = "score " + decimal(report.default_score, 4);
  if (best.all_free) return score + "; all models are free";
  if (!best.is_free()) {
    return score + " at " + decimal(report.default_cost, 3) + " of the best available model's cost";
  }
  return score + " at " + decimal(report.default_cost, 3) + " of the cost of " +
         checkpoint.config.models[best.unit_model].name + "; the best model is free";
}

Json heads_json(const AddedHeads& heads, const Pool& pool) {
  Json shares = Json::object();
  for (std::size_t i = 0; i < heads.shares.size(); ++i) shares[pool[i].name] = heads.shares[i];
  return {{"alpha", heads.alpha},
          {"share_penalty", heads.share_penalty},
          {"error", heads.error},
          {"mean_error", heads.mean_error},
          {"shares", shares}};
}

/// On top of recipe.prior.
Checkpoint fit_to_prior(const OutcomeData& data, const TrainRecipe& recipe, TrainReport* report) {
  const Checkpoint& prior = *recipe.prior;
  OutcomeData own = data;
  const bool limited = std::ranges::any_of(
      data.table.pairs, [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited) own.table = as_trained(data.table, prior.config);
  if (recipe.augment) own.table = eval::add_perturbed_copies(own.table);
  return train(prior, own.table, eval::embed(Router(prior), own), recipe.options, report);
}

Checkpoint fit(const OutcomeData& data, const TrainRecipe& recipe, TrainReport* report) {
  if (!data.embeddings.empty()) {
    return train(data.table, data.embeddings, data.dimension, recipe.options, report);
  }
  LexicalEncoderSpec encoder = recipe.encoder;
  if (recipe.topics) {
    encoder.topics = datasets(data.table);
    if (encoder.topics.size() < 2) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the queries name " + std::to_string(encoder.topics.size()) +
                      " datasets, and topics needs at least 2: leave it "
                      "out, or add \"dataset\" to the queries");
    }
  }
  return train(recipe.augment ? eval::add_perturbed_copies(data.table) : data.table, encoder,
               recipe.options, report);
}

}  // namespace

LexicalFeatures parse_features(std::string_view text) {
  const auto fail = [&]() -> void {
    throw Error(ErrorCode::kInvalidArgument,
                "found \"" + std::string(text) +
                    "\", expected KIND:SHORTEST-LONGEST[*WEIGHT] with the kind words or "
                    "characters, such as characters:3-5");
  };
  LexicalFeatures features;
  std::string_view rest = text;
  if (rest.starts_with("words:")) {
    features.kind = LexicalFeatures::Kind::kWords;
  } else if (rest.starts_with("characters:")) {
    features.kind = LexicalFeatures::Kind::kCharacters;
  } else {
    fail();
  }
  rest.remove_prefix(rest.find(':') + 1);
  const auto take = [&](auto& number) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc{}) fail();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  };
  const auto take_sign = [&](char sign) {
    if (!rest.starts_with(sign)) fail();
    rest.remove_prefix(1);
  };
  take(features.min_n);
  take_sign('-');
  take(features.max_n);
  if (!rest.empty()) {
    take_sign('*');
    take(features.weight);
  }
  if (!rest.empty()) fail();
  return features;
}

Checkpoint train(const OutcomeData& data, const TrainRecipe& recipe, TrainReport* report) {
  if (recipe.prior) return fit_to_prior(data, recipe, report);
  check_budget_prompt(data.table, recipe.budget_prompt);
  Checkpoint checkpoint = fit(data, recipe, report);
  checkpoint.config.budget_prompt = recipe.budget_prompt;
  if (!data.embeddings.empty()) checkpoint.config.embedding_model = recipe.embedding_model;
  return checkpoint;
}

std::string to_text(const TrainReport& report, const Checkpoint& checkpoint) {
  char text[512];
  std::snprintf(text, sizeof text,
                "Trained on %s queries (%s held out): %zu models, %zu heads.\n"
                "%s. Area under the cross-validated deferral curve: %.4f (mean curve: %.4f).\n"
                "Default λ = %.7g: ",
                with_thousands(report.training_queries).c_str(),
                with_thousands(report.held_out_queries).c_str(), checkpoint.config.models.size(),
                report.heads, chosen_text(report, checkpoint.config.predictor).c_str(),
                report.metrics.audc, report.mean_curve.audc, report.default_lambda);
  return text + default_text(report, checkpoint) + ", cross-validated.\n";
}

std::string to_json(const TrainReport& report, const Checkpoint& checkpoint) {
  const Config& config = checkpoint.config;
  const bool ridge = config.predictor == PredictorKind::kRidge;
  return Json({{"training_queries", report.training_queries},
               {"held_out_queries", report.held_out_queries},
               {"heads", report.heads},
               {"predictor", to_string(config.predictor)},
               {"alpha", ridge ? Json(report.alpha) : Json()},
               {"default_lambda", report.default_lambda},
               {"training", Json::parse(config.training)}})
      .dump(2);
}

Pool extend_pool(const Config& config, const Pool& pool, const std::string& name,
                 const std::string& file) {
  Pool result = config.models;
  const auto has_name = [&](const ModelSpec& model) { return model.name == name; };
  if (std::ranges::any_of(result, has_name)) return result;  // add_model() refuses it
  std::string names;
  for (const ModelSpec& model : pool) {
    if (has_name(model)) {
      result.push_back(model);
      return result;
    }
    names += (names.empty() ? "" : ", ") + model.name;
  }
  throw Error(ErrorCode::kNotFound, "there is no model \"" + name + "\" here; there are: " + names,
              {.file = file});
}

std::string to_text(const AddModelReport& report, const std::string& name) {
  char text[512];
  std::snprintf(text, sizeof text,
                " from %s probes.\n"
                "Error on the probes, cross-validated: quality %.4f (predicting the mean: %.4f), "
                "length %.1f tokens (%.1f).\n",
                with_thousands(report.probes).c_str(), report.quality.error,
                report.quality.mean_error, report.tokens.error, report.tokens.mean_error);
  std::string result = "Added " + name + text;
  if (report.full) {
    const FullTraining& full = *report.full;
    std::snprintf(text, sizeof text,
                  "Error on %s queries held out: quality %.4f, length %.1f tokens; of heads fitted "
                  "to all %s outcomes: %.4f, %.1f.\n",
                  with_thousands(full.held_out_queries).c_str(), full.added_quality_error,
                  full.added_tokens_error, with_thousands(full.training_queries).c_str(),
                  full.quality_error, full.tokens_error);
    result += text;
  }
  return result;
}

std::string to_json(const AddModelReport& report, const Pool& pool) {
  Json json = {{"model", pool.back().name},
               {"probes", report.probes},
               {"quality", heads_json(report.quality, pool)},
               {"tokens", heads_json(report.tokens, pool)}};
  if (report.full) {
    const FullTraining& full = *report.full;
    json["full_training"] = {{"training_queries", full.training_queries},
                             {"held_out_queries", full.held_out_queries},
                             {"quality_error", full.quality_error},
                             {"added_quality_error", full.added_quality_error},
                             {"tokens_error", full.tokens_error},
                             {"added_tokens_error", full.added_tokens_error}};
  }
  return json.dump(2);
}

}  // namespace r2router::train
