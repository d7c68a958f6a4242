#include "base/text_layout.h"

#include <algorithm>
#include <sstream>

#include "base/unicode.h"

namespace r2router {

std::string printable(std::string_view text) {
  constexpr std::string_view kReplaced = "\uFFFD";
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\r') continue;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      shown += kReplaced;
    } else if (byte == 0xC2 && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      shown += kReplaced;  // U+0080 to U+009F are control characters too
      ++i;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return !is_continuation(c); }));
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    if (lines.back().empty()) {
      lines.back() = word;
    } else if (columns(lines.back()) + 1 + columns(word) <= width) {
      lines.back() += ' ' + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

std::string fact_line(std::string_view label, std::string_view value, std::size_t width) {
  std::string line(label);
  line += ':';
  line.append(width - std::min(width, columns(line)), ' ');
  return line.append(value) += '\n';
}

std::string table_text(const std::vector<std::vector<std::string>>& rows,
                       const std::vector<std::size_t>& left) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - columns(row[i]), ' ');
      const bool is_left = std::ranges::find(left, i) != left.end();
      text += (i == 0 ? "" : "  ") + (is_left ? row[i] + space : space + row[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace r2router
