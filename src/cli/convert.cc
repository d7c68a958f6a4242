// r2-router convert: writes a checkpoint of either layout in the native one.
#include <string>

#include "r2router/checkpoint.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

struct ConvertSettings {
  std::string source, destination;
};

void convert(const ConvertSettings& settings) {
  const auto& [source, destination] = settings;
  save_checkpoint(load_checkpoint(source, print_warnings()), destination);
  // Describe what is on the disk.
  print("Wrote " + destination + ".\n\n" + checkpoint_text(destination, print_warnings()));
}

}  // namespace

void add_convert_command(CLI::App& app) {
  Command<ConvertSettings> command(
      app, "convert", "Write a released checkpoint folder as a native one", kConvertHelp);
  command.add("SRC", command->source, "DIR", "Checkpoint folder to read, in either layout")
      ->required();
  command.add("DST", command->destination, "DIR", "Folder to write, new or empty")->required();
  command.runs(convert);
}

}  // namespace r2router::cli
