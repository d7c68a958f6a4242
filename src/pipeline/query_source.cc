#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "r2router/pipeline.h"

#include "base/unicode.h"
#include "pipeline/line_reader.h"
#include "pipeline/query_parser.h"

namespace r2router {
namespace {

using internal::LineReader;
using internal::QueryParser;

class LineSource final : public QuerySource {
 public:
  enum class Format { kText, kJson };

  LineSource(const std::string& path, const SourceOptions& options, Format format)
      : format_(format),
        parser_(options),
        lines_(
            path, [this] { (*before_wait_)(); }, options.stop) {}

  void read(const std::function<bool(QueryItem)>& take,
            const std::function<void()>& before_wait) override {
    before_wait_ = &before_wait;
    while (const auto line = lines_.next()) {
      if (!line->too_long && internal::is_blank(line->text)) continue;
      if (!take(format_ == Format::kText ? parser_.text(*line, lines_.name())
                                         : parser_.json(*line))) {
        return;
      }
    }
  }

 private:
  const Format format_;
  QueryParser parser_;
  const std::function<void()>* before_wait_ = nullptr;
  LineReader lines_;
};

class FunctionSource final : public QuerySource {
 public:
  using Take = std::function<bool(QueryItem)>;

  explicit FunctionSource(std::function<void(const Take&)> read) : read_(std::move(read)) {}
  void read(const Take& take, const std::function<void()>&) override { read_(take); }

 private:
  const std::function<void(const Take&)> read_;
};

}  // namespace

std::unique_ptr<QuerySource> make_source(
    std::function<void(const std::function<bool(QueryItem)>& take)> read) {
  return std::make_unique<FunctionSource>(std::move(read));
}

std::unique_ptr<QuerySource> open_text_lines(const std::string& path,
                                             const SourceOptions& options) {
  return std::make_unique<LineSource>(path, options, LineSource::Format::kText);
}

std::unique_ptr<QuerySource> open_json_lines(const std::string& path,
                                             const SourceOptions& options) {
  return std::make_unique<LineSource>(path, options, LineSource::Format::kJson);
}

std::unique_ptr<QuerySource> embedding_rows(
    std::variant<std::vector<float>, std::vector<double>> values, std::size_t dimension,
    const SourceOptions& options) {
  return make_source([values = std::move(values), dimension,
                      options](const std::function<bool(QueryItem)>& take) {
    std::visit(
        [&](const auto& numbers) {
          const std::size_t rows = numbers.size() / dimension;
          for (std::size_t row = 0; row < rows; ++row) {
            QueryItem item{.query = {.size = options.size}, .options = options.options, .row = row};
            item.query.embedding = std::span(numbers).subspan(row * dimension, dimension);
            if (!take(std::move(item))) return;
          }
        },
        values);
  });
}

}  // namespace r2router
