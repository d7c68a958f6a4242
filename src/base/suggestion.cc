#include "base/suggestion.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/edit_distance.h"
#include "base/unicode.h"

namespace r2router::internal {
namespace {

// Base letters of U+00C0 to U+017F and U+1E00 to U+1EFF. Combining marks, as in file names of
// macOS, are dropped, so both forms are equal.
constexpr std::string_view kLatin =
    "aaaaaaaceeeeiiiidnoooooxouuuuytsaaaaaaaceeeeiiiidnooooo-ouuuuyty"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
    "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
constexpr std::string_view kLatinAdditional =
    "aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmm"
    "mmmmnnnnnnnnoooooooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvv"
    "wwwwwwwwwwxxxxyyzzzzzzhtwyassssdaaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee"
    "eeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyyllvvyy";

constexpr char32_t kDropped = 0;

/// The normalised character, or kDropped.
char32_t plain(char32_t c) {
  const auto within = [&](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (within(0xFF01, 0xFF5E)) c -= 0xFF01 - '!';  // full-width ASCII
  if (is_space(c)) return '-';
  if (within(0x2010, 0x2015) || c == 0x2212) return '-';
  const bool mark = within(0x0300, 0x036F) || c == 0x3099 || c == 0x309A;
  const bool invisible = c == 0xAD || within(0x200B, 0x200F) || c == 0x2060 || c == 0xFEFF;
  if (mark || invisible) return kDropped;
  if (within('A', 'Z')) return c - 'A' + 'a';
  if (within(0xC0, 0x17F)) return static_cast<unsigned char>(kLatin[c - 0xC0]);
  if (within(0x1E00, 0x1EFF)) return static_cast<unsigned char>(kLatinAdditional[c - 0x1E00]);
  if (within(0x391, 0x3A9) || within(0x410, 0x42F)) return c + 0x20;  // Greek, Cyrillic capitals
  return c;
}

// Word separators in names of models, options and commands.
constexpr std::string_view kPunctuation = "-_./:@*?,;";

/// The words of a name as loose_spelling() writes them.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : loose_spelling(name)) {
    if (kPunctuation.find(c) == kPunctuation.npos) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += word;
  return text;
}

constexpr std::size_t kUnlike = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kContained = 1000;  // larger than any number of typing errors
constexpr std::size_t kWordsContained = 100000;
constexpr std::size_t kShortest = 3;  // shorter texts are contained in too many names

/// Dissimilarity of a candidate; kUnlike if it cannot have been meant.
std::size_t difference(const std::vector<std::string>& words,
                       const std::vector<std::string>& candidate_words) {
  const std::string name = joined(words), candidate = joined(candidate_words);
  if (name.empty() || candidate.empty()) return kUnlike;
  const std::size_t distance = edit_distance(name, candidate);
  // A third of the letters: "gtp" is "gpt", but "claude" is not "gemini".
  if (3 * distance <= std::max(name.size(), kShortest)) return distance;
  const auto [shorter, longer] = std::minmax({name.size(), candidate.size()});
  if (shorter >= kShortest &&
      (candidate.find(name) != candidate.npos || name.find(candidate) != name.npos)) {
    return kContained + longer - shorter;
  }
  const bool has_all_words = std::ranges::all_of(words, [&](const std::string& word) {
    return std::ranges::find(candidate_words, word) != candidate_words.end();
  });
  if (name.size() >= kShortest && has_all_words) return kWordsContained + longer - shorter;
  return kUnlike;
}

}  // namespace

std::string loose_spelling(std::string_view name) {
  std::string result;
  for (std::size_t position = 0; position < name.size();) {
    const std::size_t begin = position;
    const char32_t decoded = decode_utf8(name, position);
    const char32_t c = plain(decoded);
    if (c == kDropped || (c == '-' && (result.empty() || result.back() == '-'))) continue;
    if (c == decoded) {
      result += name.substr(begin, position - begin);
    } else {
      append_utf8(c, result);
    }
  }
  if (result.ends_with('-')) result.pop_back();
  return result;
}

bool is_misspelling(std::string_view name, std::string_view known) {
  const std::size_t allowed = std::min<std::size_t>(known.size() / 4, 2);
  const auto [shorter, longer] = std::minmax({name.size(), known.size()});
  return longer - shorter <= allowed && edit_distance(name, known) <= allowed;
}

std::optional<std::string> likely_name(std::string_view name,
                                       std::span<const std::string> candidates) {
  const std::vector<std::string> words = words_of(name);
  std::size_t least = kUnlike;
  std::optional<std::string> nearest;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = difference(words, words_of(candidate));
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string list_of(std::span<const std::string> names, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), most); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > most) text += " and " + std::to_string(names.size() - most) + " more";
  return text;
}

std::string alternatives(std::span<const std::string> names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + names[i];
  }
  return text;
}

}  // namespace r2router::internal
