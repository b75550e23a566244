#include "oci/cli/configured.hpp"

#include <algorithm>
#include <cstring>

#include "oci/bundle.hpp"

namespace kvmsbx::oci::cli {
namespace {

// "" when it is not given. Looked for before anything is parsed, since the file's flags come before the command line.
std::string config_path(int argc, char** argv) {
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        if (word.starts_with("--config=")) return word.substr(std::strlen("--config="));
        if (word == "--config" && i + 1 < argc) return argv[i + 1];
        if (word == "--") break;
    }
    return {};
}

std::string value_of(const CLI::App& verb, const char* name) {
    const CLI::Option* option = verb.get_option_no_throw(name);
    return option && option->count() > 0 ? option->results().back() : std::string();
}

const CLI::App* parsed_verb(const CLI::App& app) {
    const std::vector<CLI::App*> parsed = app.get_subcommands();
    return parsed.empty() ? nullptr : parsed.front();
}

}  // namespace

Outcome<FlagConfig> configured_flags(int argc, char** argv) {
    const std::string path = config_path(argc, argv);
    if (path.empty()) return load_flag_config(kConfigFile, Missing::kIsEmpty);
    return load_flag_config(path, Missing::kIsFailure);
}

Outcome<std::vector<ConfiguredFlag>> annotated_flags(const CLI::App& app) {
    const CLI::App* verb = parsed_verb(app);
    if (!verb || (verb->get_name() != "run" && verb->get_name() != "create")) return std::vector<ConfiguredFlag>{};
    std::string folder = value_of(*verb, "--bundle");
    if (folder.empty() && verb->get_name() == "run") folder = value_of(*verb, "words");
    const Outcome<Bundle> bundle = load_bundle(folder);
    if (bundle.is_error()) return std::vector<ConfiguredFlag>{};  // the verb says what is wrong with it
    return flags_of_annotations(bundle.value().spec.annotations);
}

Outcome<std::vector<std::string>> with_flags(const CLI::App& app, const std::vector<ConfiguredFlag>& flags, int argc,
                                             char** argv) {
    std::vector<std::string> words;
    for (const ConfiguredFlag& flag : flags) {
        if (!app.get_option_no_throw("--" + flag.name))
            return Failure{flag.where + ": there is no flag --" + flag.name};
        words.push_back(flag.argument());
    }
    words.insert(words.end(), argv + 1, argv + argc);
    return words;
}

std::string container_of(const CLI::App& app) {
    const CLI::App* verb = parsed_verb(app);
    return verb ? value_of(*verb, "id") : std::string();
}

}  // namespace kvmsbx::oci::cli
