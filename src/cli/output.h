// What the program prints: results on standard output, remarks and errors on standard error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "r2router/error.h"

#include "base/decimal.h"

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

/// Text of somebody else's, such as a model's answer, for a terminal: control characters but line
/// breaks and tabs, which could command it, become U+FFFD; carriage returns are dropped.
std::string printable(std::string_view text);

/// How far a long run is: one line on standard error that is written over again and again. It is
/// shown if that is a terminal and results go elsewhere.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& text);
  /// Takes the line away.
  void clear();

 private:
  const bool enabled_;
  bool shown_ = false;
};

/// Throws Error(kIo) if `folder` is there and not an empty folder: before hours of work rather than
/// after them.
void check_output_folder(const std::string& folder);

}  // namespace r2router::cli
