// Help, manual pages, shell completion, and the examples in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef R2ROUTER_CLI

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/checkpoint.h"

#include "cli/command.h"
#include "cli/command_tree.h"
#include "support/fault_server.h"
#include "support/heads.h"
#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::FaultServer;
using ::testing::HasSubstr;
using testing::lines_of;
using ::testing::MatchesRegex;
using testing::Outcome;
using testing::TemporaryFolder;
using ::testing::UnorderedElementsAre;

using Path = std::vector<std::string>;  // of a command: {"models", "sync"}

Outcome r2_router(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), R2ROUTER_CLI);
  return testing::run(arguments);
}

Outcome bash(const std::string& folder, const std::string& script) {
  return testing::run({"/bin/bash", "-c", "cd '" + folder + "' || exit 9\n" + script});
}

bool is_installed(const std::string& program) {
  return testing::run({"/bin/sh", "-c", "command -v " + program + " > /dev/null"}).exit_code == 0;
}

std::string help_of(Path path) {
  path.push_back("--help");
  const Outcome outcome = r2_router(path);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  return outcome.out;
}

/// The lines below a title, to the next empty line.
std::vector<std::string> section(const std::string& help, const std::string& title) {
  std::vector<std::string> lines;
  bool inside = false;
  for (const std::string& line : lines_of(help)) {
    if (line.empty()) inside = false;
    if (inside) lines.push_back(line);
    if (line == title) inside = true;
  }
  return lines;
}

/// The commands that the help lists, and those below them.
void for_each_command(const Path& path, const std::function<void(const Path&)>& visit) {
  visit(path);
  static const std::regex kName(R"(^  ([a-z-]+) .*)");
  for (const std::string& line : section(help_of(path), "Commands:")) {
    std::smatch match;
    if (!std::regex_match(line, match, kName)) continue;
    Path below = path;
    below.push_back(match[1]);
    for_each_command(below, visit);
  }
}

std::string joined(const Path& path) {
  std::string text = "r2-router";
  for (const std::string& name : path) text += " " + name;
  return text;
}

std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(std::ranges::count_if(
      line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

TEST(Help, OfEveryCommandIsComplete) {
  std::vector<std::string> commands;
  for_each_command({}, [&](const Path& path) {
    SCOPED_TRACE(joined(path));
    commands.push_back(joined(path));
    const std::string help = help_of(path);
    EXPECT_THAT(help, HasSubstr("\nUsage: " + joined(path) + " ["));
    EXPECT_FALSE(section(help, "Examples:").empty());
    bool examples = false;
    for (const std::string& line : lines_of(help)) {
      EXPECT_LE(columns(line), 100u) << line;
      EXPECT_EQ(line.find_last_not_of(' ') + 1, line.size()) << "trailing space: " << line;
      for (const char* noise : {"Excludes:", "Needs:", "REQUIRED", "FLOAT", "TEXT:"}) {
        EXPECT_EQ(line.find(noise), line.npos) << line;
      }
      // Descriptions begin in one column: a longer name has a line for itself.
      if (line == "Examples:") examples = true;
      if (!examples && line.starts_with("  ") && line.find_first_not_of(' ') == 2 &&
          line.find("  ", 2) != line.npos) {
        EXPECT_EQ(line.substr(28, 2), "  ") << line;
        EXPECT_NE(line[30], ' ') << line;
      }
    }
    Path other = path;
    other.insert(other.begin(), "help");
    EXPECT_EQ(r2_router(other).out, help);
  });
  const auto gateway = std::ranges::count(commands, "r2-router serve");
  EXPECT_EQ(commands.size(), 14u + static_cast<std::size_t>(gateway))
      << ::testing::PrintToString(commands);
  EXPECT_THAT(commands, ::testing::Contains("r2-router models sync"));
}

TEST(Help, ShowsChoicesDefaultsAndRequiredOptions) {
  const std::string help = help_of({"train"});
  EXPECT_THAT(help, HasSubstr("\n  --predictor ridge|knn|mlp   ridge: linear heads"));
  EXPECT_THAT(help, HasSubstr("(default: ridge)\n"));
  EXPECT_THAT(help, HasSubstr("(default: 10,30,50,100,200,300,500,1000)\n"));
  EXPECT_THAT(help, HasSubstr("\n  --output DIR                The checkpoint's folder, which must "
                              "not exist yet (required)\n"));
  EXPECT_THAT(help_of({"convert"}), HasSubstr("\nUsage: r2-router convert [OPTIONS] SRC DST\n"));
  EXPECT_THAT(help_of({"info"}), HasSubstr("\nUsage: r2-router info [OPTIONS] [DIR]\n"));
}

TEST(Help, IsWrappedToTheWidth) {
  CLI::App program("", "r2-router");
  CLI::App* command = program.add_subcommand("do", "Do what it says");
  command->set_help_flag();
  command->footer(
      "Examples:\n  r2-router do \\\n    it\n\nProse of one long line that must be broken.\n");
  int number = 3;
  cli::Options add(*command);
  add("-n,--number", number, "N", "How many times it is done before λ, the end")->required();
  EXPECT_EQ(cli::help_text(*command, 44),
            "Do what it says.\n"
            "\n"
            "Usage: r2-router do [OPTIONS]\n"
            "\n"
            "Options:\n"
            "  -n, --number N              How many times\n"
            "                              it is done\n"
            "                              before λ, the\n"
            "                              end (required)\n"
            "                              (default: 3)\n"
            "\n"
            "Examples:\n"
            "  r2-router do \\\n"
            "    it\n"
            "\n"
            "Prose of one long line that must be broken.\n");
}

TEST(Version, HasAShortFlag) {
  EXPECT_EQ(r2_router({"-V"}).out, r2_router({"--version"}).out);
  EXPECT_THAT(r2_router({"-V"}).out, MatchesRegex("r2-router [0-9.]+\n"));
}

// --- examples

/// A folder with what the examples of the help need, and a server in place of those they name.
class Examples : public ::testing::Test {
 protected:
  static constexpr std::size_t kQueries = 80;

  void SetUp() override {
    json queries, outcomes;
    std::string query_lines, outcome_lines, new_model_lines, prompts;
    for (std::size_t i = 0; i < kQueries; ++i) {
      const bool history = i % 2 == 1;
      const std::string n = std::to_string(i);
      const std::string query = history ? "Who was the king in the year " + n + ", and why?"
                                        : "What is the sum of " + n + " and the next number?";
      query_lines += json({{"query_id", n}, {"query", query}}).dump() + '\n';
      const auto outcome = [&](const std::string& model, int score, std::size_t tokens) {
        return json(
                   {{"query_id", n}, {"model", model}, {"score", score}, {"output_tokens", tokens}})
                   .dump() +
               '\n';
      };
      outcome_lines += outcome("small", history ? 0 : 1, 40 + 11 * i % 60);
      outcome_lines += outcome("large", i % 20 != 0 ? 1 : 0, 60 + 7 * i % 60);
      new_model_lines += outcome("new-model", i % 3 != 0 ? 1 : 0, 50 + 5 * i % 60);
    }
    put("queries.jsonl", query_lines);
    put("outcomes.jsonl", outcome_lines);
    put("new-model-outcomes.jsonl", outcome_lines + new_model_lines);
    put("prompts.txt", "Who wrote Faust?\nAnd who set it to music?\n");
    put("requests.jsonl",
        "{\"query\": \"Who wrote Faust?\"}\n{\"query\": \"2 + 2?\", \"id\": 7}\n");
    std::string results = "model,task,score,output_tokens\n";
    for (const char* task : {"sums", "facts"}) {
      for (const char* name : {"small", "large"}) {
        results += std::string(name) + "," + task + ",0.5,100\n";
      }
      for (const char* source : {"one", "two"}) {
        prompts += json({{"query", std::string("A prompt about ") + task},
                         {"task", task},
                         {"source", source}})
                       .dump() +
                   "\n";
      }
    }
    put("results.csv", results);
    put("prompts.jsonl", prompts);
    put("limits.json", R"({"max_output_tokens": 500})");
    put("gateway.json", R"({"threads": 1})");
    const auto model = [](double input, double output, const char* id) {
      return json({{"openrouter_id", id},
                   {"input_price_per_million", input},
                   {"output_price_per_million", output}});
    };
    put("models.json", json({{"models",
                              {{"small", model(0.1, 0.4, "vendor/small")},
                               {"large", model(3, 15, "vendor/large")},
                               {"new-model", model(1, 2, "vendor/new")}}}})
                           .dump());
    const json default_config = json::parse(
        testing::read_file(std::string(R2ROUTER_SOURCE_DIR) + "/checkpoints/default/config.json"));
    put("pool.json", json({{"models", default_config.at("models")}}).dump());

    // In place of the released folder and of the installed checkpoint, one without an encoder.
    Checkpoint checkpoint = testing::random_checkpoint(5, 3, 64, 1);
    checkpoint.config.policy.rules = DecisionRules::kCorrected;
    save_checkpoint(checkpoint, folder_ / "r2_router");
    save_checkpoint(checkpoint, folder_ / "r2-router");
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (64,), }";
    header.resize(117, ' ');
    put("embeddings.npy",
        std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + '\n' + std::string(256, '\x3F'));
    fs::create_directory(folder_ / "bin");
    fs::create_symlink(R2ROUTER_CLI, folder_ / "bin/r2-router");

    json catalogue;
    for (const auto& [name, entry] : default_config.at("models").items()) {
      if (!entry.at("openrouter_id").is_string()) continue;
      // Half of what they are: a change that is not suspicious.
      const auto half = [&entry = entry](const char* price) {
        return entry.at(price).get<double>() / 2e6;
      };
      catalogue.push_back({{"id", entry.at("openrouter_id")},
                           {"pricing",
                            {{"prompt", half("input_price_per_million")},
                             {"completion", half("output_price_per_million")}}}});
    }
    json prices;
    for (const json& model : catalogue) {
      prices[model.at("id").get<std::string>()] = {
          {"litellm_provider", "openrouter"},
          {"input_cost_per_token", model.at("pricing").at("prompt")},
          {"output_cost_per_token", model.at("pricing").at("completion")}};
    }
    put("model_prices_and_context_window.json", prices.dump());
    url_ = FaultServer::instance().script(
        {{testing::service({{"dimension", 64}, {"models", catalogue}})}});
  }

  void put(const std::string& name, const std::string& contents) const {
    testing::put_file(folder_ / name, contents);
  }

  /// The command as it is run here: with another server, small embeddings, and
  /// its own home and PATH.
  Outcome run(std::string command) const {
    command = std::regex_replace(command, std::regex(R"(https?://[a-z0-9.]+(:[0-9]+)?)"), url_);
    if (command.find("models sync --pool") != command.npos &&
        command.find("--from") == command.npos) {
      command =
          std::regex_replace(command, std::regex("models sync"), "models sync --base " + url_);
    }
    // It would serve until a signal comes.
    if (command.starts_with("r2-router serve") && !command.ends_with("--check")) {
      command += " --check";
    }
    // Small enough to train in a build without optimisation.
    command = std::regex_replace(command, std::regex("--budgets hard-cap"),
                                 "--budgets hard-cap --dimension 64");
    return bash(folder_.path(),
                "export PATH=\"$PWD/bin:$PATH\" HOME=\"$PWD\"\n"
                "export OPENROUTER_API_KEY=sk-test-0123456789 no_proxy='*'\n"
                "set -o pipefail\n" +
                    command);
  }

  /// Runs the examples in the help of a command, in their order.
  void run_examples(const Path& path) const {
    SCOPED_TRACE(joined(path));
    std::string command;
    for (const std::string& line : section(help_of(path), "Examples:")) {
      ASSERT_TRUE(line.starts_with("  "));
      command += line.substr(2);
      if (command.ends_with('\\')) {
        command += '\n';
        continue;
      }
      const Outcome outcome = run(command);
      EXPECT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.err;
      EXPECT_EQ(outcome.err.find("error"), std::string::npos) << command << "\n" << outcome.err;
      command.clear();
    }
  }

  /// my-router, by the first example of train.
  void train() const {
    const Outcome outcome =
        run("r2-router train --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json "
            "--models small,large --budgets hard-cap --output my-router");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }

  const TemporaryFolder folder_;
  std::string url_;
};

TEST_F(Examples, OfTrainRun) {
  put("models.json", std::regex_replace(testing::read_file(folder_ / "models.json"),
                                        std::regex("\"new-model\""), "\"unused\""));
  run_examples({"train"});
}

TEST_F(Examples, OfAddModelRun) {
  train();
  fs::rename(folder_ / "new-model-outcomes.jsonl", folder_ / "outcomes.jsonl");
  const Outcome trained =
      run("r2-router train --task-table results.csv --prompts prompts.jsonl --pool models.json "
          "--output my-task-router");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  put("results.csv", testing::read_file(folder_ / "results.csv") + "new-model,sums,0.7,80\n");
  run_examples({"add-model"});
}

TEST_F(Examples, OfAllOtherCommandsRun) {
  train();
  for_each_command({}, [&](const Path& path) {
    if (path != Path{"train"} && path != Path{"add-model"}) run_examples(path);
  });
}

TEST_F(Examples, OfTheReadmeRun) {
  const std::string readme = testing::read_file(std::string(R2ROUTER_SOURCE_DIR) + "/README.md");
  const std::size_t title = readme.find("\n## Command line\n");
  const std::size_t begin = readme.find("```sh\n", title) + 6;
  ASSERT_LT(begin, readme.find("\n## ", title + 1));
  std::size_t commands = 0;
  for (const std::string& command :
       lines_of(readme.substr(begin, readme.find("```", begin) - begin))) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.err;
    ++commands;
  }
  EXPECT_GE(commands, 5u);
}

/// The blocks of shell commands in a Markdown file.
std::vector<std::string> shell_blocks(const std::string& text) {
  std::vector<std::string> blocks;
  static const std::string kOpening = "\n```sh\n";
  for (std::size_t begin = text.find(kOpening); begin != text.npos;
       begin = text.find(kOpening, begin)) {
    begin += kOpening.size();
    blocks.push_back(text.substr(begin, text.find("```\n", begin) - begin));
  }
  return blocks;
}

TEST_F(Examples, OfTheGuidesRun) {
  train();
  std::set<std::string> guides;
  for (const auto& file : fs::directory_iterator(R2ROUTER_SOURCE_DIR "/docs/pages")) {
    const std::string guide = file.path().stem();
    // Those start without my-router, or on outcomes of other models; tests/python runs them.
    if (guide == "your-own-router" || guide == "limits-and-targets") continue;
    for (const std::string& block : shell_blocks(testing::read_file(file.path().string()))) {
      SCOPED_TRACE(guide);
      if (guide == "training") fs::remove_all(folder_ / "my-router");
      const Outcome outcome = run("set -e\n" + block);
      EXPECT_EQ(outcome.exit_code, 0) << block << outcome.err;
      guides.insert(guide);
    }
  }
  EXPECT_THAT(guides, ::testing::IsSupersetOf({"answers", "command-line", "metrics", "training"}));
}

TEST_F(Examples, AReleasedFolderIsFoundForAnEmbeddingServer) {
  // The released layout: a folder r2_router with config.json and checkpoints/.
  fs::create_directory(folder_ / "r2_router/checkpoints");
  const std::string embed = " --query Hello --json --embed-url http://127.0.0.1:8001";
  const Outcome found = run("r2-router route" + embed);
  EXPECT_EQ(found.exit_code, 0) << found.err;
  EXPECT_THAT(found.err, MatchesRegex("r2-router: note: using the checkpoint .*/r2_router\n"));
  EXPECT_EQ(found.out, run("r2-router route --checkpoint-dir r2_router" + embed).out);
  EXPECT_EQ(run("cd r2_router && r2-router route" + embed).out, found.out);
  EXPECT_EQ(run("cd r2_router && r2-router route" + embed).exit_code, 0);

  const Outcome installed = run("cd bin && r2-router route" + embed + " --verbose");
  EXPECT_EQ(installed.exit_code, 1);  // the server here has another dimension
  EXPECT_THAT(installed.err, AllOf(HasSubstr("using the checkpoint r2-router"), HasSubstr("1024")));
  // A checkpoint that was chosen is not replaced.
  const Outcome chosen =
      run("R2ROUTER_CHECKPOINT=\"" R2ROUTER_SOURCE_DIR "/checkpoints/default\" r2-router route" +
          embed);
  EXPECT_EQ(chosen.exit_code, 1);
  EXPECT_THAT(chosen.err, HasSubstr("remove --embed-url, or set --checkpoint-dir"));
}

// --- manual pages

TEST(ManualPages, MatchTheHelp) {
  const TemporaryFolder folder;
  const std::string pages = folder / "man1";
  ASSERT_EQ(r2_router({"man", "--output-dir", pages}).exit_code, 0);
  std::vector<std::string> expected;
  for_each_command({}, [&](const Path& path) {
    std::string name = std::regex_replace(joined(path), std::regex(" "), "-") + ".1";
    Path command = path;
    command.insert(command.begin(), "man");
    EXPECT_EQ(r2_router(command).out, testing::read_file(pages + "/" + name));
    expected.push_back(std::move(name));
  });
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(pages)) found.push_back(entry.path().filename());
  EXPECT_THAT(found, ::testing::UnorderedElementsAreArray(expected));

  const std::string route = testing::read_file(pages + "/r2-router-route.1");
  EXPECT_THAT(route, HasSubstr("\n.SH NAME\nr2\\-router\\-route \\- Choose a model"));
  EXPECT_THAT(route, HasSubstr("\n.TP\n\\fB\\-\\-query\\fR \\fITEXT\\fR\n"));
  EXPECT_THAT(route, HasSubstr("\n.SH EXAMPLES\n"));
  const std::string sync = testing::read_file(pages + "/r2-router-models-sync.1");
  EXPECT_THAT(sync, HasSubstr("\n.BR r2\\-router\\-models (1)\n"));
}

TEST(ManualPages, AreAcceptedByMan) {
  if (!is_installed("man") || !is_installed("groff")) GTEST_SKIP() << "needs man and groff";
  const TemporaryFolder folder;
  ASSERT_EQ(r2_router({"man", "--output-dir", folder / "man1"}).exit_code, 0);
  const Outcome outcome = bash(folder.path(),
                               "for page in man1/*; do\n"
                               "  LC_ALL=C.UTF-8 man --warnings -l -E UTF-8 $page | col -bx\n"
                               "done");
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(
      outcome.out,
      HasSubstr("  r2-router route --query \"Who wrote Faust?\" --max-cost 0.0001 --explain"))
      << "examples are kept as they are";
}

TEST(ManualPages, AreAcceptedByMandoc) {
  if (!is_installed("mandoc")) GTEST_SKIP() << "needs mandoc";
  const TemporaryFolder folder;
  ASSERT_EQ(r2_router({"man", "--output-dir", folder / "man1"}).exit_code, 0);
  // A date would change the pages from build to build.
  const Outcome outcome =
      bash(folder.path(), "mandoc -Tlint -Wwarning man1/* 2>&1 | grep -v 'missing date'");
  EXPECT_EQ(outcome.out, "");
}

TEST(ManualPages, AreNotWrittenAfterAnError) {
  const TemporaryFolder folder;
  const Outcome missing = r2_router({"man", "--output-dir", folder / "a/b"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("a/b"));
  EXPECT_EQ(r2_router({"man", "route", "--output-dir", folder / "c"}).exit_code, 2);
}

// --- completion

/// What a shell completes of a command line that ends at the cursor.
struct Completion {
  std::string line;
  std::vector<std::string> words;
};

const std::vector<Completion>& completions() {
  static const std::vector<Completion> kCompletions = {
      {"r2-router mod", {"models"}},
      {"r2-router models ", {"sync"}},
      {"r2-router models sync --y", {"--yes"}},
      {"r2-router route --max-l", {"--max-latency-ms"}},
      {"r2-router route --rules ", {"reference", "corrected"}},
      {"r2-router train --predictor k", {"knn"}},
      {"r2-router route --file pro", {"prompts.txt"}},
      {"r2-router route --json --file two", {"two words.txt"}},
      {"r2-router route --query mod", {}},
      {"r2-router route --query models s", {}},
      {"r2-router help models ", {"sync"}},
      {"r2-router help models sync ", {"-h", "--help"}},
      {"r2-router man mod", {"models"}},
      {"r2-router completion ", {"bash", "zsh", "fish"}}};
  return kCompletions;
}

/// A folder with files to complete and the script of a shell.
class CompletionScript : public ::testing::Test {
 protected:
  void prepare(const std::string& shell, const std::string& file) {
    const Outcome outcome = r2_router({"completion", shell});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    testing::put_file(folder_ / file, outcome.out);
    fs::create_directory(folder_ / "files");
    testing::put_file(folder_ / "files/prompts.txt", "");
    testing::put_file(folder_ / "files/two words.txt", "");
    fs::create_directory(folder_ / "files/my-folder");
    fs::create_directory(folder_ / "bin");
    fs::create_symlink(R2ROUTER_CLI, folder_ / "bin/r2-router");
  }
  /// Runs a script that finds r2-router in its PATH.
  Outcome bash_in(const std::string& folder, const std::string& script) const {
    return bash(folder, "export PATH='" + (folder_ / "bin") + "':$PATH\n" + script);
  }

  const TemporaryFolder folder_;
};

TEST_F(CompletionScript, WorksInBash) {
  prepare("bash", "r2-router");
  // The words as readline would split them; "=" is a word.
  const auto complete = [&](const std::string& line) {
    const std::string words = std::regex_replace(line, std::regex("="), " = ");
    const Outcome outcome =
        bash_in(folder_ / "files",
                "set -u\nsource ../r2-router\n"
                "[[ $(complete -p r2-router) == *' -F _r2_router '* ]] || exit 8\n"
                "COMP_WORDS=(" +
                    words + (line.back() == ' ' ? " ''" : "") +
                    ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_r2_router\n"
                    "for word in \"${COMPREPLY[@]}\"; do echo \"$word\"; done");
    EXPECT_EQ(outcome.exit_code, 0) << line << ": " << outcome.err;
    EXPECT_EQ(outcome.err, "") << line;
    return lines_of(outcome.out);
  };
  for (const auto& [line, words] : completions()) {
    EXPECT_THAT(complete(line), ::testing::UnorderedElementsAreArray(words)) << line;
  }
  EXPECT_THAT(complete("r2-router route --rules=c"), UnorderedElementsAre("corrected"));
  EXPECT_THAT(complete("r2-router route --file=pro"), UnorderedElementsAre("prompts.txt"));
  EXPECT_THAT(complete("r2-router route --checkpoint-dir "), UnorderedElementsAre("my-folder"));
  EXPECT_THAT(complete("r2-router info "), UnorderedElementsAre("my-folder"));
  EXPECT_THAT(complete("r2-router convert a my"), UnorderedElementsAre("my-folder"));
  EXPECT_THAT(complete("r2-router route "), ::testing::Contains("--query"));

  // Every option of every command.
  for_each_command({}, [&](const Path& path) {
    const auto offered = complete(joined(path) + " -");
    const std::string help = help_of(path);
    const std::regex name(R"((^|\n  |, )(--?[A-Za-z][a-z_-]*))");
    const std::string options = help.substr(0, help.find("\nExamples:"));
    for (std::sregex_iterator option(options.begin(), options.end(), name), end; option != end;
         ++option) {
      EXPECT_THAT(offered, ::testing::Contains((*option)[2].str())) << joined(path);
    }
  });
}

TEST_F(CompletionScript, WorksInFish) {
  if (!is_installed("fish")) GTEST_SKIP() << "needs fish";
  prepare("fish", "r2-router.fish");
  const auto complete = [&](const std::string& line) {
    const Outcome outcome = bash_in(folder_ / "files",
                                    "HOME=$PWD/.. fish --no-config -c 'source ../r2-router.fish; "
                                    "complete -C \"" +
                                        line + "\"'");
    EXPECT_EQ(outcome.exit_code, 0) << line << ": " << outcome.err;
    EXPECT_EQ(outcome.err, "") << line;
    std::vector<std::string> words;
    for (const std::string& found : lines_of(outcome.out)) {
      words.push_back(found.substr(0, found.find('\t')));
    }
    return words;
  };
  for (const auto& [line, words] : completions()) {
    EXPECT_THAT(complete(line), ::testing::UnorderedElementsAreArray(words)) << line;
  }
  EXPECT_THAT(complete("r2-router route --rules=c"), UnorderedElementsAre("--rules=corrected"));
  EXPECT_THAT(complete("r2-router route --file=pro"), UnorderedElementsAre("--file=prompts.txt"));
  EXPECT_THAT(complete("r2-router route --checkpoint-dir "), UnorderedElementsAre("my-folder/"));
  EXPECT_THAT(complete("r2-router info "), UnorderedElementsAre("my-folder/"));
}

// A zsh in a pseudo-terminal, in which the Tab key is pressed.
TEST_F(CompletionScript, WorksInZsh) {
  if (!is_installed("zsh")) GTEST_SKIP() << "needs zsh";
  prepare("zsh", "_r2-router");
  // What is not unique is listed, not completed.
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& [line, words] : completions()) {
    if (words.size() == 1) {
      const std::string kept = line.substr(0, line.find_last_of(' ') + 1);
      lines.emplace_back(line, kept + std::regex_replace(words[0], std::regex(" "), "\\ ") + " ");
    } else if (words.empty()) {
      lines.emplace_back(line, line);
    }
  }
  lines.emplace_back("r2-router route --rules=c", "r2-router route --rules=corrected ");
  lines.emplace_back("r2-router route --file=pro", "r2-router route --file=prompts.txt ");
  lines.emplace_back("r2-router info my", "r2-router info my-folder/");
  lines.emplace_back("r2-router route --checkpoint-dir ",
                     "r2-router route --checkpoint-dir my-folder/");
  std::string questions, expected;
  for (const auto& [line, completed] : lines) {
    questions += "ask '" + line + "'\n";
    expected += completed + "\n";
  }
  testing::put_file(folder_ / "ask.zsh", R"(
zmodload zsh/zpty
zpty shell zsh -f -i
ask() {
  zpty -w -n shell "$1"$'\t\x18'
  local seen
  zpty -r -m shell seen '*<<*>>*'
  print -r -- "${${seen##*<<}%%>>*}"
}
zpty -w shell 'PS1=; fpath=(.. $fpath); autoload -Uz compinit; compinit -u -D
show() { print -r -- "<<$BUFFER>>"; BUFFER= }; zle -N show; bindkey "^X" show; print rea""dy'
zpty -r -m shell seen '*ready*'
)" + questions);
  const Outcome outcome =
      bash_in(folder_ / "files", "HOME=$PWD/.. TERM=dumb timeout 60 zsh -f ../ask.zsh");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, expected);

  // Sourced instead of found in $fpath.
  const Outcome sourced =
      bash_in(folder_.path(),
              "HOME=$PWD zsh -f -c 'autoload -Uz compinit; compinit -u -D; source "
              "./_r2-router; print $_comps[r2-router]'");
  EXPECT_EQ(sourced.out, "_r2-router\n") << sourced.err;
}

}  // namespace
}  // namespace r2router

#endif  // R2ROUTER_CLI
