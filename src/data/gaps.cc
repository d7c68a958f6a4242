#include "data/gaps.h"

#include <algorithm>
#include <cmath>

#include "base/decimal.h"
#include "base/excerpt.h"

namespace r2router::internal {
std::string list_counts(Counts counts) {
  constexpr std::size_t kMost = 10;
  std::ranges::stable_sort(counts, std::ranges::greater(), &Counts::value_type::second);
  std::string text;
  for (std::size_t i = 0; i < std::min(counts.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + excerpt(counts[i].first) + " (" +
            with_thousands(counts[i].second) + ")";
  }
  if (counts.size() > kMost) text += " and " + std::to_string(counts.size() - kMost) + " more";
  return text;
}

std::string count_of(std::size_t count, const char* singular, const char* plural) {
  return with_thousands(count) + " " + (count == 1 ? singular : plural);
}

Gaps find_gaps(const OutcomeTable& table, std::span<const std::uint32_t> queries) {
  Gaps gaps{.queries = queries.size()};
  for (const ModelSpec& model : table.models) gaps.missing.emplace_back(model.name, 0);
  std::vector<std::uint8_t> lacks(table.models.size());
  for (const std::uint32_t query : queries) {
    std::ranges::fill(lacks, std::uint8_t{0});
    std::size_t observed = 0;
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      const bool missing = std::isnan(table.scores[table.cell(query, pair)]);
      lacks[table.pairs[pair].model] |= static_cast<std::uint8_t>(missing);
      observed += !missing;
    }
    if (observed == table.pairs.size()) continue;
    ++(observed == 0 ? gaps.empty : gaps.incomplete);
    if (observed == 0) continue;
    for (std::size_t model = 0; model < lacks.size(); ++model) {
      gaps.missing[model].second += lacks[model];
    }
  }
  std::erase_if(gaps.missing, [](const auto& entry) { return entry.second == 0; });
  return gaps;
}

std::string describe(const Gaps& gaps) {
  if (gaps.empty + gaps.incomplete == 0) return {};
  std::string text = "of " + count_of(gaps.queries, "query", "queries") + ", ";
  if (gaps.empty > 0) {
    text += with_thousands(gaps.empty) + (gaps.empty == 1 ? " has" : " have") + " no outcome";
  }
  if (gaps.incomplete > 0) {
    text += std::string(gaps.empty > 0 ? " and " : "") + with_thousands(gaps.incomplete) +
            (gaps.incomplete == 1 ? " lacks" : " lack") + " an outcome of " +
            list_counts(gaps.missing);
  }
  return text;
}

}  // namespace r2router::internal
