#include "base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unicode.h"

namespace r2router::io {
namespace {

namespace fs = std::filesystem;

/// How to fix it.
const char* remedy(int error_number) {
  switch (error_number) {
    case ENOENT:
      return "check the path's spelling";
    case ENOTDIR:
      return "a part of the path is a file where a folder must be";
    case EISDIR:
      return "name a file instead of a folder";
    case EACCES:
    case EPERM:
      return "check the permissions of the path and of the folders above it";
    case EROFS:
      return "choose a place on a file system that can be written";
    case ENOSPC:
    case EDQUOT:
      return "free some space or choose another place";
    case EFBIG:
      return "raise the file size limit (ulimit -f) or choose another file system";
    case EMFILE:
    case ENFILE:
      return "close some files or raise the limit (ulimit -n)";
    case ENOTEMPTY:
    case EEXIST:
      return "choose a name that is not taken";
    case ENAMETOOLONG:
      return "choose a shorter path";
    default:
      return "check the file system and try again";
  }
}

[[noreturn]] void fail(const std::string& action, const std::string& path, int error_number,
                       ErrorCode code = ErrorCode::kIo) {
  throw Error(code,
              "cannot " + action + ": " + std::generic_category().message(error_number) + "; " +
                  remedy(error_number),
              {.file = path});
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }
  /// Closes now: a network file system reports some errors only on close.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

/// Opens for reading. Wrap the descriptor before anything else can throw.
int open_to_read(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer; regular_size() rejects it.
  const int number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (number < 0) {
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    fail("open", path, errno, absent ? ErrorCode::kNotFound : ErrorCode::kIo);
  }
  return number;
}

std::uint64_t regular_size(const Descriptor& file, const std::string& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) fail("examine", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kIo,
                std::string("found ") + (S_ISDIR(status.st_mode) ? "a folder" : "a special file") +
                    ", expected a regular file; name a file",
                {.file = path});
  }
  return static_cast<std::uint64_t>(status.st_size);
}

/// Writes, syncs and closes: a rename must not become durable before its data. `shown`: the path to
/// show in messages.
void write_all(Descriptor& file, std::string_view contents, const std::string& shown) {
  while (!contents.empty()) {
    const ssize_t count = ::write(file.get(), contents.data(), contents.size());
    if (count < 0) {
      if (errno == EINTR) continue;  // interrupted by a signal; nothing was written
      fail("write", shown, errno);
    }
    contents.remove_prefix(static_cast<std::size_t>(count));
  }
  if (::fsync(file.get()) != 0) fail("write to the disk", shown, errno);
  if (!file.close()) fail("finish writing", shown, errno);
}

void sync_folder(const std::string& folder) {
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) fail("open", folder, errno);
  // EINVAL: some file systems cannot sync a folder and do not need to.
  if (::fsync(file.get()) != 0 && errno != EINVAL) fail("write to the disk", folder, errno);
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

/// A hidden name next to `path` that no other process will choose.
std::string temporary_beside(const std::string& path) {
  std::random_device random;
  char suffix[24];
  std::snprintf(suffix, sizeof suffix, ".tmp-%08x%08x", random(), random());
  return parent_of(path) + "/." + fs::path(path).filename().string() + suffix;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Descriptor file(open_to_read(path));
  const std::uint64_t size = regular_size(file, path);
  if (size > SIZE_MAX) fail("map", path, EFBIG);
  size_ = static_cast<std::size_t>(size);
  if (size_ == 0) return;  // mmap rejects an empty range
  // MAP_POPULATE: one call instead of a page fault for every few pages.
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file.get(), 0);
  if (data == MAP_FAILED) fail("map", path, errno);
  data_ = static_cast<const std::uint8_t*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

std::string read_text(const std::string& path, std::uint64_t max_bytes, ErrorCode bad_content) {
  const Descriptor file(open_to_read(path));
  const std::uint64_t size = regular_size(file, path);
  std::string text;
  while (true) {  // read to the end: the reported size of files under /proc is 0
    const std::size_t have = text.size();
    if (std::max<std::uint64_t>(size, have) > max_bytes) {
      throw Error(bad_content,
                  "the file has " + std::to_string(std::max<std::uint64_t>(size, have)) +
                      " bytes or more, expected at most " + std::to_string(max_bytes) +
                      "; check that it is the right file",
                  {.file = path});
    }
    text.resize(std::max<std::size_t>(have + 4096, static_cast<std::size_t>(size) + 1));
    const ssize_t count = ::read(file.get(), text.data() + have, text.size() - have);
    const int error_number = errno;
    text.resize(have + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count < 0 && error_number != EINTR) fail("read", path, error_number);
    if (count == 0) break;
  }
  std::size_t bad = 0;
  if (!is_utf8(text, &bad)) {
    throw Error(bad_content, "found a byte that is not UTF-8; save the file as UTF-8 text",
                {.file = path, .byte_offset = bad});
  }
  return text;
}

void write_file(const std::string& path, std::string_view contents) {
  // O_EXCL: do not follow a link that another user placed there.
  const std::string temporary = temporary_beside(path);
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("create", path, errno);
  try {
    write_all(file, contents, path);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail("replace", path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(parent_of(path));
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) fail("create the folder", path, errno);
}

void check_new_folder(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::exists(status) || (fs::is_directory(status) && fs::is_empty(path, error))) return;
  throw Error(ErrorCode::kIo,
              fs::is_directory(status)
                  ? "found a folder that is not empty, expected no folder or an empty one; "
                    "remove it or choose another name"
                  : "found something that is not a folder, expected no folder or an empty one; "
                    "choose another name",
              {.file = path});
}

AtomicFolder::AtomicFolder(const std::string& target) : target_(target) {
  while (target_.size() > 1 && target_.back() == '/') target_.pop_back();
  check_new_folder(target_);  // rename() below decides; checking first avoids wasted work
  // Next to the target, since rename() does not cross file systems.
  const std::string temporary = temporary_beside(target_);
  if (::mkdir(temporary.c_str(), 0777) != 0) fail("create the folder", target_, errno);
  current_ = temporary;
}

AtomicFolder::~AtomicFolder() {
  if (current_.empty()) return;
  std::error_code ignored;  // another error is being thrown
  fs::remove_all(current_, ignored);
}

void AtomicFolder::write(const std::string& name, std::string_view contents) {
  const std::string shown = target_ + "/" + name;
  Descriptor file(
      ::open((current_ + "/" + name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("create", shown, errno);
  write_all(file, contents, shown);
}

void AtomicFolder::commit() {
  sync_folder(current_);
  // rename() atomically replaces an empty folder and rejects any other.
  if (::rename(current_.c_str(), target_.c_str()) != 0) {
    fail("put the finished folder in its place", target_, errno);
  }
  // If the last sync fails, the destructor removes the folder.
  current_ = target_;
  sync_folder(parent_of(target_));
  current_.clear();
}

}  // namespace r2router::io
