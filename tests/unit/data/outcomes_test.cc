#include "r2router/outcomes.h"

#include <cmath>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "r2router/decision.h"

#include "base/json.h"
#include "support/errors.h"
#include "support/shared_data.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;
using testing::put_file;
using testing::read_file;
using testing::TemporaryFolder;

constexpr const char* kQueries =
    R"({"query_id": "q0", "dataset": "x:a", "query": "two words", "query_tokens": 7}
{"query_id": "q1", "query": "three more words", "colour": "red"}

{"query_id": "q2", "query": "ça va", "input_tokens": 3}
)";
constexpr const char* kOutcomes =
    R"({"query_id": "q1", "model": "b", "score": 0.25, "output_tokens": 6.5}
{"query_id": "q0", "model": "a", "budget": 20, "score": 1, "output_tokens": 20}
{"query_id": "q0", "model": "a", "budget": "unlimited", "score": 0, "output_tokens": 90}
{"query_id": "q2", "model": "a", "budget": 10, "score": 1, "output_tokens": 0}
{"query_id": "q0", "model": "stranger", "score": 1, "output_tokens": 5}
)";

const Pool kPool = {{.name = "unused"}, {.name = "a"}, {.name = "b"}};

void put_gzip(const std::string& path, const std::string& contents) {
  const gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzwrite(file, contents.data(), static_cast<unsigned>(contents.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

class ReadOutcomes : public ::testing::Test {
 protected:
  OutcomeTable read(const std::string& queries, const std::string& outcomes) const {
    put_file(folder_ / "queries.jsonl", queries);
    put_file(folder_ / "outcomes.jsonl", outcomes);
    return read_outcomes(folder_ / "queries.jsonl", folder_ / "outcomes.jsonl", kPool);
  }

  void expect_fault(const std::string& queries, const std::string& outcomes,
                    const std::string& place, const std::string& part) const {
    const Error error = error_of([&] { read(queries, outcomes); });
    EXPECT_EQ(error.code(), ErrorCode::kBadData) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(place));
    EXPECT_THAT(error.what(), HasSubstr(part));
  }

  TemporaryFolder folder_;
};

TEST_F(ReadOutcomes, PutsTheLongFormIntoCells) {
  const OutcomeTable table = read(kQueries, kOutcomes);
  EXPECT_NO_THROW(validate(table));
  ASSERT_EQ(table.queries.size(), 3u);
  EXPECT_EQ(table.queries[0].dataset, "x:a");
  EXPECT_EQ(table.queries[0].input_tokens, 7);
  EXPECT_EQ(table.queries[1].input_tokens, estimate_input_tokens("three more words"));
  EXPECT_EQ(table.queries[2].text, "ça va");
  EXPECT_EQ(table.queries[2].input_tokens, 3);
  // Models with outcomes only, in the pool's order; each one's budgets ascending.
  ASSERT_EQ(table.models.size(), 2u);
  EXPECT_EQ(table.models[0].name, "a");
  EXPECT_EQ(table.models[1].name, "b");
  EXPECT_THAT(table.pairs, ElementsAre(Pair{0, Budget(10)}, Pair{0, Budget(20)}, Pair{0, Budget()},
                                       Pair{1, Budget()}));
  using ::testing::IsNan;
  EXPECT_THAT(table.scores, ElementsAre(IsNan(), 1, 0, IsNan(),           //
                                        IsNan(), IsNan(), IsNan(), 0.25,  //
                                        1, IsNan(), IsNan(), IsNan()));
  EXPECT_THAT(table.output_tokens, ElementsAre(IsNan(), 20, 90, IsNan(),        //
                                               IsNan(), IsNan(), IsNan(), 6.5,  //
                                               0, IsNan(), IsNan(), IsNan()));
  EXPECT_EQ(table.budget_mode, BudgetMode::kPrompted);
}

TEST_F(ReadOutcomes, GzipAndWindowsLineEndsReadTheSame) {
  const OutcomeTable plain = read(kQueries, kOutcomes);
  std::string windows;
  for (const char c : std::string(kOutcomes))
    windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  windows.resize(windows.size() - 2);  // the last line may end with the file
  put_gzip(folder_ / "outcomes.jsonl.gz", windows);
  put_gzip(folder_ / "queries.jsonl.gz", kQueries);
  const OutcomeTable zipped =
      read_outcomes(folder_ / "queries.jsonl.gz", folder_ / "outcomes.jsonl.gz", kPool);
  EXPECT_EQ(zipped.pairs, plain.pairs);
  EXPECT_EQ(zipped.output_tokens[zipped.cell(0, 2)], 90);
  EXPECT_EQ(zipped.scores[zipped.cell(1, 3)], 0.25);
  EXPECT_EQ(zipped.queries[2].text, plain.queries[2].text);
}

TEST_F(ReadOutcomes, NamesItsSourcesByHash) {
  const OutcomeTable table = read("{\"query_id\": \"q0\", \"query\": \"hi\"}\n",
                                  R"({"query_id":"q0","model":"a","score":1,"output_tokens":1})");
  ASSERT_EQ(table.sources.size(), 2u);
  EXPECT_EQ(table.sources[0].file, "queries.jsonl");
  // From sha256sum.
  EXPECT_EQ(table.sources[0].sha256,
            "30c174685c7a9a64e63171218ac18b00eef99feeab4fff8f8efb9b90b3db9b09");
}

TEST_F(ReadOutcomes, AModelUnderAnInstructionIsAnEntryOfItsOwn) {
  const Pool pool = {{.name = "a", .prices = {.input = 3}},
                     {.name = "a (brief)", .instruction = "Be brief.", .instruction_tokens = 9}};
  put_file(folder_ / "queries.jsonl", kQueries);
  put_file(folder_ / "outcomes.jsonl",
           R"({"query_id": "q0", "model": "a", "instruction": "", "score": 1, "output_tokens": 1}
{"query_id": "q0", "model": "a", "instruction": "long", "score": 1, "output_tokens": 2, "input_tokens": 27}
{"query_id": "q2", "model": "a", "prompt": "long", "score": 0, "output_tokens": 3, "input_tokens": 24}
{"query_id": "q0", "model": "a", "prompt": "brief", "score": 0.5, "output_tokens": 4, "input_tokens": 99}
{"query_id": "q0", "model": "stranger", "prompt": "brief", "score": 0.5, "output_tokens": 4}
)");
  const OutcomeTable table =
      read_outcomes(folder_ / "queries.jsonl", folder_ / "outcomes.jsonl", pool);
  ASSERT_EQ(table.models.size(), 3u);
  EXPECT_EQ(table.models[0], pool[0]);
  EXPECT_EQ(table.models[1], pool[1]);  // the pool has the last word
  EXPECT_EQ(table.models[2].name, "a (long)");
  EXPECT_EQ(table.models[2].instruction, "long");
  EXPECT_EQ(table.models[2].prices.input, 3);
  EXPECT_EQ(table.models[2].instruction_tokens, 21u);  // the mean of 27 − 7 and 24 − 3, rounded
  EXPECT_DOUBLE_EQ(table.output_tokens[table.cell(2, 2)], 3);
  EXPECT_DOUBLE_EQ(table.scores[table.cell(0, 1)], 0.5);
}

TEST_F(ReadOutcomes, OneFileMayHoldQueriesAndOutcomes) {
  const std::string file = folder_ / "both.jsonl";
  const auto line = [](const std::string& query, const std::string& text, int input_tokens,
                       const std::string& prompt) {
    return R"({"query_id": ")" + query + R"(", "query": ")" + text +
           R"(", "model": "a", "prompt": ")" + prompt +
           R"(", "score": 1, "output_tokens": 2, "input_tokens": )" + std::to_string(input_tokens) +
           "}\n";
  };
  put_file(file, line("q", "text", 30, "long") + line("r", "other", 5, "long") +
                     line("q", "text", 10, "short") + line("r", "other", 5, "short"));
  const OutcomeTable table = read_outcomes(file, file, kPool);
  EXPECT_EQ(table.queries.size(), 2u);
  EXPECT_EQ(table.queries[0].input_tokens, 10);
  EXPECT_EQ(table.models[0].instruction_tokens, 10u);
  EXPECT_EQ(table.models[1].instruction_tokens, 0u);
  EXPECT_EQ(table.sources.size(), 1u);

  put_file(file, line("q", "text", 30, "long") + line("q", "changed", 30, "short"));
  expect_error(ErrorCode::kBadData, "line 1 already with another text",
               [&] { read_outcomes(file, file, kPool); });
  put_file(file, line("q", "text", 30, "long") + line("q", "text", 30, "long"));
  expect_error(ErrorCode::kBadData, "a (long) at budget unlimited for query \"q\" is in line 1",
               [&] { read_outcomes(file, file, kPool); });
}

TEST_F(ReadOutcomes, WholePromptsAreNotTakenForInstructions) {
  std::string outcomes;
  for (int i = 0; i < 1100; ++i) {
    outcomes += R"({"query_id": "q0", "model": "a", "prompt": "p)" + std::to_string(i) +
                R"(", "score": 1, "output_tokens": 1})"
                "\n";
  }
  expect_fault(kQueries, outcomes, "outcomes.jsonl:1001", "whole prompts");
}

TEST_F(ReadOutcomes, AFaultInTheQueriesIsNamedWithFileAndLine) {
  const auto expect_line_2 = [&](const std::string& line, const std::string& part) {
    expect_fault("{\"query_id\": \"q0\", \"query\": \"x\"}\n" + line + "\n", kOutcomes,
                 "queries.jsonl:2", part);
  };
  expect_line_2(R"({"query_id": "q1", "query": )", "not valid JSON");
  expect_line_2("[1, 2]", "expected an object for each row");
  expect_line_2(R"({"query": "x"})", "/query_id: this field is missing");
  expect_line_2(R"({"query_id": 5.5, "query": "x"})", "found the number 5.5");
  expect_line_2(R"({"query_id": "", "query": "x"})", "found the string \"\"");
  expect_line_2(R"({"query_id": "q1", "query": 5})", "found the number 5");
  expect_line_2(R"({"query_id": "q1", "query": "x", "datset": "y"})", "looks like \"dataset\"");
  expect_line_2(R"({"query_id": "q1"})", "/query: this field is missing");
  expect_line_2(R"({"query_id": "q1", "query": "  \t "})", "not empty");
  expect_line_2(R"({"query_id": "q1", "query": "x", "query_tokens": -1})", "0 or more");
  expect_line_2(R"({"query_id": "q0", "query": "y"})", "is in line 1 already");
  expect_line_2("{\"query_id\": \"q1\", \"query\": \"\xff\"}", "not valid JSON");
  expect_fault("\n \n", kOutcomes, "queries.jsonl", "has no queries");
}

TEST_F(ReadOutcomes, AFaultInTheOutcomesIsNamedWithFileAndLine) {
  const auto expect_line_6 = [&](const std::string& line, const std::string& part) {
    expect_fault(kQueries, kOutcomes + line, "outcomes.jsonl:6", part);
  };
  expect_line_6(R"({"query_id": "q9", "model": "a", "score": 1, "output_tokens": 1})",
                "no query \"q9\"");
  expect_line_6(R"({"query_id": "q9", "model": "stranger", "score": 1, "output_tokens": 1})",
                "no query \"q9\"");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": 1.01, "output_tokens": 1})",
                "found the number 1.01, expected a number from 0 to 1");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": -0.5, "output_tokens": 1})", "-0.5");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": Infinity, "output_tokens": 1})",
                "not valid JSON");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": "good", "output_tokens": 1})",
                "found the string \"good\", expected a number from 0 to 1, true or false");
  expect_line_6(R"({"query_id": "q1", "model": "a", "output_tokens": 1})", "/score");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": 1, "output_tokens": null})",
                "found null, expected a number of tokens");
  expect_line_6(R"({"query_id": "Q1 ", "model": "a", "score": 1, "output_tokens": 1})",
                "no query \"Q1 \" in the file of queries, but \"q1\": write the ids alike");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": 1, "output_tokens": -3})", "-3");
  expect_line_6(R"({"query_id": "q1", "model": "a", "score": 1})", "/output_tokens");
  expect_line_6(R"({"query_id": "q1", "score": 1, "output_tokens": 1})", "/model");
  expect_line_6(R"({"query_id": "q1", "model": "a", "budget": 0, "score": 1, "output_tokens": 1})",
                "/budget");
  expect_line_6(
      R"({"query_id": "q1", "model": "a", "budget": "many", "score": 1, "output_tokens": 1})",
      "/budget");
  expect_line_6(R"({"query_id": "q1", "model": "a", "bugdet": 5, "score": 1, "output_tokens": 1})",
                "bugdet");
  expect_line_6(R"({"query_id": "q0", "model": "a", "score": 1, "output_tokens": 1})",
                "is in line 3 already");
  expect_line_6(R"({"query_id": "q1", "query_id": "q2", "model": "a"})", "occurs twice");
}

/// Rows of two models in every form that tools write.
TEST_F(ReadOutcomes, EveryFormOfATableIsTheSameTable) {
  const std::string queries[] = {
      "{\"query_id\": \"1\", \"query\": \"x\", \"query_tokens\": 4}\n{\"query_id\": \"2\", "
      "\"query\": \"y z\"}",
      "[{\"query_id\": 1, \"query\": \"x\", \"query_tokens\": 4.0},\n {\"query_id\": 2, \"query\": "
      "\"y z\", "
      "\"query_tokens\": NaN}]",
      ",query_id,query,query_tokens,dataset\n0,1.0,x,4.0,\n1,2.0,\"y z\",,\n"};
  const std::string outcomes[] = {
      "{\"query_id\": \"1\", \"model\": \"a\", \"score\": 1, \"output_tokens\": 6.5}\n"
      "{\"query_id\": \"2\", \"model\": \"a\", \"score\": 0, \"output_tokens\": 7, \"budget\": "
      "20}\n"
      "{\"query_id\": \"2\", \"model\": \"b\", \"score\": null, \"output_tokens\": null}\n",
      "[{\"query_id\": 1.0, \"model\": \"a\", \"score\": true, \"output_tokens\": 6.5},\n"
      "{\"query_id\": 2, \"model\": \"a\", \"score\": false, \"output_tokens\": 7.0, \"budget\": "
      "20.0}]",
      "Query ID;Model;Score;Output Tokens;Budget\n1;a;True;6.5;\n2;a;False;7;20\n2;b;;;\n"};
  for (const std::string& query_rows : queries) {
    for (const std::string& outcome_rows : outcomes) {
      const OutcomeTable table = read(query_rows, outcome_rows);
      ASSERT_EQ(table.queries.size(), 2u);
      EXPECT_EQ(table.queries[0].id, query_rows.starts_with(',') ? "1.0" : "1");
      EXPECT_EQ(table.queries[0].input_tokens, 4);
      EXPECT_EQ(table.queries[1].text, "y z");
      EXPECT_EQ(table.queries[1].input_tokens, estimate_input_tokens("y z"));
      ASSERT_THAT(table.pairs, ElementsAre(Pair{0, Budget(20)}, Pair{0, Budget()}));
      using ::testing::IsNan;
      EXPECT_THAT(table.scores, ElementsAre(IsNan(), 1, 0, IsNan()));
      EXPECT_THAT(table.output_tokens, ElementsAre(IsNan(), 6.5, 7, IsNan()));
    }
  }
  expect_fault("query_id,text\n1,x\n", kOutcomes, "queries.jsonl:1", "no column \"query\"");
  expect_fault(queries[2], "query_id,model,score,output_tokens\n1,a,1,1\n2,a,1,-4\n",
               "outcomes.jsonl:3", "column \"output_tokens\": found the string \"-4\"");
}

TEST_F(ReadOutcomes, AnIdThatIsThereGoesBeforeOneThatIsAlike) {
  const OutcomeTable table =
      read(R"({"query_id": "1.0", "query": "x"})"
           "\n"
           R"({"query_id": "1", "query": "y"})",
           R"({"query_id": 1, "model": "a", "score": 1, "output_tokens": 6})");
  EXPECT_EQ(table.scores[table.cell(1, 0)], 1);
}

/// What read_outcomes() warns of.
class LeftOutOutcomes : public ReadOutcomes {
 protected:
  std::vector<std::string> warnings(const std::vector<std::pair<std::string, int>>& models,
                                    const Pool& pool, bool ignore_unknown_models = false) const {
    std::string queries, outcomes;
    for (int i = 0; i < 10; ++i) {
      queries += R"({"query_id": )" + std::to_string(i) + R"(, "query": "x"})" + "\n";
    }
    for (const auto& [model, count] : models) {
      for (int i = 0; i < count; ++i) {
        outcomes += R"({"query_id": )" + std::to_string(i) + R"(, "model": )" +
                    io::Json(model).dump() + R"(, "score": 1, "output_tokens": 1})" + "\n";
      }
    }
    put_file(folder_ / "queries.jsonl", queries);
    put_file(folder_ / "outcomes.jsonl", outcomes);
    std::vector<std::string> result;
    read_outcomes(folder_ / "queries.jsonl", folder_ / "outcomes.jsonl", pool,
                  {.ignore_unknown_models = ignore_unknown_models,
                   .log = [&](LogLevel level, std::string_view message) {
                     EXPECT_EQ(level, LogLevel::kWarning);
                     result.emplace_back(message);
                   }});
    return result;
  }
  Error fault(const std::string& model, const Pool& pool) const {
    return error_of([&] { warnings({{pool[0].name, 5}, {model, 3}}, pool); });
  }
};

TEST_F(LeftOutOutcomes, AnotherSpellingOfANameIsAnErrorThatSuggestsThePools) {
  const Pool pool = {{.name = "small"},
                     {.name = "vendor/Modèle-3:free", .openrouter_id = "v/modele"}};
  for (const char* const name :
       {"vendor/Modèle-3:free ", " vendor/Modèle-3:free", "Vendor/MODÈLE-3:Free",
        "vendor/Mode\u0300le-3:free", "vendor/Modèle-3:free\u00A0", "vendor/Modele-3:free",
        "ｖｅｎｄｏｒ/Modèle-3:free", "vendor/Modèle\u20113:free", "v/modele", "V/modele"}) {
    const Error error = fault(name, pool);
    EXPECT_EQ(error.code(), ErrorCode::kBadData) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("outcomes.jsonl:6 at /model: the pool has no model"));
    EXPECT_THAT(error.what(), HasSubstr("but \"vendor/Mod\\u00e8le-3:free\""));
    EXPECT_THAT(error.what(), HasSubstr("ignore_unknown_models"));
  }
  EXPECT_THAT(fault("v/modele", pool).what(), HasSubstr("whose catalogue name this is"));
}

TEST_F(LeftOutOutcomes, AMisspeltNameOfAModelWithoutOutcomesIsAnError) {
  const Pool pool = {{.name = "small"}, {.name = "vendor/large:free"}};
  for (const char* const name : {"vendor/lagre:free", "vendor/large:fre", "large:free"}) {
    const Error error = fault(name, pool);
    EXPECT_THAT(error.what(),
                HasSubstr("the file has 3 outcomes of \"" + std::string(name) + "\""));
    EXPECT_THAT(error.what(), HasSubstr("none of \"vendor/large:free\""));
  }
  // With outcomes of both, they are two models.
  EXPECT_THAT(warnings({{"small", 5}, {"vendor/large:free", 5}, {"vendor/lagre:free", 3}}, pool),
              ElementsAre(HasSubstr(": 3 outcomes of models that are not in the pool are not "
                                    "used: \"vendor/lagre:free\" (3)")));
}

TEST_F(LeftOutOutcomes, OtherModelsAreCounted) {
  const Pool pool = {{.name = "small"}, {.name = "large"}};
  EXPECT_THAT(warnings({{"small", 5}, {"large", 4}}, pool), ElementsAre());
  EXPECT_THAT(
      warnings({{"small", 5}, {"stranger", 2}, {"other", 7}}, pool),
      ElementsAre(HasSubstr("outcomes.jsonl: 9 outcomes of models that are not in the pool are "
                            "not used: \"other\" (7), \"stranger\" (2)")));
  EXPECT_THAT(warnings({{"small", 5}, {"stranger", 1}}, pool),
              ElementsAre(HasSubstr("1 outcome of")));
  std::vector<std::pair<std::string, int>> many = {{"small", 5}};
  for (int i = 0; i < 12; ++i) many.emplace_back("stranger " + std::to_string(i), 1);
  EXPECT_THAT(warnings(many, pool), ElementsAre(HasSubstr(" and 2 more")));
  // On request the same of names that are nearly the pool's.
  EXPECT_THAT(warnings({{"small", 5}, {"Large ", 2}, {"larg", 1}}, pool, true),
              ElementsAre(HasSubstr("3 outcomes of models that are not in the pool are not used: "
                                    "\"Large \" (2), \"larg\" (1)")));
}

TEST_F(LeftOutOutcomes, OutcomesWithoutAScoreAreCounted) {
  put_file(folder_ / "queries.csv", "query_id,query\n1,x\n2,y\n");
  put_file(folder_ / "outcomes.csv",
           "query_id,model,score,output_tokens\n1,a,1,5\n1,b,,\n2,b,nan,4\n2,c,,\n");
  std::vector<std::string> warnings;
  read_outcomes(folder_ / "queries.csv", folder_ / "outcomes.csv", kPool,
                {.log = [&](LogLevel, std::string_view text) { warnings.emplace_back(text); }});
  EXPECT_THAT(warnings,
              ElementsAre(HasSubstr("not in the pool is not used: \"c\" (1)"),
                          HasSubstr("2 outcomes without a score are not used: \"b\" (2)")));
}

TEST_F(ReadOutcomes, MoreOutcomesThanPlacesAreNotKeptInMemory) {
  std::string outcomes = kOutcomes;
  for (int i = 0; i < 100; ++i) {
    outcomes += R"({"query_id": "q1", "model": "b", "score": 0.25, "output_tokens": 6.5})"
                "\n";
  }
  outcomes += "broken";  // never reached
  expect_fault(kQueries, outcomes, "outcomes.jsonl:6", "is in line 1 already");
}

TEST_F(ReadOutcomes, ATableWithoutThePoolsModelsSaysWhichItHas) {
  expect_fault(kQueries, R"({"query_id": "q0", "model": "x1", "score": 1, "output_tokens": 1})",
               "outcomes.jsonl", "it has: \"x1\" (1)");
  expect_fault(kQueries, "", "outcomes.jsonl", "the file has no outcomes");
}

TEST_F(ReadOutcomes, ADamagedGzipFileIsNotTakenForAShortOne) {
  put_file(folder_ / "queries.jsonl", kQueries);
  std::string many;
  for (int i = 0; i < 20000; ++i) {
    many += R"({"query_id": "q0", "model": "stranger", "score": 1, "output_tokens": )" +
            std::to_string(i) + "}\n";
  }
  const std::string path = folder_ / "outcomes.jsonl.gz";
  put_gzip(path, many);
  const std::string whole = read_file(path);
  const auto read_it = [&] { read_outcomes(folder_ / "queries.jsonl", path, kPool); };
  put_file(path, whole.substr(0, whole.size() / 2));
  expect_error(ErrorCode::kBadData, "cannot be decompressed", read_it);
  std::string changed = whole;
  changed[changed.size() - 6] ^= 1;  // in the checksum
  put_file(path, changed);
  expect_error(ErrorCode::kBadData, "cannot be decompressed", read_it);
}

TEST_F(ReadOutcomes, AMissingFileOrAFolderIsSaid) {
  put_file(folder_ / "queries.jsonl", kQueries);
  expect_error(ErrorCode::kNotFound, "nowhere.jsonl",
               [&] { read_outcomes(folder_ / "queries.jsonl", folder_ / "nowhere.jsonl", kPool); });
  EXPECT_THROW(read_outcomes(folder_ / "queries.jsonl", folder_.path(), kPool), Error);
}

TEST(ReadPool, ReadsModelsInTheFilesOrder) {
  const TemporaryFolder folder;
  const std::string path = folder / "models.json";
  put_file(path, R"({"note": "prices", "models": {
    "z": {"openrouter_id": null, "input_price_per_million": 0.5, "output_price_per_million": 1,
          "available": false, "note": "old"},
    "a": {"openrouter_id": "x/a", "input_price_per_million": 0, "output_price_per_million": 2.5}}})");
  const Pool pool = read_pool(path);
  ASSERT_EQ(pool.size(), 2u);
  EXPECT_EQ(pool[0], (ModelSpec{"z", "", {0.5, 1}, false, "old"}));
  EXPECT_EQ(pool[1], (ModelSpec{"a", "x/a", {0, 2.5}, true, ""}));
}

TEST(ReadPool, EveryFaultHasItsPointer) {
  const TemporaryFolder folder;
  const std::string path = folder / "models.json";
  const auto expect_fault = [&](const std::string& model, const std::string& pointer) {
    put_file(path, R"({"models": {"a": )" + model + "}}");
    expect_error(ErrorCode::kBadConfig, pointer, [&] { read_pool(path); });
  };
  const std::string good = R"("input_price_per_million": 1, "output_price_per_million": 1)";
  expect_fault("5", "/models/a");
  expect_fault(R"({"input_price_per_million": 1})", "/models/a/output_price_per_million");
  expect_fault(R"({"input_price_per_million": -1, "output_price_per_million": 1})",
               "/models/a/input_price_per_million");
  expect_fault("{" + good + R"(, "available": "yes"})", "/models/a/available");
  expect_fault("{" + good + R"(, "openrouter_id": 7})", "/models/a/openrouter_id");
  expect_fault("{" + good + "}, \"a\": {" + good + "}", "/models/a");
  put_file(path, R"({"models": {}})");
  expect_error(ErrorCode::kBadConfig, "/models", [&] { read_pool(path); });
  put_file(path, R"({"pool": {}})");
  expect_error(ErrorCode::kBadConfig, "/models", [&] { read_pool(path); });
}

// tests/python/test_schemas.py holds the JSON schema to the same table.
TEST(ReadPool, AgreesWithTheSchema) {
  const TemporaryFolder folder;
  const std::string path = folder / "pool.json";
  const auto table =
      io::Json::parse(read_file(R2ROUTER_SOURCE_DIR "/tests/golden/pools/pools.json"));
  for (const auto& [name, pool] : table.at("good").items()) {
    put_file(path, pool.dump());
    EXPECT_EQ(read_pool(path).size(), pool.at("models").size()) << name;
  }
  for (const auto& [name, pool] : table.at("bad").items()) {
    put_file(path, pool.dump());
    const Error error = error_of([&] { read_pool(path); });
    EXPECT_EQ(error.code(), ErrorCode::kBadConfig) << name << ": " << error.what();
  }
}

TEST(ReadPool, ReadsThePoolsThatComeWithTheProject) {
  const std::string root = R2ROUTER_SOURCE_DIR "/";
  EXPECT_EQ(read_pool(root + "config/released.json").size(), 11u);
  EXPECT_EQ(read_pool(root + "config/default.json"),
            parse_config(read_file(root + "checkpoints/default/config.json"), "default").models);
}

TEST(ReadPool, TheReleasedPoolIsThatOfTheReleasedConfig) {
  const std::string root = R2ROUTER_SOURCE_DIR "/";
  EXPECT_EQ(read_pool(root + "config/released.json"),
            read_pool(root + "checkpoints/r2-router/config.json"));
}

TEST(ReadOutcomesShared, ThePublishedTableReadsWhole) {
  const std::string data = R2ROUTER_SOURCE_DIR "/../shared/data/";
  if (!std::filesystem::exists(data))
    GTEST_SKIP() << "needs ../shared, which is not part of the project";
  const OutcomeTable table = read_outcomes(data + "queries.jsonl.gz", data + "outcomes.jsonl.gz",
                                           read_pool(data + "models.json"));
  EXPECT_NO_THROW(validate(table));
  EXPECT_EQ(table.queries.size(), 11899u);  // zcat | wc -l
  EXPECT_EQ(table.models.size(), 19u);
  // Mean score of gemini-1.5-flash-002 over its 9,588 answers, computed with plain Python.
  double answers = 0, score = 0, tokens = 0;
  for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
    if (table.models[table.pairs[pair].model].name != "gemini-1.5-flash-002") continue;
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      const std::size_t cell = table.cell(query, pair);
      if (std::isnan(table.scores[cell])) continue;
      ++answers;
      score += table.scores[cell];
      tokens += table.output_tokens[cell];
    }
  }
  EXPECT_EQ(answers, 9588);
  EXPECT_NEAR(score / answers, 0.6448685857321652, 1e-12);
  EXPECT_NEAR(tokens / answers, 108.11170212765957, 1e-9);
}

}  // namespace
}  // namespace r2router
