// r2-router route: queries in, decisions or answers out.
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include <CLI/CLI.hpp>

#include "r2router/router.h"

#include "cli/commands.h"
#include "cli/load_router.h"
#include "cli/policy_options.h"
#include "cli/reply_printer.h"
#include "cli/route_settings.h"
#include "cli/servers.h"
#include "cli/text_queries.h"
#include "cli/usage_error.h"
#include "data/npy.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  r2-router route --query "Solve the equation: 2x + 5 = 13"
  r2-router route --query "Prove Fermat's little theorem" --lambda 0.999 --verbose
  r2-router route --query "Who wrote Faust?" --max-cost 0.0001 --explain
  r2-router route --query "Who wrote Faust?" --allow "llama-*,gemini-*"
  r2-router route --file prompts.txt --json
  cat requests.jsonl | r2-router route --input - > decisions.jsonl
  r2-router route --query "Who wrote Faust?" --llm-api-base https://openrouter.ai/api/v1 --stream
  r2-router route --checkpoint-dir r2_router --embed-url http://127.0.0.1:8001 --file prompts.txt
  r2-router route --checkpoint-dir r2_router --embeddings embeddings.npy --json

--input reads one JSON object a line. It writes one JSON object a line, in the same order:
  {"query": "2 + 2?"}
  {"embedding": [0.12, -0.03, ...], "id": 7, "lambda": 0.999, "input_tokens": 40}
  {"query": "2 + 2?", "policy": "cheap", "max_cost_usd": 0.001, "deny": ["*-mini"]}
"id" (any string or number) is copied to the output. A line may set "input_tokens",
"max_input_tokens", "images", "explain", "policy" and every setting of a policy file; what it sets
overrides the options. A wrong line gives {"error": ..., "line": N}, the other lines are routed, and the exit
code is 1. Blank lines of --input and --file are ignored.

Every decision has "max_tokens", the cap to send with the call, and "worst_case_cost_usd", the cost
of an answer of that length.

"explanation" has "reason", "runner_up", "margin" (by how much the utility of the choice is higher),
"win_probability" (null if the checkpoint does not know the errors of its predictions), "confident"
(95 % or more) and "left_out": for each constraint the number of pairs that do not meet it.

With --llm-api-base each query is answered by the model chosen for it, within its cap. If that fails
or gives no text, the next best pair of another model is tried. JSON then has the pair that
answered, and "response", "reasoning", "refusal", "usage", "charged_usd" (what the server says),
"computed_usd" (usage × the pool's prices), "served_model", "finish_reason", "truncated", "seconds"
and "attempts": each request with its error and cost. A query without an answer gives {"error": ...,
"error_code": ..., "attempts": ...}, the others are answered, and the exit code is 1. Several
queries are answered at once, and printed in the order of the input. Ctrl-C stops in order: no query
is started, requests in flight are cancelled, finished answers are printed, and the exit code is
130.)";

// What the command line gives, before it is known to make sense.
struct Settings {
  RouteSettings route;
  std::string query, file, input, embeddings;
  std::int64_t input_tokens = 0;
};

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
                                 : given + " exclude each other: use one of them");
}

// Embeddings are only routed: there is no text that could be answered.
void route_embeddings(const RouteSettings& settings, const Router& router) {
  const std::string& file = *settings.embeddings;
  const io::NpyArray array = io::read_embeddings_npy(file);
  // All is checked before anything is printed.
  if (array.columns != router.dimension()) {
    throw Error(ErrorCode::kBadData,
                "the embeddings have " + std::to_string(array.columns) +
                    " numbers each, the checkpoint expects " + std::to_string(router.dimension()) +
                    ": use the encoder that it was trained with (" +
                    router.config().embedding_model + ")",
                {.file = file});
  }
  const bool text = settings.as_text();
  ReplyPrinter printer(text ? ReplyPrinter::Form::kText : ReplyPrinter::Form::kJson, array.rows > 1,
                       settings.verbose);
  RouteOptions options = settings.options;
  options.rank = text || settings.verbose;
  const bool choice_only = !options.rank && !options.explain;
  std::visit(
      [&](const auto& values) {
        if (choice_only) {  // nothing else is printed: all rows in one product
          const BatchDecision batch =
              router.route_batch(std::span(values), options, {&settings.size, 1});
          for (std::size_t row = 0; row < array.rows; ++row) {
            printer.row(row, {.chosen = batch.options[row], .pool = batch.pool});
          }
          return;
        }
        for (std::size_t row = 0; row < array.rows; ++row) {
          const auto embedding = std::span(values).subspan(row * array.columns, array.columns);
          printer.row(row, router.route(embedding, options, settings.size));
        }
      },
      array.values);
  printer.flush();
}

// Moves what the command line gave into options; what it did not give stays empty.
void collect_options(const CLI::App& command, Settings& settings) {
  RouteSettings& route = settings.route;
  for (const auto& [name, given, source] :
       {std::tuple("--query", &settings.query, &route.query),
        std::tuple("--file", &settings.file, &route.file),
        std::tuple("--input", &settings.input, &route.input),
        std::tuple("--embeddings", &settings.embeddings, &route.embeddings)}) {
    if (command.count(name) > 0) *source = *given;
  }
  if (command.count("--input-tokens") > 0) route.size.input_tokens = settings.input_tokens;
  // A model that is asked must be there, whatever the rules say.
  Policy& given = route.policy.given;
  if (route.servers.answers() && !given.available_only) given.available_only = true;
  route.options.policy = merge(read_policy(route.policy.policy, route.checkpoint_dir), given);
}

// What CLI11 cannot know of options that do not go together.
void check_servers(const RouteSettings& route) {
  const ServerSettings& servers = route.servers;
  if (route.embeddings && (servers.embeds() || servers.answers())) {
    throw CLI::ValidationError(
        "--embeddings needs no embedding server and has no text to answer: leave out --embed-url "
        "and --llm-api-base");
  }
  if (servers.stream && !route.as_text()) {
    throw CLI::ValidationError(
        "--stream prints an answer as it arrives, JSON is printed whole: leave out one of them");
  }
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
        text("--file", settings->file, "One query a line, UTF-8; - for standard input", "FILE"),
        text("--input", settings->input,
             "JSON lines, see below; - for standard input. A file may also be a JSON array or CSV, "
             "and compressed with gzip",
             "FILE.jsonl"),
        text("--embeddings", settings->embeddings,
             "One embedding a row: NumPy float32 or float64, (N, d) or (d,)", "FILE.npy")}) {
    source->group("What to route (one of these)");
  }

  text("--checkpoint-dir", settings->route.checkpoint_dir,
       "Checkpoint folder, native or released; default: the built-in one", "DIR");
  text(
      "--pool", settings->route.pool,
      "Take prices, availability and catalogue names from this pool file; models of the checkpoint "
      "that it lacks count as unavailable",
      "FILE.json");
  command
      ->add_option("--input-tokens", settings->input_tokens,
                   "Length of each query; default: estimated, or 100 for an embedding")
      ->check(whole_number_in(0, std::numeric_limits<std::int64_t>::max()))
      ->type_name("N");
  command
      ->add_option("--images", settings->route.size.images,
                   "Images sent with each query, for models that charge for them; default: 0")
      ->check(whole_number_in(0, std::numeric_limits<std::uint32_t>::max()))
      ->type_name("N");
  add_policy_options(*command, settings->route.policy);
  text("--kernel", settings->route.kernel,
       "Compute kernel; default: the fastest (see r2-router version)", "NAME");
  command->add_flag("--json", settings->route.json, "Print one JSON object for each query");
  command->add_flag("--verbose", settings->route.verbose,
                    "Show the other options too, best first (all_options in JSON)");
  command->add_flag(
      "--explain", settings->route.options.explain,
      "Explain each choice: the reason, the runner-up, the margin, the chance of being "
      "better, and what each limit left out (explanation in JSON)");
  add_embedding_server_options(*command, settings->route.servers);
  add_answer_server_options(*command, settings->route.servers);

  command->set_help_flag("-h,--help", "Print this help and exit");  // moves it behind the sources

  command->callback([command, settings, &exit_code] {
    check_one_source(*command);  // before a checkpoint is loaded
    RouteSettings& route = settings->route;
    route.checkpoint_dir = checkpoint_for(route.checkpoint_dir, route.servers);
    collect_options(*command, *settings);
    check_servers(route);
    const Router router =
        load_router(route.checkpoint_dir, route.pool, route.servers, route.kernel);
    if (route.embeddings) {
      try {
        route_embeddings(route, router);
      } catch (const Error& error) {
        throw with_flag_named(error, route.policy, route.options.policy);
      }
    } else {
      exit_code = route_queries(route, router, make_client(route.servers));
    }
  });
}

}  // namespace r2router::cli
