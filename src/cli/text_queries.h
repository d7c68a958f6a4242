// Queries that come as text: read, routed, answered where that is asked for, and told in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/llm/generate.h"
#include "r2router/router.h"

#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/reply_printer.h"
#include "cli/route_settings.h"
#include "pipeline/line_reader.h"
#include "pipeline/ordered_workers.h"

namespace r2router::cli {

/// One run over --query, --file or --input. Queries are routed on the calling thread, in batches
/// where a server makes the embeddings; answers are waited for side by side.
class TextQueries {
 public:
  /// `client`: null if queries are only to be routed. `settings` must outlive the object.
  TextQueries(const RouteSettings& settings, Router router,
              std::shared_ptr<const llm::Client> client);

  /// Returns the program's exit code. Throws what ends the whole run.
  int run();

 private:
  /// A query, or the reason why it is none.
  struct Item {
    std::string id = {};  // JSON text
    std::optional<std::string> text = {};
    std::optional<std::vector<double>> embedding = {};
    std::optional<std::uint64_t> line = {};
    RouteOptions options = {};
    std::string error = {};  ///< why it cannot be routed; empty: it can

    ReplyLabel label() const;
  };

  void run_query();
  void run_lines();
  /// --input that is not plain JSON lines.
  void run_table(const std::string& file);
  Item parse_text(const LineReader::Line& line, const std::string& file) const;
  Item parse_json(const LineReader::Line& line);
  const Policy& named_policy(const std::string& policy);

  void route_batch();
  std::optional<Error> fetch_embeddings();
  Decision route(const Item& item) const;
  llm::Completion ask(const Item& item, const Decision& decision,
                      std::function<void(std::string_view)> on_text) const;
  void answer_at_once(const Item& item, const Decision& decision);
  OrderedWorkers::Job answer_job(Item item, Decision decision);
  OrderedWorkers::Tell error_tell(Item item, std::string message);
  void tell(OrderedWorkers::Tell tell);
  void count(bool good);

  const RouteSettings& settings_;
  const Router router_;
  const std::shared_ptr<const llm::Client> client_;
  const Interrupt interrupt_;
  RouteOptions options_;                    // of a query that sets none of its own
  const std::size_t batch_texts_;           // how many queries are routed together
  std::map<std::string, Policy> policies_;  // those that lines have named
  std::vector<Item> batch_;
  std::size_t batch_bytes_ = 0;

  // Used by one thread at a time: while there are workers, by whichever tells.
  ReplyPrinter printer_;
  Progress progress_;
  std::uint64_t good_ = 0, bad_ = 0;  // replies so far

  std::optional<OrderedWorkers> workers_;  // last: its threads use all of the above
};

}  // namespace r2router::cli
