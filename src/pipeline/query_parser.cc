#include "pipeline/query_parser.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/error.h"
#include "r2router/policy.h"

#include "base/unicode.h"
#include "pipeline/query_line.h"

namespace r2router::internal {
namespace {

Error too_long(const Error::Where& where) {
  return Error(ErrorCode::kBadData,
               "the line is longer than " + std::to_string(LineReader::kMaxLine >> 20) +
                   " MiB, the most that is read",
               where);
}

}  // namespace

QueryItem QueryParser::text(const LineReader::Line& line, const std::string& file) const {
  QueryItem item{.query = {.size = options_.size}, .options = options_.options};
  if (line.number > 0) item.line = line.number;
  std::size_t bad = 0;
  if (line.too_long) {
    item.error = too_long({.file = file, .line = item.line});
  } else if (!is_utf8(line.text, &bad)) {
    item.error =
        Error(ErrorCode::kBadData, "the text is not UTF-8: convert it, for example with iconv",
              {.file = file, .byte_offset = line.offset + bad, .line = item.line});
  } else {
    item.query.text = line.text;
  }
  return item;
}

QueryItem QueryParser::json(const LineReader::Line& line) {
  QueryItem item{.query = {.size = options_.size}, .options = options_.options};
  item.line = line.number;
  const auto refuse = [&](const std::string& message) {
    item.error = Error(ErrorCode::kBadData, message);
  };
  if (line.too_long) {
    item.error = too_long({});
    return item;
  }
  QueryLine parsed = parse_query_line(line.text);
  item.id = std::move(parsed.id);
  if (parsed.error.empty() && options_.needs_text && !parsed.query) {
    parsed.error = "an embedding cannot be answered: expected \"query\", the text";
  }
  if (parsed.error.empty() && parsed.embedding && parsed.embedding->empty()) {
    parsed.error = "the embedding has 0 numbers: expected the embedding of a text";
  }
  if (!parsed.error.empty()) {
    refuse(parsed.error);
    return item;
  }
  if (parsed.query) item.query.text = *std::move(parsed.query);
  if (parsed.embedding) item.query.embedding = *std::move(parsed.embedding);
  QuerySize& size = item.query.size;
  if (parsed.input_tokens) size.input_tokens = parsed.input_tokens;
  if (parsed.max_input_tokens) size.max_input_tokens = parsed.max_input_tokens;
  if (parsed.images) size.images = *parsed.images;
  if (parsed.requirements) size.requirements = *parsed.requirements;
  if (parsed.explain) item.options.explain = *parsed.explain;
  item.all_options = parsed.all_options;
  if (parsed.all_options.value_or(false)) item.options.rank = true;
  Policy& policy = item.options.policy;
  try {
    if (parsed.policy) policy = merge(policy, named_policy(*parsed.policy));
    policy = merge(policy, parsed.settings);
  } catch (const Error& error) {
    refuse(std::string("policy: ") + error.what());
  }
  return item;
}

const Policy& QueryParser::named_policy(const std::string& policy) {
  const auto known = policies_.find(policy);
  if (known != policies_.end()) return known->second;
  return policies_.emplace(policy, load_policy(find_policy(policy, options_.checkpoint_folder)))
      .first->second;
}

}  // namespace r2router::internal
