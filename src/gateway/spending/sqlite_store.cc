// The store in a SQLite file, for any number of processes on one machine.
//
// The file is in WAL mode with synchronous=FULL: a transaction is durable when it has committed,
// even if the machine loses power. Each process is an *owner* with a number that is never used
// again, and holds a lock on the byte of that number in a second file, PATH-owners. The kernel
// releases the lock when the process ends for any reason, so whether an owner is alive does not
// depend on clocks or process ids. The leases of an owner without a lock become unsettled amounts.
// (The locks are open file description locks on a file of their own, because SQLite uses POSIX
// locks on its files, which a process loses when it closes any descriptor of the same file.)
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "r2router/error.h"

#include "gateway/spending/store.h"

namespace r2router::gateway {
namespace {

constexpr int kBusyMilliseconds = 5000;
// "r2sp", so that a file of another program is not mistaken for a ledger.
constexpr int kApplicationId = 0x72327370;

// Each script brings a file from the version of its index to the next. Never change one that was
// released. Amounts are nano-USD, days are counted from 1970-01-01.
constexpr const char* kMigrations[] = {
    R"(
CREATE TABLE owners (      -- processes that use the file, or did when they were killed
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  exchange INTEGER NOT NULL
) STRICT;
CREATE TABLE leases (      -- what an owner may spend without asking again
  key TEXT NOT NULL, day INTEGER NOT NULL, owner INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK (amount > 0),
  PRIMARY KEY (key, day, owner)
) STRICT, WITHOUT ROWID;
CREATE TABLE charges (     -- settled and unsettled amounts: the sums of the rows of spend
  key TEXT NOT NULL, day INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend (
  day INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, tag TEXT NOT NULL,
  settled INTEGER NOT NULL, unsettled INTEGER NOT NULL,
  baseline INTEGER NOT NULL, compared INTEGER NOT NULL, requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  PRIMARY KEY (day, key, model, tag)
) STRICT, WITHOUT ROWID;
)"};
constexpr int kVersion = std::size(kMigrations);

constexpr const char* kAddSpend = R"(
INSERT INTO spend VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT DO UPDATE SET settled = settled + ?5, unsettled = unsettled + ?6,
  baseline = baseline + ?7, compared = compared + ?8, requests = requests + ?9,
  input_tokens = input_tokens + ?10, cached_tokens = cached_tokens + ?11,
  cache_write_tokens = cache_write_tokens + ?12, output_tokens = output_tokens + ?13,
  reasoning_tokens = reasoning_tokens + ?14)";
constexpr const char* kAddCharge =
    "INSERT INTO charges VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET amount = amount + ?3";

std::string reason(int number) {
  return std::error_code(number, std::generic_category()).message();
}

/// A file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

/// A connection. Every failure is an Error that names the file.
class Database {
 public:
  explicit Database(std::string path) : path_(std::move(path)) {
    const int code = sqlite3_open_v2(path_.c_str(), &connection_,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    if (code != SQLITE_OK) {
      const Error error = failure(code);
      sqlite3_close(connection_);
      throw error;
    }
    sqlite3_extended_result_codes(connection_, 1);
    sqlite3_busy_timeout(connection_, kBusyMilliseconds);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close(connection_); }

  sqlite3* connection() const { return connection_; }
  const std::string& path() const { return path_; }

  void run(const char* sql) {
    const int code = sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) throw failure(code);
  }

  Error failure(int code) const {
    const std::string text =
        connection_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(connection_);
    switch (code & 0xff) {
      case SQLITE_NOTADB:
      case SQLITE_CORRUPT:
        return damaged(text);
      case SQLITE_FULL:
        return {ErrorCode::kIo, "no space is left on its disk; free some", {.file = path_}};
      case SQLITE_READONLY:
      case SQLITE_CANTOPEN:
      case SQLITE_PERM:
        return {ErrorCode::kIo,
                text + "; the gateway needs to write this file and create files in its folder",
                {.file = path_}};
      case SQLITE_BUSY:
        return {ErrorCode::kIo,
                "another program has kept it locked for " +
                    std::to_string(kBusyMilliseconds / 1000) + " s; end that program",
                {.file = path_}};
      default: {
        const int number = connection_ == nullptr ? 0 : sqlite3_system_errno(connection_);
        return {ErrorCode::kIo, text + (number == 0 ? "" : ": " + reason(number)), {.file = path_}};
      }
    }
  }

  Error damaged(const std::string& text) const {
    return {ErrorCode::kBadData,
            "this ledger is damaged or not a ledger: " + text +
                "; restore a copy, or move the file away to start one that knows nothing of what "
                "was spent",
            {.file = path_}};
  }

 private:
  std::string path_;
  sqlite3* connection_ = nullptr;
};

/// A prepared statement.
class Statement {
 public:
  Statement(Database& database, const char* sql) : database_(database) {
    const int code = sqlite3_prepare_v3(database.connection(), sql, -1, SQLITE_PREPARE_PERSISTENT,
                                        &statement_, nullptr);
    if (code != SQLITE_OK) throw database.failure(code);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  /// Binds ?1, ?2, … The texts must live until reset() or the end of run().
  template <typename... Values>
  Statement& bind(const Values&... values) {
    reset();
    int index = 0;
    (bind_one(++index, values), ...);
    return *this;
  }
  /// The next row; false at the end, and then it is reset.
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) {
      const Error error = database_.failure(code);
      reset();
      throw error;
    }
    reset();
    return false;
  }
  void run() {
    while (step()) {
    }
  }
  void reset() { sqlite3_reset(statement_); }

  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::string_view text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  void bind_one(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  void bind_one(int index, Money value) { sqlite3_bind_int64(statement_, index, value.nano); }
  void bind_one(int index, std::string_view value) {
    // An empty view without data would become NULL.
    sqlite3_bind_text(statement_, index, value.empty() ? "" : value.data(),
                      static_cast<int>(value.size()), SQLITE_STATIC);
  }

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
};

/// BEGIN IMMEDIATE, and ROLLBACK unless it was committed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) {
    database_.run("BEGIN IMMEDIATE");
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (sqlite3_get_autocommit(database_.connection()) == 0) {
      sqlite3_exec(database_.connection(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
  }
  void commit() { database_.run("COMMIT"); }

 private:
  Database& database_;
};

/// Locks of one byte each, which are released when the process ends.
class OwnerLocks {
 public:
  explicit OwnerLocks(const std::string& path)
      : path_(path), file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_.number() < 0) fail();
  }

  void lock(std::int64_t owner) const {
    struct flock range = byte(owner);
    if (fcntl(file_.number(), F_OFD_SETLK, &range) != 0) fail();
  }
  /// Whether another process, or another ledger of this one, holds the byte.
  bool held(std::int64_t owner) const {
    struct flock range = byte(owner);
    if (fcntl(file_.number(), F_OFD_GETLK, &range) != 0) fail();
    return range.l_type != F_UNLCK;
  }

 private:
  static struct flock byte(std::int64_t owner) {
    struct flock range = {};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_start = owner;
    range.l_len = 1;
    return range;
  }
  [[noreturn]] void fail() const {
    throw Error(ErrorCode::kIo,
                reason(errno) + "; the ledger needs this file on a local disk for its locks",
                {.file = path_});
  }

  std::string path_;
  Descriptor file_;
};

/// Creates the file if it does not exist, for its user alone. SQLite gives the same permissions to
/// the files that it creates next to it.
const std::string& created(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.number() < 0) {
    throw Error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                "cannot open the ledger: " + reason(errno) +
                    "; expected a file, or a folder in which it can be created",
                {.file = path});
  }
  return path;
}

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(const std::string& path)
      : database_(created(path)), locks_(path + "-owners") {
    configure();
    migrate();
    check();
    become_owner();
    recover();
  }

  ~SqliteStore() override {
    try {
      Statement(database_,
                "DELETE FROM owners WHERE id = ?1 AND id NOT IN (SELECT owner FROM leases)")
          .bind(owner_)
          .run();
    } catch (const Error&) {
      // The next process detects that the owner has ended.
    }
  }

  std::vector<Standing> exchange(const Exchange& exchange) override {
    std::vector<Standing> standings;
    standings.reserve(exchange.entries.size());
    check_in_place();
    Transaction transaction(database_);
    const auto number = static_cast<std::int64_t>(exchange.number);
    Statement& done = statements().exchange_of;
    if (!done.bind(owner_).step()) {
      throw Error(ErrorCode::kIo,
                  "another process took this one for dead; was " + database_.path() +
                      "-owners deleted? Restart this program",
                  {.file = database_.path()});
    }
    const bool repeated = done.integer(0) == number;
    done.reset();
    bool changed = false;
    for (const ExchangeEntry& entry : exchange.entries) {
      standings.push_back(repeated ? standing(entry) : apply(entry, changed));
    }
    if (changed) statements().set_exchange.bind(owner_, number).run();
    transaction.commit();
    return standings;
  }

  void visit(Day from, Day to, const std::optional<std::string>& key, const Visit& visit) override {
    Statement rows(database_,
                   "SELECT * FROM spend WHERE day BETWEEN ?1 AND ?2 AND (?3 = '' OR key = ?3)");
    const std::string only = key.value_or("");
    rows.bind(from, to, std::string_view(only));
    while (rows.step()) {
      SpendEntry entry = {.model = std::string(rows.text(2)), .tag = std::string(rows.text(3))};
      entry.spend = {.settled = {rows.integer(4)},
                     .unsettled = {rows.integer(5)},
                     .baseline = {rows.integer(6)},
                     .compared = {rows.integer(7)},
                     .requests = rows.integer(8),
                     .input_tokens = rows.integer(9),
                     .cached_tokens = rows.integer(10),
                     .cache_write_tokens = rows.integer(11),
                     .output_tokens = rows.integer(12),
                     .reasoning_tokens = rows.integer(13)};
      visit(static_cast<Day>(rows.integer(0)), rows.text(1), entry);
    }
  }

  std::optional<Day> last_day() override {
    Statement last(database_,
                   "SELECT max(day) FROM (SELECT max(day) AS day FROM spend UNION ALL "
                   "SELECT max(day) FROM leases)");
    if (!last.step() || last.is_null(0)) return {};
    return static_cast<Day>(last.integer(0));
  }

  void maintain() override { recover(); }

 private:
  struct Statements {
    explicit Statements(Database& database)
        : exchange_of(database, "SELECT exchange FROM owners WHERE id = ?1"),
          set_exchange(database, "UPDATE owners SET exchange = ?2 WHERE id = ?1"),
          lease(database, "SELECT amount FROM leases WHERE key = ?1 AND day = ?2 AND owner = ?3"),
          set_lease(database, "INSERT OR REPLACE INTO leases VALUES (?1, ?2, ?3, ?4)"),
          drop_lease(database, "DELETE FROM leases WHERE key = ?1 AND day = ?2 AND owner = ?3"),
          add_charge(database, kAddCharge),
          add_spend(database, kAddSpend),
          charged(database,
                  "SELECT coalesce(sum(amount), 0) FROM charges "
                  "WHERE key = ?1 AND day BETWEEN ?2 AND ?3"),
          leased(database,
                 "SELECT coalesce(sum(amount), 0) FROM leases "
                 "WHERE key = ?1 AND day BETWEEN ?2 AND ?3") {}

    Statement exchange_of, set_exchange, lease, set_lease, drop_lease, add_charge, add_spend,
        charged, leased;
  };
  Statements& statements() { return *statements_; }

  void configure() {
    // Not subject to the busy time-out while another process does the same.
    for (int attempt = 0;; ++attempt) {
      try {
        database_.run("PRAGMA journal_mode = WAL");
        break;
      } catch (const Error&) {
        if (attempt == kBusyMilliseconds / 10 ||
            (sqlite3_errcode(database_.connection()) & 0xff) != SQLITE_BUSY) {
          throw;
        }
        sqlite3_sleep(10);
      }
    }
    database_.run("PRAGMA synchronous = FULL");
    database_.run("PRAGMA trusted_schema = OFF");
    sqlite3_db_config(database_.connection(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  }

  std::int64_t number(const char* sql) {
    Statement statement(database_, sql);
    return statement.step() ? statement.integer(0) : 0;
  }

  void migrate() {
    Transaction transaction(database_);
    const std::int64_t version = number("PRAGMA user_version");
    const std::int64_t tables = number("SELECT count(*) FROM sqlite_schema");
    if (tables > 0 && number("PRAGMA application_id") != kApplicationId) {
      throw database_.damaged("it is a SQLite database of another program");
    }
    if (version > kVersion) {
      throw Error(ErrorCode::kUnsupported,
                  "found a ledger of version " + std::to_string(version) + ", expected at most " +
                      std::to_string(kVersion) + "; use a newer release of this program",
                  {.file = database_.path()});
    }
    for (auto next = static_cast<int>(version); next < kVersion; ++next) {
      database_.run(kMigrations[next]);
    }
    if (version < kVersion) {
      database_.run(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str());
      database_.run(("PRAGMA user_version = " + std::to_string(kVersion)).c_str());
    }
    transaction.commit();
  }

  void check() {
    Statement check(database_, "PRAGMA quick_check(1)");
    if (!check.step() || check.text(0) != "ok") throw database_.damaged(std::string(check.text(0)));
    check.reset();
    statements_ = std::make_unique<Statements>(database_);
  }

  void become_owner() {
    Transaction transaction(database_);
    database_.run("INSERT INTO owners (exchange) VALUES (0)");
    owner_ = sqlite3_last_insert_rowid(database_.connection());
    locks_.lock(owner_);  // before others can see the row
    transaction.commit();
  }

  /// Turns the leases of ended processes into unsettled amounts.
  void recover() {
    std::vector<std::int64_t> gone;
    {
      Statement owners(database_, "SELECT id FROM owners WHERE id <> ?1");
      owners.bind(owner_);
      while (owners.step()) {
        if (!locks_.held(owners.integer(0))) gone.push_back(owners.integer(0));
      }
    }
    if (gone.empty()) return;
    Transaction transaction(database_);
    for (const std::int64_t owner : gone) {
      // Two processes may find the same owner; the second one finds no leases.
      Statement(database_,
                "INSERT INTO spend SELECT day, key, '', '', 0, amount, 0, 0, 0, 0, 0, 0, 0, 0 "
                "FROM leases WHERE owner = ?1 "
                "ON CONFLICT DO UPDATE SET unsettled = unsettled + excluded.unsettled")
          .bind(owner)
          .run();
      Statement(database_,
                "INSERT INTO charges SELECT key, day, amount FROM leases WHERE owner = ?1 "
                "ON CONFLICT DO UPDATE SET amount = amount + excluded.amount")
          .bind(owner)
          .run();
      Statement(database_, "DELETE FROM leases WHERE owner = ?1").bind(owner).run();
      Statement(database_, "DELETE FROM owners WHERE id = ?1").bind(owner).run();
    }
    transaction.commit();
  }

  /// Others would use another file under the same name.
  void check_in_place() {
    int moved = 0;
    sqlite3_file_control(database_.connection(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved == 0) return;
    throw Error(ErrorCode::kIo, "it was moved or deleted while in use; restart this program",
                {.file = database_.path()});
  }

  Money lease_of(const ExchangeEntry& entry) {
    Statement& lease = statements().lease;
    const Money amount = {
        lease.bind(std::string_view(entry.key), entry.day, owner_).step() ? lease.integer(0) : 0};
    lease.reset();
    return amount;
  }

  Standing standing(const ExchangeEntry& entry) {
    Standing standing = {.lease = lease_of(entry)};
    const auto limits = money_limits(entry.limits);
    const std::pair<Day, Day> days[kPeriods] = {
        {entry.day, entry.day},
        {month_of(entry.day), next_month(entry.day) - 1},
        {std::numeric_limits<Day>::min(), std::numeric_limits<Day>::max()}};
    for (std::size_t i = 0; i < kPeriods; ++i) {
      if (!limits[i]) continue;
      const auto sum = [&](Statement& statement) {
        statement.bind(std::string_view(entry.key), days[i].first, days[i].second).step();
        const Money amount = {statement.integer(0)};
        statement.reset();
        return amount;
      };
      standing.charged[i] = sum(statements().charged);
      standing.leased[i] = sum(statements().leased);
    }
    return standing;
  }

  Standing apply(const ExchangeEntry& entry, bool& changed) {
    const std::string_view key = entry.key;
    for (const SpendEntry& row : entry.rows) {
      const Spend& spend = row.spend;
      statements()
          .add_spend
          .bind(entry.day, key, std::string_view(row.model), std::string_view(row.tag),
                spend.settled, spend.unsettled, spend.baseline, spend.compared, spend.requests,
                spend.input_tokens, spend.cached_tokens, spend.cache_write_tokens,
                spend.output_tokens, spend.reasoning_tokens)
          .run();
      changed = true;
    }
    if (entry.spent != Money{}) statements().add_charge.bind(key, entry.day, entry.spent).run();
    Standing now = standing(entry);
    const Money before = now.lease;
    now.lease = charged_lease(before, entry);
    for (Money& leased : now.leased) leased += now.lease - before;
    const Money change = lease_change(now.lease, entry, headroom(entry.limits, now));
    now.lease += change;
    for (Money& leased : now.leased) leased += change;
    if (now.lease != before) {
      changed = true;
      if (now.lease == Money{}) {
        statements().drop_lease.bind(key, entry.day, owner_).run();
      } else {
        statements().set_lease.bind(key, entry.day, owner_, now.lease).run();
      }
    }
    return now;
  }

  Database database_;
  OwnerLocks locks_;
  std::unique_ptr<Statements> statements_;
  std::int64_t owner_ = 0;
};

}  // namespace

std::unique_ptr<Store> open_sqlite_store(const std::string& path) {
  return std::make_unique<SqliteStore>(path);
}

}  // namespace r2router::gateway
