#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/outcomes.h"

#include "data/gaps.h"
#include "support/errors.h"

namespace r2router {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Two models, unlimited; "b" did not answer the second of three queries.
OutcomeTable small_table() {
  OutcomeTable table;
  table.queries = {
      {"q0", "first", "x:a", 10}, {"q1", "second", "x:b", 20}, {"q2", "third", "y", 0}};
  table.models = {{.name = "a"}, {.name = "b"}};
  table.pairs = {{0, Budget::unlimited()}, {1, Budget::unlimited()}};
  table.scores = {1, 0.5, 0, kNone, 1, 1};
  table.output_tokens = {30, 10, 100, kNone, 5, 31};
  return table;
}

TEST(OutcomeTable, AGoodTableIsAccepted) { EXPECT_NO_THROW(validate(small_table())); }

TEST(OutcomeTable, EveryFaultIsNamed) {
  const auto expect_fault = [](const std::string& part, auto change) {
    OutcomeTable table = small_table();
    change(table);
    expect_error(ErrorCode::kBadData, part, [&] { validate(table); });
  };
  expect_fault("expected 6 of each", [](OutcomeTable& table) { table.scores.pop_back(); });
  expect_fault("score 1.5", [](OutcomeTable& table) { table.scores[0] = 1.5; });
  expect_fault("score -0.1", [](OutcomeTable& table) { table.scores[1] = -0.1; });
  expect_fault("query \"q2\"", [](OutcomeTable& table) { table.scores[4] = kNone; });
  expect_fault("of b at budget unlimited",
               [](OutcomeTable& table) { table.output_tokens[1] = -1; });
  expect_fault("output tokens", [](OutcomeTable& table) { table.output_tokens[1] = INFINITY; });
  expect_fault("output tokens", [](OutcomeTable& table) { table.output_tokens[1] = kNone; });
  expect_fault("id \"q0\"", [](OutcomeTable& table) { table.queries[2].id = "q0"; });
  expect_fault("-5 input tokens", [](OutcomeTable& table) { table.queries[2].input_tokens = -5; });
  expect_fault("refers to model 2", [](OutcomeTable& table) { table.pairs[1].model = 2; });
  expect_fault("out of order", [](OutcomeTable& table) { table.pairs[1].model = 0; });
  expect_fault("out of order", [](OutcomeTable& table) {
    table.pairs = {{1, Budget::unlimited()}, {0, Budget::unlimited()}};
  });
}

TEST(OutcomeTable, QueriesAreSelectedInTheOrderAsked) {
  const std::vector<std::uint32_t> rows = {2, 0};
  const OutcomeTable table = select_queries(small_table(), rows);
  EXPECT_EQ(table.queries[0].id, "q2");
  EXPECT_EQ(table.queries[1].id, "q0");
  EXPECT_THAT(table.scores, ElementsAre(1, 1, 1, 0.5));
  EXPECT_THAT(table.output_tokens, ElementsAre(5, 31, 30, 10));
  const std::vector<std::uint32_t> beyond = {3};
  expect_error(ErrorCode::kInvalidArgument, "query 3",
               [&] { select_queries(small_table(), beyond); });
}

TEST(OutcomeTable, ModelsAreSelectedInTheTablesOrderAndRenumbered) {
  OutcomeTable table = small_table();
  table.models.push_back({.name = "c"});
  const OutcomeTable only_b = select_models(table, std::vector<std::string>{"b"});
  ASSERT_EQ(only_b.models.size(), 1u);
  EXPECT_EQ(only_b.models[0].name, "b");
  EXPECT_THAT(only_b.pairs, ElementsAre(Pair{0, Budget::unlimited()}));
  EXPECT_THAT(only_b.output_tokens, ElementsAre(10, ::testing::IsNan(), 31));
  EXPECT_NO_THROW(validate(only_b));

  const OutcomeTable both = select_models(table, std::vector<std::string>{"b", "a"});
  EXPECT_EQ(both.models[0].name, "a");
  EXPECT_THAT(both.scores, ElementsAre(1, 0.5, 0, ::testing::IsNan(), 1, 1));
  expect_error(ErrorCode::kInvalidArgument, "a model \"d\"; there are some of: a, b, c",
               [&] { select_models(table, std::vector<std::string>{"d"}); });
}

TEST(OutcomeTable, CoverageCountsWhatWasObserved) {
  const std::vector<double> shares = coverage(small_table());
  EXPECT_DOUBLE_EQ(shares[0], 1);
  EXPECT_DOUBLE_EQ(shares[1], 2.0 / 3);
  EXPECT_THAT(complete_queries(small_table()), ElementsAre(0, 2));
}

TEST(HardCap, KeepsAnAnswerOfExactlyTheBudgetAndFailsOneTokenMore) {
  const std::vector<std::uint32_t> limits = {30, 10};
  const OutcomeTable table = apply_hard_cap(small_table(), limits);
  EXPECT_EQ(table.budget_mode, BudgetMode::kHardCap);
  EXPECT_NO_THROW(validate(table));
  EXPECT_THAT(table.pairs,
              ElementsAre(Pair{0, Budget(10)}, Pair{0, Budget(30)}, Pair{0, Budget()},
                          Pair{1, Budget(10)}, Pair{1, Budget(30)}, Pair{1, Budget()}));
  // Query 0: "a" took 30 tokens for a score of 1, "b" 10 tokens for 0.5.
  const auto row = [&](const std::vector<double>& values, int query) {
    return std::vector<double>(values.begin() + query * 6, values.begin() + query * 6 + 6);
  };
  EXPECT_THAT(row(table.scores, 0), ElementsAre(0, 1, 1, 0.5, 0.5, 0.5));
  EXPECT_THAT(row(table.output_tokens, 0), ElementsAre(10, 30, 30, 10, 10, 10));
  // Query 2: 31 tokens are one too many for 30.
  EXPECT_THAT(row(table.scores, 2), ElementsAre(1, 1, 1, 0, 0, 1));
  EXPECT_THAT(row(table.output_tokens, 2), ElementsAre(5, 5, 5, 10, 30, 31));
  // What was not observed stays so at every budget.
  EXPECT_TRUE(std::isnan(table.scores[table.cell(1, 3)]));
  EXPECT_TRUE(std::isnan(table.output_tokens[table.cell(1, 5)]));
}

TEST(HardCap, RefusesWhatItCannotCut) {
  expect_error(ErrorCode::kInvalidArgument, "30 is given twice", [] {
    apply_hard_cap(small_table(), std::vector<std::uint32_t>{30, 10, 30});
  });
  EXPECT_THROW(apply_hard_cap(small_table(), std::vector<std::uint32_t>{0}), Error);
  const OutcomeTable capped = apply_hard_cap(small_table(), std::vector<std::uint32_t>{10});
  expect_error(ErrorCode::kInvalidArgument, "has limited budgets already",
               [&] { apply_hard_cap(capped, std::vector<std::uint32_t>{10}); });
}

TEST(QueryHash, EqualsTheDefinitionComputedElsewhere) {
  // FNV-1a and SplitMix64's finaliser, computed in Python.
  EXPECT_EQ(query_hash(""), 0xf52a15e9a9b5e89bu);
  EXPECT_EQ(query_hash("a"), 0x02c0bdbf481420f8u);
  EXPECT_EQ(query_hash("foobar"), 0x404da9e3b74078c2u);
  EXPECT_EQ(query_hash("Größe 10 µm"), 0x22ad3d4b6edaed97u);
}

TEST(QueryHash, HoldsOutOneTextInSoMany) {
  EXPECT_TRUE(is_held_out("foobar", 2));   // …c2 is even
  EXPECT_FALSE(is_held_out("foobar", 5));  // …≡ 3 mod 5
  EXPECT_FALSE(is_held_out("foobar", 0));
  int held_out = 0;
  for (int i = 0; i < 10000; ++i) held_out += is_held_out("query " + std::to_string(i), 5);
  EXPECT_NEAR(held_out, 2000, 160);  // four standard deviations
}

TEST(OutcomeTable, NamesItsDatasetsOnceInOrder) {
  OutcomeTable table;
  for (const char* const dataset : {"law", "", "history", "law"}) {
    table.queries.push_back({.id = {}, .text = {}, .dataset = dataset});
  }
  EXPECT_EQ(datasets(table), (std::vector<std::string>{"history", "law"}));
  EXPECT_TRUE(datasets({}).empty());
}

TEST(FoldOf, SpreadsTextsEvenlyAndAnewForEachSeed) {
  std::vector<int> counts(5);
  int same = 0, held_out_of_fold_0 = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string text = "text " + std::to_string(i);
    const std::uint32_t fold = fold_of(text, 5, 1);
    ASSERT_LT(fold, 5u);
    ++counts[fold];
    same += fold == fold_of(text, 5, 2);
    held_out_of_fold_0 += fold == 0 && is_held_out(text, 5);
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 130);
  EXPECT_NEAR(same, 1000, 130);              // two seeds agree only by chance
  EXPECT_NEAR(held_out_of_fold_0, 200, 70);  // and so do folds and what is held out
}

TEST(ChooseModels, TakesThoseThatAnsweredNearlyAllAndSaysWhichDidNot) {
  const Pool pool = {{.name = "a"}, {.name = "b"}, {.name = "unheard of"}};
  std::vector<std::string> warnings;
  const LogCallback log = [&](LogLevel level, std::string_view text) {
    EXPECT_EQ(level, LogLevel::kWarning);
    warnings.emplace_back(text);
  };
  OutcomeTable table = choose_models(small_table(), pool, {}, 0.9, log);
  ASSERT_EQ(table.models.size(), 1u);
  EXPECT_EQ(table.models[0].name, "a");
  EXPECT_THAT(warnings,
              ElementsAre(::testing::AllOf(HasSubstr("less than 90 % of the queries"),
                                           HasSubstr("\"b\" (66.7 % of the queries, 2 outcomes)")),
                          HasSubstr("without outcomes are left out: \"unheard of\"")));
  warnings.clear();
  table = choose_models(small_table(), pool, {}, 0.5, log);
  EXPECT_EQ(table.models.size(), 2u);
  EXPECT_EQ(warnings.size(), 1u);  // the one without outcomes

  const std::vector<std::string> names = {"b"};
  EXPECT_EQ(choose_models(small_table(), pool, names, 0.9).models[0].name, "b");
  const std::vector<std::string> wrong = {"B"};
  expect_error(ErrorCode::kInvalidArgument, "did you mean \"b\"?",
               [&] { choose_models(small_table(), pool, wrong, 0.9); });
  table = small_table();
  table.scores[0] = table.output_tokens[0] = kNone;
  expect_error(ErrorCode::kBadData,
               "no model answered 90 % of the queries (coverage): \"a\" (66.7 %",
               [&] { choose_models(table, pool, {}, 0.9); });
}

TEST(FindGaps, CountsQueriesByWhatTheyLack) {
  OutcomeTable table = small_table();
  table.scores[2] = table.output_tokens[2] = kNone;  // nothing is left of the second query
  table.scores[4] = table.output_tokens[4] = kNone;
  const std::vector<std::uint32_t> all = {0, 1, 2};
  const internal::Gaps gaps = internal::find_gaps(table, all);
  EXPECT_EQ(gaps.empty, 1u);
  EXPECT_EQ(gaps.incomplete, 1u);
  EXPECT_EQ(internal::describe(gaps),
            "of 3 queries, 1 has no outcome and 1 lacks an outcome of \"a\" (1)");
  const std::vector<std::uint32_t> first = {0};
  EXPECT_EQ(internal::describe(internal::find_gaps(table, first)), "");
}

}  // namespace
}  // namespace r2router
