#include "gateway/spending/account.h"

#include <algorithm>
#include <utility>

namespace r2router::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long refusals for lack of headroom are repeated without asking the store again. Other
// processes may then have returned parts of their leases.
constexpr milliseconds kFresh{250};
// A lease is returned after this time without a request.
constexpr seconds kIdle{5};
// When to retry if the limit is only reached because of unfinished requests.
constexpr milliseconds kSoon{1000};

std::int64_t second_of(Instant now) {
  return std::chrono::floor<seconds>(now.steady.time_since_epoch()).count();
}

milliseconds until_second(std::int64_t second, Instant now) {
  return std::chrono::ceil<milliseconds>(std::chrono::steady_clock::time_point{seconds{second}} -
                                         now.steady);
}

}  // namespace

void Account::set_limits(const Limits& limits) {
  const std::lock_guard lock(mutex_);
  if (limits == limits_) return;
  limits_ = limits;
  for (auto& [day, state] : days_) {
    state.recheck = true;
    state.fresh_until = {};
  }
  const auto keep = [](std::unique_ptr<RateWindow>& window, bool limited) {
    if (!limited) {
      window.reset();
    } else if (!window) {
      window = std::make_unique<RateWindow>();
    }
  };
  keep(requests_, limits.requests_per_minute.has_value());
  keep(tokens_, limits.tokens_per_minute.has_value());
  if (!days_.empty()) enlist(false);
}

void Account::enlist(bool urgent) {
  if (enlisted_ && (urgent_ || !urgent)) return;
  enlisted_ = true;
  urgent_ = urgent;
  owner_->enlist(shared_from_this(), urgent);
}

std::optional<Refusal> Account::check_rates(const Demand& demand, Instant now) {
  if (!requests_ && !tokens_) return {};
  const std::int64_t second = second_of(now);
  const auto check = [&](RateWindow* window, std::uint64_t count,
                         const std::optional<std::uint64_t>& limit,
                         LimitKind kind) -> std::optional<Refusal> {
    if (window == nullptr || count == 0) return {};
    const std::uint64_t used = window->used(second);
    if (window->fits(count, *limit)) return {};
    Refusal refusal = {
        .limit = kind, .allowed_count = *limit, .used_count = used, .needed_count = count};
    if (const auto admitted = window->admits(count, *limit)) {
      refusal.retry_after = std::max(milliseconds{1}, until_second(*admitted, now));
    }
    return refusal;
  };
  if (auto refusal = check(requests_.get(), demand.requests, limits_.requests_per_minute,
                           LimitKind::kRequestsPerMinute)) {
    return refusal;
  }
  if (auto refusal = check(tokens_.get(), demand.tokens, limits_.tokens_per_minute,
                           LimitKind::kTokensPerMinute)) {
    return refusal;
  }
  if (requests_) requests_->add(second, demand.requests);
  if (tokens_) tokens_->add(second, demand.tokens);
  return {};
}

void Account::return_rates(const Demand& demand, Instant since) {
  if (requests_) requests_->correct(second_of(since), demand.requests, 0);
  if (tokens_) tokens_->correct(second_of(since), demand.tokens, 0);
}

std::optional<Outcome> Account::reserve(const Demand& asked, Instant now, Ledger::Callback later) {
  Demand demand = asked;
  demand.worst_case = std::clamp(asked.worst_case, Money{}, Money{Money::kMost});
  const Day day = owner_->day(now);
  const std::lock_guard lock(mutex_);
  if (auto refusal = check_rates(demand, now)) return Outcome(std::move(*refusal));
  last_reserve_ = now.steady;
  DayState& state = days_[day];
  std::optional<Outcome> outcome = take(day, state, demand, now);
  if (!outcome) {
    if (auto problem = owner_->problem()) {
      outcome = Refusal{.problem = std::move(*problem), .retry_after = kSoon};
    }
  }
  if (!outcome) {
    state.waiting.push_back({demand, now, std::move(later)});
    enlist(true);
    return {};
  }
  if (std::holds_alternative<Refusal>(*outcome)) {
    return_rates(demand, now);
  } else if (state.free() < demand_) {
    enlist(false);
  }
  return outcome;
}

/// Decides in memory; empty if the store has to be asked.
std::optional<Outcome> Account::take(Day day, DayState& state, const Demand& demand, Instant now) {
  if (limits_.limits_money()) {
    if (state.recheck) return {};
    const Money rest = headroom(limits_, state.standing);
    // Usage may exceed the limit if it was lowered or a bill exceeded its reservation. The free
    // part of the lease compensates for that first.
    const Money free = state.free() + std::min(rest, Money{});
    if (demand.worst_case > std::max(free, Money{})) {
      if (now.steady >= state.fresh_until) return {};
      if (demand.worst_case <= free + state.withheld + std::max(rest, Money{})) return {};
      return refusal(day, state, demand.worst_case, now);
    }
  }
  return make_reservation(day, state, demand, now);
}

Reservation Account::make_reservation(Day day, DayState& state, const Demand& demand, Instant now) {
  Reservation reservation;
  reservation.account_ = shared_from_this();
  reservation.day_ = day;
  reservation.amount_ = demand.worst_case;
  // Only without limits. The reserved sum must remain a number that a store can compare.
  if (state.reserved + demand.worst_case > Money{Money::kMost}) reservation.amount_ = {};
  reservation.tokens_ = demand.tokens;
  reservation.second_ = second_of(now);
  state.reserved += reservation.amount_;
  reserved_since_ = std::min(reserved_since_ + reservation.amount_, Money{Money::kMost});
  return reservation;
}

/// Reports the limit that is reset last among those that are reached.
Refusal Account::refusal(Day day, const DayState& state, Money needed, Instant now) const {
  constexpr LimitKind kKinds[kPeriods] = {LimitKind::kPerDay, LimitKind::kPerMonth,
                                          LimitKind::kTotal};
  const auto limits = money_limits(limits_);
  const Money unwritten = state.spent + state.in_exchange;
  Refusal refusal = {.needed = needed};
  for (std::size_t i = kPeriods; i-- > 0;) {
    if (!limits[i]) continue;
    refusal.limit = kKinds[i];
    refusal.allowed = *limits[i];
    refusal.spent = state.standing.charged[i] + unwritten;
    refusal.reserved = std::max(Money{}, state.standing.leased[i] - state.lease) + state.reserved;
    if (needed > refusal.left()) break;
  }
  if (needed <= refusal.allowed - refusal.spent) {
    refusal.retry_after = kSoon;
  } else if (needed <= refusal.allowed && refusal.limit != LimitKind::kTotal) {
    const Day reset = refusal.limit == LimitKind::kPerDay ? day + 1 : next_month(day);
    refusal.retry_after = std::max(kSoon, until(reset, now));
  }
  return refusal;
}

void Account::finish(const Reservation& reservation, const Settlement& settlement, End end) {
  const std::lock_guard lock(mutex_);
  DayState& state = days_[reservation.day_];
  state.reserved -= reservation.amount_;
  const Usage& usage = settlement.usage;
  if (end != End::kAbandoned && tokens_) {
    const std::int64_t actual =
        end == End::kReleased ? 0 : usage.prompt_tokens + usage.completion_tokens;
    tokens_->correct(reservation.second_, reservation.tokens_,
                     static_cast<std::uint64_t>(std::max<std::int64_t>(actual, 0)));
  }
  if (end == End::kReleased) return;
  Spend spend = {.requests = settlement.requests,
                 .input_tokens = usage.prompt_tokens,
                 .cached_tokens = usage.cached_tokens,
                 .cache_write_tokens = usage.cache_write_tokens,
                 .output_tokens = usage.completion_tokens,
                 .reasoning_tokens = usage.reasoning_tokens};
  if (end == End::kAbandoned) {
    spend.unsettled = reservation.amount_;
  } else {
    spend.settled = std::clamp(settlement.cost, Money{}, Money{Money::kMost});
    if (settlement.baseline) {
      spend.baseline = std::clamp(*settlement.baseline, Money{}, Money{Money::kMost});
      spend.compared = spend.settled;
    }
  }
  state.spent += spend.settled + spend.unsettled;
  RowView name = {settlement.model, settlement.tag};
  auto row = state.rows.find(name);
  if (row == state.rows.end() && owner_->full()) {
    // The store has not been writable for a long time. The amount is counted, but its details are
    // lost.
    name = {};
    row = state.rows.find(name);
  }
  if (row == state.rows.end()) {
    owner_->add_row();
    row = state.rows.try_emplace({std::string(name.model), std::string(name.tag)}).first;
  }
  row->second += spend;
  enlist(false);
}

void Account::snapshot(Instant now, bool closing, std::vector<ExchangeEntry>& entries) {
  const Day today = owner_->current_day(now);
  const std::lock_guard lock(mutex_);
  enlisted_ = urgent_ = false;
  // A lease of twice the amount reserved between two exchanges lasts until the next one.
  demand_ = std::max(reserved_since_, Money{demand_.nano / 8 * 7});
  reserved_since_ = {};
  if (now.steady - last_reserve_ > kIdle) demand_ = {};
  // Today's entry is last, so that it can use what the others return.
  for (auto& [day, state] : days_) {
    if (day != today) add_entry(day, state, false, entries);
  }
  const auto found = days_.find(today);
  if (found != days_.end()) add_entry(today, found->second, !closing, entries);
}

/// `used`: requests may still be charged to this day.
void Account::add_entry(Day day, DayState& state, bool used, std::vector<ExchangeEntry>& entries) {
  const Money free = state.free(), least = used ? demand_ : Money{};
  ExchangeEntry entry = {.key = name_, .day = day, .limits = limits_};
  for (const Waiting& waiting : state.waiting) {
    entry.need = std::min(entry.need + waiting.demand.worst_case, Money{Money::kMost});
  }
  entry.want = entry.need + least + least;
  // A small surplus is not worth an exchange.
  if (least != Money{} && free.nano / 4 <= entry.want.nano) entry.want = std::max(entry.want, free);
  entry.want = std::min(entry.want, Money{Money::kMost});
  state.withheld = std::max(Money{}, state.recheck ? free : free - entry.want);
  if (state.rows.empty() && state.waiting.empty() && !state.recheck && state.withheld == Money{} &&
      free >= least) {
    return;
  }
  entry.recheck = std::exchange(state.recheck, false);
  entry.reserved = state.reserved;
  entry.spent = state.in_exchange = std::exchange(state.spent, {});
  for (auto& [name, spend] : state.rows) entry.rows.push_back({name.model, name.tag, spend});
  state.rows.clear();
  entries.push_back(std::move(entry));
}

void Account::apply(const ExchangeEntry& entry, const Standing& standing, Instant now) {
  std::vector<std::pair<Ledger::Callback, Outcome>> decided;
  {
    const Day today = owner_->current_day(now);
    const std::lock_guard lock(mutex_);
    DayState& state = days_[entry.day];
    state.lease = standing.lease;
    state.standing = standing;
    state.in_exchange = state.withheld = {};
    // If the limits have changed since the snapshot, the standing lacks the new ones.
    if (!state.recheck) state.fresh_until = now.steady + kFresh;
    std::deque<Waiting> still_waiting;
    for (Waiting& waiting : state.waiting) {
      // Still undecided if it arrived after the snapshot, or another request used what was leased
      // for it.
      auto outcome = take(entry.day, state, waiting.demand, now);
      if (!outcome) {
        still_waiting.push_back(std::move(waiting));
        continue;
      }
      if (std::holds_alternative<Refusal>(*outcome)) return_rates(waiting.demand, waiting.since);
      decided.emplace_back(std::move(waiting.later), std::move(*outcome));
    }
    state.waiting = std::move(still_waiting);
    if (!state.waiting.empty()) enlist(true);
    if (entry.day != today && state.lease == Money{} && state.reserved == Money{} &&
        state.rows.empty() && state.waiting.empty()) {
      days_.erase(entry.day);
    }
  }
  for (auto& [later, outcome] : decided) later(std::move(outcome));
}

void Account::refuse_waiting(const std::string& problem) {
  std::vector<Ledger::Callback> refused;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [day, state] : days_) {
      for (Waiting& waiting : state.waiting) {
        return_rates(waiting.demand, waiting.since);
        refused.push_back(std::move(waiting.later));
      }
      state.waiting.clear();
    }
  }
  for (const auto& later : refused) later(Refusal{.problem = problem, .retry_after = kSoon});
}

void Account::visit_rows(const std::function<void(Day, const SpendEntry&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [day, state] : days_) {
    for (const auto& [name, spend] : state.rows) visit(day, {name.model, name.tag, spend});
  }
}

bool Account::holds_lease() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(days_.begin(), days_.end(),
                     [](const auto& entry) { return entry.second.lease != Money{}; });
}

// Reservation.

Reservation::Reservation(Reservation&& other) noexcept
    : account_(std::move(other.account_)),
      day_(other.day_),
      amount_(other.amount_),
      tokens_(other.tokens_),
      second_(other.second_) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  abandon({});
  account_ = std::move(other.account_);
  day_ = other.day_;
  amount_ = other.amount_;
  tokens_ = other.tokens_;
  second_ = other.second_;
  return *this;
}

void Reservation::settle(const Settlement& settlement) {
  if (const auto account = std::exchange(account_, nullptr)) {
    account->finish(*this, settlement, Account::End::kSettled);
  }
}

void Reservation::release() {
  if (const auto account = std::exchange(account_, nullptr)) {
    account->finish(*this, {}, Account::End::kReleased);
  }
}

void Reservation::abandon(const Settlement& settlement) {
  if (const auto account = std::exchange(account_, nullptr)) {
    account->finish(*this, settlement, Account::End::kAbandoned);
  }
}

}  // namespace r2router::gateway
