#include "gateway/dialects/json_text.h"

#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/errors.h"
#include "unit/gateway/dialects/random_json.h"

namespace r2router::gateway {
namespace {

using r2router::testing::error_of;
using r2router::testing::expect_error;
using testing::RandomJson;
using Json = nlohmann::ordered_json;

std::string repeated(std::string_view text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

/// The same document, built by another parser.
Json copy_of(JsonValue value) {
  if (value.is_object()) {
    Json object = Json::object();
    for (const JsonValue member : value.children()) object[member.name()] = copy_of(member);
    return object;
  }
  if (value.is_array()) {
    Json array = Json::array();
    for (const JsonValue element : value.children()) array.push_back(copy_of(element));
    return array;
  }
  if (value.is_string()) return value.string();
  if (value.boolean()) return *value.boolean();
  return Json::parse(value.raw());
}

TEST(JsonText, ReadsWhatAnotherParserReads) {
  RandomJson random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random.value(5);
    EXPECT_EQ(copy_of(JsonText(text).root()), Json::parse(text)) << text;
  }
}

TEST(JsonText, FindsMembersByNameHoweverTheyAreSpelled) {
  const JsonText text(R"( {"a": {"b": [1, "x", null]}, "m\u006fdel": "n\u0061me", "": 7} )");
  const JsonValue root = text.root();
  EXPECT_EQ(root["model"].string(), "name");
  EXPECT_TRUE(root["model"].equals("name"));
  EXPECT_EQ(root["model"].name(), "model");
  EXPECT_EQ(root["model"].raw(), R"("n\u0061me")");
  EXPECT_EQ(root["a"].raw(), R"({"b": [1, "x", null]})");
  EXPECT_EQ(root[""].count(), 7U);
  EXPECT_FALSE(root["c"].present());
  EXPECT_FALSE(root["c"]["d"]["e"].present());
  EXPECT_FALSE(root["a"]["b"]["x"].present()) << "an array has no members";
  EXPECT_EQ(root["c"].kind_name(), "nothing");
  EXPECT_EQ(root["a"]["b"].kind_name(), "an array");
}

TEST(JsonText, ReadsCountsInAnyForm) {
  const JsonText text(
      "[0, 17, 17.0, 1.7e1, -0, 18446744073709551615, 18446744073709551616, 1e300, 0.5, -1, 1e999, "
      "\"3\", null]");
  std::vector<std::optional<std::uint64_t>> counts;
  for (const JsonValue value : text.root().children()) counts.push_back(value.count());
  using Count = std::optional<std::uint64_t>;
  EXPECT_THAT(counts,
              ::testing::ElementsAre(0U, 17U, 17U, 17U, 0U, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                     Count(), Count(), Count(), Count(), Count()));
}

TEST(JsonText, RefusesWhatIsNotOneJsonValue) {
  for (const char* bad : {"",
                          " ",
                          "{",
                          "[1",
                          "[1,]",
                          "{\"a\"}",
                          "{\"a\":}",
                          "{\"a\":1,}",
                          "nul",
                          "1 2",
                          "{} x",
                          "\"\n\"",
                          "\"\\x\"",
                          "NaN",
                          "01",
                          "+1",
                          "'a'",
                          "\"\xFF\"",
                          "\"\xC3\"",
                          "\"\xED\xA0\x80\"",
                          "\"\\ud800\"",
                          "{\"\xFF\": 1}",
                          "\xEF"}) {
    EXPECT_EQ(error_of([&] { JsonText text{std::string(bad)}; }).code(),
              ErrorCode::kInvalidArgument)
        << bad;
  }
}

TEST(JsonText, RefusesDeepNestingWithoutRecursion) {
  const auto nested = [](std::size_t depth) { return repeated("[", depth) + repeated("]", depth); };
  EXPECT_NO_THROW(JsonText{nested(JsonText::kMaxDepth)});
  for (const std::size_t depth : {JsonText::kMaxDepth + 1, std::size_t{100'000}}) {
    expect_error(ErrorCode::kInvalidArgument, "512 deep", [&] { JsonText text{nested(depth)}; });
  }
  expect_error(ErrorCode::kInvalidArgument, "512 deep",
               [&] { JsonText text{repeated("{\"a\":", 100'000)}; });
}

TEST(JsonText, RefusesMoreValuesThanTheLimit) {
  const std::string full = "[" + repeated("0,", JsonText::kMaxValues - 2) + "0]";
  EXPECT_NO_THROW(JsonText{full});
  expect_error(ErrorCode::kInvalidArgument, "1000000 values",
               [&] { JsonText text{"[" + full + "]"}; });
}

TEST(JsonText, RefusesRepeatedNamesAndSaysWhere) {
  const auto refused = [](const std::string& text) {
    return error_of([&] { JsonText json{text}; }).where().option;
  };
  EXPECT_EQ(refused(R"({"a": 1, "b": 2, "a": 3})"), "a");
  EXPECT_EQ(refused(R"({"max_tokens": 1, "max_tok\u0065ns": 2})"), "max_tokens");
  EXPECT_EQ(refused(R"({"x": [0, {"y": 1}, {"z": {"b": 1, "b": 1}}]})"), "x[2].z.b");
  // More members than are compared one by one.
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += "\"n" + std::to_string(i) + "\": 0, ";
  EXPECT_NO_THROW(JsonText{many + "\"last\": 0}"});
  EXPECT_EQ(refused(many + "\"n500\": 1}"), "n500");
  EXPECT_NO_THROW(JsonText{R"([{"a": 1}, {"a": 1}, {"A": {"a": 1}, "a": 2}])"});
}

TEST(JsonText, ReusesItsMemoryForAnotherText) {
  JsonText text(R"({"a": 1, "b": [1, 2, 3]})");
  text.assign(R"({"c": 2})");
  EXPECT_EQ(text.root().raw(), R"({"c": 2})");
  EXPECT_FALSE(text.root()["a"].present());
  EXPECT_THROW(text.assign("{"), Error);
  text.assign("[7]");
  EXPECT_EQ(copy_of(text.root()), Json({7}));
}

TEST(JsonText, FindsMembersAtAnyDepth) {
  const JsonText text(R"({"x": 1, "a": [{"x": 2}, {"b": {"x": {"x": 3}}}], "y": "x"})");
  std::vector<std::string> found;
  text.for_each_named("x", [&](JsonValue value) { found.emplace_back(value.raw()); });
  EXPECT_THAT(found, ::testing::ElementsAre("1", "2", R"({"x": 3})", "3"));
}

// ---- Editing

std::string removed(const std::string& text, const std::vector<std::string>& names) {
  const JsonText json(text);
  JsonEditor editor(json);
  for (const std::string& name : names) editor.remove(json.root(), json.root()[name]);
  return editor.text();
}

TEST(JsonEditor, RemovesMembersWithOneComma) {
  const std::string text = R"({ "a" : 1 , "b":2,"c": [3] })";
  EXPECT_EQ(removed(text, {}), text);
  EXPECT_EQ(removed(text, {"a"}), R"({ "b":2,"c": [3] })");
  EXPECT_EQ(removed(text, {"b"}), R"({ "a" : 1,"c": [3] })");
  EXPECT_EQ(removed(text, {"c"}), R"({ "a" : 1 , "b":2 })");
  EXPECT_EQ(removed(text, {"a", "b"}), R"({ "c": [3] })");
  EXPECT_EQ(removed(text, {"b", "c"}), R"({ "a" : 1 })");
  EXPECT_EQ(removed(text, {"c", "a"}), R"({ "b":2 })");
  EXPECT_TRUE(Json::parse(removed(text, {"a", "b", "c"})).empty());
}

TEST(JsonEditor, AddsToEmptyAndEmptiedContainers) {
  const JsonText json(R"({"o": {}, "a": [ ], "e": {"x": 1}, "l": [1]})");
  JsonEditor editor(json);
  const JsonValue root = json.root();
  editor.set(root["o"], "n", "1");
  editor.set(root["o"], "m", "2");
  editor.append_element(root["a"], "3");
  editor.append_element(root["a"], "4");
  editor.remove(root["e"], root["e"]["x"]);
  editor.set(root["e"], "y", "5");
  editor.prepend_element(root["l"], "0");
  editor.append_element(root["l"], "2");
  editor.set(root, "q\"", "{}");
  EXPECT_EQ(editor.text(),
            R"({"o": {"n":1,"m":2}, "a": [3,4 ], "e": {"y":5}, "l": [0,1,2],"q\"":{}})");
}

TEST(JsonEditor, AppendsToStringsWithEscapes) {
  const JsonText json(R"(["", "a\n", {"s": "é"}])");
  JsonEditor editor(json);
  for (const JsonValue value : json.root().children()) {
    editor.append_text(value.is_object() ? value["s"] : value, "\"x\"\n\xFF");
  }
  EXPECT_EQ(Json::parse(editor.text()),
            Json::parse(R"(["\"x\"\n\ufffd", "a\n\"x\"\n\ufffd", {"s": "é\"x\"\n\ufffd"}])"));
  EXPECT_TRUE(editor.text().starts_with(R"(["\"x\")")) << editor.text();
}

// Random members are removed, replaced and added; the rest keeps its bytes and its order.
TEST(JsonEditor, DoesToTheTextWhatIsDoneToTheTree) {
  RandomJson random(2);
  for (int round = 0; round < 1000; ++round) {
    const std::string text = random.object(3);
    const JsonText json(text);
    Json expected = Json::parse(text);
    JsonEditor editor(json);
    std::vector<std::string> kept;
    for (const JsonValue member : json.root().children()) {
      const std::string name = member.name();
      switch (random.number(4)) {
        case 0:
          editor.remove(json.root(), member);
          expected.erase(name);
          break;
        case 1: {
          const std::string value = random.value(2);
          editor.replace(member, value);
          expected[name] = Json::parse(value);
          break;
        }
        default:
          kept.emplace_back(member.raw());
      }
    }
    for (unsigned i = random.number(3); i > 0; --i) {
      const std::string name = "new " + std::to_string(i), value = random.value(2);
      editor.set(json.root(), name, value);
      expected[name] = Json::parse(value);
    }
    const std::string edited = editor.text();
    ASSERT_TRUE(Json::accept(edited)) << text << "\n" << edited;
    EXPECT_EQ(Json::parse(edited).dump(), expected.dump()) << text << "\n" << edited;
    std::size_t position = 0;
    for (const std::string& raw : kept) {
      position = edited.find(raw, position);
      ASSERT_NE(position, edited.npos) << raw << " of " << text << " is not in " << edited;
      position += raw.size();
    }
  }
}

}  // namespace
}  // namespace r2router::gateway
