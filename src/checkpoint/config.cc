#include "r2router/config.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/settings.h"

#include "base/excerpt.h"
#include "base/json.h"
#include "base/json_names.h"
#include "checkpoint/format_version.h"
#include "encode/encoder_kind.h"
#include "pool/model_spec.h"

namespace r2router {
namespace {

using io::Json;
using io::JsonDocument;
using io::JsonView;

constexpr std::uint32_t kNewestFormatVersion = 5;
constexpr double kHighestTokenFloor = 4294967294;
constexpr std::uint32_t kMostLengthPoints = 1000;

// The settings of Config::policy that are top-level fields, and their names.
constexpr std::pair<std::string_view, std::string_view> kOwnSettings[] = {
    {"lambda", "default_lambda"}, {"rules", "rules"}, {"token_floor", "token_floor"}};

// The names of enumerations' values in JSON.
constexpr std::pair<std::string_view, BudgetMode> kBudgetModes[] = {
    {"prompted", BudgetMode::kPrompted}, {"hard-cap", BudgetMode::kHardCap}};
constexpr std::pair<std::string_view, PredictorKind> kPredictorKinds[] = {
    {"ridge", PredictorKind::kRidge}, {"knn", PredictorKind::kKnn}, {"mlp", PredictorKind::kMlp}};

/// A folder name that stays inside the folder it is appended to.
std::string read_folder_name(const JsonView& field) {
  const std::string& name = field.string("the name of this model's folder under checkpoints/");
  if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos ||
      name.find('\\') != name.npos || name.find('\0') != name.npos) {
    field.fail_with(ErrorCode::kUnsafe,
                    "found " + excerpt(name) +
                        ", expected the plain name of a folder under checkpoints/; a checkpoint "
                        "may only use its own files, so remove slashes and \"..\"");
  }
  return name;
}

std::vector<Budget> read_budgets(const JsonView& field) {
  std::vector<Budget> budgets;
  for (const JsonView& element : field.elements("an array of budgets")) {
    const Budget budget = element.budget();
    if (std::ranges::find(budgets, budget) != budgets.end()) {
      element.fail_with("the budget " + budget.to_string() +
                        " occurs twice; remove one of the two");
    }
    budgets.push_back(budget);
  }
  return budgets;
}

void read_model(const JsonView& field, std::string_view name, Config& config) {
  config.models.push_back(io::read_model_spec(field, name));
  const JsonView folder = field["checkpoint_dir"];
  if (config.format_version == 0) {
    config.checkpoint_dirs.push_back(read_folder_name(folder));
  } else if (folder.present()) {
    read_folder_name(folder);  // unused in this format, but still must not be a path
  }
}

std::uint32_t read_format_version(const JsonView& field) {
  if (!field.present()) return 0;
  const std::uint32_t version = field.uint32(0, UINT32_MAX);
  if (version > kNewestFormatVersion) {
    field.fail_with("found a checkpoint of format version " + std::to_string(version) +
                    ", expected at most " + std::to_string(kNewestFormatVersion) +
                    ", the newest that this r2router reads; update r2router");
  }
  return version;
}

/// A position in valid JSON text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// Moves past white space and one known character: a bracket, comma or colon.
  void skip_punctuation() {
    skip_space();
    ++position_;
  }

  /// Moves past the next value and returns its text.
  std::string_view take_value() {
    skip_space();
    const std::size_t start = position_;
    int depth = 0;
    do {
      const char c = text_[position_];
      if (c == '"') {
        skip_string();
      } else if (c == '{' || c == '[') {
        ++depth, ++position_;
      } else if (c == '}' || c == ']') {
        --depth, ++position_;
      } else if (depth > 0) {
        ++position_;
      } else {
        position_ = std::min(text_.find_first_of(" \t\r\n,]}", position_), text_.size());
      }
    } while (depth > 0);
    return text_.substr(start, position_ - start);
  }

 private:
  void skip_space() { position_ = text_.find_first_not_of(" \t\r\n", position_); }

  void skip_string() {
    for (++position_; text_[position_] != '"'; ++position_) {
      if (text_[position_] == '\\') ++position_;
    }
    ++position_;
  }

  std::string_view text_;
  std::size_t position_ = 0;
};

/// The text of the object's member number `index`. Provenance is kept as text, since parsing and
/// writing would change the spelling of its numbers.
std::string_view member_text(std::string_view object, std::size_t index) {
  if (object.starts_with("\xEF\xBB\xBF")) object.remove_prefix(3);  // a byte order mark
  Scanner scanner(object);
  for (std::size_t i = 0;; ++i) {
    scanner.skip_punctuation();  // the brace or the comma before the member
    scanner.take_value();        // its name
    scanner.skip_punctuation();  // the colon
    const std::string_view value = scanner.take_value();
    if (i == index) return value;
  }
}

/// Rejects `what` if the config's format version does not support it.
void expect_version(const Config& config, const JsonView& field, const std::string& what) {
  const std::uint32_t least = internal::format_version_for(config);
  // A released folder, version 0, supports the same as version 1.
  if (std::max(config.format_version, std::uint32_t{1}) >= least) return;
  field.fail_with("found " + what + ", which format version " +
                  std::to_string(config.format_version) +
                  " does not have; set /format_version to " + std::to_string(least) +
                  " here and in model.safetensors");
}

/// A setting that is a top-level field.
void read_setting(const JsonView& field, std::string_view name, Policy& policy) {
  const Setting& setting = *find_setting(name);
  const auto value = field.plain();
  if (!value || !assign(setting, *value, policy)) field.fail(setting.expected());
}

/// The object "policy", whose text is `json`.
Policy read_policy(const JsonView& field, std::string_view json, const std::string& file) {
  field.members();  // an object, or an error
  for (const auto& [name, own] : kOwnSettings) {
    if (const JsonView setting = field[name]; setting.present()) {
      setting.fail_with("the checkpoint's " + std::string(name) + " is the field /" +
                        std::string(own) + "; move it there");
    }
  }
  try {
    return parse_policy(json, file);
  } catch (const Error& error) {
    Error::Where where = error.where();
    where.pointer = "/policy" + where.pointer;
    throw Error(error.code(), error.message(), where);
  }
}

}  // namespace

std::string_view default_budget_prompt() noexcept {
  return "Use no more than {budget} tokens. Reply with the answer alone, in the format that the "
         "question asks for, and leave out any explanation.";
}

std::string_view to_string(PredictorKind kind) noexcept {
  for (const auto& [name, value] : kPredictorKinds) {
    if (value == kind) return name;
  }
  return "unknown";
}

PredictorKind parse_predictor_kind(std::string_view text) {
  std::string expected;
  for (const auto& [name, value] : kPredictorKinds) {
    if (name == text) return value;
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "found the predictor " + excerpt(text) + ", expected one of: " + expected);
}

Config parse_config(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file, ErrorCode::kBadConfig);
  const JsonView root = document.root();
  const auto members = root.members("a config: a JSON object");

  Config config;
  // The version first: a later version may change the meaning of all other fields.
  config.format_version = read_format_version(root["format_version"]);
  root.refuse_misspelt({"format_version", "router_name", "method", "predictor", "embedding_model",
                        "embedding_dim", "default_lambda", "token_limits", "models", "encoder",
                        "budget_mode", "budget_prompt", "rules", "token_floor", "policy",
                        "length_points", "length_sigma", "training"});

  if (const JsonView name = root["router_name"]; name.present()) config.router_name = name.string();
  if (const JsonView method = root["method"]; method.present()) config.method = method.string();
  if (const JsonView predictor = root["predictor"]; predictor.present()) {
    config.predictor = io::read_name(predictor, kPredictorKinds);
    expect_version(config, predictor, "a predictor other than linear heads");
  }
  if (const JsonView model = root["embedding_model"]; model.present()) {
    config.embedding_model = model.string();
  }
  config.embedding_dim = root["embedding_dim"].uint32(1, internal::kMostDimensions);
  if (const JsonView lambda = root["default_lambda"]; lambda.present()) {
    read_setting(lambda, "lambda", config.policy);
  }
  if (const JsonView limits = root["token_limits"]; limits.present()) {
    config.token_limits = read_budgets(limits);
  }

  const JsonView models = root["models"];
  for (const auto& [name, model] : models.members("an object with a member for each model")) {
    read_model(model, name, config);
  }
  if (config.models.empty()) models.fail("at least one model");
  expect_version(config, models, "a model with an instruction");

  if (const JsonView encoder = root["encoder"]; encoder.present()) {
    config.encoder = internal::read_encoder(encoder, config.embedding_dim);
    expect_version(config, encoder, "an encoder with these settings");
  }
  if (const JsonView mode = root["budget_mode"]; mode.present()) {
    config.budget_mode = io::read_name(mode, kBudgetModes);
  }
  if (const JsonView prompt = root["budget_prompt"]; prompt.present()) {
    config.budget_prompt = prompt.string();
    if (!config.budget_prompt.empty() &&
        config.budget_prompt.find("{budget}") == std::string::npos) {
      prompt.fail("a text with \"{budget}\" in place of the number of tokens, or \"\"");
    }
  } else if (config.budget_mode == BudgetMode::kPrompted) {
    config.budget_prompt = default_budget_prompt();
  }
  if (const JsonView rules = root["rules"]; rules.present()) {
    read_setting(rules, "rules", config.policy);
  }
  if (const JsonView floor = root["token_floor"]; floor.present()) {
    floor.number(0, kHighestTokenFloor, "a number of tokens from 0 to 4294967294");
    read_setting(floor, "token_floor", config.policy);
  }
  if (const JsonView points = root["length_points"]; points.present()) {
    config.length_points = points.uint32(2, kMostLengthPoints);
    expect_version(config, points, "length curves");
  }
  if (const JsonView sigma = root["length_sigma"]; sigma.present()) {
    constexpr std::string_view kExpected = "a number above 0, at most 4";
    config.length_sigma = sigma.number(0, kHighestLengthSigma, kExpected);
    if (config.length_sigma == 0) sigma.fail(kExpected);
  }
  // Members keep the order of the text, so their index locates the text.
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto& [name, field] = members[i];
    if (name == "training") {
      field.members();  // an object, or an error
      config.training = member_text(json, i);
    } else if (name == "policy") {
      config.policy = merge(read_policy(field, member_text(json, i), file), config.policy);
      expect_version(config, field, "a policy");
    }
  }
  return config;
}

std::string to_json(const Config& config) {
  Json policy = Json::parse(to_json(config.policy));
  const auto take = [&](const char* setting, Json otherwise) {
    Json value = policy.value(setting, std::move(otherwise));
    policy.erase(setting);
    return value;
  };
  Json json = {{"format_version", internal::format_version_for(config)},
               {"router_name", config.router_name},
               {"method", config.method},
               {"embedding_model", config.embedding_model},
               {"embedding_dim", config.embedding_dim},
               {"default_lambda", take("lambda", kDefaultLambda)}};
  // Omitted if default: readers of version 1 may not know it.
  if (config.predictor != PredictorKind::kRidge) {
    json["predictor"] = io::name_of(config.predictor, kPredictorKinds);
  }
  if (config.encoder) json["encoder"] = internal::encoder_to_json(*config.encoder);
  json["budget_mode"] = io::name_of(config.budget_mode, kBudgetModes);
  json["budget_prompt"] = config.budget_prompt;
  json["rules"] = take("rules", "reference");
  json["token_floor"] = take("token_floor", 0.0);
  if (!policy.empty()) json["policy"] = std::move(policy);
  if (config.length_points > 0) json["length_points"] = config.length_points;
  if (config.length_sigma != kDefaultLengthSigma) json["length_sigma"] = config.length_sigma;
  for (const Budget budget : config.token_limits) {
    json["token_limits"].push_back(io::budget_to_json(budget));
  }
  Json& models = json["models"] = Json::object();
  for (const ModelSpec& model : config.models) {
    // Assigning would silently keep the second of two equal names.
    if (models.contains(model.name)) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "two models of the pool are named " + excerpt(model.name) + "; give each its own name");
    }
    models[model.name] = io::model_spec_to_json(model);
  }
  // nlohmann validates UTF-8 when it writes.
  std::string text;
  try {
    text = json.dump(2);
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kInvalidArgument,
                "a name or text of the config is not UTF-8, which JSON requires; re-encode it");
  }
  if (!config.training.empty()) {
    JsonDocument(config.training, "Config::training", ErrorCode::kInvalidArgument).root().members();
    text.resize(text.size() - 2);  // the line break and the brace
    text += ",\n  \"training\": " + config.training + "\n}";
  }
  text += "\n";
  parse_config(text, "config to be written");  // checks that it can be read back
  return text;
}

void apply_pool(Config& config, const Pool& pool, const LogCallback& log) {
  const auto find = [](auto& models, const std::string& name) {
    return std::ranges::find(models, name, &ModelSpec::name);
  };
  const auto names = [](const Pool& models) {
    std::string list;
    for (const ModelSpec& model : models) list += (list.empty() ? "" : ", ") + model.name;
    return list;
  };
  if (std::ranges::none_of(pool, [&](const ModelSpec& model) {
        return find(config.models, model.name) != config.models.end();
      })) {
    throw Error(ErrorCode::kInvalidArgument,
                "the pool (" + names(pool) + ") has no model of the checkpoint (" +
                    names(config.models) + "); name its models as the checkpoint does");
  }
  const auto warn = [&](const std::string& message) {
    if (log) log(LogLevel::kWarning, message);
  };
  for (ModelSpec& model : config.models) {
    if (const auto given = find(pool, model.name); given != pool.end()) {
      // Its heads were trained with this instruction.
      const ModelSpec before = std::exchange(model, *given);
      model.instruction = before.instruction;
      model.instruction_tokens = before.instruction_tokens;
    } else if (std::exchange(model.available, false)) {
      warn("the pool does not list the checkpoint's model " + model.name +
           ", which is marked unavailable");
    }
  }
  for (const ModelSpec& model : pool) {
    if (find(config.models, model.name) == config.models.end()) {
      warn("the checkpoint has no heads for the pool's model " + model.name + ", which is ignored");
    }
  }
}

}  // namespace r2router
