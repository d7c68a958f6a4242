#include "base/json_writer.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace r2router {

void ObjectWriter::raw(std::string_view key, std::string_view json) {
  if (!first_) out_ += ", ";
  first_ = false;
  out_ += '"';
  out_ += key;
  out_ += "\": ";
  out_ += json;
}

void ObjectWriter::text(std::string_view key, std::string_view value) {
  // Names of models and such, which every decision has, need no escapes.
  if (std::ranges::all_of(value,
                          [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; })) {
    raw(key, "\"");
    out_.append(value).append("\"");
    return;
  }
  raw(key, nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace r2router
