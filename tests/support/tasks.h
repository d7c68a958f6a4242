// Small task tables and prompts, for tests.
#pragma once

#include <cmath>
#include <initializer_list>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/train/task_table.h"

namespace r2router::testing {

using train::TaskPrompts;
using train::TaskResult;
using train::TaskTable;
using train::TaskTrainOptions;

inline Pool pool_of(std::initializer_list<std::string> names) {
  Pool pool;
  for (const std::string& name : names) {
    pool.push_back({.name = name, .prices = {.input = 1, .output = 2}});
  }
  return pool;
}

inline TaskTable table_of(const Pool& pool, std::vector<std::string> tasks,
                          std::vector<std::optional<TaskResult>> results) {
  return {.models = pool, .tasks = std::move(tasks), .results = std::move(results)};
}

/// Prompts of three tasks, with words of the task and words of the source.
inline TaskPrompts make_prompts(std::size_t each = 40) {
  const std::map<std::string, std::vector<std::string>> words = {
      {"code", {"function", "python", "loop", "compile", "bug", "array"}},
      {"facts", {"who", "when", "capital", "year", "inventor", "country"}},
      {"stories", {"once", "dragon", "poem", "verse", "fairy", "tale"}}};
  std::mt19937_64 random(5);
  TaskPrompts prompts;
  for (const auto& [task, own] : words) {
    for (std::size_t i = 0; i < each; ++i) {
      const std::string source = "source " + std::to_string(i % 4);
      std::string text;
      for (int word = 0; word < 8; ++word) text += own[random() % own.size()] + " ";
      text += "common filler words number " + std::to_string(i % 4);
      prompts.prompts.push_back({text, task, source});
    }
  }
  return prompts;
}

struct Log {
  LogCallback callback() {
    return [this](LogLevel, std::string_view message) { messages.emplace_back(message); };
  }
  std::vector<std::string> messages;
};

inline TaskTrainOptions quick_task_options() {
  TaskTrainOptions options;
  options.features.dimension = 4096;
  options.epochs = 4;
  options.folds = 4;
  return options;
}

inline const std::vector<std::string> kTasks = {"code", "facts", "stories"};

inline TaskTable three_tasks() {
  return table_of(pool_of({"coder", "writer"}), kTasks,
                  {TaskResult{0.9, 400}, TaskResult{0.8, 50}, TaskResult{0.2, 700},  //
                   TaskResult{0.3, 300}, TaskResult{0.8, 40}, TaskResult{0.9, 900}});
}

inline double weight(const Checkpoint& checkpoint, std::uint32_t model, Budget budget,
                     Target target, std::size_t element) {
  const auto& heads = std::get<LinearHeads>(checkpoint.predictor);
  const auto& weights = std::get<std::vector<double>>(heads.weights);
  for (std::size_t i = 0; i < heads.names.size(); ++i) {
    if (heads.names[i] == HeadName{{model, budget}, target}) {
      return weights[i * heads.dimension + element];
    }
  }
  ADD_FAILURE() << "no such head";
  return NAN;
}

}  // namespace r2router::testing
