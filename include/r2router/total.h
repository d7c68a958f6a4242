// One amount of money for all rows of a table: what each row may cost follows from it.
//
//     TotalCurve curve(Total::kPredicted);
//     router.price(column, curve);                              // first pass
//     Allowance allowance = curve.allowance(50);                // 50 USD for all rows
//     DecisionBatch batch = router.route(column, allowance);    // second pass
//
// The sum of the qualities is maximised under a limit on the sum of the costs. With a price w of
// quality (USD, the willingness to pay), the sum of quality − cost / w falls apart into rows: each
// takes its best option by itself (H. Everett, Generalized Lagrange multiplier method, Operations
// Research 11, 1963). As w grows, a row moves along the upper hull of quality over cost: it buys
// its steps in the order of their prices, price = Δcost / Δquality. So the steps of all rows, the
// lowest price first, are bought until the next one would exceed the total. No assignment that
// costs as little has a higher quality. Less than one step's cost is left over.
//
// A curve holds the steps. Curves of parts merge into the curve of the whole. One that is limited
// to a number of steps rounds prices up to three to four digits (13 bits) when it has more, and
// adds up the steps of one price; its memory then does not depend on the number of rows. What is
// left over is then at most what the steps of one rounded price cost.
//
// Finding all steps of a row takes longer than a decision. Where the rows can be read again, a
// curve of a sample says near which price the steps of all rows are needed. Where memory holds
// their decisions, the first pass can keep those at the lowest of these prices and the few steps
// from there, in a PricedBatch, and no second pass is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/columns.h"
#include "r2router/export.h"
#include "r2router/types.h"

namespace r2router {

/// The costs of which a total limits the sum.
enum class Total : std::uint8_t {
  kPredicted,  ///< Option::cost_usd
  kWorstCase,  ///< Option::worst_case_cost_usd; models whose price is unknown are left out
};

/// "total_usd", "total_worst_case_usd".
R2ROUTER_EXPORT std::string_view to_string(Total total) noexcept;

/// Prices of quality, USD.
struct PriceRange {
  double least_usd = 0, most_usd = std::numeric_limits<double>::infinity();

  friend bool operator==(const PriceRange&, const PriceRange&) = default;
};

/// What the rows of a table may cost: each takes the steps whose price is below `price_usd`, and
/// the first `rows` rows also those of that price.
struct Allowance {
  static constexpr std::uint64_t kAllRows = std::numeric_limits<std::uint64_t>::max();

  Total total = Total::kPredicted;
  double price_usd = 0;  ///< of quality 1 instead of 0
  std::uint64_t rows = kAllRows;
  double spent_usd = 0;  ///< what the choices of all rows cost together

  /// For the rows after the first `count`.
  Allowance after(std::uint64_t count) const {
    Allowance rest = *this;
    if (rows != kAllRows) rest.rows = rows > count ? rows - count : 0;
    return rest;
  }
  friend bool operator==(const Allowance&, const Allowance&) = default;
};

/// Which steps a curve keeps, and how exactly.
struct TotalCurveOptions {
  /// Above it, prices are rounded and steps of one price added up. 0: from the start, for rows
  /// whose order is unknown. Up to 24 bytes a step are used.
  std::size_t most_steps = std::numeric_limits<std::size_t>::max();
  /// Steps below it count as bought, those above it are ignored.
  PriceRange range = {};
  /// Of so many rows one is priced, as a sample for range_near(). 0 is 1.
  std::uint64_t every = 1;
};

/// What more money buys, for the rows of a table. Not thread-safe.
class R2ROUTER_EXPORT TotalCurve {
 public:
  /// A row's move from one option to the next, or to its first one.
  struct Step {
    double price_usd = 0;  ///< of quality; 0: the first option
    double cost_usd = 0;   ///< how much more the next option costs
    std::uint64_t row = 0;

    friend bool operator==(const Step&, const Step&) = default;
  };

  explicit TotalCurve(Total total, const TotalCurveOptions& options = {})
      : total_(total), options_(options), rounded_(options.most_steps == 0) {
    if (options_.every == 0) options_.every = 1;
  }

  Total total() const { return total_; }
  const TotalCurveOptions& options() const { return options_; }
  std::uint64_t rows() const { return rows_; }

  /// Adds rows after those that it has. `steps`: rows count from 0.
  void add(std::span<const Step> steps, std::uint64_t rows);
  /// Adds the rows of another curve after those that it has. Throws Error(kInvalidArgument) if that
  /// is of another total or range.
  void merge(const TotalCurve& later);

  /// What the options of all rows cost together at the lowest price of the range, where they are
  /// the cheapest, and at the highest one, where they are those of the highest quality.
  double least_usd() const;
  double most_usd() const;

  /// Whether the price that spends `usd` is in the range.
  bool reaches(double usd) const;
  /// A range that probably has the price at which all rows together cost `usd`, from a sample; all
  /// prices if it is too small.
  PriceRange range_near(double usd) const;

  /// What the rows may cost if all together may cost `usd`. Throws Error(kInvalidArgument) for a
  /// negative or infinite amount or NaN, and Error(kBudget) for less than least_usd(), with an
  /// amount that is enough. Only for an amount that it reaches().
  Allowance allowance(double usd) const;

  /// As bytes for another process on a machine of the same byte order.
  std::string to_bytes() const;
  /// Throws Error(kBadData) for bytes that to_bytes() did not return.
  static TotalCurve from_bytes(std::string_view bytes);

 private:
  Total total_;
  TotalCurveOptions options_;
  bool rounded_;              ///< prices are, and rows are not known
  std::size_t combined_ = 0;  ///< steps when those of one price were last added up
  std::uint64_t rows_ = 0;
  std::vector<Step> steps_;
};

/// The decisions for the rows of a table at every price of a curve's range.
struct PricedBatch {
  /// From this price on, the row takes this option. Prices are within the range.
  struct Step {
    double price_usd = 0;
    std::size_t row = 0;
    Option option = {};
  };

  DecisionBatch batch = {};      ///< at the lowest price
  std::vector<Step> steps = {};  ///< by row, then by price

  /// Returns the decisions within an allowance of the same curve, whose first row is this batch's:
  /// those of Router::route() within it. Leaves none.
  R2ROUTER_EXPORT DecisionBatch take(const Allowance& allowance);
};

}  // namespace r2router
