// Training from results by task: trains a checkpoint on each model's mean score and length for each
// kind of task, and on prompts with known tasks.
//
//     const Pool pool = r2router::read_pool("models.json");
//     const auto table = r2router::train::read_task_table("results.csv", pool);
//     const auto prompts = r2router::train::read_task_prompts("prompts.jsonl");
//     save_checkpoint(r2router::train::train(table, prompts), "my-router");
//
// Benchmarks usually publish means by task instead of results of single questions, and most of what
// a router can infer from a text is its task. The checkpoint's encoder recognises the task
// (TaskEncoderSpec), and its heads are linear in the shares of the tasks: a prediction is the
// average of the table's figures, weighted by these shares. All functions are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/encoder.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/train/train.h"

namespace r2router::train {

/// The results of one model on one task.
struct TaskResult {
  double score = 0;          ///< mean over the task's questions, in [0, 1]
  double output_tokens = 0;  ///< mean length of an answer with its reasoning, tokens, > 0
  double questions = 0;      ///< number of questions averaged; 0: unknown, and not shrunk
  /// Standard deviation of the natural logarithm of the length, in (0, 4]. Empty:
  /// TaskTrainOptions::length_spread.
  std::optional<double> length_spread = {};
};

/// Results of models by task. Plain data.
struct TaskTable {
  Pool models;
  std::vector<std::string> tasks;                  ///< all different
  std::vector<std::optional<TaskResult>> results;  ///< models × tasks; empty: not measured
  std::vector<DataSource> sources = {};

  std::size_t cell(std::size_t model, std::size_t task) const {
    return model * tasks.size() + task;
  }
};

/// Reads a table with one row for each model and task, in the formats of read_outcomes(): "model",
/// "task", "score" (0 to 1), "output_tokens", and optionally "questions", "length_spread" and
/// "cost_usd", the total for the questions, which is compared with the pool's prices: `log`
/// receives a warning if the two differ by more than a factor of 3. The table's models are those of
/// `pool` that have results, in the pool's order; its tasks are in the order of their first rows.
/// Results of other models are ignored and logged. Throws Error(kBadData) with file and line for a
/// malformed row, a duplicate result, or a name that differs from the pool's only in spelling;
/// Error(kNotFound) or Error(kIo) for a file that cannot be read.
R2ROUTER_EXPORT TaskTable read_task_table(const std::string& file, const Pool& pool,
                                          const LogCallback& log = {});

/// A prompt labelled with its task.
struct TaskPrompt {
  std::string text;
  std::string task;
  /// Where it comes from. Prompts of one source resemble each other, so the recogniser is
  /// calibrated on sources that it was not trained on.
  std::string source = {};
};

/// Prompts, and the files that they come from.
struct TaskPrompts {
  std::vector<TaskPrompt> prompts;
  std::vector<DataSource> data_sources = {};
};

/// Reads "query", "task" and optionally "source" from rows in the formats of read_outcomes().
/// Throws Error(kBadData) with file and line for a row without "query" or "task", or with a blank
/// text.
R2ROUTER_EXPORT TaskPrompts read_task_prompts(const std::string& file);

/// Reads the vectors of wordpieces from a checkpoint that has them, such as the default one, or
/// from another safetensors file with the same three tensors (checkpoints/FORMAT.md, "The task
/// encoder"). `path`: the checkpoint's name or folder, or the file. Throws Error(kBadCheckpoint)
/// with file and tensor if the vectors are missing or invalid; Error(kNotFound) or Error(kIo) for a
/// file that cannot be read.
R2ROUTER_EXPORT WordpieceVectors read_wordpiece_vectors(const std::string& path);

struct TaskTrainOptions {
  /// As TaskEncoderSpec::features.
  LexicalEncoderSpec features = default_features();
  /// Wordpiece vectors, which cover words that occur in no prompt; empty: none. They are stored in
  /// the checkpoint.
  WordpieceVectors wordpieces = {};
  /// As WordpieceSpec::weight.
  float wordpiece_weight = 0.7F;
  /// Limited budgets, tokens: answers that are longer are cut off there and score 0.
  std::vector<std::uint32_t> token_limits = {100, 300, 1000, 4000, 16000};
  /// Default of TaskResult::length_spread, in (0, 4]. Lengths within a task are assumed to be
  /// log-normal around the table's mean.
  double length_spread = 0.8;
  /// Passes over the prompts, ≥ 1.
  std::uint32_t epochs = 8;
  /// Folds of whole sources, ≥ 2. The recogniser is calibrated on predictions for each fold by a
  /// fit to the others.
  std::uint32_t folds = 6;
  std::uint64_t seed = 0;
  std::uint32_t threads = 0;  ///< as TrainOptions::threads
  /// The date of the results, "2026-08-22", which `r2-router info` shows; empty: unknown.
  std::string data_date = {};
  ProgressCallback progress = {};
  /// Receives warnings about tasks without prompts, prompts of tasks without results, and missing
  /// results.
  LogCallback log = {};

  R2ROUTER_EXPORT static LexicalEncoderSpec default_features();
};

/// Accuracy of the recogniser for one task, on sources that it was not trained on.
struct TaskRecognition {
  std::string task;
  std::size_t prompts = 0;
  double recall = 0;     ///< fraction of this task's prompts recognised as such
  double precision = 0;  ///< fraction of the prompts assigned to this task that belong to it
};

/// Results of training other than the checkpoint.
struct TaskTrainReport {
  std::size_t prompts = 0, sources = 0;
  double accuracy = 0;           ///< on unseen sources
  double macro_f1 = 0;           ///< on unseen sources
  double calibration_error = 0;  ///< on unseen sources, expected, of the largest share in 10 bins
  std::vector<TaskRecognition> tasks = {};
  double default_lambda = 0;
  double default_score = 0;     ///< mean score over the tasks at the default λ
  double default_cost_usd = 0;  ///< mean cost of a query at the default λ, USD
  double best_score = 0;        ///< of the best single model
  double best_cost_usd = 0;
  std::string best_model = {};
};

/// Fits a checkpoint.
///
/// Scores are shrunk by their sampling error towards the value that the model's and the task's
/// means suggest (empirical Bayes); a missing result is replaced by that value. For a text that
/// resembles no task, the prediction is the model's mean score over the tasks and the geometric
/// mean of its lengths. Figures for limited budgets are derived from the distribution of lengths: a
/// share of the answers is cut off and scores 0. The default λ reaches 95 % of the best available
/// single model's score at the lowest cost, with every task equally frequent.
///
/// Throws Error(kBadData) if there are fewer than two tasks with results and prompts, or fewer than
/// two sources; Error(kInvalidArgument) for options out of range.
R2ROUTER_EXPORT Checkpoint train(const TaskTable& table, const TaskPrompts& prompts,
                                 const TaskTrainOptions& options = {},
                                 TaskTrainReport* report = nullptr);

/// Report of adding a model from results by task.
struct AddedFromTasks {
  std::string model;
  std::size_t tasks = 0;      ///< number of the checkpoint's tasks that have a result
  std::size_t estimated = 0;  ///< number without a result, which are estimated
  double mean_score = 0;      ///< of the new heads over the recognised tasks, without a budget
  double mean_tokens = 0;     ///< likewise, the geometric mean
};

/// Adds the model `name` of the table to a checkpoint that train() made from another table. The
/// model is appended to the pool. Scores are shrunk, and missing results estimated, as by train()
/// with all models in one table. The heads of the other models and the default policy do not
/// change. Results for tasks that the checkpoint does not recognise are ignored with a warning.
///
/// Throws Error(kUnsupported) if the checkpoint's encoder does not recognise tasks, its heads are
/// not linear or its budgets are not hard caps; Error(kInvalidArgument) for a model that the table
/// lacks or the checkpoint already has; Error(kBadData) if the model has no result for any task of
/// the checkpoint.
R2ROUTER_EXPORT Checkpoint add_model(const Checkpoint& checkpoint, const TaskTable& table,
                                     const std::string& name, const LogCallback& log = {},
                                     AddedFromTasks* report = nullptr);

/// The report as a line of text, and as a JSON object.
R2ROUTER_EXPORT std::string to_text(const AddedFromTasks& report);
R2ROUTER_EXPORT std::string to_json(const AddedFromTasks& report);

/// The report as a few lines of text, and as a JSON object.
R2ROUTER_EXPORT std::string to_text(const TaskTrainReport& report, const Checkpoint& checkpoint);
R2ROUTER_EXPORT std::string to_json(const TaskTrainReport& report, const Checkpoint& checkpoint);

}  // namespace r2router::train
