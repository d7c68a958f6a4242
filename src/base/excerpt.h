// Untrusted text in messages for people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace r2router {

/// `text` in quotes, cut to a readable length, with everything but printable ASCII escaped as in
/// JSON; "…" after the quotes shows that it was cut.
std::string excerpt(std::string_view text, std::size_t most_bytes = 120);

}  // namespace r2router
