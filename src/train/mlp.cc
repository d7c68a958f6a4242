#include "train/mlp.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

#include "r2router/error.h"

#include "base/parallel.h"
#include "train/learner.h"

namespace r2router::train {
namespace {

using Eigen::Index;

/// A number from 0 to below 1: the top 53 bits, as the standard library's distributions differ from
/// place to place.
double draw(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

/// Puts 0 in the place of a share of the inputs, and scales up the rest by as much.
void drop_out(double share, std::mt19937_64& random, Eigen::MatrixXf& inputs) {
  if (share == 0) return;
  const auto scale = static_cast<float>(1 / (1 - share));
  for (float& value : inputs.reshaped()) value = draw(random) < share ? 0 : value * scale;
}

/// Queries whose loss is computed at a time.
constexpr Index kColumnsAtOnce = 512;

/// Outputs of each layer, the inputs first; rectified but for the last.
std::vector<Eigen::MatrixXf> activations(const MlpLayers& layers, const Eigen::MatrixXf& inputs) {
  std::vector<Eigen::MatrixXf> values = {inputs};
  for (const MlpLayer& layer : layers) {
    Eigen::MatrixXf outputs = layer.weights * values.back();
    outputs.colwise() += layer.biases;
    if (&layer != &layers.back()) outputs = outputs.cwiseMax(0);
    values.push_back(std::move(outputs));
  }
  return values;
}

/// Adam, for every number of some layers.
class Adam {
 public:
  Adam(const MlpLayers& layers, double learning_rate)
      : learning_rate_(learning_rate), mean_(layers), square_(layers) {
    for (MlpLayers* const moments : {&mean_, &square_}) {
      for (auto& [weights, biases] : *moments) {
        weights.setZero();
        biases.setZero();
      }
    }
  }

  void step(const MlpLayers& gradient, MlpLayers& layers) {
    ++steps_;
    // Both moments begin at 0; this makes up for it.
    const double rate = learning_rate_ * std::sqrt(1 - std::pow(kSquareDecay, steps_)) /
                        (1 - std::pow(kMeanDecay, steps_));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      update(gradient[i].weights, mean_[i].weights, square_[i].weights, rate, layers[i].weights);
      update(gradient[i].biases, mean_[i].biases, square_[i].biases, rate, layers[i].biases);
    }
  }

 private:
  static constexpr float kMeanDecay = 0.9F, kSquareDecay = 0.999F, kSmall = 1e-8F;

  template <typename Numbers>
  static void update(const Numbers& gradient, Numbers& mean, Numbers& square, double rate,
                     Numbers& values) {
    mean = kMeanDecay * mean + (1 - kMeanDecay) * gradient;
    square.array() = kSquareDecay * square.array() + (1 - kSquareDecay) * gradient.array().square();
    values.array() -= static_cast<float>(rate) * mean.array() / (square.array().sqrt() + kSmall);
  }

  double learning_rate_;
  int steps_ = 0;
  MlpLayers mean_, square_;
};

double loss_of(const MlpLayers& layers, const MlpData& data) {
  double sum = 0;
  const Index columns = data.inputs.cols();
  for (Index begin = 0; begin < columns; begin += kColumnsAtOnce) {
    const Index count = std::min(kColumnsAtOnce, columns - begin);
    sum += cross_entropy(layers, data.inputs.middleCols(begin, count),
                         data.targets.middleCols(begin, count)) *
           static_cast<double>(count);
  }
  return sum / static_cast<double>(columns);
}

}  // namespace

MlpLayers make_layers(std::size_t inputs, std::span<const std::uint32_t> hidden,
                      std::size_t outputs, std::mt19937_64& random) {
  MlpLayers layers;
  const auto add = [&](std::size_t size) {
    MlpLayer layer{Eigen::MatrixXf(static_cast<Index>(size), static_cast<Index>(inputs)),
                   Eigen::VectorXf::Zero(static_cast<Index>(size))};
    const double bound = std::sqrt(6.0 / static_cast<double>(inputs));
    for (float& weight : layer.weights.reshaped()) {
      weight = static_cast<float>((2 * draw(random) - 1) * bound);
    }
    layers.push_back(std::move(layer));
    inputs = size;
  };
  for (const std::uint32_t size : hidden) add(size);
  add(outputs);
  return layers;
}

Eigen::MatrixXf forward(const MlpLayers& layers, const Eigen::MatrixXf& inputs) {
  return activations(layers, inputs).back();
}

double cross_entropy(const MlpLayers& layers, const Eigen::MatrixXf& inputs,
                     const Eigen::MatrixXf& targets, MlpLayers* gradient) {
  const std::vector<Eigen::MatrixXf> values = activations(layers, inputs);
  const Eigen::MatrixXf& outputs = values.back();
  const double cells = static_cast<double>(outputs.size());
  Eigen::MatrixXf error(outputs.rows(), outputs.cols());
  double loss = 0;
  for (Index i = 0; i < outputs.size(); ++i) {
    const double z = outputs.data()[i], t = targets.data()[i];
    if (std::isnan(t)) {
      error.data()[i] = 0;
      continue;
    }
    const double tail = std::exp(-std::abs(z));
    // ln(1 + eᶻ) − t·z, written so that it cannot overflow.
    loss += std::max(z, 0.0) + std::log1p(tail) - t * z;
    const double probability = z > 0 ? 1 / (1 + tail) : tail / (1 + tail);
    error.data()[i] = static_cast<float>((probability - t) / cells);
  }
  if (gradient != nullptr) {
    gradient->resize(layers.size());
    for (std::size_t i = layers.size(); i-- > 0;) {
      (*gradient)[i].weights.noalias() = error * values[i].transpose();
      (*gradient)[i].biases = error.rowwise().sum();
      if (i == 0) break;
      const Eigen::MatrixXf before = layers[i].weights.transpose() * error;
      error = (values[i].array() > 0).select(before, 0.0F);
    }
  }
  return loss / cells;
}

TrainedMlp train_mlp(const MlpData& data, const MlpData* validation, const MlpOptions& options,
                     std::uint64_t seed, const std::function<void()>& after_epoch) {
  std::mt19937_64 random(seed);
  TrainedMlp best{.layers =
                      make_layers(static_cast<std::size_t>(data.inputs.rows()), options.hidden,
                                  static_cast<std::size_t>(data.targets.rows()), random)};
  best.loss = std::numeric_limits<double>::infinity();
  MlpLayers layers = best.layers, gradient;
  Adam adam(layers, options.learning_rate);
  std::vector<Index> order(static_cast<std::size_t>(data.inputs.cols()));
  std::iota(order.begin(), order.end(), Index{0});
  for (std::uint32_t epoch = 1; epoch <= options.most_epochs; ++epoch) {
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    for (std::size_t begin = 0; begin < order.size(); begin += options.batch) {
      const std::size_t count = std::min<std::size_t>(options.batch, order.size() - begin);
      const std::vector<Index> columns(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                       order.begin() + static_cast<std::ptrdiff_t>(begin + count));
      Eigen::MatrixXf inputs = data.inputs(Eigen::all, columns);
      drop_out(options.dropout, random, inputs);
      cross_entropy(layers, inputs, data.targets(Eigen::all, columns), &gradient);
      adam.step(gradient, layers);
    }
    if (after_epoch) after_epoch();
    const double loss = validation == nullptr ? 0 : loss_of(layers, *validation);
    if (validation == nullptr || loss < best.loss) {
      best = {layers, epoch, loss};
    } else if (epoch - best.epochs >= options.patience) {
      break;
    }
  }
  if (best.epochs == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the perceptron's loss is not a finite number: lower learning_rate");
  }
  return best;
}

namespace {

class MlpLearner final : public Learner {
 public:
  /// Trains for every fold that will be left out.
  explicit MlpLearner(const LearningProblem& problem)
      : problem_(problem), targets_(head_targets(problem.table)) {
    find_scales();
    const std::size_t folds = problem.folds.size();
    perceptrons_.resize(folds);
    std::vector<std::uint32_t> epochs(folds);
    const ProgressCallback& progress = problem.options.progress;
    const auto this_thread = std::this_thread::get_id();
    std::atomic<std::size_t> done = 0;
    internal::parallel_for(problem.threads, folds, [&](std::size_t left_out) {
      // Neither trained on nor predicted: what is predicted must not have chosen the epoch.
      const std::size_t validation = (left_out + 1) % folds;
      std::vector<std::uint32_t> others;
      for (std::size_t fold = 0; fold < folds; ++fold) {
        if (fold == left_out || fold == validation) continue;
        others.insert(others.end(), problem.folds[fold].begin(), problem.folds[fold].end());
      }
      const MlpData data = gather(others);
      const MlpData validation_data = gather(problem.folds[validation]);
      const TrainedMlp trained =
          train_mlp(data, &validation_data, problem.options.mlp, problem.options.seed, [&] {
            if (progress && std::this_thread::get_id() == this_thread) {
              progress("training", done, folds);
            }
          });
      ++done;
      perceptrons_[left_out] = to_perceptron(trained.layers);
      epochs[left_out] = trained.epochs;
    });
    std::nth_element(epochs.begin(), epochs.begin() + static_cast<std::ptrdiff_t>(folds / 2),
                     epochs.end());
    epochs_ = epochs[folds / 2];
  }

  std::size_t settings() const override { return 1; }
  double caution(std::size_t) const override { return 0; }

  std::vector<eval::PredictionTable> predict_left_out(std::size_t left_out,
                                                      std::span<const std::uint32_t> queries,
                                                      std::span<const std::size_t>) override {
    const std::shared_ptr<const Scorer> scorer = make_mlp_scorer(perceptrons_[left_out]);
    eval::PredictionTable result;
    Predictions predictions;
    for (const std::uint32_t query : queries) {
      scorer->predict(problem_.embeddings.subspan(query * problem_.dimension, problem_.dimension),
                      predictions);
      result.quality.insert(result.quality.end(), predictions.quality.begin(),
                            predictions.quality.end());
      result.output_tokens.insert(result.output_tokens.end(), predictions.tokens.begin(),
                                  predictions.tokens.end());
    }
    return {result};
  }

  Predictor fit(std::size_t) override {
    std::vector<std::uint32_t> all;
    for (const auto& fold : problem_.folds) all.insert(all.end(), fold.begin(), fold.end());
    MlpOptions options = problem_.options.mlp;
    options.most_epochs = epochs_;
    const ProgressCallback& progress = problem_.options.progress;
    std::size_t done = 0;
    const auto after_epoch = [&] {
      if (progress) progress("fitting", ++done, std::size_t{epochs_} + 1);
    };
    return to_perceptron(
        train_mlp(gather(all), nullptr, options, problem_.options.seed, after_epoch).layers);
  }

  void report(std::size_t, std::span<const eval::DeferralMetrics>,
              TrainReport& report) const override {
    report.epochs = epochs_;
  }

  std::string method() const override {
    return "a multilayer perceptron: a quality output and a length output for every (model, "
           "budget) "
           "pair";
  }
  void describe(std::size_t, ObjectWriter& object) const override {
    object.number("epochs", epochs_);
  }

 private:
  /// The longest answer of each length head, and what makes the inputs' mean square 1.
  void find_scales() {
    const std::size_t heads = kHeadsPerPair * problem_.table.pairs.size();
    scales_.assign(heads, 1);
    double squares = 0, count = 0;
    for (const auto& fold : problem_.folds) {
      for (const std::uint32_t query : fold) {
        for (std::size_t head = 1; head < heads; head += kHeadsPerPair) {
          const double tokens = targets_[query * heads + head];
          if (!std::isnan(tokens)) scales_[head] = std::max(scales_[head], tokens);
        }
        for (std::size_t k = 0; k < problem_.dimension; ++k) {
          const double value = problem_.embeddings[query * problem_.dimension + k];
          squares += value * value;
        }
        count += static_cast<double>(problem_.dimension);
      }
    }
    input_scale_ = squares > 0 ? static_cast<float>(std::sqrt(count / squares)) : 1;
    for (std::size_t pair = 0; pair < problem_.table.pairs.size(); ++pair) {
      const Budget budget = problem_.table.pairs[pair].budget;
      double& scale = scales_[kHeadsPerPair * pair + 1];
      if (!budget.is_unlimited()) scale = std::max<double>(scale, budget.tokens());
    }
  }

  MlpData gather(std::span<const std::uint32_t> queries) const {
    const std::size_t heads = scales_.size();
    const auto columns = static_cast<Index>(queries.size());
    MlpData data{Eigen::MatrixXf(static_cast<Index>(problem_.dimension), columns),
                 Eigen::MatrixXf(static_cast<Index>(heads), columns)};
    for (Index column = 0; column < columns; ++column) {
      const std::size_t query = queries[static_cast<std::size_t>(column)];
      const float* row = problem_.embeddings.data() + query * problem_.dimension;
      for (std::size_t k = 0; k < problem_.dimension; ++k) {
        data.inputs(static_cast<Index>(k), column) = input_scale_ * row[k];
      }
      for (std::size_t head = 0; head < heads; ++head) {
        data.targets(static_cast<Index>(head), column) =
            static_cast<float>(targets_[query * heads + head] / scales_[head]);
      }
    }
    return data;
  }

  /// The first layer takes the inputs as they are: their scale goes into its weights.
  MultilayerPerceptron to_perceptron(const MlpLayers& layers) const {
    MultilayerPerceptron result{
        .dimension = problem_.dimension, .names = name_heads(problem_.table), .scales = scales_};
    for (const auto& [weights, biases] : layers) {
      Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = weights;
      if (result.layers.empty()) rows *= input_scale_;
      result.layers.push_back({{rows.data(), rows.data() + rows.size()},
                               {biases.data(), biases.data() + biases.size()}});
    }
    return result;
  }

  const LearningProblem& problem_;
  std::vector<double> targets_;
  std::vector<double> scales_;
  float input_scale_ = 1;
  std::vector<MultilayerPerceptron> perceptrons_;  ///< for each fold, trained without it
  std::uint32_t epochs_ = 0;
};

}  // namespace

std::unique_ptr<Learner> make_mlp_learner(const LearningProblem& problem) {
  return std::make_unique<MlpLearner>(problem);
}

}  // namespace r2router::train
