// The store in Redis, for gateways on several machines.
//
// An exchange is one call of a script for each of its entries, sent together. A script is atomic.
// If the connection breaks, the exchange is sent again; the last number and index that a process
// has applied is stored, so nothing is charged twice. Amounts do not depend on clocks: a lease
// remains counted as spent until its process returns it. If a process has not been active for a
// minute by Redis's clock, its leases are reported as unsettled until it is active again.
//
// Redis must persist acknowledged writes (appendonly yes; without appendfsync always, a crash of
// the machine may lose a second) and must not evict keys. Only the eviction policy is checked.
//
// Everything is in hashes whose names begin with "{r2router}:", which a cluster keeps together:
//   charged, leased    KEY d DAY, KEY m MONTH, KEY t  -> sums; MONTH is its first day
//   leases             OWNER KEY DAY                  -> amount
//   applied, alive     OWNER                          -> number:index; Unix time
//   spend:DAY          KEY MODEL TAG COLUMN           -> sum;  days: the set of these days
// The parts of a field are separated by the byte 0x1F.
#include "gateway/spending/store.h"

#ifdef R2ROUTER_HAS_HIREDIS
#include <cerrno>
#include <charconv>
#include <map>
#include <utility>

#include <hiredis/hiredis.h>
#include <sys/time.h>
#endif

#include "r2router/error.h"

namespace r2router::gateway {

#ifdef R2ROUTER_HAS_HIREDIS
namespace {

constexpr timeval kTimeout = {.tv_sec = 2, .tv_usec = 0};
constexpr std::int64_t kSilentSeconds = 60;
constexpr char kSeparator = '\x1f';
constexpr std::size_t kColumns = 10;

// Numbers in Lua are doubles: exact, since no amount in a comparison exceeds 2⁵³ (Money::kMost).
// Sums are kept by HINCRBY, in int64. The arithmetic is charged_lease() and lease_change().
constexpr const char* kExchange = R"lua(
local owner, number, index, key, day, month = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]),
  ARGV[4], ARGV[5], ARGV[6]
local limits = {tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])}
local spent, reserved, need, want, recheck = tonumber(ARGV[10]), tonumber(ARGV[11]),
  tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[14] == '1'
local charged, leased, leases, applied, alive, days, spend = unpack(KEYS)
local s = '\31'
local sums = {key .. s .. 'd' .. s .. day, key .. s .. 'm' .. s .. month, key .. s .. 't'}
local mine = owner .. s .. key .. s .. day
local function get(hash, field) return tonumber(redis.call('HGET', hash, field) or '0') end
local function add(hash, field, amount)
  redis.call('HINCRBY', hash, field, string.format('%.0f', amount))
end

redis.call('HSET', alive, owner, redis.call('TIME')[1])
local last_number, last_index = string.match(redis.call('HGET', applied, owner) or '0:0', '(%d+):(%d+)')
last_number, last_index = tonumber(last_number), tonumber(last_index)
if number > last_number or (number == last_number and index > last_index) then
  local before = get(leases, mine)
  local lease = math.max(before - spent, reserved)
  if spent ~= 0 then
    for i = 1, 3 do add(charged, sums[i], spent) end
  end
  local rest = 9e15
  for i = 1, 3 do
    if limits[i] ~= nil then
      local used = get(charged, sums[i]) + get(leased, sums[i]) + lease - before
      rest = math.min(rest, limits[i] - used)
    end
  end
  local free = lease - reserved
  local change = math.min(want - free, 0)
  if want > free and rest > 0 then
    change = math.min(want - free, math.max(need - free, math.floor(rest / 4)), rest)
  end
  if recheck then change = math.min(change, math.max(-free, rest)) end
  lease = lease + change
  if lease ~= before then
    for i = 1, 3 do add(leased, sums[i], lease - before) end
    if lease == 0 then redis.call('HDEL', leases, mine)
    else redis.call('HSET', leases, mine, string.format('%.0f', lease)) end
  end
  for i = 15, #ARGV, 2 do
    redis.call('SADD', days, day)
    redis.call('HINCRBY', spend, ARGV[i], ARGV[i + 1])
  end
  redis.call('HSET', applied, owner, number .. ':' .. index)
end
local reply = {redis.call('HGET', leases, mine) or '0'}
for i = 1, 3 do table.insert(reply, redis.call('HGET', charged, sums[i]) or '0') end
for i = 1, 3 do table.insert(reply, redis.call('HGET', leased, sums[i]) or '0') end
return reply
)lua";

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};

std::string_view text(const redisReply* reply) { return {reply->str, reply->len}; }

std::int64_t integer(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string key_name(std::string_view name) { return "{r2router}:" + std::string(name); }

std::array<std::int64_t, kColumns> columns(const Spend& spend) {
  return {spend.settled.nano,  spend.unsettled.nano,  spend.baseline.nano, spend.compared.nano,
          spend.requests,      spend.input_tokens,    spend.cached_tokens, spend.cache_write_tokens,
          spend.output_tokens, spend.reasoning_tokens};
}

Spend from_column(std::size_t column, std::int64_t value) {
  std::array<std::int64_t, kColumns> values = {};
  if (column < kColumns) values[column] = value;
  const auto& [settled, unsettled, baseline, compared, requests, input, cached, written, output,
               reasoning] = values;
  return {.settled = {settled},
          .unsettled = {unsettled},
          .baseline = {baseline},
          .compared = {compared},
          .requests = requests,
          .input_tokens = input,
          .cached_tokens = cached,
          .cache_write_tokens = written,
          .output_tokens = output,
          .reasoning_tokens = reasoning};
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(kSeparator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// The parts of a field. A separator within a part would split it in two.
std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) {
    for (const char c : part) text += c == kSeparator ? ' ' : c;
    text += kSeparator;
  }
  text.pop_back();
  return text;
}

struct Address {
  std::string user, host;
  int port = 6379;
  std::string database;
};

Address parse(const std::string& url) {
  const auto fail = [&] {
    throw Error(ErrorCode::kInvalidArgument,
                "found the ledger \"" + url +
                    "\"; expected \"redis://[USER@]HOST[:PORT][/DATABASE]\" without a password, "
                    "which has a setting of its own");
  };
  Address address;
  std::string_view rest = url;
  rest.remove_prefix(std::string_view("redis://").size());
  if (const std::size_t slash = rest.find('/'); slash != rest.npos) {
    address.database = rest.substr(slash + 1);
    if (address.database.find_first_not_of("0123456789") != std::string::npos) fail();
    rest = rest.substr(0, slash);
  }
  if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
    address.user = rest.substr(0, at);
    if (address.user.find(':') != std::string::npos) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the address of the ledger has a password; expected "
                  "\"redis://[USER@]HOST[:PORT][/DATABASE]\", and the password in a setting of its "
                  "own");
    }
    rest.remove_prefix(at + 1);
  }
  const bool bracketed = rest.starts_with('[');
  const std::size_t end = bracketed ? rest.find(']') : rest.find(':');
  address.host = rest.substr(bracketed ? 1 : 0, end == rest.npos ? end : end - (bracketed ? 1 : 0));
  std::string_view port = end == rest.npos ? "" : rest.substr(end + (bracketed ? 1 : 0));
  if (!port.empty()) {
    const auto [last, error] =
        std::from_chars(port.data() + 1, port.data() + port.size(), address.port);
    if (port[0] != ':' || error != std::errc{} || last != port.data() + port.size()) fail();
  }
  if (address.host.empty() || address.port < 1 || address.port > 65535) fail();
  return address;
}

class RedisStore final : public Store {
 public:
  RedisStore(const std::string& url, const llm::Secret& password)
      : address_(parse(url)), password_(password) {
    connect();
    check_eviction();
    owner_ = std::to_string(call({"INCR", key_name("owners")})->integer);
    maintain();
  }

  ~RedisStore() override {
    try {
      call({"HDEL", key_name("alive"), owner_});
      call({"HDEL", key_name("applied"), owner_});
    } catch (const Error&) {
      // Its leases are then reported as unsettled after a minute.
    }
  }

  std::vector<Standing> exchange(const Exchange& exchange) override {
    const auto& entries = exchange.entries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      append(script_call(exchange.number, i + 1, entries[i]));
    }
    std::vector<Standing> standings;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Reply reply = receive();
      if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1 + 2 * kPeriods) unexpected();
      const auto amount = [&](std::size_t j) { return Money{integer(text(reply->element[j]))}; };
      Standing& standing = standings.emplace_back(Standing{.lease = amount(0)});
      for (std::size_t j = 0; j < kPeriods; ++j) {
        standing.charged[j] = amount(1 + j);
        standing.leased[j] = amount(1 + kPeriods + j);
      }
    }
    return standings;
  }

  void visit(Day from, Day to, const std::optional<std::string>& key, const Visit& visit) override {
    const Reply days = call({"SMEMBERS", key_name("days")});
    for (std::size_t i = 0; i < days->elements; ++i) {
      const auto day = static_cast<Day>(integer(text(days->element[i])));
      if (day < from || day > to) continue;
      each_field("spend:" + std::to_string(day), [&](std::string_view field, std::int64_t sum) {
        const auto parts = split(field);
        if (parts.size() != 4 || (key && parts[0] != *key)) return;
        const auto column = static_cast<std::size_t>(integer(parts[3]));
        visit(day, parts[0],
              {std::string(parts[1]), std::string(parts[2]), from_column(column, sum)});
      });
    }
    const Reply time = call({"TIME"});
    const std::int64_t now = integer(text(time->element[0]));
    std::map<std::string, std::int64_t, std::less<>> heard;
    each_field("alive", [&](std::string_view owner, std::int64_t at) { heard.emplace(owner, at); });
    each_field("leases", [&](std::string_view field, std::int64_t amount) {
      const auto parts = split(field);
      if (parts.size() != 3 || (key && parts[1] != *key)) return;
      const auto day = static_cast<Day>(integer(parts[2]));
      const auto last = heard.find(parts[0]);
      if (day < from || day > to) return;
      if (last != heard.end() && last->second + kSilentSeconds >= now) return;
      visit(day, parts[1], {.spend = {.unsettled = {amount}}});
    });
  }

  std::optional<Day> last_day() override {
    std::optional<Day> last;
    const auto add = [&](std::string_view day) {
      last = std::max(last.value_or(INT32_MIN), static_cast<Day>(integer(day)));
    };
    const Reply days = call({"SMEMBERS", key_name("days")});
    for (std::size_t i = 0; i < days->elements; ++i) add(text(days->element[i]));
    each_field("leases", [&](std::string_view field, std::int64_t) { add(split(field).back()); });
    return last;
  }

  void maintain() override {
    const Reply time = call({"TIME"});
    call({"HSET", key_name("alive"), owner_, std::string(text(time->element[0]))});
  }

 private:
  using Command = std::vector<std::string>;

  std::string where() const { return address_.host + ":" + std::to_string(address_.port); }

  /// Closes the connection: replies that are still pending would be taken for those of later
  /// commands.
  [[noreturn]] void fail(ErrorCode code, const std::string& message) {
    connection_.reset();
    throw Error(code, "Redis at " + where() + ": " + message);
  }
  [[noreturn]] void fail_connection() {
    const bool late = errno == EAGAIN || errno == EWOULDBLOCK;
    const std::string message = connection_ == nullptr ? "no memory"
                                : late                 ? "no answer within 2 s"
                                                       : connection_->errstr;
    fail(ErrorCode::kConnection, message + "; check that it runs and can be reached");
  }
  [[noreturn]] void unexpected() {
    fail(ErrorCode::kBadResponse, "unexpected reply; is this a Redis server?");
  }

  void connect() {
    connection_.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, kTimeout));
    if (connection_ == nullptr || connection_->err != 0) fail_connection();
    redisSetTimeout(connection_.get(), kTimeout);
    if (!password_.empty()) {
      Command command = {"AUTH"};
      if (!address_.user.empty()) command.push_back(address_.user);
      command.push_back(password_.reveal());
      call(command);
    }
    if (!address_.database.empty()) call({"SELECT", address_.database});
    script_ = text(call({"SCRIPT", "LOAD", kExchange}).get());
  }

  void append(const Command& command) {
    if (connection_ == nullptr) connect();
    std::vector<const char*> arguments;
    std::vector<std::size_t> lengths;
    for (const std::string& argument : command) {
      arguments.push_back(argument.data());
      lengths.push_back(argument.size());
    }
    if (redisAppendCommandArgv(connection_.get(), static_cast<int>(command.size()),
                               arguments.data(), lengths.data()) != REDIS_OK) {
      fail_connection();
    }
  }

  Reply receive() {
    void* reply = nullptr;
    if (redisGetReply(connection_.get(), &reply) != REDIS_OK) fail_connection();
    Reply owned(static_cast<redisReply*>(reply));
    if (owned->type != REDIS_REPLY_ERROR) return owned;
    const std::string_view message = text(owned.get());
    const bool denied = message.starts_with("NOAUTH") || message.starts_with("WRONGPASS") ||
                        message.starts_with("NOPERM") || message.starts_with("ERR AUTH");
    fail(denied ? ErrorCode::kAuthentication : ErrorCode::kServer, std::string(message));
  }

  Reply call(const Command& command) {
    append(command);
    return receive();
  }

  template <typename Each>
  void each_field(const std::string& name, Each each) {
    const Reply fields = call({"HGETALL", key_name(name)});
    for (std::size_t i = 0; i + 1 < fields->elements; i += 2) {
      each(text(fields->element[i]), integer(text(fields->element[i + 1])));
    }
  }

  void check_eviction() {
    const Reply reply = call({"INFO", "memory"});
    const std::string_view info = text(reply.get());
    const bool unlimited = info.find("\r\nmaxmemory:0\r\n") != info.npos;
    if (unlimited || info.find("\r\nmaxmemory_policy:allkeys") == info.npos) return;
    fail(ErrorCode::kBadConfig,
         "its maxmemory-policy lets it forget what was spent; set it to noeviction");
  }

  Command script_call(std::uint64_t number, std::size_t index, const ExchangeEntry& entry) const {
    const std::string day = std::to_string(entry.day);
    Command command = {"EVALSHA", script_, "7"};
    for (const std::string& name :
         {std::string("charged"), std::string("leased"), std::string("leases"),
          std::string("applied"), std::string("alive"), std::string("days"), "spend:" + day}) {
      command.push_back(key_name(name));
    }
    for (const std::string& argument :
         {owner_, std::to_string(number), std::to_string(index), joined({entry.key}), day,
          std::to_string(month_of(entry.day))}) {
      command.push_back(argument);
    }
    for (const auto& limit : money_limits(entry.limits)) {
      command.push_back(limit ? std::to_string(limit->nano) : "");
    }
    for (const Money amount : {entry.spent, entry.reserved, entry.need, entry.want}) {
      command.push_back(std::to_string(amount.nano));
    }
    command.push_back(entry.recheck ? "1" : "0");
    for (const SpendEntry& row : entry.rows) {
      const auto sums = columns(row.spend);
      for (std::size_t i = 0; i < sums.size(); ++i) {
        if (sums[i] == 0) continue;
        command.push_back(joined({entry.key, row.model, row.tag, std::to_string(i)}));
        command.push_back(std::to_string(sums[i]));
      }
    }
    return command;
  }

  const Address address_;
  const llm::Secret password_;
  std::unique_ptr<redisContext, FreeContext> connection_;
  std::string script_;  // its SHA-1
  std::string owner_;
};

}  // namespace

std::unique_ptr<Store> open_redis_store(const std::string& url, const llm::Secret& password) {
  return std::make_unique<RedisStore>(url, password);
}

#else

std::unique_ptr<Store> open_redis_store(const std::string& url, const llm::Secret& /*password*/) {
  throw Error(ErrorCode::kUnsupported,
              "cannot use the ledger \"" + url +
                  "\": this build has no support for Redis; build it with hiredis installed, or "
                  "name a SQLite file");
}

#endif

}  // namespace r2router::gateway
