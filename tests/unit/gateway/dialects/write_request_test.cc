// What is changed in requests, in all dialects.
#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/dialects/dialect.h"
#include "support/errors.h"
#include "unit/gateway/dialects/random_json.h"
#include "unit/gateway/dialects/requests.h"

namespace r2router::gateway {
namespace {

using namespace testing;
using r2router::testing::expect_error;

constexpr auto kChat = DialectKind::kChat, kResponses = DialectKind::kResponses,
               kMessages = DialectKind::kMessages;

std::string_view cap_field(DialectKind kind) {
  return kind == kResponses ? "max_output_tokens" : "max_tokens";
}

/// `text` with its first `what` replaced.
std::string with(std::string text, std::string_view what, std::string_view replacement) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, text.npos) << what;
  return text.replace(at, what.size(), replacement);
}

TEST(WriteRequest, ReplacesModelAndCapInPlace) {
  EXPECT_EQ(write(kChat, kChatQuestion, plain_model(), 200),
            with(with(kChatQuestion, R"("auto")", R"("vendor/small")"), "300", "200"));
  EXPECT_EQ(write(kResponses, kResponsesQuestion, plain_model(), 200),
            with(with(kResponsesQuestion, R"("auto")", R"("vendor/small")"), "500", "200"));
  EXPECT_EQ(
      write(kMessages, kMessagesQuestion, plain_model(), 200),
      with(with(kMessagesQuestion, R"("claude-sonnet-4-5")", R"("vendor/small")"), "1024", "200"));
}

TEST(WriteRequest, NeverRaisesTheClientsCap) {
  for (const DialectKind kind : kDialects) {
    const std::string field(cap_field(kind));
    const std::string body = R"({"messages":[],")" + field + R"(":100})";
    EXPECT_EQ(Json::parse(write(kind, body, plain_model(), 5000))[field], 100);
    EXPECT_EQ(Json::parse(write(kind, body, plain_model(), 50))[field], 50);
    for (const char* none : {"-1", "null"}) {
      EXPECT_EQ(Json::parse(write(kind, with(body, "100", none), plain_model(), 5000))[field], 5000)
          << "a request without a cap must get one";
    }
    EXPECT_EQ(Json::parse(write(kind, R"({"messages":[]})", plain_model(), 5000))[field], 5000);
  }
}

TEST(WriteRequest, SendsTheCapOfAChatInOneField) {
  struct Case {
    std::string fields;
    llm::CapField cap_field;
    std::vector<std::string> omit;
    std::string expected, not_expected;
  };
  const std::string old_field = "max_tokens", new_field = "max_completion_tokens";
  using Field = llm::CapField;
  const std::vector<Case> cases = {
      {"", Field::kAutomatic, {}, old_field, new_field},
      {R"(,"max_tokens":9)", Field::kAutomatic, {}, old_field, new_field},
      {R"(,"max_completion_tokens":9)", Field::kAutomatic, {}, new_field, old_field},
      {R"(,"max_tokens":9)", Field::kMaxCompletionTokens, {}, new_field, old_field},
      {R"(,"max_completion_tokens":9)", Field::kMaxTokens, {}, old_field, new_field},
      {R"(,"max_tokens":9,"max_completion_tokens":10)",
       Field::kMaxTokens,
       {},
       old_field,
       new_field},
      {R"(,"max_tokens":9)", Field::kMaxTokens, {old_field}, new_field, old_field},
      {"", Field::kMaxCompletionTokens, {new_field}, old_field, new_field},
  };
  for (const Case& one : cases) {
    ModelSpec model = plain_model();
    model.omit = one.omit;
    const Dialect& chat = dialect_of(kChat);
    const Json sent =
        Json::parse(chat.write(read(kChat, R"({"messages":[])" + one.fields + "}"),
                               {.model = model, .cap = 9, .cap_field = one.cap_field}));
    EXPECT_EQ(sent.value(one.expected, 0), 9) << sent;
    EXPECT_FALSE(sent.contains(one.not_expected)) << sent;
  }
}

TEST(WriteRequest, RemovesTheObjectR2) {
  for (const DialectKind kind : kDialects) {
    const std::string sent =
        write(kind, R"({"r2":{"policy":"cheap"},"messages":[],"model":"auto"})", plain_model(), 5);
    EXPECT_FALSE(Json::parse(sent).contains("r2")) << sent;
  }
}

TEST(WriteRequest, RemovesOmittedParametersButNoneThatIsNeeded) {
  ModelSpec model = plain_model();
  model.omit = {"temperature", "top_p", "messages",          "input",
                "stream",      "model", "max_output_tokens", "absent"};
  for (const DialectKind kind : kDialects) {
    const Json sent = Json::parse(write(kind,
                                        R"({"top_p":1,"messages":[],"input":"x","temperature":0.5,
                                            "stream":false,"seed":3,"max_output_tokens":9})",
                                        model, 9));
    EXPECT_FALSE(sent.contains("temperature") || sent.contains("top_p")) << sent;
    for (const char* kept : {"messages", "stream", "seed", "model"}) {
      EXPECT_TRUE(sent.contains(kept)) << sent;
    }
    if (kind == kResponses) {
      EXPECT_EQ(sent["input"], "x");
      EXPECT_EQ(sent["max_output_tokens"], 9);
    }
  }
  model.omit = {"max_tokens"};
  EXPECT_EQ(Json::parse(write(kMessages, kMessagesQuestion, model, 7))["max_tokens"], 7);
}

TEST(WriteRequest, MergesTheModelsRequestIntoTheClients) {
  ModelSpec model = plain_model();
  model.request = R"({"reasoning_effort": "low", "top_k": 1.50, "a": {"b": {"c": 1}, "d": 2}})";
  const std::string fields =
      R"("temperature":1,"a":{"x":0,"b":{"y":1,"c":2}},"reasoning":{"summary":"auto","effort":"high"})";
  const Json chat = Json::parse(
      write(kChat, R"({"messages":[],"reasoning_effort":"high",)" + fields + "}", model, 5));
  EXPECT_EQ(chat["reasoning_effort"], "low");
  EXPECT_EQ(chat["reasoning"], Json::parse(R"({"summary":"auto"})")) << "it would contradict";
  EXPECT_EQ(chat["a"], Json::parse(R"({"x":0,"b":{"y":1,"c":1},"d":2})"));

  const std::string responses = write(kResponses, R"({"input":"x",)" + fields + "}", model, 5);
  EXPECT_EQ(Json::parse(responses)["reasoning"],
            Json::parse(R"({"summary":"auto","effort":"low"})"));
  EXPECT_FALSE(Json::parse(responses).contains("reasoning_effort"));
  EXPECT_NE(responses.find("1.50"), responses.npos) << "numbers keep their form";

  Json messages = Json::parse(write(kMessages, kMessagesQuestion, model, 5));
  EXPECT_EQ(messages["output_config"], Json::parse(R"({"effort":"low"})"));
  model.request = R"({"reasoning_effort": "none"})";
  messages = Json::parse(write(kMessages, kMessagesClaudeCode, model, 5000));
  EXPECT_EQ(messages["thinking"], Json::parse(R"({"type":"disabled"})"));

  model.request = R"({"reasoning": {"effort": "high"}})";
  EXPECT_FALSE(Json::parse(write(kChat, R"({"messages":[],"reasoning_effort":"low"})", model, 5))
                   .contains("reasoning_effort"));
}

TEST(WriteRequest, RefusesAModelsRequestThatIsNotAllowed) {
  ModelSpec model = plain_model();
  for (const char* request : {"[]", "{", R"({"n": 2})", R"({"max_tokens": 100000})",
                              R"({"model": "vendor/large"})", R"({"tools": []})"}) {
    model.request = request;
    for (const auto& [kind, body] : kSamples) {
      EXPECT_THROW(write(kind, body, model, 5), Error) << request;
    }
  }
}

TEST(WriteRequest, AlwaysAsksForTheUsageOfAStreamedChat) {
  const auto options = [](const std::string& fields, const ModelSpec& model = plain_model()) {
    return Json::parse(write(kChat, R"({"messages":[])" + fields + "}", model, 5))
        .value("stream_options", Json());
  };
  const Json asked = {{"include_usage", true}};
  EXPECT_EQ(options(R"(,"stream":true)"), asked);
  EXPECT_EQ(options(R"(,"stream":true,"stream_options":null)"), asked);
  EXPECT_EQ(options(R"(,"stream":true,"stream_options":{"include_usage":false})"), asked);
  EXPECT_EQ(options(R"(,"stream":true,"stream_options":{"include_obfuscation":false})"),
            (Json{{"include_obfuscation", false}, {"include_usage", true}}));
  EXPECT_EQ(options(""), Json()) << "servers refuse it without a stream";
  EXPECT_EQ(options(R"(,"stream":false)"), Json());
  ModelSpec model = plain_model();
  model.omit = {"stream_options"};
  EXPECT_EQ(options(R"(,"stream":true,"stream_options":{})", model), Json());
  EXPECT_FALSE(
      Json::parse(write(kResponses, kResponsesCodex, plain_model(), 5)).contains("stream_options"));
}

// ---- Instructions

constexpr std::string_view kInstruction = "Use at most 300 \"tokens\".";

TEST(WriteRequest, AddsTheInstructionToTheSystemText) {
  const auto chat = [](const std::string& messages) {
    return Json::parse(write(kChat, R"({"messages":[)" + messages + "]}", plain_model(), 5,
                             kInstruction))["messages"];
  };
  const std::string user = R"({"role":"user","content":"x"})";
  EXPECT_EQ(chat(user)[0], (Json{{"role", "system"}, {"content", kInstruction}}));
  EXPECT_EQ(chat(user).size(), 2U);
  EXPECT_EQ(chat("").size(), 1U);
  for (const char* role : {"system", "developer"}) {
    const std::string head = R"({"role":")" + std::string(role) + R"(","content":)";
    EXPECT_EQ(chat(head + R"("Be nice."},)" + user)[0]["content"],
              "Be nice.\n\n" + std::string(kInstruction));
    EXPECT_EQ(chat(head + R"(""},)" + user)[0]["content"], kInstruction);
    const Json parts = chat(head + R"([{"type":"text","text":"Be nice."}]},)" + user)[0]["content"];
    EXPECT_EQ(parts.size(), 2U);
    EXPECT_EQ(parts[1], (Json{{"type", "text"}, {"text", kInstruction}}));
    EXPECT_EQ(chat(head + R"(null},)" + user).size(), 3U);
  }

  const auto responses = [](const std::string& fields) {
    return Json::parse(write(kResponses, R"({"input":"x")" + fields + "}", plain_model(), 5,
                             kInstruction))["instructions"];
  };
  EXPECT_EQ(responses(""), kInstruction);
  EXPECT_EQ(responses(R"(,"instructions":null)"), kInstruction);
  EXPECT_EQ(responses(R"(,"instructions":"Be nice.")"), "Be nice.\n\n" + std::string(kInstruction));

  const auto messages = [](const std::string& fields) {
    return Json::parse(write(kMessages, R"({"messages":[])" + fields + "}", plain_model(), 5,
                             kInstruction))["system"];
  };
  EXPECT_EQ(messages(""), kInstruction);
  EXPECT_EQ(messages(R"(,"system":"Be nice.")"), "Be nice.\n\n" + std::string(kInstruction));
  // What comes before keeps its bytes, so that a provider's cache of it can be used.
  const Json blocks =
      Json::parse(write(kMessages, kMessagesClaudeCode, plain_model(), 32000, kInstruction));
  EXPECT_EQ(blocks["system"].size(), 3U);
  EXPECT_EQ(blocks["system"][0], Json::parse(kMessagesClaudeCode)["system"][0]);
  EXPECT_EQ(blocks["system"][2], (Json{{"type", "text"}, {"text", kInstruction}}));
}

TEST(WriteRequest, SendsTheModelsInstructionBeforeTheBudgets) {
  ModelSpec model = plain_model();
  model.instruction = "Be concise.";
  EXPECT_EQ(Json::parse(write(kResponses, R"({"input":"x"})", model, 5))["instructions"],
            "Be concise.");
  EXPECT_EQ(
      Json::parse(write(kResponses, R"({"input":"x"})", model, 5, kInstruction))["instructions"],
      "Be concise.\n\n" + std::string(kInstruction));
}

// ---- Reasoning budgets

TEST(WriteRequest, KeepsTheThinkingBudgetBelowTheCap) {
  const auto thinking = [](std::uint32_t own_cap, std::uint64_t budget, std::uint32_t cap) {
    const Json sent = Json::parse(write(
        kMessages,
        R"({"messages":[],"max_tokens":)" + std::to_string(own_cap) +
            R"(,"thinking":{"type":"enabled","budget_tokens":)" + std::to_string(budget) + R"(}})",
        plain_model(), cap));
    return sent.contains("thinking") ? sent["thinking"]["budget_tokens"].get<std::uint64_t>() : 0;
  };
  EXPECT_EQ(thinking(32000, 16000, 32000), 16000U) << "nothing is lowered";
  EXPECT_EQ(thinking(32000, 16000, 40000), 16000U);
  EXPECT_EQ(thinking(32000, 16000, 8000), 4000U);
  EXPECT_EQ(thinking(32000, 16000, 16500), 8250U) << "text needs room, too";
  EXPECT_EQ(thinking(32000, 1024, 8000), 1024U) << "never below the least";
  EXPECT_EQ(thinking(32000, 16000, 1025), 1024U);
  EXPECT_EQ(thinking(32000, 16000, 1024), 0U) << "no room: removed";
  EXPECT_EQ(thinking(32000, 16000, 5), 0U);
  EXPECT_EQ(thinking(4000, 10000, 4000), 2000U) << "a budget above the cap would be no limit";
  EXPECT_EQ(thinking(4000, 10000, 3000), 1500U);
  EXPECT_EQ(thinking(4000, UINT64_MAX, 4000), 2000U);
  for (std::uint32_t cap = 1; cap < 40000; cap = cap * 3 / 2 + 1) {
    const std::uint64_t budget = thinking(32000, 20000, cap);
    EXPECT_TRUE(budget == 0 || (budget >= 1024 && budget < cap)) << cap;
  }
}

TEST(WriteRequest, RemovesThinkingWithItsRulesForTheContext) {
  const Json sent = Json::parse(write(kMessages, kMessagesClaudeCode, plain_model(), 1000));
  EXPECT_FALSE(sent.contains("thinking"));
  EXPECT_EQ(sent["context_management"], Json::parse(R"({"edits":[]})"));
  EXPECT_EQ(Json::parse(write(kMessages, kMessagesClaudeCode, plain_model(),
                              32000))["context_management"]["edits"]
                .size(),
            1U);
}

TEST(WriteRequest, FitsTheModelsOwnThinkingToTheCap) {
  ModelSpec model = plain_model();
  model.request = R"({"thinking": {"type": "enabled", "budget_tokens": 8000}})";
  const auto budget = [&](std::uint32_t cap) {
    return Json::parse(write(kMessages, R"({"messages":[]})", model, cap))
        .value("thinking", Json());
  };
  EXPECT_EQ(budget(10000)["budget_tokens"], 8000);
  EXPECT_EQ(budget(8000)["budget_tokens"], 4000);
  EXPECT_EQ(budget(1000), Json());
}

TEST(WriteRequest, FitsOpenRoutersReasoningBudget) {
  const auto reasoning = [](std::uint32_t cap) {
    return Json::parse(write(
        kChat,
        R"({"messages":[],"max_tokens":10000,"reasoning":{"max_tokens":5000,"exclude":true}})",
        plain_model(), cap))["reasoning"];
  };
  EXPECT_EQ(reasoning(10000)["max_tokens"], 5000);
  EXPECT_EQ(reasoning(4000)["max_tokens"], 2000);
  EXPECT_EQ(reasoning(500), (Json{{"exclude", true}}));
}

TEST(WriteRequest, KeepsEveryReasoningBudgetBelowTheCap) {
  struct Case {
    DialectKind kind;
    std::string_view before, after;
    const char* pointer;
  };
  for (const Case& one :
       {Case{kChat, R"("thinking_budget":)", "", "/thinking_budget"},
        Case{kChat, R"("chat_template_kwargs":{"enable_thinking":true,"thinking_budget":)", "}",
             "/chat_template_kwargs/thinking_budget"},
        Case{kChat, R"("thinking":{"type":"enabled","budget_tokens":)", "}",
             "/thinking/budget_tokens"},
        Case{kChat, R"("reasoning":{"max_tokens":)", "}", "/reasoning/max_tokens"},
        Case{kResponses, R"("reasoning":{"max_tokens":)", "}", "/reasoning/max_tokens"},
        Case{kMessages, R"("thinking":{"type":"enabled","budget_tokens":)", "}",
             "/thinking/budget_tokens"}}) {
    const std::string own_cap(cap_field(one.kind));
    for (const std::string own : {"", "3000", "50000"}) {
      for (const char* budget : {"1500", "9000", "9e3", "1e300"}) {
        for (const std::uint32_t cap : {4000U, 1200U, 100U, 1U}) {
          std::string body = R"({"messages":[],)" + std::string(one.before) + budget;
          body += one.after;
          if (!own.empty()) body += ",\"" + own_cap + "\":" + own;
          const Json sent = Json::parse(write(one.kind, body + "}", plain_model(), cap));
          const Json::json_pointer pointer(one.pointer);
          if (!sent.contains(pointer)) continue;  // removed
          EXPECT_LT(sent[pointer].get<double>(), sent[own_cap].get<double>()) << body << " " << cap;
        }
      }
    }
  }
  const Json low = Json::parse(write(
      kChat, R"({"messages":[],"thinking_budget":500,"max_tokens":4000})", plain_model(), 4000));
  EXPECT_EQ(low["thinking_budget"], 500);
}

// ---- Everything else

/// The members of the body that write() may change.
std::set<std::string> named_fields(DialectKind kind) {
  std::set<std::string> names = {"model", "r2", "temperature", "top_k"};
  switch (kind) {
    case kChat:
      names.insert({"max_tokens", "max_completion_tokens", "stream_options"});
      break;
    case kResponses:
      names.insert({"max_output_tokens", "instructions"});
      break;
    case kMessages:
      names.insert({"max_tokens", "system"});
      break;
  }
  return names;
}

struct Member {
  std::string name, json;
  friend bool operator==(const Member&, const Member&) = default;
};

/// The other members, in order, with their bytes.
std::vector<Member> others(const std::string& body, DialectKind kind) {
  const JsonText text(body);
  const std::set<std::string> named = named_fields(kind);
  std::vector<Member> members;
  for (const JsonValue member : text.root().children()) {
    if (!named.contains(member.name())) {
      members.push_back({member.name(), std::string(member.raw())});
    }
  }
  return members;
}

TEST(WriteRequest, ChangesNothingButTheNamedFieldsOfClients) {
  ModelSpec model = plain_model();
  model.omit = {"temperature"};
  model.request = R"({"top_k": 1})";
  for (const auto& [kind, body] : kSamples) {
    EXPECT_EQ(others(write(kind, body, model, 40000), kind), others(body, kind)) << body;
  }
}

// Bodies with random fields, in all forms of JSON, before, between and after those that are known.
TEST(WriteRequest, ChangesNothingButTheNamedFieldsOfRandomBodies) {
  RandomJson random(3);
  ModelSpec model = plain_model();
  model.omit = {"temperature"};
  model.request = R"({"top_k": 1})";
  for (int round = 0; round < 1000; ++round) {
    const DialectKind kind = kDialects[random.number(3)];
    std::vector<std::string> fields;
    const auto maybe = [&](const std::string& field) {
      if (random.number(2) == 0) fields.push_back(field);
    };
    if (kind == kResponses) {
      fields.push_back(R"("input":)" + random.string());
      maybe(R"("instructions": )" + random.string());
      maybe(R"("max_output_tokens":9)");
    } else {
      fields.push_back(R"("messages": [ {"role" : "user", "x":)" + random.value(2) +
                       R"(, "content":)" + random.string() + "} ]");
      maybe(R"("max_tokens" :9.0)");
    }
    if (kind == kChat) maybe(R"("max_completion_tokens":7)");
    if (kind == kMessages) maybe(R"("system":)" + random.string());
    maybe(R"("mod\u0065l":)" + random.string());
    maybe(R"("stream":true)");
    maybe(R"("temperature":)" + random.value(1));
    maybe(R"("top_k":0.50)");
    maybe(R"("r2":{})");
    for (unsigned i = random.number(6); i > 0; --i) {
      const unsigned place = random.number(static_cast<unsigned>(fields.size() + 1));
      fields.insert(fields.begin() + place,
                    "\"unknown " + std::to_string(i) + "\":" + random.value(3));
    }
    std::shuffle(fields.begin(), fields.end(), std::mt19937(static_cast<unsigned>(round)));
    std::string body = random.space() + "{";
    for (std::size_t i = 0; i < fields.size(); ++i) {
      body += (i > 0 ? random.space() + "," : "") + random.space() + fields[i];
    }
    body += random.space() + "}" + random.space();

    const std::string sent = write(kind, body, model, 5);
    EXPECT_EQ(others(sent, kind), others(body, kind)) << body << "\n" << sent;
    const Json json = Json::parse(sent);
    EXPECT_EQ(json["model"], "vendor/small") << sent;
    EXPECT_EQ(json["top_k"], 1) << sent;
    EXPECT_FALSE(json.contains("r2") || json.contains("temperature")) << sent;
    EXPECT_EQ(json.contains("max_completion_tokens") ? json["max_completion_tokens"]
                                                     : json[std::string(cap_field(kind))],
              5)
        << sent;
    // With an instruction, only messages or their first one may differ.
    EXPECT_TRUE(Json::accept(write(kind, body, model, 5, kInstruction))) << body;
  }
}

}  // namespace
}  // namespace r2router::gateway
