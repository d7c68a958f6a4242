// The length of a request in tokens: an estimate, and an upper bound for worst-case costs.
//
// The bound is that of the body as a text (base/token_bound.h), and
//   - kMostImageTokens for each image instead of the bytes of its data,
//   - the bytes of tools, schemas and tool calls a second time, since chat templates print JSON
//     again with white space between its parts,
//   - kMessageTokens for each message and kTemplateTokens for the request, which chat templates
//     add, and kToolTokens if there are tools, for the providers' instructions on how to call them,
//   - the bytes of the longest budget instruction.
// Input of unknown size (documents, files of the server, earlier responses) is a Surcharge.
//
// kMostImageTokens is above the highest number of tokens that a current model bills for one image:
// 48,169 by gpt-4o-mini. Most models bill less than 2,000.
//
// Costs are bounded, but contexts are only estimated: in a long conversation, the bound is several
// times the actual length, and would exclude models whose context is large enough. If the estimate
// is too low, the server rejects the request without a bill, and another model is tried.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "r2router/query.h"

#include "gateway/dialects/json_text.h"

namespace r2router::gateway {

inline constexpr std::int64_t kMostImageTokens = 49'152;
inline constexpr std::int64_t kMessageTokens = 64;
inline constexpr std::int64_t kTemplateTokens = 512;
inline constexpr std::int64_t kToolTokens = 2'048;

/// Adds up the parts of a request.
class InputSize {
 public:
  void add_message() { ++messages_; }
  /// The text of a message: a JSON string.
  void add_text(JsonValue text);
  /// Input that is sent to the model as JSON, or is not text.
  void add_json(JsonValue value);
  void add_tools(JsonValue tools);
  /// `data`: the string in the body that holds it, base64 or a URL; it may be missing.
  void add_image(JsonValue data);
  /// A document or audio that is in the body as base64.
  void add_file(JsonValue data);

  std::uint32_t images() const { return images_; }
  /// `body`: the whole request, a valid JSON document.
  QuerySize size(std::string_view body, std::string_view budget_prompt) const;

 private:
  std::int64_t estimate_ = 0;
  std::int64_t messages_ = 0;
  std::int64_t json_bytes_ = 0, image_bytes_ = 0;
  std::uint32_t images_ = 0;
  bool has_tools_ = false;
};

}  // namespace r2router::gateway
