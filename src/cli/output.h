// What the program prints: results on standard output, remarks and errors on standard error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "r2router/error.h"
#include "r2router/train.h"

namespace r2router::cli {

/// Thrown when whoever read standard output has gone away: the program then ends without a word.
struct BrokenPipe {};

/// Standard output, buffered. Write results through this alone, so that a full disk is noticed and
/// a closed pipe is not an error. Not safe for use from several threads.
class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Throws BrokenPipe, or Error(kIo) when the system refuses. What was not flushed is dropped when
  /// the object dies: call flush() at the end.
  void write(std::string_view text);
  void flush();

 private:
  std::string buffer_;
};

/// Prints "r2-router: <kind>: <message>" to standard error as one line, whatever the message holds.
void print_remark(std::string_view kind, std::string_view message);

/// Prints the library's warnings as remarks.
LogCallback print_warnings();

/// Shows on standard error how far training is, if that is a terminal.
ProgressCallback print_progress();

/// Throws Error(kIo) if `folder` is there and not an empty folder: before hours of work rather than
/// after them.
void check_output_folder(const std::string& folder);

/// "1,234,567".
std::string with_thousands(std::uint64_t number);

}  // namespace r2router::cli
