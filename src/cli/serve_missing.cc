// r2-router serve where the gateway is not part of the program: hidden, and says how to get it.
#include "r2router/error.h"

#include "cli/command.h"

namespace r2router::cli {

void add_serve_command(CLI::App& app) {
  CLI::App* serve = app.add_subcommand("serve")->group("")->prefix_command();
  serve->set_help_flag();
  serve->callback([] {
    throw Error(ErrorCode::kUnsupported,
                "this program was built without the gateway. Install Boost 1.81, prometheus-cpp, "
                "spdlog, SQLite and OpenSSL (on Debian: apt-get install libboost1.81-dev "
                "prometheus-cpp-dev libspdlog-dev libsqlite3-dev libssl-dev), then build it again "
                "with -DR2ROUTER_BUILD_GATEWAY=ON, or the Python package with pip install "
                "--no-binary r2-router --config-settings=cmake.define.R2ROUTER_BUILD_GATEWAY=ON "
                "r2-router");
  });
}

}  // namespace r2router::cli
