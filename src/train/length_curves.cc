#include "train/length_curves.h"

#include <algorithm>

namespace r2router::train {
namespace {

constexpr std::size_t kMostPoints = 20;
constexpr std::size_t kQueriesPerPoint = 50;

/// Sums over a run of lengths.
struct Group {
  double predicted = 0, observed = 0, count = 0;

  void add(const Group& other) {
    predicted += other.predicted;
    observed += other.observed;
    count += other.count;
  }
  double mean_predicted() const { return predicted / count; }
  double mean_observed() const { return observed / count; }
};

}  // namespace

std::size_t length_points(std::size_t queries) {
  return std::min(kMostPoints, queries / kQueriesPerPoint);
}

LengthCurve fit_length_curve(std::vector<Length> lengths, std::size_t points) {
  std::ranges::stable_sort(lengths, {}, &Length::predicted);
  std::vector<Group> groups;
  std::size_t next = 0;
  for (std::size_t i = 0; i < points; ++i) {
    Group group;
    // Equal predictions stay together.
    for (const std::size_t end = (i + 1) * lengths.size() / points;
         next < lengths.size() &&
         (next < end || lengths[next].predicted == lengths[next - 1].predicted);
         ++next) {
      group.add({lengths[next].predicted, lengths[next].observed, 1});
    }
    if (group.count == 0) continue;
    // Means can meet by a rounding.
    if (!groups.empty() && !(group.mean_predicted() > groups.back().mean_predicted())) {
      groups.back().add(group);
    } else {
      groups.push_back(group);
    }
  }

  std::vector<Group> pools;  // each a run of groups with one height
  std::vector<std::size_t> sizes;
  for (const Group& group : groups) {
    pools.push_back(group);
    sizes.push_back(1);
    while (pools.size() > 1 && pools.back().mean_observed() < pools.end()[-2].mean_observed()) {
      pools.end()[-2].add(pools.back());
      sizes.end()[-2] += sizes.back();
      pools.pop_back();
      sizes.pop_back();
    }
  }
  LengthCurve curve;
  for (const Group& group : groups) curve.predicted.push_back(group.mean_predicted());
  for (std::size_t i = 0; i < pools.size(); ++i) {
    curve.observed.insert(curve.observed.end(), sizes[i], pools[i].mean_observed());
  }
  while (curve.predicted.size() < points) {
    curve.predicted.push_back(curve.predicted.back() + 1);
    curve.observed.push_back(curve.observed.back() + 1);
  }
  return curve;
}

}  // namespace r2router::train
