// Sums of the rows of a table, each times its factor: where the task encoder spends its time. The
// rows are added in their order, in float64 and without fused operations, so the sums have the same
// bits on every instruction set. A few columns at a time stay in registers while all rows are
// added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace r2router::internal {

/// A row of a table, and what to multiply it by.
template <typename Number>
struct FactoredRow {
  const Number* numbers = nullptr;
  double factor = 0;
};

namespace row_sums {

inline constexpr std::size_t kLanes = 4;
using Doubles [[gnu::vector_size(kLanes * sizeof(double))]] = double;
template <typename Number>
using Wide = std::conditional_t<std::is_integral_v<Number>, std::int32_t, float>;
template <typename Number>
using Wides [[gnu::vector_size(kLanes * sizeof(float))]] = Wide<Number>;

/// Adds `vectors` times kLanes columns of all rows, from column `first`.
template <std::size_t vectors, typename RowOf>
[[gnu::always_inline]] inline void add_columns(std::size_t rows, const RowOf& row_of,
                                               std::size_t first, double* sums) {
  using Number = std::remove_cvref_t<decltype(*row_of(0).numbers)>;
  Doubles partial[vectors];
  std::memcpy(partial, sums + first, sizeof partial);
  for (std::size_t i = 0; i < rows; ++i) {
    const FactoredRow<Number> row = row_of(i);
    for (std::size_t v = 0; v < vectors; ++v) {
      // Through 32-bit numbers, for which there are instructions.
      Wide<Number> wide[kLanes];
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        wide[lane] = row.numbers[first + v * kLanes + lane];
      }
      Wides<Number> numbers;
      std::memcpy(&numbers, wide, sizeof numbers);
      partial[v] += row.factor * __builtin_convertvector(numbers, Doubles);
    }
  }
  std::memcpy(sums + first, partial, sizeof partial);
}

template <typename RowOf>
[[gnu::always_inline]] inline void add(std::size_t rows, const RowOf& row_of,
                                       std::span<double> sums) {
  std::size_t first = 0;
  const auto fits = [&](std::size_t vectors) { return sums.size() - first >= vectors * kLanes; };
  for (; fits(8); first += 8 * kLanes) add_columns<8>(rows, row_of, first, sums.data());
  for (; fits(3); first += 3 * kLanes) add_columns<3>(rows, row_of, first, sums.data());
  for (; fits(1); first += kLanes) add_columns<1>(rows, row_of, first, sums.data());
  for (; first < sums.size(); ++first) {
    for (std::size_t i = 0; i < rows; ++i) {
      const auto row = row_of(i);
      sums[first] += row.factor * static_cast<double>(row.numbers[first]);
    }
  }
}

#ifdef R2ROUTER_X86_KERNELS
template <typename RowOf>
[[gnu::target("avx2")]] void add_by_avx2(std::size_t rows, const RowOf& row_of,
                                         std::span<double> sums) {
  add(rows, row_of, sums);
}
#endif

}  // namespace row_sums

/// Adds factor · numbers of each row to `sums`. `row_of`: returns the FactoredRow of an index, with
/// as many numbers as there are sums.
template <typename RowOf>
void add_rows(std::size_t rows, const RowOf& row_of, std::span<double> sums) {
#ifdef R2ROUTER_X86_KERNELS
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return row_sums::add_by_avx2(rows, row_of, sums);
#endif
  row_sums::add(rows, row_of, sums);
}

}  // namespace r2router::internal
