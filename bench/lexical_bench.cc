// Speed of the lexical encoder: bytes per second on long text, and time of one short prompt.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "r2router/decision.h"
#include "r2router/encoder.h"

namespace {

using r2router::LexicalEncoderSpec;
using r2router::LexicalFeatures;
using Kind = LexicalFeatures::Kind;

/// Text like prompts: words of varying length and frequency, with formulas and line breaks.
std::string make_text(std::size_t size, const std::vector<std::string>& vocabulary) {
  std::string text;
  std::uint32_t random = 1;
  while (text.size() < size) {
    random = random * 1664525 + 1013904223;
    const double uniform = (random >> 8) / 16777216.0;
    text += vocabulary[static_cast<std::size_t>(uniform * uniform * vocabulary.size())];
    text += random >> 8 & 15 ? ' ' : '\n';
  }
  text.resize(size);
  return text;
}

std::string english(std::size_t size) {
  return make_text(
      size, {"the",        "of",          "a",        "is",        "to",          "in",
             "and",        "what",        "which",    "for",       "each",        "number",
             "average",    "are",         "with",     "following", "A.",          "B.",
             "if",         "x",           "Find",     "equation:", "temperature", "2x + 5 = 13",
             "required",   "at",          "10",       "company",   "value",       "f(x) = x^2",
             "Suppose",    "probability", "that",     "by",        "statement",   "$\\frac{1}{2}$",
             "percentage", "would",       "(c)",      "3.14",      "electrical",  "return",
             "patient's",  "because",     "non-zero", "Determine"});
}

/// Every character of three bytes.
std::string chinese(std::size_t size) {
  return make_text(size, {"一个", "公司", "的", "平均", "温度", "是", "多少", "求", "方程", "的解",
                          "以下", "哪", "项", "正确", "概率", "。", "设", "函数"});
}

LexicalEncoderSpec words(std::uint32_t max_n) {
  return {.features = {{.kind = Kind::kWords, .max_n = max_n}}};
}

LexicalEncoderSpec characters(std::uint32_t min_n, std::uint32_t max_n) {
  return {.features = {{.kind = Kind::kCharacters, .min_n = min_n, .max_n = max_n}}};
}

LexicalEncoderSpec words_and_characters() {
  LexicalEncoderSpec spec = words(2);
  spec.features.push_back(characters(3, 5).features[0]);
  return spec;
}

LexicalEncoderSpec folded_roots() {
  LexicalEncoderSpec spec = words(1);
  spec.fold_digits = spec.square_root = true;
  return spec;
}

void encode(benchmark::State& state, const LexicalEncoderSpec& spec, const std::string& text) {
  const auto encoder = r2router::make_lexical_encoder(spec);
  std::vector<float> embedding(encoder->dimension());
  const std::string_view view = text;
  for (auto _ : state) {
    encoder->embed({&view, 1}, embedding);
    benchmark::DoNotOptimize(embedding.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}

void estimate(benchmark::State& state, const std::string& text) {
  for (auto _ : state) benchmark::DoNotOptimize(r2router::estimate_input_tokens(text));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}

constexpr std::size_t kLong = 1 << 20;
constexpr std::size_t kPrompt = 300;

BENCHMARK_CAPTURE(encode, long_words, words(1), english(kLong));
BENCHMARK_CAPTURE(encode, long_words_folded_roots, folded_roots(), english(kLong));
BENCHMARK_CAPTURE(encode, long_words_to_2, words(2), english(kLong));
BENCHMARK_CAPTURE(encode, long_characters_3_to_5, characters(3, 5), english(kLong));
BENCHMARK_CAPTURE(encode, long_words_to_2_characters_3_to_5, words_and_characters(),
                  english(kLong));
BENCHMARK_CAPTURE(encode, long_chinese_words, words(1), chinese(kLong));
BENCHMARK_CAPTURE(encode, long_chinese_words_to_2_characters_3_to_5, words_and_characters(),
                  chinese(kLong));
BENCHMARK_CAPTURE(encode, prompt_words, words(1), english(kPrompt))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(encode, prompt_words_folded_roots, folded_roots(), english(kPrompt))
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(encode, prompt_words_to_2, words(2), english(kPrompt))
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(encode, prompt_words_to_2_characters_3_to_5, words_and_characters(),
                  english(kPrompt))
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(estimate, long, english(kLong));
BENCHMARK_CAPTURE(estimate, prompt, english(kPrompt))->Unit(benchmark::kMicrosecond);

}  // namespace
