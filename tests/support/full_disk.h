// Disks that are full, for tests of what is left behind.
#pragma once

#include <csignal>
#include <cstdlib>
#include <string>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace r2router::testing {

/// While it lives, no file of this process can grow beyond `bytes`: write() fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit = {bytes, old_limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_ = {};
  void (*old_handler_)(int) = nullptr;
};

enum class SmallDisk { kPassed, kFailed, kNotPermitted };

/// Runs `action` in a child process that sees a file system of `bytes` bytes mounted at `folder`.
template <typename Action>
SmallDisk on_small_disk(const std::string& folder, std::size_t bytes, Action&& action) {
  const pid_t child = fork();
  if (child == 0) {
    const std::string options = "size=" + std::to_string(bytes);
    if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", folder.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      _exit(2);
    }
    bool passed = false;
    try {
      passed = action();
    } catch (...) {
    }
    _exit(passed ? 0 : 1);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return SmallDisk::kFailed;
  }
  return WEXITSTATUS(status) == 0   ? SmallDisk::kPassed
         : WEXITSTATUS(status) == 2 ? SmallDisk::kNotPermitted
                                    : SmallDisk::kFailed;
}

}  // namespace r2router::testing
