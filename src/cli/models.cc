// r2-router models: pool files and what a server's catalogue says of their models.
#include <cstddef>
#include <iostream>
#include <string>

#include <unistd.h>

#include "r2router/llm/price_sync.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

struct ModelsSettings {
  std::string pool;
  llm::PriceSyncOptions source;
  bool yes = false;
};

bool confirmed(const ModelsSettings& settings, std::size_t large_changes) {
  if (settings.yes) return true;
  const std::string warning = std::to_string(large_changes) +
                              (large_changes == 1 ? " price changes" : " prices change") +
                              " more than tenfold";
  if (::isatty(STDIN_FILENO) == 0) {
    if (large_changes > 0) {
      throw Error(ErrorCode::kBadData,
                  warning +
                      ", so nothing is written unasked: check that the source and the pool "
                      "mean the same prices, then give --yes",
                  {.file = settings.pool});
    }
    print_remark("note", settings.pool + " stays as it is: give --yes to write the changes");
    return false;
  }
  if (large_changes > 0) print_remark("warning", warning);
  std::cerr << "Write this to " << settings.pool << "? [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

void sync(const ModelsSettings& settings) {
  const llm::PriceSync sync = llm::compare_prices(settings.pool, settings.source);
  if (sync.any_unknown) {
    print_remark("note",
                 "leave out components that your calls are never charged for with --ignore, "
                 "such as --ignore web_search");
  }
  if (sync.changes.empty()) {
    return print("Nothing has changed: " + settings.pool + " stays as it is.\n");
  }
  print(CLI::detail::join(sync.changes, "\n") + '\n');
  if (!confirmed(settings, sync.large_changes.size())) return;
  llm::write_prices(settings.pool, sync);
  print("Written to " + settings.pool + ".\n");
}

}  // namespace

void add_models_command(CLI::App& app) {
  CLI::App* models = app.add_subcommand("models", "Keep a pool file's prices up to date");
  models->footer(R"(Examples:
  r2-router models sync --pool pool.json
  r2-router help models sync)");
  models->require_subcommand(0, 1);
  models->callback([models] {
    if (models->get_subcommands().empty()) {
      throw CLI::ValidationError("no command given after models: expected sync");
    }
  });
  Command<ModelsSettings> command(
      *models, "sync", "Bring prices and availability in a pool file up to date from a catalogue",
      kModelsHelp);
  Options& add = command.add;
  add("--pool", command->pool, "FILE.json", "Pool file, such as those in config/")->required();
  CLI::Option* base = add("--base", command->source.base_url, "URL",
                          "Server whose list of models is the catalogue (GET URL/models)");
  add("--from", command->source.from, "FILE|URL",
      "Catalogue to read instead: a list of models, or prices in the form of "
      "model_prices_and_context_window.json")
      ->excludes(base);
  add("--ignore", command->source.ignored, "NAME[,NAME]",
      "Components of prices that your calls are never charged for, such as web_search");
  add("--ca-file", command->source.ca_file, "FILE",
      "Certificate authorities to trust instead of the system's, PEM");
  add("--yes", command->yes, "Write without asking");
  command->source.log = print_remarks();
  command.runs(sync);
}

}  // namespace r2router::cli
