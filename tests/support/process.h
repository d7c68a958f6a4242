// Runs a program as a user's shell would, and keeps what it printed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
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

/// Runs `arguments` (the first names the program) with `input` as its standard input. Standard
/// output goes to the file `out_path` if that is given.
inline Outcome run(const std::vector<std::string>& arguments, const std::string& input = {},
                   const std::string& out_path = {}) {
  // Files rather than pipes: nothing can block, however much is written.
  const auto scratch = [] {
    std::FILE* file = std::tmpfile();
    if (file == nullptr) throw std::runtime_error("cannot make a temporary file");
    return file;
  };
  std::FILE* in = scratch();
  std::FILE* out = out_path.empty() ? scratch() : std::fopen(out_path.c_str(), "w");
  std::FILE* err = scratch();
  if (out == nullptr) throw std::runtime_error("cannot open " + out_path);
  std::fwrite(input.data(), 1, input.size(), in);
  std::rewind(in);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(in), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(out), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(err), STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error("cannot run " + arguments[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }

  const auto contents = [](std::FILE* file) {
    std::string text;
    std::array<char, 4096> block{};
    std::rewind(file);
    while (const std::size_t count = std::fread(block.data(), 1, block.size(), file)) {
      text.append(block.data(), count);
    }
    std::fclose(file);
    return text;
  };
  std::fclose(in);
  Outcome outcome;
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (out_path.empty()) {
    outcome.out = contents(out);
  } else {
    std::fclose(out);
  }
  outcome.err = contents(err);
  return outcome;
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
