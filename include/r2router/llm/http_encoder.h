// Stage 1: text -> embedding, with an embedding server.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "r2router/encoder.h"
#include "r2router/export.h"
#include "r2router/llm/endpoint.h"

namespace r2router::llm {

/// How to use an embedding server.
struct HttpEncoderOptions {
  std::string model;                 ///< the server's name for it, such as "Qwen/Qwen3-0.6B"
  std::size_t dimension = 0;         ///< length of its embeddings, > 0; another length is an error
  std::size_t max_batch_texts = 64;  ///< texts in one request, > 0
  std::size_t max_batch_bytes = std::size_t{1}
                                << 20;  ///< of text in one request; a longer text is sent alone
  std::size_t max_concurrency = 4;      ///< concurrent requests of one embed(), > 0
  std::shared_ptr<EmbeddingCache> cache = {};  ///< may be shared by encoders; empty: none
};

/// Uses an OpenAI-compatible server: POST {base_url}/v1/embeddings ("/v1" is not repeated).
/// Requests numbers in base64 and also accepts decimal numbers. Sends each distinct text once, in
/// concurrent batches. All requests of one embed() share the deadline Timeouts::total.
///
/// A batch that the server rejects with 400, 413, 422 or 5xx is halved until the failing texts are
/// found: a text or the batch may be too long, for example. embed_each() returns these texts, and
/// texts whose embedding has another length, is all zero or is not finite; embed() throws an error
/// that names the first. Not counting retries, at most twice as many requests as texts are sent. If
/// all of several texts fail, if 16 texts for each concurrent batch fail in a row, or on any other
/// failure, the other batches are stopped and both functions throw the error.
///
/// embed() throws Error(kInvalidArgument) for a text that is not UTF-8, before anything is sent,
/// and embed_each() returns it. Both throw kConnection, kUntrusted, kTimeout, kAuthentication,
/// kCredit, kRateLimited, kServer or kRefused after the last retry; kBadResponse for an answer that
/// cannot be read or used. In these cases, `out` may be partly written. Throws
/// Error(kInvalidArgument) for a bad endpoint or options.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_http_encoder(const Endpoint& endpoint,
                                                                 const HttpEncoderOptions& options);

}  // namespace r2router::llm
