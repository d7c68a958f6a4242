// The JSON of POST /chat/completions: requests are written, answers are read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "r2router/endpoint.h"
#include "r2router/error.h"
#include "r2router/llm_client.h"
#include "r2router/types.h"

namespace r2router::client {

/// A request's body. `cap_field` is one of the two fields; `provider` is a JSON object, or empty.
/// All text must be valid UTF-8.
std::string chat_request(const ChatRequest& request, CapField cap_field, std::string_view provider,
                         bool stream);

/// OpenRouter's provider preferences as they are sent. `json`: a JSON object, or empty. With
/// `require_parameters`, providers must understand all of a request, its cap too, unless the object
/// says otherwise. Throws Error(kInvalidArgument) for anything but an object.
std::string provider_preferences(std::string_view json, bool require_parameters);

/// What a server has said in answer to one request. All its text is valid UTF-8: what is not is
/// replaced by U+FFFD.
struct ChatAnswer {
  std::string text = {};
  std::string model = {};
  std::string finish_reason = {};
  std::optional<Usage> usage = {};
  std::optional<double> cost_usd = {};
  /// An error that the server reports in place of an answer or in the middle of one (http_status is
  /// then its code, if that is a number), or an answer that cannot be read.
  std::optional<Failure> failure = {};
  bool done = false;  ///< of a stream: the server has said that it ends here
};

/// Reads the body of a whole answer. `key` is kept out of messages, here and below.
ChatAnswer read_chat_answer(std::string_view body, const Secret& key);

/// Reads the data of one event of a streamed answer into `answer`; what comes after a failure or
/// the end is ignored.
void read_chat_chunk(std::string_view data, ChatAnswer& answer, const Secret& key);

/// Reads what a server reports in place of an answer. `status`: HTTP's, or 0 where only `body` can
/// tell.
Failure read_chat_error(int status, std::string_view body, const Secret& key);

/// The failure of an answer that is not what the protocol says; `expected` is a whole clause.
Failure unreadable(std::string_view expected, std::string_view found, const Secret& key);

/// An excerpt of a server's words, without the key.
std::string quoted(std::string_view words, const Secret& key);

}  // namespace r2router::client
