// From hashed features to embeddings. The arithmetic here is specified in checkpoints/FORMAT.md,
// "The lexical encoder", and the heads of a checkpoint depend on every bit: any change needs a new
// format version.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "r2router/encoder.h"
#include "r2router/error.h"

#include "encode/arguments.h"
#include "encode/lexical/features.h"

namespace r2router {
namespace {

constexpr std::size_t kMaxDimension = 1 << 20;
constexpr std::size_t kMaxFamilies = 8;
constexpr std::size_t kMaxTopics = 1024;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void check_topics(const LexicalEncoderSpec& spec, const TopicScores& topics) {
  const std::size_t count = spec.topics.size();
  if (count == 1 || count > kMaxTopics) {
    fail("lexical encoder: there are " + std::to_string(count) + " topics, expected none or 2 to " +
         std::to_string(kMaxTopics));
  }
  if (topics.weights.size() != count * spec.dimension || topics.intercepts.size() != count) {
    fail("lexical encoder: there are " + std::to_string(topics.weights.size()) + " weights and " +
         std::to_string(topics.intercepts.size()) + " intercepts of topics, expected " +
         std::to_string(count) + " × " + std::to_string(spec.dimension) + " and " +
         std::to_string(count) + ": spec.topics has " + std::to_string(count) + " names");
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(topics.weights, finite) ||
      !std::ranges::all_of(topics.intercepts, finite)) {
    fail("lexical encoder: a weight or intercept of a topic is not a finite number");
  }
}

void check_idf(const LexicalEncoderSpec& spec, const std::vector<float>& idf) {
  if (idf.size() != (spec.has_idf ? spec.dimension : 0)) {
    fail("lexical encoder: there are " + std::to_string(idf.size()) + " IDF weights, expected " +
         (spec.has_idf ? std::to_string(spec.dimension) + ", one for each dimension"
                       : "none because has_idf is false"));
  }
  for (std::size_t i = 0; i < idf.size(); ++i) {
    if (!std::isfinite(idf[i]) || idf[i] < 0) {
      fail("lexical encoder: idf[" + std::to_string(i) + "] is " + std::to_string(idf[i]) +
           ", expected a finite number that is not negative");
    }
  }
}

class LexicalEncoder final : public Encoder {
 public:
  LexicalEncoder(const LexicalEncoderSpec& spec, std::vector<float> idf, TopicScores topics)
      : spec_(spec), idf_(std::move(idf)), topic_intercepts_(std::move(topics.intercepts)) {
    for (std::size_t i = 0; i < spec_.dimension; ++i) {
      for (std::size_t topic = 0; topic < spec_.topics.size(); ++topic) {
        topic_weights_.push_back(topics.weights[topic * spec_.dimension + i]);
      }
    }
  }

  std::size_t dimension() const override { return spec_.embedding_dimension(); }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    internal::check_embed_arguments(texts, out, dimension());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::span<float> row = out.subspan(i * dimension(), dimension());
      encode(texts[i], row.first(spec_.dimension));
      share_topics(row.first(spec_.dimension), row.subspan(spec_.dimension));
    }
  }

 private:
  /// Buffers, reused by the calls of a thread.
  struct Scratch {
    std::vector<std::int64_t> counts;  // families × dimension
    std::vector<internal::NGramHasher> hashers;
    std::vector<double> sums;
  };

  void encode(std::string_view text, std::span<float> out) const {
    thread_local Scratch scratch;
    count_features(text, scratch);
    auto& [counts, hashers, sums] = scratch;
    sums.assign(spec_.dimension, 0);
    for (std::size_t family = 0; family < spec_.features.size(); ++family) {
      const double weight = spec_.features[family].weight;
      const std::int64_t* row = counts.data() + family * spec_.dimension;
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += weight * static_cast<double>(row[i]);
    }
    if (spec_.square_root) {
      for (double& sum : sums) {
        // Most slots of a short text are empty, and a square root is slow.
        if (sum != 0) sum = std::copysign(std::sqrt(std::abs(sum)), sum);
      }
    }
    for (std::size_t i = 0; i < idf_.size(); ++i) sums[i] *= idf_[i];

    // Four running sums, which shortens the dependency chain.
    std::array<double, 4> squares{};
    for (std::size_t i = 0; i < sums.size(); ++i) squares[i % 4] += sums[i] * sums[i];
    const double norm = std::sqrt((squares[0] + squares[1]) + (squares[2] + squares[3]));
    const double scale = norm > 0 ? 1 / norm : 0;
    for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] * scale);
  }

  /// Writes the share of each topic, given the features.
  void share_topics(std::span<const float> features, std::span<float> shares) const {
    thread_local std::vector<double> sums;  // 4 × topics
    const std::size_t count = shares.size();
    sums.assign(4 * count, 0);
    // Accumulates all scores slot by slot: the sums are independent, and empty slots, which add
    // zeros, are skipped. Products of float32 numbers are exact in float64, so fused multiply-add
    // does not change results.
    for (std::size_t i = 0; i < features.size(); ++i) {
      if (features[i] == 0) continue;
      const float* weights = topic_weights_.data() + i * count;
      double* sum = sums.data() + i % 4 * count;
      for (std::size_t topic = 0; topic < count; ++topic) {
        sum[topic] += static_cast<double>(weights[topic]) * static_cast<double>(features[i]);
      }
    }
    double total = 0;
    for (std::size_t topic = 0; topic < count; ++topic) {
      const double* sum = sums.data() + topic;
      const double score =
          ((sum[0] + sum[count]) + (sum[2 * count] + sum[3 * count])) + topic_intercepts_[topic];
      sums[topic] = score > 0 ? score * score : 0;
      total += sums[topic];
    }
    for (std::size_t topic = 0; topic < count; ++topic) {
      shares[topic] = total > 0 ? static_cast<float>(sums[topic] / total) : 0;
    }
  }

  void count_features(std::string_view text, Scratch& scratch) const {
    scratch.counts.assign(spec_.features.size() * spec_.dimension, 0);
    std::int64_t* const counts = scratch.counts.data();
    const std::size_t dimension = spec_.dimension;
    internal::for_each_feature(text, spec_, scratch.hashers,
                               [&](std::size_t family, std::uint64_t hash) {
                                 counts[family * dimension + internal::slot_of(hash, dimension)] +=
                                     internal::sign_of(hash);
                               });
  }

  LexicalEncoderSpec spec_;
  std::vector<float> idf_;
  std::vector<float> topic_weights_;  // dimension × topics: transposed
  std::vector<float> topic_intercepts_;
};

}  // namespace

void internal::check_features(const LexicalEncoderSpec& spec) {
  if (spec.dimension < 1 || spec.dimension > kMaxDimension) {
    fail("lexical encoder: dimension is " + std::to_string(spec.dimension) + ", expected 1 to " +
         std::to_string(kMaxDimension));
  }
  if (spec.features.empty() || spec.features.size() > kMaxFamilies) {
    fail("lexical encoder: features has " + std::to_string(spec.features.size()) +
         " families, expected 1 to " + std::to_string(kMaxFamilies));
  }
  for (std::size_t i = 0; i < spec.features.size(); ++i) {
    const LexicalFeatures& family = spec.features[i];
    const std::string name = "lexical encoder: features[" + std::to_string(i) + "]";
    if (family.kind != LexicalFeatures::Kind::kWords &&
        family.kind != LexicalFeatures::Kind::kCharacters) {
      fail(name + ".kind is neither words nor characters");
    }
    if (family.min_n < 1 || family.min_n > family.max_n || family.max_n > internal::kMaxN) {
      fail(name + " has n-grams of " + std::to_string(family.min_n) + " to " +
           std::to_string(family.max_n) + ", expected 1 ≤ min_n ≤ max_n ≤ " +
           std::to_string(internal::kMaxN));
    }
    if (!std::isfinite(family.weight) || family.weight <= 0) {
      fail(name + ".weight is " + std::to_string(family.weight) + ", expected a positive number");
    }
  }
}

std::shared_ptr<const Encoder> make_lexical_encoder(const LexicalEncoderSpec& spec,
                                                    std::vector<float> idf, TopicScores topics) {
  internal::check_features(spec);
  check_idf(spec, idf);
  check_topics(spec, topics);
  return std::make_shared<LexicalEncoder>(spec, std::move(idf), std::move(topics));
}

}  // namespace r2router
