// The models that clients may request: GET /v1/models and /v1/models/ID, the same documents for all
// kinds of clients.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "r2router/capability.h"

namespace r2router::gateway {

/// An entry of the list.
struct ListedModel {
  std::string id;                 ///< "auto", "auto:POLICY" or the pool's name of a model
  std::string display_name = {};  ///< empty: the id
  std::string owner = {};         ///< "owned_by"; empty: "r2router"
  std::optional<std::uint32_t> context_tokens = {};
  std::optional<Capabilities> capabilities = {};  ///< empty: unknown
};

/// The document: `data` for the SDKs of OpenAI and Anthropic, `models` for Codex. `created`: Unix
/// seconds, of every entry. `for_anthropic`: the client is one of Anthropic's (it sends
/// "anthropic-version"), some of which ignore other models. Ids that begin with neither "claude"
/// nor "anthropic" therefore get the prefix of requested_model().
std::string model_list(std::span<const ListedModel> models, std::int64_t created,
                       bool for_anthropic);

/// One entry of `data`, alone.
std::string model_entry(const ListedModel& model, std::int64_t created, bool for_anthropic);

/// The id without the prefix "claude/" that model_list() adds. Call it if a requested model is
/// unknown.
std::string_view requested_model(std::string_view id) noexcept;

}  // namespace r2router::gateway
