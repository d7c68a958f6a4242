// OpenAI's responses. A request may refer to data on the server (an earlier response, a stored
// prompt, files). Such input is a surcharge, since its length is unknown.
#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_writer.h"
#include "gateway/dialects/answer_reader.h"
#include "gateway/dialects/dialects.h"
#include "gateway/dialects/error_body.h"
#include "gateway/dialects/request_reader.h"
#include "gateway/dialects/request_writer.h"
#include "llm/chat/chat_completion.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kCap = "max_output_tokens";

const std::vector<SurchargeRule>& surcharge_rules() {
  static const std::vector<SurchargeRule> rules = {
      {"previous_response_id", "the length of the earlier conversation is unknown"},
      {"conversation", "the length of the stored conversation is unknown"},
      {"prompt", "the length of the stored prompt is unknown"},
      {"background", "the answer is written after the call, so its cost is unknown"},
      {"context_management", "compaction by the server is billed in addition to the answer"},
      {"service_tier", "the service tier may have another price", {"auto", "default", "flex"}},
      {"plugins", "plugins are billed per call"},
      {"models", "another model, with another price, may answer"},
      {"preset", "a stored preset may choose another model or add input"},
      {"provider", "another provider of the model may have another price"},
  };
  return rules;
}

/// Fields that cost nothing, or whose cost is part of the worst case.
constexpr std::string_view kFree[] = {"model",
                                      "input",
                                      "instructions",
                                      "stream",
                                      "stream_options",
                                      kCap,
                                      "temperature",
                                      "top_p",
                                      "top_logprobs",
                                      "tools",
                                      "additional_tools",
                                      "tool_choice",
                                      "parallel_tool_calls",
                                      "max_tool_calls",
                                      "text",
                                      "reasoning",
                                      "include",
                                      "store",
                                      "metadata",
                                      "client_metadata",
                                      "user",
                                      "safety_identifier",
                                      "prompt_cache_key",
                                      "prompt_cache_retention",
                                      "truncation",
                                      "frequency_penalty",
                                      "presence_penalty"};

/// Items whose content is entirely in the request, and that contain no image.
constexpr const char* kInlineItems[] = {
    "reasoning",        "function_call", "custom_tool_call", "local_shell_call",     "shell_call",
    "apply_patch_call", "computer_call", "tool_search_call", "mcp_approval_response"};
constexpr const char* kOutputItems[] = {"function_call_output",    "custom_tool_call_output",
                                        "local_shell_call_output", "shell_call_output",
                                        "apply_patch_call_output", "computer_call_output",
                                        "tool_search_output"};

constexpr std::string_view kFreeOfReasoning[] = {"effort",  "summary", "generate_summary",
                                                 "enabled", "exclude", "max_tokens"};

constexpr const char* kTextParts[] = {"input_text",   "output_text",    "text",
                                      "summary_text", "reasoning_text", "refusal"};

/// Servers may go by the members of a part rather than by its type.
constexpr std::string_view kFreeOfText[] = {"type",     "text",        "refusal",      "id",
                                            "logprobs", "annotations", "cache_control"};
constexpr std::string_view kFreeOfImage[] = {"type",   "image_url", "file_id",
                                             "detail", "id",        "cache_control"};

/// Tools that the client runs.
bool is_client_tool(JsonValue tool) {
  const JsonValue type = tool["type"];
  for (const char* name :
       {"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"}) {
    if (type.equals(name)) return true;
  }
  if (type.equals("namespace")) {
    for (const JsonValue nested : tool["tools"].children()) {
      if (!nested["type"].equals("function") && !nested["type"].equals("custom")) return false;
    }
    return true;
  }
  return (type.equals("shell") && tool["environment"]["type"].equals("local")) ||
         (type.equals("tool_search") && tool["execution"].equals("client"));
}

bool is_one_of(JsonValue type, std::span<const char* const> known) {
  return std::ranges::any_of(known, [&](const char* name) { return type.equals(name); });
}

class ResponsesRequestReader {
 public:
  ResponsesRequestReader(std::string body) : reader_(DialectKind::kResponses, std::move(body)) {}

  ClientRequest read(std::string_view budget_prompt) {
    reader_.read_cap(kCap);
    reader_.read_surcharges(surcharge_rules(), kFree);
    reader_.request().usage_wanted = true;  // part of the last event
    if (const JsonValue instructions = root()["instructions"]; instructions.is_something()) {
      reader_.begin_message(/*of_user=*/false);
      reader_.add_text(instructions, "instructions");
    }
    read_input();
    reader_.read_tools(root()["tools"], "tools", is_client_tool);
    reader_.read_tools(root()["additional_tools"], "additional_tools", is_client_tool);
    const JsonValue format = root()["text"]["format"];
    if (format["type"].equals("json_schema")) {
      reader_.require(Capability::kJsonSchema);
      reader_.input().add_json(format);
    }
    reader_.read_reasoning("reasoning", "max_tokens", kFreeOfReasoning);
    reader_.read_effort(root()["reasoning"]["effort"]);
    return std::move(reader_).finish(budget_prompt);
  }

 private:
  JsonValue root() const { return reader_.root(); }

  void read_input() {
    const JsonValue input = root()["input"];
    if (!input.is_something()) return;  // a stored prompt may contain the whole input
    if (input.is_string()) {
      reader_.begin_message(/*of_user=*/true);
      return reader_.add_text(input, "input");
    }
    if (!input.is_array()) refuse_field("input", input, "a string or a list of items");
    std::size_t index = 0;
    for (const JsonValue item : input.children()) read_item(item, place("input", index++));
  }

  void read_item(JsonValue item, const std::string& name) {
    if (!item.is_object()) refuse_field(name, item, "an object, such as a message");
    const JsonValue type = item["type"];
    if (!type.is_something() || type.equals("message")) {
      reader_.begin_message(item["role"].equals("user"));
      read_content(item["content"], name + ".content", /*routed=*/true);
      // A reference may lack its type.
      if (!item["role"].is_something() || !item["content"].is_something()) {
        reader_.add_surcharge(name, "the length of the item that it refers to is unknown");
      }
    } else if (item["output"].is_something()) {
      reader_.input().add_message();
      read_output(item["output"], name + ".output");
      if (!is_one_of(type, kOutputItems)) reader_.add_unknown_type(name, type);
    } else if (type.equals("item_reference")) {
      reader_.add_surcharge(name, "the length of the item that it refers to is unknown");
    } else if (type.raw_string().starts_with("compaction")) {
      reader_.add_surcharge(name, "the length of a compacted conversation is unknown");
    } else {
      reader_.input().add_message();
      reader_.input().add_json(item);
      // Those that a search of tools has found can be called from then on.
      reader_.read_tools(item["tools"], name + ".tools", is_client_tool);
      if (!is_one_of(type, kInlineItems) && !is_one_of(type, kOutputItems)) {
        reader_.add_unknown_type(name, type);
      }
    }
  }

  /// The output of a tool: a text, a list of parts, or a screenshot.
  void read_output(JsonValue output, const std::string& name) {
    if (output.is_object()) {
      read_part(output, name, /*routed=*/false);
    } else {
      read_content(output, name, /*routed=*/false);
    }
  }

  void read_content(JsonValue content, const std::string& name, bool routed) {
    if (content.is_string()) return read_text(content, name, routed);
    if (content.is_array()) {
      std::size_t index = 0;
      for (const JsonValue part : content.children()) read_part(part, place(name, index++), routed);
    } else if (content.is_something()) {
      refuse_field(name, content, "a string or a list of parts");
    }
  }

  void read_text(JsonValue text, const std::string& name, bool routed) {
    if (routed) return reader_.add_text(text, name);
    reader_.input().add_text(text);
  }

  void read_part(JsonValue part, const std::string& name, bool routed) {
    if (!part.is_object())
      refuse_field(name, part, "an object, such as {\"type\": \"input_text\"}");
    const JsonValue type = part["type"];
    InputSize& input = reader_.input();
    if (type.equals("input_image") || type.equals("computer_screenshot")) {
      reader_.read_image(part["image_url"], name);
      reader_.read_unknown(part, name, kFreeOfImage);
    } else if (type.equals("input_file")) {
      input.add_file(part["file_data"]);
      reader_.add_surcharge(name, "the length of a file in tokens is unknown");
    } else if (type.equals("input_audio")) {
      reader_.require(Capability::kAudio);
      input.add_file(part["input_audio"]["data"]);
      reader_.add_surcharge(name, "audio input has a price of its own");
    } else if (const JsonValue text = part["text"]; text.is_something()) {
      if (!text.is_string()) refuse_field(name + ".text", text, "a string");
      read_text(text, name + ".text", routed);
      reader_.read_unknown(part, name, kFreeOfText);
      if (type.is_something() && !is_one_of(type, kTextParts)) {
        reader_.add_unknown_type(name, type);
      }
    } else {
      input.add_json(part);
      if (!is_one_of(type, kTextParts)) reader_.add_unknown_type(name, type);
    }
  }

  RequestReader reader_;
};

// ---- Answers

/// The content of an item of an answer's output. New items are still empty.
Content content_of(JsonValue item) {
  const JsonValue type = item["type"];
  if (type.equals("reasoning")) {
    return says_nothing(item["summary"]) && says_nothing(item["content"]) ? Content::kNone
                                                                          : Content::kReasoning;
  }
  if (!type.equals("message")) return Content::kAnswer;
  Content found = Content::kNone;
  for (const JsonValue part : item["content"].children()) {
    if (!is_blank(part["refusal"])) found = std::max(found, Content::kRefusal);
    if (!part["text"].is_string() && !part["refusal"].is_string()) return Content::kAnswer;
    if (!is_blank(part["text"])) return Content::kAnswer;
  }
  return found;
}

void read_usage(JsonValue usage, Answer& answer) {
  const auto input = tokens_of(usage["input_tokens"]), output = tokens_of(usage["output_tokens"]);
  if (input && output) {
    const JsonValue of_input = usage["input_tokens_details"];
    answer.usage =
        Usage{.prompt_tokens = *input,
              .completion_tokens = *output,
              .reasoning_tokens =
                  tokens_of(usage["output_tokens_details"]["reasoning_tokens"]).value_or(0),
              .cached_tokens = tokens_of(of_input["cached_tokens"]).value_or(0),
              .cache_write_tokens = tokens_of(of_input["cache_write_tokens"]).value_or(0)};
  }
  if (const auto cost = cost_of(usage)) answer.charged_usd = cost;
}

/// Whether the answer with this status is not complete yet.
bool is_pending(JsonValue status) {
  return status.equals("queued") || status.equals("in_progress");
}

/// Reads the object "response", whole or as events contain it; returns what it contains.
Content read_response(JsonValue response, const llm::Secret& key, Answer& answer) {
  read_identity(response, answer);
  read_usage(response["usage"], answer);
  Content content = Content::kNone;
  for (const JsonValue item : response["output"].children()) {
    content = std::max(content, content_of(item));
  }
  const JsonValue status = response["status"];
  if (status.is_string() && !is_pending(status)) answer.finish_reason = status.string();
  if (status.equals("incomplete")) {
    const JsonValue reason = response["incomplete_details"]["reason"];
    if (!reason.raw_string().empty()) answer.finish_reason = reason.string();
    answer.truncated = llm::ended_by_cap(answer.finish_reason);
    if (content == Content::kNone && llm::ended_by_filter(answer.finish_reason)) {
      content = Content::kRefusal;
    }
  }
  const JsonValue error = response["error"];
  if (!answer.failure && (!says_nothing(error) || status.equals("failed"))) {
    const std::string_view report =
        says_nothing(error) ? R"("the server ended the answer")" : error.raw();
    answer.failure = reported_failure("{\"error\":" + std::string(report) + "}", key);
  }
  return content;
}

class ResponsesStreamReader final : public EventReader {
 public:
  using EventReader::EventReader;

  /// Codex reads the first of the two events, and OpenAI's SDKs the second.
  std::string error_events(const ErrorReport& error) const override {
    std::string failed, last, text;
    ObjectWriter event(failed);
    event.text("type", "response.failed");
    event.number("sequence_number", next_number_);
    event.object("response", [&](ObjectWriter& response) {
      response.text("id", answer_.id);
      response.text("object", "response");
      response.text("status", "failed");
      response.object("error", [&](ObjectWriter& reported) {
        reported.text("code", error.code.empty() ? "server_error" : error.code);
        reported.text("message", error.message);
      });
      response.raw("output", "[]");
    });
    event.close();
    ObjectWriter report(last);
    report.text("type", "error");
    report.number("sequence_number", next_number_ + 1);
    report.text_or_null("code", error.code);
    report.text("message", error.message);
    report.text_or_null("param", error.param);
    report.raw("error", openai_error_object(error));
    report.close();
    append_event(text, "response.failed", failed);
    append_event(text, "error", last);
    return text;
  }

 private:
  Verdict read_json(std::string_view name, JsonValue root) override {
    if (const auto number = root["sequence_number"].count()) next_number_ = *number + 1;
    const JsonValue named = root["type"];
    const std::string type = named.is_string() ? named.string() : std::string(name);
    const JsonValue response = root["response"];
    if (type == "error" || !says_nothing(root["error"])) {
      fail(root.raw());
      return {};
    }
    if (response.is_object()) {
      ended_ = type == "response.completed" || type == "response.incomplete" ||
               type == "response.failed" || type == "response.cancelled";
      return {.content = read_response(response, key_, answer_), .model = response["model"]};
    }
    return {.content = content_of_event(type, root)};
  }

  /// Events of unknown types are held until known content or the end follows: a last event contains
  /// the whole answer.
  static Content content_of_event(std::string_view type, JsonValue root) {
    const JsonValue delta = root["delta"];
    if (type.ends_with(".delta")) {
      if (delta.is_string() && is_blank(delta)) return Content::kNone;
      if (type.find("reasoning") != type.npos) return Content::kReasoning;
      return type.find("refusal") != type.npos ? Content::kRefusal : Content::kAnswer;
    }
    if (root["item"].is_object()) return content_of(root["item"]);
    return Content::kNone;
  }

  std::uint64_t next_number_ = 0;
};

class ResponsesDialect final : public Dialect {
 public:
  DialectKind kind() const override { return DialectKind::kResponses; }
  std::string_view path() const override { return "/responses"; }

  ClientRequest read(std::string body, std::string_view budget_prompt) const override {
    return ResponsesRequestReader(std::move(body)).read(budget_prompt);
  }

  std::string write(const ClientRequest& request, const Target& target) const override {
    RequestWriter writer(request, target, {"input", "instructions", kCap});
    writer.merge_request([&](JsonValue member) {
      if (!member.is_named("reasoning_effort")) return false;
      writer.merge("reasoning", "{\"effort\":" + std::string(member.raw()) + "}");
      return true;
    });
    writer.set(kCap, std::to_string(writer.cap()));
    if (!writer.fit_reasoning("reasoning", "max_tokens", kLeastThinking)) {  // OpenRouter's
      writer.remove_within("reasoning", "max_tokens");
    }
    if (!writer.instructions().empty()) {
      const JsonValue own = writer.root()["instructions"];
      if (own.is_string()) {
        writer.instruct(own, {});
      } else {
        writer.set("instructions", json_string(writer.instructions()));
      }
    }
    return std::move(writer).text();
  }

  Answer read_answer(std::string_view body, std::string_view model,
                     const llm::Secret& key) const override {
    return read_whole_answer(body, model, key, [&](JsonValue root, Answer& answer) {
      answer.content = read_response(root, key, answer);
      // The answer to a background request comes later.
      if (is_pending(root["status"])) answer.content = Content::kAnswer;
      return root["output"].is_array();
    });
  }

  std::unique_ptr<StreamReader> read_stream(const ClientRequest&, std::string_view model,
                                            const llm::Secret& key) const override {
    return std::make_unique<ResponsesStreamReader>(model, key);
  }

  std::string write_error(const ErrorReport& error) const override { return openai_error(error); }
};

}  // namespace

const Dialect& responses_dialect() {
  static const ResponsesDialect dialect;
  return dialect;
}

}  // namespace r2router::gateway
