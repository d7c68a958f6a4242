#include "pipeline/decision_json.h"

#include <algorithm>

#include "r2router/pipeline.h"

#include "route/decision_json.h"

namespace r2router {
namespace internal {
namespace {

void write_label(ObjectWriter& object, const QueryLabel& label) {
  if (!label.id.empty()) object.raw("id", label.id);
  if (label.query) object.text("query", *label.query);
  if (label.row) object.number("row", *label.row);
}

// What was predicted of the pair that was asked last: after a fallback it is not the chosen one.
const Option& asked_option(const Decision& decision, const llm::Completion& completion) {
  const auto asked = std::ranges::find_if(decision.ranking, [&](const Option& option) {
    return Pair{option.model, option.budget} == completion.pair;
  });
  return asked == decision.ranking.end() ? decision.chosen : *asked;
}

// Where the server has answered: its HTTP status.
std::optional<int> known(int http_status) {
  return http_status == 0 ? std::nullopt : std::optional(http_status);
}

void write_attempt(ObjectWriter& object, const llm::Attempt& attempt, const Pool& pool) {
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
  count("cached_tokens", &Usage::cached_tokens);
  count("cache_write_tokens", &Usage::cache_write_tokens);
}

void write_completion(ObjectWriter& object, const llm::Completion& completion, const Pool& pool) {
  object.text("response", completion.text);
  object.text_or_null("reasoning", completion.reasoning);
  object.text_or_null("refusal", completion.refusal);
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
  object.list("attempts", completion.attempts,
              [&](ObjectWriter& entry, const llm::Attempt& attempt) {
                write_attempt(entry, attempt, pool);
              });
}

std::string result_json(const QueryLabel& label, const Decision& decision, const Option& option,
                        const llm::Completion* completion, bool all_options) {
  std::string line;
  ObjectWriter object(line);
  write_label(object, label);
  write_option(object, option, *decision.pool);
  if (completion != nullptr) write_completion(object, *completion, *decision.pool);
  write_details(object, decision, all_options);
  object.close();
  line += '\n';
  return line;
}

}  // namespace

std::string decision_json(const QueryLabel& label, const Decision& decision, bool all_options) {
  return result_json(label, decision, decision.chosen, nullptr, all_options);
}

std::string answer_json(const QueryLabel& label, const Decision& decision,
                        const llm::Completion& completion, bool all_options) {
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
                         const llm::Completion& completion, const Pool& pool) {
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

}  // namespace internal

std::string to_json_line(const Reply& reply, bool all_options) {
  const QueryItem& item = reply.item;
  all_options = item.all_options.value_or(all_options);
  if (reply.error) {
    return internal::error_json(item.id, reply.error->what(), item.line.value_or(0));
  }
  internal::QueryLabel label{.id = item.id, .row = item.row};
  if (!item.query.text.empty()) label.query = item.query.text;
  if (!reply.completion) return internal::decision_json(label, *reply.decision, all_options);
  if (reply.completion->failure) {
    return internal::failure_json(label, item.line, *reply.completion, *reply.decision->pool);
  }
  return internal::answer_json(label, *reply.decision, *reply.completion, all_options);
}

}  // namespace r2router
