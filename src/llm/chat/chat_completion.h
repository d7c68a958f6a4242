// The JSON of POST /chat/completions: requests are written, answers are read.
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

/// How a request is put to a server or a model that does not take everything.
struct RequestForm {
  CapField cap_field = CapField::kMaxTokens;  ///< one of the two fields
  /// Parameters to leave out, of "temperature", "stream_options", "models" and "provider".
  std::vector<std::string> omit = {};

  std::string_view cap_name() const;
  bool sends(std::string_view parameter) const;
};

/// A request's body. `provider` is a JSON object, or empty. All text must be valid UTF-8. Throws
/// Error(kInvalidArgument) if ChatRequest::extra is not a JSON object or has a member that it may
/// not.
std::string chat_request(const ChatRequest& request, const RequestForm& form,
                         std::string_view provider, bool stream);

/// OpenRouter's provider preferences as they are sent. `json`: a JSON object, or empty. With
/// `require_parameters`, providers must understand all of a request, its cap too, unless the object
/// says otherwise. Throws Error(kInvalidArgument) for anything but an object.
std::string provider_preferences(std::string_view json, bool require_parameters);

/// What a server has said in answer to one request. All its text is valid UTF-8: what is not is
/// replaced by U+FFFD.
struct ChatAnswer {
  std::string text = {};
  std::string reasoning = {};
  std::string refusal = {};
  std::string model = {};
  std::string finish_reason = {};
  bool has_choice = false;  ///< there was an answer, perhaps an empty one
  /// There is an answer that is not text: a tool call, an image or a sound.
  bool has_other_content = false;
  std::optional<Usage> usage = {};
  std::optional<double> cost_usd = {};
  /// An error that the server reports in place of an answer or in the middle of one (http_status is
  /// then its code, if that is a number), or an answer that cannot be read.
  std::optional<Failure> failure = {};
  ServerError said = {};  ///< the error that the server reports
  bool done = false;      ///< of a stream: the server has said that it ends here

  /// Of a stream: the first part of a character, as the JSON spells it, whose rest comes in the
  /// next piece of `field`.
  struct Cut {
    std::string part = {};
    std::string ChatAnswer::*field = nullptr;
  };
  Cut cut = {};
  std::optional<std::int64_t> choice = {};  ///< of a stream: the number of the choice that is read
};

/// Reads the body of a whole answer. `key` is kept out of messages, here and below.
ChatAnswer read_chat_answer(std::string_view body, const Secret& key);

/// Reads one event of a streamed answer, its name and its data, into `answer`; what comes after a
/// failure or the end is ignored, and so is what servers send to keep a connection open.
void read_chat_chunk(std::string_view event, std::string_view data, ChatAnswer& answer,
                     const Secret& key);

/// To be called after the last event.
void end_chat_stream(ChatAnswer& answer);

/// Reads what a server reports in place of an answer. `status`: HTTP's, or 0 for an
/// error under status 200. `said`: set to what was read.
Failure read_chat_error(int status, std::string_view body, const Secret& key,
                        ServerError* said = nullptr);

/// The failure of an answer that is not what the protocol says; `expected` is a whole clause.
Failure unreadable(std::string_view expected, std::string_view found, const Secret& key);

/// An excerpt of a server's words, without the key.
std::string quoted(std::string_view words, const Secret& key);

}  // namespace r2router::llm
