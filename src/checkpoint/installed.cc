// Checkpoints by name: those that are installed with the library, in share/r2router/checkpoints.
// They are found relative to the file that holds this code, so that an installation can be moved.
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <dlfcn.h>

#include "r2router/checkpoint.h"

#include "checkpoint/native.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultName = "default";

/// Folders that may hold installed checkpoints, the best one first.
std::vector<fs::path> find_places() {
  std::vector<fs::path> places;
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&checkpoint_folder), &self) != 0 &&
      self.dli_fname != nullptr) {
    // A shared library in lib/, or a program in bin/.
    std::error_code ignored;
    fs::path file = fs::canonical(self.dli_fname, ignored);
    // A program started through PATH may be known here by its bare name only.
    if (ignored) file = fs::canonical("/proc/self/exe", ignored);
    for (fs::path up = file.parent_path().parent_path(); up.has_relative_path();
         up = up.parent_path()) {
      places.push_back(up / "share/r2router/checkpoints");
    }
  }
#ifdef R2ROUTER_SOURCE_CHECKPOINTS
  places.emplace_back(R2ROUTER_SOURCE_CHECKPOINTS);
#endif
  return places;
}

bool is_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / io::kConfigName, ignored);
}

std::string names_in(const std::vector<fs::path>& places) {
  std::set<std::string> names;
  for (const fs::path& place : places) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(place, ignored)) {
      if (is_checkpoint(entry.path())) names.insert(entry.path().filename().string());
    }
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "there are none" : text;
}

[[noreturn]] void fail_without_default(const std::vector<fs::path>& places) {
  std::string looked;
  for (const fs::path& place : places) {
    looked += (looked.empty() ? "" : ", ") + (place / kDefaultName).string();
  }
  throw Error(ErrorCode::kNotFound,
              "the default checkpoint was not found in " + looked +
                  ": name a checkpoint folder, or set R2ROUTER_CHECKPOINT to one");
}

}  // namespace

std::string checkpoint_folder(const std::string& name) {
  if (name.empty()) {
    const char* chosen = std::getenv("R2ROUTER_CHECKPOINT");
    if (chosen != nullptr && *chosen != '\0') return checkpoint_folder(chosen);
  }
  std::error_code ignored;  // what cannot be read is reported when it is opened
  if (fs::is_directory(name, ignored)) return name;
  const std::vector<fs::path> places = find_places();
  if (name.find('/') == std::string::npos) {
    for (const fs::path& place : places) {
      const fs::path folder = place / (name.empty() ? kDefaultName : name);
      if (is_checkpoint(folder)) return folder.string();
    }
  }
  if (name.empty()) fail_without_default(places);
  if (fs::status(name, ignored).type() != fs::file_type::not_found) return name;
  throw Error(
      ErrorCode::kNotFound,
      "found nothing here; expected a checkpoint folder, which holds config.json and either "
      "model.safetensors (native) or checkpoints/ (released), or the name of an installed "
      "checkpoint: " +
          names_in(places),
      {.file = name});
}

}  // namespace r2router
