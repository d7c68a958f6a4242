// r2-router serve: the gateway as a program.
#include <csignal>
#include <string>

#include <sys/resource.h>

#include "r2router/error.h"
#include "r2router/gateway.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/interrupt.h"
#include "cli/router_options.h"
#include "gateway/signals.h"

namespace r2router::cli {
namespace {

struct ServeSettings : RouterSettings {
  GatewayOptions gateway = {};
  bool check = false;
};

GatewayOptions options_of(const ServeSettings& settings) {
  GatewayOptions options = settings.gateway;
  options.checkpoint_dir = settings.checkpoint_dir;
  options.pool = settings.pool;
  options.policy = settings.policy;
  options.settings = settings.given;
  options.kernel = settings.kernel;
  options.llm_api_base = settings.llm_api_base;
  options.llm_api_key = llm::Secret(settings.llm_api_key);
  options.cap_field = settings.cap_field;
  options.ca_file = settings.ca_file;
  options.timeout = settings.generate.timeout;
  options.log = print_remarks();
  return options;
}

/// As many connections as the system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void reload(Gateway& gateway) {
  try {
    gateway.reload();
    print_remark("note", "the configuration was read again");
  } catch (const Error& error) {
    print_remark("warning", std::string("the new configuration is not used: ") + error.what());
  }
}

/// Serves until a signal ends it. Returns the exit code.
int serve(const GatewayOptions& options) {
  gateway::Signals signals{SIGTERM, SIGINT, SIGHUP};
  raise_descriptor_limit();
  Gateway gateway(options);
  gateway.start();
  print_remark("note", "listening on " + gateway.url());
  int signal = 0;
  while ((signal = signals.next()) == SIGHUP) reload(gateway);
  print_remark("note", "ending, once the requests in progress are answered");
  signals.restore();  // a second signal ends the program at once
  gateway.stop();
  return signal == SIGINT ? Interrupt::kExitCode : 0;
}

}  // namespace

void add_serve_command(CLI::App& app) {
  Command<ServeSettings> command(app, "serve", "Serve the APIs of OpenAI and Anthropic over HTTP",
                                 kServeHelp);
  Options& add = command.add;
  add("--config", command->gateway.config_file, "FILE.json",
      "Configuration of the gateway (config/gateway.schema.json); options override it");
  add("--check", command->check, "Only check the configuration");
  add("--listen", command->gateway.listen, "HOST:PORT",
      "Address to listen on; default: 127.0.0.1:4000. Port 0 is any free one");
  add("--allow-anonymous", command->gateway.allow_anonymous,
      "Serve without keys on an address that other machines can reach");
  add_router_options(command.app, *command.settings);
  add_policy_options(command.app, *command.settings);
  add_endpoint_options(command.app, *command.settings);
  command.runs([](const ServeSettings& settings) {
    const GatewayOptions options = options_of(settings);
    if (!settings.check) throw CLI::RuntimeError(serve(options));
    Gateway::check(options);
    print("The configuration is valid.\n");
  });
}

}  // namespace r2router::cli
