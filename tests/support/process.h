// Runs a program as a user's shell would, and keeps what it printed.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace r2router::testing {

struct Outcome {
  int exit_code = -1;  ///< 128 + the signal if one ended it
  std::string out;
  std::string err;
};

/// A program that runs. Its output goes to files rather than pipes: nothing can block, however much
/// is written.
class Process {
 public:
  /// Starts `arguments` (the first names the program), with nothing to read unless
  /// `standard_input` is given. Standard output goes to the file `out_path` if that is given,
  /// standard error to `standard_error` if that is.
  explicit Process(const std::vector<std::string>& arguments, int standard_input = -1,
                   const std::string& out_path = {}, int standard_error = -1)
      : out_(out_path.empty() ? scratch() : std::fopen(out_path.c_str(), "w")),
        out_is_kept_(out_path.empty()),
        err_(scratch()) {
    if (out_ == nullptr) throw std::runtime_error("cannot open " + out_path);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (standard_input < 0) {
      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    } else {
      posix_spawn_file_actions_adddup2(&actions, standard_input, STDIN_FILENO);
    }
    posix_spawn_file_actions_adddup2(&actions, fileno(out_), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, standard_error < 0 ? fileno(err_) : standard_error,
                                     STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const int failed = ::posix_spawn(&child_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error("cannot run " + arguments[0]);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      wait();
    }
    std::fclose(out_);
    std::fclose(err_);
  }

  void signal(int number) const { ::kill(child_, number); }
  /// What it has printed to standard output so far.
  std::string out() const { return out_is_kept_ ? contents(out_) : ""; }

  Outcome wait() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0) {
    }
    child_ = 0;
    return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .out = out(),
            .err = contents(err_)};
  }

  /// A file without a name.
  static std::FILE* scratch() {
    std::FILE* file = std::tmpfile();
    if (file == nullptr) throw std::runtime_error("cannot make a temporary file");
    return file;
  }

 private:
  // The child has the same file, so its position is not ours to move.
  static std::string contents(std::FILE* file) {
    std::string text;
    std::array<char, 4096> block{};
    for (ssize_t count = 0; (count = ::pread(fileno(file), block.data(), block.size(),
                                             static_cast<off_t>(text.size()))) > 0;) {
      text.append(block.data(), static_cast<std::size_t>(count));
    }
    return text;
  }

  std::FILE* out_;
  const bool out_is_kept_;
  std::FILE* err_;
  pid_t child_ = 0;
};

/// Runs `arguments` to their end with `input` as standard input.
inline Outcome run(const std::vector<std::string>& arguments, const std::string& input = {},
                   const std::string& out_path = {}) {
  std::FILE* in = Process::scratch();
  std::fwrite(input.data(), 1, input.size(), in);
  std::rewind(in);
  Process process(arguments, fileno(in), out_path);
  std::fclose(in);
  return process.wait();
}

/// The same at a terminal, where `typed` is typed: standard input and standard error are the
/// terminal, and `err` is what was to be seen there.
inline Outcome run_at_terminal(const std::vector<std::string>& arguments,
                               const std::string& typed) {
  const int keyboard = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (keyboard < 0 || ::grantpt(keyboard) != 0 || ::unlockpt(keyboard) != 0) {
    throw std::runtime_error("no terminal");
  }
  const int terminal = ::open(::ptsname(keyboard), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (::write(keyboard, typed.data(), typed.size()) != static_cast<ssize_t>(typed.size())) {
    throw std::runtime_error("cannot type");
  }
  Process process(arguments, terminal, {}, terminal);
  ::close(terminal);
  std::string seen;
  std::array<char, 4096> block{};
  // An error is how a terminal ends.
  for (ssize_t count = 0; (count = ::read(keyboard, block.data(), block.size())) > 0;) {
    seen.append(block.data(), static_cast<std::size_t>(count));
  }
  Outcome outcome = process.wait();
  ::close(keyboard);
  outcome.err = seen;
  return outcome;
}

/// Waits until `condition` holds, at most ten seconds; whether it does.
template <typename Condition>
bool wait_until(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// The lines of a text, each without its line break.
inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace r2router::testing
