// An embedding server as stage 1.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "r2router/embedder.h"
#include "r2router/export.h"
#include "r2router/llm/endpoint.h"

namespace r2router::llm {

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
/// embed() throws Error(kInvalidArgument) for a text that is not UTF-8, before anything is sent;
/// kConnection, kUntrusted, kTimeout, kAuthentication, kCredit, kRateLimited, kServer, kRefused
/// when retries did not help; kBadResponse for an answer that cannot be read or used. `out` may be
/// partly written then. Throws Error(kInvalidArgument) for a bad endpoint or options.
R2ROUTER_EXPORT std::shared_ptr<const Embedder> make_http_embedder(
    const Endpoint& endpoint, const HttpEmbedderOptions& options);

}  // namespace r2router::llm
