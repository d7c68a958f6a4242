// A store in memory, for one process, with the same exchange as the durable stores.
#include <map>
#include <tuple>
#include <utility>

#include "gateway/spending/store.h"

namespace r2router::gateway {
namespace {

class MemoryStore final : public Store {
 public:
  std::vector<Standing> exchange(const Exchange& exchange) override {
    std::vector<Standing> standings;
    for (const ExchangeEntry& entry : exchange.entries) {
      for (const SpendEntry& row : entry.rows) {
        rows_[{entry.day, entry.key, row.model, row.tag}] += row.spend;
      }
      std::map<Day, Account>& days = accounts_[entry.key];
      Account& account = days[entry.day];
      account.charged += entry.spent;
      account.lease = charged_lease(account.lease, entry);
      Standing standing = sums(days, entry.day);
      const Money change = lease_change(account.lease, entry, headroom(entry.limits, standing));
      account.lease += change;
      standing.lease = account.lease;
      for (Money& leased : standing.leased) leased += change;
      standings.push_back(standing);
    }
    return standings;
  }

  void visit(Day from, Day to, const std::optional<std::string>& key, const Visit& visit) override {
    for (auto row = rows_.lower_bound({from, {}, {}, {}}); row != rows_.end(); ++row) {
      const auto& [day, name, model, tag] = row->first;
      if (day > to) break;
      if (!key || *key == name) visit(day, name, {model, tag, row->second});
    }
  }

  std::optional<Day> last_day() override { return {}; }
  void maintain() override {}

 private:
  struct Account {
    Money charged, lease;
  };

  static Standing sums(const std::map<Day, Account>& days, Day day) {
    Standing standing = {};
    for (const auto& [other, account] : days) {
      const bool in_period[] = {other == day, month_of(other) == month_of(day), true};
      for (std::size_t i = 0; i < kPeriods; ++i) {
        if (!in_period[i]) continue;
        standing.charged[i] += account.charged;
        standing.leased[i] += account.lease;
      }
    }
    return standing;
  }

  std::map<std::string, std::map<Day, Account>> accounts_;
  std::map<std::tuple<Day, std::string, std::string, std::string>, Spend> rows_;
};

}  // namespace

std::unique_ptr<Store> make_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace r2router::gateway
