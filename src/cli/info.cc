// r2-router info: describes a checkpoint.
#include <string>

#include "r2router/checkpoint.h"
#include "r2router/router.h"

#include "cli/command.h"

namespace r2router::cli {
namespace {

constexpr const char* kInfoFooter = R"(Examples:
  r2-router info
  r2-router info my-router
  r2-router info --json | python3 -m json.tool)";

struct InfoSettings {
  std::string folder;
  bool json = false;
};

void info(const InfoSettings& settings) {
  const std::string folder =
      settings.folder.empty() ? Router::default_checkpoint_path() : settings.folder;
  print(settings.json ? checkpoint_json(folder, print_warnings()) + '\n'
                      : checkpoint_text(folder, print_warnings()));
}

}  // namespace

void add_info_command(CLI::App& app) {
  Command<InfoSettings> command(
      app, "info", "Show a checkpoint's models, prices, budgets, encoder and provenance",
      kInfoFooter);
  command.add("DIR", command->folder, "DIR",
              "Checkpoint folder; default: the one installed with r2-router");
  command.add("--json", command->json, "Print one JSON object");
  command.runs(info);
}

}  // namespace r2router::cli
