// Files of JSON lines, plain or compressed with gzip.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/json.h"

namespace r2router::io {

/// Called with an object and the number of its line, from 1.
using JsonLineVisitor = std::function<void(const JsonView& object, std::uint64_t line)>;

/// Calls visit(object, line) for every line that is not blank. Throws Error(kBadData) with file and
/// line for one that is not a JSON object, is longer than 64 MiB, or cannot be decompressed; adds
/// them to what `visit` throws about its line.
void for_each_json_line(const std::string& path, const JsonLineVisitor& visit);

}  // namespace r2router::io
