// Anthropic's messages.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/dialects/answer_reader.h"
#include "gateway/dialects/dialects.h"
#include "gateway/dialects/error_body.h"
#include "gateway/dialects/request_reader.h"
#include "gateway/dialects/request_writer.h"
#include "llm/chat/chat_completion.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kCap = "max_tokens";

const std::vector<SurchargeRule>& surcharge_rules() {
  static const std::vector<SurchargeRule> rules = {
      {"mcp_servers", "what the server's tools return is billed as input"},
      {"container", "code execution is billed by time"},
      {"speed", "a faster answer has another price", {"standard"}},
      {"inference_geo", "inference in one region has another price", {"global"}},
      {"service_tier", "the service tier may have another price", {"auto", "standard_only"}},
      {"plugins", "plugins are billed per call"},
      {"models", "another model, with another price, may answer"},
      {"fallbacks", "another model, with another price, may answer"},
      {"provider", "another provider of the model may have another price"},
  };
  return rules;
}

/// Fields that cost nothing, or whose cost is part of the worst case.
constexpr std::string_view kFree[] = {"model",
                                      "messages",
                                      "system",
                                      kCap,
                                      "stream",
                                      "temperature",
                                      "top_p",
                                      "top_k",
                                      "tools",
                                      "tool_choice",
                                      "thinking",
                                      "metadata",
                                      "stop_sequences",
                                      "cache_control",
                                      "anthropic_version",
                                      "output_config",
                                      "output_format",
                                      "context_management"};  // the last is read below

constexpr std::string_view kFreeOfMessage[] = {"role", "content", "id", "type", "cache_control"};
constexpr std::string_view kFreeOfThinking[] = {"type", "budget_tokens", "display"};

/// Servers may decide by the members of a block instead of its type.
constexpr std::string_view kFreeOfText[] = {"type", "text", "citations", "id", "cache_control"};
constexpr std::string_view kFreeOfImage[] = {"type", "source", "id", "cache_control"};

/// Blocks whose content is entirely in the request, and that contain no image.
bool is_inline_block(JsonValue type) {
  for (const char* name : {"text", "tool_use", "redacted_thinking", "server_tool_use",
                           "search_result", "tool_reference"}) {
    if (type.equals(name)) return true;
  }
  return type.raw_string().ends_with("_tool_result");
}

/// Tools that the client runs: its own, and tools whose definition is known to the model.
bool is_client_tool(JsonValue tool) {
  const JsonValue type = tool["type"];
  if (type.equals("custom")) return true;
  if (!type.is_something()) return tool["input_schema"].is_object() || tool["name"].is_string();
  for (const char* prefix : {"bash_", "text_editor_", "computer_", "memory_"}) {
    if (type.raw_string().starts_with(prefix)) return true;
  }
  return false;
}

class MessagesRequestReader {
 public:
  MessagesRequestReader(std::string body) : reader_(DialectKind::kMessages, std::move(body)) {}

  ClientRequest read(std::string_view budget_prompt) {
    reader_.read_cap(kCap);
    reader_.read_surcharges(surcharge_rules(), kFree);
    reader_.request().usage_wanted = true;  // part of every stream
    // Compaction by the server is billed in addition to the answer; removing content is free.
    for (const JsonValue edit : root()["context_management"]["edits"].children()) {
      if (!edit["type"].raw_string().starts_with("clear_")) {
        reader_.add_unknown_type("context_management.edits", edit["type"]);
      }
    }
    read_system();
    read_messages();
    reader_.read_tools(root()["tools"], "tools", is_client_tool);
    for (const JsonValue format : {root()["output_format"], root()["output_config"]["format"]}) {
      if (!format["type"].equals("json_schema")) continue;
      reader_.require(Capability::kJsonSchema);
      reader_.input().add_json(format);
    }
    reader_.read_reasoning("thinking", "budget_tokens", kFreeOfThinking);
    const JsonValue thinking = root()["thinking"]["type"];
    if (thinking.equals("enabled") || thinking.equals("adaptive")) {
      reader_.require(Capability::kReasoning);
    }
    return std::move(reader_).finish(budget_prompt);
  }

 private:
  JsonValue root() const { return reader_.root(); }

  void read_system() {
    const JsonValue system = root()["system"];
    if (!system.is_something()) return;
    reader_.begin_message(/*of_user=*/false);
    read_content(system, "system");
  }

  void read_messages() {
    const JsonValue messages = root()["messages"];
    if (!messages.is_array()) refuse_field("messages", messages, "a list of messages");
    std::size_t index = 0;
    for (const JsonValue message : messages.children()) {
      const std::string name = place("messages", index++);
      if (!message.is_object()) refuse_field(name, message, "an object with role and content");
      const JsonValue role = message["role"];
      if (!role.is_string()) refuse_field(name + ".role", role, "\"user\" or \"assistant\"");
      reader_.begin_message(role.equals("user"));
      read_content(message["content"], name + ".content");
      reader_.read_unknown(message, name, kFreeOfMessage);
    }
  }

  void read_content(JsonValue content, const std::string& name) {
    if (content.is_string()) return reader_.add_text(content, name);
    if (!content.is_array()) refuse_field(name, content, "a string or a list of blocks");
    std::size_t index = 0;
    for (const JsonValue block : content.children()) read_block(block, place(name, index++));
  }

  void read_block(JsonValue block, const std::string& name) {
    if (!block.is_object()) refuse_field(name, block, "an object, such as {\"type\": \"text\"}");
    const JsonValue type = block["type"];
    if (type.equals("text")) {
      reader_.add_text(block["text"], name + ".text");
      reader_.read_unknown(block, name, kFreeOfText);
    } else {
      read_other_block(type, block, name);
    }
  }

  /// Blocks that are not part of the routed text.
  void read_other_block(JsonValue type, JsonValue block, const std::string& name) {
    InputSize& input = reader_.input();
    if (type.equals("text")) {
      input.add_text(block["text"]);
      reader_.read_unknown(block, name, kFreeOfText);
    } else if (type.equals("image")) {
      read_image(block["source"], name);
      reader_.read_unknown(block, name, kFreeOfImage);
    } else if (type.equals("document")) {
      read_document(block["source"], name);
    } else if (type.equals("tool_result")) {
      read_result(block["content"], name + ".content");
    } else if (type.equals("thinking")) {
      input.add_text(block["thinking"]);
    } else if (type.equals("container_upload")) {
      reader_.add_surcharge(name, "the length of a file in tokens is unknown");
    } else {
      input.add_json(block);
      for (const JsonValue part : block["content"].children()) {
        if (part["type"].equals("image")) read_image(part["source"], name + ".content");
        if (part["type"].equals("document")) read_document(part["source"], name + ".content");
      }
      if (!is_inline_block(type)) reader_.add_unknown_type(name, type);
    }
  }

  void read_image(JsonValue source, const std::string& name) {
    if (!source["data"].is_string()) return reader_.read_image(source["url"], name);
    reader_.input().add_image(source["data"]);
    const JsonValue type = source["media_type"];
    if (type.is_something() && !type.string().starts_with("image/")) {
      reader_.add_unknown_type(name + ".source", type);
    }
  }

  void read_document(JsonValue source, const std::string& name) {
    if (source["type"].equals("text")) {
      reader_.input().add_text(source["data"]);
    } else if (source["type"].equals("content")) {
      read_result(source["content"], name + ".source.content");
    } else {
      reader_.input().add_file(source["data"]);
      reader_.add_surcharge(name, "the length of a document in tokens is unknown");
    }
  }

  /// The result of a tool.
  void read_result(JsonValue content, const std::string& name) {
    reader_.input().add_text(content);
    std::size_t index = 0;
    for (const JsonValue block : content.children()) {
      const std::string part = place(name, index++);
      // No other type is nested further.
      if (block["type"].equals("tool_result")) {
        reader_.input().add_json(block);
      } else {
        read_other_block(block["type"], block, part);
      }
    }
  }

  RequestReader reader_;
};

/// Thinking needs a budget below the cap. Without thinking, its part of the context cannot be
/// managed.
void fit_thinking(RequestWriter& writer) {
  if (writer.fit_reasoning("thinking", "budget_tokens", kLeastThinking)) return;
  writer.remove("thinking");
  if (writer.field("context_management").empty()) return;
  const JsonText management{std::string(writer.field("context_management"))};
  JsonEditor editor(management);
  const JsonValue edits = management.root()["edits"];
  for (const JsonValue edit : edits.children()) {
    if (edit["type"].raw_string().starts_with("clear_thinking")) editor.remove(edits, edit);
  }
  if (!editor.empty()) writer.set("context_management", editor.text());
}

void write_instructions(RequestWriter& writer) {
  if (writer.instructions().empty()) return;
  const JsonValue system = writer.root()["system"];
  if (system.is_string() || system.is_array()) {
    writer.instruct(system, R"({"type":"text","text":)" + json_string(writer.instructions()) + "}");
  } else {
    writer.set("system", json_string(writer.instructions()));
  }
}

// ---- Answers

Content content_of(JsonValue block) {
  const JsonValue type = block["type"];
  if (type.equals("text")) return is_blank(block["text"]) ? Content::kNone : Content::kAnswer;
  if (type.equals("thinking")) {
    return is_blank(block["thinking"]) ? Content::kNone : Content::kReasoning;
  }
  return type.equals("redacted_thinking") ? Content::kReasoning : Content::kAnswer;
}

Content content_of_delta(JsonValue delta) {
  const JsonValue type = delta["type"];
  if (type.equals("text_delta")) return is_blank(delta["text"]) ? Content::kNone : Content::kAnswer;
  if (type.equals("thinking_delta")) {
    return is_blank(delta["thinking"]) ? Content::kNone : Content::kReasoning;
  }
  return type.equals("signature_delta") ? Content::kNone : Content::kAnswer;
}

/// The counts of a stream's last event are totals; fields that it omits keep their first value.
class UsageReader {
 public:
  void read(JsonValue usage, Answer& answer) {
    if (!usage.is_object()) return;
    update(input_, usage["input_tokens"]);
    update(cached_, usage["cache_read_input_tokens"]);
    update(written_, usage["cache_creation_input_tokens"]);
    update(output_, usage["output_tokens"]);
    if (input_ && output_) {
      const std::int64_t cached = cached_.value_or(0), written = written_.value_or(0);
      answer.usage = Usage{.prompt_tokens = *input_ + cached + written,
                           .completion_tokens = *output_,
                           .cached_tokens = cached,
                           .cache_write_tokens = written};
    }
    if (const auto cost = cost_of(usage)) answer.charged_usd = cost;
  }

 private:
  static void update(std::optional<std::int64_t>& count, JsonValue found) {
    if (const auto tokens = tokens_of(found)) count = tokens;
  }

  std::optional<std::int64_t> input_, cached_, written_, output_;
};

/// Reads why the answer ended; returns the content that this implies.
Content read_stop_reason(JsonValue reason, Answer& answer) {
  if (reason.raw_string().empty()) return Content::kNone;
  answer.finish_reason = reason.string();
  answer.truncated = llm::ended_by_cap(answer.finish_reason) ||
                     answer.finish_reason == "model_context_window_exceeded";
  return answer.finish_reason == "refusal" ? Content::kRefusal : Content::kNone;
}

class MessagesStreamReader final : public EventReader {
 public:
  using EventReader::EventReader;

  std::string error_events(const ErrorReport& error) const override {
    std::string text;
    append_event(text, "error", anthropic_error(error));
    return text;
  }

 private:
  Verdict read_json(std::string_view name, JsonValue root) override {
    const JsonValue named = root["type"];
    const std::string type = named.is_string() ? named.string() : std::string(name);
    if (type == "error" || !says_nothing(root["error"])) {
      fail(root.raw());
    } else if (type == "message_start") {
      const JsonValue message = root["message"];
      read_identity(message, answer_);
      usage_.read(message["usage"], answer_);
      return {.model = message["model"]};
    } else if (type == "content_block_start") {
      return {.content = content_of(root["content_block"])};
    } else if (type == "content_block_delta") {
      return {.content = content_of_delta(root["delta"])};
    } else if (type == "message_delta") {
      usage_.read(root["usage"], answer_);
      return {.content = read_stop_reason(root["delta"]["stop_reason"], answer_)};
    } else if (type == "message_stop") {
      ended_ = true;
    }
    return {};
  }

  UsageReader usage_;
};

class MessagesDialect final : public Dialect {
 public:
  DialectKind kind() const override { return DialectKind::kMessages; }
  std::string_view path() const override { return "/messages"; }

  ClientRequest read(std::string body, std::string_view budget_prompt) const override {
    return MessagesRequestReader(std::move(body)).read(budget_prompt);
  }

  std::string write(const ClientRequest& request, const Target& target) const override {
    RequestWriter writer(request, target, {"system", kCap});
    writer.merge_request([&](JsonValue member) {
      if (!member.is_named("reasoning_effort")) return false;
      if (member.equals("none")) {
        writer.set("thinking", R"({"type":"disabled"})");
      } else {
        writer.merge("output_config", "{\"effort\":" + std::string(member.raw()) + "}");
      }
      return true;
    });
    writer.set(kCap, std::to_string(writer.cap()));
    fit_thinking(writer);
    write_instructions(writer);
    return std::move(writer).text();
  }

  Answer read_answer(std::string_view body, std::string_view model,
                     const llm::Secret& key) const override {
    return read_whole_answer(body, model, key, [&](JsonValue root, Answer& answer) {
      if (root["type"].equals("error") || !says_nothing(root["error"])) {
        answer.failure = reported_failure(body, key);
      }
      read_identity(root, answer);
      UsageReader().read(root["usage"], answer);
      answer.content = read_stop_reason(root["stop_reason"], answer);
      for (const JsonValue block : root["content"].children()) {
        answer.content = std::max(answer.content, content_of(block));
      }
      return root["content"].is_array();
    });
  }

  std::unique_ptr<StreamReader> read_stream(const ClientRequest&, std::string_view model,
                                            const llm::Secret& key) const override {
    return std::make_unique<MessagesStreamReader>(model, key);
  }

  std::string write_error(const ErrorReport& error) const override {
    return anthropic_error(error);
  }
};

}  // namespace

const Dialect& messages_dialect() {
  static const MessagesDialect dialect;
  return dialect;
}

}  // namespace r2router::gateway
