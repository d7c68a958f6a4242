#include "pipeline/line_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "r2router/error.h"

namespace r2router::internal {
namespace {

constexpr std::size_t kFirstBuffer = 64 * 1024;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineReader::LineReader(const std::string& path, std::function<void()> before_wait, int stop)
    : name_(path == "-" ? "standard input" : path),
      before_wait_(std::move(before_wait)),
      stop_(stop) {
  descriptor_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw Error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                std::string("cannot open: ") + std::strerror(errno), {.file = name_});
  }
}

LineReader::~LineReader() {
  if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
}

// read() rather than a stream: it returns what a pipe holds now instead of waiting for a full
// buffer, so that a program at the other end gets its answer before it sends the next line.
std::optional<LineReader::Line> LineReader::next() {
  for (;;) {
    const char* from = buffer_.data() + searched_;
    if (const void* found =
            end_ > searched_ ? std::memchr(from, '\n', end_ - searched_) : nullptr) {
      const std::size_t length = static_cast<const char*>(found) - (buffer_.data() + begin_);
      return take(length, length + 1);
    }
    searched_ = end_;
    if (at_end_) {
      if (stopped_ || (begin_ == end_ && !skipping_)) return std::nullopt;
      return take(end_ - begin_, end_ - begin_);
    }
    if (end_ - begin_ > kMaxLine) skipping_ = true;
    // Of a line that is too long only its end matters: what has come so far makes room for more.
    if (skipping_) {
      offset_ += end_ - begin_;
      begin_ = searched_ = end_ = 0;
    }
    at_end_ = !refill();
  }
}

LineReader::Line LineReader::take(std::size_t length, std::size_t consumed) {
  Line line{.text = std::string_view(buffer_).substr(begin_, length),
            .number = ++number_,
            .offset = offset_,
            .too_long = std::exchange(skipping_, false) || length > kMaxLine};
  begin_ += consumed;
  searched_ = begin_;
  offset_ += consumed;
  if (line.too_long) line.text = {};
  // Files from Windows: CR before LF, and a mark that says "UTF-8".
  if (line.text.ends_with('\r')) line.text.remove_suffix(1);
  if (line.number == 1 && line.text.starts_with(kByteOrderMark)) {
    line.text.remove_prefix(kByteOrderMark.size());
    line.offset += kByteOrderMark.size();
  }
  return line;
}

// Waits until there is something to read, or a stop.
bool LineReader::stop_comes_first() const {
  pollfd ready[] = {{.fd = descriptor_, .events = POLLIN, .revents = 0},
                    {.fd = stop_, .events = POLLIN, .revents = 0}};  // passed over if negative
  while (::poll(ready, 2, -1) < 0 && errno == EINTR) {
  }
  return ready[1].revents != 0;
}

// Reads more behind what is held; false at the end of the file and after a stop.
bool LineReader::refill() {
  // Whoever waits for our output may be the one whose input we are about to wait for.
  if (before_wait_) before_wait_();
  stopped_ = stop_comes_first();
  if (stopped_) return false;
  std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
  end_ -= begin_;
  searched_ -= begin_;
  begin_ = 0;
  if (end_ == buffer_.size()) buffer_.resize(std::max(kFirstBuffer, 2 * buffer_.size()));
  for (;;) {
    const ssize_t count = ::read(descriptor_, buffer_.data() + end_, buffer_.size() - end_);
    if (count >= 0) {
      end_ += static_cast<std::size_t>(count);
      return count > 0;
    }
    if (errno != EINTR) {
      throw Error(ErrorCode::kIo, std::string("cannot read: ") + std::strerror(errno),
                  {.file = name_});
    }
  }
}

}  // namespace r2router::internal
