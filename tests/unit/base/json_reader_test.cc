#include "base/json_reader.h"

#include <algorithm>
#include <optional>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/errors.h"

namespace r2router {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::expect_error;

JsonReader reader_of(std::string_view text) { return {text, ErrorCode::kBadResponse}; }

bool is_json(std::string_view text) {
  try {
    JsonReader reader = reader_of(text);
    reader.skip();
    reader.end();
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadResponse);
    return false;
  }
}

TEST(JsonReader, AcceptsWhatAnotherParserAccepts) {
  // Pieces that make JSON often enough, and everything that is nearly JSON.
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           "\"",
                                           "\"a\"",
                                           "\"\"",
                                           "0",
                                           "1",
                                           "-",
                                           ".",
                                           "e",
                                           "E",
                                           "+",
                                           "12",
                                           "true",
                                           "nul",
                                           "null",
                                           "false",
                                           " ",
                                           "\n",
                                           "\t",
                                           "\\",
                                           "\\n",
                                           "\\u00e9",
                                           "\\u",
                                           "\\ud83d\\ude00",
                                           "\\ud83d",
                                           "\\ude00",
                                           "\x1F",
                                           "\x7F",
                                           "é",
                                           "\xC3",
                                           "\xFF",
                                           "\xED\xA0\x80",
                                           "{\"a\":",
                                           "[1,",
                                           "\"abcdefgh",
                                           "a",
                                           "NaN"};
  // The other parser refuses numbers beyond a double; here they are the business of who wants one.
  const std::regex overflow("[eE]\\+?[0-9]{3}");
  std::mt19937 random(3);
  std::size_t accepted = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string text;
    for (std::size_t left = 1 + random() % 9; left > 0; --left) {
      text += pieces[random() % pieces.size()];
    }
    if (std::regex_search(text, overflow)) continue;
    const bool expected = json::accept(text);
    accepted += expected;
    ASSERT_EQ(is_json(text), expected) << text;
  }
  EXPECT_GT(accepted, 500u);
}

TEST(JsonReader, ReadsStringsAsAnotherParserDoes) {
  const std::vector<std::string> pieces = {"a",          "éü",          "日本",           "👍",
                                           "\\n",        "\\/",         "\\\\",           "\\\"",
                                           "\\u00e9",    "\\u20AC",     "\\ud83d\\udc4d", "\\u0000",
                                           "plain text", "\\b\\f\\r\\t"};
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    std::string text = "\"";
    for (std::size_t left = random() % 20; left > 0; --left)
      text += pieces[random() % pieces.size()];
    text += '"';
    ASSERT_EQ(reader_of(text).string(), json::parse(text).get<std::string>()) << text;
  }
  EXPECT_EQ(JsonReader::unescape("abc\\ndef", 4), "abc\n");
}

TEST(JsonReader, WalksThroughObjectsAndArrays) {
  JsonReader reader = reader_of(R"( { "a" : [ 1 , -2.5e3 , [ ] ] , "\u0062" : { } , "c":"x" } )");
  ASSERT_EQ(reader.kind(), JsonReader::Kind::kObject);
  reader.begin_object();
  EXPECT_EQ(reader.next_member(), "a");
  reader.begin_array();
  EXPECT_TRUE(reader.next_element());
  EXPECT_EQ(reader.raw_number(), "1");
  EXPECT_TRUE(reader.next_element());
  EXPECT_EQ(reader.raw_number(), "-2.5e3");
  EXPECT_TRUE(reader.next_element());
  reader.begin_array();
  EXPECT_FALSE(reader.next_element());
  EXPECT_FALSE(reader.next_element());
  EXPECT_EQ(reader.next_member(), "b") << "an escaped name is the name";
  reader.begin_object();
  EXPECT_EQ(reader.next_member(), std::nullopt);
  EXPECT_EQ(reader.next_member(), "c");
  EXPECT_EQ(reader.kind(), JsonReader::Kind::kString);
  EXPECT_EQ(reader.string(), "x");
  EXPECT_EQ(reader.next_member(), std::nullopt);
  reader.end();
}

TEST(JsonReader, SaysWhereItIsNotJson) {
  const auto message = [](std::string_view text) {
    return std::string(error_of([&] {
                         JsonReader reader = reader_of(text);
                         reader.skip();
                         reader.end();
                       }).what());
  };
  EXPECT_EQ(message(""), "not valid JSON at byte 1: found its end, expected a value");
  EXPECT_EQ(message("<html>"), "not valid JSON at byte 1: found \"<\", expected a value");
  EXPECT_EQ(message("[1 2]"),
            "not valid JSON at byte 4: found \"2\", expected a comma or the array's end");
  EXPECT_EQ(message("{\"a\" 1}"), "not valid JSON at byte 6: found \"1\", expected a colon");
  EXPECT_EQ(message("\"abc"), "not valid JSON at byte 5: found its end, expected the string's end");
  EXPECT_EQ(message("1 1"), "not valid JSON at byte 3: found \"1\", expected the end");
  EXPECT_EQ(message("01"), "not valid JSON at byte 2: found \"1\", expected the end");
  EXPECT_EQ(message("trap"), "not valid JSON at byte 1: found \"t\", expected true or false");
}

TEST(JsonReader, NestsToALimit) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(is_json(nested(JsonReader::kMaxDepth)));
  EXPECT_FALSE(is_json(nested(JsonReader::kMaxDepth + 1)));
  expect_error(ErrorCode::kBadResponse, "at most 64 levels",
               [] { reader_of(std::string(1000000, '[')).skip(); });
}

TEST(JsonReader, SaysWhereItIs) {
  const std::string_view text = R"( {"a\u0062": [1, 22 ]} )";
  JsonReader reader = reader_of(text);
  reader.kind();
  EXPECT_EQ(reader.position(), 1U) << "at the value";
  reader.begin_object();
  EXPECT_EQ(reader.next_member(), "ab");
  EXPECT_EQ(reader.raw_name(), R"(a\u0062)");
  EXPECT_EQ(reader.raw_name().data(), text.data() + 3) << "a part of the text";
  reader.kind();
  EXPECT_EQ(text.substr(reader.position()), "[1, 22 ]} ");
  reader.skip();
  EXPECT_EQ(text.substr(reader.position()), "} ") << "after the value";
}

}  // namespace
}  // namespace r2router
