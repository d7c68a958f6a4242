// A checkpoint described for people and programs.
#include <string_view>
#include <variant>

#include <nlohmann/json.hpp>

#include "r2router/checkpoint.h"

#include "base/text_layout.h"
#include "base/usd.h"
#include "pool/capability_names.h"
#include "pool/model_spec.h"

namespace r2router {
namespace {

using Json = nlohmann::ordered_json;

/// Facts of the kind of predictor.
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

Json model_facts(const ModelSpec& model) {
  Json facts = {{"name", model.name}, {"openrouter_id", model.openrouter_id}};
  io::add_prices(model.prices, facts);
  facts["available"] = model.available;
  if (!model.note.empty()) facts["note"] = model.note;
  if (!model.instruction.empty()) facts["instruction"] = model.instruction;
  if (model.instruction_tokens > 0) facts["instruction_tokens"] = model.instruction_tokens;
  if (!model.omit.empty()) facts["omit"] = model.omit;
  if (!model.request.empty()) facts["request"] = Json::parse(model.request);
  if (model.context_tokens) facts["context_tokens"] = *model.context_tokens;
  if (model.max_output_tokens) facts["max_output_tokens"] = *model.max_output_tokens;
  if (model.capabilities) facts["capabilities"] = internal::names_of(*model.capabilities);
  if (!model.family.empty()) facts["family"] = model.family;
  if (!model.endpoint.empty()) facts["endpoint"] = model.endpoint;
  if (!model.retires.empty()) facts["retires"] = model.retires;
  return facts;
}

const char* precision(const Predictor& predictor) {
  const auto* heads = std::get_if<LinearHeads>(&predictor);
  const bool wide = heads != nullptr && std::holds_alternative<std::vector<double>>(heads->weights);
  return wide ? "float64" : "float32";
}

/// When the data was made that the checkpoint was trained on, as its provenance has it; or empty.
std::string data_date(const Json& training) {
  const auto date = training.find("data_date");
  return date != training.end() && date->is_string() ? date->get<std::string>() : std::string();
}

Json facts_of(const std::string& name, const LogCallback& log) {
  const std::string folder = checkpoint_folder(name);
  const Checkpoint checkpoint = load_checkpoint(folder, log);
  const Config& config = checkpoint.config;
  Json budgets = Json::array(), models = Json::array();
  for (const Budget budget : config.token_limits) {
    budgets.push_back(budget.is_unlimited() ? Json("unlimited") : Json(budget.tokens()));
  }
  for (const ModelSpec& model : config.models) models.push_back(model_facts(model));
  const bool reference =
      config.policy.rules.value_or(DecisionRules::kReference) == DecisionRules::kReference;
  const std::vector<std::string> kernels = available_kernels();  // the last is the fastest
  return {{"checkpoint", folder},
          {"layout", config.format_version == 0 ? "released" : "native"},
          {"format_version", config.format_version},
          {"router_name", config.router_name},
          {"method", config.method},
          {"embedding_model", config.embedding_model},
          {"embedding_dim", config.embedding_dim},
          {"encoder", config.encoder ? "built in" : "external"},
          {"rules", reference ? "reference" : "corrected"},
          {"default_lambda", config.default_lambda()},
          {"token_floor", config.policy.token_floor.value_or(0)},
          {"budget_mode", config.budget_mode == BudgetMode::kPrompted ? "prompted" : "hard-cap"},
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

/// A value, or several with spaces between them.
std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& element : value) text += (text.empty() ? "" : " ") + text_of(element);
  return text;
}

/// An object as indented lines, one for each member.
std::string tree_text(const Json& object, std::size_t indent) {
  std::string text;
  for (const auto& [key, value] : object.items()) {
    text += std::string(indent, ' ') + key + ':';
    text += value.is_object() ? '\n' + tree_text(value, indent + 2) : ' ' + text_of(value) + '\n';
  }
  return text;
}

std::string predictor_text(const Json& predictor) {
  const std::string kind = predictor["kind"];
  if (kind == "knn") {
    return "knn, the " + text_of(predictor["neighbours"]) + " nearest of " +
           text_of(predictor["queries"]) + " queries (" + text_of(predictor["weighting"]) +
           " weights)";
  }
  return kind == "mlp" ? "mlp, layers of " + text_of(predictor["layers"]) : kind;
}

std::string models_text(const Json& models) {
  std::vector<std::vector<std::string>> rows = {
      {"model", "$/M input", "$/M output", "available", "catalogue name"}};
  const auto price = [](const Json& usd) { return usd_text(usd.get<double>(), 4); };
  for (const Json& model : models) {
    rows.push_back({text_of(model["name"]), price(model["input_price_per_million"]),
                    price(model["output_price_per_million"]), model["available"] ? "yes" : "no",
                    text_of(model["openrouter_id"])});
    if (model.contains("note")) rows.back().back() += "  (" + text_of(model["note"]) + ")";
    if (model.contains("retires"))
      rows.back().back() += "  (until " + text_of(model["retires"]) + ")";
  }
  return table_text(rows, {0, 3, 4});
}

std::string facts_text(const Json& facts) {
  std::string text;
  const auto of = [&](const char* key) { return text_of(facts[key]); };
  const auto line = [&](std::string_view name, const std::string& value) {
    // A released config lacks some fields.
    if (!value.empty()) text += fact_line(name, value, 16);
  };
  line("Checkpoint", of("checkpoint") + "  (" + of("layout") + " layout)");
  line("Router", of("router_name"));
  line("Method", of("method"));
  line("Embeddings",
       of("embedding_model") + " (" + of("encoder") + "), " + of("embedding_dim") + " numbers");
  line("Rules", of("rules"));
  line("Default lambda", of("default_lambda"));
  line("Token floor", of("token_floor"));
  line("Budgets", of("budgets") + "  (" + of("budget_mode") + ")");
  line("Budget prompt", of("budget_prompt"));
  line("Predictor", predictor_text(facts["predictor"]));
  line("Heads", of("heads") + ", " + of("precision"));
  if (facts["training"].is_object()) line("Data of", data_date(facts["training"]));
  line("SHA-256", of("checksum_sha256"));
  line("Kernel", of("kernel") + "  (available: " + of("kernels") + ")");
  if (!facts["training"].is_null()) text += "Training:\n" + tree_text(facts["training"], 2);
  // Models last, so that a long pool does not scroll the rest away.
  return text + '\n' + models_text(facts["models"]);
}

}  // namespace

std::string checkpoint_json(const std::string& folder, const LogCallback& log) {
  return facts_of(folder, log).dump(2);
}

std::string checkpoint_text(const std::string& folder, const LogCallback& log) {
  return facts_text(facts_of(folder, log));
}

}  // namespace r2router
