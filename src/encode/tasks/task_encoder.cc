// Recognises what a text asks for: a softmax over linear scores of its hashed features and of the
// vector of its wordpieces.
//
// A text that is unlike the training texts must not be taken for the task that it resembles most.
// Part of the embedding is therefore the share of no task, which is fitted on texts of sources that
// the scores were not learned from: it is large where features are unknown or the softmax is
// uncertain. Only the features that occur in the text are touched, so a large table costs nothing
// but memory. checkpoints/FORMAT.md, "The task encoder", specifies the arithmetic.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "r2router/encoder.h"
#include "r2router/error.h"

#include "base/finite.h"
#include "encode/arguments.h"
#include "encode/lexical/features.h"
#include "encode/tasks/sparse_features.h"
#include "encode/tasks/task_kind.h"
#include "encode/tasks/task_scores.h"
#include "encode/tasks/wordpieces.h"

namespace r2router {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "task encoder: " + message);
}

void check(const TaskEncoderSpec& spec, const TaskEncoderTensors& tensors) {
  const std::size_t tasks = spec.tasks.size();
  internal::check_features(spec.features);
  if (spec.features.has_idf || !spec.features.topics.empty()) {
    fail("its features have IDF weights or topics, expected neither");
  }
  if (tasks < 2 || tasks > internal::kMostTasks) {
    fail("there are " + std::to_string(tasks) + " tasks, expected 2 to " +
         std::to_string(internal::kMostTasks));
  }
  if (std::set<std::string_view>(spec.tasks.begin(), spec.tasks.end()).size() < tasks) {
    fail("two tasks have the same name");
  }
  if (!std::isfinite(spec.novelty_intercept) || !std::isfinite(spec.novelty_coverage) ||
      !std::isfinite(spec.novelty_certainty)) {
    fail("novelty is not a finite number");
  }
  if (tensors.weights.size() != tasks * spec.input_dimension() ||
      tensors.intercepts.size() != tasks) {
    fail("there are " + std::to_string(tensors.weights.size()) + " weights and " +
         std::to_string(tensors.intercepts.size()) + " intercepts, expected " +
         std::to_string(spec.input_dimension()) + " × " + std::to_string(tasks) + " and " +
         std::to_string(tasks));
  }
  if (!all_finite<float>(tensors.weights) || !all_finite<float>(tensors.intercepts)) {
    fail("a weight or intercept is not a finite number");
  }
}

class TaskEncoder final : public Encoder {
 public:
  TaskEncoder(const TaskEncoderSpec& spec, TaskEncoderTensors tensors)
      : spec_(spec), tensors_(std::move(tensors)) {
    if (spec.wordpieces) {
      wordpieces_.emplace(*spec.wordpieces, std::exchange(tensors_.wordpieces, {}));
    }
  }

  std::size_t dimension() const override { return spec_.embedding_dimension(); }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    internal::check_embed_arguments(texts, out, dimension());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      recognise(texts[i], out.subspan(i * dimension(), dimension()));
    }
  }

 private:
  void recognise(std::string_view text, std::span<float> shares) const {
    thread_local internal::SparseFeatures features;
    thread_local std::vector<double> probabilities;
    const std::size_t tasks = spec_.tasks.size();
    probabilities.resize(tasks);
    const auto collected =
        features.collect(text, spec_.features, wordpieces_ ? &*wordpieces_ : nullptr);
    const double unknown =
        internal::score_tasks(collected, spec_.features.dimension, tensors_, probabilities);
    internal::softmax<double>(probabilities);
    const double none =
        internal::novelty(spec_, unknown, 1 - *std::ranges::max_element(probabilities));
    for (std::size_t task = 0; task < tasks; ++task) {
      shares[task] = static_cast<float>((1 - none) * probabilities[task]);
    }
    shares[tasks] = static_cast<float>(none);
  }

  const TaskEncoderSpec spec_;
  TaskEncoderTensors tensors_;  // without the vectors
  std::optional<internal::Wordpieces> wordpieces_;
};

}  // namespace

std::shared_ptr<const Encoder> make_task_encoder(const TaskEncoderSpec& spec,
                                                 TaskEncoderTensors tensors) {
  check(spec, tensors);
  return std::make_shared<TaskEncoder>(spec, std::move(tensors));
}

}  // namespace r2router
