// Wrong command lines: each gives one line that says what was found and what was expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <string>
#include <utility>
#include <vector>

#include "support/process.h"

namespace r2router {
namespace {

using testing::lines_of;
using testing::Outcome;

TEST(UsageError, SaysWhatWasFoundAndExpected) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes = {
      // Commands.
      {{}, "no command given (see r2-router --help)"},
      {{"roote"}, "unknown command \"roote\"; did you mean route? (see r2-router --help)"},
      {{"bulk"},
       "bulk needs Python: pip install 'r2-router[bulk]', then python -m r2_router bulk (see "
       "r2-router "
       "--help)"},
      {{"evaluate"}, "unknown command \"evaluate\"; did you mean eval? (see r2-router --help)"},
      {{"add_model"},
       "unknown command \"add_model\"; did you mean add-model? (see r2-router --help)"},
      {{"models"}, "no command given after models: expected sync (see r2-router models --help)"},
      {{"models", "synk"},
       "unknown command \"synk\"; did you mean sync? (see r2-router models --help)"},
      {{"help", "models", "synk"},
       "unknown command \"synk\"; did you mean sync? (see r2-router help --help)"},
      {{"help", "route", "x"}, "r2-router route has no command \"x\" (see r2-router help --help)"},
      {{"man", "rout"}, "unknown command \"rout\"; did you mean route? (see r2-router man --help)"},
      {{"completion", "tcsh"},
       "SHELL: expected bash, zsh or fish, found \"tcsh\" (see r2-router completion --help)"},
      // Options.
      {{"-v"}, "unknown option -v; did you mean -V? (see r2-router --help)"},
      {{"--query", "x"},
       "unknown option --query; it belongs to a command: r2-router route (see r2-router --help)"},
      {{"route", "--lamda", "1", "--query", "x"},
       "unknown option --lamda; did you mean --lambda? (see r2-router route --help)"},
      {{"route", "--lamda=1", "--query", "x"},
       "unknown option --lamda; did you mean --lambda? (see r2-router route --help)"},
      {{"route", "--max_cost", "1", "--query", "x"},
       "unknown option --max_cost; did you mean --max-cost? (see r2-router route --help)"},
      {{"route", "--frobnicate", "--query", "x"},
       "unknown option --frobnicate (see r2-router route --help)"},
      {{"models", "sync", "--pol", "x"},
       "unknown option --pol; did you mean --pool? (see r2-router models sync --help)"},
      {{"route", "--query", "What", "is", "2+2"},
       "unexpected argument \"is\": pass text as --query \"...\", in quotes (see r2-router "
       "route --help)"},
      {{"route", "What is 2+2?"},
       "unexpected argument \"What is 2+2?\": pass text as --query \"...\", in quotes (see "
       "r2-router route --help)"},
      {{"version", "extra"}, "unexpected argument \"extra\" (see r2-router version --help)"},
      {{"convert", "only-one"}, "DST is required (see r2-router convert --help)"},
      {{"route", "--query", "a", "--query", "b"},
       "--query is given 2 times: use it once (see r2-router route --help)"},
      {{"route", "--query", "a", "--file", "b"},
       "--query and --file exclude each other: use one of them (see r2-router route --help)"},
      {{"route", "--embeddings", "a", "--embed-url", "http://b"},
       "--embeddings and --embed-url exclude each other: use one of them (see r2-router route "
       "--help)"},
      {{"route", "--query", "a", "--json", "--stream", "--llm-api-base", "http://b"},
       "--json and --stream exclude each other: use one of them (see r2-router route --help)"},
      {{"route", "--query", "a", "--available-only", "--all-models"},
       "--available-only and --all-models exclude each other: use one of them (see r2-router "
       "route --help)"},
      {{"route", "--query", "a", "--embed-model", "b"},
       "--embed-model needs --embed-url: use both, or neither (see r2-router route --help)"},
      {{"train", "--pool", "p", "--output", "o"},
       "nothing to train on: give --queries and --outcomes, or --task-table and --prompts (see "
       "r2-router train --help)"},
      {{"train", "--pool", "p", "--output", "o", "--queries", "q"},
       "--queries needs --outcomes: use both, or neither (see r2-router train --help)"},
      {{"train", "--pool", "p", "--output", "o", "--task-table", "t"},
       "--task-table needs --prompts: use both, or neither (see r2-router train --help)"},
      {{"train", "--pool", "p", "--output", "o", "--data-date", "2026-01-01"},
       "--data-date needs --task-table: use both, or neither (see r2-router train --help)"},
      {{"train", "--pool", "p", "--output", "o", "--task-table", "t", "--prompts", "q",
        "--predictor", "knn"},
       "--predictor and --task-table exclude each other: use one of them (see r2-router train "
       "--help)"},
      // Values.
      {{"route", "--query"}, "--query needs a value: TEXT (see r2-router route --help)"},
      {{"train", "--predictor"},
       "--predictor needs a value: ridge|knn|mlp (see r2-router train --help)"},
      {{"route", "--query", "a", "--lambda", "1.5"},
       "--lambda: expected a number from 0 to 1, found \"1.5\" (see r2-router route --help)"},
      {{"route", "--query", "a", "--lambda", "nan"},
       "--lambda: expected a number from 0 to 1, found \"nan\" (see r2-router route --help)"},
      {{"route", "--query", "a", "--input-tokens", "-1"},
       "--input-tokens: expected a whole number, 0 or more, found \"-1\" (see r2-router route "
       "--help)"},
      {{"train", "--predictor", "rigde"},
       "--predictor: expected ridge, knn or mlp, found \"rigde\"; did you mean ridge? (see "
       "r2-router train --help)"},
      {{"train", "--seed", "abc"},
       "--seed: expected a whole number, 0 or more, found \"abc\" (see r2-router train --help)"},
      {{"train", "--seed", "-1"},
       "--seed: expected a whole number, 0 or more, found \"-1\" (see r2-router train --help)"},
      {{"train", "--token-limits", "10,-5"},
       "--token-limits: expected a whole number, 0 or more, found \"-5\" (see r2-router train "
       "--help)"},
      {{"train", "--alpha", "1,x"},
       "--alpha: expected a number, found \"x\" (see r2-router train --help)"},
      {{"eval", "--cost", "lenght"},
       "--cost: expected usd, length or latency, found \"lenght\"; did you mean length? (see "
       "r2-router eval --help)"},
      {{"route", "--query", "a", "--json=5"}, "--json takes no value (see r2-router route --help)"},
      {{"route", "--query", "a", "--available-only=maybe"},
       "--available-only takes no value (see r2-router route --help)"},
      {{"eval", "--folds", "1"},
       "--folds: expected a whole number from 2 to 100, found \"1\" (see r2-router eval --help)"},
  };
  for (const auto& [arguments, message] : mistakes) {
    std::vector<std::string> command = arguments;
    command.insert(command.begin(), R2ROUTER_CLI);
    const Outcome outcome = testing::run(command);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "r2-router: error: " + message + "\n");
  }
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
