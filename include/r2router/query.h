// What a router is asked.
#pragma once

#include <string>

namespace r2router {

/// One message of a conversation.
struct Message {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;

  friend bool operator==(const Message&, const Message&) = default;
};

}  // namespace r2router
