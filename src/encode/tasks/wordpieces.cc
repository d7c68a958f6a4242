// Code points are mapped one at a time: some are removed, some separate words, some are words by
// themselves, and letters lose their case and accents. A word is then split from the left, each
// time at its longest prefix in the vocabulary. FNV-1a hashes of all prefixes are states of one
// another, so one pass over the bytes prepares all look-ups. checkpoints/FORMAT.md, "Wordpieces",
// specifies the result.
#include "encode/tasks/wordpieces.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "r2router/error.h"

#include "base/finite.h"
#include "base/unicode.h"
#include "encode/lexical/features.h"
#include "encode/tasks/row_sums.h"

namespace r2router::internal {
namespace {

constexpr std::uint32_t kMostPieces = 1 << 20;
constexpr std::uint32_t kMostVectorDimensions = 4096;
constexpr std::size_t kMostLetters = 100;             // of a word that is split; others are unknown
constexpr std::size_t kMostBytes = 4 * kMostLetters;  // of such a word
constexpr std::size_t kMostProbes = 256;              // with few collisions, 30 are already rare
constexpr std::string_view kUnknown = "[UNK]";
constexpr std::string_view kContinues = "##";

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "wordpieces: " + message);
}

// ---- Code points ----

struct CodeRange {
  char32_t first, last;
};
/// Code points from `first` on, and the letters that replace them.
struct CodeRun {
  char32_t first;
  std::u16string_view letters;
};
/// A code point that two letters replace.
struct CodePair {
  char32_t code, first, second;
};

#include "encode/tasks/wordpiece_table.inc"

enum class Part : std::uint8_t { kLetter, kRemoved, kSpace, kWholeWord };

bool contains(std::span<const CodeRange> ranges, char32_t c) {
  const auto after = std::ranges::upper_bound(ranges, c, {}, &CodeRange::first);
  return after != ranges.begin() && c <= std::prev(after)->last;
}

// Tables for common alphabets, where the search would be too slow.
constexpr char32_t kCommon = 0x530;  // ASCII to Cyrillic
constexpr auto kCommonParts = [] {
  std::array<Part, kCommon> parts{};
  const auto fill = [&](std::span<const CodeRange> ranges, Part part) {
    for (const CodeRange& range : ranges) {
      for (char32_t c = range.first; c <= range.last && c < kCommon; ++c) parts[c] = part;
    }
  };
  fill(kWholeWords, Part::kWholeWord);
  fill(kRemoved, Part::kRemoved);
  fill(kSpaces, Part::kSpace);
  return parts;
}();
constexpr auto kCommonLetters = [] {
  std::array<char32_t, kCommon> letters{};
  for (char32_t c = 0; c < kCommon; ++c) letters[c] = c;
  for (const CodeRun& run : kLetters) {
    for (char32_t i = 0; i < run.letters.size() && run.first + i < kCommon; ++i) {
      letters[run.first + i] = run.letters[i];
    }
  }
  return letters;
}();

Part part_of(char32_t c) {
  if (c < kCommon) return kCommonParts[c];
  if (contains(kWholeWords, c)) return Part::kWholeWord;
  if (contains(kRemoved, c)) return Part::kRemoved;
  return contains(kSpaces, c) ? Part::kSpace : Part::kLetter;
}

char32_t letter_of(char32_t c) {
  if (c < kCommon) return kCommonLetters[c];
  const CodeRun& run = *std::prev(std::ranges::upper_bound(kLetters, c, {}, &CodeRun::first));
  return c - run.first < run.letters.size() ? run.letters[c - run.first] : c;
}

// A Hangul syllable is a number that its two or three letters are the digits of.
constexpr char32_t kSyllables = 0xAC00, kLastSyllable = 0xD7A3;
constexpr char32_t kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr char32_t kVowels = 21, kTails = 28;

/// Calls take(letter) for each letter of the code point.
template <typename Take>
void for_each_letter(char32_t c, const Take& take) {
  if (c >= kSyllables && c <= kLastSyllable) {
    const char32_t number = c - kSyllables;
    take(kLead + number / (kVowels * kTails));
    take(kVowel + number / kTails % kVowels);
    if (number % kTails != 0) take(kTail + number % kTails);
    return;
  }
  const auto* const pair = std::ranges::find(kPairs, c, &CodePair::code);
  if (c < kPairs[0].code || pair == std::end(kPairs)) return take(letter_of(c));
  take(pair->first);
  take(pair->second);
}

/// Letters of a word in UTF-8, no more than are split.
class Word {
 public:
  void add(char32_t c) {
    if (++letters_ <= kMostLetters) size_ += encode_utf8(c, bytes_.data() + size_);
  }
  void clear() { size_ = letters_ = 0; }
  bool empty() const { return letters_ == 0; }
  bool too_long() const { return letters_ > kMostLetters; }
  std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, kMostBytes> bytes_;
  std::size_t size_ = 0, letters_ = 0;
};

// ---- Hashes ----

/// The state before the first byte of a piece.
constexpr std::uint64_t start(bool continues) { return extend(kBasis, continues ? 1 : 0); }

std::uint64_t extend(std::uint64_t state, char byte) {
  return internal::extend(state, static_cast<unsigned char>(byte));
}

}  // namespace

Wordpieces::Wordpieces(const WordpieceSpec& spec, WordpieceVectors vectors)
    : spec_(spec), vectors_(std::move(vectors)) {
  if (spec.pieces == 0 || spec.pieces > kMostPieces || spec.dimension == 0 ||
      spec.dimension > kMostVectorDimensions) {
    fail("there are " + std::to_string(spec.pieces) + " pieces with vectors of " +
         std::to_string(spec.dimension) + " numbers, expected 1 to " + std::to_string(kMostPieces) +
         " and 1 to " + std::to_string(kMostVectorDimensions));
  }
  if (!(spec.weight > 0) || !std::isfinite(spec.weight)) fail("weight is not a positive number");
  if (vectors_.vocabulary.size() != spec.bytes || vectors_.scales.size() != spec.pieces ||
      vectors_.vectors.size() != std::size_t{spec.pieces} * spec.dimension) {
    fail("there are " + std::to_string(vectors_.vocabulary.size()) + " bytes of vocabulary, " +
         std::to_string(vectors_.vectors.size()) + " numbers of vectors and " +
         std::to_string(vectors_.scales.size()) + " scales, expected " +
         std::to_string(spec.bytes) + ", " + std::to_string(spec.pieces) + " × " +
         std::to_string(spec.dimension) + " and " + std::to_string(spec.pieces));
  }
  if (!all_finite<float>(vectors_.scales)) fail("a scale is not a finite number");
  add_pieces();
}

void Wordpieces::add_pieces() {
  const std::string_view vocabulary(reinterpret_cast<const char*>(vectors_.vocabulary.data()),
                                    vectors_.vocabulary.size());
  if (!is_utf8(vocabulary)) fail("the vocabulary is not UTF-8");
  // The number of lines is checked before memory is reserved for them.
  const auto lines = static_cast<std::size_t>(std::ranges::count(vocabulary, '\n'));
  if (lines != spec_.pieces || !vocabulary.ends_with('\n')) {
    fail("the vocabulary has " + std::to_string(lines) + " line feeds, expected " +
         std::to_string(spec_.pieces) + ", one after each piece");
  }
  ends_.reserve(lines);
  for (std::size_t at = 0; at < vocabulary.size(); ++at) {
    if (vocabulary[at] == '\n') ends_.push_back(static_cast<std::uint32_t>(at));
  }
  places_.resize(std::bit_ceil(2 * lines));
  bool has_unknown = false;
  for (std::uint32_t number = 0; number < lines; ++number) {
    std::string_view text = piece(number);
    if (text == kUnknown) unknown_ = number, has_unknown = true;
    const bool continues = text.starts_with(kContinues);
    if (continues) text.remove_prefix(kContinues.size());
    if (text.empty()) fail("piece " + std::to_string(number) + " is empty");
    std::uint64_t state = start(continues);
    for (const char byte : text) state = extend(state, byte);
    const std::uint64_t hash = finish(state);
    const Place* const place = find(hash, text, continues);
    if (place == nullptr) fail("too many pieces have similar hashes");
    if (place->number > 0) {
      fail("pieces " + std::to_string(place->number - 1) + " and " + std::to_string(number) +
           " are the same");
    }
    places_[static_cast<std::size_t>(place - places_.data())] = {
        static_cast<std::uint32_t>(hash >> 32), number + 1};
    longest_ = std::max(longest_, text.size());
  }
  if (!has_unknown) fail("the vocabulary has no piece [UNK]");
}

std::string_view Wordpieces::piece(std::uint32_t number) const {
  const std::size_t begin = number == 0 ? 0 : ends_[number - 1] + 1;
  return {reinterpret_cast<const char*>(vectors_.vocabulary.data()) + begin, ends_[number] - begin};
}

const Wordpieces::Place* Wordpieces::find(std::uint64_t hash, std::string_view text,
                                          bool continues) const {
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t probe = 0; probe < kMostProbes; ++probe) {
    const Place& place = places_[(hash + probe) & (places_.size() - 1)];
    if (place.number == 0) return &place;
    if (place.tag != tag) continue;
    std::string_view found = piece(place.number - 1);
    const bool found_continues = found.starts_with(kContinues);
    if (found_continues) found.remove_prefix(kContinues.size());
    if (found_continues == continues && found == text) return &place;
  }
  return nullptr;
}

void Wordpieces::split_word(std::string_view word, std::vector<std::uint32_t>& pieces) const {
  std::array<std::uint64_t, kMostBytes + 1> states;
  const std::size_t before = pieces.size();
  while (!word.empty()) {
    const bool continues = pieces.size() > before;
    std::size_t size = std::min(word.size(), longest_);
    states[0] = start(continues);
    for (std::size_t i = 0; i < size; ++i) states[i + 1] = extend(states[i], word[i]);
    const Place* place = nullptr;
    for (; size > 0; --size) {
      place = find(finish(states[size]), word.substr(0, size), continues);
      if (place != nullptr && place->number > 0) break;
    }
    if (size == 0) {
      pieces.resize(before);
      pieces.push_back(unknown_);
      return;
    }
    pieces.push_back(place->number - 1);
    word.remove_prefix(size);
  }
}

void Wordpieces::split(std::string_view text, std::vector<std::uint32_t>& pieces) const {
  pieces.clear();
  Word word;
  const auto end_word = [&] {
    if (word.too_long()) {
      pieces.push_back(unknown_);
    } else if (!word.empty()) {
      split_word(word.text(), pieces);
    }
    word.clear();
  };
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = decode_utf8(text, position);
    const Part part = part_of(c);
    if (part == Part::kRemoved) continue;
    if (part != Part::kLetter) end_word();
    if (part == Part::kSpace) continue;
    for_each_letter(c, [&](char32_t letter) { word.add(letter); });
    if (part == Part::kWholeWord) end_word();
  }
  end_word();
}

void Wordpieces::average(std::span<const std::uint32_t> pieces, std::span<double> out) const {
  std::ranges::fill(out, 0);
  const auto row_of = [&](std::size_t i) {
    return FactoredRow<std::int8_t>{vectors_.vectors.data() + std::size_t{pieces[i]} * out.size(),
                                    static_cast<double>(vectors_.scales[pieces[i]])};
  };
  add_rows(pieces.size(), row_of, out);
  double squares = 0;
  for (const double value : out) squares += value * value;
  const double factor = squares > 0 ? static_cast<double>(spec_.weight) / std::sqrt(squares) : 0;
  for (double& value : out) value *= factor;
}

}  // namespace r2router::internal
