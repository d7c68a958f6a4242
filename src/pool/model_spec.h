// Reading one model of a pool from JSON: a config's and a pool file's models are written alike.
#pragma once

#include <string_view>

#include "r2router/types.h"

#include "base/json.h"

namespace r2router::io {

/// The member `name` of an object "models". Throws the document's Error with a JSON pointer.
ModelSpec read_model_spec(const JsonView& field, std::string_view name);

}  // namespace r2router::io
