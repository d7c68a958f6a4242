// From a line of input to a query.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "r2router/pipeline.h"

#include "pipeline/line_reader.h"

namespace r2router::internal {

/// Keeps the policies that lines have named. A line that is wrong gives QueryItem::error.
class QueryParser {
 public:
  explicit QueryParser(SourceOptions options) : options_(std::move(options)) {}

  /// `file` is for messages. The number is 0 for a text that is not a line of a file.
  QueryItem text(const LineReader::Line& line, const std::string& file) const;
  QueryItem json(const LineReader::Line& line);

 private:
  const Policy& named_policy(const std::string& policy);

  SourceOptions options_;
  std::map<std::string, Policy> policies_;
};

}  // namespace r2router::internal
