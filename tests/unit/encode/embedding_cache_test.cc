#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/encoder.h"

namespace r2router {
namespace {

using Row = std::vector<float>;

/// What one entry takes, asked of a cache that has room for anything.
std::size_t bytes_of(const std::string& model, const std::string& text, const Row& row) {
  EmbeddingCache cache(SIZE_MAX);
  cache.insert(model, text, row);
  return cache.stats().bytes;
}

TEST(EmbeddingCache, GivesBackWhatItWasGiven) {
  EmbeddingCache cache(1 << 20);
  Row out(2, -1);
  EXPECT_FALSE(cache.find("m", "text", out));
  EXPECT_EQ(out, Row(2, -1));
  cache.insert("m", "text", Row{1, 2});
  EXPECT_TRUE(cache.find("m", "text", out));
  EXPECT_EQ(out, (Row{1, 2}));
  EXPECT_FALSE(cache.find("n", "text", out)) << "another model's";
  EXPECT_FALSE(cache.find("mt", "ext", out)) << "model and text are apart";
  Row longer(3);
  EXPECT_FALSE(cache.find("m", "text", longer)) << "of another dimension";
  EXPECT_EQ(cache.stats().hits, 1u);
  EXPECT_EQ(cache.stats().misses, 4u);

  cache.insert("m", "text", Row{3, 4});
  EXPECT_TRUE(cache.find("m", "text", out));
  EXPECT_EQ(out, (Row{3, 4})) << "the later one counts";
  EXPECT_EQ(cache.stats().entries, 1u);
}

TEST(EmbeddingCache, CountsAtLeastTheTextsAndTheNumbers) {
  const std::string text(5000, 'x');
  EXPECT_GE(bytes_of("model", text, Row(1024)), 5 + 5000 + 4096u);
  EXPECT_LE(bytes_of("model", text, Row(1024)), 5 + 5000 + 4096u + 500);
}

TEST(EmbeddingCache, DoesNotKeepWhatIsLargerThanItself) {
  const Row small(4, 1), large(4096, 1);
  EmbeddingCache cache(2 * bytes_of("m", "a", small));
  cache.insert("m", "a", small);
  cache.insert("m", "b", large);
  Row out(4);
  EXPECT_TRUE(cache.find("m", "a", out)) << "nothing was given up for it";
  EXPECT_EQ(cache.stats().entries, 1u);
  cache.insert("m", "a", large);
  EXPECT_FALSE(cache.find("m", "a", out)) << "the old one is out of date";
  EXPECT_EQ(cache.stats().bytes, 0u);

  EmbeddingCache nothing(0);
  nothing.insert("m", "a", small);
  EXPECT_FALSE(nothing.find("m", "a", out));
}

TEST(EmbeddingCache, AgreesWithANaiveModel) {
  struct Entry {
    std::string model, text;
    Row row;
    std::size_t bytes;
  };
  constexpr std::size_t kMaxBytes = 6000;
  EmbeddingCache cache(kMaxBytes);
  std::vector<Entry> naive;  // the most recently used last
  std::uint64_t hits = 0, misses = 0;
  std::mt19937 random(7);
  for (int step = 0; step < 30000; ++step) {
    const std::string model = random() % 2 == 0 ? "m" : "another model";
    const std::string text(1 + random() % 20, static_cast<char>('a' + random() % 2));
    const auto same = [&](const Entry& e) { return e.model == model && e.text == text; };
    const auto found = std::ranges::find_if(naive, same);
    Row row(8 * (1 + random() % 2));
    if (random() % 2 == 0) {
      const bool expected = found != naive.end() && found->row.size() == row.size();
      ASSERT_EQ(cache.find(model, text, row), expected) << step;
      ++(expected ? hits : misses);
      if (expected) {
        ASSERT_EQ(row, found->row);
        std::rotate(found, found + 1, naive.end());
      }
    } else {
      if (random() % 50 == 0) row.resize(2000);
      for (float& value : row) value = static_cast<float>(random());
      cache.insert(model, text, row);
      if (found != naive.end()) naive.erase(found);
      naive.push_back({model, text, row, bytes_of(model, text, row)});
      if (naive.back().bytes > kMaxBytes) naive.pop_back();
      const auto total = [&] {
        std::size_t sum = 0;
        for (const Entry& entry : naive) sum += entry.bytes;
        return sum;
      };
      while (total() > kMaxBytes) naive.erase(naive.begin());
      ASSERT_EQ(cache.stats().bytes, total());
      ASSERT_LE(cache.stats().bytes, kMaxBytes);
    }
    ASSERT_EQ(cache.stats().entries, naive.size());
  }
  EXPECT_EQ(cache.stats().hits, hits);
  EXPECT_EQ(cache.stats().misses, misses);
  EXPECT_GT(hits, 1000u);
}

TEST(EmbeddingCache, ThreadsShareIt) {
  EmbeddingCache cache(20000);
  std::atomic<std::uint64_t> found = 0, looked = 0;
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      Row row(32);
      for (int step = 0; step < 2000; ++step) {
        const unsigned key = random() % 150;
        const std::string text = "text " + std::to_string(key);
        ++looked;
        if (cache.find("m", text, row)) {
          ++found;
          // A row is never half of one entry and half of another.
          ASSERT_EQ(row, Row(32, static_cast<float>(key)));
        } else {
          cache.insert("m", text, Row(32, static_cast<float>(key)));
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(cache.stats().hits, found);
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, looked);
  EXPECT_LE(cache.stats().bytes, 20000u);
}

}  // namespace
}  // namespace r2router
