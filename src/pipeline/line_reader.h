// Reads a text file or standard input line by line, in memory that does not grow with the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace r2router::internal {

/// Not safe for use from several threads.
class LineReader {
 public:
  /// A longer line is skipped and reported as such.
  static constexpr std::size_t kMaxLine = std::size_t{64} << 20;

  struct Line {
    std::string_view text;     ///< without its line break; valid until the next call
    std::uint64_t number = 0;  ///< 1-based
    std::uint64_t offset = 0;  ///< of its first byte in the file
    bool too_long = false;     ///< longer than kMaxLine; `text` is empty
  };

  /// `path`: a file, or "-" for standard input. `before_wait` runs each time before the system is
  /// asked for more input, which may block: the moment to flush what is ready. Waiting ends when
  /// the file descriptor `stop` becomes readable. Throws Error(kNotFound or kIo).
  explicit LineReader(const std::string& path, std::function<void()> before_wait = {},
                      int stop = -1);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// The next line, or nothing at the end and after a stop. Lines end with LF or CR LF; the last
  /// may end with the file. A byte order mark at the start of the file is passed over. Throws
  /// Error(kIo).
  std::optional<Line> next();

  /// For messages: the path, or "standard input".
  const std::string& name() const { return name_; }

 private:
  bool refill();
  bool stop_comes_first() const;
  Line take(std::size_t length, std::size_t consumed);

  std::string name_;
  int descriptor_ = -1;
  std::function<void()> before_wait_;
  int stop_ = -1;
  std::string buffer_;
  std::size_t begin_ = 0;     // where the current line begins in buffer_
  std::size_t searched_ = 0;  // no line break in buffer_ between begin_ and here
  std::size_t end_ = 0;       // end of what was read into buffer_
  std::uint64_t offset_ = 0;  // of begin_ in the file
  std::uint64_t number_ = 0;
  bool skipping_ = false;  // the current line is over the limit and its start has been dropped
  bool at_end_ = false;
  bool stopped_ = false;  // what is left in buffer_ may be a part of a line
};

}  // namespace r2router::internal
