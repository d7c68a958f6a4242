// A language model as an encoder, by llama.cpp.
//
// The last layer of a language model is followed by a product with one row for each word of its
// vocabulary. llama.cpp computes and keeps that product for every token whose embedding is asked
// for: 600 kB for each token of Qwen3. Only the last token of a text is needed, so texts are read
// in two steps. The first reads all tokens but the last, without results; the second reads the last
// tokens of a group of texts. Weights are read from memory once for a group, which is most of the
// time for short texts.
//
// llama.cpp keeps what it has read of a text in a context, which one thread at a time may use. A
// call takes a context from those that are free, or makes one, and returns it. Its threads wait for
// each other by spinning, hundreds of times for a text, so it slows down a lot if there are more
// threads than CPUs: a call waits until there is room for its threads.
#include "r2router/llama_encoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <stop_token>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <ggml-backend.h>
#include <llama.h>
#include <unistd.h>

#include "r2router/error.h"

#include "base/fork_gate.h"
#include "encode/arguments.h"

namespace r2router {
namespace {

/// Of a group of texts that are read together. A longer text is read alone.
constexpr std::size_t kMostTokens = 512;
constexpr std::size_t kMostTexts = 32;

struct Free {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
};

/// The last error of llama.cpp on this thread.
thread_local std::string last_error;

void keep_error(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR) return;
  last_error = text;
  while (last_error.ends_with('\n')) last_error.pop_back();
}

void start_llama() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(keep_error, nullptr);
    ggml_backend_load_all();
    llama_backend_init();
  });
}

using Tokens = std::vector<llama_token>;

/// Tokens to read, with what llama.cpp stores about each.
class Batch {
 public:
  void add(llama_token token, std::size_t position, std::size_t text, bool result) {
    tokens_.push_back(token);
    positions_.push_back(static_cast<llama_pos>(position));
    texts_.push_back(static_cast<llama_seq_id>(text));
    results_.push_back(result ? 1 : 0);
  }

  /// The status of llama_decode().
  int read(llama_context& context) {
    if (tokens_.empty()) return 0;
    std::vector<std::int32_t> counts(tokens_.size(), 1);
    std::vector<llama_seq_id*> texts;
    for (llama_seq_id& text : texts_) texts.push_back(&text);
    llama_batch batch{};
    batch.n_tokens = static_cast<std::int32_t>(tokens_.size());
    batch.token = tokens_.data();
    batch.pos = positions_.data();
    batch.n_seq_id = counts.data();
    batch.seq_id = texts.data();
    batch.logits = results_.data();
    return llama_decode(&context, batch);
  }

 private:
  Tokens tokens_;
  std::vector<llama_pos> positions_;
  std::vector<llama_seq_id> texts_;
  std::vector<std::int8_t> results_;
};

/// What reads one group of texts at a time.
class Context {
 public:
  Context(const std::string& file, llama_model& model, std::uint32_t threads)
      : file_(file), model_(model), threads_(threads) {}

  /// Writes the embedding of each text, not normalised. Returns false if stopped.
  bool read(std::span<const Tokens* const> texts, std::span<const std::span<float>> rows,
            const std::stop_token& cancel) {
    std::size_t tokens = 0;
    for (const Tokens* text : texts) tokens += text->size();
    make_room(tokens);
    llama_context& context = *context_;
    const auto stopped = [](void* token) {
      return static_cast<const std::stop_token*>(token)->stop_requested();
    };
    std::stop_token token = cancel;
    llama_set_abort_callback(&context, stopped, &token);
    Batch heads, ends;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t last = texts[i]->size() - 1;
      for (std::size_t k = 0; k < last; ++k) heads.add((*texts[i])[k], k, i, false);
      ends.add((*texts[i])[last], last, i, true);
    }
    llama_memory_clear(llama_get_memory(&context), true);
    llama_set_embeddings(&context, false);
    int status = heads.read(context);
    if (status == 0) {
      llama_set_embeddings(&context, true);
      status = ends.read(context);
    }
    llama_set_abort_callback(&context, nullptr, nullptr);
    if (cancel.stop_requested()) return false;
    if (status != 0)
      fail("llama.cpp failed to run the model (llama_decode: " + std::to_string(status) + ")");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const float* row = llama_get_embeddings_seq(&context, static_cast<llama_seq_id>(i));
      if (row == nullptr) fail("llama.cpp returned no embedding");
      std::copy_n(row, rows[i].size(), rows[i].begin());
    }
    return true;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kUnsupported, message + ": " + last_error, {.file = file_});
  }

  void make_room(std::size_t tokens) {
    if (context_ && llama_n_ctx(context_.get()) >= tokens) return;
    context_.reset();
    llama_context_params settings = llama_context_default_params();
    settings.n_ctx = static_cast<std::uint32_t>(std::bit_ceil(std::max(tokens, kMostTokens)));
    settings.n_batch = settings.n_ctx;
    settings.n_ubatch = kMostTokens;
    settings.n_seq_max = kMostTexts;
    settings.kv_unified = true;
    settings.n_threads = settings.n_threads_batch = static_cast<std::int32_t>(threads_);
    settings.embeddings = true;
    settings.pooling_type = LLAMA_POOLING_TYPE_LAST;
    last_error.clear();
    context_.reset(llama_init_from_model(&model_, settings));
    if (!context_) fail("llama.cpp has no memory for " + std::to_string(tokens) + " tokens");
  }

  const std::string& file_;
  llama_model& model_;
  const std::uint32_t threads_;
  std::unique_ptr<llama_context, Free> context_;
};

class LlamaEncoder final : public Encoder {
 public:
  LlamaEncoder(const std::string& path, const LlamaEncoderOptions& options)
      : file_(path), truncate_(options.truncate) {
    check_file();
    start_llama();
    last_error.clear();
    model_.reset(llama_model_load_from_file(path.c_str(), llama_model_default_params()));
    if (!model_) {
      refuse(ErrorCode::kBadCheckpoint, "llama.cpp cannot load this model (" + last_error +
                                            "): the file is damaged, or needs a newer llama.cpp");
    }
    check_kind();
    vocabulary_ = llama_model_get_vocab(model_.get());
    if (llama_vocab_type(vocabulary_) == LLAMA_VOCAB_TYPE_NONE) {
      refuse(ErrorCode::kUnsupported, "the model has no tokenizer: convert it with one");
    }
    appended_ = llama_vocab_get_add_eos(vocabulary_) ? 1 : 0;
    dimension_ = static_cast<std::size_t>(llama_model_n_embd(model_.get()));
    const auto context = static_cast<std::uint32_t>(llama_model_n_ctx_train(model_.get()));
    if (options.max_tokens > context) {
      throw Error(ErrorCode::kInvalidArgument,
                  "max_tokens is " + std::to_string(options.max_tokens) + ", expected 1 to " +
                      std::to_string(context) + ", the model's context, or 0 for that");
    }
    max_tokens_ = options.max_tokens == 0 ? context : options.max_tokens;
    threads_ =
        options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  }

  std::size_t dimension() const override { return dimension_; }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token& cancel) const override {
    internal::check_embed_arguments(texts, out, dimension_);
    const std::vector<Rejected> rejected = embed_accepted(texts, out, cancel);
    if (rejected.empty()) return;
    throw Error(rejected[0].failure.code,
                "texts[" + std::to_string(rejected[0].text) + "]: " + rejected[0].failure.message);
  }

  std::vector<Rejected> embed_each(std::span<const std::string_view> texts, std::span<float> out,
                                   const std::stop_token& cancel) const override {
    internal::check_embed_arguments(texts, out, dimension_);
    return embed_accepted(texts, out, cancel);
  }

 private:
  [[noreturn]] void refuse(ErrorCode code, const std::string& message) const {
    throw Error(code, message, {.file = file_});
  }

  void check_file() const {
    if (!std::filesystem::is_regular_file(file_)) {
      refuse(ErrorCode::kNotFound, "there is no such file, expected a model in the GGUF format");
    }
    std::array<char, 4> magic{};
    std::ifstream(file_, std::ios::binary).read(magic.data(), magic.size());
    if (std::string_view(magic.data(), magic.size()) != "GGUF") {
      refuse(ErrorCode::kBadCheckpoint,
             "the file does not begin with GGUF, expected a model in that format");
    }
  }

  std::string metadata(const std::string& key) const {
    std::array<char, 256> value{};
    llama_model_meta_val_str(model_.get(), key.c_str(), value.data(), value.size());
    return value.data();
  }

  void check_kind() const {
    const std::string architecture = metadata("general.architecture");
    const std::string pooling = metadata(architecture + ".pooling_type");
    if (metadata(architecture + ".attention.causal") == "false") {
      refuse(ErrorCode::kUnsupported, "a model that reads in both directions (" + architecture +
                                          "), expected one that reads from left to right");
    }
    if (!pooling.empty() && pooling != std::to_string(LLAMA_POOLING_TYPE_NONE) &&
        pooling != std::to_string(LLAMA_POOLING_TYPE_LAST)) {
      refuse(ErrorCode::kUnsupported, architecture + ".pooling_type is " + pooling +
                                          ", expected 3: an embedding is that of the last token");
    }
  }

  Tokens tokenize(std::string_view text) const {
    Tokens tokens(text.size() + 8);
    const auto run = [&] {
      // Names of special tokens in a text are read as such, as by other servers.
      return llama_tokenize(vocabulary_, text.data(), static_cast<std::int32_t>(text.size()),
                            tokens.data(), static_cast<std::int32_t>(tokens.size()), true, true);
    };
    std::int32_t count = run();
    if (count < 0) {
      tokens.resize(static_cast<std::size_t>(-count));
      count = run();
    }
    tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
    return tokens;
  }

  /// Why a text of so many tokens cannot be embedded.
  std::optional<Failure> failure_of(std::size_t tokens) const {
    if (tokens == 0) {
      return Failure{.code = ErrorCode::kInvalidArgument,
                     .message = "the text has no tokens, expected a text to embed"};
    }
    if (tokens > max_tokens_ && !truncate_) {
      return Failure{.code = ErrorCode::kTooLong,
                     .message = "the text has " + std::to_string(tokens) +
                                " tokens, expected at most " + std::to_string(max_tokens_) +
                                ": shorten it, or set LlamaEncoderOptions::truncate"};
    }
    return std::nullopt;
  }

  void truncate(Tokens& tokens) const {
    if (tokens.size() <= max_tokens_) return;
    const std::size_t kept = std::min<std::size_t>(appended_, max_tokens_);
    std::copy(tokens.end() - static_cast<std::ptrdiff_t>(kept), tokens.end(),
              tokens.begin() + static_cast<std::ptrdiff_t>(max_tokens_ - kept));
    tokens.resize(max_tokens_);
  }

  std::vector<Rejected> embed_accepted(std::span<const std::string_view> texts,
                                       std::span<float> out, const std::stop_token& cancel) const {
    std::vector<Rejected> rejected;
    std::vector<Tokens> tokens;
    std::vector<std::size_t> accepted;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      check_cancelled(cancel);
      tokens.push_back(tokenize(texts[i]));
      if (auto failure = failure_of(tokens[i].size())) {
        rejected.push_back({i, *std::move(failure)});
      } else {
        truncate(tokens[i]);
        accepted.push_back(i);
      }
    }
    const Lease lease(*this, cancel);
    for (std::size_t begin = 0; begin < accepted.size();) {
      std::vector<const Tokens*> group;
      std::vector<std::span<float>> rows;
      std::size_t size = 0;
      for (; begin < accepted.size() && group.size() < kMostTexts; ++begin) {
        const Tokens& next = tokens[accepted[begin]];
        if (!group.empty() && size + next.size() > kMostTokens) break;
        size += next.size();
        group.push_back(&next);
        rows.push_back(out.subspan(accepted[begin] * dimension_, dimension_));
      }
      if (!lease.context().read(group, rows, cancel)) check_cancelled(cancel);
      for (const std::span<float> row : rows) normalise(row);
    }
    return rejected;
  }

  static void check_cancelled(const std::stop_token& cancel) {
    if (cancel.stop_requested()) {
      throw Error(ErrorCode::kCancelled, "the embedding was cancelled");
    }
  }

  void normalise(std::span<float> row) const {
    double sum = 0;
    for (const float x : row) sum += static_cast<double>(x) * x;
    if (!std::isfinite(sum) || sum == 0) {
      refuse(ErrorCode::kBadCheckpoint,
             "the model's embedding is not a finite vector other than 0: check the file");
    }
    const double length = std::sqrt(sum);
    for (float& x : row) x = static_cast<float>(x / length);
  }

  /// A context that is taken for a call.
  class Lease {
   public:
    Lease(const LlamaEncoder& encoder, const std::stop_token& cancel) : encoder_(encoder) {
      while (!(context_ = encoder.take())) {
        check_cancelled(cancel);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    ~Lease() { encoder_.give_back(std::move(context_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Context& context() const { return *context_; }

   private:
    const LlamaEncoder& encoder_;
    std::unique_ptr<Context> context_;
  };

  /// Null if the calls that run use all CPUs.
  std::unique_ptr<Context> take() const {
    const std::shared_lock behind(internal::fork_gate);
    const std::lock_guard lock(mutex_);
    if (const pid_t process = getpid(); process != process_) {
      process_ = process;
      running_ = 0;  // the threads of the parent do not run here
    }
    if (running_ == most_running_) return nullptr;
    std::unique_ptr<Context> context;
    if (free_.empty()) {
      context = std::make_unique<Context>(file_, *model_, threads_);
    } else {
      context = std::move(free_.back());
      free_.pop_back();
    }
    ++running_;
    return context;
  }

  void give_back(std::unique_ptr<Context> context) const {
    const std::shared_lock behind(internal::fork_gate);
    const std::lock_guard lock(mutex_);
    --running_;
    free_.push_back(std::move(context));
  }

  const std::string file_;
  const bool truncate_;
  std::unique_ptr<llama_model, Free> model_;
  const llama_vocab* vocabulary_ = nullptr;
  std::size_t appended_ = 0;  ///< tokens that the tokenizer appends to a text
  std::size_t dimension_ = 0;
  std::size_t max_tokens_ = 0;
  std::uint32_t threads_ = 1;
  std::uint32_t most_running_ = 1;  ///< calls at once

  mutable std::mutex mutex_;
  mutable pid_t process_ = getpid();
  mutable std::uint32_t running_ = 0;
  mutable std::vector<std::unique_ptr<Context>> free_;  // of the model, so freed first
};

}  // namespace

std::shared_ptr<const Encoder> make_llama_encoder(const std::string& path,
                                                  const LlamaEncoderOptions& options) {
  return std::make_shared<LlamaEncoder>(path, options);
}

}  // namespace r2router
