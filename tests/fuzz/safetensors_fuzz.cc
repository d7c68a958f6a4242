// Fuzzes model.safetensors: the container, then the native checkpoint in it. What is accepted
// survives being written and read again.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "r2router/checkpoint.h"

#include "core/unicode.h"
#include "io/native.h"
#include "io/safetensors.h"

namespace {

using namespace r2router;

void require(bool condition) {
  if (!condition) std::abort();
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

bool same_data(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// The configs that the seeds belong to: of version 1, and with topics.
Config config(bool has_topics) {
  Config config;
  config.format_version = has_topics ? 2 : 1;
  config.embedding_dim = 4;
  config.models = {{.name = "a"}, {.name = "b"}};
  config.encoder = LexicalEncoderSpec{.dimension = 4, .has_idf = true};
  if (has_topics) {
    config.encoder->dimension = 2;
    config.encoder->topics = {"law", "history"};
  }
  return config;
}

/// Whatever `read` gives; false if it throws the one Error that it may.
template <typename Result, typename Read>
bool accepts(Result& result, Read&& read) {
  try {
    result = read();
    return true;
  } catch (const Error& error) {
    require(error.code() == ErrorCode::kBadCheckpoint);
    require(is_utf8(error.what()));
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  io::Safetensors contents;
  if (!accepts(contents, [&] { return io::parse_safetensors(bytes, "fuzz"); })) return 0;
  const std::string file = io::write_safetensors(contents);
  const io::Safetensors again = io::parse_safetensors(bytes_of(file), "fuzz");
  require(again.metadata == contents.metadata && again.tensors.size() == contents.tensors.size());
  std::size_t data_bytes = 0;
  for (std::size_t i = 0; i < again.tensors.size(); ++i) {
    data_bytes += again.tensors[i].data.size();
    require(again.tensors[i].shape == contents.tensors[i].shape);
    require(same_data(again.tensors[i].data, contents.tensors[i].data));
  }
  require(data_bytes < size);

  for (const bool has_topics : {false, true}) {
    Checkpoint checkpoint;
    if (!accepts(checkpoint, [&] {
          Checkpoint decoded = io::decode_native(config(has_topics), bytes, "fuzz");
          validate(decoded, "fuzz");
          return decoded;
        })) {
      continue;
    }
    const std::string encoded = io::encode_native(checkpoint);
    const Checkpoint decoded = io::decode_native(config(has_topics), bytes_of(encoded), "fuzz");
    validate(decoded);
    require(decoded.heads.names == checkpoint.heads.names);
    require(decoded.heads.weights == checkpoint.heads.weights);
    require(decoded.heads.intercepts == checkpoint.heads.intercepts);
    require(decoded.idf == checkpoint.idf);
    require(decoded.topics == checkpoint.topics);
    require(decoded.spreads == checkpoint.spreads);
  }
  return 0;
}
