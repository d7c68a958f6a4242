// The paths of the gateway, and their handlers.
#pragma once

#include <atomic>
#include <memory>

#include "gateway/access_log.h"
#include "gateway/completion.h"
#include "gateway/health.h"
#include "gateway/metrics.h"
#include "gateway/server/http_message.h"
#include "gateway/server/loop.h"
#include "gateway/service.h"
#include "gateway/spending/ledger.h"

namespace r2router::gateway {

/// Shared by all loops. Thread-safe.
struct Shared {
  std::atomic<std::shared_ptr<const Service>> service;
  Health health;
  Metrics metrics;
  std::unique_ptr<AccessLog> log;
  std::unique_ptr<Ledger> ledger;
  std::atomic<bool> ready = false;
  std::atomic<std::uint64_t> reloads = 0, failed_reloads = 0;
};

/// The handler of a loop. `shared` must outlive it.
std::unique_ptr<HttpHandler> make_routes(Loop& loop, Shared& shared);

/// POST /v1/decisions.
std::unique_ptr<HttpTask> decide_queries(LoopContext& context, Incoming incoming, HttpReply& reply);

/// POST /v1/embeddings: passed on to the configured endpoint.
std::unique_ptr<HttpTask> embed(LoopContext& context, Incoming incoming, HttpReply& reply);

/// GET /v1/spend.
std::unique_ptr<HttpTask> report_spending(LoopContext& context, Incoming incoming,
                                          HttpReply& reply);

/// Replies with an error in the form that the client expects. `extra`: more headers.
void reply_error(HttpReply& reply, const Incoming& incoming, const ErrorReport& error,
                 const llm::Headers& extra = {});
void reply_json(HttpReply& reply, const Incoming& incoming, const std::string& json);

}  // namespace r2router::gateway
