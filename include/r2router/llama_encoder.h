// An encoder that runs a language model in this process with llama.cpp (library r2router::llama).
//
//     auto encoder = r2router::make_llama_encoder("Qwen3-0.6B-f16.gguf");
//     auto router = r2router::Router::from_pretrained("r2-router", {.encoder = encoder});
//     auto decision = router.route_text("Who wrote Faust?");
//
// The library is built with the CMake option R2ROUTER_WITH_LLAMA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "r2router/encoder.h"
#include "r2router/export.h"

namespace r2router {

/// Settings of a llama encoder for its whole life.
struct LlamaEncoderOptions {
  /// The longest text in tokens; 0: the context that the model was trained with.
  std::uint32_t max_tokens = 0;
  /// Drops the end of a longer text instead of rejecting it. A token that the model's tokenizer
  /// appends stays the last one.
  bool truncate = false;
  std::uint32_t threads = 0;  ///< that compute one call; 0: one for each CPU
};

/// Embeds text with a language model in the GGUF format, quantised or not, such as Qwen3-0.6B. An
/// embedding is the last layer at the last token, L2-normalised, as `vllm serve MODEL --runner
/// pooling` returns it. The model must be the one that the checkpoint was trained with. Texts are
/// tokenised by the file's tokenizer, which appends a token if the file specifies one, as for
/// Qwen3-Embedding. Unlike Qwen's own tokenizer, it does not normalise Unicode (NFC).
///
/// embed() computes short texts in groups. It throws Error(kTooLong) for a text of more tokens than
/// the limit, and embed_each() rejects that text alone. Calls from several threads run at the same
/// time as long as there is a CPU for each of their threads, so by default one at a time; others
/// wait. Each running call uses its own memory, which is kept for later calls: 0.1 MB for each
/// token of the longest text with Qwen3-0.6B, and at least 50 MB. A child process that was forked
/// after the first call may hang in llama.cpp if it was built with OpenMP: create the encoder in
/// the child.
///
/// Throws Error(kNotFound) if there is no such file, Error(kBadCheckpoint) for a file that
/// llama.cpp cannot read, Error(kUnsupported) for a model without causal attention or with another
/// pooling, such as BERT, and Error(kInvalidArgument) for max_tokens above the model's context.
/// llama.cpp writes messages to a log callback of the process, which prints them by default. The
/// first call of this function replaces it with one that discards them. To receive the messages,
/// call llama_log_set() afterwards.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_llama_encoder(
    const std::string& path, const LlamaEncoderOptions& options = {});

}  // namespace r2router
