// What calls of a server share: where they go, and how its key is kept out of messages.
#pragma once

#include <string>
#include <string_view>

#include "r2router/llm/endpoint.h"

namespace r2router::llm {

/// Endpoint::base_url in its parts.
struct BaseUrl {
  /// Leaves out the white space around `text`, and slashes at the path's end.
  explicit BaseUrl(std::string_view text);

  /// The address of a call, whose `path` begins with a slash.
  std::string with(std::string_view path) const { return address + std::string(path) + query; }

  std::string address;  ///< without the query: a key may be in that
  std::string query;    ///< with its "?"; "" without one
};

/// `text` with "[key]" in place of the key, where a server or a proxy has repeated it, also with
/// some characters escaped as in a URL or in JSON. A key under 8 characters, such as "1" or
/// "EMPTY", occurs in messages by chance: it is replaced only after "Bearer", where it is sent. One
/// that could be a word is replaced only where it is not a part of another word.
std::string redact(std::string text, const Secret& key);

}  // namespace r2router::llm
