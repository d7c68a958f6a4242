// What training records about its data.
#pragma once

#include <span>

#include "r2router/outcomes.h"

#include "base/json_writer.h"

namespace r2router::train {

/// The member "data": the files that outcomes were read from.
inline void write_sources(ObjectWriter& object, std::span<const DataSource> sources) {
  object.list("data", sources, [](ObjectWriter& entry, const DataSource& source) {
    entry.text("file", source.file);
    entry.text("sha256", source.sha256);
  });
}

}  // namespace r2router::train
