#include "base/json.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"

namespace r2router::io {
namespace {

using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;

JsonDocument parse(std::string_view text) { return {text, "file.json", ErrorCode::kBadConfig}; }

Error parse_error(std::string_view text) {
  return error_of([&] { parse(text); });
}

TEST(JsonDocument, KeepsValuesAndOrder) {
  const JsonDocument document = parse(
      R"( {"b": [1, -2, 0.5, true, null], "a": {"": "ü\u0000\n"}, "n": 18446744073709551615} )");
  const auto members = document.root().members();
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[0].first, "b");
  EXPECT_EQ(members[1].first, "a");
  const auto elements = members[0].second.elements();
  ASSERT_EQ(elements.size(), 5U);
  EXPECT_EQ(elements[0].integer(1, 1, "1"), 1U);
  EXPECT_EQ(elements[1].number(-2, -2, "-2"), -2);
  EXPECT_EQ(elements[2].number(0, 1, "a number"), 0.5);
  EXPECT_TRUE(elements[3].boolean());
  EXPECT_TRUE(elements[4].is_null());
  EXPECT_EQ(members[1].second[""].string(), std::string("ü\0\n", 4));
  EXPECT_EQ(members[2].second.integer(0, UINT64_MAX, "a number"), UINT64_MAX);
}

TEST(JsonDocument, NamesLineAndColumnOfWhatIsNotJson) {
  const Error error = parse_error("{\n  \"a\": 1,\n  \"b\": x\n}");
  EXPECT_EQ(error.code(), ErrorCode::kBadConfig);
  EXPECT_EQ(error.where().file, "file.json");
  EXPECT_EQ(error.where().line, 3U);
  EXPECT_THAT(error.what(), HasSubstr("file.json:3: not valid JSON at column 8"));
  EXPECT_THAT(error.what(), HasSubstr("invalid literal"));
}

TEST(JsonDocument, RefusesWhatIsNotExactlyOneValue) {
  for (const std::string_view text :
       {"", "  ", "{", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "{a: 1}", "1 2", "NaN", "Infinity",
        "1e999", "01", "'a'", "\"\t\"", "\"\xFF\"", "\"\\ud800\"", "// x\n1", "\"abc"}) {
    EXPECT_THAT(parse_error(text).what(), HasSubstr("not valid JSON")) << text;
  }
}

TEST(JsonDocument, ShowsNoRawBytesOfAHostileText) {
  const std::string what = parse_error("\"" + std::string(1 << 20, '\x01') + "\xFF").what();
  EXPECT_LT(what.size(), 400U);
  for (const char c : what.substr(0, 100)) EXPECT_GE(c, ' ');
}

TEST(JsonDocument, RefusesANameThatOccursTwice) {
  const Error error = parse_error(R"({"a": [{}, {"x/y": {"k~": 1, "l": {"k~": 2}, "k~": 3}}]})");
  EXPECT_EQ(error.where().pointer, "/a/1/x~1y/k~0");
  EXPECT_THAT(error.what(), HasSubstr("occurs twice"));
  // Equal after the escape is undone.
  EXPECT_EQ(parse_error(R"({"ab": 1, "\u0061b": 2})").where().pointer, "/ab");
  EXPECT_NO_THROW(parse(R"([{"a": 1}, {"a": 1, "A": {"a": 1}}])"));
}

TEST(JsonDocument, LimitsTheDepth) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_NO_THROW(parse(nested(kMaxJsonDepth)));
  EXPECT_THAT(parse_error(nested(kMaxJsonDepth + 1)).what(), HasSubstr("more than 64 deep"));
  EXPECT_THAT(parse_error(std::string(1 << 20, '[')).what(), HasSubstr("more than 64 deep"));
  EXPECT_EQ(parse_error("{\"a\": [" + nested(kMaxJsonDepth) + "]}").where().pointer.substr(0, 8),
            "/a/0/0/0");
}

TEST(JsonDocument, ManyMembersTakeLinearTime) {
  // With nlohmann's own ordered objects, the 200,000 look-ups here take minutes.
  std::string text = "{\"0\": 0";
  for (int i = 1; i < 200'000; ++i) text += ",\"" + std::to_string(i) + "\":0";
  EXPECT_EQ(parse(text + "}").root().members().size(), 200'000U);
}

TEST(JsonDocument, PutsThePrefixBeforePointers) {
  const JsonDocument document("[1]", "file", ErrorCode::kBadCheckpoint, "/outer");
  const Error error = error_of([&] { document.root().elements()[0].string("a name"); });
  EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint);
  EXPECT_EQ(error.where().pointer, "/outer/0");
}

TEST(JsonView, SaysWhatWasFoundAndExpected) {
  const JsonDocument document = parse(
      R"({"s": "text", "n": 1.5, "i": 7, "b": true, "z": null, "a": [1, 2], "o": {}, "neg": -1})");
  const JsonView root = document.root();
  const auto expect = [&](const std::string& message, auto&& action) {
    expect_error(ErrorCode::kBadConfig, "file.json at " + message, action);
  };
  expect("/n: found the number 1.5, expected a string", [&] { root["n"].string(); });
  expect("/s: found the string \"text\", expected true or false", [&] { root["s"].boolean(); });
  expect("/b: found true, expected 0 to 1", [&] { root["b"].number(0, 1, "0 to 1"); });
  expect("/n: found the number 1.5, expected 0 to 1", [&] { root["n"].number(0, 1, "0 to 1"); });
  expect("/n: found the number 1.5, expected a count", [&] { root["n"].integer(0, 9, "a count"); });
  expect("/i: found the number 7, expected up to 6", [&] { root["i"].integer(0, 6, "up to 6"); });
  expect("/i: found the number 7, expected 8 or more",
         [&] { root["i"].integer(8, 9, "8 or more"); });
  expect("/neg: found the number -1, expected a count",
         [&] { root["neg"].integer(0, 9, "a count"); });
  expect("/z: found null, expected an array", [&] { root["z"].elements(); });
  expect("/a: found an array of 2, expected an object", [&] { root["a"].members(); });
  expect("/o: found an object, expected a string", [&] { root["o"].string(); });
  expect("/a: found an array of 2, expected an object", [&] { root["a"]["x"].string(); });
  expect("/missing: this field is missing; add it as a string", [&] { root["missing"].string(); });
  expect("/missing: this field is missing", [&] { root["missing"]["below"].string(); });
  EXPECT_FALSE(root["missing"].present());
  EXPECT_TRUE(root["z"].present());
}

TEST(JsonView, Budgets) {
  const JsonDocument document = parse(R"([1, 4294967294, "unlimited", 0, 4294967295, 1.0, "all"])");
  const auto elements = document.root().elements();
  EXPECT_EQ(elements[0].budget(), Budget(1));
  EXPECT_EQ(elements[1].budget(), Budget(4294967294));
  EXPECT_EQ(elements[2].budget(), Budget::unlimited());
  for (const std::size_t i : {3, 4, 5, 6}) {
    expect_error(ErrorCode::kBadConfig, "or \"unlimited\"", [&] { elements[i].budget(); });
  }
  EXPECT_EQ(budget_to_json(Budget(30)), Json(30));
  EXPECT_EQ(budget_to_json(Budget::unlimited()), Json("unlimited"));
}

TEST(JsonView, TellsMisspellingsFromUnknownFields) {
  const auto check = [](std::string_view text) {
    parse(text).root().refuse_misspelt({"token_floor", "rules", "seed"});
  };
  EXPECT_NO_THROW(check(R"({"token_floor": 1, "rules": 2, "seed": 3})"));
  EXPECT_NO_THROW(check(R"({"comment": 1, "token": 2, "floor": 3, "s": 4})"));
  // The field itself is there, so nothing is lost by passing over its neighbour.
  EXPECT_NO_THROW(check(R"({"token_floors": 1, "token_floor": 1})"));
  for (const char* text :
       {R"({"token_flor": 1})", R"({"token-floor": 1})", R"({"rule": 1})", R"({"Rules": 1})",
        R"({"sead": 1})", R"({"sede": 1})", R"({"toke_floors": 1})"}) {
    expect_error(ErrorCode::kBadConfig, "looks like", [&] { check(text); });
  }
  expect_error(ErrorCode::kBadConfig,
               "at /token_flor: this field is not known, but looks like "
               "\"token_floor\"",
               [&] { check(R"({"token_flor": 1})"); });
}

}  // namespace
}  // namespace r2router::io
