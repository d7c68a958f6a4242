// Hashed features of a text: words and character n-grams, each with the hash that gives its slot
// and its sign. The arithmetic is specified in checkpoints/FORMAT.md, "The lexical encoder", and
// the numbers of a checkpoint depend on every bit: any change needs a new format version.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "r2router/encoder.h"

#include "base/unicode.h"

namespace r2router::internal {

inline constexpr std::uint32_t kMaxN = 8;

/// Code points per block: few enough to stay in the L1 cache.
inline constexpr std::size_t kBlock = 256;

// ---- Hashing ----

inline constexpr std::uint64_t kBasis = 0xCBF29CE484222325;  // FNV-1a's, 64 bits
inline constexpr std::uint64_t kPrime = 0x00000100000001B3;

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
inline constexpr UpperCase kUpperCase[] = {
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
inline constexpr Range kWholeWords[] = {
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
inline constexpr Tabulated<char32_t, normal_form> kNormalForm;
inline constexpr Tabulated<char32_t, folded_form> kFoldedForm;
inline constexpr Tabulated<Role, role_of> kRole;

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

/// Hashes the n-grams of a sequence of units.
class NGramHasher {
 public:
  NGramHasher(const LexicalFeatures& family, std::uint64_t seed)
      : min_n_(family.min_n), max_n_(family.max_n) {
    carry_[0] = extend(extend(kBasis, seed), static_cast<std::uint64_t>(family.kind));
  }

  /// Calls `take` with the hash of each n-gram that ends in these units.
  template <typename Unit, typename Take>
  void add(std::span<const Unit> units, const Take& take) {
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
      for (std::size_t i = first; i < size; ++i) take(finish(states[i]));
    }
    seen_ += size;
  }

 private:
  std::uint32_t min_n_, max_n_;
  std::size_t seen_ = 0;                      // units so far
  std::array<std::uint64_t, kMaxN> carry_{};  // the states of the last 0, 1, … units so far
};

/// The slot of a feature among `dimension` of them.
constexpr std::size_t slot_of(std::uint64_t hash, std::size_t dimension) {
  return (hash >> 32) * dimension >> 32;
}

/// 1 or −1.
constexpr int sign_of(std::uint64_t hash) { return 1 - 2 * static_cast<int>(hash & 1); }

/// Calls take(family, hash) for every feature of the text. `hashers`: memory to reuse.
template <typename Take>
void for_each_feature(std::string_view text, const LexicalEncoderSpec& spec,
                      std::vector<NGramHasher>& hashers, const Take& take) {
  hashers.clear();
  bool has_words = false;
  for (const LexicalFeatures& family : spec.features) {
    hashers.emplace_back(family, spec.seed);
    has_words |= family.kind == LexicalFeatures::Kind::kWords;
  }
  NormalisedText normalised(text);
  WordSplitter splitter;
  const auto read = [&] {
    return spec.fold_digits ? normalised.read(kFoldedForm) : normalised.read(kNormalForm);
  };
  for (auto block = read(); !block.empty(); block = read()) {
    std::span<const std::uint64_t> words;
    if (has_words) words = splitter.read(block);
    for (std::size_t i = 0; i < hashers.size(); ++i) {
      const auto take_hash = [&](std::uint64_t hash) { take(i, hash); };
      if (spec.features[i].kind == LexicalFeatures::Kind::kWords) {
        hashers[i].add(words, take_hash);
      } else {
        hashers[i].add(block, take_hash);
      }
    }
  }
}

/// Throws Error(kInvalidArgument) for a dimension or families of features out of range.
void check_features(const LexicalEncoderSpec& spec);

}  // namespace r2router::internal
