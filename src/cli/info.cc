// r2-router info: describes a checkpoint.
#include <string>

#include "r2router/checkpoint.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

struct InfoSettings {
  std::string folder;
  bool json = false;
};

}  // namespace

void add_info_command(CLI::App& app) {
  Command<InfoSettings> command(
      app, "info", "Show a checkpoint's models, prices, budgets, encoder and provenance",
      kInfoHelp);
  command.add("DIR", command->folder, "DIR",
              "Checkpoint folder, or the name of an installed one; default: default");
  command.add("--json", command->json, "Print one JSON object");
  command.runs([](const InfoSettings& settings) {
    print(settings.json ? checkpoint_json(settings.folder, print_warnings()) + '\n'
                        : checkpoint_text(settings.folder, print_warnings()));
  });
}

}  // namespace r2router::cli
