#include "base/json_lines.h"

#include <cstring>
#include <memory>
#include <string_view>

#include <zlib.h>

#include "r2router/error.h"

namespace r2router::io {
namespace {

constexpr std::size_t kLongestLine = std::size_t{64} << 20;  // bytes

/// The lines of a text file, which may be compressed with gzip.
class Lines {
 public:
  explicit Lines(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) throw Error(ErrorCode::kIo, "cannot open the file", {.file = path});
  }

  /// The next line without its end, or null after the last.
  const std::string* next() {
    line_.clear();
    for (;;) {
      const char* const begin = buffer_ + begin_;
      const auto* const end = static_cast<const char*>(std::memchr(begin, '\n', size_ - begin_));
      line_.append(begin, end ? static_cast<std::size_t>(end - begin) : size_ - begin_);
      if (line_.size() > kLongestLine) {
        throw Error(ErrorCode::kBadData,
                    "the line is longer than " + std::to_string(kLongestLine) +
                        " bytes: expected one JSON object a line",
                    {.file = path_, .line = number_ + 1});
      }
      if (end) {
        begin_ = static_cast<std::size_t>(end - buffer_) + 1;
        break;
      }
      if (!refill()) {
        if (line_.empty()) return nullptr;
        break;
      }
    }
    ++number_;
    if (line_.ends_with('\r')) line_.pop_back();
    return &line_;
  }

  /// Of the line that next() gave, from 1.
  std::uint64_t number() const { return number_; }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };

  bool refill() {
    const int count = gzread(file_.get(), buffer_, sizeof buffer_);
    int status = Z_OK;
    const char* const reason = gzerror(file_.get(), &status);
    // A stream that breaks off is reported only after its last bytes: Z_BUF_ERROR.
    if (count < 0 || (status != Z_OK && status != Z_STREAM_END)) {
      throw Error(status == Z_ERRNO ? ErrorCode::kIo : ErrorCode::kBadData,
                  std::string("the file cannot be decompressed: ") + reason +
                      "; it is damaged or cut off, so fetch it again",
                  {.file = path_, .line = number_ + 1});
    }
    begin_ = 0;
    size_ = static_cast<std::size_t>(count);
    return count > 0;
  }

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  char buffer_[1 << 16];
  std::size_t begin_ = 0, size_ = 0;
  std::string line_;
  std::uint64_t number_ = 0;
};

}  // namespace

void for_each_json_line(const std::string& path, const JsonLineVisitor& visit) {
  const auto lines = std::make_unique<Lines>(path);
  while (const std::string* const line = lines->next()) {
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    try {
      const JsonDocument document(*line, "", ErrorCode::kBadData);
      document.root().members("one JSON object a line");
      visit(document.root(), lines->number());
    } catch (const Error& error) {
      if (error.where().line > 1 || !error.where().file.empty()) throw;
      // The parser sees one line alone: say where that line is.
      std::string_view message = error.what();
      const std::string& pointer = error.where().pointer;
      for (const std::string& place : {std::string("line 1: "), "at " + pointer + ": "}) {
        if (message.starts_with(place)) message.remove_prefix(place.size());
      }
      throw Error(error.code(), std::string(message),
                  {.file = path, .pointer = pointer, .line = lines->number()});
    }
  }
}

}  // namespace r2router::io
