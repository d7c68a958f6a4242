#include "cli/learning_options.h"

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "r2router/error.h"

#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {

const char* const kFeaturesHelp =
    "\n--features lists families of hashed text features, KIND:SHORTEST-LONGEST[*WEIGHT], such as\n"
    "words:1-2,characters:3-5*0.5.";

std::vector<std::string> add_learning_options(CLI::App& command, LearningSettings& settings) {
  command.add_option("--pool", settings.pool, "Models and prices, JSON")->type_name("FILE");
  command
      .add_option("--models", settings.models,
                  "Train for these models of the pool: NAME[,NAME...]; default: those that "
                  "answered nearly all queries (--coverage)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  command
      .add_option("--coverage", settings.coverage,
                  "Without --models: share of the queries that a model must have answered")
      ->check(number_in(0, 1))
      ->capture_default_str()
      ->type_name("X");
  command
      .add_option("--token-limits", settings.token_limits,
                  "Budgets of --budgets hard-cap: N[,N...]; unlimited is always there")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      .add_option("--features", settings.features,
                  "Features of the built-in encoder, see below; default: words:1-1")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  command
      .add_option("--dimension", settings.recipe.encoder.dimension,
                  "Dimension of the built-in encoder's embeddings")
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--encoder-seed", settings.recipe.encoder.seed,
                  "Seed of the built-in encoder's hash")
      ->capture_default_str()
      ->type_name("N");
  command.add_flag("--fold-digits", settings.recipe.encoder.fold_digits,
                   "Let the built-in encoder count every digit as 0");
  command.add_flag("--square-root", settings.recipe.encoder.square_root,
                   "Let the built-in encoder take square roots, so that repetition counts less");
  command.add_flag("--idf", settings.recipe.encoder.has_idf,
                   "Weigh the built-in encoder's features by inverse document frequency");
  command.add_flag("--topics", settings.recipe.topics,
                   "Teach the built-in encoder to recognise the queries' datasets, and let heads "
                   "go by a query's share of each");
  command.add_flag("--augment", settings.recipe.augment,
                   "Train on meaning-preserving edits of each query too: case, white space, "
                   "punctuation, typos, a polite sentence. That makes six of one, so give --alpha "
                   "penalties six times as large");
  const std::vector<std::string> encoder_options = {
      "--features",    "--dimension", "--encoder-seed", "--fold-digits",
      "--square-root", "--idf",       "--topics",       "--augment"};
  for (const std::string& option : encoder_options) {
    command.get_option(option)->excludes("--embeddings");
  }

  command
      .add_option_function<std::string>(
          "--predictor",
          [&settings](const std::string& kind) {
            settings.recipe.options.predictor = parse_predictor_kind(kind);
          },
          "ridge: linear heads; knn: nearest neighbours; mlp: a multilayer perceptron")
      ->check(one_of({"ridge", "knn", "mlp"}))
      ->default_str("ridge")
      ->type_name("KIND");
  command
      .add_option("--alpha", settings.recipe.options.alphas,
                  "Ridge penalties to choose from: X[,X...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      .add_option("--neighbours", settings.recipe.options.neighbours,
                  "Numbers of nearest neighbours to choose from: N[,N...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      .add_option("--threads", settings.recipe.options.threads,
                  "0: one for each core; the result is the same for any number")
      ->capture_default_str()
      ->type_name("N");
  std::vector<std::string> all = {"--pool",      "--models", "--coverage",   "--token-limits",
                                  "--predictor", "--alpha",  "--neighbours", "--threads"};
  all.insert(all.end(), encoder_options.begin(), encoder_options.end());
  return all;
}

OutcomeData read_training_data(const OutcomeSettings& outcomes, LearningSettings& settings,
                               bool hard_cap) {
  std::vector<LexicalFeatures>& features = settings.recipe.encoder.features;
  features.clear();
  for (const std::string& text : settings.features) {
    try {
      features.push_back(parse_features(text));
    } catch (const Error& error) {
      throw CLI::ValidationError(std::string("--features: ") + error.what());
    }
  }
  const Pool pool = read_pool(settings.pool);
  OutcomeData data = read_outcome_data(outcomes, pool);
  data.table =
      choose_models(data.table, pool, settings.models, settings.coverage, print_warnings());
  if (hard_cap) data.table = apply_hard_cap(data.table, settings.token_limits);
  return data;
}

void check_topics(const OutcomeTable& table, const LearningSettings& settings) {
  const std::size_t topics = datasets(table).size();
  if (!settings.recipe.topics || topics >= 2) return;
  throw CLI::ValidationError("--topics: the queries name " + std::to_string(topics) +
                             " datasets, expected at least 2 to tell from one another; leave the "
                             "option out, or add \"dataset\" to the lines of --queries");
}

ProgressCallback print_progress() {
  if (!isatty(STDERR_FILENO)) return {};
  return [](std::string_view stage, std::size_t done, std::size_t total) {
    std::string text = "\r\x1b[K";  // back to the line's start, and clear it
    if (stage != "fitting" || done < total) {
      text += std::string(stage) + " " + std::to_string(done) + "/" + std::to_string(total);
    }
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  };
}

}  // namespace r2router::cli
