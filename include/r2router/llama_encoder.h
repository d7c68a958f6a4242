// An encoder that runs a language model in this process, by llama.cpp (library r2router::llama).
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

/// Embeds text by a language model in the GGUF format, quantised or not, such as Qwen3-0.6B: the
/// last layer at the last token, L2-normalised, as `vllm serve MODEL --runner pooling` returns it.
/// The model must be the one that the checkpoint was trained with. Texts are tokenised by the
/// file's tokenizer: a token is appended if the file says so, as for Qwen3-Embedding. Unicode is
/// not normalised, which Qwen's own tokenizer does (NFC).
///
/// embed() computes short texts in groups. It throws Error(kTooLong) for a text of more tokens than
/// the limit, and embed_each() rejects that text alone. Calls from several threads run at once as
/// long as there is a CPU for each of their threads, so by default one at a time; others wait. Each
/// has memory of its own, which is kept for later calls: 0.1 MB for each token of the longest text
/// with Qwen3-0.6B, and 50 MB at least. A child process that was forked after the first call may
/// hang in llama.cpp if that was built with OpenMP: make the encoder in the child.
///
/// Throws Error(kNotFound) if there is no such file, Error(kBadCheckpoint) for one that llama.cpp
/// cannot read, Error(kUnsupported) for a model that does not read from left to right or that pools
/// otherwise, such as BERT, and Error(kInvalidArgument) for max_tokens above the model's context.
/// llama.cpp's messages go to the process's log callback, which is one that prints: the first call
/// of this function replaces it by one that discards them. A program that wants them calls
/// llama_log_set() afterwards.
R2ROUTER_EXPORT std::shared_ptr<const Encoder> make_llama_encoder(
    const std::string& path, const LlamaEncoderOptions& options = {});

}  // namespace r2router
