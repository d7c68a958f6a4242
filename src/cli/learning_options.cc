#include "cli/learning_options.h"

#include <charconv>
#include <string_view>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "r2router/error.h"
#include "r2router/perturb.h"

#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

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

/// The datasets of the queries, for the encoder to recognise.
std::vector<std::string> topics_of(const OutcomeTable& table) {
  std::vector<std::string> topics = datasets(table);
  if (topics.size() >= 2) return topics;
  throw CLI::ValidationError("--topics: the queries name " + std::to_string(topics.size()) +
                             " datasets, expected at least 2 to tell from one another; leave the "
                             "option out, or add \"dataset\" to the lines of --queries");
}

}  // namespace

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
      .add_option("--dimension", settings.encoder.dimension,
                  "Dimension of the built-in encoder's embeddings")
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--encoder-seed", settings.encoder.seed, "Seed of the built-in encoder's hash")
      ->capture_default_str()
      ->type_name("N");
  command.add_flag("--fold-digits", settings.encoder.fold_digits,
                   "Let the built-in encoder count every digit as 0");
  command.add_flag("--square-root", settings.encoder.square_root,
                   "Let the built-in encoder take square roots, so that repetition counts less");
  command.add_flag("--idf", settings.encoder.has_idf,
                   "Weigh the built-in encoder's features by inverse document frequency");
  command.add_flag("--topics", settings.topics,
                   "Teach the built-in encoder to recognise the queries' datasets, and let heads "
                   "go by a query's share of each");
  command.add_flag("--augment", settings.augment,
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
            settings.train.predictor = parse_predictor_kind(kind);
          },
          "ridge: linear heads; knn: nearest neighbours; mlp: a multilayer perceptron")
      ->check(one_of({"ridge", "knn", "mlp"}))
      ->default_str("ridge")
      ->type_name("KIND");
  command.add_option("--alpha", settings.train.alphas, "Ridge penalties to choose from: X[,X...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      .add_option("--neighbours", settings.train.neighbours,
                  "Numbers of nearest neighbours to choose from: N[,N...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NUMBERS");
  command
      .add_option("--threads", settings.train.threads,
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
  settings.encoder.features.clear();
  for (const std::string& text : settings.features) {
    settings.encoder.features.push_back(parse_features(text));
  }
  const Pool pool = read_pool(settings.pool);
  OutcomeData data = read_outcome_data(outcomes, pool);
  data.table =
      choose_models(data.table, pool, settings.models, settings.coverage, print_warnings());
  if (hard_cap) data.table = apply_hard_cap(data.table, settings.token_limits);
  return data;
}

Checkpoint train_on(const OutcomeData& data, const LearningSettings& settings,
                    const TrainOptions& options, TrainReport* report) {
  if (!data.embeddings.empty()) {
    return train(data.table, data.embeddings, data.dimension, options, report);
  }
  LexicalEncoderSpec encoder = settings.encoder;
  if (settings.topics) encoder.topics = topics_of(data.table);
  return train(settings.augment ? add_perturbed_copies(data.table) : data.table, encoder, options,
               report);
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
