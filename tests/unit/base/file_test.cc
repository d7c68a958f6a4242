#include "base/file.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/errors.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace r2router::io {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::IsEmpty;
using testing::put_file;
using testing::read_file;
using testing::TemporaryFolder;
using ::testing::UnorderedElementsAre;

constexpr std::uint64_t kNoLimit = 1 << 20;

std::string mapped(const std::string& path) {
  const MappedFile file(path);
  return {file.bytes().begin(), file.bytes().end()};
}

TEST(MappedFile, HoldsTheFilesBytes) {
  const TemporaryFolder folder;
  std::string contents;
  for (int i = 0; i < 10'000; ++i) contents += static_cast<char>(i * 7);
  put_file(folder / "file", contents);
  EXPECT_EQ(mapped(folder / "file"), contents);
  EXPECT_EQ(MappedFile(folder / "file").path(), folder / "file");
}

TEST(MappedFile, AnEmptyFileIsEmpty) {
  const TemporaryFolder folder;
  put_file(folder / "file", "");
  EXPECT_TRUE(MappedFile(folder / "file").bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNotAReadableFile) {
  const TemporaryFolder folder;
  const std::string missing = folder / "missing";
  expect_error(ErrorCode::kNotFound, missing + ": cannot open: No such file or directory",
               [&] { MappedFile file(missing); });
  put_file(folder / "file", "x");
  expect_error(ErrorCode::kNotFound, "a part of the path is a file",
               [&] { MappedFile file(folder / "file/below"); });
  expect_error(ErrorCode::kIo, folder.path() + ": found a folder",
               [&] { MappedFile file(folder.path()); });
  // Opening a named pipe for reading would wait until somebody writes.
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(ErrorCode::kIo, "found a special file", [&] { MappedFile file(folder / "pipe"); });
}

TEST(ReadText, GivesTheWholeText) {
  const TemporaryFolder folder;
  const std::string text = "Grüße, 世界\n" + std::string(100'000, 'x');
  put_file(folder / "file", text);
  EXPECT_EQ(read_text(folder / "file", text.size(), ErrorCode::kBadData), text);
  put_file(folder / "empty", "");
  EXPECT_EQ(read_text(folder / "empty", 0, ErrorCode::kBadData), "");
  // The size that the system gives for this file is 0.
  EXPECT_EQ(read_text("/proc/version", kNoLimit, ErrorCode::kBadData).substr(0, 5), "Linux");
}

TEST(ReadText, RefusesMoreThanTheLimit) {
  const TemporaryFolder folder;
  put_file(folder / "file", "12345");
  expect_error(ErrorCode::kBadConfig, "5 bytes or more, expected at most 4",
               [&] { read_text(folder / "file", 4, ErrorCode::kBadConfig); });
  expect_error(ErrorCode::kBadData, "expected at most 2",
               [&] { read_text("/proc/self/comm", 2, ErrorCode::kBadData); });
}

TEST(ReadText, ReportsAReadThatFails) {
  // Nothing is mapped at address 0, where reading this file begins.
  expect_error(ErrorCode::kIo, "/proc/self/mem: cannot read: Input/output error",
               [] { read_text("/proc/self/mem", kNoLimit, ErrorCode::kBadData); });
}

TEST(ReadText, NamesTheByteThatIsNotUtf8) {
  const TemporaryFolder folder;
  put_file(folder / "file", "abc\xFF");
  const Error error =
      testing::error_of([&] { read_text(folder / "file", kNoLimit, ErrorCode::kBadData); });
  EXPECT_EQ(error.code(), ErrorCode::kBadData);
  EXPECT_EQ(error.where().byte_offset, 3);
  EXPECT_EQ(error.where().file, folder / "file");
}

TEST(WriteFile, CreatesAndReplaces) {
  const TemporaryFolder folder;
  write_file(folder / "file", "one");
  EXPECT_EQ(read_file(folder / "file"), "one");
  write_file(folder / "file", "two!");
  EXPECT_EQ(read_file(folder / "file"), "two!");
  EXPECT_THAT(folder.names(), ElementsAre("file"));
}

TEST(WriteFile, AFailureKeepsTheOldFile) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  {
    const testing::FileSizeLimit limit(1000);
    expect_error(ErrorCode::kIo, (folder / "file") + ": cannot write: File too large",
                 [&] { write_file(folder / "file", std::string(5000, 'x')); });
  }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("file"));
  expect_error(ErrorCode::kIo, "nowhere/file: cannot create: No such file or directory",
               [&] { write_file(folder / "nowhere/file", "x"); });
}

TEST(AtomicFolder, AppearsOnlyOnCommit) {
  const TemporaryFolder folder;
  const std::string target = folder / "target";
  AtomicFolder writer(target + "/");
  writer.write("a", "first");
  writer.write("b", std::string(100'000, 'x'));
  EXPECT_FALSE(fs::exists(target));
  writer.commit();
  EXPECT_THAT(folder.names(), ElementsAre("target"));
  EXPECT_EQ(read_file(target + "/a"), "first");
  EXPECT_EQ(read_file(target + "/b"), std::string(100'000, 'x'));
}

TEST(AtomicFolder, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  { AtomicFolder(folder / "target").write("a", "first"); }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(AtomicFolder, HasTheUsualPermissions) {
  const TemporaryFolder folder;
  const mode_t old_mask = umask(022);
  AtomicFolder writer(folder / "target");
  writer.write("a", "");
  writer.commit();
  umask(old_mask);
  EXPECT_EQ(fs::status(folder / "target").permissions(), fs::perms{0755});
  EXPECT_EQ(fs::status(folder / "target/a").permissions(), fs::perms{0644});
}

TEST(AtomicFolder, TakesThePlaceOfAnEmptyFolderOnly) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  AtomicFolder writer(folder / "empty");
  writer.write("a", "first");
  writer.commit();
  expect_error(ErrorCode::kIo, "not empty", [&] { AtomicFolder again(folder / "empty"); });
  EXPECT_EQ(read_file(folder / "empty/a"), "first");

  put_file(folder / "file", "kept");
  expect_error(ErrorCode::kIo, "not a folder", [&] { AtomicFolder again(folder / "file"); });
  EXPECT_EQ(read_file(folder / "file"), "kept");
  expect_error(ErrorCode::kIo, "nowhere/target: cannot create the folder: No such file",
               [&] { AtomicFolder again(folder / "nowhere/target"); });
  EXPECT_THAT(folder.names(), UnorderedElementsAre("empty", "file"));
}

TEST(AtomicFolder, DoesNotReplaceWhatAppearedMeanwhile) {
  const TemporaryFolder folder;
  {
    AtomicFolder writer(folder / "target");
    writer.write("a", "ours");
    fs::create_directory(folder / "target");
    put_file(folder / "target/a", "theirs");
    expect_error(ErrorCode::kIo, "cannot put the finished folder in its place",
                 [&] { writer.commit(); });
  }
  EXPECT_THAT(folder.names(), ElementsAre("target"));
  EXPECT_EQ(read_file(folder / "target/a"), "theirs");
}

TEST(AtomicFolder, AFullDiskLeavesNothing) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "disk");
  const auto result = testing::on_small_disk(folder / "disk", 32 << 10, [&] {
    std::string message;
    try {
      AtomicFolder writer(folder / "disk/target");
      writer.write("small", "fits");
      writer.write("large", std::string(1 << 20, 'x'));
      writer.commit();
    } catch (const Error& error) {
      message = error.what();
    }
    return message.find("disk/target/large: cannot write: No space left on device") !=
               std::string::npos &&
           fs::is_empty(folder / "disk");
  });
  if (result == testing::SmallDisk::kNotPermitted) {
    GTEST_SKIP() << "mounting a small file system is not permitted here";
  }
  EXPECT_EQ(result, testing::SmallDisk::kPassed);
}

}  // namespace
}  // namespace r2router::io
