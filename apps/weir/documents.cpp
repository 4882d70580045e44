#include "documents.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "commands.hpp"
#include "help.hpp"
#include "options.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"

namespace weir::app {
namespace {

/// An option or a positional argument as documents need it. What help says of its type is what it takes: words in lower case
/// are taken as they are ("stop|skip"), FILE and DIR are completed, others stand for what nobody can guess.
struct Argument {
  std::vector<std::string> names;  ///< "--output", "-o"; the name alone of a positional.
  std::string type;                ///< "N", "stop|skip"; empty of a flag.
  std::vector<std::string> words;
  bool is_positional = false;
  bool is_required = false;
  bool takes_files = false;
  bool takes_directories = false;
  bool takes_several = false;
  std::string default_text;
  std::string text;   ///< The description in one line.
  std::string group;  ///< As help has it.
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(separator, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Argument argument_of(const CLI::Option& option) {
  Argument argument;
  argument.is_positional = option.get_positional();
  argument.is_required = option.get_required();
  for (const std::string& name : option.get_lnames()) argument.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) argument.names.push_back("-" + name);
  if (argument.is_positional) argument.names = {option.get_name()};
  if (argument.is_positional || option.get_items_expected_max() > 0) argument.type = option.get_type_name();
  const std::vector<std::string> parts = split(argument.type, '|');
  // Names of operands are not all in lower case.
  const bool are_operands =
      parts.size() > 1 && std::ranges::all_of(parts, [](const std::string& part) { return part.size() <= 2; });
  for (const std::string& part : parts) {
    const bool is_word = !part.empty() && std::ranges::none_of(part, [](char c) { return c >= 'A' && c <= 'Z'; });
    if (is_word || are_operands) argument.words.push_back(part);
    argument.takes_files = argument.takes_files || part.find("FILE") != std::string::npos;
    argument.takes_directories = argument.takes_directories || part == "DIR";
  }
  if (argument.is_positional && argument.words.empty()) argument.takes_files = true;
  argument.takes_several = option.get_items_expected_max() > 1;
  argument.default_text = option.get_default_str();
  argument.text = fmt::format("{}", fmt::join(split(option.get_description(), '\n'), " "));
  argument.group = option.get_group();
  return argument;
}

std::vector<Argument> arguments_of(const CLI::App& command) {
  std::vector<Argument> arguments;
  for (const CLI::Option* option : command.get_options())
    if (!option->get_group().empty()) arguments.push_back(argument_of(*option));
  return arguments;
}

/// What an argument is about, without the rest of its description.
std::string first_sentence(const std::string& text) {
  constexpr std::size_t longest = 90;
  std::string sentence = text.substr(0, text.find(". "));
  if (sentence.ends_with('.')) sentence.pop_back();
  if (sentence.size() <= longest) return sentence;
  return sentence.substr(0, sentence.rfind(' ', longest - 3)) + "...";
}

// ---------------------------------------------------------------------------------------------------------------------
// The manual

/// Text that roff prints as it is, but for the font escapes of bold() and italic().
std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '\\':
        escaped += "\\(rs";
        break;
      case '-':
        escaped += "\\-";
        break;
      case '^':
        escaped += "\\(ha";
        break;
      case '~':
        escaped += "\\(ti";
        break;
      case '`':
        escaped += "\\(ga";
        break;
      case '\'':
        escaped += "\\(aq";
        break;
      case '"':
        escaped += "\\(dq";
        break;
      default:
        escaped += c;
    }
  }
  // A point at the beginning of a line would be a request.
  return escaped.starts_with('.') ? "\\&" + escaped : escaped;
}
std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

/// `lines` as they are, in a font of fixed width.
std::string verbatim(const std::vector<std::string>& lines) {
  std::string text = ".EX\n";
  for (const std::string& line : lines) text += roff(line.starts_with("  ") ? line.substr(2) : line) + '\n';
  return text + ".EE\n";
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string page_name(const CLI::App& app, const CLI::App& command) {
  return &app == &command ? app.get_name() : app.get_name() + '-' + command.get_name();
}

std::string entry_of(const Argument& argument) {
  std::vector<std::string> names;
  for (const std::string& name : argument.names) names.push_back(argument.is_positional ? italic(name) : bold(name));
  std::string text = fmt::format(".TP\n{}", fmt::join(names, ", "));
  if (!argument.type.empty()) text += ' ' + (argument.words.empty() ? italic(argument.type) : roff(argument.type));
  if (!argument.default_text.empty()) text += fmt::format(" (default {})", roff(argument.default_text));
  return text + '\n' + roff(argument.text) + '\n';
}

}  // namespace

std::string manual_page(const CLI::App& app, const CLI::App& command) {
  const bool is_program = &app == &command;
  const std::string name = page_name(app, command);
  const std::string description = fmt::format("{}", fmt::join(split(command.get_description(), '\n'), " "));
  std::string brief = is_program ? std::string("draw random entries of vectors that change, from small sketches")
                                 : description.substr(0, description.find_first_of(":;."));
  brief.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(brief.front())));
  std::string page = fmt::format(
      ".TH \"{}\" 1 \"\" \"weir {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}", roff(upper(name)),
      WEIR_VERSION, roff(name), roff(brief), bold(is_program ? "weir" : "weir " + command.get_name()));
  const std::vector<Argument> arguments = arguments_of(command);
  page += is_program ? ' ' + italic("COMMAND") + " [" + italic("OPTION") + "]...\n" : " [" + italic("OPTION") + "]...";
  for (const Argument& argument : arguments) {
    if (!argument.is_positional) continue;
    const std::string dots = argument.takes_several ? "..." : "";
    page += argument.is_required ? ' ' + italic(argument.names.front()) + dots
                                 : " [" + italic(argument.names.front()) + dots + ']';
  }
  page += fmt::format("{}.SH DESCRIPTION\n{}.\n", is_program ? "" : "\n",
                      roff(description.ends_with('.') ? description.substr(0, description.size() - 1) : description));
  std::vector<const CLI::App*> others = commands_of(app);
  if (is_program) {
    page += ".SH COMMANDS\n";
    for (const CLI::App* other : others)
      page += fmt::format(".TP\n{}\n{}\n", bold(other->get_name()), roff(other->get_description()));
  }
  page += ".SH OPTIONS\n";
  // Groups in the order in which help has them; the first has no heading.
  std::vector<std::string> groups;
  for (const Argument& argument : arguments)
    if (std::ranges::find(groups, argument.group) == groups.end()) groups.push_back(argument.group);
  for (const std::string& group : groups) {
    if (group != "Options") page += fmt::format(".SS {}\n", roff(group));
    for (const Argument& argument : arguments)
      if (argument.group == group) page += entry_of(argument);
  }
  std::string examples;
  std::string heading = ".SH NOTES\n";
  for (const HelpSection& section : help_sections(command)) {
    if (section.title == "Examples") {
      examples = ".SH EXAMPLES\n" + verbatim(section.lines);
      continue;
    }
    page += std::exchange(heading, "");
    if (section.title.empty()) {
      page += ".PP\n";
      for (const std::string& line : section.lines) page += roff(line) + '\n';
    } else {
      page += fmt::format(".SS {}\n{}", roff(section.title), verbatim(section.lines));
    }
  }
  page += examples + ".SH \"SEE ALSO\"\n";
  std::vector<std::string> pages;
  if (!is_program) pages.push_back(fmt::format("\\fB{}\\fR(1)", roff(app.get_name())));
  for (const CLI::App* other : others)
    if (other != &command) pages.push_back(fmt::format("\\fB{}\\fR(1)", roff(page_name(app, *other))));
  return page + fmt::format("{}\n", fmt::join(pages, ",\n"));
}

// ---------------------------------------------------------------------------------------------------------------------
// Completion

namespace {

std::string bash_script(const CLI::App& app) {
  std::vector<std::string> commands;
  std::string values, places;
  for (const CLI::App* command : commands_of(app)) {
    commands.push_back(command->get_name());
    std::vector<std::string> names, positional;
    for (const Argument& argument : arguments_of(*command)) {
      if (argument.is_positional) {
        positional.insert(positional.end(), argument.words.begin(), argument.words.end());
        continue;
      }
      names.insert(names.end(), argument.names.begin(), argument.names.end());
      if (argument.type.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : argument.names) patterns.push_back(command->get_name() + ':' + name);
      values += fmt::format("    {}) words='{}' kind={} ;;\n", fmt::join(patterns, "|"), fmt::join(argument.words, " "),
                            argument.takes_files         ? "file"
                            : argument.takes_directories ? "directory"
                                                         : "");
    }
    places += fmt::format("        {}) options='{}' words='{}' ;;\n", command->get_name(), fmt::join(names, " "),
                          fmt::join(positional, " "));
  }
  std::vector<std::string> own;
  for (const Argument& argument : arguments_of(app))
    own.insert(own.end(), argument.names.begin(), argument.names.end());
  return fmt::format(R"(# bash completion for weir: made by "weir completion bash".
_weir() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= word options= words= kind=
  # --name=value is three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $before == = ]]; then
    before=${{COMP_WORDS[COMP_CWORD-2]}}
  fi
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ $word != -* ]]; then
      command=$word
      break
    fi
  done
  case $command:$before in
{}    *)
      kind=file
      case $command in
        '') options='{}' words='{}' kind= ;;
{}      esac
      if [[ $current == -* ]]; then
        words=$options kind=
      elif [[ -n $words ]]; then
        kind=
      fi ;;
  esac
  COMPREPLY=()
  [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  [[ -z $kind ]] || compopt -o filenames 2>/dev/null
  case $kind in
    file) mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen -f -- "$current") ;;
    directory) mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen -d -- "$current") ;;
  esac
}}
complete -F _weir weir
)",
                     values, fmt::join(own, " "), fmt::join(commands, " "), places);
}

/// Within single quotes; brackets end what zsh shows, and a colon what fish and zsh take for a name.
std::string shell_quoted(std::string text, std::string_view escaped) {
  std::string quoted;
  for (const char c : text) {
    if (escaped.find(c) != std::string_view::npos) quoted += '\\';
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted;
}

std::string zsh_action(const Argument& argument) {
  const std::string files = argument.takes_files ? "_files" : argument.takes_directories ? "_files -/" : "";
  if (argument.words.empty()) return files.empty() ? " " : files;
  const std::string words = fmt::format("{}", fmt::join(argument.words, " "));
  return files.empty() ? '(' + words + ')' : "{compadd -- " + words + "; " + files + '}';
}

std::string zsh_script(const CLI::App& app) {
  std::string commands, arguments;
  for (const CLI::App* command : commands_of(app)) {
    commands += fmt::format("        '{}:{}'\n", command->get_name(),
                            shell_quoted(first_sentence(command->get_description()), "\\:"));
    arguments += fmt::format("        {})\n          _arguments -S", command->get_name());
    for (const Argument& argument : arguments_of(*command)) {
      const std::string text = shell_quoted(first_sentence(argument.text), "\\[]:");
      const std::string value =
          fmt::format(":{}:{}", shell_quoted(argument.type.empty() ? argument.names.front() : argument.type, "\\:"),
                      zsh_action(argument));
      if (argument.is_positional) {
        arguments += fmt::format(" \\\n            '{}{}'", argument.takes_several ? "*" : "", value);
        continue;
      }
      const char* repeats = argument.takes_several ? "*" : "";
      for (const std::string& name : argument.names) {
        if (argument.type.empty()) {
          arguments += fmt::format(" \\\n            '{}[{}]'", name, text);
        } else {
          arguments += fmt::format(" \\\n            '{}{}{}[{}]{}'", repeats, name, name.starts_with("--") ? "=" : "+",
                                   text, value);
        }
      }
    }
    arguments += " ;;\n";
  }
  return fmt::format(R"(#compdef weir
# zsh completion for weir: made by "weir completion zsh".
_weir() {{
  local curcontext=$curcontext state line
  local -A opt_args
  _arguments -C '(- *)'{{-h,--help}}'[Help]' '(- *)--version[The version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command)
      local -a commands=(
{}      )
      _describe command commands ;;
    argument)
      case $words[1] in
{}      esac ;;
  esac
}}
if [[ $funcstack[1] == _weir ]]; then
  _weir "$@"
else
  compdef _weir weir
fi
)",
                     commands, arguments);
}

std::string fish_script(const CLI::App& app) {
  std::string lines = "# fish completion for weir: made by \"weir completion fish\".\n";
  lines += "complete -c weir -n __fish_use_subcommand -s h -l help -d 'Help'\n";
  lines += "complete -c weir -n __fish_use_subcommand -l version -d 'The version'\n";
  for (const CLI::App* command : commands_of(app)) {
    lines += fmt::format("complete -c weir -n __fish_use_subcommand -f -a {} -d '{}'\n", command->get_name(),
                         shell_quoted(first_sentence(command->get_description()), "\\"));
    const std::string condition = fmt::format("-n '__fish_seen_subcommand_from {}'", command->get_name());
    for (const Argument& argument : arguments_of(*command)) {
      std::string line = "complete -c weir " + condition;
      if (argument.is_positional) {
        if (argument.words.empty()) continue;  // files, which fish completes anyway
        lines += fmt::format("{} -f -a '{}'\n", line, fmt::join(argument.words, " "));
        continue;
      }
      for (const std::string& name : argument.names)
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (!argument.type.empty()) line += argument.takes_files || argument.takes_directories ? " -r -F" : " -x";
      if (!argument.words.empty()) line += fmt::format(" -a '{}'", fmt::join(argument.words, " "));
      lines += fmt::format("{} -d '{}'\n", line, shell_quoted(first_sentence(argument.text), "\\"));
    }
  }
  return lines;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw InputError(fmt::format("{}: cannot create: {}", path.parent_path().string(), error.message()));
  OutputFile file(path.string());
  file.write(text);
  file.commit();
}

/// Below `folder`, as they are below the prefix of an installation.
void write_documents(const CLI::App& app, const std::filesystem::path& folder) {
  write_file(folder / "man1" / "weir.1", manual_page(app, app));
  for (const CLI::App* command : commands_of(app))
    write_file(folder / "man1" / (page_name(app, *command) + ".1"), manual_page(app, *command));
  write_file(folder / "completions" / "bash" / "weir", completion_script(app, "bash"));
  write_file(folder / "completions" / "zsh" / "_weir", completion_script(app, "zsh"));
  write_file(folder / "completions" / "fish" / "weir.fish", completion_script(app, "fish"));
}

}  // namespace

const std::vector<std::string>& known_shells() {
  static const std::vector<std::string> shells{"bash", "zsh", "fish"};
  return shells;
}

std::string completion_script(const CLI::App& app, const std::string& shell) {
  if (shell == "zsh") return zsh_script(app);
  if (shell == "fish") return fish_script(app);
  return bash_script(app);
}

void add_document_commands(CLI::App& app, std::function<int()>& action) {
  struct Options {
    std::string command, shell, folder;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* help = app.add_subcommand("help", "Explain weir, or one of its commands");
  CLI::App* completion = app.add_subcommand("completion", "Print a script by which a shell completes what you type");
  add_choice(
      *completion, "SHELL", known_shells(), [options](const std::string& shell) { options->shell = shell; },
      "The shell. An installation has the script where the shell looks for it")
      ->required();
  set_help(*completion, "", {"source <(weir completion bash)"});
  std::vector<std::string> names;
  for (const CLI::App* command : commands_of(app)) names.push_back(command->get_name());
  // No choice, so that a command that is not known gets the same answer everywhere.
  help->add_option("COMMAND", options->command, "The command; without one weir itself")
      ->type_name(fmt::format("{}", fmt::join(names, "|")));
  set_help(*help, "", {"weir help", "weir help sample"});
  CLI::App* documents = app.add_subcommand("documents", "Write the manual and the completions, for an installation");
  documents->group("");
  documents->add_option("DIR", options->folder, "The folder that they are written into")->required();

  help->callback([&app, options, &action] {
    action = [&app, options] {
      if (options->command.empty()) {
        // Not app.help(), which is that of the command that was given: this one.
        print_answer(app.get_formatter()->make_help(&app, app.get_name(), CLI::AppFormatMode::Normal));
        return done;
      }
      for (const CLI::App* command : commands_of(app))
        if (command->get_name() == options->command) {
          print_answer(command->help(app.get_name()));
          return done;
        }
      throw UsageError(unknown_command(app, options->command));
    };
  });
  completion->callback([&app, options, &action] {
    action = [&app, options] {
      print_answer(completion_script(app, options->shell));
      return done;
    };
  });
  documents->callback([&app, options, &action] {
    action = [&app, options] {
      write_documents(app, options->folder);
      return done;
    };
  });
}

}  // namespace weir::app
