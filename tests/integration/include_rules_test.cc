// The folders are the architecture: who may include what is checked on the include lines
// themselves.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // relative to the project's root
  std::string header;  // as spelled
  bool quoted = false;
};

std::vector<Include> includes_below(const std::string& folder) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  const fs::path root = R2ROUTER_SOURCE_DIR;
  std::vector<Include> found;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cc") continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, kInclude)) continue;
      found.push_back({fs::relative(entry.path(), root).string(), match[2], match[1] == "\""});
    }
  }
  return found;
}

// "src/base/file.cc" -> "base".
std::string part(const std::string& path) {
  const std::string inside = path.substr(path.find('/') + 1);
  return inside.substr(0, inside.find('/'));
}

bool starts_with(const std::string& text, const std::string& beginning) {
  return text.rfind(beginning, 0) == 0;
}

TEST(IncludeRules, FoldersOfTheLibraryPointForwardOnly) {
  const std::map<std::string, std::set<std::string>> allowed = {
      {"base", {}},
      {"pool", {"base"}},
      {"data", {"base", "pool"}},
      {"score", {"base", "pool"}},
      {"route", {"base", "pool", "score"}},
      {"llm", {"base", "pool"}},
      {"encode", {"base", "pool"}},
      {"checkpoint", {"base", "pool", "score", "encode"}},
      {"train", {"base", "pool", "data", "score", "encode", "checkpoint", "route"}},
      {"eval", {"base", "pool", "data", "score", "encode", "checkpoint", "route"}},
      {"pipeline", {"base", "pool", "route", "encode", "llm"}},
      {"gateway", {"base", "pool", "route", "encode", "llm", "pipeline"}},
  };
  std::size_t edges = 0;
  std::set<std::string> seen;
  for (const Include& include : includes_below("src")) {
    const std::string from = part(include.file);
    seen.insert(from);
    if (!include.quoted || starts_with(include.header, "r2router/")) continue;
    ++edges;
    const std::string to = include.header.substr(0, include.header.find('/'));
    if (from == "cli") continue;
    ASSERT_TRUE(allowed.contains(from)) << include.file << " is in a folder that has no rule";
    // Embedding servers are called over HTTP.
    if (starts_with(include.file, "src/encode/remote/") &&
        starts_with(include.header, "llm/http/")) {
      continue;
    }
    EXPECT_TRUE(from == to || allowed.at(from).contains(to))
        << include.file << " includes " << include.header << ": " << from << " may not depend on "
        << to;
  }
  EXPECT_GT(edges, 30U) << "too few include lines found: does this test look in the right place?";
  for (const std::string folder : {"base", "pool", "data", "route", "score", "llm", "encode",
                                   "checkpoint", "train", "eval", "pipeline", "gateway", "cli"}) {
    EXPECT_TRUE(seen.contains(folder)) << "no file found in src/" << folder;
  }
}

TEST(IncludeRules, PublicHeadersNeedNothingButTheStandardLibraryAndEachOther) {
  std::size_t files = 0;
  for (const Include& include : includes_below("include")) {
    ++files;
    const bool standard =
        !include.quoted && include.header.find_first_of("/.") == std::string::npos;
    EXPECT_TRUE(standard || starts_with(include.header, "r2router/"))
        << include.file << " includes " << include.header;
  }
  EXPECT_GT(files, 30U);
}

TEST(IncludeRules, LibrariesStayWhereTheyBelong) {
  const std::vector<std::pair<std::string, std::set<std::string>>> homes = {
      {"Eigen/", {"score", "train"}},
      {"curl/", {"llm/http"}},
      {"CLI/", {"cli"}},
      {"boost/", {"gateway"}},
      {"llama.h", {"encode/llama"}},
      {"ggml", {"encode/llama"}},
      {"prometheus/", {"gateway"}},
      {"sqlite3.h", {"gateway/spending"}},
      {"hiredis/", {"gateway/spending"}},
      {"zlib.h", {"base", "checkpoint"}},
  };
  std::set<std::string> used;
  for (const Include& include : includes_below("src")) {
    for (const auto& [library, folders] : homes) {
      if (!starts_with(include.header, library)) continue;
      used.insert(library);
      const bool home = std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
        return starts_with(include.file, "src/" + folder + "/");
      });
      EXPECT_TRUE(home) << include.file << " includes " << include.header;
    }
  }
  EXPECT_TRUE(used.contains("Eigen/"));
  EXPECT_TRUE(used.contains("curl/"));
}

TEST(IncludeRules, BindingsAndExamplesUseThePublicHeaders) {
  std::size_t files = 0;
  for (const std::string folder : {"examples", "python"}) {
    for (const Include& include : includes_below(folder)) {
      ++files;
      const bool own =
          include.quoted && fs::exists(fs::path(R2ROUTER_SOURCE_DIR) /
                                       fs::path(include.file).parent_path() / include.header);
      const bool library = !include.quoted && !starts_with(include.header, "nlohmann/") &&
                           !starts_with(include.header, "Eigen/");
      // The package runs the program itself, and shares the basis of the library.
      const bool program = folder == "python" &&
                           (include.header == "cli/run.h" || starts_with(include.header, "base/"));
      EXPECT_TRUE(own || library || program || starts_with(include.header, "r2router/"))
          << include.file << " includes " << include.header;
    }
  }
  EXPECT_GT(files, 0U);
}

}  // namespace
