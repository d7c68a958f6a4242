#include "cli/load_router.h"

#include <utility>

#include "r2router/outcomes.h"

#include "cli/output.h"

namespace r2router::cli {

std::string checkpoint_folder(const std::string& checkpoint_dir) {
  return checkpoint_dir.empty() ? Router::default_checkpoint_path() : checkpoint_dir;
}

Router load_router(const std::string& checkpoint_dir, const std::string& pool,
                   const ServerSettings& servers, const std::string& kernel) {
  const LogCallback log = print_warnings();
  Checkpoint checkpoint = load_checkpoint(checkpoint_folder(checkpoint_dir), log);
  if (!pool.empty()) apply_pool(checkpoint.config, read_pool(pool), log);
  auto embedder = make_embedder(servers, checkpoint.config);
  return Router(std::move(checkpoint),
                {.kernel = kernel, .embedder = std::move(embedder), .log = log});
}

}  // namespace r2router::cli
