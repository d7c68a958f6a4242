#include <functional>
#include <memory>
#include <string>
#include <utility>

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

}  // namespace

std::unique_ptr<QuerySource> open_text_lines(const std::string& path,
                                             const SourceOptions& options) {
  return std::make_unique<LineSource>(path, options, LineSource::Format::kText);
}

std::unique_ptr<QuerySource> open_json_lines(const std::string& path,
                                             const SourceOptions& options) {
  return std::make_unique<LineSource>(path, options, LineSource::Format::kJson);
}

}  // namespace r2router
