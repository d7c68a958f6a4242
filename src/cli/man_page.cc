#include "cli/man_page.h"

#include <string_view>
#include <vector>

#include "r2router/version.h"

namespace r2router::cli {
namespace {

/// Escapes text for its own line: none of it is a man(7) command.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool begins_line = result.empty() || result.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result +=
          "\\-";  // a plain hyphen may be printed as another character, which breaks copy and paste
    } else {
      result += c;
    }
  }
  return result;
}

/// Wraps prose.
std::string filled(std::string_view text) {
  std::string lines;
  for (const std::string& line : wrap(text, 76)) lines += (lines.empty() ? "" : "\n") + line;
  return escaped(lines);
}

std::string upper_case(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return text;
}

/// "\fB--predictor\fR \fIridge|knn|mlp\fR".
std::string tag(const OptionInfo& option) {
  std::string names;
  for (const std::string& name : option.names) {
    if (!names.empty()) names += ", ";
    names += "\\fB" + escaped(name) + "\\fR";
  }
  const std::string usage = option.usage();
  const std::size_t space = usage.rfind(' ');
  if (option.positional || option.value == OptionInfo::Value::kNone) return names;
  return names + " \\fI" + escaped(usage.substr(space + 1)) + "\\fR";
}

std::string option_text(const OptionInfo& option) {
  std::string text = option.description;
  if (option.required && !option.positional) text += " (required)";
  if (!option.default_value.empty()) text += " (default: " + option.default_value + ")";
  return text + '.';
}

void append_options(std::string& page, const CommandInfo& command) {
  std::string group;
  const auto append = [&](const OptionInfo& option) {
    page += ".TP\n" + tag(option) + '\n' + filled(option_text(option)) + '\n';
  };
  bool any = false;
  for (const OptionInfo& option : command.options) {
    if (!option.positional) continue;
    if (!any) page += ".SH ARGUMENTS\n";
    any = true;
    append(option);
  }
  std::vector<std::string> groups;
  page += ".SH OPTIONS\n";
  for (const OptionInfo& option : command.options) {
    bool seen = option.positional;
    for (const std::string& known : groups) seen |= known == option.group;
    if (!seen) groups.push_back(option.group);
  }
  for (const std::string& name : groups) {
    if (groups.size() > 1) page += ".SS \"" + escaped(name) + "\"\n";
    for (const OptionInfo& option : command.options) {
      if (!option.positional && option.group == name) append(option);
    }
  }
}

void append_literal(std::string& page, const std::string& text) {
  page += ".RS 4\n.nf\n" + escaped(text) + "\n.fi\n.RE\n";
}

void append_footer(std::string& page, const CommandInfo& command) {
  const Footer footer = parse_footer(command.footer);
  if (!footer.examples.empty()) {
    page += ".SH EXAMPLES\n";
    std::string examples;
    for (const std::string& line : footer.examples) {
      examples += (examples.empty() ? "" : "\n") + line;
    }
    append_literal(page, examples);
  }
  bool first = true;
  for (const auto& block : footer.notes) {
    page += first ? ".SH NOTES\n" : ".PP\n";
    first = false;
    for (const Paragraph& paragraph : block) {
      if (paragraph.literal) {
        append_literal(page, paragraph.text);
      } else {
        page += filled(paragraph.text) + '\n';
      }
    }
  }
}

/// The pages of the parent, the subcommands and the program.
std::string see_also(const CommandInfo& command, const CommandInfo& root) {
  std::vector<std::string> pages;
  for (std::size_t length = 1; length < command.path.size(); ++length) {
    CommandInfo above{
        .path = {command.path.begin(), command.path.begin() + static_cast<std::ptrdiff_t>(length)}};
    pages.push_back(above.full_name('-'));
  }
  const CommandInfo& parent = command.commands.empty() && command.path.size() == 2 ? root : command;
  for (const CommandInfo& other : parent.commands) {
    if (other.path != command.path) pages.push_back(other.full_name('-'));
  }
  std::string text;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    text += ".BR " + escaped(pages[i]) + (i + 1 < pages.size() ? " (1),\n" : " (1)\n");
  }
  return text;
}

}  // namespace

std::string man_page(const CommandInfo& command, const CommandInfo& root) {
  const std::string name = command.full_name('-');
  std::string page = ".TH " + escaped(upper_case(name)) + " 1 \"\" \"r2\\-router " + version() +
                     "\" \"r2\\-router manual\"\n";
  page += ".SH NAME\n" + escaped(name) + " \\- " + escaped(command.description) + '\n';
  page += ".SH SYNOPSIS\n\\fB" + escaped(command.full_name()) + "\\fR" +
          escaped(command.synopsis().substr(command.full_name().size())) + '\n';
  if (!command.commands.empty()) {
    page += ".SH COMMANDS\n";
    for (const CommandInfo& other : command.commands) {
      page += ".TP\n\\fB" + escaped(other.name) + "\\fR\n" + escaped(other.description) + ".\n";
    }
  }
  append_options(page, command);
  append_footer(page, command);
  page += ".SH SEE ALSO\n" + see_also(command, root);
  return page;
}

}  // namespace r2router::cli
