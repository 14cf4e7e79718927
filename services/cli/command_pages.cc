#include "services/cli/command_pages.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace kvasir::cli {
namespace {

struct Command {
  std::string path;  // "sessions list"; empty: the program itself
  const CLI::App* app;
};

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> OptionsOf(const CLI::App& app) {
  return app.get_options([](const CLI::Option*) { return true; });
}

// The program and all that is below it, in order.
std::vector<Command> AllCommands(const CLI::App& app) {
  std::vector<Command> all = {{"", &app}};
  for (size_t i = 0; i < all.size(); ++i) {
    const Command parent = all[i];
    auto place = all.begin() + static_cast<ptrdiff_t>(i) + 1;
    for (const CLI::App* below : CommandsOf(*parent.app)) {
      const std::string path =
          absl::StrCat(parent.path, parent.path.empty() ? "" : " ", std::string(below->get_name()));
      place = all.insert(place, {path, below}) + 1;
    }
  }
  return all;
}

// "-v", "--verbose".
std::vector<std::string> NamesOf(const CLI::Option& option) {
  if (option.get_positional()) return {};
  return absl::StrSplit(option.get_name(false, true), ',');
}

// --- roff ---

// A line is never a request, and every character is itself.
std::string Roff(const std::string& text) {
  std::string escaped =
      absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"`", "\\(ga"}, {"'", "\\(aq"}});
  for (size_t at = 0; at != std::string::npos && at < escaped.size();) {
    if (escaped[at] == '.') escaped.insert(at, "\\&");
    at = escaped.find('\n', at);
    if (at != std::string::npos) ++at;
  }
  return escaped;
}

// As it stands, line by line.
std::string Verbatim(const std::string& text) {
  return absl::StrCat(".PP\n.nf\n", Roff(text), "\n.fi\n");
}

std::string OptionEntry(const CLI::Option& option) {
  std::vector<std::string> names = NamesOf(option);
  std::string entry = ".TP\n";
  if (names.empty()) {
    absl::StrAppend(&entry, "\\fI", Roff(option.get_name(true, false)), "\\fR\n");
  } else {
    for (std::string& name : names) name = absl::StrCat("\\fB", Roff(name), "\\fR");
    absl::StrAppend(&entry, absl::StrJoin(names, ", "));
    if (option.get_items_expected_max() > 0) absl::StrAppend(&entry, "=\\fIVALUE\\fR");
    entry += "\n";
  }
  absl::StrAppend(&entry, Roff(option.get_description()));
  const std::string standard = option.get_default_str();
  if (!names.empty() && !standard.empty() && standard != "[]" && standard != "false") {
    absl::StrAppend(&entry, ". Default: ", Roff(standard));
  }
  if (!option.get_envname().empty()) {
    absl::StrAppend(&entry, ". Environment: ", Roff(option.get_envname()));
  }
  return entry + "\n";
}

std::string CommandSection(const std::string& program, const Command& command) {
  std::string section = absl::StrCat(".SS ", Roff(program), " ", Roff(command.path), "\n",
                                     Roff(command.app->get_description()), "\n");
  for (const CLI::Option* option : OptionsOf(*command.app)) {
    if (option != command.app->get_help_ptr()) absl::StrAppend(&section, OptionEntry(*option));
  }
  if (const std::string footer = command.app->get_footer(); !footer.empty()) {
    absl::StrAppend(&section, Verbatim(footer));
  }
  return section;
}

// --- shells ---

// What may follow a command: commands below it, else its flags.
struct Word {
  std::string word, description;
};
std::vector<Word> WordsAfter(const CLI::App& app) {
  std::vector<Word> words;
  for (const CLI::App* below : CommandsOf(app)) {
    words.push_back({below->get_name(), below->get_description()});
  }
  for (const CLI::Option* option : OptionsOf(app)) {
    for (const std::string& name : NamesOf(*option)) {
      words.push_back({name, option->get_description()});
    }
  }
  return words;
}

std::string SingleQuoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// Both shells': finds in `command` which of the commands the words before the cursor name.
std::string FindCommand(const std::vector<Command>& commands, const std::string& words) {
  std::string script = absl::StrCat("  local command='' word\n  for word in ", words,
                                    "; do\n    case \"$command $word\" in\n");
  for (const Command& command : commands) {
    if (command.path.empty()) continue;
    const size_t border = command.path.rfind(' ');
    const std::string parent = border == std::string::npos ? "" : command.path.substr(0, border);
    const std::string name =
        border == std::string::npos ? command.path : command.path.substr(border + 1);
    absl::StrAppend(&script, "      ", SingleQuoted(absl::StrCat(parent, " ", name)),
                    ") command=", SingleQuoted(command.path), " ;;\n");
  }
  return script + "    esac\n  done\n";
}

}  // namespace

std::string ManualPage(const CLI::App& app, const std::string& version,
                       const std::string& exit_codes) {
  const std::string& name = app.get_name();
  std::string title = name;
  std::transform(title.begin(), title.end(), title.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string page =
      absl::StrCat(".TH ", title, " 1 \"\" \"", Roff(version), "\" \"Kvasir\"\n", ".SH NAME\n",
                   name, " \\- ", Roff(app.get_description()), "\n", ".SH SYNOPSIS\n.B ", name,
                   "\n.I COMMAND\n[\\fIFLAG\\fR ...]\n", ".SH COMMANDS\n");
  for (const Command& command : AllCommands(app)) {
    const bool does_something = !command.path.empty() && CommandsOf(*command.app).empty();
    if (does_something) absl::StrAppend(&page, CommandSection(name, command));
  }
  absl::StrAppend(&page, ".SH EXIT STATUS\n", Verbatim(exit_codes), ".SH NOTES\n",
                  Verbatim(app.get_footer()));
  return page;
}

std::string BashCompletion(const CLI::App& app) {
  const std::string& name = app.get_name();
  const std::vector<Command> commands = AllCommands(app);
  std::string script =
      absl::StrCat("# Completion for bash: source <(", name, " completion bash)\n_", name, "() {\n",
                   FindCommand(commands, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\""),
                   "  local words=''\n  case $command in\n");
  for (const Command& command : commands) {
    std::vector<std::string> words;
    for (const Word& word : WordsAfter(*command.app)) words.push_back(word.word);
    absl::StrAppend(&script, "    ", SingleQuoted(command.path),
                    ") words=", SingleQuoted(absl::StrJoin(words, " ")), " ;;\n");
  }
  absl::StrAppend(&script,
                  "  esac\n"
                  "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
                  "\"${COMP_WORDS[COMP_CWORD]}\")\n}\n",
                  "complete -o default -F _", name, " ", name, "\n");
  return script;
}

std::string ZshCompletion(const CLI::App& app) {
  const std::string& name = app.get_name();
  const std::vector<Command> commands = AllCommands(app);
  std::string script = absl::StrCat("#compdef ", name, "\n# Completion for zsh: source <(", name,
                                    " completion zsh), or a file _", name, " in $fpath\n_", name,
                                    "() {\n", FindCommand(commands, "\"${(@)words[2,CURRENT-1]}\""),
                                    "  local -a items\n  case $command in\n");
  for (const Command& command : commands) {
    absl::StrAppend(&script, "    ", SingleQuoted(command.path), ") items=(\n");
    for (const Word& word : WordsAfter(*command.app)) {
      const std::string label = absl::StrReplaceAll(word.word, {{":", "\\:"}});
      absl::StrAppend(&script, "      ", SingleQuoted(absl::StrCat(label, ":", word.description)),
                      "\n");
    }
    absl::StrAppend(&script, "    ) ;;\n");
  }
  absl::StrAppend(&script, "  esac\n  _describe ", SingleQuoted(name),
                  " items || _files\n}\n"
                  "if [[ $funcstack[1] == _",
                  name, " ]]; then _", name, " \"$@\"; else compdef _", name, " ", name, "; fi\n");
  return script;
}

}  // namespace kvasir::cli
