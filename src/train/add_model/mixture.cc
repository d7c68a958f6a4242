#include "train/add_model/mixture.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>

#include "r2router/error.h"

namespace r2router::train {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

/// The strength of the penalty on control variates' weights, as a share penalty: just enough for
/// residuals that are all alike.
constexpr double kControlPenalty = 0.01;
MatrixXd to_matrix(const std::vector<VectorXd>& columns, Index rows) {
  MatrixXd matrix(rows, static_cast<Index>(columns.size()));
  for (std::size_t i = 0; i < columns.size(); ++i) matrix.col(static_cast<Index>(i)) = columns[i];
  return matrix;
}

/// A model's outcomes on the probes; empty if the table does not have them all.
VectorXd find_outcomes(const OutcomeTable& table, const std::string& model, Budget budget,
                       Target target, std::span<const std::uint32_t> probes) {
  const auto pair = std::ranges::find_if(table.pairs, [&](const Pair& other) {
    return other.budget == budget && table.models[other.model].name == model;
  });
  if (pair == table.pairs.end()) return {};
  const auto column = static_cast<std::size_t>(pair - table.pairs.begin());
  const std::vector<double>& values =
      target == Target::kQuality ? table.scores : table.output_tokens;
  VectorXd outcomes(static_cast<Index>(probes.size()));
  for (std::size_t i = 0; i < probes.size(); ++i) {
    outcomes[static_cast<Index>(i)] = values[table.cell(probes[i], column)];
  }
  return outcomes.hasNaN() ? VectorXd() : outcomes;
}
}  // namespace

const LinearHeads& linear_heads(const Checkpoint& checkpoint) {
  if (const auto* heads = std::get_if<LinearHeads>(&checkpoint.predictor)) return *heads;
  throw Error(ErrorCode::kUnsupported,
              "the checkpoint's predictor is \"" +
                  std::string(to_string(checkpoint.config.predictor)) +
                  "\": a model can only be added to linear heads (\"ridge\"); train the router "
                  "again with the new model's outcomes");
}

Mixture find_mixture(const Checkpoint& checkpoint, const OutcomeTable& table, Budget budget,
                     Target target, std::span<const std::uint32_t> probes,
                     const MatrixXd& embeddings) {
  const LinearHeads& heads = linear_heads(checkpoint);
  Mixture mixture;
  std::vector<VectorXd> columns, residuals;
  for (std::size_t i = 0; i < heads.names.size(); ++i) {
    const HeadName& name = heads.names[i];
    if (name.pair.budget != budget || name.target != target) continue;
    mixture.models.push_back(name.pair.model);
    std::visit(
        [&](const auto& weights) {
          using Value = typename std::decay_t<decltype(weights)>::value_type;
          using Row = Eigen::Matrix<Value, Eigen::Dynamic, 1>;
          columns.push_back(Eigen::Map<const Row>(weights.data() + i * heads.dimension,
                                                  static_cast<Index>(heads.dimension))
                                .template cast<double>());
        },
        heads.weights);
    const std::string& model = checkpoint.config.models[name.pair.model].name;
    const VectorXd outcomes = find_outcomes(table, model, budget, target, probes);
    if (outcomes.size() == 0) continue;
    residuals.push_back((outcomes - embeddings * columns.back()).array() - heads.intercepts[i]);
  }
  mixture.weights = to_matrix(columns, embeddings.cols());
  mixture.residuals = to_matrix(residuals, embeddings.rows());
  mixture.predictions = embeddings * mixture.weights;
  return mixture;
}

Rotated::Rotated(const MatrixXd& gram, std::vector<Index> some) : probes(std::move(some)) {
  MatrixXd centred = gram(probes, probes);
  gram_mean = centred.colwise().mean();
  gram_grand_mean = gram_mean.mean();
  centred.rowwise() -= gram_mean;
  centred.colwise() -= gram_mean.transpose();
  centred.array() += gram_grand_mean;
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(centred);
  eigenvalues = solver.eigenvalues().cwiseMax(0);
  eigenvectors = solver.eigenvectors();
}

MatrixXd Rotated::project(const MatrixXd& gram, const std::vector<Index>& others) const {
  MatrixXd products = gram(others, probes);
  const VectorXd means = products.rowwise().mean();
  products.rowwise() -= gram_mean;
  products.colwise() -= means;
  products.array() += gram_grand_mean;
  return products * eigenvectors;
}

RotatedColumns::RotatedColumns(const Rotated& rotated, const MatrixXd& all) {
  MatrixXd columns = all(rotated.probes, Eigen::all);
  means = columns.colwise().mean();
  columns.rowwise() -= means;
  if (columns.cols() > 0) variance = columns.squaredNorm() / static_cast<double>(columns.cols());
  values = rotated.eigenvectors.transpose() * columns;
}

std::vector<Solution> solve(const Rotated& rotated, const RotatedHead& head, double alpha,
                            const std::vector<double>& share_penalties) {
  const VectorXd inverse = (rotated.eigenvalues.array() / alpha + 1).inverse();
  const Index shares = head.mixture.values.cols(), controls = head.controls.values.cols();
  MatrixXd columns(head.target.values.rows(), shares + controls);
  columns << head.mixture.values, head.controls.values;
  const MatrixXd weighted = inverse.asDiagonal() * columns;
  const MatrixXd products = columns.transpose() * weighted;
  const VectorXd right = weighted.transpose() * head.target.values;
  VectorXd prior = VectorXd::Zero(shares + controls);
  prior.head(shares).setConstant(1 / std::max(1.0, static_cast<double>(shares)));
  std::vector<Solution> solutions;
  for (const double penalty : share_penalties) {
    VectorXd strengths(shares + controls);
    // Constant columns carry no information, and must not make the matrix singular.
    strengths.head(shares).setConstant(head.mixture.variance > 0 ? penalty * head.mixture.variance
                                                                 : 1);
    strengths.tail(controls).setConstant(
        head.controls.variance > 0 ? kControlPenalty * head.controls.variance : 1);
    MatrixXd penalised = products;
    penalised.diagonal() += strengths;
    const VectorXd solution = penalised.ldlt().solve(right + strengths.cwiseProduct(prior));
    const VectorXd left = head.target.values - columns * solution;
    solutions.push_back({solution.head(shares), inverse.cwiseProduct(left) / alpha,
                         head.target.means[0] - head.controls.means.dot(solution.tail(controls))});
  }
  return solutions;
}

}  // namespace r2router::train
