#include "base/suggestion.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/edit_distance.h"

namespace r2router::internal {
namespace {

// What separates words in names of models, options and commands.
constexpr std::string_view kPunctuation = " -_./:@*?,;\t";

/// The words of a name in lower case.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : name) {
    if (kPunctuation.find(c) == kPunctuation.npos) {
      word += lower_case(c);
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
constexpr std::size_t kContained = 1000;  // any typing error counts less
constexpr std::size_t kWordsContained = 100000;
constexpr std::size_t kShortest = 3;  // a shorter text is contained in too many names

/// How unlike a candidate is; kUnlike if it cannot have been meant.
std::size_t difference(const std::vector<std::string>& words,
                       const std::vector<std::string>& candidate_words) {
  const std::string name = joined(words), candidate = joined(candidate_words);
  if (name.empty() || candidate.empty()) return kUnlike;
  const std::size_t distance = edit_distance(name, candidate);
  // A third of the letters: "gtp" is "gpt", but "claude" is not "gemini".
  if (3 * distance <= std::max(name.size(), kShortest)) return distance;
  const auto [shorter, longer] = std::minmax(name.size(), candidate.size());
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

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) { return lower_case(c); });
  return result;
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

}  // namespace r2router::internal
