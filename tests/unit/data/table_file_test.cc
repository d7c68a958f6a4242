#include "data/table_file.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::io {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::put_file;

class TableFile : public ::testing::Test {
 protected:
  /// The lines of all rows with their fields "a" and "b".
  std::vector<std::pair<std::uint64_t, std::string>> read(const std::string& contents) const {
    put_file(folder_ / "table", contents);
    std::vector<std::pair<std::uint64_t, std::string>> rows;
    for_each_row(folder_ / "table", [&](const JsonView& row, std::uint64_t line) {
      rows.emplace_back(line, read_name(row["a"], "a name") + "/" +
                                  std::to_string(read_number(row["b"], 0, 9, "a number")));
    });
    return rows;
  }
  std::string fault(const std::string& contents) const {
    const Error error = error_of([&] { read(contents); });
    EXPECT_EQ(error.code(), ErrorCode::kBadData);
    const std::string place = folder_ / "table";
    EXPECT_THAT(error.what(), HasSubstr(place + ":"));
    return std::string(error.what()).substr(place.size() + 1);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TableFile, EveryFormReadsTheSame) {
  const auto rows = ElementsAre(Pair(::testing::_, "x/1.000000"), Pair(::testing::_, "2/0.500000"));
  for (const char* const contents : {
           "{\"a\": \"x\", \"b\": 1}\n{\"a\": 2, \"b\": 0.5}\n",
           "\n \r\n{\"a\": \"x\", \"b\": 1}\r\n\n{\"b\": 0.5, \"a\": 2.0}",
           "[{\"a\": \"x\", \"b\": 1}, {\"a\": 2, \"b\": 0.5}]",
           "\xEF\xBB\xBF[\n  {\n    \"a\": \"x\",\n    \"b\": 1\n  },\n  {\"a\": \"2\", \"b\": "
           "\"0.5\"}\n]\n",
           "a,b\nx,1\n2,0.5\n",
           "\xEF\xBB\xBF\"a\";\"b\"\r\n\"x\";\"1\"\r\n2; 0.5\r\n",
           "b\ta\n1\tx\n5e-1\t2",
           "a|b\rx|1\r2|.5\r",
           ",A,note,B\n0,x,\"say \"\"no\"\", twice\nor more\",1\n\n1,2,,0.5\n",
       }) {
    EXPECT_THAT(read(contents), rows) << contents;
  }
}

TEST_F(TableFile, ARowIsNamedByTheLineWhereItBegins) {
  EXPECT_THAT(read("[\n{\"a\": 1,\n \"b\": 1},\n\n{\"a\": 2, \"b\": 2}]"),
              ElementsAre(Pair(2u, "1/1.000000"), Pair(5u, "2/2.000000")));
  EXPECT_THAT(read("a,b,c\n1,1,\"two\nlines\"\n2,2,\n"),
              ElementsAre(Pair(2u, "1/1.000000"), Pair(4u, "2/2.000000")));
}

TEST_F(TableFile, BracketsAndQuotesInStringsDoNotEndARow) {
  EXPECT_THAT(read(R"([{"a": "}]{[\"", "b": 1, "c": [{"d": "\\"}]}, {"a": 2, "b": 2}])"),
              ElementsAre(Pair(1u, "}]{[\"/1.000000"), Pair(1u, "2/2.000000")));
}

TEST_F(TableFile, EmptyTablesHaveNoRows) {
  for (const char* const contents : {"", "\n\n", "[]", " [ ] \n", "a,b\n", "a,b"}) {
    EXPECT_TRUE(read(contents).empty()) << contents;
  }
}

TEST_F(TableFile, ColumnsMayBeWrittenInOtherWays) {
  for (const char* const header : {"query_id", "Query_ID", "query id", "queryId", "QueryID",
                                   " query-id ", "QUERY_ID", "\"query_id\""}) {
    put_file(folder_ / "table", std::string(header) + ",x\n7,8\n");
    int rows = 0;
    for_each_row(folder_ / "table", [&](const JsonView& row, std::uint64_t) {
      ++rows;
      EXPECT_EQ(read_name(row["query_id"], "a name"), "7") << header;
    });
    EXPECT_EQ(rows, 1);
  }
}

TEST_F(TableFile, AFaultHasItsLineAndColumn) {
  EXPECT_EQ(fault("a,b\n1,1\n2,x\n"), "3: column \"b\": found the string \"x\", expected a number");
  EXPECT_EQ(fault("a,Big B,b\n1,1,\n"),
            "2: column \"b\": found the string \"\", expected a number");
  EXPECT_THAT(fault("a,c\n1,1\n"), HasSubstr("1: there is no column \"b\"; the header"));
  EXPECT_THAT(fault("a,c\n1,1\n"), HasSubstr("has \"a\", \"c\""));
  EXPECT_THAT(fault("a,b\n1,1\n1,2,3\n"), HasSubstr("3: the row has 3 cells, but the header 2"));
  EXPECT_THAT(fault("a,b\n1,1\n1\n"), HasSubstr("3: the row has 1 cells"));
  EXPECT_THAT(fault("a,b\n\"1,1\n2,2\n"), HasSubstr("2: a quote that opens in this row"));
  EXPECT_THAT(fault("a,b\n\"1\"x,1\n"), HasSubstr("2: the cell \"1\" goes on after its closing"));
  EXPECT_THAT(fault("a,b,a\n1,1,1\n"), HasSubstr("1: the header has two columns \"a\""));
  EXPECT_THAT(fault("a,b\n\xE9t\xE9,1\n"), HasSubstr("2: the cell"));
  EXPECT_THAT(fault("a,b\n\xE9t\xE9,1\n"), HasSubstr("is not UTF-8"));
  EXPECT_THAT(fault("a,b\n1,\"0,5\"\n"), HasSubstr("found the string \"0,5\""));

  EXPECT_EQ(fault("{\"a\": 1, \"b\": 1}\n{\"a\": 2, \"b\": \"x\"}\n"),
            "2 at /b: found the string \"x\", expected a number");
  EXPECT_THAT(fault("{\"a\": 1, \"b\": 1}\n{\"a\": 2}"),
              HasSubstr("2 at /b: this field is missing"));
  EXPECT_THAT(fault("{\"a\": 1, \"b\": 1}\n[1, 2]"), HasSubstr("2: found an array of 2"));
  EXPECT_THAT(fault("{\"a\": 1, \"b\": 1}\n{\"a\": "), HasSubstr("2: not valid JSON"));

  EXPECT_THAT(fault("[{\"a\": 1, \"b\": 1},\n{\"a\": 2, \"b\": 10}]"), HasSubstr("2 at /b: found"));
  EXPECT_THAT(fault("[\n{\"a\": 1,\n\"b\": oops}]"), HasSubstr("3: not valid JSON at column 6"));
  EXPECT_THAT(fault("[{\"a\": 1, \"b\": 1}\n{\"a\": 2}]"),
              HasSubstr("2: not a JSON array of objects"));
  EXPECT_THAT(fault("[{\"a\": 1, \"b\": 1}, ]"), HasSubstr("expected an object for each row"));
  EXPECT_THAT(fault("[1, 2]"), HasSubstr("1: not a JSON array of objects: found \"1\""));
  EXPECT_THAT(fault("[{\"a\": 1, \"b\": 1}"), HasSubstr("found the file's end"));
  EXPECT_THAT(fault("[{\"a\": 1, \"b\": 1}, {\"a\""), HasSubstr("it is cut off"));
  EXPECT_THAT(fault("[]\n[]"), HasSubstr("2: not a JSON array of objects: found \"[\""));
}

TEST_F(TableFile, MissingValuesAreWhatToolsWriteForThem) {
  put_file(folder_ / "table", "{\"a\": null}\n{\"a\": NaN}\n{\"a\": \"\"}\n{}\n[\n");
  std::vector<bool> given;
  EXPECT_THROW(for_each_row(folder_ / "table",
                            [&](const JsonView& row, std::uint64_t) {
                              given.push_back(has_value(row, "a", true));
                            }),
               Error);
  EXPECT_THAT(given, ElementsAre(false, false, false, false));
  given.clear();
  put_file(folder_ / "table", "a,b\nnan,1\nNA,1\n,1\nNone,1\n<NA>,1\n0,1\nfalse,1\n");
  for_each_row(folder_ / "table", [&](const JsonView& row, std::uint64_t) {
    given.push_back(has_value(row, "a", true));
    // As a text they are there.
    EXPECT_EQ(has_value(row, "a"), !row["a"].string().empty());
  });
  EXPECT_THAT(given, ElementsAre(false, false, false, false, false, true, true));
  // Within a string it is not a number.
  put_file(folder_ / "table", R"({"a": "NaN \" NaN", "b": NaN})");
  for_each_row(folder_ / "table", [&](const JsonView& row, std::uint64_t) {
    EXPECT_EQ(row["a"].string(), "NaN \" NaN");
    EXPECT_TRUE(row["b"].is_null());
  });
}

TEST_F(TableFile, RowsAreGivenAsJsonText) {
  const auto texts = [&](const std::string& contents) {
    put_file(folder_ / "table", contents);
    std::vector<std::string> rows;
    for_each_row_text(folder_ / "table",
                      [&](const std::string& text, std::uint64_t) { rows.push_back(text); });
    return rows;
  };
  EXPECT_THAT(
      texts("id,query,max_cost_usd,available_only,note\n7,5,0.5,True,\n8,\"a, \"\"b\"\"\",,,x\n"),
      ElementsAre(R"({"id":"7","query":"5","max_cost_usd":0.5,"available_only":true})",
                  R"({"id":"8","query":"a, \"b\"","note":"x"})"));
  EXPECT_THAT(texts("[{\"a\": 1},\n{\"b\": [{}]}]"), ElementsAre("{\"a\": 1}", "{\"b\": [{}]}"));
  EXPECT_THAT(texts("{\"a\": 1}\nbroken\n"), ElementsAre("{\"a\": 1}", "broken"));

  const auto other = [&](const std::string& contents) {
    put_file(folder_ / "table", contents);
    return is_other_table(folder_ / "table", "query");
  };
  EXPECT_TRUE(other("[]"));
  EXPECT_TRUE(other("\x1F\x8B..."));
  EXPECT_TRUE(other("id;Query\n"));
  EXPECT_TRUE(other("\"query\"\n"));
  EXPECT_FALSE(other("{\"query\": 1}"));
  EXPECT_FALSE(other("oops\n"));
  EXPECT_FALSE(other("\"query\n"));
  EXPECT_FALSE(other(""));
  EXPECT_FALSE(is_other_table(folder_ / "nowhere", "query"));
}

/// The value of a field of JSON, or the error's text.
template <typename Read>
std::string value_of(const std::string& json, Read read) {
  const JsonDocument document("{\"x\": " + json + "}", "", ErrorCode::kBadData);
  try {
    return ::testing::PrintToString(read(document.root()["x"]));
  } catch (const Error& error) {
    return "fault";
  }
}

TEST(ReadName, WholeNumbersAreTheirDigits) {
  const auto name = [](const std::string& json) {
    return value_of(json, [](const JsonView& value) { return read_name(value, "a name"); });
  };
  EXPECT_EQ(name("17"), "\"17\"");
  EXPECT_EQ(name("17.0"), "\"17\"");
  EXPECT_EQ(name("-3"), "\"-3\"");
  EXPECT_EQ(name("\"17.0\""), "\"17.0\"");
  EXPECT_EQ(name("18446744073709551615"), "\"18446744073709551615\"");
  EXPECT_EQ(name("123456789012345678901"), "fault");  // it would be rounded
  EXPECT_EQ(name("1.5"), "fault");
  EXPECT_EQ(name("true"), "fault");
  EXPECT_EQ(name("\"\""), "fault");
  EXPECT_EQ(name("null"), "fault");
}

TEST(ReadScore, TrueIsOne) {
  const auto score = [](const std::string& json) {
    return value_of(json, [](const JsonView& value) { return read_score(value); });
  };
  for (const char* const one :
       {"1", "1.0", "true", "\"True\"", "\"TRUE\"", "\"1\"", "\" true \""}) {
    EXPECT_EQ(score(one), "1") << one;
  }
  for (const char* const zero : {"0", "false", "\"False\"", "\"0.0\""}) {
    EXPECT_EQ(score(zero), "0") << zero;
  }
  EXPECT_EQ(score("\"0.25\""), "0.25");
  for (const char* const bad :
       {"1.01", "-1", "\"yes\"", "\"inf\"", "\"1e400\"", "\"0.5x\"", "[]"}) {
    EXPECT_EQ(score(bad), "fault") << bad;
  }
}

TEST(ReadBudget, TakesFloatsAndText) {
  const auto budget = [](const std::string& json) {
    return value_of(json, [](const JsonView& value) { return read_budget(value).to_string(); });
  };
  EXPECT_EQ(budget("300"), "\"300\"");
  EXPECT_EQ(budget("300.0"), "\"300\"");
  EXPECT_EQ(budget("\"300\""), "\"300\"");
  EXPECT_EQ(budget("\"Unlimited\""), "\"unlimited\"");
  EXPECT_EQ(budget("4294967294"), "\"4294967294\"");
  for (const char* const bad : {"0", "-1", "2.5", "4294967295", "\"none\"", "true"}) {
    EXPECT_EQ(budget(bad), "fault") << bad;
  }
}

TEST(WithoutZeroFraction, IsTheUsualFormOfAWholeNumber) {
  const std::pair<const char*, const char*> cases[] = {
      {"17.0", "17"},     {"17.00", "17"},  {"-3.0", "-3"}, {"17", "17"},
      {"1.5", "1.5"},     {"v1.0", "v1.0"}, {".0", ".0"},   {"1.", "1."},
      {"1.0.0", "1.0.0"}, {"", ""},         {"-.0", "-.0"}};
  for (const auto& [name, expected] : cases) EXPECT_EQ(without_zero_fraction(name), expected);
}

}  // namespace
}  // namespace r2router::io
