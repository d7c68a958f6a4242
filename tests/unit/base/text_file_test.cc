#include "base/text_file.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::io {
namespace {

using testing::expect_error;
using testing::put_file;
using std::string_literals::operator""s;

class TextFileTest : public ::testing::Test {
 protected:
  std::string put(const std::string& contents) const {
    put_file(folder_ / "file", contents);
    return folder_ / "file";
  }
  std::string put_gzip(const std::string& contents, std::size_t times = 1) const {
    const gzFile file = gzopen((folder_ / "file").c_str(), "wb9");
    for (std::size_t i = 0; i < times; ++i) {
      gzwrite(file, contents.data(), static_cast<unsigned>(contents.size()));
    }
    EXPECT_EQ(gzclose(file), Z_OK);
    return folder_ / "file";
  }
  static std::string all(const std::string& path) {
    TextFile file(path);
    std::string text;
    for (int c = file.get(); c != TextFile::kEnd; c = file.get()) text += static_cast<char>(c);
    return text;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TextFileTest, ReadsBytesAndLinesAndCountsThem) {
  const std::string path = put("a\r\nbc\n\nlast");
  TextFile file(path);
  std::string line;
  EXPECT_EQ(file.line(), 1u);
  ASSERT_TRUE(file.next_line(line));
  EXPECT_EQ(line, "a");
  EXPECT_EQ(file.line(), 2u);
  EXPECT_EQ(file.get(), 'b');
  EXPECT_EQ(file.peek(), 'c');
  ASSERT_TRUE(file.next_line(line));
  EXPECT_EQ(line, "c");
  EXPECT_EQ(file.get(), '\n');
  EXPECT_EQ(file.line(), 4u);
  ASSERT_TRUE(file.next_line(line));
  EXPECT_EQ(line, "last");
  EXPECT_FALSE(file.next_line(line));
  EXPECT_EQ(file.get(), TextFile::kEnd);
}

TEST_F(TextFileTest, GoesByTheContentsAndNotByTheName) {
  std::string text;
  for (int i = 0; i < 50000; ++i) text += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(all(put(text)), text);
  EXPECT_EQ(all(put_gzip(text)), text);
  EXPECT_EQ(all(put("\xEF\xBB\xBFtext")), "text");
  EXPECT_EQ(all(put_gzip("\xEF\xBB\xBFtext")), "text");
  EXPECT_EQ(all(put("")), "");
}

TEST_F(TextFileTest, NamesWhatIsNotTextAndHowToConvertIt) {
  const std::pair<std::string, const char*> cases[] = {
      {"\x28\xB5\x2F\xFDrest", "compressed with zstd"},
      {"BZh91AY&SYrest", "bunzip2"},
      {"\xFD"
       "7zXZ\0rest"s,
       "unxz"},
      {"\x04\x22\x4D\x18rest", "lz4"},
      {"PK\x03\x04rest", "Excel"},
      {"PAR1rest", "pyarrow"},
      {"\xFF\xFEq\0"s, "iconv -f UTF-16"},
      {"\xFE\xFF\0q"s, "iconv -f UTF-16"},
      {"{\0\"\0q\0"s, "UTF-16"},  // without a mark
      {"\0{\0\"\0q"s, "UTF-16"},
      {"text\0more"s, "not text"},
      {"\x80\x04\x95rest", "pickle"},
  };
  for (const auto& entry : cases) {
    const std::string& contents = entry.first;
    const char* const part = entry.second;
    expect_error(ErrorCode::kBadData, part, [&] { TextFile file(put(contents)); });
    expect_error(ErrorCode::kBadData, "expected UTF-8 text, plain or compressed with gzip",
                 [&] { TextFile file(put_gzip(contents)); });
  }
  // A header that only begins like one of them.
  EXPECT_EQ(all(put("BZh,model\n")), "BZh,model\n");
}

TEST_F(TextFileTest, ADecompressionBombIsCutShort) {
  const std::string path = put_gzip(std::string(1 << 20, ' ') + '\n', 300);
  expect_error(ErrorCode::kBadData, "decompresses to more than 200 times its size", [&] {
    TextFile file(path);
    for (std::string line; file.next_line(line);) {
    }
  });
}

TEST_F(TextFileTest, AMissingFileAndAFolderAreSaid) {
  expect_error(ErrorCode::kNotFound, "nowhere", [&] { TextFile file(folder_ / "nowhere"); });
  expect_error(ErrorCode::kIo, "directory", [&] { TextFile file(folder_.path()); });
}

}  // namespace
}  // namespace r2router::io
