// Reads a text file sequentially in bounded memory, and decompresses gzip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct gzFile_s;

namespace r2router::io {

/// The file type is detected from the first bytes, not from the name. A UTF-8 byte order mark is
/// skipped. UTF-8 is not validated. Not thread-safe.
class TextFile {
 public:
  static constexpr int kEnd = -1;

  /// Throws Error(kNotFound) or Error(kIo) for a file that cannot be read, and Error(kBadData) for
  /// one that is not text: UTF-16, Parquet, another compression, etc.
  explicit TextFile(const std::string& path);

  /// The next byte, or kEnd. Throws Error(kBadData) if the file cannot be decompressed, or if it
  /// expands too much (a "gzip bomb").
  int peek() { return begin_ < size_ || refill() ? byte() : kEnd; }
  /// Consumes and returns the next byte.
  int get() {
    if (peek() == kEnd) return kEnd;
    if (buffer_[begin_] == '\n') ++line_;
    const int result = byte();
    ++begin_;
    return result;
  }
  /// Reads a line without its end (LF or CR LF). False at the end of the file. Throws
  /// Error(kBadData) for a line longer than kMostBytes.
  bool next_line(std::string& line);

  /// The line number of the next byte, from 1.
  std::uint64_t line() const { return line_; }
  const std::string& path() const { return path_; }

  /// Maximum size of a line, and of a row of a table.
  static constexpr std::size_t kMostBytes = std::size_t{64} << 20;

 private:
  struct Close {
    void operator()(gzFile_s* file) const;
  };

  int byte() const { return static_cast<unsigned char>(buffer_[begin_]); }
  bool refill();
  void check_kind();

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  std::string buffer_;
  std::size_t begin_ = 0, size_ = 0;
  std::uint64_t line_ = 1;
  std::uint64_t total_ = 0;  // bytes of text so far
};

}  // namespace r2router::io
