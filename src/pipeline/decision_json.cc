#include "pipeline/decision_json.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

namespace r2router::cli {
namespace {

// Writes members one by one: no tree is built for each of many queries, and an id keeps its
// spelling.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string& out) : out_(out) { out_ += '{'; }

  void raw(std::string_view key, std::string_view json) {
    if (!first_) out_ += ", ";
    first_ = false;
    out_ += '"';
    out_ += key;
    out_ += "\": ";
    out_ += json;
  }
  void text(std::string_view key, std::string_view value) {
    // Bytes that are not UTF-8 (of an argument, say) become U+FFFD: the line stays valid JSON.
    raw(key, nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  template <typename Number>
  void number(std::string_view key, Number value) {
    char digits[32];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
    raw(key, {digits, end});
  }
  void boolean(std::string_view key, bool value) { raw(key, value ? "true" : "false"); }
  void null(std::string_view key) { raw(key, "null"); }
  void text_or_null(std::string_view key, std::string_view value) {
    value.empty() ? null(key) : text(key, value);
  }
  template <typename Number>
  void number_or_null(std::string_view key, const std::optional<Number>& value) {
    value ? number(key, *value) : null(key);
  }
  // A member that is an object itself, whose members `write` writes.
  template <typename Write>
  void object(std::string_view key, Write write) {
    raw(key, "");
    nested(write);
  }
  // A member that is an array of objects, one for each of `values`.
  template <typename Values, typename Write>
  void list(std::string_view key, const Values& values, Write write) {
    raw(key, "[");
    bool first = true;
    for (const auto& value : values) {
      if (!std::exchange(first, false)) out_ += ", ";
      nested([&](ObjectWriter& entry) { write(entry, value); });
    }
    out_ += ']';
  }
  void close() { out_ += '}'; }

 private:
  template <typename Write>
  void nested(Write write) {
    ObjectWriter object(out_);
    write(object);
    object.close();
  }

  std::string& out_;
  bool first_ = true;
};

void write_label(ObjectWriter& object, const QueryLabel& label) {
  if (!label.id.empty()) object.raw("id", label.id);
  if (label.query) object.text("query", *label.query);
  if (label.row) object.number("row", *label.row);
}

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
  object.number("risk", option.risk);
}

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
}

// What was predicted of the pair that was asked last: after a fallback it is not the chosen one.
const Option& asked_option(const Decision& decision, const Completion& completion) {
  const auto asked = std::ranges::find_if(decision.ranking, [&](const Option& option) {
    return Pair{option.model, option.budget} == completion.pair;
  });
  return asked == decision.ranking.end() ? decision.chosen : *asked;
}

// Where the server has answered: its HTTP status.
std::optional<int> known(int http_status) {
  return http_status == 0 ? std::nullopt : std::optional(http_status);
}

void write_attempt(ObjectWriter& object, const Attempt& attempt, const Pool& pool) {
  object.text("model", pool[attempt.pair.model].name);
  object.text("openrouter_id", attempt.model);
  write_budget(object, attempt.pair.budget);
  object.number("max_tokens", attempt.max_tokens);
  object.number_or_null("http_status", known(attempt.http_status));
  object.text_or_null("error", attempt.error ? to_string(*attempt.error) : std::string_view());
  object.text_or_null("message", attempt.message);
  object.number("seconds", attempt.seconds);
  object.number_or_null("cost_usd", attempt.cost_usd);
}

void write_usage(ObjectWriter& object, const std::optional<Usage>& usage) {
  const auto count = [&](const char* key, std::int64_t Usage::*field) {
    object.number_or_null(key, usage ? std::optional((*usage).*field) : std::nullopt);
  };
  count("prompt_tokens", &Usage::prompt_tokens);
  count("completion_tokens", &Usage::completion_tokens);
  count("reasoning_tokens", &Usage::reasoning_tokens);
}

void write_completion(ObjectWriter& object, const Completion& completion, const Pool& pool) {
  object.text("response", completion.text);
  object.object("usage", [&](ObjectWriter& usage) { write_usage(usage, completion.usage); });
  object.number_or_null("charged_usd", completion.charged_usd);
  object.number_or_null("computed_usd", completion.computed_usd);
  object.text_or_null("served_model", completion.served_model);
  object.boolean("redirected", completion.redirected);
  object.text_or_null("finish_reason", completion.finish_reason);
  object.boolean("truncated", completion.truncated);
  object.boolean("over_cap", completion.over_cap);
  object.boolean("empty_after_reasoning", completion.empty_after_reasoning);
  object.number_or_null("first_text_seconds", completion.first_text_seconds);
  object.number("seconds", completion.seconds);
  object.list("attempts", completion.attempts, [&](ObjectWriter& entry, const Attempt& attempt) {
    write_attempt(entry, attempt, pool);
  });
}

std::string result_json(const QueryLabel& label, const Decision& decision, const Option& option,
                        const Completion* completion, bool all_options) {
  std::string line;
  ObjectWriter object(line);
  write_label(object, label);
  write_option(object, option, *decision.pool);
  if (completion != nullptr) write_completion(object, *completion, *decision.pool);
  if (decision.explanation) {
    object.object("explanation",
                  [&](ObjectWriter& members) { write_explanation(members, decision); });
  }
  if (all_options) {
    object.list("all_options", decision.ranking, [&](ObjectWriter& entry, const Option& ranked) {
      write_option(entry, ranked, *decision.pool);
    });
  }
  object.close();
  line += '\n';
  return line;
}

}  // namespace

std::string decision_json(const QueryLabel& label, const Decision& decision, bool all_options) {
  return result_json(label, decision, decision.chosen, nullptr, all_options);
}

std::string answer_json(const QueryLabel& label, const Decision& decision,
                        const Completion& completion, bool all_options) {
  return result_json(label, decision, asked_option(decision, completion), &completion, all_options);
}

std::string error_json(std::string_view id, std::string_view message, std::uint64_t line_number) {
  std::string line;
  ObjectWriter object(line);
  if (!id.empty()) object.raw("id", id);
  object.text("error", message);
  object.number("line", line_number);
  object.close();
  line += '\n';
  return line;
}

std::string failure_json(const QueryLabel& label, std::optional<std::uint64_t> line_number,
                         const Completion& completion, const Pool& pool) {
  std::string line;
  ObjectWriter object(line);
  write_label(object, label);
  object.text("error", completion.failure->message);
  object.text("error_code", to_string(completion.failure->code));
  if (line_number) object.number("line", *line_number);
  write_completion(object, completion, pool);
  object.close();
  line += '\n';
  return line;
}

}  // namespace r2router::cli
