#include "gateway/spending/keys.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <set>
#include <system_error>
#include <utility>

#include <unistd.h>

#include "r2router/error.h"

#include "base/sha256.h"
#include "base/usd.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr std::size_t kMostNameBytes = 200;

std::string hex_of_sha256(std::string_view text) {
  Sha256 hash;
  hash.update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return hash.hex_digest();
}

/// Empty if the text is not 64 lower-case hexadecimal digits.
std::optional<std::array<std::uint64_t, 4>> parse_digest(std::string_view hex) {
  if (hex.size() != 64 || hex.find_first_not_of("0123456789abcdef") != hex.npos) return {};
  std::array<std::uint64_t, 4> digest = {};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    std::from_chars(hex.data() + 16 * i, hex.data() + 16 * (i + 1), digest[i], 16);
  }
  return digest;
}

[[noreturn]] void fail(std::size_t index, const std::string& field, const std::string& message) {
  throw Error(ErrorCode::kBadConfig, message,
              {.pointer = "/keys/" + std::to_string(index) + "/" + field});
}

void check_name(std::size_t index, const std::string& name, const std::string& field) {
  const bool printable = std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (name.empty() || name.size() > kMostNameBytes || !printable) {
    fail(index, field,
         (name.empty() ? "found no name"
                       : "found a name of " + std::to_string(name.size()) + " bytes") +
             (printable ? "" : " with control characters") + "; expected 1 to " +
             std::to_string(kMostNameBytes) + " bytes without control characters");
  }
}

void check_limits(std::size_t index, const Limits& limits) {
  const auto check = [&](const std::optional<Money>& limit, const char* field) {
    if (!limit || (limit->nano >= 0 && limit->nano <= Money::kMost)) return;
    fail(index, field,
         "found " + usd_text(limit->usd()) + "; expected at least $0 and at most " +
             usd_text(Money{Money::kMost}.usd()) + "; omit it for no limit");
  };
  check(limits.per_day, name_of(LimitKind::kPerDay));
  check(limits.per_month, name_of(LimitKind::kPerMonth));
  check(limits.total, name_of(LimitKind::kTotal));
}

}  // namespace

bool Key::allows_policy(std::string_view policy) const {
  return !policies || std::find(policies->begin(), policies->end(), policy) != policies->end();
}

std::optional<std::string_view> Key::tag_of(std::string_view requested) const {
  if (requested.empty()) return tags.empty() ? std::string_view{} : std::string_view{tags.front()};
  const auto found = std::find(tags.begin(), tags.end(), requested);
  if (found == tags.end()) return {};
  return std::string_view{*found};
}

std::string make_key() {
  std::array<std::uint8_t, 24> random = {};
  if (getentropy(random.data(), random.size()) != 0) {
    throw Error(ErrorCode::kIo, "the operating system has no random numbers for a key: " +
                                    std::error_code(errno, std::generic_category()).message());
  }
  std::string key = "sk-r2-";
  for (const std::uint8_t byte : random) {
    key += "0123456789abcdef"[byte >> 4];
    key += "0123456789abcdef"[byte & 15];
  }
  return key;
}

std::string hash_key(std::string_view key) { return std::string(kPrefix) + hex_of_sha256(key); }

Keys::Keys(std::vector<Key> keys) : keys_(std::move(keys)) {
  std::set<std::string_view> names;
  std::vector<Digest> digests;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const Key& key = keys_[i];
    check_name(i, key.name, "name");
    if (!names.insert(key.name).second) {
      fail(i, "name", "\"" + key.name + "\" is the name of another key too; names must differ");
    }
    check_limits(i, key.limits);
    for (const std::string& tag : key.tags) check_name(i, tag, "tags");
    const std::string_view hash = key.hash;
    const auto digest = hash.starts_with(kPrefix) ? parse_digest(hash.substr(kPrefix.size()))
                                                  : std::optional<Digest>{};
    if (!digest) {
      // Perhaps the key itself: never show it.
      fail(i, "hash",
           std::string(hash.empty() ? "this is missing" : "found another text") +
               "; expected \"sha256:\" and 64 "
               "lower-case hexadecimal digits, the SHA-256 of the key: printf %s \"$KEY\" | "
               "sha256sum");
    }
    if (std::find(digests.begin(), digests.end(), *digest) != digests.end()) {
      fail(i, "hash", "another key has the same hash; each needs a key of its own");
    }
    digests.push_back(*digest);
  }
  if (keys_.empty()) return;

  const std::size_t buckets = std::bit_ceil(2 * keys_.size());
  bucket_mask_ = buckets - 1;
  std::vector<std::size_t> used(buckets);
  for (const Digest& digest : digests) ++used[digest[0] & bucket_mask_];
  bucket_slots_ = *std::max_element(used.begin(), used.end());
  slots_.resize(buckets * bucket_slots_);
  for (std::size_t i = 0; i < digests.size(); ++i) {
    const std::size_t bucket = digests[i][0] & bucket_mask_;
    slots_[bucket * bucket_slots_ + --used[bucket]] = {digests[i], i};
  }
}

const Key* Keys::find(std::string_view key) const {
  const Digest digest = *parse_digest(hex_of_sha256(key));
  const Slot* slot = slots_.data() + (digest[0] & bucket_mask_) * bucket_slots_;
  std::uint64_t found = SIZE_MAX;
  for (std::size_t i = 0; i < bucket_slots_; ++i) {
    std::uint64_t difference = 0;
    for (std::size_t word = 0; word < digest.size(); ++word) {
      difference |= slot[i].digest[word] ^ digest[word];
    }
    // All bits set if the digests are equal, without a branch. An empty slot has the index of none.
    const std::uint64_t equal = ((difference | (0 - difference)) >> 63) - 1;
    found &= ~equal | slot[i].index;
  }
  return found == SIZE_MAX ? nullptr : &keys_[found];
}

}  // namespace r2router::gateway
