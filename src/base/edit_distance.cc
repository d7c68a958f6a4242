#include "base/edit_distance.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace r2router::internal {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // The current row and the two before it; the table has a row for each letter of `a`.
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        row[j] = i + j;
        continue;
      }
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last.back();
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> known) {
  constexpr std::size_t kMostBytes = 100;
  return *std::ranges::min_element(known, {}, [&](std::string_view candidate) {
    const bool begins = candidate.starts_with(name) || name.starts_with(candidate);
    return std::pair(name.empty() || !begins, edit_distance(name.substr(0, kMostBytes), candidate));
  });
}

}  // namespace r2router::internal
