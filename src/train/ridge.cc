#include "train/ridge.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include <Eigen/Cholesky>

#include "r2router/error.h"

#include "base/parallel.h"

namespace r2router::train {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Eigen::Index;

// Sizes of the pieces that work is cut into: fixed, so that sums run in the same order everywhere.
constexpr Index kTile = 128;     // columns of a tile of the Gram matrix
constexpr Index kRows = 256;     // queries converted to float64 at a time
constexpr Index kSolve = 32;     // right-hand sides solved at a time
constexpr Index kPredict = 512;  // queries predicted at a time

Index pieces(Index size, Index piece) { return (size + piece - 1) / piece; }

/// Columns [column, column + width) of some embeddings, as float64.
void gather(const RidgeProblem& problem, std::span<const std::uint32_t> queries, Index column,
            Index width, RowMajor& out) {
  out.resize(static_cast<Index>(queries.size()), width);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const float* row = problem.embeddings.data() + queries[i] * problem.dimension + column;
    double* to = out.data() + static_cast<Index>(i) * width;
    for (Index j = 0; j < width; ++j) to[j] = row[j];
  }
}

template <typename Visit>
void for_each_block(std::span<const std::uint32_t> queries, Visit visit) {
  const auto rows = static_cast<std::size_t>(kRows);
  for (std::size_t begin = 0; begin < queries.size(); begin += rows) {
    visit(queries.subspan(begin, std::min(rows, queries.size() - begin)));
  }
}

}  // namespace

RidgeSums RidgeSums::zero(std::size_t dimension, std::size_t heads) {
  const auto rows = static_cast<Index>(dimension), columns = static_cast<Index>(heads);
  return {Eigen::MatrixXd::Zero(rows, rows), Eigen::VectorXd::Zero(rows),
          Eigen::MatrixXd::Zero(rows, columns), Eigen::VectorXd::Zero(columns)};
}

RidgeSums& RidgeSums::operator+=(const RidgeSums& other) {
  gram += other.gram;
  rows += other.rows;
  products += other.products;
  targets += other.targets;
  return *this;
}

void add_gram(const RidgeProblem& problem, std::span<const std::uint32_t> queries, double sign,
              std::size_t threads, Eigen::MatrixXd& gram, Eigen::VectorXd& rows) {
  if (queries.empty()) return;
  const auto dimension = static_cast<Index>(problem.dimension);
  const Index tiles = pieces(dimension, kTile);
  // Each tile of the lower triangle is summed by one thread, over all queries in order.
  const auto add_tile = [&](std::size_t number) {
    Index row = 0;
    auto column = static_cast<Index>(number);
    while (column > row) column -= ++row;
    const Index top = row * kTile, left = column * kTile;
    const Index height = std::min(kTile, dimension - top);
    const Index width = std::min(kTile, dimension - left);
    Eigen::MatrixXd tile = Eigen::MatrixXd::Zero(height, width);
    Eigen::VectorXd sums = Eigen::VectorXd::Zero(width);
    RowMajor a, b;
    for_each_block(queries, [&](std::span<const std::uint32_t> block) {
      gather(problem, block, left, width, b);
      if (row == column) {
        tile.noalias() += b.transpose() * b;
        sums += b.colwise().sum().transpose();
      } else {
        gather(problem, block, top, height, a);
        tile.noalias() += a.transpose() * b;
      }
    });
    gram.block(top, left, height, width) += sign * tile;
    if (row == column) rows.segment(left, width) += sign * sums;
  };
  internal::parallel_for(threads, static_cast<std::size_t>(tiles * (tiles + 1) / 2), add_tile);
}

void add_products(const RidgeProblem& problem, std::span<const std::uint32_t> queries,
                  std::size_t threads, Eigen::MatrixXd& products, Eigen::VectorXd& targets) {
  const auto dimension = static_cast<Index>(problem.dimension);
  const auto heads = static_cast<Index>(problem.heads);
  const auto add_tile = [&](std::size_t number) {
    const Index top = static_cast<Index>(number) * kTile;
    const Index height = std::min(kTile, dimension - top);
    RowMajor x, y;
    for_each_block(queries, [&](std::span<const std::uint32_t> block) {
      gather(problem, block, top, height, x);
      y.resize(static_cast<Index>(block.size()), heads);
      for (std::size_t i = 0; i < block.size(); ++i) {
        const double* row = problem.targets.data() + block[i] * problem.heads;
        double* to = y.data() + static_cast<Index>(i) * heads;
        for (Index head = 0; head < heads; ++head) {
          to[head] = std::isnan(row[head]) ? 0.0 : row[head];
        }
      }
      products.middleRows(top, height).noalias() += x.transpose() * y;
      if (top == 0) targets += y.colwise().sum().transpose();
    });
  };
  internal::parallel_for(threads, static_cast<std::size_t>(pieces(dimension, kTile)), add_tile);
}

void solve(RidgeSums sums, double seen, std::span<const std::size_t> heads, bool has_intercepts,
           std::span<const double> alphas, std::size_t threads, std::span<LinearFit> fits) {
  if (!(seen > 0)) {
    throw Error(ErrorCode::kBadData,
                "head " + std::to_string(heads.front()) + " has no outcomes to be fitted to");
  }
  const auto dimension = sums.rows.size();
  const auto width = static_cast<Index>(heads.size());
  Eigen::VectorXd mean = Eigen::VectorXd::Zero(dimension);
  Eigen::VectorXd target_means = Eigen::VectorXd::Zero(width);
  if (has_intercepts) {
    mean = sums.rows / seen;
    target_means = sums.targets / seen;
  }
  sums.products.noalias() -= (seen * mean) * target_means.transpose();
  sums.gram.triangularView<Eigen::Lower>() -= (seen * mean) * mean.transpose();

  std::vector<Eigen::LLT<Eigen::MatrixXd>> factors(alphas.size());
  internal::parallel_for(threads, alphas.size(), [&](std::size_t i) {
    Eigen::MatrixXd penalised = sums.gram;
    penalised.diagonal().array() += alphas[i];
    factors[i].compute(penalised);
    if (factors[i].info() != Eigen::Success) {
      throw Error(ErrorCode::kInvalidArgument,
                  "α = " + std::to_string(alphas[i]) +
                      " is too small for these embeddings, whose dimensions are not independent: "
                      "choose a larger one");
    }
  });
  const auto blocks = static_cast<std::size_t>(pieces(width, kSolve));
  internal::parallel_for(threads, alphas.size() * blocks, [&](std::size_t number) {
    const std::size_t which = number / blocks;
    const Index begin = static_cast<Index>(number % blocks) * kSolve;
    const Index count = std::min(kSolve, width - begin);
    const Eigen::MatrixXd solution = factors[which].solve(sums.products.middleCols(begin, count));
    for (Index i = 0; i < count; ++i) {
      const auto head = static_cast<Index>(heads[static_cast<std::size_t>(begin + i)]);
      fits[which].weights.col(head) = solution.col(i);
      fits[which].intercepts[head] = target_means[begin + i] - solution.col(i).dot(mean);
    }
  });
}

RidgeSolver::RidgeSolver(const RidgeProblem& problem, std::size_t threads)
    : problem_(problem),
      threads_(threads),
      total_(RidgeSums::zero(problem.dimension, problem.heads)) {
  find_groups();
  for (const std::vector<std::uint32_t>& queries : problem.folds) {
    RidgeSums& fold = folds_.emplace_back(RidgeSums::zero(problem.dimension, problem.heads));
    add_gram(problem, queries, 1, threads, fold.gram, fold.rows);
    add_products(problem, queries, threads, fold.products, fold.targets);
    total_ += fold;
  }
}

void RidgeSolver::find_groups() {
  // Heads are grouped by the list of queries that they miss, which is usually short.
  std::map<std::vector<std::uint32_t>, Group> groups;
  for (std::size_t head = 0; head < problem_.heads; ++head) {
    std::vector<std::uint32_t> all_missing;
    std::vector<std::vector<std::uint32_t>> missing;
    for (const std::vector<std::uint32_t>& queries : problem_.folds) {
      std::vector<std::uint32_t>& of_fold = missing.emplace_back();
      for (const std::uint32_t query : queries) {
        if (std::isnan(problem_.targets[query * problem_.heads + head])) of_fold.push_back(query);
      }
      all_missing.insert(all_missing.end(), of_fold.begin(), of_fold.end());
    }
    Group& group = groups[std::move(all_missing)];
    group.heads.push_back(head);
    group.missing = std::move(missing);
  }
  for (auto& [missing, group] : groups) groups_.push_back(std::move(group));
}

std::vector<LinearFit> RidgeSolver::fit(std::span<const double> alphas,
                                        std::optional<std::size_t> left_out) const {
  const auto dimension = static_cast<Index>(problem_.dimension);
  const auto heads = static_cast<Index>(problem_.heads);
  std::vector<LinearFit> fits(alphas.size(),
                              {Eigen::MatrixXd(dimension, heads), Eigen::VectorXd(heads)});
  for (const Group& group : groups_) {
    const auto width = static_cast<Index>(group.heads.size());
    RidgeSums sums{total_.gram, total_.rows, Eigen::MatrixXd(dimension, width),
                   Eigen::VectorXd(width)};
    if (left_out) {
      sums.gram -= folds_[*left_out].gram;
      sums.rows -= folds_[*left_out].rows;
    }
    double seen = 0;
    for (std::size_t fold = 0; fold < problem_.folds.size(); ++fold) {
      if (fold == left_out) continue;
      add_gram(problem_, group.missing[fold], -1, threads_, sums.gram, sums.rows);
      seen += static_cast<double>(problem_.folds[fold].size() - group.missing[fold].size());
    }
    for (Index i = 0; i < width; ++i) {
      const auto head = static_cast<Index>(group.heads[static_cast<std::size_t>(i)]);
      sums.products.col(i) = total_.products.col(head);
      sums.targets[i] = total_.targets[head];
      if (left_out) {
        sums.products.col(i) -= folds_[*left_out].products.col(head);
        sums.targets[i] -= folds_[*left_out].targets[head];
      }
    }
    solve(std::move(sums), seen, group.heads, problem_.has_intercepts, alphas, threads_, fits);
  }
  return fits;
}

Predicted predict_heads(std::span<const float> embeddings, const LinearFit& fit,
                        std::span<const std::uint32_t> queries, std::size_t threads) {
  const Index dimension = fit.weights.rows();
  const Eigen::MatrixXf weights = fit.weights.cast<float>();
  const Eigen::RowVectorXf intercepts = fit.intercepts.transpose().cast<float>();
  const auto rows = static_cast<Index>(queries.size());
  Predicted result(rows, weights.cols());
  internal::parallel_for(
      threads, static_cast<std::size_t>(pieces(rows, kPredict)), [&](std::size_t number) {
        const Index begin = static_cast<Index>(number) * kPredict;
        const Index count = std::min(kPredict, rows - begin);
        Predicted x(count, dimension);
        for (Index i = 0; i < count; ++i) {
          const std::size_t query = queries[static_cast<std::size_t>(begin + i)];
          const float* row = embeddings.data() + query * static_cast<std::size_t>(dimension);
          std::copy_n(row, dimension, x.data() + i * dimension);
        }
        result.middleRows(begin, count).noalias() = x * weights;
        result.middleRows(begin, count).rowwise() += intercepts;
      });
  return result;
}

}  // namespace r2router::train
