#include "cli/decision_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/usd.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

// printf into a string; for numbers, whose length is bounded.
template <typename... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  char buffer[512];
  const int length = std::snprintf(buffer, sizeof buffer, pattern, arguments...);
  return {buffer, std::min<std::size_t>(length, sizeof buffer - 1)};
}

std::string budget_text(Budget budget) {
  return budget.is_unlimited() ? "unlimited" : budget.to_string() + " tokens";
}

// What giving up on cost would buy: the reason not to take the best answer is its price.
std::string best_quality_text(const Decision& decision) {
  const Option& chosen = decision.chosen;
  const auto best =
      std::max_element(decision.ranking.begin(), decision.ranking.end(),
                       [](const Option& a, const Option& b) { return a.quality < b.quality; });
  if (best == decision.ranking.end() || best->quality <= chosen.quality) return "this choice";
  std::string text = format("%.4f from ", best->quality) + decision.model(*best).name + ", " +
                     budget_text(best->budget);
  if (chosen.cost_usd > 0) text += format(", at %.3g × the cost", best->cost_usd / chosen.cost_usd);
  return text;
}

std::string worst_case_text(const Option& option) {
  return std::isfinite(option.worst_case_cost_usd) ? usd_text(option.worst_case_cost_usd, 4)
                                                   : "unknown";
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
    text += (text.empty() ? "" : ", ") + with_thousands(explanation.left_out[i]) + " by " +
            std::string(to_string(static_cast<Constraint>(i)));
  }
  return text.empty() ? "no pair" : "pairs: " + text;
}

}  // namespace

// Models that the options leave out do not appear in the ranking: it tells the candidates.
std::string candidates_text(const Decision& decision) {
  std::vector<bool> admitted(decision.pool->size());
  for (const Option& option : decision.ranking) admitted[option.model] = true;
  std::string line = "Candidate LLMs:    ";
  bool first = true;
  for (std::size_t model = 0; model < admitted.size(); ++model) {
    if (!admitted[model]) continue;
    if (!first) line += ", ";
    first = false;
    line += (*decision.pool)[model].name;
  }
  return line + '\n';
}

std::string decision_text(const Decision& decision) {
  const Option& chosen = decision.chosen;
  const ModelSpec& model = decision.model();
  std::string text = "Selected LLM:      " + model.name;
  if (!model.openrouter_id.empty()) text += "  (" + model.openrouter_id + ")";
  text += "\nSelected budget:   " + budget_text(chosen.budget);
  text += format("\nPredicted quality: %.4f  (0 to 1)", chosen.quality);
  text += format("\nPredicted length:  %.0f output tokens, for %lld of input", chosen.output_tokens,
                 static_cast<long long>(decision.input_tokens));
  // One call costs fractions of a cent: the second figure is easier to compare.
  text += "\nPredicted cost:    " + usd_text(chosen.cost_usd, 4) + "  (" +
          usd_text(1000 * chosen.cost_usd, 4) + " for 1,000 such queries)";
  text += format("\nCap to send:       %u tokens  (max_tokens)", chosen.max_tokens);
  text += "\nWorst-case cost:   " + worst_case_text(chosen) + "  (an answer as long as the cap)";
  text += "\nBest quality:      " + best_quality_text(decision);
  text += format("\nLambda:            %.10g  (0 quality alone, 1 cost alone)\n", decision.lambda);
  return text;
}

std::string explanation_text(const Decision& decision) {
  const Explanation& explanation = *decision.explanation;
  std::string text = "Reason:            ";
  text += reason_text(decision.reason);
  if (explanation.runner_up) {
    const Option& second = *explanation.runner_up;
    text += "\nRunner-up:         " + decision.model(second).name + ", " +
            budget_text(second.budget) + format("  (quality %.4f, ", second.quality) +
            usd_text(second.cost_usd, 4) + ")";
    text += format("\nMargin:            %.4g of risk", explanation.margin);
    if (explanation.win_probability) {
      text += format("; better than the runner-up with a chance of %.0f %%",
                     100 * *explanation.win_probability);
    }
  } else {
    text += "\nRunner-up:         none";
  }
  return text + "\nLeft out:          " + left_out_text(explanation) + '\n';
}

std::string ranking_text(const Decision& decision) {
  const std::size_t shown = std::min(kTableRows, decision.ranking.size());
  std::size_t width = 5;
  for (std::size_t i = 0; i < shown; ++i) {
    width = std::max(width, decision.model(decision.ranking[i]).name.size());
  }
  const auto padded = [width](std::string name) {
    name.resize(width, ' ');
    return name;
  };
  std::string text =
      "rank  " + padded("model") +
      "     budget  quality    tokens           cost          risk  max_tokens     worst case\n";
  for (std::size_t i = 0; i < shown; ++i) {
    const Option& option = decision.ranking[i];
    text += format("%4zu  ", i + 1) + padded(decision.model(option).name);
    text +=
        format("  %9s  %7.4f  %8.1f  %13s  %12.8f  %10u  %13s\n", option.budget.to_string().c_str(),
               option.quality, option.output_tokens, usd_text(option.cost_usd, 4).c_str(),
               option.utility, option.max_tokens, worst_case_text(option).c_str());
  }
  if (shown < decision.ranking.size()) {
    text += "      … and " + with_thousands(decision.ranking.size() - shown) +
            " more: --json shows all\n";
  }
  return text;
}

}  // namespace r2router::cli
