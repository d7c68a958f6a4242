// What the program prints: results on standard output, remarks and errors on standard error.
#pragma once

#include <string>
#include <string_view>

#include "r2router/error.h"

namespace r2router::cli {

/// Thrown when the reader of standard output has closed it: the program then ends silently.
struct BrokenPipe {};

/// Standard output, buffered. Write all results through it, so that a full disk is an error and a
/// closed pipe is not. Not safe for use from several threads.
class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Throws BrokenPipe, or Error(kIo) if the system refuses. Call flush() at the end: the
  /// destructor drops what is buffered.
  void write(std::string_view text);
  void flush();

 private:
  std::string buffer_;
};

/// Writes a whole result to standard output.
void print(std::string_view text);

/// Prints "r2-router: <kind>: <message>" to standard error, always as one line.
void print_remark(std::string_view kind, std::string_view message);

/// Prints the library's warnings as remarks; the second one its notes too.
LogCallback print_warnings();
LogCallback print_remarks();

/// The progress of a long run: one line on standard error that is overwritten. Shown only if that
/// is a terminal.
class Progress {
 public:
  explicit Progress(bool enabled = true);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& text);
  void clear();

 private:
  const bool enabled_;
  bool shown_ = false;
};

}  // namespace r2router::cli
