#include "cli/learning_options.h"

#include <memory>
#include <string_view>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "cli/command.h"

namespace r2router::cli {
namespace {

std::string features_error(const std::string& text) {
  try {
    train::parse_features(text);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

void add_outcome_options(CLI::App& command, OutcomeSettings& settings, bool costs) {
  Options add(command);
  add("--queries", settings.files.queries, "FILE",
      "Queries: query_id, query; optionally dataset, query_tokens. JSON lines, a JSON array or "
      "CSV, plain or gzip")
      ->required();
  add("--outcomes", settings.files.outcomes, "FILE",
      "Outcomes: query_id, model, score, output_tokens; optionally budget, instruction. The same "
      "formats; may be the file of --queries")
      ->required();
  add("--ignore-unknown-models", settings.options.ignore_unknown_models,
      "Leave out outcomes of models whose name the pool has in another spelling, which are an "
      "error otherwise");
  add("--dataset", settings.files.dataset, "PREFIX",
      "Use only queries whose dataset begins with this");
  add("--embeddings", settings.files.embeddings, "FILE.npy",
      "Embeddings from elsewhere: NumPy float32 or float64, a row for each query");
  add("--holdout", settings.holdout, "N",
      "Keep one query in N, by a hash of its text, out of training and for evaluation; 0: none is "
      "kept out, and all are evaluated; default: as the checkpoint was trained, or 5");
  if (!costs) return;
  add.choice("--cost", settings.files.cost_measure,
             {{"usd", CostMeasure::kUsd},
              {"length", CostMeasure::kLength},
              {"latency", CostMeasure::kLatency}},
             "What curves of score over cost measure costs in: usd; length, output tokens; or "
             "latency, seconds by the speeds in the pool");
}

std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config) {
  return settings.holdout ? *settings.holdout : trained_holdout(config, print_warnings());
}

std::vector<CLI::Option*> add_learning_options(CLI::App& command, LearningSettings& settings) {
  train::TrainRecipe& recipe = settings.recipe;
  Options add(command), encoder(command);
  add("--pool", settings.pool, "FILE", "Models and prices, JSON");
  add("--models", settings.models, "NAMES",
      "Train for these models of the pool: NAME[,NAME...]; default: those that answered nearly all "
      "queries (--coverage)");
  add("--coverage", settings.coverage, "X",
      "Without --models: share of the queries that a model must have answered", number_in(0, 1));
  add("--token-limits", settings.token_limits, "NUMBERS",
      "Budgets of --budgets hard-cap: N[,N...]; unlimited is always there");
  encoder("--features", settings.features, "LIST", "Features of the built-in encoder, see below",
          features_error);
  encoder("--dimension", recipe.encoder.dimension, "N",
          "Dimension of the built-in encoder's embeddings");
  encoder("--encoder-seed", recipe.encoder.seed, "N", "Seed of the built-in encoder's hash");
  encoder("--fold-digits", recipe.encoder.fold_digits,
          "Let the built-in encoder count every digit as 0");
  encoder("--square-root", recipe.encoder.square_root,
          "Let the built-in encoder take square roots, so that repetition counts less");
  encoder("--idf", recipe.encoder.has_idf,
          "Weigh the built-in encoder's features by inverse document frequency");
  encoder("--topics", recipe.topics,
          "Teach the built-in encoder to recognise the queries' datasets, and fit heads to a "
          "query's share of each");
  encoder("--augment", recipe.augment,
          "Train on meaning-preserving edits of each query too: case, white space, punctuation, "
          "typos, a polite sentence. That makes six of one, so give --alpha penalties six times as "
          "large");
  add.choice("--predictor", recipe.options.predictor,
             {{"ridge", PredictorKind::kRidge},
              {"knn", PredictorKind::kKnn},
              {"mlp", PredictorKind::kMlp}},
             "ridge: linear heads; knn: nearest neighbours; mlp: a multilayer perceptron");
  add("--alpha", recipe.options.alphas, "NUMBERS", "Ridge penalties to choose from: X[,X...]");
  add("--neighbours", recipe.options.neighbours, "NUMBERS",
      "Numbers of nearest neighbours to choose from: N[,N...]");
  add("--threads", recipe.options.threads, "N",
      "0: one for each core; the result is the same for any number");
  std::vector<CLI::Option*> all = add.added();
  for (CLI::Option* option : encoder.added()) {
    option->excludes("--embeddings");
    all.push_back(option);
  }
  return all;
}

OutcomeData read_training_data(const OutcomeSettings& outcomes, LearningSettings& settings,
                               bool hard_cap) {
  settings.recipe.encoder.features.clear();
  for (const std::string& text : settings.features) {
    settings.recipe.encoder.features.push_back(train::parse_features(text));
  }
  const auto& prior = settings.recipe.prior;
  const Pool pool = prior ? prior->config.models : read_pool(settings.pool);
  OutcomeData data = read_outcome_data(outcomes.files, pool, outcomes.options);
  data.table =
      choose_models(data.table, pool, settings.models, settings.coverage, print_warnings());
  if (hard_cap) data.table = apply_hard_cap(data.table, settings.token_limits);
  if (prior) data.table = as_trained(data.table, prior->config);
  return data;
}

void print_report(bool as_json, const std::string& folder, const std::string& json,
                  const std::string& text) {
  if (!as_json) return print(text + "Wrote " + folder + ".\n");
  nlohmann::ordered_json whole = {{"checkpoint", folder}};
  whole.update(nlohmann::ordered_json::parse(json));
  print(whole.dump(2) + '\n');
}

train::ProgressCallback print_progress() {
  return [line = std::make_shared<Progress>()](std::string_view stage, std::size_t done,
                                               std::size_t total) {
    if (stage == "fitting" && done == total) {
      line->clear();  // the last stage
    } else {
      line->show(std::string(stage) + " " + std::to_string(done) + "/" + std::to_string(total));
    }
  };
}

}  // namespace r2router::cli
