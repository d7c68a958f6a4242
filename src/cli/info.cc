// r2-router info: describes a checkpoint.
#include <string>

#include "r2router/checkpoint.h"

#include "cli/command.h"

namespace r2router::cli {
namespace {

constexpr const char* kInfoFooter = R"(Examples:
  r2-router info
  r2-router info r2-router
  r2-router info my-router
  r2-router info --json | python3 -m json.tool)";

struct InfoSettings {
  std::string folder;
  bool json = false;
};

void info(const InfoSettings& settings) {
  print(settings.json ? checkpoint_json(settings.folder, print_warnings()) + '\n'
                      : checkpoint_text(settings.folder, print_warnings()));
}

}  // namespace

void add_info_command(CLI::App& app) {
  Command<InfoSettings> command(
      app, "info", "Show a checkpoint's models, prices, budgets, encoder and provenance",
      kInfoFooter);
  command.add("DIR", command->folder, "DIR",
              "Checkpoint folder, or the name of an installed one; default: default");
  command.add("--json", command->json, "Print one JSON object");
  command.runs(info);
}

}  // namespace r2router::cli
