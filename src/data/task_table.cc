// Reading tables of results by task, and prompts of which the task is known.
#include "r2router/train/task_table.h"

#include <cstdio>
#include <limits>
#include <map>
#include <unordered_map>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/unicode.h"
#include "data/left_out.h"
#include "data/table_file.h"

namespace r2router::train {
namespace {

constexpr double kMostTokens = 1e9;
constexpr double kMostQuestions = 1e9;
constexpr double kLargestPriceFactor = 3;

/// The text of a cell that must not be blank.
const std::string& read_text(const io::JsonView& field, const char* expected) {
  const std::string& text = field.string(expected);
  if (internal::is_blank(text)) field.fail(expected);
  return text;
}

double read_task_score(const io::JsonView& field) {
  const double score = io::read_number(field, -kMostTokens, kMostTokens, "a score from 0 to 1");
  if (score > 1 && score <= 100) {
    field.fail("a score from 0 to 1: scores in percent must be divided by 100");
  }
  if (!(score >= 0 && score <= 1)) field.fail("a score from 0 to 1");
  return score;
}

TaskResult read_result(const io::JsonView& row) {
  TaskResult result;
  result.score = read_task_score(row["score"]);
  result.output_tokens = io::read_number(row["output_tokens"], std::numeric_limits<double>::min(),
                                         kMostTokens, "a mean number of tokens above 0");
  if (io::has_value(row, "questions", true)) {
    result.questions =
        io::read_number(row["questions"], 1, kMostQuestions, "a number of questions, 1 or more");
  }
  if (io::has_value(row, "length_spread", true)) {
    result.length_spread = io::read_number(
        row["length_spread"], std::numeric_limits<double>::min(), kHighestLengthSigma,
        "the standard deviation of the logarithm of the length, above 0 and at "
        "most 4");
  }
  return result;
}

/// Compares what a model's answers have cost with its prices.
class PriceCheck {
 public:
  void add(std::uint32_t model, const TaskResult& result, double cost_usd) {
    Totals& totals = of_[model];
    totals.cost += cost_usd;
    totals.output_tokens += result.questions * result.output_tokens;
  }

  void report(const std::string& file, const Pool& pool, const LogCallback& log) const {
    if (!log) return;
    for (const auto& [model, totals] : of_) {
      const double expected = totals.output_tokens * pool[model].prices.output / 1e6;
      // The rest of the cost is that of the input, so it may be larger than expected, but for
      // expensive input not by much.
      if (totals.cost <= 0 || expected <= 0) continue;
      const double ratio = totals.cost / expected;
      if (ratio < kLargestPriceFactor && ratio > 1 / kLargestPriceFactor) continue;
      char text[160];
      std::snprintf(text, sizeof text,
                    ": its answers cost $%.4g by the column cost_usd, and $%.4g by its price per "
                    "output token in the pool: check the price",
                    totals.cost, expected);
      log(LogLevel::kWarning, file + ": " + pool[model].name + text);
    }
  }

 private:
  struct Totals {
    double cost = 0, output_tokens = 0;
  };
  std::map<std::uint32_t, Totals> of_;
};

}  // namespace

TaskTable read_task_table(const std::string& file, const Pool& pool, const LogCallback& log) {
  std::unordered_map<std::string_view, std::uint32_t> model_of;
  for (const ModelSpec& model : pool) {
    model_of.emplace(model.name, static_cast<std::uint32_t>(model_of.size()));
  }
  const ReadOptions options{.log = log};
  internal::LeftOut left_out(pool, options);
  std::vector<bool> found(pool.size());
  std::unordered_map<std::string, std::size_t> task_of;
  std::map<std::pair<std::uint32_t, std::size_t>, TaskResult> results;
  PriceCheck prices;
  TaskTable table;
  io::for_each_row(file, [&](const io::JsonView& row, std::uint64_t) {
    row.refuse_misspelt(
        {"model", "task", "score", "output_tokens", "questions", "length_spread", "cost_usd"});
    const std::string name = io::read_name(row["model"], "a model's name");
    const std::string& task = read_text(row["task"], "a task's name");
    const auto model = model_of.find(name);
    if (model == model_of.end()) return left_out.add_unknown(row["model"], name);
    if (!io::has_value(row, "score", true)) return left_out.add_unscored(name);
    const TaskResult result = read_result(row);
    const auto [place, added] = task_of.emplace(task, table.tasks.size());
    if (added) table.tasks.push_back(task);
    if (!results.emplace(std::pair(model->second, place->second), result).second) {
      row["task"].fail_with("there are two results of " + excerpt(name) + " for the task " +
                            excerpt(task) + "; remove one of the two");
    }
    found[model->second] = true;
    if (io::has_value(row, "cost_usd", true) && result.questions > 0) {
      prices.add(model->second, result,
                 io::read_number(row["cost_usd"], 0, kMostTokens, "USD, 0 or more"));
    }
  });
  left_out.report(file, found);
  prices.report(file, pool, log);
  for (std::uint32_t model = 0; model < pool.size(); ++model) {
    if (!found[model]) continue;
    table.models.push_back(pool[model]);
    for (std::size_t task = 0; task < table.tasks.size(); ++task) {
      const auto result = results.find({model, task});
      table.results.push_back(result == results.end() ? std::optional<TaskResult>()
                                                      : result->second);
    }
  }
  if (table.models.empty()) {
    throw Error(ErrorCode::kBadData,
                left_out.any_unknown()
                    ? "it has results of no model of the pool, only of " + left_out.list_unknown()
                    : "it has no results: expected rows of model, task, score and output_tokens",
                {.file = file});
  }
  table.sources.push_back(hash_source(file));
  return table;
}

TaskPrompts read_task_prompts(const std::string& file) {
  TaskPrompts result;
  io::for_each_row(file, [&](const io::JsonView& row, std::uint64_t) {
    TaskPrompt prompt;
    prompt.text = read_text(row["query"], "the text of a prompt");
    prompt.task = read_text(row["task"], "a task's name");
    if (io::has_value(row, "source")) prompt.source = io::read_name(row["source"], "a source");
    result.prompts.push_back(std::move(prompt));
  });
  result.data_sources.push_back(hash_source(file));
  return result;
}

}  // namespace r2router::train
