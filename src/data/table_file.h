// Tables in files: JSON lines, a JSON array of objects, or CSV; plain or compressed with gzip. What
// a file is, is seen from its contents.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace r2router::io {

/// Called with a row, an object, and the number of the line where it begins, from 1.
using RowVisitor = std::function<void(const JsonView& row, std::uint64_t line)>;

/// Calls visit(row, line) for every row of the table. A file that begins with "{" has an object in
/// each line; with "[", objects in an array; anything else is CSV with a header.
///
/// CSV is that of RFC 4180: cells in quotes may hold separators, line breaks and doubled quotes.
/// The separator is that of comma, semicolon, tab and "|" which the header has most of. Names of
/// columns are read as snake case: "Query ID" and "queryId" are "query_id". Every cell is a string.
///
/// A bare NaN, which Python writes but JSON does not have, counts as null. Blank lines are skipped.
/// Throws Error(kBadData) with file and line for what is neither, a row longer than 64 MiB, or a
/// file that TextFile refuses; adds file, line and the CSV column to what `visit` throws of its
/// row.
void for_each_row(const std::string& path, const RowVisitor& visit);

/// Called with a row as JSON text, which has not been parsed, and the line where it begins.
using RowTextVisitor = std::function<void(const std::string& text, std::uint64_t line)>;

/// The same with rows as JSON text. Of CSV, empty cells are left out, and numbers, true and false
/// are such, except in the columns "id" and "query".
void for_each_row_text(const std::string& path, const RowTextVisitor& visit);

/// Whether a file is a table in another form than plain JSON lines: compressed with gzip, a JSON
/// array, or CSV with a column of that name. False if it cannot be read.
bool is_other_table(const std::string& path, std::string_view column);

// Values as tables have them. A number may be text that reads as one, or written as a float; a
// value is missing if it is absent, null, NaN, an empty string, or where a number is expected "NA",
// "N/A", "null", "None" or "<NA>". Each throws the row's Error for anything else.

/// Whether there is a value; of a number if `number`.
bool has_value(const JsonView& row, std::string_view name, bool number = false);
/// A name: a string, or a whole number as its digits, so that 17 and 17.0 are "17".
std::string read_name(const JsonView& value, std::string_view expected);
double read_number(const JsonView& value, double least, double most, std::string_view expected);
/// A number from 0 to 1; true is 1, and false 0.
double read_score(const JsonView& value);
/// A whole number from 0 to `most`.
std::int64_t read_count(const JsonView& value, std::int64_t most, std::string_view expected);
/// A positive whole number, or "unlimited".
Budget read_budget(const JsonView& value);

/// The number in a name's usual form: "17.0" is "17"; anything else stays as it is.
std::string_view without_zero_fraction(std::string_view name);

}  // namespace r2router::io
