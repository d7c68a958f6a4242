// Decisions for many embeddings at once.
#include <algorithm>
#include <optional>

#include "bindings.h"

namespace r2router::python {
namespace {

/// Rows between two looks at signals: a few milliseconds' worth.
constexpr std::size_t kBlockRows = 2048;

EmbeddingView slice(const EmbeddingView& view, std::size_t offset, std::size_t count) {
  return std::visit([&](auto values) -> EmbeddingView { return values.subspan(offset, count); },
                    view);
}

BatchDecision route_block(const Router& router, const EmbeddingView& view, std::size_t begin,
                          std::size_t count, const RouteOptions& options,
                          std::span<const std::int64_t> input_tokens,
                          std::span<const std::int64_t> max_input_tokens) {
  const std::size_t dimension = router.dimension();
  const EmbeddingView block = slice(view, begin * dimension, count * dimension);
  try {
    return std::visit(
        [&](auto values) {
          return router.route_batch(values, options, input_tokens, max_input_tokens);
        },
        block);
  } catch (const Error&) {
    // The library counts rows from the block's first.
    const auto bad = begin > 0 ? find_bad_element(block) : std::nullopt;
    if (!bad) throw;
    throw Error(ErrorCode::kInvalidArgument,
                "element " + std::to_string(*bad % dimension) + " of the embedding in row " +
                    std::to_string(begin + *bad / dimension) +
                    " is NaN, infinite or beyond 1e250: expected finite numbers");
  }
}

std::span<const std::int64_t> one_each(const TokenCounts& numbers, const char* name,
                                       std::size_t rows) {
  const auto size = static_cast<std::size_t>(numbers.size());
  if (size > 0 && size != rows) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(rows) + " embeddings, but " + name + " has " +
                    std::to_string(size) + " numbers: give one for each, or one for all");
  }
  return {numbers.data(), size};
}

/// The part of them that belongs to some rows; none stay none.
std::span<const std::int64_t> part(std::span<const std::int64_t> numbers, std::size_t begin,
                                   std::size_t count) {
  return numbers.empty() ? numbers : numbers.subspan(begin, count);
}

}  // namespace

Batch route_batch(const Router& router, const py::array& embeddings, const RouteOptions& options,
                  const TokenCounts& input_tokens, const TokenCounts& max_input_tokens) {
  const EmbeddingView all = view(embeddings);
  if (embeddings.ndim() != 2 ||
      static_cast<std::size_t>(embeddings.shape(1)) != router.dimension()) {
    throw Error(ErrorCode::kInvalidArgument,
                "expected embeddings of shape (N, " + std::to_string(router.dimension()) + ")");
  }
  const auto rows = static_cast<std::size_t>(embeddings.shape(0));
  const auto tokens = one_each(input_tokens, "input_tokens", rows);
  const auto most_tokens = one_each(max_input_tokens, "max_input_tokens", rows);

  const auto count = static_cast<py::ssize_t>(rows);
  Batch batch{py::array_t<std::int32_t>(count), py::array_t<std::int64_t>(count),
              py::array_t<double>(count),       py::array_t<double>(count),
              py::array_t<double>(count),       py::array_t<double>(count)};
  std::int32_t* const model_index = batch.model_index.mutable_data();
  std::int64_t* const budget = batch.budget.mutable_data();
  double* const quality = batch.quality.mutable_data();
  double* const output_tokens = batch.output_tokens.mutable_data();
  double* const cost_usd = batch.cost_usd.mutable_data();
  double* const risk = batch.risk.mutable_data();

  // An empty batch has its options checked as well.
  std::size_t begin = 0;
  do {
    const std::size_t block_rows = std::min(kBlockRows, rows - begin);
    {
      const ReleasedGil released;
      const BatchDecision block =
          route_block(router, all, begin, block_rows, options, part(tokens, begin, block_rows),
                      part(most_tokens, begin, block_rows));
      for (std::size_t i = 0; i < block_rows; ++i) {
        const Option& option = block.options[i];
        const std::size_t row = begin + i;
        model_index[row] = static_cast<std::int32_t>(option.model);
        budget[row] = to_number(option.budget);
        quality[row] = option.quality;
        output_tokens[row] = option.output_tokens;
        cost_usd[row] = option.cost_usd;
        risk[row] = option.risk;
      }
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    begin += block_rows;
  } while (begin < rows);
  return batch;
}

void register_batch(py::module_& module) {
  py::class_<Batch>(module, "Batch", "Decisions for the rows of an array, column by column.")
      .def_readonly("model_index", &Batch::model_index)
      .def_readonly("budget", &Batch::budget)
      .def_readonly("quality", &Batch::quality)
      .def_readonly("output_tokens", &Batch::output_tokens)
      .def_readonly("cost_usd", &Batch::cost_usd)
      .def_readonly("risk", &Batch::risk);
}

}  // namespace r2router::python
