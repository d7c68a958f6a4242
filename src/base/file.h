// Files: read-only maps, text with a size limit, and writes that happen whole or not at all.
// Every failure is an Error(kIo), or Error(kNotFound) where nothing stands at a path that is to be
// read; it names the path, the operating system's reason and what to do about it.
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
/// Copy what must last: if another program truncates the file while it is mapped, the next touch of
/// a lost page raises SIGBUS and ends the process. Keep a map only while you read it.
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

/// All of a regular file as text. A file of more than `max_bytes`, or that is not UTF-8, is an
/// Error(bad_content): kBadConfig or kBadData, by what the file is for.
std::string read_text(const std::string& path, std::uint64_t max_bytes, ErrorCode bad_content);

/// Writes or replaces a file in one step: readers see the old contents or the new, never a part.
void write_file(const std::string& path, std::string_view contents);

/// Makes a folder, unless there is one; its parent folder must exist.
void make_folder(const std::string& path);

/// A folder that appears whole or not at all: files are written into a hidden folder beside
/// `target`, which takes its place on commit(). Without commit() the destructor removes it.
/// A process that is killed in between leaves the hidden folder `.<name>.tmp-…`, never half a
/// target.
class AtomicFolder {
 public:
  /// `target` must not exist or be an empty folder; its parent folder must exist.
  explicit AtomicFolder(const std::string& target);
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  ~AtomicFolder();

  /// Writes and syncs a new file; `name` has no folder part.
  void write(const std::string& name, std::string_view contents);
  /// Puts the folder in its place, durably.
  void commit();

 private:
  std::string target_;
  std::string current_;  // where the files are now; empty once there is nothing to clean up
};

}  // namespace r2router::io
