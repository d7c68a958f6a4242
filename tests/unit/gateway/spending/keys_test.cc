#include "gateway/spending/keys.h"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/error.h"

namespace r2router::gateway {
namespace {

TEST(Keys, HashIsTheSha256OfTheText) {
  // sha256sum of "abc".
  EXPECT_EQ(hash_key("abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Keys, NewKeysDifferAndAreLongEnough) {
  std::set<std::string> keys;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = make_key();
    ASSERT_TRUE(key.starts_with("sk-r2-"));
    ASSERT_EQ(key.size(), 6U + 48U);
    ASSERT_EQ(key.find_first_not_of("0123456789abcdef", 6), key.npos);
    keys.insert(key);
  }
  EXPECT_EQ(keys.size(), 1000U);
}

TEST(Keys, FindsEachOfAnyNumberAndNothingElse) {
  for (const std::size_t count : {0U, 1U, 2U, 3U, 17U, 1000U}) {
    std::vector<std::string> texts;
    std::vector<Key> list;
    for (std::size_t i = 0; i < count; ++i) {
      texts.push_back(make_key());
      list.push_back({.name = "key " + std::to_string(i), .hash = hash_key(texts.back())});
    }
    const Keys keys(list);
    for (std::size_t i = 0; i < count; ++i) {
      const Key* found = keys.find(texts[i]);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(found->name, "key " + std::to_string(i));
      EXPECT_EQ(keys.find(texts[i] + " "), nullptr);
      EXPECT_EQ(keys.find(texts[i].substr(1)), nullptr);
      // The hash is no key.
      EXPECT_EQ(keys.find(list[i].hash), nullptr);
    }
    EXPECT_EQ(keys.find(""), nullptr);
    EXPECT_EQ(keys.find(make_key()), nullptr);
  }
}

TEST(Keys, NamesTheInvalidField) {
  const Key good = {.name = "a", .hash = hash_key("a")};
  const auto error_of = [&](auto change) {
    Key key = {.name = "b", .hash = hash_key("b")};
    change(key);
    try {
      const Keys keys({good, key});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadConfig);
      EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
      return error.where().pointer;
    }
    return std::string("none");
  };
  EXPECT_EQ(error_of([](Key&) {}), "none");
  EXPECT_EQ(error_of([](Key& key) { key.name = "a"; }), "/keys/1/name");
  EXPECT_EQ(error_of([](Key& key) { key.name = ""; }), "/keys/1/name");
  EXPECT_EQ(error_of([](Key& key) { key.name = "a\nb"; }), "/keys/1/name");
  EXPECT_EQ(error_of([](Key& key) { key.name.assign(201, 'x'); }), "/keys/1/name");
  EXPECT_EQ(error_of([](Key& key) { key.hash = hash_key("a"); }), "/keys/1/hash");
  // Someone writes the key itself.
  EXPECT_EQ(error_of([](Key& key) { key.hash = "sk-r2-secret"; }), "/keys/1/hash");
  EXPECT_EQ(error_of([](Key& key) { key.hash = "sha256:secret"; }), "/keys/1/hash");
  EXPECT_EQ(error_of([](Key& key) { key.hash.back() = 'g'; }), "/keys/1/hash");
  EXPECT_EQ(error_of([](Key& key) { key.hash.pop_back(); }), "/keys/1/hash");
  EXPECT_EQ(error_of([](Key& key) { key.limits.per_day = Money{-1}; }), "/keys/1/per_day");
  EXPECT_EQ(error_of([](Key& key) { key.limits.total = Money{Money::kMost + 1}; }),
            "/keys/1/total");
  EXPECT_EQ(error_of([](Key& key) { key.tags = {"good", ""}; }), "/keys/1/tags");
}

TEST(Keys, PoliciesAndTagsAreThoseOfTheKey) {
  const Key open = {.name = "open"};
  EXPECT_TRUE(open.allows_policy("any"));
  EXPECT_EQ(open.tag_of(""), "");
  EXPECT_EQ(open.tag_of("any"), std::nullopt);
  const Key bound = {.name = "bound", .policies = {{"cheap"}}, .tags = {"team", "batch"}};
  EXPECT_TRUE(bound.allows_policy("cheap"));
  EXPECT_FALSE(bound.allows_policy("best"));
  EXPECT_EQ(bound.tag_of(""), "team");
  EXPECT_EQ(bound.tag_of("batch"), "batch");
  EXPECT_EQ(bound.tag_of("other"), std::nullopt);
}

}  // namespace
}  // namespace r2router::gateway
