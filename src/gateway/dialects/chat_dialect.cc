// OpenAI's chat completions, which most servers implement, with the extensions of OpenRouter,
// Azure, vLLM and llama.cpp.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/dialects/answer_reader.h"
#include "gateway/dialects/dialects.h"
#include "gateway/dialects/error_body.h"
#include "gateway/dialects/request_reader.h"
#include "gateway/dialects/request_writer.h"
#include "llm/chat/chat_completion.h"
#include "pool/request_settings.h"

namespace r2router::gateway {
namespace {

using internal::kMaxCompletionTokens;
using internal::kMaxTokens;

const std::vector<SurchargeRule>& surcharge_rules() {
  static const std::vector<SurchargeRule> rules = {
      {"web_search_options", "web searches are billed per call"},
      {"search_parameters", "live searches are billed per source"},
      {"enable_search", "web searches are billed per call"},
      {"plugins", "plugins are billed per call"},
      {"models", "another model, with another price, may answer"},
      {"preset", "a stored preset may choose another model or add input"},
      {"provider", "another provider of the model may have another price"},
      {"prediction", "rejected tokens of a prediction are billed in addition to the answer"},
      {"audio", "audio output has a price of its own"},
      {"modalities", "other output than text has a price of its own", {"text"}},
      {"service_tier", "the service tier may have another price", {"auto", "default", "flex"}},
      {"chat_template", "the length of the input depends on the template"},
  };
  return rules;
}

/// Fields that cost nothing, or whose cost is part of the worst case.
constexpr std::string_view kFree[] = {
    "model", "messages", "stream", "stream_options", kMaxTokens, kMaxCompletionTokens, "n",
    "best_of", "tools", "functions", "tool_choice", "function_call", "parallel_tool_calls",
    "response_format", "structured_outputs", "verbosity", "cache_control", "metadata", "store",
    "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "usage",
    // Reasoning.
    "reasoning", "reasoning_effort", "reasoning_format", "include_reasoning", "thinking",
    "enable_thinking", "thinking_budget", "chat_template_kwargs",
    // Sampling.
    "temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "seed", "stop",
    "stop_token_ids", "ignore_eos", "min_tokens", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "cache_prompt"};

constexpr std::string_view kFreeOfMessage[] = {"role",
                                               "content",
                                               "name",
                                               "id",
                                               "tool_calls",
                                               "tool_call_id",
                                               "function_call",
                                               "refusal",
                                               "reasoning",
                                               "reasoning_content",
                                               "reasoning_details",
                                               "annotations",
                                               "cache_control",
                                               "prefix",
                                               "audio"};  // the last has its own surcharge

/// Servers may go by the members of a part rather than by its type.
constexpr std::string_view kFreeOfText[] = {
    "type",  "text", "refusal", "thinking", "reasoning", "signature",   "data",
    "index", "id",   "format",  "summary",  "citations", "annotations", "cache_control"};
constexpr std::string_view kFreeOfImage[] = {"type", "image_url", "detail", "id", "cache_control"};

/// Of the fields with settings of the reasoning.
constexpr std::string_view kFreeOfReasoning[] = {"effort", "max_tokens", "enabled", "exclude",
                                                 "summary"};
constexpr std::string_view kFreeOfThinking[] = {"type", "budget_tokens", "display",
                                                "clear_thinking"};
constexpr std::string_view kFreeOfTemplate[] = {"enable_thinking",  "thinking",
                                                "thinking_budget",  "preserve_thinking",
                                                "reasoning_effort", "clear_thinking"};
constexpr std::string_view kThinkingBudget = "thinking_budget";

constexpr const char* kTextParts[] = {"text",     "input_text",        "output_text", "refusal",
                                      "thinking", "redacted_thinking", "reasoning"};

/// A tool that the client runs.
bool is_client_tool(JsonValue tool) {
  const JsonValue type = tool["type"];
  return type.is_string() ? type.equals("function") || type.equals("custom")
                          : tool["function"].is_object() || tool["name"].is_string();
}

class ChatRequestReader {
 public:
  ChatRequestReader(std::string body) : reader_(DialectKind::kChat, std::move(body)) {}

  ClientRequest read(std::string_view budget_prompt) {
    reader_.read_cap(kMaxTokens);
    reader_.read_cap(kMaxCompletionTokens);
    read_choices("n");
    read_choices("best_of");
    reader_.read_surcharges(surcharge_rules(), kFree);
    reader_.request().usage_wanted =
        root()["stream_options"]["include_usage"].boolean().value_or(false);
    read_messages();
    reader_.read_tools(root()["tools"], "tools", is_client_tool);
    reader_.read_tools(root()["functions"], "functions", is_client_tool);
    const JsonValue format = root()["response_format"];
    if (format["type"].equals("json_schema")) {
      reader_.require(Capability::kJsonSchema);
      reader_.input().add_json(format);
    }
    read_reasoning();
    return std::move(reader_).finish(budget_prompt);
  }

 private:
  JsonValue root() const { return reader_.root(); }

  void read_choices(std::string_view name) {
    const JsonValue count = root()[name];
    if (!count.is_something()) return;
    const std::optional<std::uint64_t> choices = count.count();
    if (!choices || *choices == 0 || *choices > UINT32_MAX) {
      refuse_field(std::string(name), count, "a whole number of answers, 1 or more");
    }
    std::uint32_t& most = reader_.request().choices;
    most = std::max(most, static_cast<std::uint32_t>(*choices));
  }

  void read_messages() {
    const JsonValue messages = root()["messages"];
    if (!messages.is_array()) refuse_field("messages", messages, "a list of messages");
    std::size_t index = 0;
    for (const JsonValue message : messages.children()) {
      const std::string name = place("messages", index++);
      if (!message.is_object()) refuse_field(name, message, "an object with role and content");
      const JsonValue role = message["role"];
      if (!role.is_string()) refuse_field(name + ".role", role, "a string, such as \"user\"");
      reader_.begin_message(role.equals("user"));
      read_content(message["content"], name + ".content");
      for (const char* reasoning : {"reasoning_content", "reasoning"}) {
        reader_.input().add_text(message[reasoning]);
      }
      for (const char* call : {"tool_calls", "function_call"}) {
        if (message[call].is_something()) reader_.input().add_json(message[call]);
      }
      reader_.read_unknown(message, name, kFreeOfMessage);
      if (message["audio"].is_something()) {
        reader_.add_surcharge(name + ".audio", "audio input has a price of its own");
      }
    }
  }

  void read_content(JsonValue content, const std::string& name) {
    if (content.is_string()) return reader_.add_text(content, name);
    if (content.is_array()) {
      std::size_t index = 0;
      for (const JsonValue part : content.children()) read_part(part, place(name, index++));
    } else if (content.is_something()) {
      refuse_field(name, content, "a string or a list of parts");
    }
  }

  void read_part(JsonValue part, const std::string& name) {
    if (part.is_string()) return reader_.add_text(part, name);
    if (!part.is_object()) refuse_field(name, part, "an object, such as {\"type\": \"text\"}");
    const JsonValue type = part["type"];
    InputSize& input = reader_.input();
    if (type.equals("image_url")) {
      const JsonValue image = part["image_url"];
      reader_.read_image(image.is_object() ? image["url"] : image, name);
      reader_.read_unknown(part, name, kFreeOfImage);
    } else if (type.equals("input_audio")) {
      reader_.require(Capability::kAudio);
      input.add_file(part["input_audio"]["data"]);
      reader_.add_surcharge(name, "audio input has a price of its own");
    } else if (type.equals("file")) {
      input.add_file(part["file"]["file_data"]);
      reader_.add_surcharge(name, "the length of a file in tokens is unknown");
    } else if (type.equals("video_url") || type.equals("input_video")) {
      reader_.add_surcharge(name, "the length of a video in tokens is unknown");
    } else {
      read_text_part(part, name);
    }
  }

  void read_text_part(JsonValue part, const std::string& name) {
    const JsonValue type = part["type"], text = part["text"];
    const auto is = [&](const char* known) { return type.equals(known); };
    if (text.is_something()) {
      reader_.add_text(text, name + ".text");
    } else {
      reader_.input().add_json(part);
    }
    reader_.read_unknown(part, name, kFreeOfText);
    const bool known = std::ranges::any_of(kTextParts, is);
    if (!known && (type.is_something() || !text.is_something())) {
      reader_.add_unknown_type(name, type);
    }
  }

  void read_reasoning() {
    reader_.read_reasoning("reasoning", "max_tokens", kFreeOfReasoning);
    reader_.read_reasoning("thinking", "budget_tokens", kFreeOfThinking);
    reader_.read_reasoning("chat_template_kwargs", kThinkingBudget, kFreeOfTemplate);
    reader_.read_budget(root()[kThinkingBudget], std::string(kThinkingBudget));
    reader_.read_effort(root()["reasoning_effort"]);
    const JsonValue reasoning = root()["reasoning"];
    reader_.read_effort(reasoning["effort"]);
    if (reasoning["enabled"].boolean().value_or(false) ||
        reasoning["max_tokens"].count().value_or(0) > 0) {
      reader_.require(Capability::kReasoning);
    }
  }

  RequestReader reader_;
};

/// The fields for a reasoning budget override each other.
void write_parameters(RequestWriter& writer) {
  writer.merge_request([&](JsonValue member) {
    if (member.is_named("reasoning_effort")) {
      for (const char* name : {"effort", "max_tokens", "enabled"}) {
        writer.remove_within("reasoning", name);
      }
    } else if (member.is_named("reasoning")) {
      writer.remove("reasoning_effort");
    }
    return false;
  });
}

/// The budgets of OpenRouter, of Anthropic, of Qwen, and of chat templates.
void fit_reasoning(RequestWriter& writer) {
  if (!writer.fit_reasoning("reasoning", "max_tokens", kLeastThinking)) {
    writer.remove_within("reasoning", "max_tokens");
  }
  if (!writer.fit_reasoning("thinking", "budget_tokens", kLeastThinking)) {
    writer.remove("thinking");
  }
  // These may be 0.
  writer.fit_reasoning(kThinkingBudget, {}, 0);
  writer.fit_reasoning("chat_template_kwargs", kThinkingBudget, 0);
}

void write_instructions(RequestWriter& writer) {
  if (writer.instructions().empty()) return;
  const JsonValue messages = writer.root()["messages"];
  std::string part = R"({"type":"text","text":)" + json_string(writer.instructions()) + "}";
  for (const JsonValue first : messages.children()) {
    const JsonValue role = first["role"], content = first["content"];
    if ((role.equals("system") || role.equals("developer")) &&
        (content.is_string() || content.is_array())) {
      return writer.instruct(content, part);
    }
    break;
  }
  writer.editor().prepend_element(
      messages, R"({"role":"system","content":)" + json_string(writer.instructions()) + "}");
}

// ---- Answers

/// What a message, or a delta of one, contains.
Content content_of(JsonValue message) {
  const JsonValue content = message["content"];
  if (content.is_string() && !is_blank(content)) return Content::kAnswer;
  Content found = Content::kNone;
  for (const JsonValue part : content.children()) {
    const JsonValue type = part["type"];
    if (type.raw_string().find("thinking") != std::string_view::npos ||
        type.raw_string().find("reasoning") != std::string_view::npos) {
      found = std::max(found, Content::kReasoning);
    } else if (type.equals("refusal")) {
      found = std::max(found, Content::kRefusal);
    } else if (!part["text"].is_string() || !is_blank(part["text"])) {
      return Content::kAnswer;
    }
  }
  for (const char* name : {"tool_calls", "function_call", "images", "audio"}) {
    if (!says_nothing(message[name])) return Content::kAnswer;
  }
  if (!is_blank(message["refusal"])) return Content::kRefusal;
  for (const char* name : {"reasoning_content", "reasoning", "reasoning_details"}) {
    if (!says_nothing(message[name])) found = std::max(found, Content::kReasoning);
  }
  return found;
}

/// Reads a whole answer or a chunk of one; returns what it contains.
Content read_answer_object(JsonValue root, bool streamed, const llm::Secret& key, Answer& answer) {
  read_identity(root, answer);
  if (const JsonValue usage = root["usage"]; usage.is_object()) {
    // Its many spellings are known to the client.
    const llm::ChatAnswer counts =
        llm::read_chat_answer(R"({"choices":[],"usage":)" + std::string(usage.raw()) + "}", key);
    if (counts.usage) answer.usage = counts.usage;
    if (counts.cost_usd) answer.charged_usd = counts.cost_usd;
  }
  const auto report = [&](JsonValue holder) {
    if (answer.failure || says_nothing(holder["error"])) return;
    answer.failure =
        reported_failure("{\"error\":" + std::string(holder["error"].raw()) + "}", key);
  };
  Content content = Content::kNone;
  for (const JsonValue choice : root["choices"].children()) {
    // Some servers end a stream with a whole message.
    const JsonValue message = choice[streamed ? "delta" : "message"];
    const JsonValue other = choice[streamed ? "message" : "delta"];
    content = std::max(content, content_of(message.is_object() ? message : other));
    if (!is_blank(choice["text"])) content = Content::kAnswer;
    report(choice);
    const JsonValue reason = choice["finish_reason"];
    if (reason.raw_string().empty()) continue;
    const std::string name = reason.string();
    if (answer.finish_reason.empty() || choice["index"].count() == 0) answer.finish_reason = name;
    answer.truncated |= llm::ended_by_cap(name);
    if (content == Content::kNone && llm::ended_by_filter(name)) content = Content::kRefusal;
  }
  report(root);
  if (!answer.failure && answer.finish_reason == "error") {
    answer.failure = reported_failure(R"({"error":"the server ended the answer"})", key);
  }
  return content;
}

class ChatStreamReader final : public EventReader {
 public:
  ChatStreamReader(bool usage_wanted, std::string_view model, const llm::Secret& key)
      : EventReader(model, key), usage_wanted_(usage_wanted) {}

  std::string error_events(const ErrorReport& error) const override {
    std::string text;
    append_event(text, {}, openai_error(error));
    return text;
  }

 private:
  Verdict read_json(std::string_view name, JsonValue root) override {
    if (name == "error" && says_nothing(root["error"])) {
      fail(root.raw());
      return {};
    }
    const Content content = read_answer_object(root, /*streamed=*/true, key_, answer_);
    const bool only_usage = root["choices"].children().empty() && root["usage"].is_something() &&
                            says_nothing(root["error"]);
    return {.content = content, .drop = only_usage && !usage_wanted_, .model = root["model"]};
  }

  bool is_end(std::string_view data) const override { return data == "[DONE]"; }

  const bool usage_wanted_;
};

class ChatDialect final : public Dialect {
 public:
  DialectKind kind() const override { return DialectKind::kChat; }
  std::string_view path() const override { return "/chat/completions"; }

  ClientRequest read(std::string body, std::string_view budget_prompt) const override {
    return ChatRequestReader(std::move(body)).read(budget_prompt);
  }

  std::string write(const ClientRequest& request, const Target& target) const override {
    RequestWriter writer(request, target, {});
    write_parameters(writer);
    const std::string_view cap =
        llm::RequestForm{.cap_field = cap_field_of(request, target)}.cap_name();
    writer.remove(cap == kMaxTokens ? kMaxCompletionTokens : kMaxTokens);
    writer.set(cap, std::to_string(writer.cap()));
    fit_reasoning(writer);
    const auto& omit = target.model.omit;
    if (request.stream && std::ranges::find(omit, "stream_options") == omit.end()) {
      const bool has_options = request.json.root()["stream_options"].is_object();
      if (!has_options) writer.remove("stream_options");
      writer.merge("stream_options", R"({"include_usage":true})");
    }
    write_instructions(writer);
    return std::move(writer).text();
  }

  Answer read_answer(std::string_view body, std::string_view model,
                     const llm::Secret& key) const override {
    return read_whole_answer(body, model, key, [&](JsonValue root, Answer& answer) {
      answer.content = read_answer_object(root, /*streamed=*/false, key, answer);
      return root["choices"].is_array();
    });
  }

  std::unique_ptr<StreamReader> read_stream(const ClientRequest& request, std::string_view model,
                                            const llm::Secret& key) const override {
    return std::make_unique<ChatStreamReader>(request.usage_wanted, model, key);
  }

  std::string write_error(const ErrorReport& error) const override { return openai_error(error); }
};

}  // namespace

llm::CapField cap_field_of(const ClientRequest& request, const Target& target) {
  const auto omits = [&](std::string_view name) {
    return std::ranges::find(target.model.omit, name) != target.model.omit.end();
  };
  if (omits(kMaxTokens)) return llm::CapField::kMaxCompletionTokens;
  if (omits(kMaxCompletionTokens)) return llm::CapField::kMaxTokens;
  if (target.cap_field != llm::CapField::kAutomatic) return target.cap_field;
  return request.json.root()[kMaxCompletionTokens].is_something()
             ? llm::CapField::kMaxCompletionTokens
             : llm::CapField::kMaxTokens;
}

const Dialect& chat_dialect() {
  static const ChatDialect dialect;
  return dialect;
}

}  // namespace r2router::gateway
