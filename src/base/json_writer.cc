#include "base/json_writer.h"

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
  raw(key, nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace r2router
