#include "r2router/eval/perturb.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace r2router::eval {
namespace {

constexpr std::string_view kMarks = ",.;:!?";
constexpr std::string_view kPolite[] = {
    "Please answer the following question. ", "Hello! Could you please help me with this? ",
    "I would like to know the answer to this, thank you. ", "Kindly consider the question below: "};

/// Shorter words are hardly readable with two letters swapped.
constexpr std::size_t kShortestTypo = 4;
constexpr std::uint64_t kWordsPerTypo = 20;

bool is_small(char c) { return c >= 'a' && c <= 'z'; }
bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
bool is_letter(char c) { return is_small(c) || is_capital(c); }
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
char small(char c) { return is_capital(c) ? static_cast<char>(c + ('a' - 'A')) : c; }
char capital(char c) { return is_small(c) ? static_cast<char>(c - ('a' - 'A')) : c; }

/// SplitMix64: the standard library's distributions differ between platforms.
class Random {
 public:
  explicit Random(std::uint64_t state) : state_(state) {}

  /// A number below `bound`, which is small enough for the bias of the remainder not to matter.
  std::uint64_t below(std::uint64_t bound) {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  std::uint64_t state_;
};

std::string change_case(std::string text, Random& random) {
  const std::uint64_t style = random.below(3);
  bool in_word = false;
  for (char& c : text) {
    const bool letter = is_letter(c);
    c = style == 0 || (style == 2 && in_word) ? small(c) : capital(c);
    in_word = letter;
  }
  return text;
}

std::string widen_spaces(std::string_view text, Random& random) {
  std::string result;
  for (const char c : text) {
    result += c;
    if (is_blank(c) && random.below(2) == 0) result += ' ';
  }
  return result + '\n';
}

std::string drop_marks(std::string_view text, Random& random) {
  std::string result;
  bool any_left = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool ends_word = i + 1 == text.size() || is_blank(text[i + 1]);
    const bool mark = ends_word && kMarks.find(text[i]) != std::string_view::npos;
    if (mark && random.below(2) == 0) continue;
    result += text[i];
    any_left |= !is_blank(text[i]);
  }
  return any_left ? result : std::string(text);
}

std::string swap_letters(std::string text, Random& random) {
  std::vector<std::pair<std::size_t, std::size_t>> words;  // runs of letters: begin, end
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && is_letter(text[end])) ++end;
    if (end - i >= kShortestTypo) words.emplace_back(i, end);
    i = std::max(end, i + 1);
  }
  if (words.empty()) return text;
  const std::size_t certain = random.below(words.size());
  for (std::size_t word = 0; word < words.size(); ++word) {
    if (random.below(kWordsPerTypo) != 0 && word != certain) continue;
    // The first and the last letter stay, as they mostly do when people err.
    const auto [begin, end] = words[word];
    const std::size_t at = begin + 1 + random.below(end - begin - 3);
    std::swap(text[at], text[at + 1]);
  }
  return text;
}

}  // namespace

std::string_view to_string(Perturbation kind) noexcept {
  switch (kind) {
    case Perturbation::kCase:
      return "case";
    case Perturbation::kWhiteSpace:
      return "white space";
    case Perturbation::kPunctuation:
      return "punctuation";
    case Perturbation::kTypos:
      return "typos";
    case Perturbation::kPoliteness:
      return "politeness";
  }
  return "unknown";
}

std::string perturb(std::string_view text, Perturbation kind, std::uint64_t seed) {
  Random random(query_hash(text) ^
                (seed * kPerturbations.size() + static_cast<std::uint64_t>(kind)));
  switch (kind) {
    case Perturbation::kCase:
      return change_case(std::string(text), random);
    case Perturbation::kWhiteSpace:
      return widen_spaces(text, random);
    case Perturbation::kPunctuation:
      return drop_marks(text, random);
    case Perturbation::kTypos:
      return swap_letters(std::string(text), random);
    case Perturbation::kPoliteness:
      return std::string(kPolite[random.below(std::size(kPolite))]).append(text);
  }
  return std::string(text);
}

OutcomeTable add_perturbed_copies(const OutcomeTable& table, std::uint64_t seed) {
  validate(table);
  std::vector<std::uint32_t> rows;
  for (std::uint32_t query = 0; query < table.queries.size(); ++query) {
    rows.insert(rows.end(), 1 + kPerturbations.size(), query);
  }
  OutcomeTable result = select_queries(table, rows);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::size_t copy = row % (1 + kPerturbations.size());
    if (copy == 0) continue;
    QueryRecord& query = result.queries[row];
    const Perturbation kind = kPerturbations[copy - 1];
    query.original = query.split_text();
    query.id.append(", ").append(to_string(kind));
    query.text = perturb(query.text, kind, seed);
  }
  validate(result);
  return result;
}

}  // namespace r2router::eval
