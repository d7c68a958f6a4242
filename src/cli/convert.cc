// r2-router convert: writes a checkpoint of either layout in the native one.
#include <filesystem>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "r2router/checkpoint.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/precision.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  r2-router convert r2_router native

The native folder makes the same decisions as the released one. It has one file of weights to map
instead of many to parse, and needs no pickle reader. It is written completely or not at all, and
never over a folder that has anything in it. Nothing in the source folder is executed.)";

struct Settings {
  std::string source, destination;
};

void convert(const Settings& settings) {
  const Checkpoint checkpoint = load_checkpoint(settings.source, print_warnings());
  save_checkpoint(checkpoint, settings.destination);

  // Report the actual files on disk.
  const auto size = [&](const char* file) {
    const auto path = std::filesystem::path(settings.destination) / file;
    return std::string(file) + " (" + with_thousands(std::filesystem::file_size(path)) + " bytes)";
  };
  Output output;
  output.write("Wrote " + settings.destination + ": " + size("config.json") + ", " +
               size("model.safetensors") + ".\n");
  output.write(std::to_string(checkpoint.config.models.size()) + " models, " +
               std::to_string(head_names(checkpoint.predictor).size()) + " heads of " +
               std::to_string(dimension_of(checkpoint.predictor)) + " " +
               precision(checkpoint.predictor) + " weights, SHA-256 " +
               checkpoint_checksum(settings.destination) + ".\n");
  output.flush();
}

}  // namespace

void add_convert_command(CLI::App& app, int&) {
  CLI::App* command =
      app.add_subcommand("convert", "Write a released checkpoint folder as a native one");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  command->add_option("SRC", settings->source, "Checkpoint folder to read, in either layout")
      ->required()
      ->type_name("DIR");
  command->add_option("DST", settings->destination, "Folder to write, new or empty")
      ->required()
      ->type_name("DIR");
  command->callback([settings] { convert(*settings); });
}

}  // namespace r2router::cli
