// The web page of the gateway. Its files are part of the program; it loads no external resources.
#pragma once

#include <optional>
#include <string_view>

#include "llm/http/transport.h"

namespace r2router::gateway {

struct PageFile {
  std::string_view content;
  llm::Headers headers;
};

/// The file at a path: the page at "/", or a file that it loads. Empty if there is none.
/// Thread-safe.
std::optional<PageFile> page_file(std::string_view path);

}  // namespace r2router::gateway
