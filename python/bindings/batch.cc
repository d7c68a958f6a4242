// Decisions for many embeddings at once.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "bindings.h"

namespace r2router::python {
namespace {

EmbeddingView slice(const EmbeddingView& view, std::size_t offset, std::size_t count) {
  return std::visit([&](auto values) -> EmbeddingView { return values.subspan(offset, count); },
                    view);
}

DecisionBatch route_block(const Router& router, const EmbeddingView& view, std::size_t begin,
                          std::size_t count, const RouteOptions& options,
                          std::span<const QuerySize> sizes) {
  const std::size_t dimension = router.dimension();
  const EmbeddingView block = slice(view, begin * dimension, count * dimension);
  try {
    return std::visit([&](auto values) { return router.route_batch(values, options, sizes); },
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

void check_one_each(std::size_t count, const char* name, std::size_t rows) {
  if (count == 0 || count == rows) return;
  throw Error(ErrorCode::kInvalidArgument,
              "there are " + std::to_string(rows) + " embeddings, but " + name + " has " +
                  std::to_string(count) + " elements: give one for each, or one for all");
}

}  // namespace

DecisionBatch route_batch(const Router& router, const py::array& embeddings,
                          const RouteOptions& options, const QuerySize& size,
                          const TokenCounts& input_tokens, const std::vector<std::string>& texts,
                          std::uint32_t threads) {
  const EmbeddingView all = view(embeddings);
  if (embeddings.ndim() != 2 ||
      static_cast<std::size_t>(embeddings.shape(1)) != router.dimension()) {
    throw Error(ErrorCode::kInvalidArgument,
                "expected embeddings of shape (N, " + std::to_string(router.dimension()) + ")");
  }
  const auto rows = static_cast<std::size_t>(embeddings.shape(0));
  const std::span<const std::int64_t> tokens(input_tokens.data(),
                                             static_cast<std::size_t>(input_tokens.size()));
  check_one_each(tokens.size(), "input_tokens", rows);
  check_one_each(texts.size(), "texts", rows);
  const auto size_of = [&](std::size_t row) {
    QuerySize own = size;
    if (!tokens.empty()) own.input_tokens = tokens[row];
    if (!texts.empty()) {
      own.input_tokens = estimate_input_tokens(texts[row]);
      own.max_input_tokens = most_input_tokens(texts[row], router.config().budget_prompt);
    }
    return own;
  };

  DecisionBatch batch;
  RouteOptions own_options = options;
  own_options.threads = threads;
  const std::size_t most_rows = kBlockRows * internal::thread_count(threads);
  batch.reserve(rows);
  // An empty batch has its options checked as well.
  std::size_t begin = 0;
  do {
    const std::size_t block_rows = std::min(most_rows, rows - begin);
    {
      const ReleasedGil released;
      std::vector<QuerySize> sizes = {size};
      if (!tokens.empty() || !texts.empty()) {
        sizes.clear();
        for (std::size_t i = 0; i < block_rows; ++i) sizes.push_back(size_of(begin + i));
      }
      batch.append(route_block(router, all, begin, block_rows, own_options, sizes));
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    begin += block_rows;
  } while (begin < rows);
  return batch;
}

}  // namespace r2router::python
