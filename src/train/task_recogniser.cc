// Multinomial logistic regression on hashed features and vectors, by stochastic gradient descent
// with smoothed labels, and its calibration.
//
// A text of a new source is harder than a text of a known one, and softmax probabilities are too
// certain there. Sources are therefore divided into groups, and the scores of each group come from
// a fit to the others. On these scores three things are fitted by maximum likelihood: a
// temperature, by which all scores are divided; and how likely a text is unlike all training texts,
// as a logistic function of its unknown features and of the softmax's doubt. Such a text carries
// no information about its task, so the likelihood of a label is a mixture of the softmax and of
// the tasks' frequencies: (1 − ν)·p + ν·prior. Each text also counts, with a twentieth of the
// weight, as one of a task that is not known: its own task is left out of the softmax, and its
// likelihood is ν.
#include "train/task_recogniser.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <span>

#include "r2router/error.h"

#include "base/parallel.h"
#include "encode/tasks/sparse_features.h"
#include "encode/tasks/task_scores.h"
#include "encode/tasks/wordpieces.h"
#include "train/problem.h"

namespace r2router::train {
namespace {

constexpr double kStep = 1;             // the first step; steps shrink to 0 linearly
constexpr double kMostWeight = 2;       // a longer step would overshoot
constexpr float kInterceptStep = 0.1F;  // relative: intercepts change with every prompt
constexpr float kSmoothing = 0.1F;      // share of a label that is spread over all tasks
constexpr double kUnknownTasks = 0.05;  // how often a text is of a task that is not known
constexpr float kSettled = 0.01F;       // a difference to the label that is not worth a step

/// A prompt as the recogniser sees it.
struct Example {
  std::vector<internal::SparseFeature> features;
  std::uint32_t task = 0, source = 0;
  float weight = 1;
};

TaskEncoderTensors fit_scores(const std::vector<Example>& examples,
                              std::vector<std::uint32_t> order, std::size_t dimension,
                              std::size_t tasks, const TaskTrainOptions& options) {
  TaskEncoderTensors scores{std::vector<float>(dimension * tasks), std::vector<float>(tasks)};
  std::mt19937_64 random(options.seed);
  std::vector<float> slope(tasks);
  const double steps = static_cast<double>(order.size()) * options.epochs;
  double step = 0;
  for (std::uint32_t epoch = 0; epoch < options.epochs; ++epoch) {
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    for (const std::uint32_t index : order) {
      const Example& example = examples[index];
      const double rate =
          kStep * (1 - step++ / steps) * std::min<double>(example.weight, kMostWeight);
      std::ranges::copy(scores.intercepts, slope.begin());
      for (const auto& [slot, value] : example.features) {
        const float* const row = scores.weights.data() + slot * tasks;
        const auto x = static_cast<float>(value);
        for (std::size_t task = 0; task < tasks; ++task) slope[task] += x * row[task];
      }
      internal::softmax<float>(slope);
      for (float& part : slope) part -= kSmoothing / static_cast<float>(tasks);
      slope[example.task] -= 1 - kSmoothing;
      if (std::abs(slope[example.task]) < kSettled) continue;
      for (float& part : slope) part *= static_cast<float>(-rate);
      for (const auto& [slot, value] : example.features) {
        float* const row = scores.weights.data() + slot * tasks;
        const auto x = static_cast<float>(value);
        for (std::size_t task = 0; task < tasks; ++task) row[task] += x * slope[task];
      }
      for (std::size_t task = 0; task < tasks; ++task) {
        scores.intercepts[task] += kInterceptStep * slope[task];
      }
    }
  }
  return scores;
}

/// Weights that make the tasks equally important, and the sources of a task by the square root of
/// their size.
void weigh(std::vector<Example>& examples, std::size_t tasks) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, double> counts;
  for (const Example& example : examples) ++counts[{example.task, example.source}];
  std::vector<double> totals(tasks);
  for (const auto& [key, count] : counts) totals[key.first] += std::sqrt(count);
  const double each = static_cast<double>(examples.size()) / static_cast<double>(tasks);
  for (Example& example : examples) {
    const double count = counts[{example.task, example.source}];
    example.weight = static_cast<float>(each * std::sqrt(count) / totals[example.task] / count);
  }
}

/// Divides the sources into groups of about as many prompts, the large ones first.
std::vector<std::uint32_t> group_sources(const std::vector<Example>& examples, std::size_t sources,
                                         std::size_t groups) {
  std::vector<std::size_t> sizes(sources), group_sizes(groups);
  for (const Example& example : examples) ++sizes[example.source];
  std::vector<std::uint32_t> order(sources), group_of(sources);
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return sizes[a] > sizes[b]; });
  for (const std::uint32_t source : order) {
    const auto least = std::ranges::min_element(group_sizes);
    *least += sizes[source];
    group_of[source] = static_cast<std::uint32_t>(least - group_sizes.begin());
  }
  return group_of;
}

/// What is known of a prompt from a recogniser that was trained without its source.
struct Unseen {
  std::vector<double> scores;  // prompts × tasks
  std::vector<double> unknown;
};

/// The temperature and the coefficients of novelty() by maximum likelihood.
class Calibration {
 public:
  Calibration(const std::vector<Example>& examples, const Unseen& unseen, std::size_t tasks)
      : examples_(examples), unseen_(unseen), tasks_(tasks) {}

  /// Sets the coefficients; returns the temperature.
  double fit(TaskEncoderSpec& spec) const {
    // temperature (its logarithm), intercept, coverage, certainty
    std::array<double, 4> values = {0.5, -2, 2, 0};
    std::array<double, 4> steps = {0.5, 1, 1, 1};
    double loss = mean_loss(values, spec);
    // A search along the axes, with steps that shrink where they do not help: four smooth
    // dimensions need no better one.
    for (int round = 0; round < 60; ++round) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        bool moved = false;
        for (const double direction : {1.0, -1.0}) {
          std::array<double, 4> other = values;
          other[i] = std::clamp(other[i] + direction * steps[i], -12.0, 12.0);
          if (const double tried = mean_loss(other, spec); tried < loss) {
            loss = tried;
            values = other;
            moved = true;
            break;
          }
        }
        steps[i] *= moved ? 1.5 : 0.5;
      }
      if (*std::ranges::max_element(steps) < 1e-3) break;
    }
    apply(values, spec);
    return std::exp(values[0]);
  }

 private:
  static void apply(const std::array<double, 4>& values, TaskEncoderSpec& spec) {
    spec.novelty_intercept = values[1];
    spec.novelty_coverage = values[2];
    spec.novelty_certainty = values[3];
  }

  /// Leaves the coefficients in `spec`.
  double mean_loss(const std::array<double, 4>& values, TaskEncoderSpec& spec) const {
    apply(values, spec);
    const double temperature = std::exp(values[0]);
    const double prior = 1 / static_cast<double>(tasks_);
    std::vector<double> shares(tasks_);
    double loss = 0, total = 0;
    for (std::size_t i = 0; i < examples_.size(); ++i) {
      for (std::size_t task = 0; task < tasks_; ++task) {
        shares[task] = unseen_.scores[i * tasks_ + task] / temperature;
      }
      internal::softmax<double>(shares);
      const double none =
          internal::novelty(spec, unseen_.unknown[i], 1 - *std::ranges::max_element(shares));
      const double own = shares[examples_[i].task];
      loss -= examples_[i].weight * std::log((1 - none) * own + none * prior);
      // To a recogniser that does not know the task, the text is like none.
      shares[examples_[i].task] = 0;
      const double doubt = 1 - *std::ranges::max_element(shares) / std::max(1 - own, 1e-12);
      loss -= examples_[i].weight * kUnknownTasks *
              std::log(internal::novelty(spec, unseen_.unknown[i], doubt));
      total += examples_[i].weight;
    }
    return loss / total;
  }

  const std::vector<Example>& examples_;
  const Unseen& unseen_;
  const std::size_t tasks_;
};

/// Fills in how well the calibrated recogniser does on unseen sources.
void measure(const std::vector<Example>& examples, const Unseen& unseen, double temperature,
             TaskRecogniser& recogniser) {
  const std::size_t tasks = recogniser.spec.tasks.size();
  std::vector<std::size_t> right(tasks), taken(tasks), prompts(tasks);
  constexpr std::size_t kBins = 10;
  std::array<double, kBins> bin_share{}, bin_right{};
  std::vector<double> shares(tasks);
  double novelty = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    for (std::size_t task = 0; task < tasks; ++task) {
      shares[task] = unseen.scores[i * tasks + task] / temperature;
    }
    internal::softmax<double>(shares);
    const auto largest = std::ranges::max_element(shares);
    const auto task = static_cast<std::size_t>(largest - shares.begin());
    const double none = internal::novelty(recogniser.spec, unseen.unknown[i], 1 - *largest);
    const double share = (1 - none) * *largest;
    const bool correct = task == examples[i].task;
    const auto bin = std::min(static_cast<std::size_t>(share * kBins), kBins - 1);
    bin_share[bin] += share;
    bin_right[bin] += correct;
    ++prompts[examples[i].task];
    ++taken[task];
    right[task] += correct;
    novelty += none;
  }
  const auto count = static_cast<double>(examples.size());
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    recogniser.calibration_error += std::abs(bin_share[bin] - bin_right[bin]) / count;
  }
  for (std::size_t task = 0; task < tasks; ++task) {
    const auto hits = static_cast<double>(right[task]);
    const auto rate = [&](std::size_t of) { return of == 0 ? 0 : hits / static_cast<double>(of); };
    recogniser.recognition.push_back(
        {recogniser.spec.tasks[task], prompts[task], rate(prompts[task]), rate(taken[task])});
    recogniser.accuracy += hits / count;
    recogniser.macro_f1 +=
        2 * hits / static_cast<double>(prompts[task] + taken[task]) / static_cast<double>(tasks);
  }
  recogniser.mean_novelty = novelty / count;
}

}  // namespace

TaskRecogniser fit_recogniser(const std::vector<TaskPrompt>& prompts,
                              const std::vector<std::string>& tasks,
                              const TaskTrainOptions& options) {
  std::map<std::string_view, std::uint32_t> task_of, source_of;
  for (const std::string& task : tasks) {
    task_of.emplace(task, static_cast<std::uint32_t>(task_of.size()));
  }
  TaskRecogniser result;
  result.spec.features = options.features;
  result.spec.tasks = tasks;
  std::optional<internal::Wordpieces> wordpieces;
  if (const WordpieceVectors& vectors = options.wordpieces; !vectors.scales.empty()) {
    const std::size_t pieces = vectors.scales.size();
    result.spec.wordpieces = {
        .pieces = static_cast<std::uint32_t>(pieces),
        .dimension = static_cast<std::uint32_t>(vectors.vectors.size() / pieces),
        .bytes = static_cast<std::uint32_t>(vectors.vocabulary.size()),
        .weight = options.wordpiece_weight};
    wordpieces.emplace(*result.spec.wordpieces, vectors);
  }
  const std::size_t dimension = result.spec.input_dimension();
  std::vector<Example> examples;
  internal::SparseFeatures features;
  for (const TaskPrompt& prompt : prompts) {
    const auto task = task_of.find(prompt.task);
    if (task == task_of.end()) continue;
    Example example;
    const auto collected =
        features.collect(prompt.text, options.features, wordpieces ? &*wordpieces : nullptr);
    example.features.assign(collected.begin(), collected.end());
    example.task = task->second;
    example.source = source_of.emplace(prompt.source, static_cast<std::uint32_t>(source_of.size()))
                         .first->second;
    examples.push_back(std::move(example));
  }
  if (source_of.size() < 2) {
    throw Error(ErrorCode::kBadData,
                "all prompts are of one source, so the recogniser cannot be calibrated on sources "
                "that it was not trained on: give the \"source\" of each prompt, at least two");
  }
  weigh(examples, tasks.size());

  result.sources = source_of.size();
  const std::size_t groups = std::min<std::size_t>(options.folds, source_of.size());
  const std::vector<std::uint32_t> group_of = group_sources(examples, source_of.size(), groups);
  const auto select = [&](auto wanted) {
    std::vector<std::uint32_t> indices;
    for (std::uint32_t i = 0; i < examples.size(); ++i) {
      if (wanted(group_of[examples[i].source])) indices.push_back(i);
    }
    return indices;
  };
  Unseen unseen{std::vector<double>(examples.size() * tasks.size()),
                std::vector<double>(examples.size())};
  TaskEncoderTensors scores;
  internal::parallel_for(internal::thread_count(options.threads), groups + 1, [&](std::size_t i) {
    // The fit to all prompts takes longest, so it is the first.
    if (i == 0) {
      scores =
          fit_scores(examples, select([](auto) { return true; }), dimension, tasks.size(), options);
      return;
    }
    const std::uint32_t left_out = static_cast<std::uint32_t>(i - 1);
    const TaskEncoderTensors own =
        fit_scores(examples, select([&](auto group) { return group != left_out; }), dimension,
                   tasks.size(), options);
    for (const std::uint32_t index : select([&](auto group) { return group == left_out; })) {
      unseen.unknown[index] = internal::score_tasks(
          examples[index].features, options.features.dimension, own,
          std::span(unseen.scores).subspan(index * tasks.size(), tasks.size()));
    }
  });

  const double temperature = Calibration(examples, unseen, tasks.size()).fit(result.spec);
  measure(examples, unseen, temperature, result);
  const auto cool = [&](float value) { return static_cast<float>(value / temperature); };
  std::ranges::transform(scores.weights, scores.weights.begin(), cool);
  std::ranges::transform(scores.intercepts, scores.intercepts.begin(), cool);
  result.tensors = std::move(scores);
  result.tensors.wordpieces = options.wordpieces;
  return result;
}

}  // namespace r2router::train
