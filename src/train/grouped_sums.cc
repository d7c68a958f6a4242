#include "train/grouped_sums.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

namespace r2router::train {
namespace {

using Eigen::Index;

constexpr Index kHeads = 2;  // of a pair

/// The number of heads.
Index heads_of(std::span<const Pair> pairs) { return kHeads * static_cast<Index>(pairs.size()); }

}  // namespace

void GroupedSums::Moments::add(const Moments& other, double sign) {
  if (other.empty()) return;
  if (gram.size() == 0) {
    gram.setZero(other.gram.rows(), other.gram.cols());
    rows.setZero(other.rows.size());
  }
  gram += sign * other.gram;
  rows += sign * other.rows;
  queries += sign * other.queries;
}

GroupedSums::GroupedSums(std::size_t dimension, std::size_t folds)
    : dimension(dimension),
      folds(folds, {.all = {},
                    .corrections = {},
                    .products = Eigen::MatrixXd(static_cast<Index>(dimension), 0),
                    .targets = Eigen::VectorXd(0)}) {}

template <typename Key>
void GroupedSums::split(const std::vector<Key>& keys) {
  std::map<std::pair<std::size_t, Key>, std::size_t> found;
  std::vector<std::size_t> parents;  // of each new group
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const auto [entry, is_new] = found.try_emplace({groups[pair], keys[pair]}, parents.size());
    if (is_new) parents.push_back(groups[pair]);
    groups[pair] = entry->second;
  }
  for (Fold& fold : folds) {
    std::vector<Moments> corrections;
    for (const std::size_t parent : parents) corrections.push_back(fold.corrections[parent]);
    fold.corrections = std::move(corrections);
  }
}

void GroupedSums::extend(std::span<const Pair> more) {
  std::vector<Pair> sorted(more.begin(), more.end());
  std::ranges::sort(sorted);
  std::vector<Pair> all;
  std::ranges::set_union(pairs, sorted, std::back_inserter(all));
  if (all == pairs) return;

  std::vector<std::size_t> wider(all.size(), group_count());  // new pairs are a group
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const auto place = std::ranges::lower_bound(all, pairs[pair]) - all.begin();
    wider[static_cast<std::size_t>(place)] = groups[pair];
  }
  for (Fold& fold : folds) {
    fold.corrections.emplace_back().add(fold.all, -1);
    Eigen::MatrixXd products = Eigen::MatrixXd::Zero(static_cast<Index>(dimension), heads_of(all));
    Eigen::VectorXd targets = Eigen::VectorXd::Zero(heads_of(all));
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
      const Index from = kHeads * static_cast<Index>(pair);
      const Index to = kHeads * (std::ranges::lower_bound(all, pairs[pair]) - all.begin());
      products.middleCols(to, kHeads) = fold.products.middleCols(from, kHeads);
      targets.segment(to, kHeads) = fold.targets.segment(from, kHeads);
    }
    fold.products = std::move(products);
    fold.targets = std::move(targets);
  }
  groups = std::move(wider);
  pairs = std::move(all);
  split(std::vector<char>(pairs.size()));  // numbers the groups
}

void GroupedSums::add(const RidgeProblem& problem, std::span<const Pair> of_problem,
                      std::size_t threads) {
  std::vector<std::size_t> places;  // of the problem's pairs in `pairs`
  for (const Pair& pair : of_problem) {
    const auto place = std::ranges::lower_bound(pairs, pair) - pairs.begin();
    places.push_back(static_cast<std::size_t>(place));
  }
  // Of each pair, which of the problem's queries it saw.
  std::vector<std::vector<bool>> saw(pairs.size());
  for (std::vector<bool>& queries : saw) queries.resize(problem.targets.size() / problem.heads);
  for (const std::vector<std::uint32_t>& fold : problem.folds) {
    for (const std::uint32_t query : fold) {
      const double* targets = problem.targets.data() + query * problem.heads;
      for (std::size_t i = 0; i < places.size(); ++i) {
        saw[places[i]][query] = !std::isnan(targets[kHeads * i]);
      }
    }
  }
  split(saw);
  std::vector<const std::vector<bool>*> seen_by(group_count());
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) seen_by[groups[pair]] = &saw[pair];

  const auto moments_of = [&](const std::vector<std::uint32_t>& queries) {
    const auto rows = static_cast<Index>(dimension);
    Moments moments{.gram = Eigen::MatrixXd::Zero(rows, rows),
                    .rows = Eigen::VectorXd::Zero(rows),
                    .queries = static_cast<double>(queries.size())};
    add_gram(problem, queries, 1, threads, moments.gram, moments.rows);
    return moments;
  };
  for (std::size_t number = 0; number < folds.size(); ++number) {
    const std::vector<std::uint32_t>& queries = problem.folds[number];
    if (queries.empty()) continue;
    Fold& fold = folds[number];
    const Moments all = moments_of(queries);
    fold.all.add(all, 1);
    for (std::size_t group = 0; group < seen_by.size(); ++group) {
      std::vector<std::uint32_t> seen, missing;
      for (const std::uint32_t query : queries) {
        ((*seen_by[group])[query] ? seen : missing).push_back(query);
      }
      if (missing.empty()) continue;
      if (missing.size() <= seen.size()) {
        fold.corrections[group].add(moments_of(missing), -1);
      } else {
        fold.corrections[group].add(all, -1);
        if (!seen.empty()) fold.corrections[group].add(moments_of(seen), 1);
      }
    }
    Eigen::MatrixXd products = Eigen::MatrixXd::Zero(fold.products.rows(), heads_of(of_problem));
    Eigen::VectorXd targets = Eigen::VectorXd::Zero(heads_of(of_problem));
    add_products(problem, queries, threads, products, targets);
    for (std::size_t i = 0; i < places.size(); ++i) {
      const Index from = kHeads * static_cast<Index>(i);
      const Index to = kHeads * static_cast<Index>(places[i]);
      fold.products.middleCols(to, kHeads) += products.middleCols(from, kHeads);
      fold.targets.segment(to, kHeads) += targets.segment(from, kHeads);
    }
  }
}

void GroupedSums::merge(const GroupedSums& other) {
  extend(other.pairs);
  GroupedSums added = other;
  added.extend(pairs);
  const std::vector<std::size_t> own = groups;
  split(added.groups);
  added.split(own);
  for (std::size_t number = 0; number < folds.size(); ++number) {
    Fold& fold = folds[number];
    const Fold& more = added.folds[number];
    fold.all.add(more.all, 1);
    for (std::size_t group = 0; group < fold.corrections.size(); ++group) {
      fold.corrections[group].add(more.corrections[group], 1);
    }
    fold.products += more.products;
    fold.targets += more.targets;
  }
}

std::vector<LinearFit> GroupedSums::fit(std::span<const double> alphas,
                                        std::optional<std::size_t> left_out,
                                        std::size_t threads) const {
  const auto rows = static_cast<Index>(dimension);
  std::vector<LinearFit> fits(
      alphas.size(), {Eigen::MatrixXd(rows, heads_of(pairs)), Eigen::VectorXd(heads_of(pairs))});
  for (std::size_t group = 0; group < group_count(); ++group) {
    std::vector<std::size_t> heads;
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
      if (groups[pair] != group) continue;
      heads.push_back(kHeads * pair);
      heads.push_back(kHeads * pair + 1);
    }
    Moments moments;
    const auto width = static_cast<Index>(heads.size());
    RidgeSums sums{.gram = {},
                   .rows = {},
                   .products = Eigen::MatrixXd::Zero(rows, width),
                   .targets = Eigen::VectorXd::Zero(width)};
    for (std::size_t number = 0; number < folds.size(); ++number) {
      if (number == left_out) continue;
      const Fold& fold = folds[number];
      moments.add(fold.all, 1);
      moments.add(fold.corrections[group], 1);
      for (std::size_t i = 0; i < heads.size(); ++i) {
        const auto head = static_cast<Index>(heads[i]);
        sums.products.col(static_cast<Index>(i)) += fold.products.col(head);
        sums.targets[static_cast<Index>(i)] += fold.targets[head];
      }
    }
    sums.gram = std::move(moments.gram);
    sums.rows = std::move(moments.rows);
    solve(std::move(sums), moments.queries, heads, true, alphas, threads, fits);
  }
  return fits;
}

}  // namespace r2router::train
