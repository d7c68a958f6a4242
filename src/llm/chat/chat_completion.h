// The JSON of POST /chat/completions: writes requests and reads answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/types.h"

#include "llm/http/server_error.h"

namespace r2router::llm {

/// Of the two fields that may carry the cap, the one that is not `field`.
inline CapField other_cap_field(CapField field) {
  return field == CapField::kMaxTokens ? CapField::kMaxCompletionTokens : CapField::kMaxTokens;
}

/// How to write a request for a server or model that does not support everything.
struct RequestForm {
  CapField cap_field = CapField::kMaxTokens;  ///< one of the two fields
  /// Parameters to leave out, of "temperature", "stream_options", "models" and "provider".
  std::vector<std::string> omit = {};

  std::string_view cap_name() const;
  bool sends(std::string_view parameter) const;
};

/// A request's body. `provider` is a JSON object, or empty. All text must be valid UTF-8. Throws
/// Error(kInvalidArgument) if ChatRequest::extra is not a JSON object or has a forbidden member.
std::string chat_request(const ChatRequest& request, const RequestForm& form,
                         std::string_view provider, bool stream);

/// OpenRouter's provider preferences, as sent. `json`: a JSON object, or empty. With
/// `require_parameters`, providers must support all parameters of a request, including its cap,
/// unless the object sets it. Throws Error(kInvalidArgument) for anything but an object.
std::string provider_preferences(std::string_view json, bool require_parameters);

/// A server's answer to one request. All text is valid UTF-8: invalid bytes are replaced by U+FFFD.
struct ChatAnswer {
  std::string text = {};
  std::string reasoning = {};
  std::string refusal = {};
  std::string model = {};
  std::string finish_reason = {};
  bool has_choice = false;  ///< there was an answer, possibly empty
  /// The answer has other content than text: a tool call, an image or audio.
  bool has_other_content = false;
  std::optional<Usage> usage = {};
  std::optional<double> cost_usd = {};
  /// An error that the server reports instead of or within an answer (http_status is then its code,
  /// if numeric), or an answer that cannot be read.
  std::optional<Failure> failure = {};
  ServerError said = {};  ///< the error that the server reports
  bool done = false;      ///< of a stream: the server has sent the end

  /// Of a stream: an incomplete character, as spelled in JSON, that the next chunk of `field`
  /// completes.
  struct Cut {
    std::string part = {};
    std::string ChatAnswer::*field = nullptr;
  };
  Cut cut = {};
  std::optional<std::int64_t> choice = {};  ///< of a stream: the index of the choice that is read
};

/// Reads the body of a whole answer. `key` never appears in messages, here and below.
ChatAnswer read_chat_answer(std::string_view body, const Secret& key);

/// Reads one event of a streamed answer, its name and its data, into `answer`; ignores events after
/// a failure or the end, and keep-alive messages.
void read_chat_chunk(std::string_view event, std::string_view data, ChatAnswer& answer,
                     const Secret& key);

/// Call it after the last event.
void end_chat_stream(ChatAnswer& answer);

/// True for any of the spellings that servers use for an answer that the cap ended, and for one
/// that a content filter ended.
bool ended_by_cap(std::string_view finish_reason);
bool ended_by_filter(std::string_view finish_reason);

/// Reads an error report instead of an answer. `status`: HTTP's, or 0 for an error under status
/// 200. `said`: set to what was read.
Failure read_chat_error(int status, std::string_view body, const Secret& key,
                        ServerError* said = nullptr);

/// The failure for an answer that violates the protocol; `expected` is a complete clause.
Failure unreadable(std::string_view expected, std::string_view found, const Secret& key);

/// An excerpt of a server's message, without the key.
std::string quoted(std::string_view words, const Secret& key);

}  // namespace r2router::llm
