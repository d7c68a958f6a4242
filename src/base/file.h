// Files: read-only maps, text with a size limit, and atomic writes. Every failure is an Error(kIo),
// or Error(kNotFound) if a file to read does not exist. It names the path, the operating system's
// reason and how to fix it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "r2router/error.h"

namespace r2router::io {

/// A regular file mapped into memory for reading; an empty file is an empty span.
///
/// Copy what you keep: if another program truncates the file while it is mapped, access to a lost
/// page raises SIGBUS and ends the process. Keep a map only while you read it.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The contents of a regular file as text. Throws Error(bad_content), kBadConfig or kBadData
/// depending on the file, if it has more than `max_bytes` or is not UTF-8.
std::string read_text(const std::string& path, std::uint64_t max_bytes, ErrorCode bad_content);

/// Writes or replaces a file atomically: readers see the old or the new contents, never a part.
void write_file(const std::string& path, std::string_view contents);

/// Creates a folder if it does not exist; its parent folder must exist.
void make_folder(const std::string& path);

/// Throws Error(kIo) unless `path` is an empty folder or does not exist.
void check_new_folder(const std::string& path);

/// A folder that appears complete or not at all: files are written into a hidden folder next to
/// `target`, which commit() renames. Without commit() the destructor removes it. A process that is
/// killed in between leaves the hidden folder `.<name>.tmp-…`, never an incomplete target.
class AtomicFolder {
 public:
  /// `target` must be an empty folder or not exist; its parent folder must exist.
  explicit AtomicFolder(const std::string& target);
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  ~AtomicFolder();

  /// Writes and syncs a new file; `name` has no folder part.
  void write(const std::string& name, std::string_view contents);
  /// Renames the folder to its target, durably.
  void commit();

 private:
  std::string target_;
  std::string current_;  // where the files are now; empty once there is nothing to clean up
};

}  // namespace r2router::io
