#include "gateway/dialects/decision_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "gateway/dialects/dialect.h"
#include "gateway/dialects/request_reader.h"
#include "pipeline/query_line.h"

namespace r2router::gateway {
namespace {

/// The dialect whose members the body has; empty if there is none.
std::optional<DialectKind> dialect_of_body(JsonValue body) {
  if (body["input"].present()) return DialectKind::kResponses;
  if (!body["messages"].present()) return {};
  for (const char* name : {"system", "thinking", "anthropic_version", "stop_sequences"}) {
    if (body[name].present()) return DialectKind::kMessages;
  }
  for (const JsonValue tool : body["tools"].children()) {
    if (tool["input_schema"].present()) return DialectKind::kMessages;
  }
  for (const JsonValue message : body["messages"].children()) {
    for (const JsonValue part : message["content"].children()) {
      for (const char* type : {"image", "document", "tool_use", "tool_result", "thinking"}) {
        if (part["type"].equals(type)) return DialectKind::kMessages;
      }
    }
  }
  return DialectKind::kChat;
}

DecisionQuery from_body(JsonValue body, DialectKind kind, std::string_view budget_prompt) {
  ClientRequest request = dialect_of(kind).read(std::string(body.raw()), budget_prompt);
  DecisionQuery query{.model = std::move(request.model),
                      .policy = std::move(request.policy),
                      .policy_name = std::move(request.policy_name)};
  query.query.text = std::move(request.text);
  query.query.size = request.size;
  if (request.cap) {
    std::optional<std::uint32_t>& most = query.policy.max_output_tokens;
    most = std::min(most.value_or(*request.cap), *request.cap);
  }
  return query;
}

DecisionQuery from_line(JsonValue line) {
  internal::QueryLine parsed = internal::parse_query_line(line.raw());
  DecisionQuery query{.error = std::move(parsed.error),
                      .id = std::move(parsed.id),
                      .policy = std::move(parsed.settings),
                      .policy_name = std::move(parsed.policy).value_or(""),
                      .explain = parsed.explain.value_or(false),
                      .all_options = parsed.all_options.value_or(false)};
  if (parsed.embedding && parsed.embedding->empty() && query.error.empty()) {
    query.error = "the embedding has 0 numbers: expected the embedding of a text";
  }
  if (parsed.query) query.query.text = *std::move(parsed.query);
  if (parsed.embedding) query.query.embedding = *std::move(parsed.embedding);
  QuerySize& size = query.query.size;
  size.input_tokens = parsed.input_tokens;
  size.max_input_tokens = parsed.max_input_tokens;
  if (parsed.images) size.images = *parsed.images;
  if (parsed.requirements) size.requirements = *parsed.requirements;
  return query;
}

DecisionQuery read_query(JsonValue value, std::string_view budget_prompt) {
  if (value.is_string()) return {.query = {.text = value.string()}};
  try {
    if (value["query"].present() || value["embedding"].present()) return from_line(value);
    if (const auto kind = dialect_of_body(value)) return from_body(value, *kind, budget_prompt);
  } catch (const Error& error) {
    return {.error = error.what()};
  }
  return {.error = "found " + std::string(value.kind_name()) +
                   ", expected a text, an object with \"query\" or \"embedding\", or the body of a "
                   "request with \"messages\" or \"input\""};
}

}  // namespace

DecisionRequest read_decisions(std::string_view body, std::string_view budget_prompt) {
  const JsonText json{std::string(body)};
  const JsonValue root = json.root(), queries = root["queries"];
  DecisionRequest request{.is_list = root.is_array() || queries.present()};
  if (!request.is_list) {
    request.queries.push_back(read_query(root, budget_prompt));
    return request;
  }
  DecisionQuery defaults;
  if (queries.present()) {
    if (!queries.is_array()) refuse_field("queries", queries, "a list of queries");
    for (const JsonValue member : root.children()) {
      if (member.is_named("queries") || member.is_named("r2")) continue;
      refuse_field(member.name(), member, "\"queries\" and \"r2\" as the only members");
    }
    read_r2(root["r2"], defaults.policy, defaults.policy_name);
  }
  for (const JsonValue value : (queries.present() ? queries : root).children()) {
    if (request.queries.size() == kMaxDecisionQueries) {
      throw Error(ErrorCode::kInvalidArgument, "the list has more than " +
                                                   std::to_string(kMaxDecisionQueries) +
                                                   " queries; send fewer at a time");
    }
    DecisionQuery query = read_query(value, budget_prompt);
    query.policy = merge(defaults.policy, query.policy);
    if (query.policy_name.empty()) query.policy_name = defaults.policy_name;
    request.queries.push_back(std::move(query));
  }
  return request;
}

}  // namespace r2router::gateway
