// Decisions as text for people.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/decision.h"

#include "base/decimal.h"
#include "base/text_layout.h"
#include "base/usd.h"

namespace r2router {
namespace {

std::string line(std::string_view label, std::string_view value) {
  return fact_line(label, value, kFactColumn);
}

/// `significant` digits, without zeros at the end.
std::string number(double value, int significant) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", significant, value);
  return text;
}

std::string budget_text(Budget budget) {
  return budget.is_unlimited() ? "unlimited" : budget.to_string() + " tokens";
}

std::string usd(double amount) { return usd_text(amount, 4); }

// The price of the best quality: the reason not to take it.
std::string best_quality_text(const Decision& decision) {
  const Option& chosen = decision.chosen;
  const auto best = std::ranges::max_element(decision.ranking, {}, &Option::quality);
  if (best == decision.ranking.end() || best->quality <= chosen.quality) return "this choice";
  std::string text = decimal(best->quality, 4) + " from " + decision.model(*best).name + ", " +
                     budget_text(best->budget);
  if (chosen.cost_usd > 0) {
    text += ", at " + number(best->cost_usd / chosen.cost_usd, 3) + " × the cost";
  }
  return text;
}

std::string worst_case_text(const Option& option) {
  return std::isfinite(option.worst_case_cost_usd) ? usd(option.worst_case_cost_usd) : "unknown";
}

const char* reason_text(Reason reason) {
  switch (reason) {
    case Reason::kUtility:
      return "the highest risk, (1 − lambda)·quality − lambda·cost";
    case Reason::kUsd:
      return "the highest quality − cost / willingness to pay";
    case Reason::kCheapest:
      return "the lowest cost";
    case Reason::kBest:
      return "the highest quality";
    case Reason::kQualityMissed:
      break;
  }
  return "the highest quality; none has the quality that was asked for";
}

std::string left_out_text(const Explanation& explanation) {
  std::string text;
  for (std::size_t i = 0; i < kConstraints; ++i) {
    if (explanation.left_out[i] == 0) continue;
    text += (text.empty() ? "pairs: " : ", ") + with_thousands(explanation.left_out[i]) + " by " +
            std::string(to_string(static_cast<Constraint>(i)));
  }
  return text.empty() ? "no pair" : text;
}

/// "code_generation 83 %, code_editing 9 %; 5 % unlike any".
std::string tasks_text(const Explanation& explanation) {
  constexpr std::size_t kMost = 3;
  std::string text;
  for (const auto& [task, share] :
       std::span(explanation.tasks).first(std::min(kMost, explanation.tasks.size()))) {
    text += (text.empty() ? "" : ", ") + task + " " + decimal(100 * share, 0) + " %";
  }
  const double unlike = 1 - explanation.familiarity.value_or(1);
  if (unlike >= 0.01) text += "; " + decimal(100 * unlike, 0) + " % unlike any";
  return text;
}

std::string explanation_text(const Decision& decision) {
  const Explanation& explanation = *decision.explanation;
  std::string text;
  if (!explanation.tasks.empty()) text += line("Tasks", tasks_text(explanation));
  text += line("Reason", reason_text(decision.reason));
  if (explanation.runner_up) {
    const Option& second = *explanation.runner_up;
    text += line("Runner-up", decision.model(second).name + ", " + budget_text(second.budget) +
                                  "  (quality " + decimal(second.quality, 4) + ", " +
                                  usd(second.cost_usd) + ")");
    text += line("Margin", number(explanation.margin, 4) + " of risk" +
                               (explanation.win_probability
                                    ? "; better than the runner-up with a chance of " +
                                          decimal(100 * *explanation.win_probability, 0) + " %"
                                    : ""));
  } else {
    text += line("Runner-up", "none");
  }
  return text + line("Left out", left_out_text(explanation));
}

}  // namespace

// The ranking has only models that the constraints allow.
std::string candidates_text(const Decision& decision) {
  std::set<std::uint32_t> models;
  for (const Option& option : decision.ranking) models.insert(option.model);
  std::string names;
  for (const std::uint32_t model : models) {
    names += (names.empty() ? "" : ", ") + (*decision.pool)[model].name;
  }
  return line("Candidate LLMs", names);
}

std::string to_text(const Decision& decision) {
  const Option& chosen = decision.chosen;
  const ModelSpec& model = decision.model();
  const std::string id = model.openrouter_id.empty() ? "" : "  (" + model.openrouter_id + ")";
  return line("Selected LLM", model.name + id) +
         line("Selected budget", budget_text(chosen.budget)) +
         line("Predicted quality", decimal(chosen.quality, 4) + "  (0 to 1)") +
         line("Predicted length", decimal(chosen.output_tokens, 0) + " output tokens, for " +
                                      std::to_string(decision.input_tokens) + " of input") +
         // One call costs fractions of a cent: the second figure is easier to compare.
         line("Predicted cost", usd(chosen.cost_usd) + "  (" + usd(1000 * chosen.cost_usd) +
                                    " for 1,000 such queries)") +
         line("Cap to send", std::to_string(chosen.max_tokens) + " tokens  (max_tokens)") +
         line("Worst-case cost", worst_case_text(chosen) + "  (an answer as long as the cap)") +
         line("Best quality", best_quality_text(decision)) +
         line("Lambda", number(decision.lambda, 10) + "  (0 quality alone, 1 cost alone)") +
         (decision.explanation ? explanation_text(decision) : "");
}

std::string ranking_text(const Decision& decision, std::size_t most) {
  std::vector<std::vector<std::string>> rows = {
      {"rank", "model", "budget", "quality", "tokens", "cost", "risk", "max_tokens", "worst case"}};
  for (const Option& option : decision.ranking) {
    if (rows.size() > most) break;
    rows.push_back(
        {std::to_string(rows.size()), decision.model(option).name, option.budget.to_string(),
         decimal(option.quality, 4), decimal(option.output_tokens, 1), usd(option.cost_usd),
         decimal(option.utility, 8), std::to_string(option.max_tokens), worst_case_text(option)});
  }
  const std::size_t more = decision.ranking.size() - (rows.size() - 1);
  return table_text(rows, {1}) +
         (more > 0 ? "      … and " + with_thousands(more) + " more\n" : "");
}

}  // namespace r2router
