#include <algorithm>
#include <functional>
#include <list>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "r2router/encoder.h"

#include "base/fork_gate.h"

namespace r2router {
namespace {

struct Key {
  std::string_view model, text;

  friend bool operator==(const Key&, const Key&) = default;
};

struct Hash {
  std::size_t operator()(const Key& key) const noexcept {
    const std::hash<std::string_view> hash;
    return hash(key.text) ^ (hash(key.model) * 31);
  }
};

}  // namespace

class EmbeddingCache::Entries {
 public:
  explicit Entries(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  bool find(const Key& key, std::span<float> out) {
    const Lock lock(*this);
    const auto found = by_key_.find(key);
    if (found == by_key_.end() || found->second->embedding.size() != out.size()) {
      ++stats_.misses;
      return false;
    }
    ++stats_.hits;
    by_use_.splice(by_use_.begin(), by_use_, found->second);
    std::ranges::copy(found->second->embedding, out.begin());
    return true;
  }

  void insert(const Key& key, std::span<const float> embedding) {
    // Allocate before evicting, and outside the lock.
    std::list<Entry> fresh;
    fresh.push_back({std::string(key.model), std::string(key.text),
                     std::vector<float>(embedding.begin(), embedding.end())});
    const std::size_t size = bytes(fresh.front());
    const Lock lock(*this);
    if (const auto old = by_key_.find(key); old != by_key_.end()) remove(old->second);
    if (size > max_bytes_) return;
    while (stats_.bytes > max_bytes_ - size) remove(std::prev(by_use_.end()));
    by_key_.emplace(key_of(fresh.front()), fresh.begin());
    by_use_.splice(by_use_.begin(), fresh);
    stats_.bytes += size;
  }

  Stats stats() const {
    const Lock lock(*this);
    Stats stats = stats_;
    stats.entries = by_use_.size();
    return stats;
  }

 private:
  struct Entry {
    std::string model, text;
    std::vector<float> embedding;
  };
  using Position = std::list<Entry>::iterator;

  /// After fork() the child has all entries, consistent and unlocked.
  class Lock {
   public:
    explicit Lock(const Entries& entries) : lock_(entries.mutex_) {}

   private:
    const std::shared_lock<internal::ForkGate> behind_{internal::fork_gate};
    const std::lock_guard<std::mutex> lock_;
  };

  static Key key_of(const Entry& entry) { return {entry.model, entry.text}; }

  /// Size of an entry: its memory, plus an estimate of the overhead of list and table.
  static std::size_t bytes(const Entry& entry) {
    constexpr std::size_t kBookkeeping =
        sizeof(Entry) + sizeof(Key) + sizeof(Position) + 8 * sizeof(void*);
    return kBookkeeping + entry.model.size() + entry.text.size() +
           entry.embedding.size() * sizeof(float);
  }

  void remove(Position entry) {
    stats_.bytes -= bytes(*entry);
    by_key_.erase(key_of(*entry));
    by_use_.erase(entry);
  }

  const std::size_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> by_use_;                         // the most recently used first
  std::unordered_map<Key, Position, Hash> by_key_;  // keys are views of by_use_
  Stats stats_;
};

EmbeddingCache::EmbeddingCache(std::size_t max_bytes)
    : entries_(std::make_unique<Entries>(max_bytes)) {}

EmbeddingCache::~EmbeddingCache() = default;

bool EmbeddingCache::find(std::string_view model, std::string_view text, std::span<float> out) {
  return entries_->find({model, text}, out);
}

void EmbeddingCache::insert(std::string_view model, std::string_view text,
                            std::span<const float> embedding) {
  entries_->insert({model, text}, embedding);
}

EmbeddingCache::Stats EmbeddingCache::stats() const { return entries_->stats(); }

}  // namespace r2router
