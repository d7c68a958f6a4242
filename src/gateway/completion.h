// A request in any dialect: decide, reserve, send, pass the answer on, settle.
#pragma once

#include <memory>
#include <random>
#include <string>

#include "gateway/access_log.h"
#include "gateway/dialects/dialect.h"
#include "gateway/health.h"
#include "gateway/metrics.h"
#include "gateway/server/http_message.h"
#include "gateway/server/loop.h"
#include "gateway/service.h"
#include "gateway/spending/ledger.h"

namespace r2router::gateway {

/// What the requests of a loop share.
struct LoopContext {
  Loop& loop;
  CountsOfLoop& counts;
  AccessLog& log;
  Ledger& ledger;
  std::mt19937_64 random;

  /// 96 random bits in hexadecimal digits.
  std::string make_id();
};

/// A request that has been authenticated.
struct Incoming {
  std::shared_ptr<const Service> service = {};
  const Client* client = nullptr;  ///< of the service
  HttpRequest http = {};
  std::string id = {};  ///< of the request
  std::string tag = {};
};

/// The policy that the headers and the named policies of a request make of the configuration's,
/// within the configuration's bounds. `own`: the settings in the body. Throws
/// Error(kInvalidArgument) that names the field, and kAuthentication for a policy that the key may
/// not use.
Policy policy_of(const Incoming& incoming, std::string_view policy_name, const Policy& own);

/// The policy's name in the model id "auto:NAME"; empty for "auto". Empty optional: another model.
std::optional<std::string_view> routed_policy(std::string_view model);

/// Excludes the models that are marked, in addition to those that the policy excludes.
void deny(const ModelMask& mask, const Service& service, Policy& policy);

/// Answers the request. Null: it was answered at once.
std::unique_ptr<HttpTask> complete(LoopContext& context, const Dialect& dialect, Incoming incoming,
                                   HttpReply& reply);

}  // namespace r2router::gateway
