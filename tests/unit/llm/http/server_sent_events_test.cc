#include "llm/http/server_sent_events.h"

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r2router::llm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// The data of all events of a stream that comes in these pieces.
std::vector<std::string> events_of(const std::vector<std::string_view>& pieces) {
  EventParser parser(1000);
  std::vector<std::string> events;
  for (const std::string_view piece : pieces) {
    EXPECT_TRUE(parser.feed(piece, [&](std::string_view, std::string_view data) {
      events.emplace_back(data);
      return true;
    }));
  }
  return events;
}

// The examples of the WHATWG HTML standard, 9.2.6.
TEST(EventParser, ReadsTheExamplesOfTheStandard) {
  EXPECT_THAT(events_of({"data: YHOO\ndata: +2\ndata: 10\n\n"}), ElementsAre("YHOO\n+2\n10"));
  EXPECT_THAT(events_of({": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
                         "data:  third event\n"}),
              ElementsAre("first event", "second event"))
      << "the third is not ended by an empty line";
  EXPECT_THAT(events_of({"data\n\ndata\ndata\n\ndata:"}), ElementsAre("", "\n"));
  EXPECT_THAT(events_of({"data:test\n\ndata: test\n\n"}), ElementsAre("test", "test"));
}

TEST(EventParser, TakesTheNameOfAFieldExactly) {
  EXPECT_THAT(events_of({"Data: a\ndata : b\ndatas: c\n data: d\nevent: e\nretry: 5\n: data: f\n"
                         "\xEF\xBB\xBF"
                         "data: g\n\n"}),
              IsEmpty());
  EXPECT_THAT(events_of({"data: a: b\n\n"}), ElementsAre("a: b"));
}

TEST(EventParser, DropsAByteOrderMarkAtTheStartAlone) {
  EXPECT_THAT(events_of({"\xEF\xBB\xBF"
                         "data: a\n\ndata: \xEF\xBB\xBF\n\n"}),
              ElementsAre("a", "\xEF\xBB\xBF"));
  EXPECT_THAT(events_of({"\xEF\xBB\xBF\xEF\xBB\xBF"
                         "data: a\n\n"}),
              IsEmpty());
}

TEST(EventParser, GivesTheSameEventsHoweverTheStreamIsCut) {
  // Every line ending, comments, many lines, UTF-8 of each length.
  const std::vector<std::string> expected = {"{\"a\": 1}", "é\n€\n😀", "", "x", "[DONE]"};
  for (const std::string_view end : {"\n", "\r\n", "\r"}) {
    std::string stream = "\xEF\xBB\xBF";
    for (const std::string_view line :
         {": PROCESSING", "", "data: {\"a\": 1}", "", "event: e", "data:é", "data: €", ":",
          "data:😀", "", "data", "", "", "id: 7", "data: x", "", "data: [DONE]", ""}) {
      stream.append(line).append(end);
    }
    const std::string_view whole = stream;
    EXPECT_EQ(events_of({whole}), expected);
    for (std::size_t first = 0; first <= whole.size(); ++first) {
      for (std::size_t second = first; second <= whole.size(); ++second) {
        ASSERT_EQ(events_of({whole.substr(0, first), whole.substr(first, second - first),
                             whole.substr(second)}),
                  expected)
            << "cut at " << first << " and " << second;
      }
    }
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < whole.size(); ++i) bytes.push_back(whole.substr(i, 1));
    EXPECT_EQ(events_of(bytes), expected) << "byte by byte";
  }
}

TEST(EventParser, EndsLinesInDifferentWaysWithinAStream) {
  EXPECT_THAT(events_of({"data: a\r\r\ndata: b\n\r\ndata: c\r\n\n"}), ElementsAre("a", "b", "c"));
}

// An event must not wait for the byte after its end: that may be a long time coming.
TEST(EventParser, GivesAnEventWithItsLastByte) {
  EventParser parser(100);
  int events = 0;
  const auto count = [&](std::string_view, std::string_view) {
    ++events;
    return true;
  };
  EXPECT_TRUE(parser.feed("data: a\r\n\r", count));
  EXPECT_EQ(events, 1);
  EXPECT_TRUE(parser.feed("\ndata: b\r", count));
  EXPECT_TRUE(parser.feed("\n\r", count));
  EXPECT_EQ(events, 2);
}

/// Names and data, "name=data", of all events of a whole stream, its end included.
std::vector<std::string> all_of(std::string_view stream, std::size_t piece_size) {
  EventParser parser(1000);
  std::vector<std::string> events;
  const auto note = [&](std::string_view name, std::string_view data) {
    events.push_back(std::string(name) + "=" + std::string(data));
    return true;
  };
  for (std::size_t i = 0; i < stream.size(); i += piece_size) {
    EXPECT_TRUE(parser.feed(stream.substr(i, piece_size), note));
  }
  parser.finish(note);
  return events;
}

TEST(EventParser, TakesWhatGatewaysSend) {
  const auto expect = [](std::string stream, const std::vector<std::string>& events) {
    for (const std::size_t piece : {1, 3, 1000}) {
      EXPECT_EQ(all_of(stream, piece), events) << stream << " in pieces of " << piece;
    }
  };
  // Names.
  expect("event: ping\ndata: now\n\ndata: {}\n\n", {"ping=now", "={}"});
  expect("event: ping\n\ndata: {}\n\n", {"={}"});
  // No empty line between the events, or after the last one.
  expect("data: {\"a\": 1}\ndata: {\"b\": 2}\ndata: [DONE]\n",
         {"={\"a\": 1}", "={\"b\": 2}", "=[DONE]"});
  expect("event: x\ndata: {\"a\": 1}\nevent: y\ndata: {\"b\": 2}\n",
         {"x={\"a\": 1}", "y={\"b\": 2}"});
  expect("data: {\"a\": \"}\"}\r\ndata: [DONE]", {"={\"a\": \"}\"}", "=[DONE]"});
  expect("data: {\"a\": 1}\nerror: {\"b\": 2}\n", {"={\"a\": 1}", "error={\"b\": 2}"});
  // One event in several lines.
  expect("data: {\"a\": [1,\ndata: 2]}\n\n", {"={\"a\": [1,\n2]}"});
  expect("data: {\"a\": \"{\",\ndata: \"b\": \"\\\"}\"}\n\n",
         {"={\"a\": \"{\",\n\"b\": \"\\\"}\"}"});
  expect("data:\n {\"a\": 1}\n\n", {"=\n {\"a\": 1}"});
  expect("data: {\n  \"a\": 1\n}\n\ndata: 7\n\n", {"={\n  \"a\": 1\n}", "=7"});
  // An error in a separate field.
  expect("error: {\"code\": 500}\n\n", {"error={\"code\": 500}"});
  // What the end cuts off is not an event.
  expect("data: {\"a\": 1}\n\ndata: {\"b\": [2}", {"={\"a\": 1}"});
  expect("data: {\"a\": \"}", {});
  expect("data: text", {});
  expect("data: {\"a\": 1} and more", {});
}

TEST(EventParser, LooksAtEveryByteOnlySoOften) {
  // Quadratic time in the number of lines would take minutes.
  EventParser parser(std::size_t{8} << 20);
  std::string stream = "data: {\n";
  for (int i = 0; i < 400'000; ++i) stream += i % 2 == 0 ? "data:{}\n" : "data:\n";
  EXPECT_TRUE(parser.feed(stream, [](std::string_view, std::string_view) { return true; }));
}

TEST(EventParser, StopsWhereItIsTold) {
  EventParser parser(100);
  std::vector<std::string> events;
  const auto until_done = [&](std::string_view, std::string_view data) {
    events.emplace_back(data);
    return data != "[DONE]";
  };
  EXPECT_TRUE(parser.feed("data: a\n\ndata: [DONE]\n\ndata: b\n\n", until_done));
  EXPECT_THAT(events, ElementsAre("a", "[DONE]"));
}

TEST(EventParser, RefusesWhatIsTooLongHoweverItIsCut) {
  const auto takes = [](const std::string& stream, std::size_t piece) {
    EventParser parser(20);
    for (std::size_t i = 0; i < stream.size(); i += piece) {
      if (!parser.feed(std::string_view(stream).substr(i, piece),
                       [](std::string_view, std::string_view) { return true; })) {
        return false;
      }
    }
    return true;
  };
  const std::string line14(14, 'x');
  for (const std::size_t piece : {1, 2, 7, 1000}) {
    EXPECT_TRUE(takes("data: " + line14 + "\n\ndata: " + line14 + "\n\n", piece)) << piece;
    EXPECT_FALSE(takes("data: " + line14 + "x\n\n", piece)) << "a line, in pieces of " << piece;
    EXPECT_FALSE(takes(":" + std::string(20, 'x') + "\n", piece)) << "a comment, " << piece;
    EXPECT_FALSE(takes("data: " + line14 + "\ndata: 123456\n\n", piece)) << "an event, " << piece;
    EXPECT_FALSE(takes(std::string(1000, 'x'), piece)) << "no line at all, " << piece;
    EXPECT_TRUE(takes(std::string(1000, '\n'), piece)) << "nothing but ends of lines, " << piece;
  }
}

}  // namespace
}  // namespace r2router::llm
