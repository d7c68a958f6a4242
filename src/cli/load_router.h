// The router that a command works with.
#pragma once

#include <string>

#include "r2router/router.h"

#include "cli/servers.h"

namespace r2router::cli {

/// The folder for --checkpoint-dir when an embedding server is used, which needs a checkpoint
/// without an encoder. If none is given, it is the released folder in the current folder:
/// `r2_router/`, or the current folder itself. Throws Error(kNotFound) if neither is one. Otherwise
/// `checkpoint_dir`.
std::string checkpoint_for(const std::string& checkpoint_dir, const ServerSettings& servers);

/// The folder that --checkpoint-dir names; empty: the default checkpoint's. Throws what
/// Router::default_checkpoint_path() throws.
std::string checkpoint_folder(const std::string& checkpoint_dir);

/// The checkpoint in that folder, with the prices of the file `pool` unless that is empty, and with
/// the encoder that `servers` describe. Remarks are printed. Throws what load_checkpoint(),
/// read_pool() and make_encoder() throw.
Router load_router(const std::string& checkpoint_dir, const std::string& pool,
                   const ServerSettings& servers, const std::string& kernel = {});

}  // namespace r2router::cli
