// The arithmetic here is specified in checkpoints/FORMAT.md, "The lexical encoder", and the heads
// of a checkpoint depend on every bit: any change needs a new format version.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "r2router/encoder.h"
#include "r2router/error.h"

#include "base/unicode.h"
#include "encode/arguments.h"

namespace r2router {
namespace {

constexpr std::size_t kMaxDimension = 1 << 20;
constexpr std::size_t kMaxFamilies = 8;
constexpr std::size_t kMaxTopics = 1024;
constexpr std::uint32_t kMaxN = 8;

/// Code points per block: few enough to stay in the L1 cache.
constexpr std::size_t kBlock = 256;

using Kind = LexicalFeatures::Kind;

// ---- Hashing ----

constexpr std::uint64_t kBasis = 0xCBF29CE484222325;  // FNV-1a's, 64 bits
constexpr std::uint64_t kPrime = 0x00000100000001B3;

/// FNV-1a over whole values instead of bytes.
constexpr std::uint64_t extend(std::uint64_t state, std::uint64_t value) {
  return (state ^ value) * kPrime;
}

/// MurmurHash3's 64-bit finaliser: spreads every bit of an FNV state over all 64.
constexpr std::uint64_t finish(std::uint64_t state) {
  state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD;
  state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53;
  return state ^ state >> 33;
}

// ---- Characters ----

/// Every `step`-th code point from `first` to `last` has its lower case at `distance`.
struct UpperCase {
  char32_t first, last;
  unsigned step;
  int distance;
};
constexpr UpperCase kUpperCase[] = {
    {0x0041, 0x005A, 1, 32}, {0x00C0, 0x00D6, 1, 32},   {0x00D8, 0x00DE, 1, 32},
    {0x0100, 0x012E, 2, 1},  {0x0130, 0x0130, 1, -199}, {0x0132, 0x0136, 2, 1},
    {0x0139, 0x0147, 2, 1},  {0x014A, 0x0176, 2, 1},    {0x0178, 0x0178, 1, -121},
    {0x0179, 0x017D, 2, 1},  {0x01A0, 0x01A0, 1, 1},    {0x01AF, 0x01AF, 1, 1},
    {0x0386, 0x0386, 1, 38}, {0x0388, 0x038A, 1, 37},   {0x038C, 0x038C, 1, 64},
    {0x038E, 0x038F, 1, 63}, {0x0391, 0x03A1, 1, 32},   {0x03A3, 0x03AB, 1, 32},
    {0x0400, 0x040F, 1, 80}, {0x0410, 0x042F, 1, 32},   {0x0460, 0x0480, 2, 1},
    {0x048A, 0x04BE, 2, 1},  {0x04C0, 0x04C0, 1, 15},   {0x04C1, 0x04CD, 2, 1},
    {0x04D0, 0x052E, 2, 1},  {0x1E00, 0x1E94, 2, 1},    {0x1EA0, 0x1EFE, 2, 1},
};

constexpr char32_t to_lower(char32_t c) {
  if (c > 0x1EFE) return c;
  for (const UpperCase& range : kUpperCase) {
    if (c < range.first) break;
    if (c > range.last) continue;
    return (c - range.first) % range.step == 0 ? c + static_cast<char32_t>(range.distance) : c;
  }
  return c;
}

constexpr char32_t normal_form(char32_t c) { return is_space(c) ? U' ' : to_lower(c); }
constexpr char32_t folded_form(char32_t c) {
  return c >= U'0' && c <= U'9' ? U'0' : normal_form(c);
}

/// Non-ASCII code points that are single words: punctuation, symbols, and scripts without spaces
/// between words.
struct Range {
  char32_t first, last;
};
constexpr Range kWholeWords[] = {
    {0x0080, 0x00BF},   {0x00D7, 0x00D7},   {0x00F7, 0x00F7},    // Latin-1 controls and symbols
    {0x0E00, 0x0EFF},   {0x1000, 0x109F},   {0x1780, 0x17FF},    // Thai, Lao; Myanmar; Khmer
    {0x2010, 0x205E},   {0x20A0, 0x20CF},   {0x2190, 0x2BFF},    // punctuation, currency, symbols
    {0x2E00, 0xA4CF},   {0xAC00, 0xD7FF},   {0xF900, 0xFAFF},    // Chinese, kana, Yi, hangul
    {0xFE10, 0xFE1F},   {0xFE30, 0xFE6F},   {0xFF00, 0xFFFF},    // vertical, small, full-width
    {0x1D000, 0x1DFFF}, {0x1F000, 0x1FBFF}, {0x20000, 0x3FFFF},  // mathematics, emoji, Chinese
};

/// The role of a normalised code point in words.
enum class Role : std::uint8_t {
  kSpace,  ///< ends a word
  kPart,   ///< continues a word, or begins one
  kWhole,  ///< ends a word, and is a word
};

constexpr Role role_of(char32_t c) {
  if (c == U' ') return Role::kSpace;
  if (c < 0x80) {
    const bool part = (c >= U'a' && c <= U'z') || (c >= U'0' && c <= U'9');
    return part ? Role::kPart : Role::kWhole;
  }
  for (const Range& range : kWholeWords) {
    if (c < range.first) break;
    if (c <= range.last) return Role::kWhole;
  }
  return Role::kPart;
}

/// The functions above as a table for common alphabets, where range searches would be too slow.
template <typename Value, Value (*function)(char32_t)>
class Tabulated {
 public:
  constexpr Tabulated() {
    for (char32_t c = 0; c < kSize; ++c) low_[c] = function(c);
  }
  constexpr Value operator()(char32_t c) const { return c < kSize ? low_[c] : function(c); }

 private:
  static constexpr char32_t kSize = 0x530;  // ASCII to Cyrillic
  std::array<Value, kSize> low_{};
};
constexpr Tabulated<char32_t, normal_form> kNormalForm;
constexpr Tabulated<char32_t, folded_form> kFoldedForm;
constexpr Tabulated<Role, role_of> kRole;

// ---- Text ----

/// Returns the normalised text in blocks, so that memory does not grow with the text: white space
/// is folded into single spaces, with one at either end, and letters are lower case.
class NormalisedText {
 public:
  explicit NormalisedText(std::string_view text) : text_(text) {}

  /// The next code points, each in its `form`; none at the end. Valid until the next call.
  template <typename Form>
  std::span<const char32_t> read(const Form& form) {
    std::size_t position = position_, count = 0;
    char32_t last = last_;
    // A repeated space is written but not counted, which avoids a branch.
    const auto put = [&](char32_t c) {
      block_[count] = c;
      count += (c != U' ') | (last != U' ');
      last = c;
    };
    if (position == 0) put(U' ');
    while (position < text_.size() && count < kBlock) {
      const auto byte = static_cast<unsigned char>(text_[position]);
      if (byte < 0x80) {
        ++position;
        put(form(byte));
      } else {
        put(form(decode_utf8(text_, position)));
      }
    }
    if (count < kBlock) put(U' ');
    position_ = position;
    last_ = last;
    return {block_.data(), count};
  }

 private:
  std::string_view text_;
  std::size_t position_ = 0;
  char32_t last_ = 0;
  std::array<char32_t, kBlock> block_;
};

/// Splits normalised text into words. The unit of a word is the hash of its code points.
class WordSplitter {
 public:
  /// The units of the words that end in this block. Valid until the next call.
  std::span<const std::uint64_t> read(std::span<const char32_t> block) {
    // Every candidate is written, and counted only if it is a word, which avoids a branch.
    std::uint64_t state = state_;
    std::size_t count = 0;
    bool in_word = in_word_;
    for (const char32_t c : block) {
      const Role role = kRole(c);
      const bool part = role == Role::kPart;
      units_[count] = state;
      count += in_word & !part;
      units_[count] = extend(kBasis, c);
      count += role == Role::kWhole;
      const std::uint64_t keep = -static_cast<std::uint64_t>(part);
      state = (extend(state, c) & keep) | (kBasis & ~keep);
      in_word = part;
    }
    state_ = state;
    in_word_ = in_word;
    for (std::size_t i = 0; i < count; ++i) units_[i] = finish(units_[i]);
    return {units_.data(), count};
  }

 private:
  std::uint64_t state_ = kBasis;
  bool in_word_ = false;
  std::array<std::uint64_t, kBlock + 1> units_;  // a word may start in the previous block
};

/// Counts the n-grams of a sequence of units.
class NGramCounter {
 public:
  /// `counts` has one element for each dimension and starts at zero.
  NGramCounter(const LexicalFeatures& family, std::uint64_t seed, std::span<std::int64_t> counts)
      : min_n_(family.min_n), max_n_(family.max_n), counts_(counts) {
    carry_[0] = extend(extend(kBasis, seed), static_cast<std::uint64_t>(family.kind));
  }

  template <typename Unit>
  void add(std::span<const Unit> units) {
    // states[i] is the state of the n units that end at units[i]; one more is put to all at a time.
    std::array<std::uint64_t, kBlock + 1> states;
    const std::size_t size = units.size();
    std::fill_n(states.begin(), size, carry_[0]);
    for (std::size_t n = 1; n <= max_n_; ++n) {
      std::uint64_t before = carry_[n - 1];
      for (std::size_t i = 0; i < size; ++i) {
        const std::uint64_t shorter = states[i];
        states[i] = extend(before, units[i]);
        before = shorter;
      }
      carry_[n - 1] = before;
      if (n < min_n_) continue;
      // The first n - 1 units of a text end no n-gram.
      const std::size_t first = n - 1 > seen_ ? n - 1 - seen_ : 0;
      for (std::size_t i = first; i < size; ++i) count(finish(states[i]));
    }
    seen_ += size;
  }

 private:
  void count(std::uint64_t hash) {
    const std::uint64_t slot = (hash >> 32) * counts_.size() >> 32;
    counts_[slot] += 1 - 2 * static_cast<std::int64_t>(hash & 1);
  }

  std::uint32_t min_n_, max_n_;
  std::size_t seen_ = 0;                      // units so far
  std::array<std::uint64_t, kMaxN> carry_{};  // the states of the last 0, 1, … units so far
  std::span<std::int64_t> counts_;
};

// ---- The encoder ----

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void check_topics(const LexicalEncoderSpec& spec, const TopicScores& topics) {
  const std::size_t count = spec.topics.size();
  if (count == 1 || count > kMaxTopics) {
    fail("lexical encoder: there are " + std::to_string(count) + " topics, expected none or 2 to " +
         std::to_string(kMaxTopics));
  }
  if (topics.weights.size() != count * spec.dimension || topics.intercepts.size() != count) {
    fail("lexical encoder: there are " + std::to_string(topics.weights.size()) + " weights and " +
         std::to_string(topics.intercepts.size()) + " intercepts of topics, expected " +
         std::to_string(count) + " × " + std::to_string(spec.dimension) + " and " +
         std::to_string(count) + ": spec.topics has " + std::to_string(count) + " names");
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(topics.weights, finite) ||
      !std::ranges::all_of(topics.intercepts, finite)) {
    fail("lexical encoder: a weight or intercept of a topic is not a finite number");
  }
}

void check(const LexicalEncoderSpec& spec, const std::vector<float>& idf) {
  if (spec.dimension < 1 || spec.dimension > kMaxDimension) {
    fail("lexical encoder: dimension is " + std::to_string(spec.dimension) + ", expected 1 to " +
         std::to_string(kMaxDimension));
  }
  if (spec.features.empty() || spec.features.size() > kMaxFamilies) {
    fail("lexical encoder: features has " + std::to_string(spec.features.size()) +
         " families, expected 1 to " + std::to_string(kMaxFamilies));
  }
  for (std::size_t i = 0; i < spec.features.size(); ++i) {
    const LexicalFeatures& family = spec.features[i];
    const std::string name = "lexical encoder: features[" + std::to_string(i) + "]";
    if (family.kind != Kind::kWords && family.kind != Kind::kCharacters) {
      fail(name + ".kind is neither words nor characters");
    }
    if (family.min_n < 1 || family.min_n > family.max_n || family.max_n > kMaxN) {
      fail(name + " has n-grams of " + std::to_string(family.min_n) + " to " +
           std::to_string(family.max_n) + ", expected 1 ≤ min_n ≤ max_n ≤ " +
           std::to_string(kMaxN));
    }
    if (!std::isfinite(family.weight) || family.weight <= 0) {
      fail(name + ".weight is " + std::to_string(family.weight) + ", expected a positive number");
    }
  }
  if (idf.size() != (spec.has_idf ? spec.dimension : 0)) {
    fail("lexical encoder: there are " + std::to_string(idf.size()) + " IDF weights, expected " +
         (spec.has_idf ? std::to_string(spec.dimension) + ", one for each dimension"
                       : "none because has_idf is false"));
  }
  for (std::size_t i = 0; i < idf.size(); ++i) {
    if (!std::isfinite(idf[i]) || idf[i] < 0) {
      fail("lexical encoder: idf[" + std::to_string(i) + "] is " + std::to_string(idf[i]) +
           ", expected a finite number that is not negative");
    }
  }
}

class LexicalEncoder final : public Encoder {
 public:
  LexicalEncoder(const LexicalEncoderSpec& spec, std::vector<float> idf, TopicScores topics)
      : spec_(spec), idf_(std::move(idf)), topic_intercepts_(std::move(topics.intercepts)) {
    for (std::size_t i = 0; i < spec_.dimension; ++i) {
      for (std::size_t topic = 0; topic < spec_.topics.size(); ++topic) {
        topic_weights_.push_back(topics.weights[topic * spec_.dimension + i]);
      }
    }
    for (const LexicalFeatures& family : spec_.features) has_words_ |= family.kind == Kind::kWords;
  }

  std::size_t dimension() const override { return spec_.embedding_dimension(); }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    internal::check_embed_arguments(texts, out, dimension());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::span<float> row = out.subspan(i * dimension(), dimension());
      encode(texts[i], row.first(spec_.dimension));
      share_topics(row.first(spec_.dimension), row.subspan(spec_.dimension));
    }
  }

 private:
  /// Buffers, reused by the calls of a thread.
  struct Scratch {
    std::vector<std::int64_t> counts;  // families × dimension
    std::vector<NGramCounter> counters;
    std::vector<double> sums;
  };

  void encode(std::string_view text, std::span<float> out) const {
    thread_local Scratch scratch;
    count_features(text, scratch);
    auto& [counts, counters, sums] = scratch;
    sums.assign(spec_.dimension, 0);
    for (std::size_t family = 0; family < spec_.features.size(); ++family) {
      const double weight = spec_.features[family].weight;
      const std::int64_t* row = counts.data() + family * spec_.dimension;
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += weight * static_cast<double>(row[i]);
    }
    if (spec_.square_root) {
      for (double& sum : sums) {
        // Most slots of a short text are empty, and a square root is slow.
        if (sum != 0) sum = std::copysign(std::sqrt(std::abs(sum)), sum);
      }
    }
    for (std::size_t i = 0; i < idf_.size(); ++i) sums[i] *= idf_[i];

    // Four running sums, which shortens the dependency chain.
    std::array<double, 4> squares{};
    for (std::size_t i = 0; i < sums.size(); ++i) squares[i % 4] += sums[i] * sums[i];
    const double norm = std::sqrt((squares[0] + squares[1]) + (squares[2] + squares[3]));
    const double scale = norm > 0 ? 1 / norm : 0;
    for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] * scale);
  }

  /// Writes the share of each topic, given the features.
  void share_topics(std::span<const float> features, std::span<float> shares) const {
    thread_local std::vector<double> sums;  // 4 × topics
    const std::size_t count = shares.size();
    sums.assign(4 * count, 0);
    // Accumulates all scores slot by slot: the sums are independent, and empty slots, which add
    // zeros, are skipped. Products of float32 numbers are exact in float64, so fused multiply-add
    // does not change results.
    for (std::size_t i = 0; i < features.size(); ++i) {
      if (features[i] == 0) continue;
      const float* weights = topic_weights_.data() + i * count;
      double* sum = sums.data() + i % 4 * count;
      for (std::size_t topic = 0; topic < count; ++topic) {
        sum[topic] += static_cast<double>(weights[topic]) * static_cast<double>(features[i]);
      }
    }
    double total = 0;
    for (std::size_t topic = 0; topic < count; ++topic) {
      const double* sum = sums.data() + topic;
      const double score =
          ((sum[0] + sum[count]) + (sum[2 * count] + sum[3 * count])) + topic_intercepts_[topic];
      sums[topic] = score > 0 ? score * score : 0;
      total += sums[topic];
    }
    for (std::size_t topic = 0; topic < count; ++topic) {
      shares[topic] = total > 0 ? static_cast<float>(sums[topic] / total) : 0;
    }
  }

  void count_features(std::string_view text, Scratch& scratch) const {
    auto& [counts, counters, sums] = scratch;
    counts.assign(spec_.features.size() * spec_.dimension, 0);
    counters.clear();
    for (std::size_t i = 0; i < spec_.features.size(); ++i) {
      counters.emplace_back(spec_.features[i], spec_.seed,
                            std::span(counts).subspan(i * spec_.dimension, spec_.dimension));
    }
    NormalisedText normalised(text);
    WordSplitter splitter;
    const auto read = [&] {
      return spec_.fold_digits ? normalised.read(kFoldedForm) : normalised.read(kNormalForm);
    };
    for (auto block = read(); !block.empty(); block = read()) {
      std::span<const std::uint64_t> words;
      if (has_words_) words = splitter.read(block);
      for (std::size_t i = 0; i < counters.size(); ++i) {
        if (spec_.features[i].kind == Kind::kWords) {
          counters[i].add(words);
        } else {
          counters[i].add(block);
        }
      }
    }
  }

  LexicalEncoderSpec spec_;
  std::vector<float> idf_;
  std::vector<float> topic_weights_;  // dimension × topics: transposed
  std::vector<float> topic_intercepts_;
  bool has_words_ = false;
};

}  // namespace

std::shared_ptr<const Encoder> make_lexical_encoder(const LexicalEncoderSpec& spec,
                                                    std::vector<float> idf, TopicScores topics) {
  check(spec, idf);
  check_topics(spec, topics);
  return std::make_shared<LexicalEncoder>(spec, std::move(idf), std::move(topics));
}

}  // namespace r2router
