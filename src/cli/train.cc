// r2-router train: an outcome table in, a checkpoint out.
#include "r2router/train.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/perturb.h"
#include "r2router/router.h"

#include "cli/commands.h"
#include "cli/evaluation_report.h"
#include "cli/outcome_data.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(
Example, with the built-in encoder and budgets derived from unlimited answers:
  r2-router train --queries queries.jsonl.gz --outcomes outcomes.jsonl.gz --pool models.json \
    --budgets hard-cap --features characters:3-3 --output my-router

--pool takes any JSON file with an object "models" as a checkpoint's config.json has it.
--features lists families of hashed text features, KIND:SHORTEST-LONGEST[*WEIGHT], such as
words:1-2,characters:3-5*0.5.)";

struct Settings {
  OutcomeSettings data;
  std::string pool, output, budgets = "given", budget_prompt, embedding_model;
  std::vector<std::string> models;
  double coverage = 0.99;
  std::vector<std::uint32_t> token_limits = {10, 30, 50, 100, 200, 300, 500, 1000};
  LexicalEncoderSpec encoder;
  std::vector<std::string> features = {"words:1-1"};
  std::string predictor = "ridge";
  TrainOptions train;
  bool topics = false, augment = false, json = false;
};

LexicalFeatures parse_features(const std::string& text) {
  const auto fail = [&]() -> void {
    throw CLI::ValidationError("--features: found \"" + text +
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

/// The models asked for, or those that answered nearly all queries.
OutcomeTable choose_models(const OutcomeTable& table, const Settings& settings) {
  if (!settings.models.empty()) return select_models(table, settings.models);
  const std::vector<double> shares = coverage(table);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] >= settings.coverage) names.push_back(table.models[i].name);
  }
  if (names.empty()) {
    throw Error(ErrorCode::kBadData,
                "no model answered enough of the queries (--coverage): name the models with "
                "--models, or choose queries that they share with --dataset",
                {.file = settings.data.outcomes});
  }
  return select_models(table, names);
}

/// The datasets of the queries, for the encoder to recognise.
std::vector<std::string> topics_of(const OutcomeTable& table) {
  std::vector<std::string> topics = datasets(table);
  if (topics.size() >= 2) return topics;
  throw CLI::ValidationError("--topics: the queries name " + std::to_string(topics.size()) +
                             " datasets, expected at least 2 to tell from one another; leave the "
                             "option out, or add \"dataset\" to the lines of --queries");
}

/// Predictions for prompted budgets hold under the wording of the prompt alone.
void check_budget_prompt(const OutcomeTable& table, const Settings& settings) {
  const bool limited = std::any_of(table.pairs.begin(), table.pairs.end(),
                                   [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited || table.budget_mode != BudgetMode::kPrompted) return;
  if (settings.budget_prompt.find("{budget}") != std::string::npos) return;
  throw CLI::ValidationError(
      "--budget-prompt: the outcomes have limited budgets; give the words that told the models, "
      "with {budget} in place of the number");
}

Json report_json(const Settings& settings, const Checkpoint& checkpoint,
                 const TrainReport& report) {
  return {
      {"checkpoint", settings.output},
      {"training_queries", report.training_queries},
      {"held_out_queries", report.held_out_queries},
      {"heads", report.heads},
      {"predictor", to_string(checkpoint.config.predictor)},
      {"alpha", settings.train.predictor == PredictorKind::kRidge ? Json(report.alpha) : Json()},
      {"default_lambda", report.default_lambda},
      {"training", Json::parse(checkpoint.config.training)}};
}

/// The setting that was chosen, and from how many.
std::string chosen_text(const Settings& settings, const TrainReport& report) {
  char text[128];
  switch (settings.train.predictor) {
    case PredictorKind::kKnn: {
      const auto& [neighbours, weighting, metrics] = report.neighbours;
      std::snprintf(text, sizeof text, "%u nearest neighbours, weighted %s, the best of %zu",
                    neighbours,
                    weighting == NearestNeighbours::Weighting::kUniform ? "alike" : "by similarity",
                    report.neighbour_counts.size());
      return text;
    }
    case PredictorKind::kMlp:
      return "A perceptron, trained for " + std::to_string(report.epochs) + " epochs, judged";
    case PredictorKind::kRidge:
      break;
  }
  std::snprintf(text, sizeof text, "α = %g, the best of %zu", report.alpha, report.alphas.size());
  return text;
}

std::string report_text(const Settings& settings, const Checkpoint& checkpoint,
                        const TrainReport& report) {
  char text[512];
  std::snprintf(text, sizeof text,
                "Trained on %s queries (%s held out): %zu models, %zu heads.\n"
                "%s by area under the cross-validated deferral curve: %.4f "
                "(mean curve: %.4f).\n"
                "Default λ = %.7g: score %.4f at %.3f of the best available model's cost, "
                "cross-validated.\n",
                with_thousands(report.training_queries).c_str(),
                with_thousands(report.held_out_queries).c_str(), checkpoint.config.models.size(),
                report.heads, chosen_text(settings, report).c_str(), report.metrics.audc,
                report.mean_curve.audc, report.default_lambda, report.default_score,
                report.default_cost);
  return text + ("Wrote " + settings.output + ".\n");
}

void train_checkpoint(Settings& settings) {
  check_output_folder(settings.output);
  settings.encoder.features.clear();
  for (const std::string& text : settings.features) {
    settings.encoder.features.push_back(parse_features(text));
  }
  OutcomeData data = read_outcome_data(settings.data, read_pool(settings.pool));
  data.table = choose_models(data.table, settings);
  if (settings.budgets == "hard-cap") {
    data.table = apply_hard_cap(data.table, settings.token_limits);
  }
  check_budget_prompt(data.table, settings);
  if (settings.topics) settings.encoder.topics = topics_of(data.table);
  settings.train.holdout = settings.data.holdout;
  settings.train.progress = print_progress();

  TrainReport report;
  Checkpoint checkpoint =
      data.embeddings.empty()
          ? train(settings.augment ? add_perturbed_copies(data.table) : data.table,
                  settings.encoder, settings.train, &report)
          : train(data.table, data.embeddings, data.dimension, settings.train, &report);
  if (!data.embeddings.empty()) checkpoint.config.embedding_model = settings.embedding_model;
  checkpoint.config.budget_prompt = settings.budget_prompt;
  save_checkpoint(checkpoint, settings.output);

  Json json = report_json(settings, checkpoint, report);
  std::string text = report_text(settings, checkpoint, report);
  if (report.held_out_queries > 0) {
    const RouterEvaluation evaluation =
        evaluate_router(Router(std::move(checkpoint)), data, settings.data.holdout, false);
    json["evaluation"] = evaluation_json(evaluation, data.table);
    text += "\n" + evaluation_text(evaluation, data.table);
  }
  Output output;
  output.write(settings.json ? json.dump(2) + '\n' : text);
  output.flush();
}

}  // namespace

void add_train_command(CLI::App& app, int&) {
  CLI::App* command =
      app.add_subcommand("train", "Fit a checkpoint to outcomes of your own models and queries");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  add_outcome_options(*command, settings->data);
  command->add_option("--pool", settings->pool, "Models and prices, JSON")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--output", settings->output,
                   "The checkpoint's folder, which must not exist yet")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--models", settings->models,
                   "Train for these models of the pool: NAME[,NAME...]; default: those that "
                   "answered nearly all queries (--coverage)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  command
      ->add_option("--coverage", settings->coverage,
                   "Without --models: share of the queries that a model must have answered")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->type_name("X");
  command
      ->add_option("--budgets", settings->budgets,
                   "given: as the outcomes have them; hard-cap: derive limited budgets from "
                   "unlimited answers, cut off at the budget, a cut one scoring 0")
      ->check(CLI::IsMember({"given", "hard-cap"}))
      ->capture_default_str()
      ->type_name("MODE");
  command
      ->add_option("--token-limits", settings->token_limits,
                   "Budgets of --budgets hard-cap: N[,N...]; unlimited is always there")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      ->add_option("--budget-prompt", settings->budget_prompt,
                   "What the models were told under a limited budget; {budget} stands for it")
      ->type_name("TEXT");

  command
      ->add_option("--features", settings->features,
                   "Features of the built-in encoder, see below; default: words:1-1")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  command
      ->add_option("--dimension", settings->encoder.dimension,
                   "Dimension of the built-in encoder's embeddings")
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--encoder-seed", settings->encoder.seed, "Seed of the built-in encoder's hash")
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--fold-digits", settings->encoder.fold_digits,
                    "Let the built-in encoder count every digit as 0");
  command->add_flag("--square-root", settings->encoder.square_root,
                    "Let the built-in encoder take square roots, so that repetition counts less");
  command->add_flag("--idf", settings->encoder.has_idf,
                    "Weigh the built-in encoder's features by inverse document frequency");
  command->add_flag("--topics", settings->topics,
                    "Teach the built-in encoder to recognise the queries' datasets, and let heads "
                    "go by a query's share of each");
  command->add_flag("--augment", settings->augment,
                    "Train on meaning-preserving edits of each query too: case, white space, "
                    "punctuation, typos, a polite sentence. That makes six of one, so give --alpha "
                    "penalties six times as large");
  command
      ->add_option("--embedding-model", settings->embedding_model,
                   "With --embeddings: the model that made them, which a server must serve")
      ->needs("--embeddings")
      ->type_name("NAME");
  for (const char* const option : {"--features", "--dimension", "--encoder-seed", "--fold-digits",
                                   "--square-root", "--idf", "--topics", "--augment"}) {
    command->get_option(option)->excludes("--embeddings");
  }

  command
      ->add_option("--predictor", settings->predictor,
                   "ridge: linear heads; knn: nearest neighbours; mlp: a multilayer perceptron")
      ->check(CLI::IsMember({"ridge", "knn", "mlp"}))
      ->capture_default_str()
      ->type_name("KIND");
  command->add_option("--alpha", settings->train.alphas, "Ridge penalties to choose from: X[,X...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      ->add_option("--neighbours", settings->train.neighbours,
                   "Numbers of nearest neighbours to choose from: N[,N...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command->add_option("--folds", settings->train.folds, "Folds of the cross-validation")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", settings->train.seed, "Varies the folds")
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--threads", settings->train.threads,
                   "0: one for each core; the result is the same for any number")
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", settings->json, "Print one JSON object");
  command->callback([command, settings] {
    if (command->count("--token-limits") > 0 && settings->budgets != "hard-cap") {
      throw CLI::ValidationError("--token-limits is only for --budgets hard-cap");
    }
    settings->train.predictor = parse_predictor_kind(settings->predictor);
    if (command->count("--alpha") > 0 && settings->train.predictor != PredictorKind::kRidge) {
      throw CLI::ValidationError("--alpha is only for --predictor ridge");
    }
    if (command->count("--neighbours") > 0 && settings->train.predictor != PredictorKind::kKnn) {
      throw CLI::ValidationError("--neighbours is only for --predictor knn");
    }
    train_checkpoint(*settings);
  });
}

}  // namespace r2router::cli
