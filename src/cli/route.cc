// r2-router route: queries in, decisions or answers out.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "r2router/decision.h"
#include "r2router/pipeline.h"
#include "r2router/router.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/interrupt.h"
#include "cli/router_options.h"
#include "data/npy.h"
#include "data/table_file.h"
#include "pipeline/query_parser.h"
#include "pool/capability_names.h"

namespace r2router::cli {
namespace {

// For each request, as many as HttpEncoderOptions sends in one; 16 times that without requests.
constexpr std::size_t kBatchQueries = 64;
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

struct RouteSettings : RouterSettings {
  std::optional<std::string> query, file, input, embeddings;  ///< one of them
  bool json = false, verbose = false;
  RouteOptions options = {};  ///< the same for every query
  QuerySize size = {};        ///< likewise
  std::vector<std::string> requirements = {};

  /// Decisions and answers are printed for people.
  bool as_text() const { return !json && !input; }
  bool one_at_a_time() const { return query || stream; }
};

// --- where queries come from

std::unique_ptr<QuerySource> open_source(const RouteSettings& settings,
                                         const SourceOptions& options, const Router& router) {
  using Take = std::function<bool(QueryItem)>;
  if (settings.file) return open_text_lines(*settings.file, options);
  if (settings.embeddings) {
    io::NpyArray array = io::read_embeddings_npy(*settings.embeddings, router.dimension(),
                                                 router.config().embedding_model);
    return embedding_rows(std::move(array.values), array.columns, options);
  }
  auto parser = std::make_shared<internal::QueryParser>(options);
  if (settings.query) {
    return make_source([parser, text = *settings.query](const Take& take) {
      take(parser->text({.text = text}, "--query"));
    });
  }
  const std::string& file = *settings.input;
  if (!std::filesystem::is_regular_file(file) || !io::is_other_table(file, "query")) {
    return open_json_lines(file, options);
  }
  return make_source([parser, file](const Take& take) {
    bool more = true;
    io::for_each_row_text(file, [&](const std::string& text, std::uint64_t line) {
      more = more && take(parser->json({.text = text, .number = line}));
    });
  });
}

// --- where replies go

/// Prints replies, with errors that name the options to use. The failure of --query is thrown.
class Printer final : public ReplySink {
 public:
  Printer(const RouteSettings& settings, const Router& router)
      : settings_(settings),
        router_(router),
        progress_(settings.answers() && !settings.one_at_a_time() && ::isatty(STDOUT_FILENO) == 0),
        replies_(print_replies([this](std::string_view text) { output_.write(text); },
                               {.json = !settings.as_text(),
                                .all_options = settings.verbose,
                                .answers = settings.answers(),
                                .one_query = settings.query.has_value()})) {}

  void begin_answer(const QueryItem& item, const Decision& decision) override {
    replies_->begin_answer(item, decision);
    output_.flush();
  }

  void piece(std::string_view text) override {
    replies_->piece(text);
    output_.flush();
  }

  void reply(const Reply& reply) override {
    if (reply.error) {
      const Error error = explained(*reply.error, reply.item);
      if (settings_.query) throw Error(error);
      replies_->reply({.item = reply.item, .error = error});
    } else {
      replies_->reply(reply);
    }
    if (settings_.answers()) output_.flush();
    progress_.show(std::to_string(++count_) + " queries answered");
    if (settings_.query && reply.completion && reply.completion->failure) {
      throw Error(reply.completion->failure->code, reply.completion->failure->message);
    }
  }

  void flush() override {
    output_.flush();
    progress_.clear();
  }

 private:
  Error explained(const Error& error, const QueryItem& item) const {
    if (!item.error && !item.query.has_embedding() && !router_.encoder()) {
      return missing_encoder(router_);
    }
    return with_flag_named(error, settings_, item.options.policy);
  }

  const RouteSettings& settings_;
  const Router& router_;
  Output output_;
  Progress progress_;
  const std::unique_ptr<ReplySink> replies_;
  std::uint64_t count_ = 0;
};

/// Routes the queries, and answers them if there is a server for it. Returns the exit code.
int route(const RouteSettings& settings, const Router& router) {
  if ((settings.query || settings.file) && !router.encoder()) throw missing_encoder(router);
  const Interrupt interrupt;
  SourceOptions source_options{.options = settings.options,
                               .size = settings.size,
                               .checkpoint_folder = settings.checkpoint_dir,
                               .needs_text = settings.answers(),
                               .stop = interrupt.descriptor()};
  // Text output prints the ranking; fallbacks follow it.
  source_options.options.rank = settings.verbose || settings.as_text() ||
                                (settings.answers() && settings.generate.max_fallbacks > 0);
  const std::size_t requests = settings.embed_url.empty() ? 16 : settings.concurrency;
  const PipelineOptions options{.client = make_client(settings),
                                .generate = settings.generate,
                                .batch_queries = kBatchQueries * requests,
                                .batch_bytes = kBatchBytes * requests,
                                .concurrency = settings.concurrency,
                                .one_at_a_time = settings.one_at_a_time(),
                                .stream = settings.stream,
                                .same_options = !settings.input && !settings.answers(),
                                .stop = interrupt.token()};
  Printer printer(settings, router);
  const std::unique_ptr<QuerySource> source = open_source(settings, source_options, router);
  PipelineResult result;
  try {
    result = run_pipeline(router, *source, printer, options);
  } catch (const Error& error) {
    if (interrupt.requested() && error.code() == ErrorCode::kCancelled) return Interrupt::kExitCode;
    throw with_flag_named(error, settings, settings.options.policy);
  }
  const auto& [succeeded, failed, stopped] = result;
  // The token follows the signal a little later, and the wait for input may have ended before that.
  if (stopped || interrupt.requested()) {
    if (!settings.query) {
      print_remark("interrupted", std::to_string(succeeded) + " queries are done, " +
                                      std::to_string(failed) + " that were begun are not");
    }
    return Interrupt::kExitCode;
  }
  if (failed > 0 && settings.as_text()) {
    print_remark("error", std::to_string(failed) + " of " + std::to_string(succeeded + failed) +
                              " queries were not " + (settings.answers() ? "answered" : "routed"));
  }
  return failed == 0 ? 0 : 1;
}

int run(RouteSettings& settings) {
  if (!settings.query && !settings.file && !settings.input && !settings.embeddings) {
    throw CLI::ValidationError("nothing to route: give --query, --file, --input or --embeddings");
  }
  find_checkpoint(settings);
  // A model that is to answer must be available, whatever the rules say.
  Policy& given = settings.given;
  if (settings.answers() && !given.available_only) given.available_only = true;
  settings.options.policy = merge(read_policy(settings), given);
  settings.size.requirements = internal::capabilities_of(settings.requirements).value();
  return route(settings, load_router(settings));
}

}  // namespace

void add_route_command(CLI::App& app) {
  Command<RouteSettings> command(app, "route", "Choose a model and a token budget for each query",
                                 kRouteHelp);
  Options source(command.app, "What to route (one of these)");
  Options& add = command.add;
  source("--query", command->query, "TEXT", "Text of one query");
  source("--file", command->file, "FILE", "One query a line, UTF-8; - for standard input");
  source("--input", command->input, "FILE.jsonl",
         "JSON lines, see below; - for standard input. A file may also be a JSON array or CSV, and "
         "compressed with gzip");
  source("--embeddings", command->embeddings, "FILE.npy",
         "One embedding a row: NumPy float32 or float64, (N, d) or (d,)");
  for (CLI::Option* option : source.added()) {
    for (CLI::Option* other : source.added()) {
      if (option != other) option->excludes(other);
    }
  }
  add_router_options(command.app, *command.settings);
  add("--input-tokens", command->size.input_tokens, "N",
      "Length of each query; default: estimated, or 100 for an embedding");
  add("--images", command->size.images, "N",
      "Images sent with each query, for models that charge for them");
  std::vector<std::string> capabilities;
  for (std::size_t i = 0; i < kCapabilities; ++i) {
    capabilities.emplace_back(to_string(static_cast<Capability>(i)));
  }
  add("--requires", command->requirements, "NAME[,NAME]",
      "What each query requires of a model: " + CLI::detail::join(capabilities, ", "),
      one_of(capabilities));
  add_policy_options(command.app, *command.settings);
  add("--json", command->json, "Print one JSON object for each query");
  add("--verbose", command->verbose,
      "Show the other options too, best first (all_options in JSON)");
  add("--explain", command->options.explain,
      "Explain each choice: the reason, the runner-up, the margin, the chance of being better, and "
      "what each limit left out (explanation in JSON)");
  add_embedding_options(command.app, *command.settings);
  add_answer_server_options(command.app, *command.settings);
  command.app.set_help_flag("-h,--help",
                            "Print this help and exit");  // moves it behind the sources

  // Embeddings have no text to answer, and JSON is printed whole.
  command.app.get_option("--embeddings")
      ->excludes("--encoder")
      ->excludes("--embed-url")
      ->excludes("--llm-api-base");
  command.app.get_option("--stream")->excludes("--json")->excludes("--input");

  command.runs([](RouteSettings& settings) {
    if (const int code = run(settings); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace r2router::cli
