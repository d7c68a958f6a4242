// r2-router info: describes a checkpoint.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/router.h"

#include "base/usd.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/precision.h"
#include "pool/model_spec.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  r2-router info
  r2-router info my-router
  r2-router info --json | python3 -m json.tool)";

struct Settings {
  std::string folder;
  bool json = false;
};

// The spellings of config.json.
const char* rules_name(DecisionRules rules) {
  return rules == DecisionRules::kReference ? "reference" : "corrected";
}

const char* budget_mode_name(BudgetMode mode) {
  return mode == BudgetMode::kPrompted ? "prompted" : "hard-cap";
}

// Facts specific to the kind of predictor.
Json predictor_facts(const Checkpoint& checkpoint) {
  Json facts = {{"kind", to_string(checkpoint.config.predictor)}};
  if (const auto* knn = std::get_if<NearestNeighbours>(&checkpoint.predictor)) {
    facts["neighbours"] = knn->neighbours;
    facts["weighting"] =
        knn->weighting == NearestNeighbours::Weighting::kUniform ? "uniform" : "similarity";
    facts["queries"] = knn->embeddings.size() / knn->dimension;
  } else if (const auto* mlp = std::get_if<MultilayerPerceptron>(&checkpoint.predictor)) {
    for (const DenseLayer& layer : mlp->layers) facts["layers"].push_back(layer.biases.size());
  }
  return facts;
}

// The checkpoint as JSON. The text form is derived from it.
Json describe(const std::string& folder, const Checkpoint& checkpoint) {
  const Config& config = checkpoint.config;
  Json models = Json::array();
  for (const ModelSpec& model : config.models) {
    Json entry = {{"name", model.name}, {"openrouter_id", model.openrouter_id}};
    io::add_prices(model.prices, entry);
    entry["available"] = model.available;
    if (!model.note.empty()) entry["note"] = model.note;
    if (!model.instruction.empty()) entry["instruction"] = model.instruction;
    if (model.instruction_tokens > 0) entry["instruction_tokens"] = model.instruction_tokens;
    if (!model.omit.empty()) entry["omit"] = model.omit;
    if (!model.request.empty()) entry["request"] = Json::parse(model.request);
    models.push_back(entry);
  }
  Json budgets = Json::array();
  for (const Budget budget : config.token_limits) {
    budgets.push_back(budget.is_unlimited() ? Json("unlimited") : Json(budget.tokens()));
  }
  const std::vector<std::string> kernels = available_kernels();  // the last is the fastest
  return {{"checkpoint", folder},
          {"layout", config.format_version == 0 ? "released" : "native"},
          {"format_version", config.format_version},
          {"router_name", config.router_name},
          {"method", config.method},
          {"embedding_model", config.embedding_model},
          {"embedding_dim", config.embedding_dim},
          {"encoder", config.encoder ? "built in" : "external"},
          {"rules", rules_name(config.policy.rules.value_or(DecisionRules::kReference))},
          {"default_lambda", config.default_lambda()},
          {"token_floor", config.policy.token_floor.value_or(0)},
          {"budget_mode", budget_mode_name(config.budget_mode)},
          {"budget_prompt", config.budget_prompt},
          {"budgets", budgets},
          {"models", models},
          {"predictor", predictor_facts(checkpoint)},
          {"heads", head_names(checkpoint.predictor).size()},
          {"precision", precision(checkpoint.predictor)},
          {"training", config.training.empty() ? Json() : Json::parse(config.training)},
          {"checksum_sha256", checkpoint_checksum(folder)},
          {"kernels", kernels},
          {"kernel", kernels.back()}};
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string joined(const Json& values) {
  std::string text;
  for (const Json& value : values) {
    if (!text.empty()) text += " ";
    text += scalar_text(value);
  }
  return text;
}

// An object as indented lines, one per member.
void append_tree(std::string& text, const Json& object, std::size_t indent) {
  for (const auto& [key, value] : object.items()) {
    text += std::string(indent, ' ') + key + ':';
    if (value.is_object()) {
      text += '\n';
      append_tree(text, value, indent + 2);
    } else {
      text += ' ' + (value.is_array() ? joined(value) : scalar_text(value)) + '\n';
    }
  }
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

/// A column of prices, right-aligned.
std::string price_text(const Json& price) {
  const std::string text = usd_text(price.get<double>(), 4);
  return std::string(text.size() < 12 ? 12 - text.size() : 1, ' ') + text;
}

std::string predictor_text(const Json& predictor) {
  const std::string kind = predictor["kind"];
  if (kind == "knn") {
    return "knn, the " + predictor["neighbours"].dump() + " nearest of " +
           predictor["queries"].dump() + " queries (" + scalar_text(predictor["weighting"]) +
           " weights)";
  }
  return kind == "mlp" ? "mlp, layers of " + joined(predictor["layers"]) : kind;
}

std::string as_text(const Json& facts) {
  std::string text;
  const auto fact = [&](std::string name, const std::string& value) {
    // A released config lacks some fields, which are skipped.
    if (!value.empty()) text += padded(name + ":", 16) + value + '\n';
  };
  const auto string = [&](const char* key) { return facts[key].get<std::string>(); };
  fact("Checkpoint", string("checkpoint") + "  (" + string("layout") + " layout)");
  fact("Router", string("router_name"));
  fact("Method", string("method"));
  fact("Embeddings", string("embedding_model") + " (" + string("encoder") + "), " +
                         facts["embedding_dim"].dump() + " numbers");
  fact("Rules", string("rules"));
  fact("Default lambda", facts["default_lambda"].dump());
  fact("Token floor", facts["token_floor"].dump());
  fact("Budgets", joined(facts["budgets"]) + "  (" + string("budget_mode") + ")");
  fact("Budget prompt", string("budget_prompt"));
  fact("Predictor", predictor_text(facts["predictor"]));
  fact("Heads", facts["heads"].dump() + ", " + string("precision"));
  fact("SHA-256", string("checksum_sha256"));
  fact("Kernel", string("kernel") + "  (available: " + joined(facts["kernels"]) + ")");
  if (!facts["training"].is_null()) {
    text += "Training:\n";
    append_tree(text, facts["training"], 2);
  }

  // Models last, so that a long pool does not scroll the rest away.
  std::size_t width = 5;
  for (const Json& model : facts["models"]) {
    width = std::max(width, model["name"].get_ref<const std::string&>().size());
  }
  text += "\n" + padded("model", width) + "   $/M input  $/M output  available  catalogue name\n";
  for (const Json& model : facts["models"]) {
    text += padded(model["name"].get<std::string>(), width) +
            price_text(model["input_price_per_million"]) +
            price_text(model["output_price_per_million"]) + "  " +
            padded(model["available"].get<bool>() ? "yes" : "no", 11) +
            model["openrouter_id"].get<std::string>();
    if (model.contains("note")) text += "  (" + model["note"].get<std::string>() + ")";
    text += '\n';
  }
  return text;
}

void info(const Settings& settings) {
  const std::string folder =
      settings.folder.empty() ? Router::default_checkpoint_path() : settings.folder;
  // Loads it as route does, so that a checkpoint shown by info works.
  const Checkpoint checkpoint = load_checkpoint(folder, print_warnings());
  const Json facts = describe(folder, checkpoint);
  Output output;
  output.write(settings.json ? facts.dump(2) + '\n' : as_text(facts));
  output.flush();
}

}  // namespace

void add_info_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "info", "Show a checkpoint's models, prices, budgets, encoder and provenance");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  command
      ->add_option("DIR", settings->folder,
                   "Checkpoint folder; default: the one installed with r2-router")
      ->type_name("DIR");
  command->add_flag("--json", settings->json, "Print one JSON object");
  command->callback([settings] { info(*settings); });
}

}  // namespace r2router::cli
