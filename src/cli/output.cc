#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace r2router::cli {
namespace {

// Large enough for the cost of a system call to vanish among thousands of lines.
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

std::string printable(std::string_view text) {
  constexpr std::string_view kReplaced = "\uFFFD";
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\r') continue;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      shown += kReplaced;
    } else if (byte == 0xC2 && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      shown += kReplaced;  // U+0080 to U+009F are control characters too
      ++i;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

Progress::Progress() : enabled_(::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 0) {}

void Progress::show(const std::string& text) {
  if (!enabled_) return;
  std::fputs(("\r\033[K" + text).c_str(), stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

void check_output_folder(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) return;
  if (std::filesystem::is_directory(folder, ignored) &&
      std::filesystem::is_empty(folder, ignored)) {
    return;
  }
  throw Error(ErrorCode::kIo, "the output exists already: name a new folder, or remove this one",
              {.file = folder});
}

}  // namespace r2router::cli
