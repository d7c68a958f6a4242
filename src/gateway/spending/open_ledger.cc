#include <string>
#include <utility>

#include "gateway/spending/ledger.h"
#include "gateway/spending/store.h"

namespace r2router::gateway {

std::unique_ptr<Ledger> open_ledger(const LedgerLocation& location, Ledger::Options options) {
  std::unique_ptr<Store> store = location.location.empty() ? make_memory_store()
                                 : location.location.starts_with("redis://")
                                     ? open_redis_store(location.location, location.password)
                                     : open_sqlite_store(location.location);
  return std::make_unique<Ledger>(std::move(store), std::move(options));
}

}  // namespace r2router::gateway
