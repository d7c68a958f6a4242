// Stage 1: text -> embedding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/error.h"
#include "r2router/export.h"

namespace r2router {

/// Turns text into the embedding that a checkpoint's heads were trained on. Derive from it to use
/// your own encoder: implement dimension() and embed(). Implementations are immutable after
/// construction; all methods are thread-safe.
class R2ROUTER_EXPORT Encoder {
 public:
  virtual ~Encoder() = default;

  /// Length of every embedding.
  virtual std::size_t dimension() const = 0;

  /// Writes the embedding of texts[i] to out[i·dimension() … (i + 1)·dimension()).
  /// Throws Error(kInvalidArgument) for a text that is empty or all white space, or if `out` has
  /// the wrong size; then nothing is written. An encoder that calls a server also throws the errors
  /// listed at its factory, and Error(kCancelled) within 100 ms of a stop request from `cancel`.
  virtual void embed(std::span<const std::string_view> texts, std::span<float> out,
                     const std::stop_token& cancel = {}) const = 0;

  /// A text that could not be embedded, and why.
  struct Rejected {
    std::size_t text = 0;  ///< its index in `texts`
    Failure failure = {};
  };

  /// Like embed(), but a text that cannot be embedded does not affect the others. Returns the
  /// rejected texts in ascending order; their rows of `out` are unspecified. Throws as embed() does
  /// for errors that affect every text. The default calls embed() and returns an empty vector.
  virtual std::vector<Rejected> embed_each(std::span<const std::string_view> texts,
                                           std::span<float> out,
                                           const std::stop_token& cancel = {}) const;

  /// Embeds a single text with embed().
  std::vector<float> embed_one(std::string_view text, const std::stop_token& cancel = {}) const;
};

/// A family of hashed text features. checkpoints/FORMAT.md defines them byte by byte.
struct LexicalFeatures {
  enum class Kind : std::uint8_t { kWords, kCharacters };
  Kind kind = Kind::kWords;
  std::uint32_t min_n = 1;  ///< shortest n-gram
  std::uint32_t max_n = 1;  ///< longest n-gram, ≤ 8
  float weight = 1;         ///< of every feature of the family, > 0

  friend bool operator==(const LexicalFeatures&, const LexicalFeatures&) = default;
};

/// Settings of the lexical encoder, kept in a checkpoint's config.json under "encoder".
struct LexicalEncoderSpec {
  std::uint32_t dimension = 1024;                               ///< ≤ 1,048,576
  std::uint64_t seed = 0;                                       ///< mixed into every feature's hash
  std::vector<LexicalFeatures> features = {LexicalFeatures{}};  ///< 1 to 8 families
  bool fold_digits =
      false;  ///< replaces every digit 0 to 9 by 0, so that only the shape of numbers matters
  bool square_root =
      false;  ///< replaces sums by their signed square roots, so that repetition counts less
  bool has_idf = false;  ///< the checkpoint has one IDF weight for each dimension
  /// Names of the topics that the encoder recognises, such as the benchmarks' subjects: none, or 2
  /// to 1,024. The share of each follows the hashed features.
  std::vector<std::string> topics = {};

  /// Length of an embedding: the hashed features, then the topics.
  std::size_t embedding_dimension() const { return dimension + topics.size(); }

  friend bool operator==(const LexicalEncoderSpec&, const LexicalEncoderSpec&) = default;
};

/// The lexical encoder's topic recogniser: a linear score for each topic, learned from texts of
/// known topics. A topic's share is the square of its score, 0 if that is negative, divided by the
/// sum over all topics.
struct TopicScores {
  std::vector<float> weights = {};     ///< topics × dimension, row after row
  std::vector<float> intercepts = {};  ///< one for each topic

  friend bool operator==(const TopicScores&, const TopicScores&) = default;
};

/// Learned parameters of the lexical encoder, kept in a checkpoint's model.safetensors.
struct LexicalEncoderTensors {
  std::vector<float> idf = {};  ///< one weight ≥ 0 for each hashed dimension if spec.has_idf
  TopicScores topics = {};      ///< of spec.topics

  friend bool operator==(const LexicalEncoderTensors&, const LexicalEncoderTensors&) = default;
};

/// Settings of a task encoder's wordpiece vectors.
struct WordpieceSpec {
  std::uint32_t pieces = 0;     ///< size of the vocabulary, 1 to 1,048,576
  std::uint32_t dimension = 0;  ///< of a vector, 1 to 4,096
  std::uint32_t bytes = 0;      ///< length of WordpieceVectors::vocabulary
  float weight = 1;  ///< length of a text's vector, > 0; that of its hashed features is 1

  friend bool operator==(const WordpieceSpec&, const WordpieceSpec&) = default;
};

/// A vocabulary of wordpieces with one vector for each, which represents its meaning. A text is
/// split as by the uncased BERT tokenizer (specified in checkpoints/FORMAT.md), and its vector is
/// the mean over its pieces.
struct WordpieceVectors {
  /// The pieces in the order of their numbers, in UTF-8, each followed by a line feed. A piece that
  /// continues a word begins with "##". One piece is "[UNK]", which replaces unknown words.
  std::vector<std::uint8_t> vocabulary = {};
  std::vector<std::int8_t> vectors = {};  ///< pieces × dimension, row after row
  std::vector<float> scales = {};         ///< one for each piece; its row is multiplied by it

  friend bool operator==(const WordpieceVectors&, const WordpieceVectors&) = default;
};

/// Settings of the task encoder. The embedding is a distribution over kinds of tasks, with one more
/// element for "none of these"; elements are ≥ 0 and sum to 1.
struct TaskEncoderSpec {
  /// Hashed features of the text. Must have neither IDF weights nor topics.
  LexicalEncoderSpec features = {};
  /// Wordpiece vectors, used in addition to the hashed features; empty: none.
  std::optional<WordpieceSpec> wordpieces = {};
  std::vector<std::string> tasks = {};  ///< 2 to 1,024 names, all different
  /// The share of "none of these" is 1 / (1 + exp(−(novelty_intercept + novelty_coverage·(1 − c) +
  /// novelty_certainty·(1 − p)))), where c is the fraction of the text's squared feature norm that
  /// occurs in the training texts, and p the largest probability of a task.
  double novelty_intercept = -3;
  double novelty_coverage = 0;
  double novelty_certainty = 0;

  /// Inputs of the scores: the slots of the hashed features, then the elements of a vector.
  std::size_t input_dimension() const {
    return features.dimension + (wordpieces ? wordpieces->dimension : 0);
  }
  /// Length of an embedding: the tasks in order, then "none of these".
  std::size_t embedding_dimension() const { return tasks.size() + 1; }

  friend bool operator==(const TaskEncoderSpec&, const TaskEncoderSpec&) = default;
};

/// Learned parameters of the task encoder, kept in a checkpoint's model.safetensors: a linear score
/// for each task. The softmax of the scores gives the probabilities of the tasks.
struct TaskEncoderTensors {
  /// input_dimension() × tasks, row after row. If a slot's row is all zeros, the feature occurs in
  /// no training text.
  std::vector<float> weights = {};
  std::vector<float> intercepts = {};  ///< one for each task
  WordpieceVectors wordpieces = {};    ///< of spec.wordpieces

  friend bool operator==(const TaskEncoderTensors&, const TaskEncoderTensors&) = default;
};

/// Settings and parameters of a checkpoint's encoder: one alternative for each kind, in the same
/// order.
using EncoderSpec = std::variant<LexicalEncoderSpec, TaskEncoderSpec>;
using EncoderTensors = std::variant<LexicalEncoderTensors, TaskEncoderTensors>;

/// Length of the encoder's embeddings.
R2ROUTER_EXPORT std::size_t embedding_dimension(const EncoderSpec& spec);

/// The encoder of a checkpoint. `tensors` must be of the same kind as `spec`. Throws
/// Error(kInvalidArgument) for invalid settings or parameters.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_encoder(const EncoderSpec& spec,
                                                            EncoderTensors tensors);

/// The lexical encoder: signed feature hashing of words and character n-grams, L2-normalised, and
/// topic shares if the spec names topics. Uses no model and no server. Time is linear in the length
/// of the text. Results are identical to the bit on every platform. Any byte string is accepted;
/// checkpoints/FORMAT.md defines the treatment of invalid UTF-8. `idf`: spec.dimension weights ≥ 0
/// if spec.has_idf, else empty. `topics`: finite scores of spec.topics. Throws
/// Error(kInvalidArgument) otherwise. Method: Weinberger et al., "Feature hashing for large scale
/// multitask learning", 2009.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_lexical_encoder(const LexicalEncoderSpec& spec,
                                                                    std::vector<float> idf = {},
                                                                    TopicScores topics = {});

/// The task encoder: recognises the kind of task of a text from its hashed features and its
/// wordpiece vectors. Uses no language model and no server. Time is linear in the length of the
/// text. Results agree between platforms within 1e-6. Any byte string is accepted. Throws
/// Error(kInvalidArgument) for settings out of range or parameters of the wrong size.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_task_encoder(const TaskEncoderSpec& spec,
                                                                 TaskEncoderTensors tensors);

/// Returns precomputed embeddings: texts[i] has the row vectors[i·dimension … (i+1)·dimension).
/// embed() throws Error(kNotFound) for a text that is not in the table. Throws
/// Error(kInvalidArgument) for inconsistent sizes, a blank text, a number that is not finite, or a
/// text with two different rows.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_precomputed_encoder(
    std::vector<std::string> texts, std::vector<float> vectors, std::size_t dimension);

/// An in-memory cache of embeddings from a server. Evicts the least recently used entries. All
/// methods are thread-safe.
class R2ROUTER_EXPORT EmbeddingCache {
 public:
  struct Stats {
    std::uint64_t hits = 0, misses = 0;
    std::size_t entries = 0;
    std::size_t bytes = 0;  ///< texts, embeddings and overhead; never above the limit
  };

  /// Holds at most `max_bytes`.
  explicit EmbeddingCache(std::size_t max_bytes);
  ~EmbeddingCache();
  EmbeddingCache(const EmbeddingCache&) = delete;
  EmbeddingCache& operator=(const EmbeddingCache&) = delete;

  /// Copies the embedding of (model, text) to `out` and returns true if it is cached with
  /// out.size() numbers.
  bool find(std::string_view model, std::string_view text, std::span<float> out);
  /// Stores a copy, which replaces an earlier one. Ignores an entry that alone exceeds the limit.
  void insert(std::string_view model, std::string_view text, std::span<const float> embedding);
  Stats stats() const;

 private:
  class Entries;
  std::unique_ptr<Entries> entries_;
};

}  // namespace r2router
