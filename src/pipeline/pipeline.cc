// Queries are routed on the calling thread, in batches. Where they are answered, a few threads wait
// for the models, and each reply is held back until those before it have been handed over.
#include "r2router/pipeline.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/error.h"

#include "pipeline/ordered_workers.h"

namespace r2router {

void ReplySink::begin_answer(const QueryItem&, const Decision&) {}
void ReplySink::piece(std::string_view) {}
void ReplySink::flush() {}

namespace {

using internal::OrderedWorkers;

/// Whether the error is of one query: another one may succeed with the same options.
bool is_of_query(const Reply& reply) {
  if (reply.item.error) return true;
  switch (reply.error->code()) {
    case ErrorCode::kRefused:  // by the server of embeddings, like the next three
    case ErrorCode::kServer:
    case ErrorCode::kBadResponse:
    case ErrorCode::kTooLong:
      return true;
    default:
      return false;
  }
}

class Run {
 public:
  Run(const Router& router, ReplySink& sink, const PipelineOptions& options)
      : router_(router), sink_(sink), options_(options) {
    if (options.batch_queries == 0 || options.batch_bytes == 0 || options.concurrency == 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "batch_queries, batch_bytes or concurrency is 0: expected more than 0");
    }
    if (options.client && !one_at_a_time()) workers_.emplace(options.concurrency);
  }

  PipelineResult from(QuerySource& source) {
    try {
      source.read([this](QueryItem item) { return add(std::move(item)); },
                  [this] {
                    route_batch();
                    if (!workers_) sink_.flush();
                  });
      route_batch();
      if (workers_) workers_->finish();
    } catch (const Error&) {
      if (workers_) workers_->finish();
      sink_.flush();
      throw;
    }
    sink_.flush();
    return {.succeeded = succeeded_, .failed = failed_, .stopped = stopped()};
  }

 private:
  bool stopped() const { return options_.stop.stop_requested(); }
  bool one_at_a_time() const { return options_.one_at_a_time || options_.stream; }

  bool add(QueryItem item) {
    if (stopped()) return false;
    batch_bytes_ += item.query.text.size();
    batch_.push_back(std::move(item));
    if (batch_.size() >= options_.batch_queries || batch_bytes_ >= options_.batch_bytes) {
      route_batch();
    }
    return !stopped();
  }

  void route_batch() {
    batch_bytes_ = 0;
    std::vector<QueryItem> items = std::exchange(batch_, {});
    std::vector<Query> queries;
    std::vector<RouteOptions> options;
    for (QueryItem& item : items) {
      if (item.error) continue;
      queries.push_back(std::move(item.query));
      if (options_.same_options && !options.empty()) continue;  // one for all
      options.push_back(item.options);
      options.back().cancel = options_.stop;
    }
    std::vector<RouteResult> results = router_.route(queries, std::span(std::as_const(options)));
    std::size_t routed = 0;
    for (QueryItem& item : items) {
      if (stopped()) return;
      if (item.error) {
        hand_over({.item = item, .error = item.error});
        continue;
      }
      item.query = std::move(queries[routed]);
      RouteResult& result = results[routed++];
      if (!result.ok()) {
        hand_over({.item = std::move(item), .error = result.error()});
      } else if (!options_.client) {
        hand_over({.item = std::move(item), .decision = std::move(result).decision()});
      } else if (workers_) {
        workers_->add(answer_job(std::move(item), std::move(result).decision()));
      } else {
        answer(std::move(item), std::move(result).decision());
      }
    }
  }

  Reply ask(QueryItem item, Decision decision,
            std::function<void(std::string_view)> on_text = {}) const {
    Reply reply{.item = std::move(item), .decision = std::move(decision)};
    llm::GenerateOptions options = options_.generate;
    options.on_text = std::move(on_text);
    options.cancel = options_.stop;
    const Query& query = reply.item.query;
    try {
      reply.completion =
          query.messages.empty()
              ? llm::generate(*options_.client, router_, query.text, *reply.decision, options)
              : llm::generate(*options_.client, router_, query.messages, *reply.decision, options);
    } catch (const Error& error) {
      reply.error = error;
    }
    return reply;
  }

  void answer(QueryItem item, Decision decision) {
    sink_.begin_answer(item, decision);
    std::function<void(std::string_view)> on_text;
    bool streamed = false;
    if (options_.stream) {
      on_text = [&](std::string_view text) {
        streamed = true;
        sink_.piece(text);
      };
    }
    const Reply reply = ask(std::move(item), std::move(decision), std::move(on_text));
    if (!streamed) hand_over_text(reply);
    finish(reply);
  }

  OrderedWorkers::Job answer_job(QueryItem item, Decision decision) {
    return [this, item = std::move(item),
            decision = std::move(decision)]() mutable -> OrderedWorkers::Deliver {
      return [this, reply = ask(std::move(item), std::move(decision))] {
        if (reply.completion) sink_.begin_answer(reply.item, *reply.decision);
        hand_over_text(reply);
        finish(reply);
      };
    };
  }

  /// In its turn, if there are others before it.
  void hand_over(Reply reply) {
    if (workers_) {
      workers_->add([this, reply = std::move(reply)]() mutable -> OrderedWorkers::Deliver {
        return [this, reply = std::move(reply)] { finish(reply); };
      });
    } else {
      finish(reply);
    }
  }

  void hand_over_text(const Reply& reply) {
    if (reply.completion && !reply.completion->text.empty()) sink_.piece(reply.completion->text);
  }

  void finish(const Reply& reply) {
    if (reply.error && options_.same_options && !is_of_query(reply)) throw Error(*reply.error);
    ++(reply.ok() ? succeeded_ : failed_);
    sink_.reply(reply);
  }

  const Router& router_;
  ReplySink& sink_;
  const PipelineOptions& options_;
  std::vector<QueryItem> batch_;
  std::size_t batch_bytes_ = 0;
  // Used by one thread at a time: while there are workers, by the one whose turn it is.
  std::uint64_t succeeded_ = 0, failed_ = 0;
  std::optional<OrderedWorkers> workers_;  // last: its threads use all of the above
};

}  // namespace

PipelineResult run_pipeline(const Router& router, QuerySource& source, ReplySink& sink,
                            const PipelineOptions& options) {
  return Run(router, sink, options).from(source);
}

}  // namespace r2router
