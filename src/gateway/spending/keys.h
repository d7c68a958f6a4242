// The keys of the gateway's clients.
//
// The configuration stores "sha256:…" of a key, never the key. A slow password hash is not needed:
// it protects secrets that can be guessed, and make_key() draws 192 random bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/spending/limits.h"

namespace r2router::gateway {

/// A client's key and what it may do. Plain data.
struct Key {
  /// Identifies the key in the ledger, logs and reports. A new secret under the same name continues
  /// its limits.
  std::string name = {};
  std::string hash = {};  ///< hash_key() of the key
  Limits limits = {};
  /// Models that it may use, as Policy::allow; empty: all.
  std::optional<std::vector<std::string>> models = {};
  /// Names of the policies that it may use ("auto:NAME"); empty: all.
  std::optional<std::vector<std::string>> policies = {};
  /// Tags that its requests may carry. The first is the tag of a request that carries none.
  std::vector<std::string> tags = {};

  bool allows_policy(std::string_view policy) const;
  /// The tag of a request whose client sent `requested`, which may be empty. Empty if the key does
  /// not allow this tag.
  std::optional<std::string_view> tag_of(std::string_view requested) const;
};

/// A new random key, "sk-r2-" and 48 hexadecimal digits. Throws Error(kIo) if the operating system
/// provides no random numbers.
std::string make_key();

/// "sha256:" and the SHA-256 of the text in hexadecimal digits.
std::string hash_key(std::string_view key);

/// An immutable set of keys; thread-safe.
class Keys {
 public:
  Keys() = default;
  /// Throws Error(kBadConfig) whose pointer is "/keys/INDEX/FIELD" for a name that is empty, too
  /// long, not printable or used twice, a hash in the wrong form or used twice, and a limit out of
  /// range.
  explicit Keys(std::vector<Key> keys);

  /// The key that a client presented; nullptr if there is none. The steps only depend on the length
  /// of the text, not on the existing keys.
  const Key* find(std::string_view key) const;

  std::span<const Key> all() const { return keys_; }
  bool empty() const { return keys_.empty(); }

 private:
  using Digest = std::array<std::uint64_t, 4>;
  struct Slot {
    Digest digest = {};
    std::uint64_t index = SIZE_MAX;  // SIZE_MAX: empty
  };

  std::vector<Key> keys_;
  // A hash table of buckets with equally many slots. A search compares all slots of one bucket.
  std::vector<Slot> slots_;
  std::size_t bucket_mask_ = 0, bucket_slots_ = 0;
};

}  // namespace r2router::gateway
