#include "data/table_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <vector>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/text_file.h"
#include "base/unicode.h"

namespace r2router::io {
namespace {

using std::string_view_literals::operator""sv;

[[noreturn]] void fail_at(const TextFile& file, std::uint64_t line, const std::string& message) {
  throw Error(ErrorCode::kBadData, message, {.file = file.path(), .line = line});
}

void check_length(const TextFile& file, std::uint64_t line, const std::string& row) {
  if (row.size() <= TextFile::kMostBytes) return;
  fail_at(file, line,
          "the row is longer than " + std::to_string(TextFile::kMostBytes >> 20) +
              " MiB: expected one row of the table; check its quotes or brackets");
}

void skip_space(TextFile& file) {
  for (int c = file.peek(); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = file.peek()) {
    file.get();
  }
}

// JSON.

/// Replaces each NaN outside strings by null; false if there is none.
bool replace_nan(std::string& json) {
  std::string result;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size();) {
    if (!in_string && std::string_view(json).substr(i).starts_with("NaN"sv)) {
      result += "null";
      i += 3;
      continue;
    }
    if (in_string && json[i] == '\\' && i + 1 < json.size()) {
      result += json[i++];
    } else if (json[i] == '"') {
      in_string = !in_string;
    }
    result += json[i++];
  }
  if (result.size() == json.size()) return false;
  json = std::move(result);
  return true;
}

/// The error of a row's text, which begins in `line`, at its place in the file.
Error at_place(const Error& error, const std::string& path, std::uint64_t line) {
  return Error(error.code(), error.message(),
               {.file = path,
                .pointer = error.where().pointer,
                .line = line + error.where().line.value_or(1) - 1});
}

void visit_json(const TextFile& file, std::string text, std::uint64_t line,
                const RowVisitor& visit) {
  std::optional<JsonDocument> document;
  try {
    try {
      document.emplace(text, "", ErrorCode::kBadData);
    } catch (const Error&) {
      if (!replace_nan(text)) throw;
      document.emplace(text, "", ErrorCode::kBadData);
    }
    document->root().members("an object for each row of the table");
  } catch (const Error& error) {
    throw at_place(error, file.path(), line);
  }
  try {
    visit(document->root(), line);
  } catch (const Error& error) {
    if (error.where().line || !error.where().file.empty()) throw;
    throw at_place(error, file.path(), line);
  }
}

void read_json_lines(TextFile& file, const RowTextVisitor& visit) {
  std::string text;
  for (std::uint64_t line = file.line(); file.next_line(text); line = file.line()) {
    if (text.find_first_not_of(" \t") != std::string::npos) visit(text, line);
  }
}

/// Takes an object up to its closing bracket. It is parsed later: only brackets are counted.
void take_object(TextFile& file, std::string& text) {
  const std::uint64_t line = file.line();
  text.clear();
  std::size_t depth = 0;
  bool in_string = false;
  do {
    const int next = file.get();
    if (next == TextFile::kEnd) {
      fail_at(file, line, "the file ends within the object that begins here: it is cut off");
    }
    const auto c = static_cast<char>(next);
    text += c;
    check_length(file, line, text);
    if (in_string) {
      if (c == '\\' && file.peek() != TextFile::kEnd) text += static_cast<char>(file.get());
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
  } while (depth > 0);
}

void read_json_array(TextFile& file, const RowTextVisitor& visit) {
  const auto expect = [&](const char* expected) {
    const int next = file.peek();
    const char c = static_cast<char>(next);
    fail_at(file, file.line(),
            "not a JSON array of objects: found " +
                (next == TextFile::kEnd ? "the file's end" : excerpt({&c, 1})) + ", expected " +
                expected);
  };
  file.get();
  skip_space(file);
  std::string text;
  for (bool first = true; !(first && file.peek() == ']'); first = false) {
    if (!first) {
      skip_space(file);
      if (file.peek() == ']') break;
      if (file.peek() != ',') expect("a comma or \"]\"");
      file.get();
      skip_space(file);
    }
    if (file.peek() != '{') expect("an object for each row of the table");
    const std::uint64_t line = file.line();
    take_object(file, text);
    visit(text, line);
  }
  file.get();
  skip_space(file);
  if (file.peek() != TextFile::kEnd) expect("nothing after the array");
}

// CSV.

/// A header's text, read as a file is.
struct HeaderText {
  std::string_view text;
  std::size_t position = 0;
  int peek() const {
    return position < text.size() ? static_cast<unsigned char>(text[position]) : TextFile::kEnd;
  }
  int get() {
    const int c = peek();
    if (c != TextFile::kEnd) ++position;
    return c;
  }
};

bool ends_record(int c) { return c == '\n' || c == '\r' || c == TextFile::kEnd; }

/// Takes the cells of a record and its end. `fail` gets what is wrong with the record, and throws.
template <typename Source, typename Fail>
void take_record(Source& source, char separator, std::vector<std::string>& cells,
                 const Fail& fail) {
  cells.clear();
  std::size_t size = 0;
  for (;;) {
    std::string& cell = cells.emplace_back();
    const auto append = [&](int c) {
      cell += static_cast<char>(c);
      if (++size > TextFile::kMostBytes) fail("the row is longer than 64 MiB; check its quotes");
    };
    if (source.peek() == '"') {
      source.get();
      for (;;) {
        const int c = source.get();
        if (c == TextFile::kEnd) fail("a quote that opens in this row is not closed");
        if (c == '"') {
          if (source.peek() != '"') break;
          source.get();
        }
        append(c);
      }
      if (source.peek() != separator && !ends_record(source.peek())) {
        fail("the cell " + excerpt(cell, 40) +
             " goes on after its closing quote: expected a separator; write a quote within a cell "
             "twice");
      }
    } else {
      while (source.peek() != separator && !ends_record(source.peek())) append(source.get());
    }
    if (source.peek() != separator) break;
    source.get();
  }
  if (source.get() == '\r' && source.peek() == '\n') source.get();
}

/// The separator that the header has most of outside quotes; of equals the first.
char find_separator(std::string_view header) {
  constexpr std::string_view kSeparators = ",;\t|";
  std::size_t counts[kSeparators.size()] = {};
  bool in_quotes = false;
  for (const char c : header) {
    if (c == '"') in_quotes = !in_quotes;
    const std::size_t i = kSeparators.find(c);
    if (!in_quotes && i != std::string_view::npos) ++counts[i];
  }
  return kSeparators[static_cast<std::size_t>(
      std::max_element(std::begin(counts), std::end(counts)) - std::begin(counts))];
}

/// "Query ID", "query-id" and "queryId" are "query_id".
std::string snake_case(std::string_view name) {
  std::string result;
  char before = '_';
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool word_ended = (before >= 'a' && before <= 'z') || (before >= '0' && before <= '9');
    if (upper && word_ended) result += '_';
    if (c == ' ' || c == '-') {
      if (!result.empty() && result.back() != '_') result += '_';
    } else {
      result += internal::lower_case(c);
    }
    before = c;
  }
  while (result.ends_with('_')) result.pop_back();
  return result;
}

/// Fails at a row of a file.
struct FailAt {
  const TextFile& file;
  std::uint64_t line;
  void operator()(const std::string& message) const { fail_at(file, line, message); }
};

class CsvTable {
 public:
  explicit CsvTable(TextFile& file) : file_(file), header_line_(file.line()) {
    const std::string text = take_header();
    separator_ = find_separator(text);
    HeaderText header{text};
    take_record(header, separator_, names_, FailAt{file_, header_line_});
    check_text(names_, header_line_);
    for (const std::string& name : names_) {
      std::string column = snake_case(name);
      // An unnamed column is an index that pandas adds.
      if (!column.empty() && std::ranges::find(columns_, column) != columns_.end()) {
        fail_at(file_, header_line_,
                "the header has two columns " + excerpt(column) + ": rename or remove one");
      }
      columns_.push_back(std::move(column));
    }
  }

  void for_each(const RowVisitor& visit) {
    std::vector<std::string> cells;
    while (file_.peek() != TextFile::kEnd) {
      const std::uint64_t line = file_.line();
      take_record(file_, separator_, cells, FailAt{file_, line});
      if (cells.size() == 1 && cells[0].find_first_not_of(" \t") == std::string::npos) continue;
      check_text(cells, line);
      if (cells.size() != columns_.size()) {
        fail_at(file_, line,
                "the row has " + std::to_string(cells.size()) + " cells, but the header " +
                    std::to_string(columns_.size()) + ": put a cell that holds " +
                    excerpt({&separator_, 1}) + " in double quotes");
      }
      Json row = Json::object();
      auto& members = row.get_ref<Json::object_t&>();
      for (std::size_t i = 0; i < cells.size(); ++i) {
        if (!columns_[i].empty()) members.emplace_back(columns_[i], std::move(cells[i]));
      }
      const JsonDocument document = JsonDocument::from_value(std::move(row), ErrorCode::kBadData);
      try {
        visit(document.root(), line);
      } catch (const Error& error) {
        if (error.where().line || !error.where().file.empty()) throw;
        rethrow(error, line);
      }
    }
  }

 private:
  /// The header up to its end, which may be a single carriage return.
  std::string take_header() {
    std::string text;
    bool in_quotes = false;
    while (file_.peek() != TextFile::kEnd && (in_quotes || !ends_record(file_.peek()))) {
      text += static_cast<char>(file_.get());
      if (text.back() == '"') in_quotes = !in_quotes;
      check_length(file_, header_line_, text);
    }
    if (file_.get() == '\r' && file_.peek() == '\n') file_.get();
    return text;
  }

  void check_text(const std::vector<std::string>& cells, std::uint64_t line) const {
    for (const std::string& cell : cells) {
      if (is_utf8(cell)) continue;
      fail_at(file_, line,
              "the cell " + excerpt(cell, 40) + " is not UTF-8: save the file as UTF-8");
    }
  }

  /// An error at a member is one of its column.
  [[noreturn]] void rethrow(const Error& error, std::uint64_t line) const {
    const std::string& pointer = error.where().pointer;
    if (pointer.empty()) fail_at(file_, line, error.message());
    const std::string_view name = std::string_view(pointer).substr(1);
    const auto column = std::ranges::find(columns_, name);
    if (column == columns_.end()) {
      std::string found;
      for (const std::string& other : names_) {
        if (found.size() < 300) found += (found.empty() ? "" : ", ") + excerpt(other, 40);
      }
      fail_at(file_, header_line_,
              "there is no column " + excerpt(name) + "; the header, taken from this line, has " +
                  found);
    }
    const auto index = static_cast<std::size_t>(column - columns_.begin());
    throw Error(error.code(), "column " + excerpt(names_[index]) + ": " + error.message(),
                {.file = file_.path(), .line = line});
  }

  TextFile& file_;
  std::uint64_t header_line_;
  char separator_ = ',';
  std::vector<std::string> names_;    // as the header has them
  std::vector<std::string> columns_;  // in snake case
};

int skip_to_start(TextFile& file) {
  while (file.peek() == '\n' || file.peek() == '\r' || file.peek() == ' ') file.get();
  return file.peek();
}

// Values.

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool equal_ignoring_case(std::string_view text, std::string_view lower) {
  return std::ranges::equal(text, lower, {}, [](char c) { return internal::lower_case(c); });
}

/// A cell as the JSON value that it probably is; names and texts stay strings.
Json typed_cell(std::string_view column, const std::string& cell) {
  if (column == "id" || column == "query") return cell;
  if (equal_ignoring_case(cell, "true")) return true;
  if (equal_ignoring_case(cell, "false")) return false;
  Json number = Json::parse(cell, nullptr, /*allow_exceptions=*/false);
  return number.is_number() ? number : Json(cell);
}

/// The number that a text is.
std::optional<double> parse_number(std::string_view text) {
  text = trimmed(text);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return {};
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

}  // namespace

void for_each_row(const std::string& path, const RowVisitor& visit) {
  TextFile file(path);
  const auto visit_text = [&](const std::string& text, std::uint64_t line) {
    visit_json(file, text, line, visit);
  };
  switch (skip_to_start(file)) {
    case TextFile::kEnd:
      return;
    case '{':
      return read_json_lines(file, visit_text);
    case '[':
      return read_json_array(file, visit_text);
    default:
      CsvTable(file).for_each(visit);
  }
}

void for_each_row_text(const std::string& path, const RowTextVisitor& visit) {
  TextFile file(path);
  switch (skip_to_start(file)) {
    case TextFile::kEnd:
      return;
    case '{':
      return read_json_lines(file, visit);
    case '[':
      return read_json_array(file, visit);
    default:
      CsvTable(file).for_each([&](const JsonView& row, std::uint64_t line) {
        Json typed = Json::object();
        for (const auto& [name, value] : row.members()) {
          if (!value.string().empty()) typed[std::string(name)] = typed_cell(name, value.string());
        }
        visit(typed.dump(), line);
      });
  }
}

bool is_other_table(const std::string& path, std::string_view column) {
  std::ifstream stream(path, std::ios::binary);
  std::string start(4096, '\0');
  stream.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(stream.gcount()));
  if (start.starts_with("\x1F\x8B")) return true;
  if (start.starts_with("\xEF\xBB\xBF")) start.erase(0, 3);
  const std::size_t first = start.find_first_not_of(" \r\n");
  if (first == std::string::npos || start[first] == '{') return false;
  if (start[first] == '[') return true;
  const std::string header = start.substr(first, start.find_first_of("\r\n", first) - first);
  std::vector<std::string> names;
  HeaderText text{header};
  try {
    take_record(text, find_separator(header), names,
                [](const std::string& message) { throw Error(ErrorCode::kBadData, message); });
  } catch (const Error&) {
    return false;
  }
  return std::ranges::any_of(names,
                             [&](const std::string& name) { return snake_case(name) == column; });
}

bool has_value(const JsonView& row, std::string_view name, bool number) {
  const JsonView value = row[name];
  if (!value.present() || value.is_null()) return false;
  if (!value.is_string()) return true;
  const std::string_view text = value.string();
  if (!number) return !text.empty();
  constexpr std::string_view kMissing[] = {"", "nan", "na", "n/a", "null", "none", "<na>"};
  return std::ranges::none_of(kMissing, [&](std::string_view missing) {
    return equal_ignoring_case(trimmed(text), missing);
  });
}

std::string read_name(const JsonView& value, std::string_view expected) {
  if (value.is_string()) {
    const std::string& text = value.string();
    if (text.empty()) value.fail(expected);
    return text;
  }
  const std::optional<std::string> digits = value.whole_number();
  if (!digits) value.fail(expected);
  return *digits;
}

double read_number(const JsonView& value, double least, double most, std::string_view expected) {
  if (!value.is_string()) return value.number(least, most, expected);
  const std::optional<double> number = parse_number(value.string());
  if (!number || !(*number >= least && *number <= most)) value.fail(expected);
  return *number;
}

double read_score(const JsonView& value) {
  if (value.is_boolean()) return value.boolean() ? 1 : 0;
  if (value.is_string()) {
    const std::string_view text = trimmed(value.string());
    if (equal_ignoring_case(text, "true")) return 1;
    if (equal_ignoring_case(text, "false")) return 0;
  }
  return read_number(value, 0, 1, "a number from 0 to 1, true or false");
}

std::int64_t read_count(const JsonView& value, std::int64_t most, std::string_view expected) {
  const double number = read_number(value, 0, static_cast<double>(most), expected);
  if (number != std::floor(number)) value.fail(expected);
  return static_cast<std::int64_t>(number);
}

Budget read_budget(const JsonView& value) {
  if (value.is_string() && equal_ignoring_case(trimmed(value.string()), "unlimited")) {
    return Budget::unlimited();
  }
  constexpr std::string_view kExpected =
      "a number of tokens from 1 to 4294967294, or \"unlimited\"";
  const std::int64_t tokens = read_count(value, UINT32_MAX - 1, kExpected);
  if (tokens == 0) value.fail(kExpected);
  return Budget(static_cast<std::uint32_t>(tokens));
}

std::string_view without_zero_fraction(std::string_view name) {
  const std::size_t begin = name.starts_with('-') ? 1 : 0;
  const std::size_t point = name.find_first_not_of("0123456789", begin);
  const bool has_fraction = point != std::string_view::npos && point > begin &&
                            name[point] == '.' && point + 1 < name.size();
  const bool is_zero =
      has_fraction && name.find_first_not_of('0', point + 1) == std::string_view::npos;
  return is_zero ? name.substr(0, point) : name;
}

}  // namespace r2router::io
