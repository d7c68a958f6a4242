#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>

#include "r2router/error.h"
#include "r2router/eval/contenders.h"

#include "score/kernels.h"
#include "score/neighbour_search.h"

namespace r2router::eval {
namespace {

/// Queries that are searched for together, which reads the training embeddings less often.
constexpr std::size_t kQueriesAtOnce = 256;

void check_arguments(const OutcomeTable& table, std::span<const float> embeddings,
                     const OutcomeTable& training, std::span<const float> training_embeddings,
                     std::size_t dimension, std::size_t k) {
  if (training.pairs != table.pairs) {
    throw Error(ErrorCode::kInvalidArgument,
                "the training table does not have the same (model, budget) pairs");
  }
  if (dimension == 0 || embeddings.size() != table.queries.size() * dimension ||
      training_embeddings.size() != training.queries.size() * dimension) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(embeddings.size()) + " numbers for " +
                    std::to_string(table.queries.size()) + " queries and " +
                    std::to_string(training_embeddings.size()) + " for " +
                    std::to_string(training.queries.size()) +
                    " training queries: expected one embedding of " + std::to_string(dimension) +
                    " for each");
  }
  if (k == 0) throw Error(ErrorCode::kInvalidArgument, "k is 0: expected 1 neighbour or more");
}

[[noreturn]] void throw_too_few(std::size_t k) {
  throw Error(ErrorCode::kBadData,
              "there are fewer than " + std::to_string(k) +
                  " other training queries with outcomes of every pair: expected at least k; give "
                  "more queries, or choose a smaller k");
}

/// How often the text that `rows` have most often is among them.
std::size_t most_copies(const OutcomeTable& training, std::span<const std::uint32_t> rows) {
  std::unordered_map<std::string_view, std::size_t> copies;
  std::size_t most = 0;
  for (const std::uint32_t row : rows) {
    most = std::max(most, ++copies[training.queries[row].text]);
  }
  return most;
}

}  // namespace

PredictionTable predict_neighbours(const OutcomeTable& table, std::span<const float> embeddings,
                                   const OutcomeTable& training,
                                   std::span<const float> training_embeddings,
                                   std::size_t dimension, std::size_t k) {
  check_arguments(table, embeddings, training, training_embeddings, dimension, k);
  const std::vector<std::uint32_t> rows = complete_queries(training);
  if (rows.size() < k) throw_too_few(k);
  std::vector<float> known;
  for (const std::uint32_t row : rows) {
    const auto embedding = training_embeddings.subspan(row * dimension, dimension);
    known.insert(known.end(), embedding.begin(), embedding.end());
  }
  const score::NeighbourSearch search(known, dimension, score::find_kernel({}));
  // Enough of them that k are left without the query's own text.
  const std::size_t count = std::min(rows.size(), k + most_copies(training, rows));

  const std::size_t pairs = table.pairs.size();
  PredictionTable result;
  result.quality.assign(table.queries.size() * pairs, 0);
  result.output_tokens.assign(table.queries.size() * pairs, 0);
  std::vector<std::vector<score::Neighbour>> found;
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    const std::size_t in_block = query % kQueriesAtOnce;
    if (in_block == 0) {
      const std::size_t together = std::min(kQueriesAtOnce, table.queries.size() - query);
      const auto block = embeddings.subspan(query * dimension, together * dimension);
      search.search(std::vector<double>(block.begin(), block.end()), together, count, found);
    }
    std::vector<score::Neighbour>& neighbours = found[in_block];
    if (neighbours.empty()) {  // a zero embedding: all are as near
      for (std::uint32_t i = 0; i < rows.size(); ++i) neighbours.push_back({i, 0});
    }
    std::erase_if(neighbours, [&](const score::Neighbour& neighbour) {
      return training.queries[rows[neighbour.index]].text == table.queries[query].text;
    });
    if (neighbours.size() < k) throw_too_few(k);
    neighbours.resize(k);
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      double score = 0, tokens = 0;
      for (const score::Neighbour& neighbour : neighbours) {
        const std::size_t cell = training.cell(rows[neighbour.index], pair);
        score += training.scores[cell];
        tokens += training.output_tokens[cell];
      }
      result.quality[table.cell(query, pair)] = score / static_cast<double>(k);
      result.output_tokens[table.cell(query, pair)] = tokens / static_cast<double>(k);
    }
  }
  return result;
}

}  // namespace r2router::eval
