// r2-router route: queries in, decisions out.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>

#include "r2router/router.h"

#include "cli/commands.h"
#include "cli/constraint_options.h"
#include "cli/decision_json.h"
#include "cli/decision_text.h"
#include "cli/line_reader.h"
#include "cli/output.h"
#include "cli/query_line.h"
#include "core/unicode.h"
#include "io/npy.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  r2-router route --query "Solve the equation: 2x + 5 = 13"
  r2-router route --query "Prove Fermat's little theorem" --lambda 0.999 --verbose
  r2-router route --file prompts.txt --json
  cat queries.jsonl | r2-router route --input - > decisions.jsonl
  r2-router route --checkpoint-dir DIR --embeddings embeddings.npy --json

--input reads one JSON object a line and always writes JSON, in the same order:
  {"query": "2 + 2?"}
  {"embedding": [0.12, -0.03, ...], "id": 7, "lambda": 0.999, "input_tokens": 40}
"id" (any string or number) is copied to the output; "lambda", "input_tokens", "max_cost_usd",
"min_quality", "quality_fraction", "willingness_to_pay", "max_output_tokens", "max_latency_ms" and
"token_floor" override the options. A line that is wrong gives {"error": ..., "line": N}, the others are routed, and the
exit code is 1. Blank lines of --input and --file are passed over.)";

// What the command line gives, before it is known to make sense.
struct Settings {
  std::string query, file, input, embeddings;
  std::string checkpoint_dir, kernel, rules;
  double lambda = 0, token_floor = 0;
  std::int64_t input_tokens = 0;
  bool json = false, verbose = false, available_only = false, all_models = false;
  ConstraintSettings constraints;
  RouteOptions options;
};

// Validators return what is wrong, or nothing. CLI11's own say less, and its ranges let NaN pass.
std::string check_lambda(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0 && value <= 1) return {};
  return "expected a number from 0 (quality alone) to 1 (cost alone), found \"" + text + "\"";
}

std::string check_input_tokens(const std::string& text) {
  std::int64_t value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0) return {};
  return "expected a whole number, 0 or more, found \"" + text + "\"";
}

std::string check_token_floor(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0) return {};
  return "expected a number, 0 or more, found \"" + text + "\"";
}

std::string check_rules(const std::string& text) {
  if (text == "reference" || text == "corrected") return {};
  return "expected reference or corrected, found \"" + text + "\"";
}

void check_one_source(const CLI::App& command) {
  std::string given;
  std::size_t count = 0;
  for (const char* name : {"--query", "--file", "--input", "--embeddings"}) {
    if (command.count(name) == 0) continue;
    given += (count++ > 0 ? " and " : "") + std::string(name);
  }
  if (count == 1) return;
  throw CLI::ValidationError(count == 0
                                 ? "nothing to route: give --query, --file, --input or --embeddings"
                                 : given + " are given: expected one of them");
}

void check_query_text(std::string_view text, const Error::Where& where) {
  std::size_t bad = 0;
  if (is_utf8(text, &bad)) return;
  Error::Where place = where;
  place.byte_offset = place.byte_offset.value_or(0) + bad;
  throw Error(ErrorCode::kBadData, "the text is not UTF-8: convert it, for example with iconv",
              place);
}

bool is_blank(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    if (!is_space(decode_utf8(text, position))) return false;
  }
  return true;
}

// Routes queries from one source after another form and prints what was decided.
class RouteCommand {
 public:
  explicit RouteCommand(const Settings& settings)
      : settings_(settings),
        router_(Router::from_pretrained(settings.checkpoint_dir,
                                        {.kernel = settings.kernel, .log = print_warnings()})) {}

  /// Returns the program's exit code.
  int run(const CLI::App& command) {
    bool good = true;
    try {
      if (command.count("--query") > 0) {
        route_query();
      } else if (command.count("--file") > 0) {
        route_file();
      } else if (command.count("--embeddings") > 0) {
        route_embeddings();
      } else {
        good = route_jsonl();
      }
    } catch (const Error&) {
      output_.flush();  // what was decided before stands
      throw;
    }
    output_.flush();
    return good ? 0 : 1;
  }

 private:
  void route_query() {
    check_query_text(settings_.query, {.file = "--query"});
    print(settings_.query, route_text(settings_.query, options()));
  }

  // Stops at the first line that cannot be routed: plain text has no place for an error beside it.
  void route_file() {
    LineReader lines(settings_.file, [this] { output_.flush(); });
    while (const auto line = lines.next()) {
      if (line->too_long) throw_too_long({.file = lines.name(), .line = line->number});
      if (is_blank(line->text)) continue;
      check_query_text(line->text,
                       {.file = lines.name(), .byte_offset = line->offset, .line = line->number});
      several_ = true;
      print(line->text, route_text(line->text, options()));
    }
  }

  // A bad line is told in its place and the rest goes on: whoever joins input and output by line or
  // by id loses nothing. Returns whether every line was good.
  bool route_jsonl() {
    bool good = true;
    LineReader lines(settings_.input, [this] { output_.flush(); });
    while (const auto line = lines.next()) {
      if (!line->too_long && is_blank(line->text)) continue;
      QueryLine query;
      try {
        if (line->too_long) throw_too_long({});
        query = parse_query_line(line->text);
        if (!query.error.empty()) throw Error(ErrorCode::kBadData, query.error);
        RouteOptions options = this->options();
        take_numbers(query.options, options);
        const Decision decision =
            query.query ? route_text(*query.query, options)
                        : router_.route(std::span<const double>(*query.embedding), options);
        output_.write(decision_json({.id = query.id, .query = query.query}, decision.chosen,
                                    decision.ranking, *decision.pool));
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kIo) throw;  // ours, not the line's
        good = false;
        output_.write(error_json(query.id, error.what(), line->number));
      }
    }
    return good;
  }

  void route_embeddings() {
    const io::NpyArray array = io::read_npy(settings_.embeddings);
    // All is checked before anything is printed.
    if (array.columns != router_.dimension()) {
      throw Error(ErrorCode::kBadData,
                  "the embeddings have " + std::to_string(array.columns) +
                      " numbers each, the checkpoint expects " +
                      std::to_string(router_.dimension()) +
                      ": use the encoder that it was trained with (" +
                      router_.config().embedding_model + ")",
                  {.file = settings_.embeddings});
    }
    std::visit(
        [&](const auto& values) {
          const auto bad = std::find_if(values.begin(), values.end(),
                                        [](auto value) { return !std::isfinite(value); });
          if (bad != values.end()) {
            const std::size_t index = bad - values.begin();
            throw Error(ErrorCode::kBadData,
                        "row " + std::to_string(index / array.columns) + " holds " +
                            std::to_string(*bad) + " at " + std::to_string(index % array.columns) +
                            ": expected finite numbers",
                        {.file = settings_.embeddings});
          }
          route_rows(std::span(values), array.rows);
        },
        array.values);
  }

  // The library's own messages speak to programmers: these name the options to use instead.
  Decision route_text(std::string_view query, const RouteOptions& options) const {
    if (is_blank(query)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the query is empty or nothing but white space: expected a text to route");
    }
    if (router_.embedder()) return router_.route_text(query, options);
    throw Error(ErrorCode::kUnsupported,
                "this checkpoint has no encoder for text: give embeddings made by " +
                    router_.config().embedding_model +
                    ", with --embeddings or as \"embedding\" in the lines of --input");
  }

  template <typename Float>
  void route_rows(std::span<const Float> values, std::size_t rows) {
    // Only the choice is printed: all rows in one product.
    if (settings_.json && !settings_.verbose) {
      const BatchDecision batch = router_.route_batch(values, options());
      for (std::size_t row = 0; row < rows; ++row) {
        output_.write(decision_json({.row = row}, batch.options[row], {}, *batch.pool));
      }
      return;
    }
    several_ = rows > 1;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto embedding = values.subspan(row * router_.dimension(), router_.dimension());
      const Decision decision = router_.route(embedding, options());
      if (settings_.json) {
        output_.write(
            decision_json({.row = row}, decision.chosen, decision.ranking, *decision.pool));
      } else {
        print_text("Row:               " + std::to_string(row) + '\n', decision);
      }
    }
  }

  // Options that are the same for every query. For people the ranking tells the candidates too.
  RouteOptions options() const {
    RouteOptions options = settings_.options;
    const bool text = !settings_.json && settings_.input.empty();
    options.rank = settings_.verbose || text;
    return options;
  }

  void print(std::string_view query, const Decision& decision) {
    if (settings_.json) {
      output_.write(
          decision_json({.query = query}, decision.chosen, decision.ranking, *decision.pool));
    } else {
      print_text("Query:             " + std::string(query) + '\n', decision);
    }
  }

  // The candidates are the same for every query, so they are listed once.
  void print_text(const std::string& heading, const Decision& decision) {
    if (first_) output_.write(candidates_text(decision));
    if (several_) output_.write("\n" + heading);
    first_ = false;
    output_.write(decision_text(decision));
    if (settings_.verbose) output_.write("\n" + ranking_text(decision));
  }

  [[noreturn]] static void throw_too_long(const Error::Where& where) {
    throw Error(ErrorCode::kBadData,
                "the line is longer than " + std::to_string(LineReader::kMaxLine >> 20) +
                    " MiB, the most that is read",
                where);
  }

  const Settings& settings_;
  Router router_;
  Output output_;
  bool first_ = true;     // nothing has been printed for people yet
  bool several_ = false;  // name the query before each decision
};

// Moves what the command line gave into options; what it did not give stays empty.
void collect_options(const CLI::App& command, Settings& settings) {
  RouteOptions& options = settings.options;
  if (command.count("--lambda") > 0) options.lambda = settings.lambda;
  if (command.count("--input-tokens") > 0) options.input_tokens = settings.input_tokens;
  if (command.count("--token-floor") > 0) options.token_floor = settings.token_floor;
  if (settings.available_only) options.available_only = true;
  if (settings.all_models) options.available_only = false;
  if (settings.rules == "reference") options.rules = DecisionRules::kReference;
  if (settings.rules == "corrected") options.rules = DecisionRules::kCorrected;
  options = with_constraints(command, settings.constraints, options);
}

}  // namespace

void add_route_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("route", "Choose a model and a token budget for each query");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();

  const auto text = [command](const char* name, std::string& value, const char* description,
                              const char* type) {
    return command->add_option(name, value, description)->type_name(type);
  };

  for (CLI::Option* source :
       {text("--query", settings->query, "Text of one query", "TEXT"),
        text("--file", settings->file, "A query a line, UTF-8; - for standard input", "FILE"),
        text("--input", settings->input, "JSON lines, see below; - for standard input",
             "FILE.jsonl"),
        text("--embeddings", settings->embeddings,
             "An embedding a row: NumPy float32 or float64, (N, d) or (d,)", "FILE.npy")}) {
    source->group("What to route (one of these)");
  }

  text("--checkpoint-dir", settings->checkpoint_dir,
       "Checkpoint folder, native or released; default: the built-in one", "DIR");
  command
      ->add_option("--lambda,--lambda_val", settings->lambda,
                   "Weight of cost (USD) against quality, 0 to 1; default: the checkpoint's")
      ->check(CLI::Validator(check_lambda, ""))
      ->type_name("X");
  command
      ->add_option("--input-tokens", settings->input_tokens,
                   "Length of each query; default: estimated, or 100 for an embedding")
      ->check(CLI::Validator(check_input_tokens, ""))
      ->type_name("N");
  for (const auto& [name, models, description] :
       {std::tuple("--allow", &settings->options.allow, "Consider these models alone"),
        std::tuple("--deny", &settings->options.deny, "Leave these models out")}) {
    command->add_option(name, *models, description)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->type_name("NAME[,NAME]");
  }
  CLI::Option* available = command->add_flag("--available-only", settings->available_only,
                                             "Leave out models marked as unavailable");
  command
      ->add_flag("--all-models", settings->all_models,
                 "Consider models marked as unavailable as well")
      ->excludes(available);
  command
      ->add_option("--token-floor", settings->token_floor,
                   "Least number of tokens that an answer is assumed to take")
      ->check(CLI::Validator(check_token_floor, ""))
      ->type_name("N");
  add_constraint_options(*command, settings->constraints);
  command
      ->add_option("--rules", settings->rules,
                   "reference: decide as the Python package does; corrected: without its faults")
      ->check(CLI::Validator(check_rules, ""))
      ->type_name("NAME");
  text("--kernel", settings->kernel, "Compute kernel; default: the fastest (see r2-router version)",
       "NAME");
  command->add_flag("--json", settings->json, "Print one JSON object a query");
  command->add_flag("--verbose", settings->verbose,
                    "Show the other options too, best first (all_options in JSON)");

  command->set_help_flag("-h,--help", "Print this help and exit");  // moves it behind the sources

  command->callback([command, settings, &exit_code] {
    check_one_source(*command);  // before a checkpoint is loaded in vain
    collect_options(*command, *settings);
    exit_code = RouteCommand(*settings).run(*command);
  });
}

}  // namespace r2router::cli
