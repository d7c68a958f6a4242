// Bodies of requests as clients send them, and what tests do with them.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "gateway/dialects/dialect.h"

namespace r2router::gateway::testing {

using Json = nlohmann::ordered_json;

// ---- Chat completions

/// openai-python, a plain question.
inline const std::string kChatQuestion =
    R"({"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Who wrote Faust?"}],"model":"auto","max_tokens":300,"temperature":0.7})";

/// openai-python with tools after a call of two of them, streamed.
inline const std::string kChatTools = R"({
  "messages": [
    {"role": "developer", "content": [{"type": "text", "text": "Use the tools."}]},
    {"role": "user", "content": "What is the weather in Bonn and Köln?"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bonn\"}"}},
      {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Köln\"}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
    {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "11 °C"}]}
  ],
  "model": "auto:cheap",
  "max_completion_tokens": 4096,
  "parallel_tool_calls": true,
  "stream": true,
  "stream_options": {"include_usage": true, "include_obfuscation": false},
  "tool_choice": "auto",
  "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false}, "strict": true}}]
})";

/// openai-python's parse() with a model of pydantic.
inline const std::string kChatSchema =
    R"({"messages":[{"role":"user","content":"Extract the event: Alice and Bob meet on Friday."}],"model":"auto","response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"name":{"title":"Name","type":"string"},"participants":{"items":{"type":"string"},"title":"Participants","type":"array"}},"required":["name","participants"],"title":"Event","type":"object","additionalProperties":false},"name":"Event","strict":true}},"stream":false})";

/// LangChain: parts, an image as data, and a null where nothing is set.
inline const std::string kChatImage =
    R"({"messages":[{"content":[{"type":"text","text":"What is in this picture?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==","detail":"high"}},{"type":"image_url","image_url":{"url":"https://example.org/cat.jpg"}}],"role":"user"}],"model":"auto","max_tokens":null,"n":1,"stream":false,"temperature":null})";

/// Vercel's AI SDK.
inline const std::string kChatVercel =
    R"({"model":"auto","max_tokens":1000,"temperature":0,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hello"},{"type":"text","text":"World"}]}],"stream":true,"stream_options":{"include_usage":true}})";

// ---- Responses

/// openai-python, a plain question.
inline const std::string kResponsesQuestion =
    R"({"input":"Write a haiku about routers.","model":"auto","instructions":"You are a poet.","max_output_tokens":500})";

/// Codex after one tool call.
inline const std::string kResponsesCodex = R"({
  "model": "auto",
  "instructions": "You are Codex, a coding agent.",
  "input": [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>\n  <cwd>/src</cwd>\n</environment_context>"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the failing test."}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look at the test."}], "content": null, "encrypted_content": "gAAAAABo"},
    {"type": "function_call", "name": "shell", "arguments": "{\"command\":[\"ls\"]}", "call_id": "call_1"},
    {"type": "function_call_output", "call_id": "call_1", "output": "test.cc"},
    {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "ok"}]}
  ],
  "tools": [
    {"type": "function", "name": "shell", "description": "Runs a command", "strict": false, "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}}},
    {"type": "custom", "name": "apply_patch", "description": "Edits files", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
    {"type": "local_shell"}
  ],
  "additional_tools": [{"type": "function", "name": "later"}],
  "tool_choice": "auto",
  "parallel_tool_calls": false,
  "reasoning": {"effort": "medium", "summary": "auto"},
  "store": false,
  "stream": true,
  "include": ["reasoning.encrypted_content"],
  "prompt_cache_key": "0199d1a2",
  "text": {"verbosity": "low"}
})";

/// openai-python's responses.parse(), with an image.
inline const std::string kResponsesSchema =
    R"({"input":[{"role":"system","content":"Extract the event."},{"role":"user","content":[{"type":"input_text","text":"See the invitation."},{"type":"input_image","image_url":"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ==","detail":"auto"}]}],"model":"auto","text":{"format":{"type":"json_schema","strict":true,"name":"Event","schema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}}}})";

// ---- Messages

/// Anthropic's SDK, a plain question.
inline const std::string kMessagesQuestion =
    R"({"max_tokens":1024,"messages":[{"role":"user","content":"Hello, Claude"}],"model":"claude-sonnet-4-5"})";

/// Claude Code: cached system blocks, thinking, tools, results with an image, reminders.
inline const std::string kMessagesClaudeCode = R"({
  "model": "claude/auto",
  "messages": [
    {"role": "user", "content": [
      {"type": "text", "text": "<system-reminder>\nToday is Monday.\n</system-reminder>\n"},
      {"type": "text", "text": "Rename the function.", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": [
      {"type": "thinking", "thinking": "I read the file first.", "signature": "EqQBCgIYAhIM"},
      {"type": "text", "text": "I'll read it."},
      {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"file_path": "/src/a.cc"}}]},
    {"role": "user", "content": [
      {"type": "tool_result", "tool_use_id": "toolu_01", "content": [
        {"type": "text", "text": "int f();"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}], "is_error": false},
      {"type": "text", "text": "<system-reminder>\nThe list is empty.\n</system-reminder>"}]}
  ],
  "system": [
    {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "Be careful.", "cache_control": {"type": "ephemeral"}}],
  "tools": [{"name": "Read", "description": "Reads a file", "input_schema": {"type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"]}}],
  "metadata": {"user_id": "user_1"},
  "max_tokens": 32000,
  "thinking": {"budget_tokens": 16000, "type": "enabled"},
  "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
  "stream": true
})";

/// All of them, with their dialects.
struct Sample {
  DialectKind kind;
  const std::string& body;
};
inline const Sample kSamples[] = {
    {DialectKind::kChat, kChatQuestion},         {DialectKind::kChat, kChatTools},
    {DialectKind::kChat, kChatSchema},           {DialectKind::kChat, kChatImage},
    {DialectKind::kChat, kChatVercel},           {DialectKind::kResponses, kResponsesQuestion},
    {DialectKind::kResponses, kResponsesCodex},  {DialectKind::kResponses, kResponsesSchema},
    {DialectKind::kMessages, kMessagesQuestion}, {DialectKind::kMessages, kMessagesClaudeCode},
};

inline ClientRequest read(DialectKind kind, const std::string& body) {
  return dialect_of(kind).read(body, {});
}

/// A model without special needs.
inline ModelSpec plain_model() { return {.name = "small", .openrouter_id = "vendor/small"}; }

/// The body that is sent, after a check that it is JSON.
inline std::string write(DialectKind kind, const std::string& body, const ModelSpec& model,
                         std::uint32_t cap, std::string_view instruction = {}) {
  const Dialect& dialect = dialect_of(kind);
  std::string text = dialect.write(dialect.read(body, {}),
                                   {.model = model, .cap = cap, .budget_instruction = instruction});
  EXPECT_TRUE(Json::accept(text)) << text;
  return text;
}

/// Field names of the surcharges.
inline std::vector<std::string> surcharge_fields(const ClientRequest& request) {
  std::vector<std::string> fields;
  for (const Surcharge& surcharge : request.surcharges) fields.push_back(surcharge.field);
  return fields;
}

}  // namespace r2router::gateway::testing
