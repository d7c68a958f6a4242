// Text for people in lines and columns. Widths count code points.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace r2router {

/// Untrusted text, such as a model's answer, for a terminal: control characters other than line
/// breaks and tabs become U+FFFD, and carriage returns are dropped.
std::string printable(std::string_view text);

/// The width of a text in columns.
std::size_t columns(std::string_view text);

/// Splits text at white space into lines of at most `width` columns.
std::vector<std::string> wrap(std::string_view text, std::size_t width);

/// Where the values of a decision's and a reply's facts begin.
inline constexpr std::size_t kFactColumn = 19;

/// "label:     value" and a line break; values begin at column `width`.
std::string fact_line(std::string_view label, std::string_view value, std::size_t width);

/// A line for each row, with columns as wide as their widest cell and two spaces apart. Columns in
/// `left` (indices) are flush left, the others flush right.
std::string table_text(const std::vector<std::vector<std::string>>& rows,
                       const std::vector<std::size_t>& left = {0});

}  // namespace r2router
