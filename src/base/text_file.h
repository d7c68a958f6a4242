// The text of a file, front to back in bounded memory, decompressed on the way if it is gzip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct gzFile_s;

namespace r2router::io {

/// What the file is, is seen from its first bytes and not from its name. A byte order mark of UTF-8
/// is skipped. The bytes are not checked to be UTF-8. Not safe for use from several threads.
class TextFile {
 public:
  static constexpr int kEnd = -1;

  /// Throws Error(kNotFound) or Error(kIo) for a file that cannot be read, and Error(kBadData) for
  /// one that is not text: compressed in another way, UTF-16, Parquet and the like.
  explicit TextFile(const std::string& path);

  /// The next byte, or kEnd. Throws Error(kBadData) if the file cannot be decompressed, or if it
  /// grows out of all proportion (a "gzip bomb").
  int peek() { return begin_ < size_ || refill() ? byte() : kEnd; }
  /// Takes the next byte.
  int get() {
    if (peek() == kEnd) return kEnd;
    if (buffer_[begin_] == '\n') ++line_;
    const int result = byte();
    ++begin_;
    return result;
  }
  /// Takes a line without its end (LF or CR LF). False if there is none. Throws Error(kBadData) for
  /// one that is longer than kMostBytes.
  bool next_line(std::string& line);

  /// The line of the next byte, from 1.
  std::uint64_t line() const { return line_; }
  const std::string& path() const { return path_; }

  /// The longest line, and the longest row of a table.
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
