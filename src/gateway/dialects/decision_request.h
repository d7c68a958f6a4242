// The body of POST /v1/decisions: queries that are routed, but not answered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/policy.h"
#include "r2router/query.h"

namespace r2router::gateway {

/// One query. If `error` is set, only `error` and `id` are valid.
struct DecisionQuery {
  std::string error = {};        ///< the error, for people
  std::string id = {};           ///< JSON text; empty: none
  Query query = {};              ///< a text or an embedding, with its size
  std::string model = {};        ///< of a body in a dialect; empty: none
  Policy policy = {};            ///< includes the body's own cap as max_output_tokens
  std::string policy_name = {};  ///< as the client names it; empty: none
  bool explain = false, all_options = false;
};

struct DecisionRequest {
  std::vector<DecisionQuery> queries = {};
  bool is_list = false;  ///< the answer is also a list
};

/// Maximum number of queries.
inline constexpr std::size_t kMaxDecisionQueries = 10'000;

/// Reads a query or a list of queries. A query is a string, an object with "query" or "embedding"
/// and the other keys of a JSON-lines file (see open_json_lines()), or the body of a request in any
/// dialect. A list is an array, or the member "queries" of an object, whose member "r2" then holds
/// defaults for all of them. `budget_prompt` as in Dialect::read(). Throws Error(kInvalidArgument)
/// if the body is not JSON, is too long a list, or has unknown members. An error in one query is in
/// its `error`.
DecisionRequest read_decisions(std::string_view body, std::string_view budget_prompt);

}  // namespace r2router::gateway
