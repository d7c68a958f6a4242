// Processes many queries: reads them, routes them in batches, has several answered at a time, and
// reports the results in order.
//
//     struct Print : ReplySink {
//       void reply(const Reply& reply) override { std::cout << to_json_line(reply); }
//     } print;
//     const auto source = open_json_lines("requests.jsonl");
//     const PipelineResult result = run_pipeline(router, *source, print);
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/decision.h"
#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/llm/generate.h"
#include "r2router/options.h"
#include "r2router/query.h"
#include "r2router/router.h"

namespace r2router {

/// A query that a source has read.
struct QueryItem {
  Query query = {};
  RouteOptions options = {};
  /// Whether the JSON output has "all_options"; empty: the default of the output.
  std::optional<bool> all_options = {};
  std::string id = {};                     ///< JSON text, to be copied to the reply; or empty
  std::optional<std::uint64_t> line = {};  ///< in the file that it comes from, from 1
  std::optional<std::uint64_t> row = {};   ///< of an embedding in its file, from 0
  std::optional<Error> error = {};         ///< set if the query could not be read; it is not routed
};

/// A source of queries. Used by one thread.
class R2ROUTER_EXPORT QuerySource {
 public:
  virtual ~QuerySource() = default;

  /// Calls `take` with each query, until the end or until it returns false. Calls `before_wait`
  /// before it waits for more input. Throws Error(kIo) if the input cannot be read.
  virtual void read(const std::function<bool(QueryItem)>& take,
                    const std::function<void()>& before_wait) = 0;
};

/// How the queries of a file are read.
struct SourceOptions {
  /// Defaults for queries that set none.
  RouteOptions options = {};
  QuerySize size = {};
  /// The checkpoint's folder, where policies are looked up by name; empty: only paths are accepted.
  std::string checkpoint_folder = {};
  /// Queries will be answered: an embedding without its text is an error.
  bool needs_text = false;
  /// A file descriptor that interrupts the wait for input when it becomes readable; −1: none.
  int stop = -1;
};

/// Each line of a UTF-8 file, or of standard input if `path` is "-", is the text of a query. Skips
/// blank lines. Throws Error(kNotFound) or Error(kIo).
R2ROUTER_EXPORT std::unique_ptr<QuerySource> open_text_lines(const std::string& path,
                                                             const SourceOptions& options = {});

/// Each line is a JSON object with "query", a text, or "embedding", an array of numbers; and
/// optionally "id", "input_tokens", "max_input_tokens", "images", "requires" (names of
/// capabilities), "explain", "all_options", "policy" and every setting of a policy (settings.h).
/// Otherwise as open_text_lines().
R2ROUTER_EXPORT std::unique_ptr<QuerySource> open_json_lines(const std::string& path,
                                                             const SourceOptions& options = {});

/// A source whose queries `read` passes to its argument, until that returns false.
R2ROUTER_EXPORT std::unique_ptr<QuerySource> make_source(
    std::function<void(const std::function<bool(QueryItem)>& take)> read);

/// Each row of a matrix is the embedding of a query, of `dimension` numbers. QueryItem::row counts
/// them. The queries are views of the source's rows and must not outlive it.
R2ROUTER_EXPORT std::unique_ptr<QuerySource> embedding_rows(
    std::variant<std::vector<float>, std::vector<double>> values, std::size_t dimension,
    const SourceOptions& options = {});

/// The result for a query.
struct Reply {
  QueryItem item = {};
  std::optional<Decision> decision = {};           ///< empty: there is an error
  std::optional<llm::Completion> completion = {};  ///< set if an answer was attempted
  std::optional<Error> error = {};                 ///< reading, routing or the request failed

  bool ok() const { return !error && (!completion || completion->ok()); }
};

/// One JSON object and a line break: "id", "query" and "row", the members of to_json(Decision), and
/// those of the answer if there is one; or "error" and "line". "all_options", the ranking, if
/// QueryItem::all_options says so, or else `all_options`.
R2ROUTER_EXPORT std::string to_json_line(const Reply& reply, bool all_options = false);

/// Receives the replies. Calls are serialised, but may come from any thread. An exception ends the
/// run.
class R2ROUTER_EXPORT ReplySink {
 public:
  virtual ~ReplySink() = default;

  /// In the order of the queries.
  virtual void reply(const Reply& reply) = 0;

  /// For an answered query, called before reply(): the decision, then the text. A streamed text
  /// comes in pieces as they arrive. With PipelineOptions::one_at_a_time, begin_answer() is called
  /// before the request is sent.
  virtual void begin_answer(const QueryItem& item, const Decision& decision);
  virtual void piece(std::string_view text);

  /// Called before a wait for input and at the end, to flush buffered output.
  virtual void flush();
};

/// How replies are printed.
struct ReplyFormat {
  bool json = false;         ///< as to_json_line(); else text for people
  bool all_options = false;  ///< with the ranking
  bool answers = false;      ///< for text: queries are answered, not only routed
  bool one_query = false;    ///< for text: omits the query, and the failure of its answer
};

/// Prints replies with `write`. In text for people, control characters of answers and errors are
/// replaced.
R2ROUTER_EXPORT std::unique_ptr<ReplySink> print_replies(
    std::function<void(std::string_view)> write, const ReplyFormat& format = {});

struct PipelineOptions {
  /// Answers the queries; empty: they are only routed.
  std::shared_ptr<const llm::Client> client = {};
  /// Applied to every answer; its on_text and cancel are ignored.
  llm::GenerateOptions generate = {};
  /// Maximum number of queries in a batch, and the bytes of text after which none is added, > 0.
  std::size_t batch_queries = 64;
  std::size_t batch_bytes = std::size_t{1} << 20;
  /// Number of concurrent requests for answers, > 0.
  std::size_t concurrency = 4;
  /// Requests answers one at a time instead, on the calling thread.
  bool one_at_a_time = false;
  /// Streams answers to ReplySink::piece(), one query at a time.
  bool stream = false;
  /// All queries have the same options and are only routed. An error in the options is then thrown
  /// instead of being reported for each query.
  bool same_options = false;
  /// Stops the run: no further query is started, and requests in flight are cancelled.
  std::stop_token stop = {};
};

struct PipelineResult {
  std::uint64_t succeeded = 0, failed = 0;  ///< replies, by Reply::ok()
  bool stopped = false;                     ///< PipelineOptions::stop has ended the run
};

/// Runs until the source ends. A query that cannot be read, routed or answered gets a reply with
/// the error, and does not affect the others. Throws what the source and the sink throw, after the
/// replies to all earlier queries.
R2ROUTER_EXPORT PipelineResult run_pipeline(const Router& router, QuerySource& source,
                                            ReplySink& sink, const PipelineOptions& options = {});

}  // namespace r2router
