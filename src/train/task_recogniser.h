// Learning to recognise the task of a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "r2router/encoder.h"
#include "r2router/train/task_table.h"

namespace r2router::train {

/// A recogniser, and how well it does on sources that it was not trained on.
struct TaskRecogniser {
  TaskEncoderSpec spec;
  TaskEncoderTensors tensors;
  double accuracy = 0, macro_f1 = 0, calibration_error = 0;
  std::vector<TaskRecognition> recognition;  // of each task
  std::size_t sources = 0;
  double mean_novelty = 0;  // the mean share of no task
};

/// Fits a recogniser of `tasks` to the prompts; others are not used.
TaskRecogniser fit_recogniser(const std::vector<TaskPrompt>& prompts,
                              const std::vector<std::string>& tasks,
                              const TaskTrainOptions& options);

}  // namespace r2router::train
