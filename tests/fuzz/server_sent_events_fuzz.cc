// Any bytes through the parser of event streams: however the stream is cut, the same events, and
// the same end. The first byte of the input says how it is cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "llm/http/server_sent_events.h"

namespace {

constexpr std::size_t kLimit = 200;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Outcome {
  std::vector<std::string> events;
  bool fits = true;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Feeds the stream in pieces, each as long as `next_size` says.
template <typename NextSize>
Outcome parse(std::string_view stream, NextSize next_size) {
  r2router::llm::EventParser parser(kLimit);
  Outcome outcome;
  const auto note = [&](std::string_view name, std::string_view data) {
    require(name.size() <= kLimit && data.size() <= kLimit);
    outcome.events.push_back(std::string(name) + "=" + std::string(data));
    return true;
  };
  while (!stream.empty() && outcome.fits) {
    const std::size_t size = std::min(next_size(), stream.size());
    outcome.fits = parser.feed(stream.substr(0, size), note);
    stream.remove_prefix(size);
  }
  if (outcome.fits) parser.finish(note);
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data + 1), size - 1);
  const Outcome whole = parse(stream, [&] { return stream.size(); });
  require(parse(stream, [] { return std::size_t{1}; }) == whole);
  std::uint32_t state = data[0];
  require(parse(stream, [&] {
            state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
            return std::size_t{state >> 24} % 16;  // empty pieces too
          }) == whole);
  return 0;
}
