#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>

#include "r2router/encoder.h"
#include "r2router/error.h"

#include "base/unicode.h"
#include "encode/arguments.h"

namespace r2router {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "precomputed embeddings: " + message);
}

/// A quoted prefix of a text for messages, cut between characters.
std::string quote(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::size_t end = 0;
  while (end < text.size() && end < kShown) decode_utf8(text, end);
  return '"' + std::string(text.substr(0, end)) + (end < text.size() ? "…\"" : "\"");
}

class PrecomputedEncoder final : public Encoder {
 public:
  PrecomputedEncoder(std::vector<std::string> texts, std::vector<float> vectors,
                     std::size_t dimension)
      : texts_(std::move(texts)), vectors_(std::move(vectors)), dimension_(dimension) {
    if (dimension == 0) refuse("the dimension is 0, expected a positive number");
    if (vectors_.size() % dimension != 0 || vectors_.size() / dimension != texts_.size()) {
      refuse("there are " + std::to_string(vectors_.size()) + " numbers for " +
             std::to_string(texts_.size()) + " texts, expected " + std::to_string(dimension) +
             " (the dimension) for each text");
    }
    rows_.reserve(texts_.size());
    for (std::size_t i = 0; i < texts_.size(); ++i) add(i);
  }

  std::size_t dimension() const override { return dimension_; }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    internal::check_embed_arguments(texts, out, dimension_);
    std::vector<std::size_t> found(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto row = rows_.find(texts[i]);
      if (row == rows_.end()) {
        throw Error(ErrorCode::kNotFound, missing("texts[" + std::to_string(i) + "], ", texts[i]));
      }
      found[i] = row->second;
    }
    for (std::size_t i = 0; i < texts.size(); ++i) copy(found[i], i, out);
  }

  std::vector<Rejected> embed_each(std::span<const std::string_view> texts, std::span<float> out,
                                   const std::stop_token&) const override {
    internal::check_embed_arguments(texts, out, dimension_);
    std::vector<Rejected> rejected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (const auto row = rows_.find(texts[i]); row != rows_.end()) {
        copy(row->second, i, out);
      } else {
        rejected.push_back({i, {.code = ErrorCode::kNotFound, .message = missing("", texts[i])}});
      }
    }
    return rejected;
  }

 private:
  std::span<const float> row(std::size_t i) const {
    return std::span(vectors_).subspan(i * dimension_, dimension_);
  }

  void copy(std::size_t found, std::size_t i, std::span<float> out) const {
    std::ranges::copy(row(found), out.begin() + static_cast<std::ptrdiff_t>(i * dimension_));
  }

  /// `place`: that of the text among several.
  std::string missing(const std::string& place, std::string_view text) const {
    return "there is no precomputed embedding for " + place + quote(text) + ", among " +
           std::to_string(texts_.size()) + " texts: a text must agree with its entry byte for byte";
  }

  void add(std::size_t i) {
    const std::string name = "texts[" + std::to_string(i) + "]";
    if (internal::is_blank(texts_[i])) {
      refuse(name + " is empty or all white space, which has no embedding: remove it");
    }
    for (std::size_t k = 0; k < dimension_; ++k) {
      if (!std::isfinite(row(i)[k])) {
        refuse("element " + std::to_string(k) + " of the row of " + name + ", " + quote(texts_[i]) +
               ", is " + std::to_string(row(i)[k]) + ", expected a finite number");
      }
    }
    const auto [entry, is_new] = rows_.try_emplace(texts_[i], i);
    if (!is_new && !std::ranges::equal(row(entry->second), row(i))) {
      refuse("texts[" + std::to_string(entry->second) + "] and " + name + " are the same, " +
             quote(texts_[i]) + ", but their rows differ: keep one of them");
    }
  }

  const std::vector<std::string> texts_;
  const std::vector<float> vectors_;
  const std::size_t dimension_;
  std::unordered_map<std::string_view, std::size_t> rows_;  // keys are views of texts_
};

}  // namespace

std::shared_ptr<const Encoder> make_precomputed_encoder(std::vector<std::string> texts,
                                                        std::vector<float> vectors,
                                                        std::size_t dimension) {
  return std::make_shared<PrecomputedEncoder>(std::move(texts), std::move(vectors), dimension);
}

}  // namespace r2router
