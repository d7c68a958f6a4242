#include "pipeline/line_reader.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "r2router/error.h"

namespace r2router::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LineReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "r2router_lines_XXXXXX";
    const int descriptor = ::mkstemp(path_.data());
    ASSERT_GE(descriptor, 0);
    ::close(descriptor);
  }
  void TearDown() override { ::unlink(path_.c_str()); }

  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::vector<std::string> lines() {
    std::vector<std::string> result;
    LineReader reader(path_);
    while (const auto line = reader.next()) result.emplace_back(line->text);
    return result;
  }

  std::string path_;
};

TEST_F(LineReaderTest, TakesEitherLineEndAndAMissingLastOne) {
  write("one\ntwo\r\n\nth\rree\r\nlast");
  EXPECT_THAT(lines(), ElementsAre("one", "two", "", "th\rree", "last"));
  write("");
  EXPECT_THAT(lines(), ElementsAre());
  write("\n");
  EXPECT_THAT(lines(), ElementsAre(""));
}

TEST_F(LineReaderTest, TellsWhereALineBegins) {
  write("\xEF\xBB\xBFone\r\ntwo\n\xEF\xBB\xBFthree");
  LineReader reader(path_);
  auto line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_EQ(line->text, "one");  // without the byte order mark
  EXPECT_EQ(line->number, 1u);
  EXPECT_EQ(line->offset, 3u);
  line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_EQ(line->number, 2u);
  EXPECT_EQ(line->offset, 8u);
  line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_EQ(line->text, "\xEF\xBB\xBFthree");  // a mark only at the start of the file
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.next());
}

TEST_F(LineReaderTest, JoinsLinesAcrossReads) {
  // Lengths around the size of one read, so that line breaks fall on every side of its border.
  std::vector<std::string> expected;
  std::string text;
  for (std::size_t length = 65530; length < 65545; ++length) {
    expected.emplace_back(length, static_cast<char>('a' + length % 26));
    text += expected.back() + '\n';
  }
  expected.emplace_back(200'000, 'z');
  text += expected.back();
  write(text);
  EXPECT_EQ(lines(), expected);
}

TEST_F(LineReaderTest, PassesOverALineBeyondTheLimit) {
  {
    std::ofstream file(path_, std::ios::binary);
    const std::string block(1 << 20, 'x');
    file << "before\n";
    for (std::size_t i = 0; i < LineReader::kMaxLine >> 20; ++i) file << block;
    file << "y\n"
         << "after\n";
  }
  LineReader reader(path_);
  EXPECT_EQ(reader.next()->text, "before");
  const auto line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->too_long);
  EXPECT_EQ(line->text, "");
  const auto after = reader.next();
  ASSERT_TRUE(after);
  EXPECT_EQ(after->text, "after");
  EXPECT_FALSE(after->too_long);
  EXPECT_EQ(after->number, 3u);
  EXPECT_EQ(after->offset, 7 + LineReader::kMaxLine + 2);
}

TEST_F(LineReaderTest, AnnouncesThatItMayWait) {
  write("one\ntwo\n");
  int waits = 0;
  LineReader reader(path_, [&] { ++waits; });
  EXPECT_EQ(waits, 0);
  reader.next();
  EXPECT_EQ(waits, 1);
  reader.next();
  EXPECT_EQ(waits, 1);  // the second line came with the first
}

TEST_F(LineReaderTest, AStopEndsTheWaitAndLeavesNoPartOfALine) {
  std::array<int, 2> input{}, stop{};
  ASSERT_EQ(::pipe(input.data()), 0);
  ASSERT_EQ(::pipe(stop.data()), 0);
  ASSERT_EQ(::write(input[1], "whole\nhal", 9), 9);
  const std::string path = "/dev/fd/" + std::to_string(input[0]);
  LineReader reader(path, {}, stop[0]);
  ASSERT_EQ(reader.next()->text, "whole");
  ASSERT_EQ(::write(stop[1], "", 1), 1);
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.next());
  for (const int descriptor : {input[0], input[1], stop[0], stop[1]}) ::close(descriptor);
}

TEST_F(LineReaderTest, NamesAFileThatItCannotRead) {
  try {
    LineReader reader(path_ + ".missing");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr(".missing"));
  }
  try {
    LineReader reader(::testing::TempDir());  // a folder
    reader.next();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
  }
}

}  // namespace
}  // namespace r2router::internal
