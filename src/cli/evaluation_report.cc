#include "cli/evaluation_report.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "cli/output.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string decimal(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string reached(const std::optional<double>& value) {
  return value ? decimal(*value, 3) : "not reached";
}

Json json_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::string right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

}  // namespace

RouterEvaluation evaluate_router(const Router& router, const OutcomeData& data,
                                 std::uint32_t holdout, bool available_only) {
  OutcomeData test = holdout > 0 ? select_part(data, holdout, true) : data;
  test = select_rows(test, complete_queries(test.table));
  const OutcomeData training = select_part(data, holdout, false);
  std::vector<float> embeddings = test.embeddings;
  if (embeddings.empty() && router.embedder()) {
    std::vector<std::string_view> texts;
    for (const Query& query : test.table.queries) texts.push_back(query.text);
    embeddings.resize(texts.size() * router.dimension());
    router.embedder()->embed(texts, embeddings);
  } else if (embeddings.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has no encoder of its own: give the queries' embeddings with "
                "--embeddings (model: " +
                    router.config().embedding_model + ")");
  }
  const PredictionTable predictions =
      predict(test.table, router.pool(), *router.scorer(), embeddings);
  const SweepOptions options = {.token_floor = router.config().token_floor,
                                .available_only = available_only};
  const std::vector<double> lambda = {router.config().default_lambda};
  return {evaluate(test.table, predictions, training.table, options),
          sweep(test.table, predictions, lambda, options).front()};
}

std::string evaluation_text(const RouterEvaluation& result, const OutcomeTable& table) {
  const auto& [evaluation, at_default] = result;
  const BestSingle& best = evaluation.best_single;
  std::string text =
      "Evaluated on " + with_thousands(evaluation.queries) + " queries" +
      (table.budget_mode == BudgetMode::kHardCap ? ", budgets as a hard cap" : "") +
      ".\nThe best single model is " + table.models[best.model].name + ": score " +
      decimal(best.score, 4) + " at $" + decimal(best.cost_usd, 6) +
      " a query, the unit of cost below.\nAt its default λ = " + decimal(at_default.lambda, 7) +
      " the router scores " + decimal(at_default.score, 4) + " at a cost of " +
      decimal(at_default.cost_usd / best.cost_usd, 3) + ".\n\n";
  std::size_t width = 0;
  for (const Policy& policy : evaluation.policies) width = std::max(width, policy.name.size());
  const auto line = [&](std::string name, const std::string& audc, const std::string& qnc,
                        const std::string& peak, const std::string& c95) {
    name.resize(width, ' ');
    text += name + right(audc, 8) + right(qnc, 13) + right(peak, 8) + right(c95, 13) + '\n';
  };
  line("policy", "AUDC", "QNC", "peak", "c95");
  for (const auto& [name, curve, metrics] : evaluation.policies) {
    line(name, decimal(metrics.audc, 4), reached(metrics.qnc), decimal(metrics.peak, 4),
         reached(metrics.c95));
  }
  return text +
         "\nAUDC: area under the score reached at each cost. QNC and c95: least cost that reaches "
         "the\nbest single model's score, and 95 % of it. Peak: highest score at no more than its "
         "cost.\n";
}

Json evaluation_json(const RouterEvaluation& result, const OutcomeTable& table) {
  const auto& [evaluation, at_default] = result;
  const BestSingle& best = evaluation.best_single;
  Json policies = Json::array();
  for (const auto& [name, curve, metrics] : evaluation.policies) {
    policies.push_back({{"policy", name},
                        {"audc", metrics.audc},
                        {"qnc", json_or_null(metrics.qnc)},
                        {"peak", metrics.peak},
                        {"c95", json_or_null(metrics.c95)}});
  }
  return {{"queries", evaluation.queries},
          {"budget_mode", table.budget_mode == BudgetMode::kHardCap ? "hard-cap" : "prompted"},
          {"best_single",
           {{"model", table.models[best.model].name},
            {"score", best.score},
            {"cost_usd", best.cost_usd}}},
          {"default_lambda",
           {{"lambda", at_default.lambda},
            {"score", at_default.score},
            {"cost", at_default.cost_usd / best.cost_usd}}},
          {"policies", policies}};
}

std::string curves_csv(const Evaluation& evaluation) {
  std::string text = "policy,cost,score,lambda\n";
  for (const Policy& policy : evaluation.policies) {
    std::string name;
    for (const char c : policy.name) name += c == '"' ? std::string("\"\"") : std::string(1, c);
    for (const DeferralPoint& point : policy.curve) {
      char numbers[128];
      std::snprintf(numbers, sizeof numbers, ",%.17g,%.17g,%.17g\n", point.cost, point.score,
                    point.lambda);
      text += '"' + name + '"' + numbers;
    }
  }
  return text;
}

}  // namespace r2router::cli
