// Columns: routes the queries of a table, and returns one column for each figure of their
// decisions.
//
//     ArrowSchema schema; ArrowArray prompts;                  // from Arrow, Polars, DuckDB, …
//     DecisionBatch batch = router.route(*arrow_column(schema, prompts));
//     batch.decided(3) ? (*batch.pool)[batch.model[3]].name : to_string(batch.reason[3]);
//
// A row that cannot be routed gets a reason instead of a decision, and does not affect the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "r2router/arrow.h"
#include "r2router/export.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

namespace r2router {

/// The query in a row. Without text and embedding, it is missing.
struct QueryCell {
  std::optional<std::string_view> text = {};    ///< UTF-8
  std::optional<EmbeddingView> embedding = {};  ///< used instead of an encoder's
};

/// Queries of a table, by row. Implementations are immutable; cell() may be called from many
/// threads. Its result is valid as long as the column exists.
class R2ROUTER_EXPORT QueryColumn {
 public:
  virtual ~QueryColumn() = default;
  virtual std::size_t size() const = 0;
  /// `row` < size().
  virtual QueryCell cell(std::size_t row) const = 0;
};

/// What an Arrow column holds.
enum class ColumnKind : std::uint8_t { kText, kEmbedding, kNull };

/// The kind of a column of this type, or of the values of its dictionary. Throws
/// Error(kInvalidArgument) for a type that arrow_column() does not read.
R2ROUTER_EXPORT ColumnKind column_kind(const ArrowSchema& schema);

/// A view of an Arrow array, which must outlive it: texts (utf8, large_utf8, utf8_view), embeddings
/// (fixed-size list, list or large list of float32 or float64), dictionary arrays of either, or
/// nulls only. Supports offsets and nulls. Throws Error(kInvalidArgument) for another type or for
/// missing buffers. Does not check offsets within the buffers.
R2ROUTER_EXPORT std::unique_ptr<QueryColumn> arrow_column(const ArrowSchema& schema,
                                                          const ArrowArray& array);

/// Why a row has its decision (as Reason), or why it has none.
enum class RowReason : std::uint8_t {
  kUtility = static_cast<std::uint8_t>(Reason::kUtility),
  kUsd = static_cast<std::uint8_t>(Reason::kUsd),
  kCheapest = static_cast<std::uint8_t>(Reason::kCheapest),
  kBest = static_cast<std::uint8_t>(Reason::kBest),
  kQualityMissed = static_cast<std::uint8_t>(Reason::kQualityMissed),
  kNull,         ///< the query is missing
  kEmpty,        ///< the text is empty or all white space
  kWrongLength,  ///< the embedding does not have Router::dimension() numbers
  kNotFinite,    ///< the embedding has a number that is NaN, infinite or too large
  kNoOption,     ///< no pair meets the constraints
  kNoEmbedding,  ///< the encoder failed for the text
};

/// "risk", "usd", "cheapest", "best", "quality_missed"; "null", "empty", "wrong_length",
/// "not_finite", "no_option", "no_embedding".
R2ROUTER_EXPORT std::string_view to_string(RowReason reason) noexcept;

/// Whether rows with this reason have a decision.
constexpr bool has_decision(RowReason reason) { return reason <= RowReason::kQualityMissed; }

/// Decisions for many queries: a column for each member of Option, with one element for each row.
/// Elements of rows without a decision are unspecified.
struct DecisionBatch {
  std::vector<std::uint32_t> model = {};  ///< index into `pool`
  std::vector<Budget> budget = {};
  std::vector<double> quality = {};
  std::vector<double> output_tokens = {};
  std::vector<double> cost_usd = {};
  std::vector<double> utility = {};
  std::vector<std::uint32_t> max_tokens = {};
  std::vector<double> worst_case_cost_usd = {};
  std::vector<double> quality_spread = {};
  std::vector<RowReason> reason = {};
  std::shared_ptr<const Pool> pool = {};

  /// So many rows, for set().
  R2ROUTER_EXPORT static DecisionBatch of(std::shared_ptr<const Pool> pool, std::size_t rows);

  std::size_t size() const { return reason.size(); }
  bool decided(std::size_t row) const { return has_decision(reason[row]); }
  /// The choice for a row with a decision.
  R2ROUTER_EXPORT Option option(std::size_t row) const;
  /// Decides a row. May be called for different rows from several threads.
  R2ROUTER_EXPORT void set(std::size_t row, const Option& option, Reason why);
  /// Allocates memory for so many rows, for append().
  R2ROUTER_EXPORT void reserve(std::size_t rows);
  /// Adds the rows of another batch of the same pool; a batch without a pool takes it.
  R2ROUTER_EXPORT void append(const DecisionBatch& other);
};

/// The batch as an Arrow struct array: `model` (utf8), `budget` (int64, null: unlimited),
/// `max_tokens` (int64), `predicted_quality`, `predicted_output_tokens`, `predicted_cost_usd`,
/// `worst_case_cost_usd` (float64) and `reason` (utf8). In rows without a decision, all fields
/// except `reason` are null. The array shares the float64 columns with the batch, which it keeps
/// alive. The caller must release both structs, as specified by Arrow.
R2ROUTER_EXPORT void export_arrow(const std::shared_ptr<const DecisionBatch>& batch,
                                  ArrowSchema* schema, ArrowArray* array);

}  // namespace r2router
