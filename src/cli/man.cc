// r2-router man: manual pages, in the man(7) language.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/version.h"

#include "base/file.h"
#include "base/text_layout.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

/// Escapes text for lines of its own: none of it is a man(7) command.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool begins_line = result.empty() || result.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      // A plain hyphen may be printed as another character, which breaks copy and paste.
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string upper_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string prose(const std::string& text) {
  return escaped(CLI::detail::join(wrap(text, 76), "\n")) + '\n';
}

/// "\fB--predictor\fR \fIridge|knn|mlp\fR" and its description.
std::string entry(const Block& block) {
  std::string names;
  for (const std::string& name : block.names) {
    names += (names.empty() ? "" : ", ") + ("\\fB" + escaped(name) + "\\fR");
  }
  if (!block.value.empty()) names += " \\fI" + escaped(block.value) + "\\fR";
  return ".TP\n" + names + '\n' + prose(block.text + '.');
}

/// Commands, arguments, options, examples and notes.
std::string sections(const std::vector<Block>& blocks) {
  const auto count = [&](Block::Kind kind) {
    return std::ranges::count(blocks, kind, &Block::kind);
  };
  std::string page;
  bool options = false, notes = false;
  for (const Block& block : blocks) {
    switch (block.kind) {
      case Block::Kind::kTitle:
        page += ".SH " + upper_case(block.text) + '\n';
        break;
      case Block::Kind::kGroup:
        if (!std::exchange(options, true)) page += ".SH OPTIONS\n";
        if (count(block.kind) > 1) page += ".SS \"" + escaped(block.text) + "\"\n";
        break;
      case Block::Kind::kEntry:
        page += entry(block);
        break;
      case Block::Kind::kNote:
        page += std::exchange(notes, true) ? ".PP\n" : ".SH NOTES\n";
        break;
      case Block::Kind::kProse:
        page += prose(block.text);
        break;
      case Block::Kind::kLiteral:
        page += ".RS 4\n.nf\n" + escaped(block.text) + "\n.fi\n.RE\n";
        break;
    }
  }
  return page;
}

/// The pages of the commands above and below, or of the others if there are none below.
std::string see_also(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  std::vector<const CLI::App*> others = commands_of(command);
  if (others.empty()) others = commands_of(*parent);
  for (; parent != nullptr; parent = parent->get_parent()) others.insert(others.begin(), parent);
  std::erase(others, &command);
  std::string text;
  for (const CLI::App* other : others) {
    text += (text.empty() ? ".BR " : ",\n.BR ") + escaped(full_name(*other, '-')) + " (1)";
  }
  return text + '\n';
}

std::string man_page(const CLI::App& command) {
  const std::string name = full_name(command, '-'), typed = full_name(command);
  return ".TH " + escaped(upper_case(name)) + " 1 \"\" \"r2\\-router " + version() +
         "\" \"r2\\-router manual\"\n.SH NAME\n" + escaped(name) + " \\- " +
         escaped(command.get_description()) + "\n.SH SYNOPSIS\n\\fB" + escaped(typed) + "\\fR" +
         escaped(synopsis(command).substr(typed.size())) + '\n' + sections(manual_of(command)) +
         ".SH SEE ALSO\n" + see_also(command);
}

void write_pages(const CLI::App& command, const std::string& folder) {
  const auto file = std::filesystem::path(folder) / (full_name(command, '-') + ".1");
  io::write_file(file.string(), man_page(command));
  for (const CLI::App* other : commands_of(command)) write_pages(*other, folder);
}

struct ManSettings {
  std::vector<std::string> names;
  std::string folder;
};

}  // namespace

void add_man_command(CLI::App& app) {
  Command<ManSettings> command(app, "man", "Print the manual page of a command", kManHelp);
  command.add("COMMAND", command->names, "COMMAND", "The command; default: r2-router itself");
  command.add("--output-dir", command->folder, "DIR",
              "Write the pages of all commands to this folder");
  command.runs([&app](const ManSettings& settings) {
    const auto& [names, folder] = settings;
    if (folder.empty()) return print(man_page(command_named(app, names)));
    if (!names.empty()) {
      throw CLI::ValidationError("--output-dir writes all pages: remove " + names.front());
    }
    io::make_folder(folder);
    write_pages(app, folder);
  });
}

}  // namespace r2router::cli
