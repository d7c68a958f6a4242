// What is read of requests, in all dialects.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/decision.h"

#include "base/unicode.h"
#include "gateway/dialects/dialect.h"
#include "gateway/dialects/input_size.h"
#include "support/errors.h"
#include "unit/gateway/dialects/requests.h"

namespace r2router::gateway {
namespace {

using namespace testing;
using r2router::testing::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kChat = DialectKind::kChat, kResponses = DialectKind::kResponses,
               kMessages = DialectKind::kMessages;

TEST(ReadRequest, FindsModelTextCapAndStream) {
  struct Expected {
    std::string model, text;
    std::optional<std::uint32_t> cap;
    bool stream;
  };
  const Expected expected[] = {
      {"auto", "Who wrote Faust?", 300, false},
      {"auto:cheap", "What is the weather in Bonn and Köln?", 4096, true},
      {"auto", "Extract the event: Alice and Bob meet on Friday.", {}, false},
      {"auto", "What is in this picture?", {}, false},
      {"auto", "Hello\nWorld", 1000, true},
      {"auto", "Write a haiku about routers.", 500, false},
      {"auto", "Fix the failing test.", {}, true},
      {"auto", "See the invitation.", {}, false},
      {"claude-sonnet-4-5", "Hello, Claude", 1024, false},
      // The last message has only a reminder and a result.
      {"claude/auto", "Rename the function.", 32000, true},
  };
  for (std::size_t i = 0; i < std::size(kSamples); ++i) {
    SCOPED_TRACE(kSamples[i].body);
    const ClientRequest request = read(kSamples[i].kind, kSamples[i].body);
    EXPECT_EQ(request.dialect, kSamples[i].kind);
    EXPECT_EQ(request.model, expected[i].model);
    EXPECT_EQ(request.text, expected[i].text);
    EXPECT_EQ(request.cap, expected[i].cap);
    EXPECT_EQ(request.stream, expected[i].stream);
    EXPECT_EQ(request.choices, 1U);
    EXPECT_THAT(surcharge_fields(request), IsEmpty());
    EXPECT_TRUE(request.policy == Policy{} && request.policy_name.empty());
  }
}

TEST(ReadRequest, FindsRequirements) {
  const Capabilities expected[] = {
      {},
      {Capability::kTools},
      {Capability::kJsonSchema},
      {Capability::kImages},
      {},
      {},
      {Capability::kTools, Capability::kReasoning},
      {Capability::kImages, Capability::kJsonSchema},
      {},
      {Capability::kTools, Capability::kImages, Capability::kReasoning},
  };
  for (std::size_t i = 0; i < std::size(kSamples); ++i) {
    EXPECT_EQ(read(kSamples[i].kind, kSamples[i].body).size.requirements, expected[i])
        << kSamples[i].body;
  }
  const auto chat = [](const std::string& fields) {
    return read(kChat, R"({"messages":[{"role":"user","content":"x"}],)" + fields + "}")
        .size.requirements;
  };
  EXPECT_EQ(chat(R"("tools":[])"), Capabilities());
  EXPECT_EQ(chat(R"("functions":[{"name":"f"}])"), Capabilities{Capability::kTools});
  EXPECT_EQ(chat(R"("response_format":{"type":"json_object"})"), Capabilities());
  EXPECT_EQ(chat(R"("reasoning_effort":"none")"), Capabilities());
  EXPECT_EQ(chat(R"("reasoning_effort":"low")"), Capabilities{Capability::kReasoning});
  EXPECT_EQ(chat(R"("reasoning":{"max_tokens":2000})"), Capabilities{Capability::kReasoning});
  EXPECT_EQ(chat(R"("reasoning":{"enabled":false,"effort":"minimal"})"), Capabilities());
}

TEST(ReadRequest, NeverFailsForWantOfText) {
  const auto text_of = [](DialectKind kind, const std::string& body) {
    return read(kind, body).text;
  };
  const std::string image =
      R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}])";
  EXPECT_EQ(text_of(kChat, R"({"messages":[{"role":"user","content":)" + image + "}]}"), "");
  EXPECT_EQ(text_of(kChat, R"({"messages":[]})"), "");
  EXPECT_EQ(text_of(kChat, R"({"messages":[{"role":"user","content":null}]})"), "");
  EXPECT_EQ(text_of(kResponses, "{}"), "");
  EXPECT_EQ(text_of(kMessages, R"({"messages":[{"role":"user","content":[]}]})"), "");
  // An earlier text is better than none.
  EXPECT_EQ(text_of(kChat, R"({"messages":[{"role":"user","content":"first"},
                                           {"role":"assistant","content":"reply"},
                                           {"role":"user","content":)" +
                               image + "}]}"),
            "first");
  EXPECT_EQ(text_of(kChat, R"({"messages":[{"role":"user","content":"first"},
                                           {"role":"user","content":" \n\u00a0"}]})"),
            "first");
  EXPECT_EQ(text_of(kChat, R"({"messages":[{"role":"system","content":"rules"},
                                           {"role":"assistant","content":"reply"}]})"),
            "reply");
  EXPECT_EQ(text_of(kMessages, R"({"system":"rules","messages":[]})"), "rules");
  // Only reminders.
  EXPECT_EQ(text_of(kMessages, R"({"messages":[{"role":"user","content":[
                {"type":"text","text":"<system-reminder>x</system-reminder>"}]}]})"),
            "<system-reminder>x</system-reminder>");
}

TEST(ReadRequest, KeepsEscapedCharactersOfTheText) {
  EXPECT_EQ(
      read(kChat, R"({"messages":[{"role":"us\u0065r","content":"\u00e9\n\ud83d\ude00\""}]})").text,
      "é\n😀\"");
}

TEST(ReadRequest, RoutesOnBothEndsOfALongText) {
  const auto text_of = [](const std::string& text) {
    return read(kResponses, R"({"input":")" + text + R"("})").text;
  };
  const std::string longest(kMostRoutedBytes, 'x');
  EXPECT_EQ(text_of(longest), longest);
  for (const char* filler : {"é", "xé", "日", "x日", "xx日", "😀"}) {
    std::string text = "Translate:";
    while (text.size() < 3 * kMostRoutedBytes) text += filler;
    const std::string routed = text_of(text + "in German");
    EXPECT_LE(routed.size(), kMostRoutedBytes + 1);
    EXPECT_GE(routed.size(), kMostRoutedBytes - 8);
    EXPECT_TRUE(is_utf8(routed)) << filler;
    EXPECT_THAT(routed, ::testing::StartsWith("Translate:"));
    EXPECT_THAT(routed, ::testing::EndsWith("in German"));
  }
}

TEST(ReadRequest, TakesTheLowestCap) {
  const auto cap_of = [](DialectKind kind, const std::string& fields) {
    return read(kind, R"({"messages":[],)" + fields + "}").cap;
  };
  EXPECT_EQ(cap_of(kChat, R"("max_tokens":10,"max_completion_tokens":20)"), 10U);
  EXPECT_EQ(cap_of(kChat, R"("max_tokens":20,"max_completion_tokens":10)"), 10U);
  EXPECT_EQ(cap_of(kChat, R"("max_tokens":1e3)"), 1000U);
  EXPECT_EQ(cap_of(kChat, R"("max_tokens":-1)"), std::nullopt) << "means no limit";
  EXPECT_EQ(cap_of(kChat, R"("max_tokens":99999999999999999999)"), UINT32_MAX - 1);
  EXPECT_EQ(cap_of(kMessages, R"("max_tokens":10)"), 10U);
  EXPECT_EQ(cap_of(kMessages, R"("max_completion_tokens":10)"), std::nullopt);
  EXPECT_EQ(read(kResponses, R"({"input":"x","max_output_tokens":10,"max_tokens":5})").cap, 10U);
}

TEST(ReadRequest, CountsChoices) {
  const auto choices_of = [](const std::string& fields) {
    return read(kChat, R"({"messages":[])" + fields + "}").choices;
  };
  EXPECT_EQ(choices_of(""), 1U);
  EXPECT_EQ(choices_of(R"(,"n":null)"), 1U);
  EXPECT_EQ(choices_of(R"(,"n":3)"), 3U);
  EXPECT_EQ(choices_of(R"(,"n":3,"best_of":5)"), 5U);
}

TEST(ReadRequest, SaysWhetherTheStreamShallHaveTheUsage) {
  const auto wanted = [](const std::string& fields) {
    return read(kChat, R"({"messages":[])" + fields + "}").usage_wanted;
  };
  EXPECT_FALSE(wanted(R"(,"stream":true)"));
  EXPECT_FALSE(wanted(R"(,"stream":true,"stream_options":{"include_usage":false})"));
  EXPECT_FALSE(wanted(R"(,"stream":true,"stream_options":null)"));
  EXPECT_TRUE(wanted(R"(,"stream":true,"stream_options":{"include_usage":true})"));
}

// Each of these can raise the bill above the worst case of the tokens.
TEST(ReadRequest, ReportsWhatTheWorstCaseDoesNotBound) {
  struct Case {
    DialectKind kind;
    std::string fields, field;
  };
  const std::vector<Case> cases = {
      {kChat, R"("web_search_options":{"search_context_size":"high"})", "web_search_options"},
      {kChat, R"("plugins":[{"id":"web"}])", "plugins"},
      {kChat, R"("models":["vendor/large"])", "models"},
      {kChat, R"("provider":{"sort":"throughput"})", "provider"},
      {kChat, R"("prediction":{"type":"content","content":"x"})", "prediction"},
      {kChat, R"("modalities":["text","audio"])", "modalities"},
      {kChat, R"("audio":{"voice":"alloy","format":"wav"})", "audio"},
      {kChat, R"("service_tier":"priority")", "service_tier"},
      {kChat, R"("search_parameters":{"mode":"auto"})", "search_parameters"},
      {kChat, R"("tools":[{"type":"function","function":{}},{"type":"web_search"}])",
       "tools[1].type"},
      {kResponses, R"("previous_response_id":"resp_1")", "previous_response_id"},
      {kResponses, R"("conversation":{"id":"conv_1"})", "conversation"},
      {kResponses, R"("prompt":{"id":"pmpt_1"})", "prompt"},
      {kResponses, R"("background":true)", "background"},
      {kResponses, R"("service_tier":"priority")", "service_tier"},
      {kResponses, R"("tools":[{"type":"web_search_preview"}])", "tools[0].type"},
      {kResponses, R"("tools":[{"type":"local_shell"},{"type":"shell"}])", "tools[1].type"},
      {kResponses, R"("tools":[{"type":"mcp","server_url":"https://example.org"}])",
       "tools[0].type"},
      {kResponses, R"("input":[{"type":"item_reference","id":"msg_1"}])", "input[0]"},
      {kResponses, R"("input":[{"id":"msg_1"}])", "input[0]"},
      {kResponses, R"("input":[{"type":null,"id":"msg_1","role":"user"}])", "input[0]"},
      {kResponses, R"("input":[{"type":"tool_search_output","tools":[{"type":"web_search"}]}])",
       "input[0].tools[0].type"},
      {kResponses, R"("tools":[{"type":"namespace","name":"n","tools":[{"type":"web_search"}]}])",
       "tools[0].type"},
      {kResponses, R"("input":[{"type":"compaction","encrypted_content":"x"}])", "input[0]"},
      {kResponses,
       R"("input":[{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}])",
       "input[0].content[0]"},
      {kMessages, R"("tools":[{"type":"web_search_20250305","name":"web_search"}])",
       "tools[0].type"},
      {kMessages, R"("mcp_servers":[{"type":"url","url":"https://example.org"}])", "mcp_servers"},
      {kMessages, R"("container":"container_1")", "container"},
      {kMessages, R"("speed":"fast")", "speed"},
      {kMessages, R"("inference_geo":"us")", "inference_geo"},
      {kMessages, R"("context_management":{"edits":[{"type":"compact_20260112"}]})",
       "context_management.edits.type"},
      // An empty object asks for the defaults.
      {kChat, R"("web_search_options":{})", "web_search_options"},
      {kChat, R"("search_parameters":{"mode":null})", "search_parameters"},
      {kChat, R"("plugins":[{}])", "plugins"},
      // Whatever is not known.
      {kChat, R"("turbo":1)", "turbo"},
      {kChat, R"("plugins[0]":1)", "plugins[0]"},
      {kChat, R"("tools":[{"google_search":{}}])", "tools[0].type"},
      {kResponses, R"("turbo":{"on":true})", "turbo"},
      {kResponses, R"("additional_tools":[{"type":"web_search"}])", "additional_tools[0].type"},
      {kResponses, R"("input":[{"type":"image_generation_call","result":"AAAA"}])",
       "input[0].type"},
      {kResponses, R"("input":[{"role":"user","content":[{"type":"input_video"}]}])",
       "input[0].content[0].type"},
      {kResponses,
       R"("input":[{"role":"user","content":[{"type":"input_text","text":"x",
           "cache_control":{"type":"ephemeral","ttl":"1h"}}]}])",
       "cache_control.ttl"},
      {kMessages, R"("turbo":"yes")", "turbo"},
      {kMessages, R"("tools":[{"google_search":{}}])", "tools[0].type"},
      {kMessages,
       R"("system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}])",
       "cache_control.ttl"},
      // Reasoning budgets that cannot be kept below the cap, and what may be one.
      {kChat, R"("thinking_budget":"9000")", "thinking_budget"},
      {kChat, R"("thinking_budget":-1)", "thinking_budget"},
      {kChat, R"("reasoning":{"max_tokens":0.5})", "reasoning.max_tokens"},
      {kChat, R"("reasoning":{"Max_Tokens":9000})", "reasoning.Max_Tokens"},
      {kChat, R"("thinking":{"type":"enabled","tokens":9000})", "thinking.tokens"},
      {kChat, R"("chat_template_kwargs":{"rounds":9})", "chat_template_kwargs.rounds"},
      {kResponses, R"("reasoning":{"max_tokens":"9000"})", "reasoning.max_tokens"},
      {kResponses, R"("reasoning":{"effort":"low","tokens":9})", "reasoning.tokens"},
      {kMessages, R"("thinking":{"type":"enabled","budget_tokens":-1})", "thinking.budget_tokens"},
      // More answers or longer ones, as some servers spell it.
      {kChat, R"("num_completions":2)", "num_completions"},
      {kChat, R"("num_return_sequences":2)", "num_return_sequences"},
      {kChat, R"("candidate_count":2)", "candidate_count"},
      {kChat, R"("max_new_tokens":9)", "max_new_tokens"},
      {kChat, R"("max_output_tokens":9)", "max_output_tokens"},
      {kChat, R"("n_predict":9)", "n_predict"},
      {kChat, R"("max_thinking_tokens":9)", "max_thinking_tokens"},
      {kChat, R"("N":2)", "N"},
      {kResponses, R"("n":2)", "n"},
      {kResponses, R"("max_tokens":9)", "max_tokens"},
      {kMessages, R"("n":2)", "n"},
      {kMessages, R"("max_completion_tokens":9)", "max_completion_tokens"},
  };
  for (const auto& [kind, fields, field] : cases) {
    const std::string messages = kind == kResponses ? "" : R"("messages":[],)";
    const ClientRequest request = read(kind, "{" + messages + fields + "}");
    EXPECT_THAT(surcharge_fields(request), ElementsAre(field)) << fields;
  }
  // The same fields without an effect.
  for (const char* fields :
       {R"("web_search_options":null)", R"("plugins":[])", R"("modalities":["text"])",
        R"("service_tier":"default")", R"("service_tier":"auto")", R"("prediction":null)",
        R"("turbo":false)", R"("turbo":[null,""])", R"("r2":{"max_cost_usd":1})",
        R"("thinking_budget":9000)", R"("reasoning":{"effort":"low","max_tokens":1e3})",
        R"("chat_template_kwargs":{"enable_thinking":true,"thinking_budget":9})",
        R"("tools":[{"type":"function","function":{"name":"f"}}])"}) {
    EXPECT_THAT(surcharge_fields(read(kChat, R"({"messages":[],)" + std::string(fields) + "}")),
                IsEmpty())
        << fields;
  }
  for (const char* fields :
       {R"("background":false)", R"("previous_response_id":null)", R"("store":true)",
        R"("tools":[{"type":"shell","environment":{"type":"local"}}])"}) {
    EXPECT_THAT(surcharge_fields(read(kResponses, "{" + std::string(fields) + "}")), IsEmpty())
        << fields;
  }
  for (const char* fields :
       {R"("service_tier":"standard_only")", R"("mcp_servers":[])",
        R"("tools":[{"type":"bash_20250124","name":"bash"},{"type":"custom","name":"f"}])"}) {
    EXPECT_THAT(surcharge_fields(read(kMessages, R"({"messages":[],)" + std::string(fields) + "}")),
                IsEmpty())
        << fields;
  }
}

TEST(ReadRequest, NamesEverySurchargeOnceForTheListOfAcceptedOnes) {
  const auto names = [](const std::string& body) {
    std::vector<std::string> names;
    for (const Surcharge& surcharge : read(kChat, body).surcharges) names.push_back(surcharge.name);
    return names;
  };
  EXPECT_THAT(names(R"({"tools":[{"type":"a"},{"type":"b"}],"plugins[0]":1,"models":["m"],
                        "messages":[{"role":"user","content":[{"type":"pdf"}],"extra":1}]})"),
              ::testing::UnorderedElementsAre("tools.type", "plugins[0]", "models",
                                              "messages.content.type", "messages.extra"));
  std::string many = R"({"messages":[])";
  for (int i = 0; i < 1000; ++i) many += ",\"field" + std::to_string(i) + "\":1";
  const std::vector<std::string> of_many = names(many + "}");
  EXPECT_LT(of_many.size(), 100U);
  EXPECT_EQ(of_many.back(), "") << "the rest cannot be accepted";
}

TEST(ReadRequest, ReportsPartsOfUnknownLength) {
  const auto chat = [](const std::string& part) {
    return surcharge_fields(read(
        kChat,
        R"({"messages":[{"role":"user","content":[{"type":"text","text":"x"},)" + part + "]}]}"));
  };
  EXPECT_THAT(chat(R"({"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}})"),
              ElementsAre("messages[0].content[1]"));
  EXPECT_THAT(chat(R"({"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}})"),
              ElementsAre("messages[0].content[1]"));
  EXPECT_THAT(chat(R"({"type":"video_url","video_url":{"url":"https://example.org/v"}})"),
              ElementsAre("messages[0].content[1]"));
  const auto document = [](const std::string& source) {
    return surcharge_fields(
        read(kMessages, R"({"messages":[{"role":"user","content":[{"type":"document","source":)" +
                            source + "}]}]}"));
  };
  EXPECT_THAT(document(R"({"type":"base64","media_type":"application/pdf","data":"AAAA"})"),
              ElementsAre("messages[0].content[0]"));
  EXPECT_THAT(document(R"({"type":"file","file_id":"file_1"})"),
              ElementsAre("messages[0].content[0]"));
  EXPECT_THAT(document(R"({"type":"text","media_type":"text/plain","data":"words"})"), IsEmpty());
}

TEST(ReadRequest, GoesByTheMembersOfPartsAsWellAsByTheirTypes) {
  const auto fields = [](DialectKind kind, const std::string& part) {
    const std::string list = kind == kResponses ? "input" : "messages";
    return surcharge_fields(
        read(kind, "{\"" + list + R"(":[{"role":"user","content":[)" + part + "]}]}"));
  };
  const std::string text = R"({"text":"x","type":)",
                    url = R"("image_url":{"url":"https://a.b/c"}})";
  EXPECT_THAT(fields(kChat, R"({"text":"x",)" + url),
              ElementsAre("messages[0].content[0].image_url"));
  EXPECT_THAT(fields(kChat, text + R"("text","uuid":"1",)" + url),
              ElementsAre("messages[0].content[0].uuid", "messages[0].content[0].image_url"));
  EXPECT_THAT(fields(kChat, text + R"("text","Type":"image_url"})"),
              ElementsAre("messages[0].content[0].Type"));
  EXPECT_THAT(fields(kResponses, text + R"("input_text","file_id":"file_1"})"),
              ElementsAre("input[0].content[0].file_id"));
  EXPECT_THAT(fields(kMessages, text + R"("text","source":{"type":"file"}})"),
              ElementsAre("messages[0].content[0].source"));
}

TEST(ReadRequest, ReportsImagesThatMayBeSomethingElse) {
  const auto fields = [](DialectKind kind, const std::string& part) {
    const std::string list = kind == kResponses ? "input" : "messages";
    return surcharge_fields(
        read(kind, "{\"" + list + R"(":[{"role":"user","content":[)" + part + "]}]}"));
  };
  const auto chat = [&](const std::string& url) {
    return fields(kChat, R"({"type":"image_url","image_url":{"url":")" + url + "\"}}");
  };
  EXPECT_THAT(chat("data:application/pdf;base64,AAAA"), ElementsAre("messages[0].content[0]"));
  EXPECT_THAT(chat("gs://bucket/film.mp4"), ElementsAre("messages[0].content[0]"));
  EXPECT_THAT(chat("https://example.org/a.png"), IsEmpty());
  EXPECT_THAT(chat(R"(data:image\/png;base64,AAAA)"), IsEmpty()) << "as PHP writes it";
  EXPECT_THAT(
      fields(kResponses, R"({"type":"input_image","image_url":"data:video/mp4;base64,AAAA"})"),
      ElementsAre("input[0].content[0]"));
  EXPECT_THAT(fields(kResponses, R"({"type":"input_image","file_id":"file_1","detail":"low"})"),
              IsEmpty());
  const auto messages = [&](const std::string& source) {
    return fields(kMessages, R"({"type":"image","source":)" + source + "}");
  };
  EXPECT_THAT(messages(R"({"type":"base64","media_type":"application/pdf","data":"AAAA"})"),
              ElementsAre("messages[0].content[0].source.type"));
  EXPECT_THAT(messages(R"({"type":"base64","media_type":"image/png","data":"AAAA"})"), IsEmpty());
  EXPECT_THAT(messages(R"({"type":"url","url":"https://example.org/a.png"})"), IsEmpty());
  EXPECT_EQ(read(kMessages, R"({"messages":[{"role":"user","content":[{"type":"mcp_tool_result",
                "content":[{"type":"image","source":{"type":"url","url":"https://a.b/c"}}]}]}]})")
                .size.images,
            1U);
}

TEST(ReadRequest, SaysWhetherTheCacheIsWritten) {
  EXPECT_FALSE(read(kMessages, kMessagesQuestion).writes_cache);
  EXPECT_TRUE(read(kMessages, kMessagesClaudeCode).writes_cache);
  EXPECT_TRUE(read(kChat, R"({"messages":[{"role":"user","content":[{"type":"text","text":"x",
                                  "cache_control":{"type":"ephemeral"}}]}]})")
                  .writes_cache);
  EXPECT_TRUE(read(kResponses, R"({"input":[{"role":"user","content":[{"type":"input_text",
                                  "text":"x","cache_control":{"type":"ephemeral"}}]}]})")
                  .writes_cache);
}

// ---- Length

TEST(ReadRequest, EstimatesAPlainQuestionAsTheRouterDoes) {
  const std::string question = "Solve the equation: 2x + 5 = 13, and explain each of the steps.";
  for (const auto& [kind, body] : std::vector<std::pair<DialectKind, std::string>>{
           {kChat, R"({"messages":[{"role":"user","content":")" + question + R"("}]})"},
           {kResponses, R"({"input":")" + question + R"("})"},
           {kMessages, R"({"messages":[{"role":"user","content":")" + question + R"("}]})"}}) {
    EXPECT_EQ(read(kind, body).size.input_tokens, estimate_input_tokens(question));
  }
}

TEST(ReadRequest, EstimatesCodeAndTextWithoutSpacesByItsBytes) {
  const std::string minified(4000, 'x');
  EXPECT_EQ(read(kResponses, R"({"input":")" + minified + R"("})").size.input_tokens, 1000);
}

TEST(ReadRequest, CountsEverythingThatIsSent) {
  const auto tokens = [](DialectKind kind, const std::string& body) {
    return *read(kind, body).size.input_tokens;
  };
  const std::string words = "one two three four five six seven eight nine ten";
  const std::string message = R"({"role":"user","content":")" + words + R"("})";
  const std::int64_t one = tokens(kChat, R"({"messages":[)" + message + "]}");
  EXPECT_EQ(tokens(kChat, R"({"messages":[)" + message + "," + message + "]}"), 2 * one);
  const std::string tool =
      R"({"type":"function","function":{"name":"f","description":")" + words + R"("}})";
  EXPECT_GE(tokens(kChat, R"({"messages":[)" + message + R"(],"tools":[)" + tool + "]}"), one + 20);
  EXPECT_EQ(tokens(kMessages, R"({"system":")" + words + R"(","messages":[)" + message + "]}"),
            2 * one);
  EXPECT_EQ(tokens(kMessages, R"({"messages":[{"role":"user","content":[
                {"type":"tool_result","tool_use_id":"t","content":")" +
                                  words + R"("},{"type":"text","text":")" + words + R"("}]}]})"),
            2 * one);
  EXPECT_EQ(tokens(kResponses, R"({"instructions":")" + words + R"(","input":[
                {"type":"function_call_output","call_id":"c","output":")" +
                                   words + R"("},{"role":"user","content":")" + words + R"("}]})"),
            3 * one);
}

TEST(ReadRequest, BoundsTheInputByTheBytesOfTheBody) {
  for (const auto& [kind, body] : kSamples) {
    const ClientRequest request = read(kind, body);
    // Bytes of images are replaced.
    const std::int64_t images = request.size.images;
    EXPECT_GE(*request.size.max_input_tokens,
              static_cast<std::int64_t>(body.size()) - 300 * images + kMostImageTokens * images)
        << body;
    EXPECT_GE(*request.size.max_input_tokens, *request.size.input_tokens);
    const ClientRequest instructed =
        dialect_of(kind).read(body, "Answer in at most {budget} tokens.");
    EXPECT_GE(*instructed.size.max_input_tokens, *request.size.max_input_tokens + 34);
  }
}

TEST(ReadRequest, TakesTheContextForWhatItIsLikelyToBe) {
  const std::string words(200'000, 'x');
  for (const auto& [kind, body] : std::vector<std::pair<DialectKind, std::string>>{
           {kChat, R"({"messages":[{"role":"user","content":")" + words + R"("}]})"},
           {kResponses, R"({"input":")" + words + R"("})"},
           {kMessages, R"({"messages":[{"role":"user","content":")" + words + R"("}]})"}}) {
    const QuerySize size = read(kind, body).size;
    EXPECT_GE(*size.max_input_tokens, 200'000) << "the bound of the cost";
    EXPECT_GE(*size.context_tokens, 50'000);
    EXPECT_LT(*size.context_tokens, 70'000);
  }
}

TEST(ReadRequest, CountsImagesInsteadOfTheirBytes) {
  const std::string data(1'000'000, 'A');
  const auto image_body = [&](DialectKind kind) -> std::string {
    switch (kind) {
      case kChat:
        return R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,)" +
               data + R"("}}]}]})";
      case kResponses:
        return R"({"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,)" +
               data + R"("}]}]})";
      default:
        return R"({"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":")" +
               data + R"("}}]}]})";
    }
  };
  for (const DialectKind kind : kDialects) {
    const QuerySize size = read(kind, image_body(kind)).size;
    EXPECT_EQ(size.images, 1U);
    EXPECT_GE(*size.max_input_tokens, kMostImageTokens);
    EXPECT_LT(*size.max_input_tokens, kMostImageTokens + 2000);
    EXPECT_LT(*size.input_tokens, 5000);
  }
  EXPECT_EQ(read(kMessages, kMessagesClaudeCode).size.images, 1U) << "within a tool's result";
  EXPECT_EQ(read(kResponses, R"({"input":[{"type":"computer_call_output","call_id":"c","output":
                {"type":"computer_screenshot","image_url":"data:image/png;base64,AAAA"}}]})")
                .size.images,
            1U);
}

TEST(ReadRequest, AnswersCountTokensFromTheEstimate) {
  const ClientRequest request = read(kMessages, kMessagesQuestion);
  EXPECT_EQ(Json::parse(token_count(request)),
            (Json{{"input_tokens", *request.size.input_tokens}}));
}

// ---- The object r2

TEST(ReadRequest, ReadsThePolicyOfTheBody) {
  for (const DialectKind kind : kDialects) {
    const ClientRequest request = read(kind, R"({"messages":[],"r2":{"policy":"cheap",
        "max_cost_usd":0.01,"deny":["*-mini"],"cap":{"margin":0.5},"min_quality":null,
        "objective":"best"}})");
    EXPECT_EQ(request.policy_name, "cheap");
    Policy expected{.objective = Objective::kBest, .max_cost_usd = 0.01, .deny = {{"*-mini"}}};
    expected.cap.margin = 0.5;
    EXPECT_EQ(request.policy, expected);
  }
  EXPECT_EQ(read(kChat, R"({"messages":[],"r2":null})").policy, Policy());
}

TEST(ReadRequest, NamesTheFieldOfABadSetting) {
  const auto error = [](const std::string& r2) {
    return error_of([&] { read(kChat, R"({"messages":[],"r2":)" + r2 + "}"); });
  };
  EXPECT_EQ(error(R"({"max_cost_usd":-1})").where().option, "r2.max_cost_usd");
  EXPECT_EQ(error(R"({"cap":{"margin":"x"}})").where().option, "r2.cap.margin");
  EXPECT_EQ(error(R"({"policy":7})").where().option, "r2.policy");
  EXPECT_EQ(error(R"("cheap")").where().option, "r2");
  const Error unknown = error(R"({"max_costs":1})");
  EXPECT_EQ(unknown.where().option, "r2.max_costs");
  EXPECT_THAT(unknown.what(), HasSubstr("max_cost_usd"));
  EXPECT_EQ(unknown.code(), ErrorCode::kInvalidArgument);
}

// ---- Errors

TEST(ReadRequest, SaysWhichFieldIsWrong) {
  struct Case {
    DialectKind kind;
    std::string body, field, expected;
  };
  const std::vector<Case> cases = {
      {kChat, "[]", "", "JSON object"},
      {kChat, "{}", "messages", "missing"},
      {kChat, R"({"messages":"Hello"})", "messages", "found a string, expected a list"},
      {kChat, R"({"messages":["Hello"]})", "messages[0]", "an object"},
      {kChat, R"({"messages":[{"content":"x"}]})", "messages[0].role", "missing"},
      {kChat, R"({"messages":[{"role":"user","content":7}]})", "messages[0].content",
       "found a number, expected a string or a list of parts"},
      {kChat, R"({"messages":[{"role":"user","content":[7]}]})", "messages[0].content[0]", ""},
      {kChat, R"({"messages":[{"role":"user","content":[{"type":"text","text":[]}]}]})",
       "messages[0].content[0].text", "a string"},
      {kChat, R"({"messages":[],"model":1})", "model", "a string"},
      {kChat, R"({"messages":[],"stream":"yes"})", "stream", "true or false"},
      {kChat, R"({"messages":[],"max_tokens":0})", "max_tokens", "found 0"},
      {kChat, R"({"messages":[],"max_tokens":-5})", "max_tokens", "found -5"},
      {kChat, R"({"messages":[],"max_tokens":1.5})", "max_tokens", "found 1.5"},
      {kChat, R"({"messages":[],"max_completion_tokens":"10"})", "max_completion_tokens",
       "a string"},
      {kChat, R"({"messages":[],"n":0})", "n", "1 or more"},
      {kChat, R"({"messages":[],"tools":{}})", "tools", "a list"},
      {kChat, R"({"messages":[],"messages":[]})", "messages", "twice"},
      {kChat, R"({"messages":[{"role":"user","role":"system"}]})", "messages[0].role", "twice"},
      {kResponses, R"({"input":7})", "input", "a string or a list of items"},
      {kResponses, R"({"input":["x"]})", "input[0]", "an object"},
      {kResponses, R"({"input":"x","instructions":[]})", "instructions", "a string"},
      {kResponses, R"({"input":"x","max_output_tokens":true})", "max_output_tokens", ""},
      {kMessages, R"({"messages":[{"role":"user"}]})", "messages[0].content", "missing"},
      {kMessages, R"({"messages":[],"system":7})", "system", "a string or a list of blocks"},
      {kMessages, R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content[0]",
       "an object"},
  };
  for (const auto& [kind, body, field, expected] : cases) {
    const Error error = error_of([&, &kind = kind, &body = body] { read(kind, body); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << body;
    EXPECT_EQ(error.where().option, field) << body;
    EXPECT_THAT(error.what(), HasSubstr(expected)) << body;
  }
}

TEST(ReadRequest, RefusesHostileBodies) {
  std::string deep(100'000, '[');
  for (const DialectKind kind : kDialects) {
    for (const std::string& body :
         {std::string(), std::string("\0", 1), std::string("{\"messages\":\"\xFF\"}"), deep,
          R"({"messages":)" + deep, R"({"messages":[{"role":"user","content":)" + deep,
          std::string(R"({"messages":[],"model":"\ud800"})")}) {
      EXPECT_EQ(error_of([&] { read(kind, body); }).code(), ErrorCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace r2router::gateway
