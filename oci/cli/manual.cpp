// What is made of the command line's own description: shell completion for bash and zsh, and the man page.
#include <algorithm>
#include <cstdio>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {
namespace {

using Verb = const CLI::App*;

std::vector<Verb> shown_verbs(const CLI::App& app) {
    std::vector<Verb> verbs;
    for (Verb verb : app.get_subcommands([](const CLI::App*) { return true; }))
        if (!verb->get_group().empty()) verbs.push_back(verb);
    return verbs;
}

std::vector<const CLI::Option*> shown_options(const CLI::App& app) {
    return app.get_options(
        [](const CLI::Option* option) { return !option->get_group().empty() && !option->get_positional(); });
}

std::vector<std::string> flags_of(const CLI::App& app) {
    std::vector<std::string> flags;
    for (const CLI::Option* option : shown_options(app)) {
        for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
        for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
    }
    return flags;
}

std::string join(const std::vector<std::string>& words, const char* separator) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
    return text;
}

bool takes_container(Verb verb) {
    const CLI::Option* id = verb->get_option_no_throw("id");
    return id && verb->get_name() != "create";
}

std::vector<std::string> names_of(const std::vector<Verb>& verbs) {
    std::vector<std::string> names;
    for (Verb verb : verbs) names.push_back(verb->get_name());
    return names;
}

std::string bash_completion(const CLI::App& app) {
    const std::vector<Verb> verbs = shown_verbs(app);
    std::string text =
        "# bash completion of kvmsbx; made by `kvmsbx completion bash`\n"
        "_kvmsbx() {\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} verb='' word words\n"
        "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
        "        case $word in " +
        join(names_of(verbs), "|") + ") verb=$word; break ;; esac\n    done\n    case $verb in\n";
    for (Verb verb : verbs) {
        text += "        " + verb->get_name() + ") words='" + join(flags_of(*verb), " ") + "'";
        if (takes_container(verb)) text += "; [[ $current == -* ]] || words=$(kvmsbx list --quiet 2>/dev/null)";
        text += " ;;\n";
    }
    text += "        *) words='" + join(names_of(verbs), " ") + " " + join(flags_of(app), " ") + "' ;;\n";
    text +=
        "    esac\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
        "    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default\n"
        "}\n"
        "complete -F _kvmsbx kvmsbx\n";
    return text;
}

// As a word in single quotes for zsh's _describe, whose colons separate.
std::string zsh_item(const std::string& name, std::string description) {
    std::string item = "'" + name + ":";
    for (char c : description) item += c == '\'' ? "’" : c == ':' ? "\\:" : std::string(1, c);
    return item + "'";
}

std::string zsh_completion(const CLI::App& app) {
    std::string verbs, cases;
    for (Verb verb : shown_verbs(app)) {
        verbs += "        " + zsh_item(verb->get_name(), verb->get_description()) + "\n";
        cases += "        " + verb->get_name() + ") compadd -- " + join(flags_of(*verb), " ");
        if (takes_container(verb)) cases += "; compadd -- ${(f)\"$(kvmsbx list --quiet 2>/dev/null)\"}";
        cases += "; _files ;;\n";
    }
    return "#compdef kvmsbx\n"
           "# zsh completion of kvmsbx; made by `kvmsbx completion zsh`\n"
           "_kvmsbx() {\n"
           "    local -a verbs\n"
           "    local word verb=\n"
           "    verbs=(\n" +
           verbs +
           "    )\n"
           "    for word in ${words[2,CURRENT-1]}; do\n"
           "        (( ${verbs[(I)$word:*]} )) && { verb=$word; break; }\n"
           "    done\n"
           "    case $verb in\n" +
           cases + "        *) _describe verb verbs; compadd -- " + join(flags_of(app), " ") +
           " ;;\n"
           "    esac\n"
           "}\n"
           "_kvmsbx \"$@\"\n";
}

// Text for troff: no line begins with a control character, and minus signs stay minus signs.
std::string roff(const std::string& text) {
    std::string out;
    for (char c : text) {
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else if (c == '.' && (out.empty() || out.back() == '\n'))
            out += "\\&.";
        else
            out += c;
    }
    return out;
}

std::string option_entries(const CLI::App& app) {
    std::string text;
    for (const CLI::Option* option : shown_options(app)) {
        std::string name = option->get_name(false, true);
        std::replace(name.begin(), name.end(), ',', ' ');
        const std::string type = option->get_type_size() > 0 ? option->get_type_name() : "";
        text += ".TP\n.B " + roff(name) + (type.empty() ? "" : "\n.I " + roff(type)) + "\n.br\n" +
                roff(option->get_description()) + "\n";
    }
    return text;
}

std::string positionals_of(const CLI::App& app) {
    std::string text;
    for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->get_positional(); }))
        text += " " + option->get_type_name();
    return text;
}

std::string manual(const CLI::App& app) {
    std::string text =
        ".TH KVMSBX 8 \"\" \"kvmsbx " KVMSBX_VERSION
        "\" \"System Administration\"\n.SH NAME\nkvmsbx \\- run OCI containers in a sandbox with a kernel of its own\n";
    text += ".SH SYNOPSIS\n.B kvmsbx\n[OPTION]... VERB [ARGUMENT]...\n.SH DESCRIPTION\n" + roff(app.get_description()) +
            "\n";
    text += ".SH OPTIONS\nThey stand before the verb, or after it where the verb has no option of that name.\n" +
            option_entries(app);
    std::string group;
    for (Verb verb : shown_verbs(app)) {
        if (verb->get_group() != group) {
            group = verb->get_group();
            std::string title = group;
            for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
            text += ".SH VERBS: " + title + "\n";
        }
        text += ".SS " + verb->get_name() + positionals_of(*verb) + "\n" + roff(verb->get_description()) + ".\n" +
                option_entries(*verb);
    }
    text +=
        ".SH EXIT STATUS\n.B run\nends with the application's exit code, 128+N where signal N ended it; 125: kvmsbx "
        "itself failed; 126: the program cannot be executed; 127: it is not there.\n";
    text +=
        ".SH FILES\n.TP\n/etc/kvmsbx.toml\ndefaults of the options above\n.TP\n/run/kvmsbx\nthe state of containers, "
        "where no \\-\\-root is given\n";
    return text;
}

int print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : host::kExitOwnFailure;
}

}  // namespace

void add_manual(const Verbs& verbs) {
    CLI::App* completion = verbs.add("completion", kHostGroup, "Print the completion of the command line for a shell");
    auto shell = std::make_shared<std::string>();
    completion->add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
    completion->callback([verbs, shell] {
        const std::string text = *shell == "bash" ? bash_completion(verbs.app) : zsh_completion(verbs.app);
        verbs.action = [text](Reporter&) { return print(text); };
    });
    CLI::App* page = verbs.add("manual", kHostGroup, "Print the man page kvmsbx(8)");
    page->callback([verbs] { verbs.action = [text = manual(verbs.app)](Reporter&) { return print(text); }; });
}

}  // namespace kvmsbx::oci::cli
