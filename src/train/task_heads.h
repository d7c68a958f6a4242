// From results by task to heads. An embedding is the shares of the tasks, so a head that is linear
// in it with a task's figure as the weight predicts the mean of the figures by these shares. The
// weight of the share of no task is the mean over the tasks.
//
// Budgets follow from lengths: with lognormal lengths of mean m and spread σ, an answer is longer
// than b with a probability of 1 − Φ((ln b − μ)/σ), where μ = ln m − σ²/2; it is cut off there and
// scores 0.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "r2router/train/task_table.h"

namespace r2router::train {

/// Every model's result for every task, with a length spread: shrunk, or estimated if it is
/// missing, which is a warning.
std::vector<TaskResult> complete_results(const TaskTable& table, double length_spread,
                                         const LogCallback& log);

/// What is expected of an answer that is cut off at a budget.
struct Expected {
  double score = 0, tokens = 0, tokens_squared = 0;
};

Expected expect(const TaskResult& result, Budget budget);

/// A weight for each recognised task, then that of none.
struct TaskHead {
  std::vector<double> weights = {};
  double spread = 0;
};

/// The heads of a pair.
struct TaskHeads {
  TaskHead quality, tokens;
};

/// `results`: of one model, complete, for all tasks; `recognised`: the indices of those that have a
/// weight.
TaskHeads fit_task_heads(std::span<const TaskResult> results,
                         std::span<const std::size_t> recognised, Budget budget);

}  // namespace r2router::train
