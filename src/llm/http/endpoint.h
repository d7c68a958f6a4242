// Shared by calls to a server: its address, and removing its key from messages.
#pragma once

#include <string>
#include <string_view>

#include "r2router/llm/endpoint.h"

namespace r2router::llm {

/// The parts of Endpoint::base_url.
struct BaseUrl {
  /// Removes white space around `text`, and slashes at the end of the path.
  explicit BaseUrl(std::string_view text);

  /// The URL of a call. `path` starts with a slash.
  std::string with(std::string_view path) const { return address + std::string(path) + query; }

  std::string address;  ///< without the query, which may contain a key
  std::string query;    ///< with its "?"; "" without one
};

/// `text` with "[key]" in place of the key, in case a server or a proxy repeated it, also with
/// characters escaped as in URLs or JSON. A key under 8 characters, such as "1" or "EMPTY", may
/// occur in messages by chance: it is replaced only after "Bearer". A key that could be a word is
/// replaced only if it is not part of another word.
std::string redact(std::string text, const Secret& key);

}  // namespace r2router::llm
