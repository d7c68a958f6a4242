#include "encode/tasks/row_sums.h"

#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "encode/tasks/sparse_features.h"

namespace r2router::internal {
namespace {

template <typename Number>
void expect_sums_of_a_plain_loop() {
  std::mt19937 random(1);
  for (std::size_t columns = 0; columns < 80; ++columns) {
    for (const std::size_t rows : {0, 1, 2, 37}) {
      std::vector<Number> table(columns * rows);
      for (Number& number : table)
        number = static_cast<Number>(static_cast<int>(random() % 255) - 127);
      std::vector<double> factors(rows), initial(columns);
      for (double& factor : factors) factor = std::normal_distribution<double>()(random);
      for (double& sum : initial) sum = std::normal_distribution<double>()(random);
      const auto row_of = [&](std::size_t i) {
        return FactoredRow<Number>{table.data() + i * columns, factors[i]};
      };
      std::vector<double> expected = initial, sums = initial, portable = initial;
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t column = 0; column < columns; ++column) {
          expected[column] += factors[i] * static_cast<double>(table[i * columns + column]);
        }
      }
      add_rows(rows, row_of, sums);
      row_sums::add(rows, row_of, std::span<double>(portable));
      ASSERT_EQ(sums, expected) << columns << " columns, " << rows << " rows";
      ASSERT_EQ(portable, expected) << columns << " columns, " << rows << " rows";
    }
  }
}

TEST(RowSums, HaveTheBitsOfAPlainLoop) {
  expect_sums_of_a_plain_loop<float>();
  expect_sums_of_a_plain_loop<std::int8_t>();
}

TEST(SparseFeatures, DoNotDependOnTheTextsBefore) {
  // So few slots that occurrences cancel.
  const LexicalEncoderSpec spec{
      .dimension = 8,
      .features = {{.kind = LexicalFeatures::Kind::kWords, .min_n = 1, .max_n = 2},
                   {.kind = LexicalFeatures::Kind::kCharacters, .min_n = 3, .max_n = 3}}};
  std::mt19937 random(2);
  SparseFeatures used;
  std::size_t cancelled = 0;
  for (int text_number = 0; text_number < 300; ++text_number) {
    std::string text;
    for (std::size_t i = random() % 60; i > 0; --i) text += "abc "[random() % 4];
    SparseFeatures fresh;
    const auto expected = fresh.collect(text, spec, nullptr);
    const auto found = used.collect(text, spec, nullptr);
    ASSERT_EQ(found.size(), expected.size()) << text;
    double squares = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].slot, expected[i].slot) << text;
      ASSERT_EQ(found[i].value, expected[i].value) << text;
      squares += found[i].value * found[i].value;
    }
    if (!found.empty()) {
      ASSERT_NEAR(squares, 1, 1e-12) << text;
    }
    cancelled += found.size() < 16;
  }
  EXPECT_GT(cancelled, 0U);
}

}  // namespace
}  // namespace r2router::internal
