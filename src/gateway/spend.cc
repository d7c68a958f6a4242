// GET /v1/spend?from=2026-01-01&to=2026-01-31&by=day,model.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "r2router/error.h"

#include "base/date.h"
#include "gateway/routes.h"
#include "gateway/spending/report.h"

namespace r2router::gateway {
namespace {

[[noreturn]] void refuse(std::string_view name, const std::string& expected) {
  throw Error(ErrorCode::kInvalidArgument,
              "the parameter " + std::string(name) + " is not valid: expected " + expected,
              {.option = std::string(name)});
}

std::chrono::sys_days day_of(std::string_view name, std::string_view text) {
  const auto day = internal::parse_date(text);
  if (!day) refuse(name, "a day such as 2026-01-31");
  return *day;
}

/// The default is this month, by key and model.
SpendQuery query_of(std::string_view parameters) {
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  const std::chrono::year_month_day date(today);
  SpendQuery query{.from = date.year() / date.month() / 1, .to = today};
  bool grouped = false;
  while (!parameters.empty()) {
    const std::string_view one = parameters.substr(0, parameters.find('&'));
    parameters.remove_prefix(std::min(one.size() + 1, parameters.size()));
    const std::string_view name = one.substr(0, one.find('='));
    std::string_view value = one.substr(std::min(name.size() + 1, one.size()));
    if (name == "from") {
      query.from = day_of(name, value);
    } else if (name == "to") {
      query.to = day_of(name, value);
    } else if (name == "key") {
      query.key = value;
    } else if (name == "by") {
      grouped = true;
      while (!value.empty()) {
        const std::string_view group = value.substr(0, value.find(','));
        value.remove_prefix(std::min(group.size() + 1, value.size()));
        if (group == "day") {
          query.by_day = true;
        } else if (group == "key") {
          query.by_key = true;
        } else if (group == "model") {
          query.by_model = true;
        } else if (group == "tag") {
          query.by_tag = true;
        } else {
          refuse(name, "day, key, model or tag, separated by commas");
        }
      }
    } else if (!one.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is no such parameter: expected from, to, key and by",
                  {.option = std::string(name.substr(0, 40))});
    }
  }
  if (!grouped) query.by_key = query.by_model = true;
  return query;
}

class SpendTask final : public HttpTask {
 public:
  SpendTask(Incoming incoming, HttpReply& reply) : incoming_(std::move(incoming)), reply_(reply) {}

  void start(LoopContext& context, const SpendQuery& query) {
    context.ledger.report(query, [this, alive = std::weak_ptr(alive_),
                                  &loop = context.loop](std::variant<SpendReport, Failure> result) {
      loop.post([this, alive, result = std::move(result)] {
        if (!alive.expired()) reply(result);
      });
    });
  }

 private:
  void reply(const std::variant<SpendReport, Failure>& result) {
    if (const auto* failure = std::get_if<Failure>(&result)) {
      return reply_error(reply_, incoming_,
                         {.status = 503, .message = failure->message, .code = "ledger"});
    }
    reply_json(reply_, incoming_, to_json(std::get<SpendReport>(result)));
  }

  const Incoming incoming_;
  HttpReply& reply_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

std::unique_ptr<HttpTask> report_spending(LoopContext& context, Incoming incoming,
                                          HttpReply& reply) {
  SpendQuery query;
  try {
    query = query_of(incoming.http.query);
  } catch (const Error& error) {
    reply_error(reply, incoming,
                {.status = 400,
                 .message = error.message(),
                 .code = "invalid_argument",
                 .param = error.where().option});
    return nullptr;
  }
  // A key can only see its own spending.
  if (incoming.client->key != nullptr) query.key = incoming.client->key->name;
  auto task = std::make_unique<SpendTask>(std::move(incoming), reply);
  task->start(context, query);
  return task;
}

}  // namespace r2router::gateway
