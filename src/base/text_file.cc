#include "base/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include <zlib.h>

#include "r2router/error.h"

namespace r2router::io {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 16;
// gzip shrinks tables 10 to 40 times; its own limit is about 1,000 times.
constexpr std::uint64_t kAlwaysAllowed = std::uint64_t{256} << 20;
constexpr std::uint64_t kMostExpansion = 200;

/// A file format by its first bytes; a "?" matches any byte.
struct Signature {
  std::string_view bytes;
  const char* name;
  const char* remedy;
};

using std::string_view_literals::operator""sv;
constexpr const char* kOtherTable = "write the table as CSV or JSON lines";
constexpr Signature kSignatures[] = {
    {"\x28\xB5\x2F\xFD"sv, "compressed with zstd", "decompress it first: zstd -d FILE"},
    {"BZh?1AY&SY"sv, "compressed with bzip2", "decompress it first: bunzip2 FILE"},
    {"\xFD"
     "7zXZ\0"sv,
     "compressed with xz", "decompress it first: unxz FILE"},
    {"\x04\x22\x4D\x18"sv, "compressed with lz4", "decompress it first: lz4 -d FILE"},
    {"\x1F\x9D"sv, "compressed with compress", "decompress it first: uncompress FILE"},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive", "extract it first"},
    {"PK\x03\x04"sv, "a ZIP archive or an Excel workbook",
     "extract it first, or save the sheet as CSV"},
    {"\xD0\xCF\x11\xE0"sv, "an Excel workbook", "save the sheet as CSV"},
    {"PAR1"sv, "a Parquet file",
     "write the table as CSV or JSON lines, or use r2_router.train() in Python with pyarrow "
     "installed"},
    {"ARROW1\0"sv, "an Arrow file", kOtherTable},
    {"FEA1"sv, "a Feather file", kOtherTable},
    {"SQLite format 3\0"sv, "an SQLite database", kOtherTable},
    {"\x89HDF"sv, "an HDF5 file", kOtherTable},
    {"\x93NUMPY"sv, "a NumPy array", kOtherTable},
    {"\x80?\x95"sv, "a Python pickle", kOtherTable},
    {"\xFF\xFE"sv, "UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE"},
    {"\xFE\xFF"sv, "UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE"},
};

bool matches(std::string_view bytes, std::string_view pattern) {
  return bytes.size() >= pattern.size() &&
         std::equal(pattern.begin(), pattern.end(), bytes.begin(),
                    [](char expected, char found) { return expected == '?' || expected == found; });
}

}  // namespace

void TextFile::Close::operator()(gzFile_s* file) const { gzclose(file); }

TextFile::TextFile(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
  if (!file_) {
    const int reason = errno;
    throw Error(reason == ENOENT || reason == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
                "cannot open: " + std::generic_category().message(reason) +
                    "; check the path's spelling and permissions",
                {.file = path});
  }
  buffer_.resize(kBufferBytes);
  refill();
  check_kind();
}

void TextFile::check_kind() {
  const std::string_view start(buffer_.data(), size_);
  for (const Signature& signature : kSignatures) {
    if (!matches(start, signature.bytes)) continue;
    throw Error(ErrorCode::kBadData,
                std::string("the file is ") + signature.name +
                    ", expected UTF-8 text, plain or compressed with gzip: " + signature.remedy,
                {.file = path_});
  }
  if (start.find('\0') != std::string_view::npos) {
    // In UTF-16 without a byte order mark, ASCII letters have a zero byte next to them.
    const bool wide = start.size() >= 4 && ((start[0] == 0) != (start[1] == 0)) &&
                      ((start[2] == 0) != (start[3] == 0));
    throw Error(ErrorCode::kBadData,
                std::string("the file is ") + (wide ? "UTF-16" : "not text") +
                    ", expected UTF-8 text, plain or compressed with gzip" +
                    (wide ? ": convert it: iconv -f UTF-16 -t UTF-8 FILE" : ""),
                {.file = path_});
  }
  if (start.starts_with("\xEF\xBB\xBF")) begin_ = 3;
}

bool TextFile::refill() {
  const int count = gzread(file_.get(), buffer_.data(), static_cast<unsigned>(buffer_.size()));
  int status = Z_OK;
  const char* const reason = gzerror(file_.get(), &status);
  // A truncated stream is reported only after its last bytes, as Z_BUF_ERROR.
  if (count < 0 || (status != Z_OK && status != Z_STREAM_END)) {
    if (status == Z_ERRNO) {
      throw Error(ErrorCode::kIo, std::string("cannot read: ") + reason, {.file = path_});
    }
    throw Error(ErrorCode::kBadData,
                std::string("the file cannot be decompressed: ") + reason +
                    "; it is damaged or cut off, so fetch it again",
                {.file = path_, .line = line_});
  }
  begin_ = 0;
  size_ = static_cast<std::size_t>(count);
  total_ += size_;
  if (total_ > kAlwaysAllowed) {
    const auto compressed = static_cast<std::uint64_t>(std::max<z_off_t>(1, gzoffset(file_.get())));
    if (total_ / compressed > kMostExpansion) {
      throw Error(ErrorCode::kBadData,
                  "the file decompresses to more than " + std::to_string(kMostExpansion) +
                      " times its size, which no table does: check where it comes from",
                  {.file = path_, .line = line_});
    }
  }
  return count > 0;
}

bool TextFile::next_line(std::string& line) {
  line.clear();
  if (peek() == kEnd) return false;
  do {
    const char* const begin = buffer_.data() + begin_;
    const auto* const end = static_cast<const char*>(std::memchr(begin, '\n', size_ - begin_));
    const std::size_t length = end ? static_cast<std::size_t>(end - begin) : size_ - begin_;
    line.append(begin, length);
    if (line.size() > kMostBytes) {
      throw Error(ErrorCode::kBadData,
                  "the line is longer than " + std::to_string(kMostBytes >> 20) +
                      " MiB: expected one row of the table in each line",
                  {.file = path_, .line = line_});
    }
    begin_ += length;
    if (end) {
      ++begin_;
      ++line_;
      break;
    }
  } while (peek() != kEnd);
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

}  // namespace r2router::io
