// Stage 1: text -> embedding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/endpoint.h"
#include "r2router/error.h"
#include "r2router/export.h"

namespace r2router {

/// Turns text into the vector that a checkpoint's heads were trained on. Derive from it to use an
/// encoder of your own: dimension() and embed() are enough.
/// Implementations are immutable after construction; every method may be called from many threads.
class R2ROUTER_EXPORT Embedder {
 public:
  virtual ~Embedder() = default;

  /// Length of every embedding.
  virtual std::size_t dimension() const = 0;

  /// Writes the embedding of texts[i] to out[i·dimension() … (i + 1)·dimension()).
  /// Throws Error(kInvalidArgument) for a text that is empty or all white space, or an `out` of
  /// another size; nothing is written then. One that calls a server also throws what its factory
  /// says, and Error(kCancelled) within 100 ms of a stop that `cancel` asks for.
  virtual void embed(std::span<const std::string_view> texts, std::span<float> out,
                     const std::stop_token& cancel = {}) const = 0;

  /// A text that has no embedding, and why.
  struct Rejected {
    std::size_t text = 0;  ///< its place among the texts
    Failure failure = {};
  };

  /// As embed(), but a text that cannot be embedded does not fail the others: returns such texts in
  /// ascending order. Their rows of `out` are unspecified. Throws as embed() does for everything
  /// that concerns all texts. By default calls embed() and returns nothing.
  virtual std::vector<Rejected> embed_each(std::span<const std::string_view> texts,
                                           std::span<float> out,
                                           const std::stop_token& cancel = {}) const;

  /// One text; a convenience over embed().
  std::vector<float> embed_one(std::string_view text, const std::stop_token& cancel = {}) const;
};

/// A family of hashed text features. See checkpoints/FORMAT.md for their definition byte by byte.
struct LexicalFeatures {
  enum class Kind : std::uint8_t { kWords, kCharacters };
  Kind kind = Kind::kWords;
  std::uint32_t min_n = 1;  ///< shortest n-gram
  std::uint32_t max_n = 1;  ///< longest n-gram, ≤ 8
  float weight = 1;         ///< every feature of the family counts this much, > 0

  friend bool operator==(const LexicalFeatures&, const LexicalFeatures&) = default;
};

/// Settings of the lexical encoder, kept in a checkpoint's config.json under "encoder".
struct LexicalEncoderSpec {
  std::uint32_t dimension = 1024;                               ///< ≤ 1,048,576
  std::uint64_t seed = 0;                                       ///< mixed into every feature's hash
  std::vector<LexicalFeatures> features = {LexicalFeatures{}};  ///< 1 to 8 families
  bool fold_digits =
      false;  ///< every digit 0 to 9 counts as 0: numbers matter by their shape alone
  bool square_root = false;  ///< sums become their signed square roots: repetition counts for less
  bool has_idf = false;      ///< the checkpoint holds one IDF weight for each dimension
  /// Names of the topics that the encoder recognises, such as the benchmarks' subjects: none, or 2
  /// to 1,024. A text's share of each stands behind its hashed features.
  std::vector<std::string> topics = {};

  /// Length of an embedding: the hashed features, then the topics.
  std::size_t embedding_dimension() const { return dimension + topics.size(); }

  friend bool operator==(const LexicalEncoderSpec&, const LexicalEncoderSpec&) = default;
};

/// What the lexical encoder tells topics by: a linear score for each, learned from texts of known
/// topics. A topic's share is the square of its score, 0 if that is negative, divided by the sum
/// over all topics.
struct TopicScores {
  std::vector<float> weights = {};     ///< topics × dimension, row after row
  std::vector<float> intercepts = {};  ///< one for each topic

  friend bool operator==(const TopicScores&, const TopicScores&) = default;
};

/// The built-in encoder: signed feature hashing of words and character n-grams, L2-normalised; and
/// the shares of topics, if the spec names any.
/// Needs no model and no server; linear in the text's length; the same bytes give the same bits on
/// every platform. Any byte string is accepted; invalid UTF-8 is treated as defined in
/// checkpoints/FORMAT.md. `idf`: spec.dimension weights ≥ 0 if spec.has_idf, else empty. `topics`:
/// finite scores of spec.topics. Throws Error(kInvalidArgument) otherwise. Source of the method:
/// Weinberger et al., "Feature hashing for large scale multitask learning", 2009.
R2ROUTER_EXPORT std::shared_ptr<const Embedder> make_lexical_encoder(const LexicalEncoderSpec& spec,
                                                                     std::vector<float> idf = {},
                                                                     TopicScores topics = {});

/// Serves embeddings computed elsewhere: texts[i] has the row vectors[i·dimension …
/// (i+1)·dimension). A text that is not in the table is an Error(kNotFound). Sizes that disagree, a
/// text with nothing in it, a number that is not finite, or one text with two different rows, are
/// an Error(kInvalidArgument).
R2ROUTER_EXPORT std::shared_ptr<const Embedder> make_precomputed_embedder(
    std::vector<std::string> texts, std::vector<float> vectors, std::size_t dimension);

/// Embeddings that were fetched, kept in memory for as long as they fit: the least recently used go
/// first. Every method may be called from many threads.
class R2ROUTER_EXPORT EmbeddingCache {
 public:
  struct Stats {
    std::uint64_t hits = 0, misses = 0;
    std::size_t entries = 0;
    std::size_t bytes = 0;  ///< of texts, numbers and bookkeeping; never above the limit
  };

  /// Holds at most `max_bytes`.
  explicit EmbeddingCache(std::size_t max_bytes);
  ~EmbeddingCache();
  EmbeddingCache(const EmbeddingCache&) = delete;
  EmbeddingCache& operator=(const EmbeddingCache&) = delete;

  /// Copies the embedding of (model, text) to `out` and returns true, if it is there with
  /// out.size() numbers.
  bool find(std::string_view model, std::string_view text, std::span<float> out);
  /// Keeps a copy in place of an earlier one; not if it would take more than the limit by itself.
  void insert(std::string_view model, std::string_view text, std::span<const float> embedding);
  Stats stats() const;

 private:
  class Entries;
  std::unique_ptr<Entries> entries_;
};

/// Settings of an embedding server's use.
struct HttpEmbedderOptions {
  std::string model;                 ///< what the server calls it, such as "Qwen/Qwen3-0.6B"
  std::size_t dimension = 0;         ///< length of its embeddings, > 0; another length is an error
  std::size_t max_batch_texts = 64;  ///< texts in one request, > 0
  std::size_t max_batch_bytes = std::size_t{1}
                                << 20;         ///< of text in one request; a longer text goes alone
  std::size_t max_concurrency = 4;             ///< requests under way at once for one embed(), > 0
  std::shared_ptr<EmbeddingCache> cache = {};  ///< may be shared between embedders; empty: none
};

/// Asks an OpenAI-compatible server: POST {base_url}/v1/embeddings ("/v1" is not doubled). Numbers
/// come as base64 where the server can, else as decimals. Texts go out in batches, several at once,
/// each different text once; all of one embed() shares the deadline Timeouts::total.
///
/// A batch that the server refuses with 400, 413, 422 or 5xx is halved until the texts at fault are
/// found: they are too long, say, or the batch is too large. embed_each() returns those, and texts
/// whose embedding has another length, is all zero or not finite; embed() throws an error that
/// names the first. Beside retries, at most twice as many requests as texts are sent. If all of
/// several texts fail, 16 for each concurrent batch fail in a row, or there is any other failure,
/// the other batches are stopped and both throw the error.
///
/// embed() throws Error(kInvalidArgument) for a text that is not UTF-8, before anything is sent,
/// and embed_each() returns it;
/// kConnection, kUntrusted, kTimeout, kAuthentication, kCredit, kRateLimited, kServer, kRefused
/// when retries did not help; kBadResponse for an answer that cannot be read or used. `out` may be
/// partly written then. Throws Error(kInvalidArgument) for a bad endpoint or options.
R2ROUTER_EXPORT std::shared_ptr<const Embedder> make_http_embedder(
    const Endpoint& endpoint, const HttpEmbedderOptions& options);

}  // namespace r2router
