// What training works on: its options checked, and its queries divided into folds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "r2router/train/train.h"

namespace r2router::train {

/// Queries of each fold, in the table's order.
using Folds = std::vector<std::vector<std::uint32_t>>;

/// Throws Error(kInvalidArgument).
[[noreturn]] void throw_bad_option(const std::string& message);
/// Throws Error(kBadData).
[[noreturn]] void throw_bad_data(const std::string& message);

/// Throws Error(kInvalidArgument) for options out of range.
void check_options(const TrainOptions& options);

/// The number of queries that have an outcome and are not held out.
std::size_t count_outcomes(const OutcomeTable& table, const TrainOptions& options);

/// True if the query has an outcome of any pair.
bool has_outcome(const OutcomeTable& table, std::size_t query);

/// Throws Error(kInvalidArgument) if the table has prompted budgets, and the prompt lacks
/// "{budget}".
void check_budget_prompt(const OutcomeTable& table, const std::string& budget_prompt);

/// Throws Error(kBadData) if one of the folds, which have these numbers of queries, is empty.
void check_folds(std::span<const std::size_t> queries);

/// Throws Error(kBadData) that names a pair with outcomes in too few folds.
[[noreturn]] void throw_too_few_outcomes(const OutcomeTable& table, const Pair& pair);

/// Divides the queries that have an outcome and are not held out. Throws Error(kBadData) if a fold
/// is empty.
Folds make_folds(const OutcomeTable& table, const TrainOptions& options);

/// Warns options.log of queries that are not trained on, or not measured, for lack of outcomes.
void report_gaps(const OutcomeTable& table, const TrainOptions& options);

/// Every head must have something to learn from whichever fold is left out. Throws Error(kBadData)
/// that names a pair with outcomes in fewer than two folds.
void check_outcomes(const OutcomeTable& table, const Folds& folds);

/// The 1 % quantile of the lengths of unlimited answers, in tokens; 0 if there are none.
double find_token_floor(const OutcomeTable& table, const Folds& folds);

}  // namespace r2router::train
