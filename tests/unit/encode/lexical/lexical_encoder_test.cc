#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/encoder.h"
#include "r2router/error.h"

namespace r2router {
namespace {

using Kind = LexicalFeatures::Kind;
using nlohmann::json;
using testing::Each;
using testing::HasSubstr;

LexicalFeatures words(std::uint32_t min_n, std::uint32_t max_n, float weight = 1) {
  return {.kind = Kind::kWords, .min_n = min_n, .max_n = max_n, .weight = weight};
}

LexicalFeatures characters(std::uint32_t min_n, std::uint32_t max_n, float weight = 1) {
  return {.kind = Kind::kCharacters, .min_n = min_n, .max_n = max_n, .weight = weight};
}

std::vector<float> encode(const LexicalEncoderSpec& spec, std::string_view text) {
  return make_lexical_encoder(spec)->embed_one(text);
}

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> all;
  for (const float value : values) all.push_back(std::bit_cast<std::uint32_t>(value));
  return all;
}

double norm(const std::vector<float>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

bool is_zero(const std::vector<float>& values) { return norm(values) == 0; }

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kIo, "");
}

// ---- The specification, rendered a second time ----

std::uint64_t fnv(std::uint64_t state, const std::vector<std::uint64_t>& values) {
  for (const std::uint64_t value : values) state = (state ^ value) * 1099511628211u;
  return state;
}

std::uint64_t mix(std::uint64_t k) {
  k ^= k >> 33;
  k *= 0xFF51AFD7ED558CCDu;
  k ^= k >> 33;
  k *= 0xC4CEB9FE1A85EC53u;
  k ^= k >> 33;
  return k;
}

constexpr std::uint64_t kOffset = 14695981039346656037u;

/// A letter as the naive encoder knows it: its bytes, its code point when small, what it is to a
/// word.
struct Letter {
  std::string bytes;
  char32_t code_point;
  enum { kSpace, kPart, kWhole } role;
};
const std::vector<Letter> kAlphabet = {
    {"a", U'a', Letter::kPart},      {"B", U'b', Letter::kPart},
    {"7", U'7', Letter::kPart},      {" ", U' ', Letter::kSpace},
    {"\n", U' ', Letter::kSpace},    {"\u3000", U' ', Letter::kSpace},
    {"+", U'+', Letter::kWhole},     {std::string(1, '\0'), 0, Letter::kWhole},
    {"é", U'é', Letter::kPart},      {"É", U'é', Letter::kPart},
    {"Ж", U'ж', Letter::kPart},      {"Σ", U'σ', Letter::kPart},
    {"日", U'日', Letter::kWhole},   {"👍", U'👍', Letter::kWhole},
    {"\xFF", 0xFFFD, Letter::kWhole}};

/// Every n-gram is cut out and hashed from its beginning; counts go to a map.
std::vector<float> naive(const LexicalEncoderSpec& spec, const std::vector<Letter>& text) {
  std::vector<std::uint64_t> letters = {U' '}, all_words, word;
  for (Letter letter : text) {
    if (spec.fold_digits && letter.bytes == "7") letter.code_point = U'0';
    if (letter.role != Letter::kSpace || letters.back() != U' ') {
      letters.push_back(letter.code_point);
    }
    if (letter.role == Letter::kPart) {
      word.push_back(letter.code_point);
      continue;
    }
    if (!word.empty()) all_words.push_back(mix(fnv(kOffset, word)));
    word.clear();
    if (letter.role == Letter::kWhole) all_words.push_back(mix(fnv(kOffset, {letter.code_point})));
  }
  if (!word.empty()) all_words.push_back(mix(fnv(kOffset, word)));
  if (letters.back() != U' ') letters.push_back(U' ');

  std::vector<double> x(spec.dimension);
  for (const LexicalFeatures& family : spec.features) {
    const auto& units = family.kind == Kind::kWords ? all_words : letters;
    const std::uint64_t start = fnv(kOffset, {spec.seed, family.kind == Kind::kWords ? 0u : 1u});
    std::map<std::uint64_t, int> counts;
    for (std::size_t n = family.min_n; n <= family.max_n; ++n) {
      for (std::size_t i = 0; i + n <= units.size(); ++i) {
        const auto first = units.begin() + static_cast<std::ptrdiff_t>(i);
        const std::uint64_t hash = mix(fnv(start, {first, first + static_cast<std::ptrdiff_t>(n)}));
        counts[((hash >> 32) * spec.dimension) >> 32] += hash % 2 == 0 ? 1 : -1;
      }
    }
    for (const auto& [slot, count] : counts) x[slot] += double{family.weight} * count;
  }
  for (double& value : x) {
    if (spec.square_root) value = value < 0 ? -std::sqrt(-value) : std::sqrt(value);
  }
  double q[4] = {};
  for (std::size_t i = 0; i < x.size(); ++i) q[i % 4] += x[i] * x[i];
  const double length = std::sqrt((q[0] + q[1]) + (q[2] + q[3]));
  std::vector<float> embedding;
  for (const double value : x) {
    embedding.push_back(static_cast<float>(value * (length > 0 ? 1 / length : 0)));
  }
  return embedding;
}

/// The naive embedding with the topics' shares behind it.
std::vector<float> naive(const LexicalEncoderSpec& spec, const TopicScores& topics,
                         const std::vector<Letter>& text) {
  std::vector<float> embedding = naive(spec, text);
  std::vector<double> squares;
  double total = 0;
  for (std::size_t topic = 0; topic < spec.topics.size(); ++topic) {
    double q[4] = {};
    for (std::size_t i = 0; i < spec.dimension; ++i) {
      q[i % 4] += double{topics.weights[topic * spec.dimension + i]} * double{embedding[i]};
    }
    const double score = ((q[0] + q[1]) + (q[2] + q[3])) + double{topics.intercepts[topic]};
    squares.push_back(std::max(score, 0.0) * std::max(score, 0.0));
    total += squares.back();
  }
  for (const double square : squares) {
    embedding.push_back(total > 0 ? static_cast<float>(square / total) : 0);
  }
  return embedding;
}

std::string utf8(char32_t c) {
  std::string bytes;
  const auto tail = [&](int shift) { bytes += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  bytes += static_cast<char>(c < 0x800     ? 0xC0 | c >> 6
                             : c < 0x10000 ? 0xE0 | c >> 12
                                           : 0xF0 | c >> 18);
  if (c >= 0x10000) tail(12);
  if (c >= 0x800) tail(6);
  tail(0);
  return bytes;
}

std::string spell(const std::vector<Letter>& text) {
  std::string bytes;
  for (const Letter& letter : text) bytes += letter.bytes;
  return bytes;
}

TEST(LexicalEncoder, TheHashIsTheOnePublished) {
  // Test vectors of FNV-1a (Noll) and of MurmurHash3's finaliser (Appleby).
  EXPECT_EQ(fnv(kOffset, {'a'}), 0xAF63DC4C8601EC8Cu);
  EXPECT_EQ(fnv(kOffset, {'f', 'o', 'o', 'b', 'a', 'r'}), 0x85944171F73967E8u);
  EXPECT_EQ(mix(1), 0xB456BCFC34C2CB2Cu);

  // A single word shows its feature's slot and sign.
  const LexicalEncoderSpec spec{.dimension = 1 << 20, .seed = 42};
  const std::uint64_t hash =
      mix(fnv(fnv(kOffset, {42, 0}), {mix(fnv(kOffset, {'f', 'o', 'o', 'b', 'a', 'r'}))}));
  const std::vector<float> embedding = encode(spec, "FooBar");
  EXPECT_EQ(embedding[hash >> 44], hash % 2 == 0 ? 1.0f : -1.0f);
  EXPECT_EQ(norm(embedding), 1.0);
}

TEST(LexicalEncoder, AgreesWithANaiveRenderingAtEveryLength) {
  const std::vector<LexicalEncoderSpec> specs = {
      {.dimension = 1024},
      {.dimension = 1, .seed = 1, .features = {words(1, 2)}},
      {.dimension = 61, .seed = 2, .features = {characters(3, 5)}},
      {.dimension = 300, .seed = ~0ull, .features = {words(2, 8, 0.1f), characters(1, 8, 3)}},
      {.dimension = 64, .features = {characters(8, 8), characters(1, 1), words(1, 1)}},
      {.dimension = 90, .features = {words(1, 2), characters(2, 3, 0.3f)}, .fold_digits = true},
      {.dimension = 512, .features = {words(1, 1, 0.7f)}, .square_root = true},
  };
  std::mt19937 random(1);
  for (int round = 0; round < 1500; ++round) {
    std::vector<Letter> text = {kAlphabet[0]};
    // Some alphabets have long words, some no words, some many spaces.
    const std::size_t first = random() % kAlphabet.size();
    const std::size_t size = 1 + random() % (kAlphabet.size() - first);
    while (text.size() < static_cast<std::size_t>(round)) {
      text.push_back(kAlphabet[first + random() % size]);
    }
    std::shuffle(text.begin(), text.end(), random);
    const LexicalEncoderSpec& spec = specs[random() % specs.size()];
    ASSERT_EQ(bits(encode(spec, spell(text))), bits(naive(spec, text))) << "round " << round;
  }
}

TEST(LexicalEncoder, AgreesWithANaiveRenderingWhereBlocksMeet) {
  const LexicalEncoderSpec spec{.features = {words(1, 8), characters(1, 8)}};
  const Letter part = kAlphabet[0], whole = kAlphabet[6];
  // A word, then signs, so that at some length a block ends within the word and is full of words.
  for (std::size_t length = 1; length < 530; ++length) {
    std::vector<Letter> text(length, part);
    text.resize(length + 600, whole);
    ASSERT_EQ(bits(encode(spec, spell(text))), bits(naive(spec, text))) << length;
  }
}

TEST(LexicalEncoder, SharesOfTopicsAgreeWithANaiveRendering) {
  const LexicalEncoderSpec spec{.dimension = 37,
                                .features = {words(1, 1), characters(2, 3, 0.3f)},
                                .topics = {"law", "mathematics", "history"}};
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 200; ++round) {
    TopicScores topics;
    for (int i = 0; i < 3 * 37; ++i) topics.weights.push_back(normal(random));
    for (int i = 0; i < 3; ++i) topics.intercepts.push_back(0.3f * normal(random));
    std::vector<Letter> text = {kAlphabet[0]};
    while (text.size() < 30) text.push_back(kAlphabet[random() % kAlphabet.size()]);
    const auto encoder = make_lexical_encoder(spec, {}, topics);
    ASSERT_EQ(bits(encoder->embed_one(spell(text))), bits(naive(spec, topics, text)));
  }
}

TEST(LexicalEncoder, SharesAddUpToOneAndIgnoreNegativeScores) {
  const LexicalEncoderSpec spec{.dimension = 4, .topics = {"a", "b", "c"}};
  const auto shares = [&](const std::vector<float>& intercepts) {
    // Weights of zero leave the intercepts as scores.
    const auto encoder = make_lexical_encoder(spec, {}, {std::vector<float>(12), intercepts});
    EXPECT_EQ(encoder->dimension(), 7u);
    const std::vector<float> embedding = encoder->embed_one("any text");
    return std::vector<float>(embedding.begin() + 4, embedding.end());
  };
  EXPECT_THAT(shares({3, 0, 4}), testing::ElementsAre(9.0f / 25, 0, 16.0f / 25));
  EXPECT_THAT(shares({-3, 2, -4}), testing::ElementsAre(0, 1, 0));
  EXPECT_THAT(shares({-3, 0, -4}), Each(0));
}

TEST(LexicalEncoder, ReproducesTheGoldenVectorsBitForBit) {
  const auto golden =
      json::parse(std::ifstream(R2ROUTER_SOURCE_DIR "/tests/golden/lexical/vectors.json"));
  std::map<std::string, std::shared_ptr<const Encoder>> encoders;
  for (const auto& [name, settings] : golden["specs"].items()) {
    LexicalEncoderSpec spec{.dimension = settings["dimension"],
                            .seed = settings["seed"],
                            .features = {},
                            .fold_digits = settings.value("fold_digits", false),
                            .square_root = settings.value("square_root", false),
                            .has_idf = settings.contains("idf")};
    for (const json& family : settings["features"]) {
      spec.features.push_back({.kind = family["kind"] == "words" ? Kind::kWords : Kind::kCharacters,
                               .min_n = family["min_n"],
                               .max_n = family["max_n"],
                               .weight = family["weight"]});
    }
    TopicScores topics;
    for (const json& topic : settings.value("topics", json::array())) {
      spec.topics.push_back(std::to_string(spec.topics.size()));
      topics.weights.insert(topics.weights.end(), topic[0].begin(), topic[0].end());
      topics.intercepts.push_back(topic[1]);
    }
    encoders[name] =
        make_lexical_encoder(spec, settings.value("idf", std::vector<float>{}), topics);
  }
  ASSERT_GE(golden["embeddings"].size(), 50u);
  for (const json& row : golden["embeddings"]) {
    const std::string hex = row["text_hex"];
    std::string once, text;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      once += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    for (int i = 0; i < row["times"]; ++i) text += once;
    std::vector<std::uint32_t> expected;
    std::istringstream numbers(row["float32"].get<std::string>());
    for (std::uint32_t value; numbers >> std::hex >> value;) expected.push_back(value);
    EXPECT_EQ(bits(encoders.at(row["spec"])->embed_one(text)), expected) << row["spec"] << text;
  }
  for (const json& row : golden["hashes"]) {
    EXPECT_EQ(mix(fnv(kOffset, row["values"].get<std::vector<std::uint64_t>>())), row["hash"]);
  }
  // A text cut into its words by spaces has the same words.
  for (const json& row : golden["words"]) {
    std::string spaced;
    for (const std::string word : row["words"]) spaced += word + ' ';
    const LexicalEncoderSpec spec{.features = {words(1, 3)}};
    EXPECT_EQ(encode(spec, row["text"].get<std::string>()), encode(spec, spaced)) << row;
  }
}

// ---- Properties ----

TEST(LexicalEncoder, EmbeddingsHaveUnitLength) {
  const LexicalEncoderSpec spec{.features = {words(1, 2, 0.7f), characters(3, 5, 0.1f)}};
  for (const char* text : {"a", "Solve 2x + 5 = 13", "a a a a a a b", "質問"}) {
    EXPECT_NEAR(norm(encode(spec, text)), 1, 1e-6) << text;
  }
}

TEST(LexicalEncoder, OrderMattersToLongerNGramsAlone) {
  const char* one = "the cat saw the dog";
  const char* other = "dog the saw cat the";
  EXPECT_EQ(encode({.features = {words(1, 1)}}, one), encode({.features = {words(1, 1)}}, other));
  EXPECT_NE(encode({.features = {words(2, 2)}}, one), encode({.features = {words(2, 2)}}, other));
  EXPECT_NE(encode({.features = {characters(3, 3)}}, one),
            encode({.features = {characters(3, 3)}}, other));
}

TEST(LexicalEncoder, CountsAddUpWhenTextsAreJoined) {
  // Words in distinct slots, so that each text's length is the root of its word count.
  const LexicalEncoderSpec spec{.dimension = 1 << 16};
  const auto left = encode(spec, "one two three four"), right = encode(spec, "five six nine");
  const auto joined = encode(spec, "one two three four five six nine");
  for (std::size_t i = 0; i < joined.size(); ++i) {
    ASSERT_NEAR(joined[i] * std::sqrt(7), left[i] * std::sqrt(4) + right[i] * std::sqrt(3), 1e-6);
  }
}

TEST(LexicalEncoder, CaseAndWhiteSpaceDoNotMatter) {
  const LexicalEncoderSpec spec{.features = {words(1, 2), characters(1, 5)}};
  const auto expected = encode(spec, "größe ist ñ, ώρα, жук ế.");
  for (const char* same :
       {"GRÖßE IST Ñ, ΏΡΑ, ЖУК Ế.", "  größe\tist\r\nñ,\u00A0ώρα,\u2003жук \u3000ế.\n"}) {
    EXPECT_EQ(encode(spec, same), expected) << same;
  }
  for (const char* other : {"grosse ist ñ, ώρα, жук ế.", "größe istñ, ώρα, жук ế.",
                            "größe ist n\u0303, ώρα, жук ế.", "größe ist ñ ώρα жук ế"}) {
    EXPECT_NE(encode(spec, other), expected) << other;
  }
}

TEST(LexicalEncoder, OperatorsAndIdeographsAreWords) {
  const LexicalEncoderSpec spec{.features = {words(1, 2)}};
  EXPECT_EQ(encode(spec, "f(x)=x^2"), encode(spec, "f ( x ) = x ^ 2"));
  EXPECT_EQ(encode(spec, "東京は？"), encode(spec, "東 京 は ？"));
  EXPECT_EQ(encode(spec, "ok👍🏽!"), encode(spec, "ok 👍 🏽 !"));
  EXPECT_NE(encode(spec, "snow man"), encode(spec, "snowman"));
  EXPECT_NE(encode(spec, "снег"), encode(spec, "сн ег"));
}

TEST(LexicalEncoder, WholeWordsAreThoseOfTheFormat) {
  // First and last of each range in checkpoints/FORMAT.md.
  const std::vector<std::pair<char32_t, char32_t>> ranges = {
      {0x01, 0x08},       {0x21, 0x2F},      {0x3A, 0x40},     {0x5B, 0x60},     {0x7B, 0x84},
      {0x86, 0x9F},       {0xA1, 0xBF},      {0xD7, 0xD7},     {0xF7, 0xF7},     {0x0E00, 0x0EFF},
      {0x1000, 0x109F},   {0x1780, 0x17FF},  {0x2010, 0x2027}, {0x202A, 0x202E}, {0x2030, 0x205E},
      {0x20A0, 0x20CF},   {0x2190, 0x2BFF},  {0x2E00, 0x2FFF}, {0x3001, 0xA4CF}, {0xAC00, 0xD7FF},
      {0xF900, 0xFAFF},   {0xFE10, 0xFE1F},  {0xFE30, 0xFE6F}, {0xFF00, 0xFFFF}, {0x1D000, 0x1DFFF},
      {0x1F000, 0x1FBFF}, {0x20000, 0x3FFFF}};
  const auto encoder = make_lexical_encoder({.dimension = 4096, .features = {words(1, 3)}});
  const auto is_whole = [&](char32_t c) {
    const std::string spelled = utf8(c);
    return encoder->embed_one("x" + spelled + "x") == encoder->embed_one("x " + spelled + " x");
  };
  for (const auto& [first, last] : ranges) {
    for (const std::uint32_t c : {+first, (first + last) / 2, +last}) {
      EXPECT_TRUE(is_whole(c)) << std::hex << static_cast<unsigned>(c);
    }
  }
  // Their neighbours, which are parts of words; white space is neither.
  for (const unsigned c :
       {0x30u,    0x39u,    0x41u,    0x7Au,    0xC0u,    0xD6u,   0xD8u,   0xF6u,
        0xF8u,    0x0DFFu,  0x0F00u,  0x0FFFu,  0x10A0u,  0x177Fu, 0x1800u, 0x200Fu,
        0x2060u,  0x209Fu,  0x20D0u,  0x218Fu,  0x2C00u,  0x2DFFu, 0xA4D0u, 0xABFFu,
        0xF8FFu,  0xFB00u,  0xFE0Fu,  0xFE20u,  0xFE2Fu,  0xFE70u, 0xFEFFu, 0x10000u,
        0x1CFFFu, 0x1E000u, 0x1EFFFu, 0x1FC00u, 0x1FFFFu, 0x40000u}) {
    EXPECT_FALSE(is_whole(c)) << std::hex << c;
  }
}

TEST(LexicalEncoder, CapitalsAreThoseOfTheFormat) {
  const auto encoder = make_lexical_encoder({.dimension = 4096});
  const auto same = [&](char32_t a, char32_t b) {
    return encoder->embed_one(utf8(a)) == encoder->embed_one(utf8(b));
  };
  // Unicode's simple lower case at the ends of each range.
  for (const auto& [upper, lower] : std::vector<std::pair<char32_t, char32_t>>{
           {U'A', U'a'},   {U'Z', U'z'}, {U'À', U'à'}, {U'Ö', U'ö'}, {U'Ø', U'ø'}, {U'Þ', U'þ'},
           {U'Ā', U'ā'},   {U'Į', U'į'}, {U'İ', U'i'}, {U'Ĳ', U'ĳ'}, {U'Ķ', U'ķ'}, {U'Ĺ', U'ĺ'},
           {U'Ň', U'ň'},   {U'Ŋ', U'ŋ'}, {U'Ŷ', U'ŷ'}, {U'Ÿ', U'ÿ'}, {U'Ź', U'ź'}, {U'Ž', U'ž'},
           {U'Ơ', U'ơ'},   {U'Ư', U'ư'}, {U'Ά', U'ά'}, {U'Έ', U'έ'}, {U'Ί', U'ί'}, {U'Ό', U'ό'},
           {U'Ύ', U'ύ'},   {U'Ώ', U'ώ'}, {U'Α', U'α'}, {U'Ρ', U'ρ'}, {U'Σ', U'σ'}, {U'Ϋ', U'ϋ'},
           {U'Ѐ', U'ѐ'},   {U'Џ', U'џ'}, {U'А', U'а'}, {U'Я', U'я'}, {U'Ѡ', U'ѡ'}, {U'Ҁ', U'ҁ'},
           {U'Ҋ', U'ҋ'},   {U'Ҿ', U'ҿ'}, {U'Ӏ', U'ӏ'}, {U'Ӂ', U'ӂ'}, {U'Ӎ', U'ӎ'}, {U'Ӑ', U'ӑ'},
           {U'Ԯ', U'ԯ'}, {U'Ḁ', U'ḁ'}, {U'Ẕ', U'ẕ'}, {U'Ạ', U'ạ'}, {U'Ỿ', U'ỿ'}}) {
    EXPECT_TRUE(same(upper, lower)) << utf8(upper);
    EXPECT_FALSE(same(lower, lower + 1)) << utf8(lower);
  }
  // Capitals that the table does not change.
  for (const auto& [upper, lower] : std::vector<std::pair<char32_t, char32_t>>{
           {U'Ɓ', U'ɓ'}, {U'ẞ', U'ß'}, {U'Ա', U'ա'}, {U'Ａ', U'ａ'}, {U'Σ', U'ς'}}) {
    EXPECT_FALSE(same(upper, lower)) << utf8(upper);
  }
}

TEST(LexicalEncoder, EveryScriptAndBrokenBytesGiveDistinctEmbeddings) {
  using namespace std::string_view_literals;
  const std::vector<std::string_view> texts = {
      "中文问题"sv,   "日本語の質問"sv,  "한국어 질문"sv, "سؤال عربي"sv, "हिन्दी प्रश्न"sv,
      "คำถาม"sv,      "вопрос"sv,        "ερώτηση"sv,     "🤔🧮"sv,  "e\u0301"sv,
      "\u00E9"sv,     "\xFF"sv,          "\0"sv,          "a"sv,         "a\0"sv,
      "a\0b"sv,       "\x1B[0m"sv,       "$"sv,           "\u200B"sv,    "\U0010FFFF"sv,
      "\xE4\xBD z"sv, "\xF0\x9F\x98 a"sv};
  for (const LexicalEncoderSpec& spec :
       {LexicalEncoderSpec{}, LexicalEncoderSpec{.features = {characters(1, 5)}}}) {
    std::map<std::vector<float>, std::string_view> seen;
    for (const std::string_view text : texts) {
      const auto embedding = encode(spec, text);
      EXPECT_NEAR(norm(embedding), 1, 1e-6) << text;
      const auto [entry, is_new] = seen.emplace(embedding, text);
      EXPECT_TRUE(is_new) << text << " and " << entry->second;
    }
  }
}

TEST(LexicalEncoder, TenMegabytesAreTheSumOfTheirParts) {
  const std::string part = "Find the probability that x² > 3, given P(A) = 0.5; жук 日本. ";
  std::string text;
  while (text.size() < 10'000'000) text += part;
  const auto whole = encode({}, text), once = encode({}, part);
  for (std::size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(whole[i], once[i], 1e-6);
}

TEST(LexicalEncoder, RandomBytesNeverHarm) {
  std::mt19937 random(7);
  const auto encoder =
      make_lexical_encoder({.dimension = 64, .features = {words(1, 3), characters(2, 6)}});
  for (int round = 0; round < 2000; ++round) {
    std::string text(1 + random() % 700, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    text += 'x';
    EXPECT_NEAR(norm(encoder->embed_one(text)), 1, 1e-6);
  }
}

// ---- Settings ----

TEST(LexicalEncoder, SettingsChangeWhatTheySay) {
  const char* text = "What is the capital of France?";
  EXPECT_NE(encode({.seed = 1}, text), encode({.seed = 2}, text));
  EXPECT_NE(encode({.features = {words(1, 1)}}, "a"),
            encode({.features = {characters(1, 1)}}, "a"));
  EXPECT_EQ(encode({.dimension = 7}, text).size(), 7u);

  // A family may be split; a weight common to all families cancels; an unequal one does not.
  const auto whole = encode({.features = {words(1, 2)}}, text);
  EXPECT_EQ(encode({.features = {words(1, 1), words(2, 2)}}, text), whole);
  EXPECT_EQ(encode({.features = {words(1, 1, 4), words(2, 2, 4)}}, text), whole);
  EXPECT_NE(encode({.features = {words(1, 1, 4), words(2, 2, 1)}}, text), whole);
}

TEST(LexicalEncoder, FoldedDigitsCountByTheirShape) {
  const LexicalEncoderSpec folded{.features = {words(1, 2), characters(3, 5)}, .fold_digits = true};
  EXPECT_EQ(encode(folded, "2x + 35 = 139"), encode(folded, "7x + 10 = 482"));
  EXPECT_NE(encode(folded, "2x + 35 = 139"), encode(folded, "2x + 5 = 139"));
  EXPECT_NE(encode({}, "2x + 35 = 139"), encode({}, "7x + 10 = 482"));
  EXPECT_EQ(encode(folded, "no number, ４"),
            encode({.features = folded.features}, "no number, ４"));
}

TEST(LexicalEncoder, SquareRootsComeAfterTheSumAndBeforeIdf) {
  // "a" four times and "b" once: ±4 and ±1 in distinct slots, ±2 and ±1 as roots.
  const LexicalEncoderSpec spec{.dimension = 4096, .square_root = true};
  const auto a = encode(spec, "a"), b = encode(spec, "b"), both = encode(spec, "a a b a a");
  for (std::size_t i = 0; i < both.size(); ++i) {
    ASSERT_NEAR(both[i], (2 * a[i] + b[i]) / std::sqrt(5), 1e-6);
  }
  LexicalEncoderSpec weighted = spec;
  weighted.has_idf = true;
  std::vector<float> idf(4096, 1);
  for (std::size_t i = 0; i < idf.size(); ++i) idf[i] = a[i] != 0 ? 9 : 1;
  const auto scaled = make_lexical_encoder(weighted, idf)->embed_one("a a b a a");
  for (std::size_t i = 0; i < scaled.size(); ++i) {
    ASSERT_NEAR(scaled[i], (18 * a[i] + b[i]) / std::sqrt(325), 1e-6);
  }
}

TEST(LexicalEncoder, IdfMultipliesTheSlots) {
  const char* text = "one two two three three three";
  const LexicalEncoderSpec spec{.dimension = 16, .has_idf = true};
  const auto plain = encode({.dimension = 16}, text);
  EXPECT_EQ(make_lexical_encoder(spec, std::vector<float>(16, 1))->embed_one(text), plain);
  std::vector<float> idf(16);
  for (std::size_t i = 0; i < 16; ++i) idf[i] = static_cast<float>(i % 5);
  const auto weighted = make_lexical_encoder(spec, idf)->embed_one(text);
  double sum = 0;
  for (std::size_t i = 0; i < 16; ++i) sum += std::pow(double{plain[i]} * idf[i], 2);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(weighted[i], plain[i] * idf[i] / std::sqrt(sum), 1e-6);
  }
  EXPECT_TRUE(is_zero(make_lexical_encoder(spec, std::vector<float>(16, 0))->embed_one(text)));
}

TEST(LexicalEncoder, NothingToCountGivesZero) {
  EXPECT_TRUE(is_zero(encode({.features = {words(2, 2)}}, "alone")));
  EXPECT_TRUE(is_zero(encode({.features = {characters(4, 8)}}, "a")));  // " a " has three
  EXPECT_FALSE(is_zero(encode({.features = {characters(3, 8)}}, "a")));

  // In one slot, words of opposite sign cancel.
  const LexicalEncoderSpec spec{.dimension = 1};
  std::string plus, minus;
  for (char c = 'a'; c <= 'z'; ++c) (encode(spec, {&c, 1})[0] > 0 ? plus : minus) = c;
  EXPECT_TRUE(is_zero(encode(spec, plus + ' ' + minus)));
  EXPECT_EQ(encode(spec, plus + ' ' + minus + ' ' + minus)[0], -1.0f);
}

// ---- Calls ----

TEST(LexicalEncoder, ABatchIsItsTextsOneByOne) {
  const auto encoder = make_lexical_encoder({.dimension = 33, .features = {words(1, 2)}});
  const auto other = make_lexical_encoder({.dimension = 700, .features = {characters(2, 3)}});
  const std::vector<std::string_view> texts = {"first text", "second", "first text"};
  std::vector<float> out(99);
  encoder->embed(texts, out);
  for (std::size_t i = 0; i < 3; ++i) {
    other->embed_one(texts[i]);  // what one encoder leaves behind does not reach the next
    const std::vector<float> row(out.begin() + static_cast<std::ptrdiff_t>(i * 33),
                                 out.begin() + static_cast<std::ptrdiff_t>(i * 33 + 33));
    EXPECT_EQ(encoder->embed_one(texts[i]), row);
  }
}

TEST(LexicalEncoder, IsSafeFromManyThreads) {
  const auto encoder = make_lexical_encoder({.features = {words(1, 2), characters(3, 5)}});
  const std::string texts[] = {"one thread reads this", "another reads that"};
  const std::vector<float> expected[] = {encoder->embed_one(texts[0]),
                                         encoder->embed_one(texts[1])};
  bool same[2] = {true, true};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) same[t] &= encoder->embed_one(texts[t]) == expected[t];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(same[0] && same[1]);
}

TEST(LexicalEncoder, ABlankTextIsRefusedAndNothingIsWritten) {
  const auto encoder = make_lexical_encoder({.dimension = 4});
  for (const char* blank : {"", " ", "\t\r\n", "\u00A0\u3000"}) {
    const std::vector<std::string_view> texts = {"fine", blank};
    std::vector<float> out(8, 7);
    const Error error = error_of([&] { encoder->embed(texts, out); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(*blank == 0 ? "texts[1] is empty" : "texts[1] is nothing"));
    EXPECT_THAT(out, Each(7));
  }
}

TEST(LexicalEncoder, AnOutputOfAnotherSizeIsRefused) {
  const auto encoder = make_lexical_encoder({.dimension = 4});
  const std::vector<std::string_view> texts = {"a", "b"};
  for (const std::size_t size : {0, 4, 7, 9, 12}) {
    std::vector<float> out(size);
    EXPECT_THAT(error_of([&] { encoder->embed(texts, out); }).what(), HasSubstr("2 × 4")) << size;
  }
  encoder->embed({}, {});
}

TEST(LexicalEncoder, SettingsOutOfBoundsAreNamed) {
  const float nan = std::nanf("");
  const std::vector<std::tuple<LexicalEncoderSpec, std::vector<float>, const char*>> bad = {
      {{.dimension = 0}, {}, "dimension is 0"},
      {{.dimension = (1 << 20) + 1}, {}, "dimension is 1048577"},
      {{.features = {}}, {}, "0 families"},
      {{.features = std::vector(9, words(1, 1))}, {}, "9 families"},
      {{.features = {words(1, 1), words(0, 1)}}, {}, "features[1] has n-grams of 0 to 1"},
      {{.features = {words(3, 2)}}, {}, "features[0] has n-grams of 3 to 2"},
      {{.features = {characters(1, 9)}}, {}, "features[0] has n-grams of 1 to 9"},
      {{.features = {words(1, 1, 0)}}, {}, "features[0].weight is 0"},
      {{.features = {words(1, 1, -1)}}, {}, "features[0].weight is -1"},
      {{.features = {words(1, 1, nan)}}, {}, "features[0].weight is nan"},
      {{.features = {{.kind = static_cast<Kind>(2)}}}, {}, "features[0].kind"},
      {{.dimension = 2, .has_idf = true}, {}, "0 IDF weights, expected 2"},
      {{.dimension = 2, .has_idf = true}, {1, 1, 1}, "3 IDF weights, expected 2"},
      {{.dimension = 2}, {1, 1}, "2 IDF weights, expected none"},
      {{.dimension = 2, .has_idf = true}, {1, -1}, "idf[1] is -1"},
      {{.dimension = 2, .has_idf = true}, {nan, 1}, "idf[0] is nan"},
  };
  for (const auto& [spec, idf, message] : bad) {
    const Error error = error_of([&, s = spec, w = idf] { make_lexical_encoder(s, w); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(LexicalEncoder, TopicsThatDoNotFitAreNamed) {
  const LexicalEncoderSpec two{.dimension = 2, .topics = {"a", "b"}};
  LexicalEncoderSpec one = two, many = two;
  one.topics.pop_back();
  many.topics.resize(1025);
  const std::vector<std::tuple<LexicalEncoderSpec, TopicScores, const char*>> bad = {
      {one, {{1, 1}, {1}}, "there are 1 topics, expected none or 2 to 1024"},
      {many, {}, "there are 1025 topics"},
      {two, {}, "0 weights and 0 intercepts of topics, expected 2 × 2 and 2"},
      {two, {{1, 2, 3}, {1, 2}}, "3 weights and 2 intercepts"},
      {two, {{1, 2, 3, 4}, {1}}, "4 weights and 1 intercepts"},
      {{.dimension = 2}, {{1, 2}, {1}}, "expected 0 × 2 and 0: spec.topics has 0 names"},
      {two, {{1, 2, 3, std::nanf("")}, {1, 2}}, "not a finite number"},
      {two, {{1, 2, 3, 4}, {1, INFINITY}}, "not a finite number"},
  };
  for (const auto& [spec, topics, message] : bad) {
    const Error error = error_of([&, s = spec, t = topics] { make_lexical_encoder(s, {}, t); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace r2router
