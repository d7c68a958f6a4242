#include "cli/load_router.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "r2router/outcomes.h"

#include "cli/output.h"

namespace r2router::cli {

std::string checkpoint_for(const std::string& checkpoint_dir, const ServerSettings& servers) {
  const char* chosen = std::getenv("R2ROUTER_CHECKPOINT");
  if (!servers.embeds() || !checkpoint_dir.empty() || (chosen != nullptr && *chosen != '\0')) {
    return checkpoint_dir;
  }
  for (const char* folder : {"r2_router", "."}) {
    std::error_code ignored;  // what cannot be read is not there
    if (std::filesystem::is_regular_file(std::filesystem::path(folder) / "config.json", ignored) &&
        std::filesystem::is_directory(std::filesystem::path(folder) / "checkpoints", ignored)) {
      print_remark("note", "using the checkpoint in " +
                               std::filesystem::absolute(folder).lexically_normal().string());
      return folder;
    }
  }
  throw Error(ErrorCode::kNotFound,
              "--embed-url needs a checkpoint without a built-in encoder, and the default one has "
              "one: give --checkpoint-dir the released folder, the one with config.json and "
              "checkpoints/ (./r2_router and the current folder are not)");
}

std::string checkpoint_folder(const std::string& checkpoint_dir) {
  return checkpoint_dir.empty() ? Router::default_checkpoint_path() : checkpoint_dir;
}

Router load_router(const std::string& checkpoint_dir, const std::string& pool,
                   const ServerSettings& servers, const std::string& kernel) {
  const LogCallback log = print_warnings();
  Checkpoint checkpoint = load_checkpoint(checkpoint_folder(checkpoint_dir), log);
  if (!pool.empty()) apply_pool(checkpoint.config, read_pool(pool), log);
  auto encoder = make_encoder(servers, checkpoint.config);
  return Router(std::move(checkpoint),
                {.kernel = kernel, .encoder = std::move(encoder), .log = log});
}

}  // namespace r2router::cli
