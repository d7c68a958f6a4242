#include "encode/remote/embeddings_response.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/error.h"

#include "support/base64.h"
#include "support/errors.h"

namespace r2router::internal {
namespace {

using testing::base64;
using testing::expect_error;

using Rows = std::vector<std::vector<float>>;

/// What read_embeddings() makes of `body` for `count` texts; nothing for an error object. Texts
/// without a usable embedding go to `bad`, else they are failures of the test.
std::optional<Rows> read(const std::string& body, std::size_t count, std::size_t dimension,
                         std::vector<BadEmbedding>* bad = nullptr) {
  Rows rows(count, std::vector<float>(dimension, -1));
  const std::vector<std::span<float>> spans(rows.begin(), rows.end());
  const auto unusable = read_embeddings(body, spans);
  if (!unusable) return std::nullopt;
  if (bad != nullptr) {
    *bad = *unusable;
  } else {
    for (const BadEmbedding& each : *unusable) ADD_FAILURE() << each.message;
  }
  return rows;
}

std::string in_quotes(const std::string& text) { return '"' + text + '"'; }

std::string element(std::size_t index, const std::string& embedding) {
  return R"({"object":"embedding","index":)" + std::to_string(index) + R"(,"embedding":)" +
         embedding + "}";
}

std::string answer_with(const std::vector<std::string>& elements) {
  std::string all;
  for (const std::string& each : elements) all += (all.empty() ? "" : ",") + each;
  return R"({"object":"list","data":[)" + all + R"(],"model":"m","usage":{"prompt_tokens":3}})";
}

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> all;
  for (const float value : values) all.push_back(std::bit_cast<std::uint32_t>(value));
  return all;
}

/// Finite floats of every size and sign.
std::vector<float> random_floats(std::size_t count, std::mt19937& random) {
  std::vector<float> values;
  while (values.size() < count) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

TEST(EmbeddingsResponse, Base64KnowsTheVectorsOfTheRfc) {
  // RFC 4648, section 10, with this test's own encoder.
  const auto encoded = [](std::string_view text) {
    return base64(std::vector<std::uint8_t>(text.begin(), text.end()));
  };
  EXPECT_EQ(encoded("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encoded("fooba"), "Zm9vYmE=");
  EXPECT_EQ(encoded("foob"), "Zm9vYg==");
  EXPECT_EQ(read(answer_with({element(0, "\"AACAPwAAAMAAAAA/\"")}), 1, 3), (Rows{{1, -2, 0.5}}));
}

TEST(EmbeddingsResponse, ReadsBase64OfEveryDimensionBitForBit) {
  std::mt19937 random(1);
  for (std::size_t dimension = 1; dimension < 70; ++dimension) {
    const std::vector<float> values = random_floats(dimension, random);
    const auto rows = read(answer_with({element(0, in_quotes(base64(values)))}), 1, dimension);
    ASSERT_TRUE(rows);
    ASSERT_EQ(bits(rows->at(0)), bits(values));
  }
}

TEST(EmbeddingsResponse, ReadsEscapedBase64) {
  const std::vector<float> values = {std::bit_cast<float>(0x3FFFFFFFu), 1};
  std::string text = base64(values);
  ASSERT_THAT(text, ::testing::HasSubstr("/"));
  for (std::size_t at = text.find('/'); at != text.npos; at = text.find('/', at + 2)) {
    text.insert(at, "\\");
  }
  EXPECT_EQ(read(answer_with({element(0, in_quotes(text))}), 1, 2), Rows{values});
}

TEST(EmbeddingsResponse, ReadsDecimalsAsTheNearestFloats) {
  std::mt19937 random(2);
  for (const char* format : {"%.9g", "%.17g", "%.6f", "%.3e", "%.30g"}) {
    std::vector<float> expected;
    std::string text;
    for (float value : random_floats(3000, random)) {
      char decimal[100];
      std::snprintf(decimal, sizeof(decimal), format, static_cast<double>(value));
      // The C library's own reading, which may round a large one to infinity.
      const float nearest = std::strtof(decimal, nullptr);
      if (!std::isfinite(nearest)) continue;
      expected.push_back(nearest);
      text += (text.empty() ? "[" : ", ") + std::string(decimal);
    }
    const auto rows = read(answer_with({element(0, text + "]")}), 1, expected.size());
    ASSERT_EQ(bits(rows->at(0)), bits(expected)) << format;
  }
  EXPECT_EQ(read(answer_with({element(0, "[0, -0.0, 1e-50, -1e-300, 1e-45, 16777217]")}), 1, 6),
            (Rows{{0, -0.0f, 0, -0.0f, 1e-45f, 16777216}}));
}

TEST(EmbeddingsResponse, GoesByTheIndex) {
  const Rows expected = {{1, 2}, {3, 4}, {5, 6}, {7, 8}};
  const std::vector<std::string> numbers = {"[1,2]", "[3,4]", in_quotes(base64(expected[2])),
                                            "[7,8]"};
  std::vector<std::size_t> order = {0, 1, 2, 3};
  do {
    // The index may precede or follow the embedding.
    for (unsigned after = 0; after < 16; ++after) {
      std::vector<std::string> elements;
      for (const std::size_t i : order) {
        const std::string index = "\"index\": " + std::to_string(i);
        const std::string embedding = "\"embedding\": " + numbers[i];
        elements.push_back((after >> i & 1) != 0 ? "{" + embedding + ", " + index + "}"
                                                 : "{" + index + ", " + embedding + "}");
      }
      ASSERT_EQ(read(answer_with(elements), 4, 2), expected) << answer_with(elements);
    }
  } while (std::ranges::next_permutation(order).found);
}

/// An answer whose i-th element has the embedding [i + 1] and this index; "" for none.
std::string with_indices(const std::vector<std::string>& indices) {
  std::vector<std::string> elements;
  for (const std::string& index : indices) {
    elements.push_back("{" + (index.empty() ? "" : "\"index\": " + index + ", ") +
                       "\"embedding\": [" + std::to_string(elements.size() + 1) + "]}");
  }
  return answer_with(elements);
}

TEST(EmbeddingsResponse, KnowsHowServersWriteTheIndex) {
  const std::vector<std::pair<std::vector<std::string>, Rows>> cases = {
      {{"2", "0", "1"}, {{2}, {3}, {1}}},
      {{"2.0", "0.0", "1.0"}, {{2}, {3}, {1}}},
      {{"2e0", "0e7", "10e-1"}, {{2}, {3}, {1}}},
      {{R"("2")", R"("0")", R"("1")"}, {{2}, {3}, {1}}},
      {{R"("2.0")", R"("\u0030")", "1"}, {{2}, {3}, {1}}},
      {{"", "", ""}, {{1}, {2}, {3}}},
      {{"null", "null", "null"}, {{1}, {2}, {3}}},
      // Only 0 is left out, wherever its element is.
      {{"", "1", "2"}, {{1}, {2}, {3}}},
      {{"2", "1", ""}, {{3}, {2}, {1}}},
      {{"2", "null", "1"}, {{2}, {3}, {1}}},
      // Several are left out: theirs are the texts that remain, in order.
      {{"", "0", ""}, {{2}, {1}, {3}}},
      {{"2", "", "null"}, {{2}, {3}, {1}}},
      // Indices that say nothing.
      {{"0", "0", "0"}, {{1}, {2}, {3}}},
      {{"0.0", R"("0")", "0"}, {{1}, {2}, {3}}},
      {{"0", "1", "0"}, {{1}, {2}, {3}}},
      {{"0", "1", "0", "1", "2", "0"}, {{1}, {2}, {3}, {4}, {5}, {6}}},
      {{"0"}, {{1}}},
      {{""}, {{1}}},
  };
  for (const auto& [indices, rows] : cases) {
    EXPECT_EQ(read(with_indices(indices), rows.size(), 1), rows) << with_indices(indices);
  }
  // What does not start again from 0 may hide another order.
  for (const std::vector<std::string>& indices : std::vector<std::vector<std::string>>{
           {"1", "1", "2"}, {"0", "2", "2"}, {"0", "0", "2"}, {"1", "0", "0"}, {"", "1", "1"}}) {
    expect_error(ErrorCode::kBadResponse, "as that of an element before it",
                 [&, &indices = indices] { read(with_indices(indices), 3, 1); });
  }
}

TEST(EmbeddingsResponse, NamesTheTextWhoseEmbeddingIsUnusable) {
  const std::string one = "\"AACAPw==\"";  // 1.0F
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"null", ".embedding is null, expected base64"},
      {"false", ".embedding is true or false"},
      {"{\"a\": [1]}", ".embedding is an object"},
      {"[]", ".embedding has 0 numbers, expected 1"},
      {"[1, 2, 3]", ".embedding has 3 numbers, expected 1"},
      {"[null]", ".embedding[0] is null, expected a finite number"},
      {"[[1], 2]", ".embedding[0] is an array"},
      {"[\"1\"]", ".embedding[0] is a string"},
      {"[1e39]", ".embedding[0] is 1e39, outside"},
      {"[-1e999]", ".embedding[0] is -1e999, outside"},
      {"[0]", ".embedding is all zeros"},
      {"[-0.0]", ".embedding is all zeros"},
      {"[1e-200]", ".embedding is all zeros"},
      {"\"AAAAAA==\"", ".embedding is all zeros"},
      {"\"AAAAgA==\"", ".embedding is all zeros"},
      {"\"AACAPwAAgD8=\"", ".embedding has 2 numbers, expected 1"},
      {"\"\"", ".embedding has 0 numbers, expected 1"},
      {"\"AACAPw=\"", ".embedding is not base64 of 1 float32 numbers"},
      {"\"AACAPwAA\"", "not base64"},
      {"\"AACAPw=A\"", "character 8 of 8 is \"A\""},
      {"\"AACAPx==\"", "character 6 of 8 is \"x\""},
      {"\"AACAP===\"", "character 6 of 8 is \"=\""},
      {"\"AA-APw==\"", "not base64: character 3 of 8 is \"-\""},
      {"\"AA\xC3\xA9Pw==\"", R"(not base64: character 3 of 8 is "\ufffd")"},
      {"\"AADAfw==\"", ".embedding[0] is NaN, expected a finite"},
      {"\"AACAfw==\"", ".embedding[0] is infinite"},
      {"\"AACA/w==\"", ".embedding[0] is infinite"},
  };
  for (const auto& [embedding, message] : faults) {
    SCOPED_TRACE(embedding);
    // The element of text 0 comes second; the others can be used.
    std::vector<BadEmbedding> bad;
    const auto rows =
        read(answer_with({element(2, "[3]"), element(0, embedding), element(1, one)}), 3, 1, &bad);
    ASSERT_TRUE(rows);
    EXPECT_EQ(rows->at(1), (std::vector<float>{1}));
    EXPECT_EQ(rows->at(2), (std::vector<float>{3}));
    ASSERT_EQ(bad.size(), 1u);
    EXPECT_EQ(bad[0].text, 0u);
    EXPECT_THAT(bad[0].message, ::testing::StartsWith("data[1].embedding"));
    EXPECT_THAT(bad[0].message, ::testing::HasSubstr(message));
  }
  // A single 0 among other numbers is valid.
  EXPECT_EQ(read(answer_with({element(0, "[0, 0, 1]")}), 1, 3), (Rows{{0, 0, 1}}));
}

TEST(EmbeddingsResponse, NumbersThatOnlyPythonWritesFailTheirTextOnly) {
  for (const char* number : {"NaN", "Infinity", "-Infinity"}) {
    std::vector<BadEmbedding> bad;
    const auto rows =
        read(answer_with({element(0, "[1, 2]"), element(1, "[3, " + std::string(number) + "]"),
                          element(2, "[5, -6]")}),
             3, 2, &bad);
    ASSERT_TRUE(rows) << number;
    EXPECT_EQ((*rows)[0], (std::vector<float>{1, 2}));
    EXPECT_EQ((*rows)[2], (std::vector<float>{5, -6}));
    ASSERT_EQ(bad.size(), 1u) << number;
    EXPECT_EQ(bad[0].text, 1u);
    EXPECT_NE(bad[0].message.find("data[1].embedding[1]"), std::string::npos) << bad[0].message;
  }
  // Other words are no JSON, and a string may say what it likes.
  EXPECT_THROW(read(answer_with({element(0, "[1, nan]")}), 1, 2), Error);
  EXPECT_THROW(read(R"({"note": "NaN", "data": [oops]})", 1, 2), Error);
}

TEST(EmbeddingsResponse, RecognisesAnErrorObject) {
  EXPECT_EQ(read(R"({"error": {"message": "no", "code": 429}})", 1, 1), std::nullopt);
  EXPECT_EQ(read(R"({"data": [{"index": 0, "embedding": [1]}], "error": "no"})", 1, 1),
            std::nullopt);
  EXPECT_EQ(read(R"({"data": [{"index": 0, "embedding": [1]}], "error": 5})", 1, 1), std::nullopt);
  EXPECT_EQ(read(R"({"error": ["no"], "data": []})", 1, 1), std::nullopt);
  for (const char* nothing : {"null", "false", "\"\"", "{}", "[ ]"}) {
    EXPECT_EQ(read(R"({"error": )" + std::string(nothing) +
                       R"(, "data": [{"index": 0, "embedding": [1]}]})",
                   1, 1),
              Rows{{1}})
        << nothing;
  }
}

TEST(EmbeddingsResponse, SaysWhatIsWrongAndWhere) {
  const std::string one = "\"AACAPw==\"";  // 1.0F
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"", "not valid JSON at byte 1: found its end"},
      {"<html>", "not valid JSON at byte 1: found \"<\""},
      {"[]", "the answer is an array, expected an object"},
      {"{}", "the answer has no \"data\""},
      {R"({"data": null})", "\"data\" is null, expected an array"},
      {R"({"data": []})", "\"data\" has 0 elements, expected 2, one for each text"},
      {answer_with({element(1, one)}), "has 1 elements, expected 2, one for each text"},
      {answer_with({element(0, one), element(1, one), element(2, one)}), "more than 2 elements"},
      {answer_with({element(1, one), element(1, one)}),
       "data[1].index is 1, as that of an element before"},
      {answer_with({element(0, one), element(2, one)}), "data[1].index is \"2\", expected 0 to 1"},
      {answer_with({R"({"index": -1, "embedding": [1]})"}),
       "data[0].index is \"-1\", expected 0 to 1"},
      {answer_with({R"({"index": 0.5, "embedding": [1]})"}), "data[0].index is \"0.5\""},
      {answer_with({R"({"index": 1e999, "embedding": [1]})"}), "data[0].index is \"1e999\""},
      {answer_with({R"({"index": 99999999999999999999, "embedding": [1]})"}),
       "data[0].index is \"9999"},
      {answer_with({R"({"index": "", "embedding": [1]})"}), "data[0].index is \"\""},
      {answer_with({R"({"index": "one", "embedding": [1]})"}), "data[0].index is \"one\""},
      {answer_with({R"({"index": "nan", "embedding": [1]})"}), "data[0].index is \"nan\""},
      {answer_with({R"({"index": "0 ", "embedding": [1]})"}), "data[0].index is \"0 \""},
      {answer_with({R"({"index": false, "embedding": [1]})"}), "data[0].index is true or false"},
      {answer_with({R"({"index": [0], "embedding": [1]})"}), "data[0].index is an array"},
      {answer_with({R"({"index": 0})"}), "data[0].embedding is missing"},
      {answer_with({R"({"index": 0, "index": 1, "embedding": [1]})"}),
       "data[0].index appears twice"},
      {answer_with({R"({"index": 0, "embedding": [1], "embedding": [1]})"}),
       "embedding appears twice"},
      {answer_with({"[1]"}), "data[0] is an array, expected an object"},
      {answer_with({element(0, "[nan]")}), "found \"n\""},
      {answer_with({element(0, "[.5]")}), "not valid JSON"},
      {answer_with({element(0, "[+5]")}), "not valid JSON"},
      {answer_with({element(0, "[5.]")}), "not valid JSON"},
      {answer_with({element(0, "[0x5]")}), "not valid JSON"},
      {answer_with({element(0, "[1,]")}), "not valid JSON"},
      {answer_with({element(0, one), element(1, one)}) + "x", "expected the end"},
      {R"({"data": [], "data": []})", "has 0 elements"},
      {R"({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}], "data": []})",
       "\"data\" appears twice"},
      {R"({"x": )" + std::string(100000, '['), "at most 64 levels"},
  };
  for (const auto& [body, message] : faults) {
    SCOPED_TRACE(body.substr(0, 200));
    expect_error(ErrorCode::kBadResponse, message, [&, &text = body] { read(text, 2, 1); });
  }
}

TEST(EmbeddingsResponse, RefusesEveryByteThatIsNotBase64AtEveryPlace) {
  const std::string good = base64(std::vector<float>{1, 2, 3, 4});
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      if (std::isalnum(byte) || byte == '+' || byte == '/' || byte == good[at]) continue;
      std::string text = good;
      text[at] = static_cast<char>(byte);
      std::vector<BadEmbedding> bad;
      try {
        read(answer_with({element(0, in_quotes(text))}), 1, 4, &bad);
        ASSERT_EQ(bad.size(), 1u) << text;
      } catch (const Error&) {
        // The byte ends the string or is not UTF-8.
      }
    }
  }
}

TEST(EmbeddingsResponse, RefusesAnAnswerThatIsCutAnywhere) {
  const std::string body = answer_with(
      {element(1, in_quotes(base64(std::vector<float>{1, 2}))), element(0, "[0.25, -1e-3]")});
  ASSERT_TRUE(read(body, 2, 2));
  for (std::size_t length = 0; length < body.size(); ++length) {
    ASSERT_THROW(read(body.substr(0, length), 2, 2), Error) << length;
  }
}

}  // namespace
}  // namespace r2router::internal
