#include "cli/text_queries.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/pipeline.h"

#include "base/unicode.h"
#include "cli/interrupt.h"
#include "cli/load_router.h"
#include "cli/output.h"
#include "cli/policy_options.h"
#include "cli/reply_printer.h"
#include "data/table_file.h"
#include "pipeline/query_parser.h"

namespace r2router::cli {
namespace {

// For each request that may be under way. As many as HttpEncoderOptions sends in one.
constexpr std::size_t kBatchQueries = 64;
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

/// --query.
class OneQuery final : public QuerySource {
 public:
  explicit OneQuery(QueryItem item) : item_(std::move(item)) {}
  void read(const std::function<bool(QueryItem)>& take, const std::function<void()>&) override {
    take(item_);
  }

 private:
  const QueryItem item_;
};

/// --input that is not plain JSON lines.
class Rows final : public QuerySource {
 public:
  Rows(std::string file, const SourceOptions& options) : file_(std::move(file)), parser_(options) {}

  void read(const std::function<bool(QueryItem)>& take, const std::function<void()>&) override {
    bool more = true;
    io::for_each_row_text(file_, [&](const std::string& text, std::uint64_t line) {
      more = more && take(parser_.json({.text = text, .number = line}));
    });
  }

 private:
  const std::string file_;
  internal::QueryParser parser_;
};

class Replies final : public ReplySink {
 public:
  Replies(const RouteSettings& settings, const Router& router, bool answers, bool side_by_side)
      : settings_(settings),
        router_(router),
        answers_(answers),
        side_by_side_(side_by_side),
        printer_(settings.as_text() ? ReplyPrinter::Form::kText : ReplyPrinter::Form::kJson,
                 !settings.query, settings.verbose) {}

  void reply(const Reply& reply) override {
    if (reply.error) {
      Reply named = reply;
      named.error = explained(*reply.error, reply.item);
      if (settings_.query || (!answers_ && fails_for_every_line(reply))) throw *named.error;
      printer_.error(named, answers_ ? "Not answered" : "Not routed");
    } else {
      if (answers_ && settings_.as_text() && !begun_) begin_answer(reply.item, *reply.decision);
      printer_.reply(reply);
    }
    begun_ = false;
    if (answers_) printer_.flush();
    if (side_by_side_) progress_.show(std::to_string(++replies_) + " queries answered");
    if (settings_.query && reply.completion && reply.completion->failure) {
      throw Error(reply.completion->failure->code, reply.completion->failure->message);
    }
  }

  // What is known already is shown while the answer is made.
  void begin_answer(const QueryItem& item, const Decision& decision) override {
    if (!settings_.as_text()) return;
    printer_.begin_answer(item, decision);
    printer_.flush();
    begun_ = true;
  }

  void piece(std::string_view text) override {
    printer_.piece(text);
    printer_.flush();
  }

  void flush() override {
    printer_.flush();
    progress_.clear();
  }

 private:
  // Lines of plain text have the same settings: what they are at fault for ends the run. A line
  // that cannot be read, or that the embedding server refuses, does not concern the others.
  bool fails_for_every_line(const Reply& reply) const {
    if (!settings_.file || reply.item.error) return false;
    switch (reply.error->code()) {
      case ErrorCode::kRefused:
      case ErrorCode::kServer:
      case ErrorCode::kBadResponse:
      case ErrorCode::kTooLong:
        return false;
      default:
        return true;
    }
  }

  // The library's own messages speak to programmers: these name the options to use instead.
  Error explained(const Error& error, const QueryItem& item) const {
    if (!item.error && !item.query.has_embedding() && !router_.encoder()) {
      return Error(ErrorCode::kUnsupported,
                   "this checkpoint has no encoder for text: name a server that serves " +
                       router_.config().embedding_model +
                       " with --embed-url, or give its embeddings with --embeddings or as "
                       "\"embedding\" in the lines of --input");
    }
    return with_flag_named(error, settings_.policy, item.options.policy);
  }

  const RouteSettings& settings_;
  const Router& router_;
  const bool answers_, side_by_side_;
  ReplyPrinter printer_;
  Progress progress_;
  std::uint64_t replies_ = 0;
  bool begun_ = false;  // the decision of the next reply is printed
};

std::unique_ptr<QuerySource> open_source(const RouteSettings& settings,
                                         const SourceOptions& options) {
  if (settings.file) return open_text_lines(*settings.file, options);
  if (settings.input) {
    const std::string& file = *settings.input;
    if (std::filesystem::is_regular_file(file) && io::is_other_table(file, "query")) {
      return std::make_unique<Rows>(file, options);
    }
    return open_json_lines(file, options);
  }
  std::size_t bad = 0;
  if (!is_utf8(*settings.query, &bad)) {
    throw Error(ErrorCode::kBadData, "the text is not UTF-8: convert it, for example with iconv",
                {.file = "--query", .byte_offset = bad});
  }
  return std::make_unique<OneQuery>(QueryItem{
      .query = {.text = *settings.query, .size = options.size}, .options = options.options});
}

}  // namespace

int route_queries(const RouteSettings& settings, const Router& router,
                  std::shared_ptr<const llm::Client> client) {
  const Interrupt interrupt;
  const ServerSettings& servers = settings.servers;
  const bool answers = client != nullptr;
  const bool one_at_a_time = settings.query || servers.stream;
  SourceOptions source_options{.options = settings.options,
                               .size = settings.size,
                               .checkpoint_folder = checkpoint_folder(settings.checkpoint_dir),
                               .needs_text = answers,
                               .stop = interrupt.descriptor()};
  // Text output prints the ranking, and fallbacks follow it.
  source_options.options.rank =
      settings.verbose || settings.as_text() || (answers && servers.max_fallbacks > 0);
  const std::size_t requests = servers.embeds() ? servers.concurrency : 1;
  const PipelineOptions options{.client = std::move(client),
                                .generate = {.temperature = servers.temperature,
                                             .timeout = servers.timeout,
                                             .max_fallbacks = servers.max_fallbacks,
                                             .split_thinking = servers.split_thinking},
                                .batch_queries = kBatchQueries * requests,
                                .batch_bytes = kBatchBytes * requests,
                                .concurrency = servers.concurrency,
                                .one_at_a_time = one_at_a_time,
                                .stream = servers.stream,
                                .stop = interrupt.token()};
  Replies replies(settings, router, answers, answers && !one_at_a_time);
  const std::unique_ptr<QuerySource> source = open_source(settings, source_options);
  PipelineResult result;
  try {
    result = run_pipeline(router, *source, replies, options);
  } catch (const Error& error) {
    if (interrupt.requested() && error.code() == ErrorCode::kCancelled) {
      return Interrupt::kExitCode;
    }
    throw;
  }
  const auto& [succeeded, failed, stopped] = result;
  // The token follows the signal a little later, and the wait for input may have ended before that.
  if (stopped || interrupt.requested()) {
    if (settings.query) return Interrupt::kExitCode;
    print_remark("interrupted", std::to_string(succeeded) + " queries are done, " +
                                    std::to_string(failed) + " that were begun are not");
    return Interrupt::kExitCode;
  }
  if (failed > 0 && settings.as_text()) {
    print_remark("error", std::to_string(failed) + " of " + std::to_string(succeeded + failed) +
                              " queries were not " + (answers ? "answered" : "routed"));
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace r2router::cli
