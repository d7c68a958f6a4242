#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <unistd.h>

namespace r2router::cli {
namespace {

// Large enough to make the cost of a system call negligible.
constexpr std::size_t kFlushAt = 64 * 1024;

}  // namespace

void Output::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kFlushAt) flush();
}

void Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {  // main() ignores SIGPIPE, so a closed pipe shows here
      throw BrokenPipe{};
    } else if (errno != EINTR) {
      throw Error(ErrorCode::kIo,
                  std::string("cannot write to standard output: ") + std::strerror(errno));
    }
  }
  buffer_.clear();
}

void print(std::string_view text) {
  Output output;
  output.write(text);
  output.flush();
}

void print_remark(std::string_view kind, std::string_view message) {
  std::string line = "r2-router: ";
  line += kind;
  line += ": ";
  for (const char c : message) {
    // A file name may hold a line break; a remark may not.
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    line += control ? ' ' : c;
  }
  line += '\n';
  // One call, so that lines of several processes do not mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
}

LogCallback print_warnings() {
  return [](LogLevel level, std::string_view message) {
    if (level == LogLevel::kWarning) print_remark("warning", message);
  };
}

LogCallback print_remarks() {
  return [](LogLevel level, std::string_view message) {
    if (level == LogLevel::kInfo) print_remark("note", message);
    print_warnings()(level, message);
  };
}

Progress::Progress(bool enabled) : enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}

void Progress::show(const std::string& text) {
  if (!enabled_) return;
  std::fputs(("\r\033[K" + text).c_str(), stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace r2router::cli
