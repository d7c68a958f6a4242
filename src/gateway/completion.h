// The life of a request in any dialect: decide, reserve, send, pass the answer on, settle.
#pragma once

#include <memory>
#include <random>
#include <string>

#include "gateway/access_log.h"
#include "gateway/dialects/dialect.h"
#include "gateway/incoming.h"
#include "gateway/metrics.h"
#include "gateway/server/http_message.h"
#include "gateway/server/loop.h"
#include "gateway/spending/ledger.h"

namespace r2router::gateway {

/// Shared by the requests of a loop.
struct LoopContext {
  Loop& loop;
  CountsOfLoop& counts;
  AccessLog& log;
  Ledger& ledger;
  std::mt19937_64 random;

  /// 96 random bits in hexadecimal digits.
  std::string make_id();
};

/// Answers the request. Null if it was answered immediately.
std::unique_ptr<HttpTask> complete(LoopContext& context, const Dialect& dialect, Incoming incoming,
                                   HttpReply& reply);

}  // namespace r2router::gateway
