// r2-router convert: writes a checkpoint of either layout in the native one.
#include <string>

#include "r2router/checkpoint.h"

#include "cli/command.h"

namespace r2router::cli {
namespace {

constexpr const char* kConvertFooter = R"(Examples:
  r2-router convert r2_router native

The native folder makes the same decisions as the released one. It has one file of weights to map
instead of many to parse, and needs no pickle reader. It is written completely or not at all, and
never over a folder that has anything in it. Nothing in the source folder is executed.)";

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
      app, "convert", "Write a released checkpoint folder as a native one", kConvertFooter);
  command.add("SRC", command->source, "DIR", "Checkpoint folder to read, in either layout")
      ->required();
  command.add("DST", command->destination, "DIR", "Folder to write, new or empty")->required();
  command.runs(convert);
}

}  // namespace r2router::cli
