#include "route/decision_json.h"

#include "r2router/decision.h"

namespace r2router {
namespace {

// The members of Python's Decision.explain().
void write_explanation(ObjectWriter& object, const Decision& decision) {
  const Explanation& explanation = *decision.explanation;
  object.text("reason", to_string(decision.reason));
  if (explanation.runner_up) {
    object.object("runner_up", [&](ObjectWriter& option) {
      write_option(option, *explanation.runner_up, *decision.pool);
    });
  } else {
    object.null("runner_up");
  }
  object.number("margin", explanation.margin);
  object.number_or_null("win_probability", explanation.win_probability);
  object.boolean("confident", explanation.confident());
  object.object("left_out", [&](ObjectWriter& counts) {
    for (std::size_t i = 0; i < kConstraints; ++i) {
      counts.number(to_string(static_cast<Constraint>(i)), explanation.left_out[i]);
    }
  });
  object.object("tasks", [&](ObjectWriter& shares) {
    for (const auto& [task, share] : explanation.tasks) shares.number(task, share);
  });
  object.number_or_null("familiarity", explanation.familiarity);
}

}  // namespace

void write_budget(ObjectWriter& object, Budget budget) {
  if (budget.is_unlimited()) {
    object.text("budget", "unlimited");
  } else {
    object.number("budget", budget.tokens());
  }
}

void write_option(ObjectWriter& object, const Option& option, const Pool& pool) {
  const ModelSpec& model = pool[option.model];
  object.text("model", model.name);
  object.text("openrouter_id", model.openrouter_id);
  write_budget(object, option.budget);
  object.number("predicted_quality", option.quality);
  object.number("predicted_output_tokens", option.output_tokens);
  object.number("predicted_cost_usd", option.cost_usd);
  object.number("risk", option.utility);
  object.number("max_tokens", option.max_tokens);
  object.number("worst_case_cost_usd", option.worst_case_cost_usd);
}

void write_details(ObjectWriter& object, const Decision& decision, bool all_options) {
  if (decision.explanation) {
    object.object("explanation",
                  [&](ObjectWriter& members) { write_explanation(members, decision); });
  }
  if (all_options) {
    object.list("all_options", decision.ranking, [&](ObjectWriter& entry, const Option& ranked) {
      write_option(entry, ranked, *decision.pool);
    });
  }
}

std::string to_json(const Decision& decision) {
  std::string text;
  ObjectWriter object(text);
  write_option(object, decision.chosen, *decision.pool);
  write_details(object, decision, !decision.ranking.empty());
  object.close();
  return text;
}

}  // namespace r2router
