#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "oci/cli/verbs.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci::cli {
namespace {

using nlohmann::json;

// runc's flags, each the name of a field of linux.resources.
struct LimitFlag {
    const char* name;
    const char* group;  // "": a string of `cpu`
    const char* field;
    bool is_size;
    const char* description;
};
constexpr LimitFlag kLimitFlags[] = {
    {"--memory", "memory", "limit", true, "Memory limit, in bytes or such as 512M"},
    {"--memory-reservation", "memory", "reservation", true, "Memory that is left under pressure"},
    {"--memory-swap", "memory", "swap", true, "Memory and swap together; -1: no limit"},
    {"--cpu-period", "cpu", "period", false, "Microseconds of a period"},
    {"--cpu-quota", "cpu", "quota", false, "Microseconds of CPU time in a period; -1: no limit"},
    {"--cpu-burst", "cpu", "burst", false, "Microseconds that may be saved up"},
    {"--cpu-share", "cpu", "shares", false, "Weight against other containers"},
    {"--cpu-idle", "cpu", "idle", false, "1: runs only when nobody else wants to"},
    {"--pids-limit", "pids", "limit", false, "Threads; -1: no limit"},
    {"--blkio-weight", "blockIO", "weight", false, "Weight of I/O against other containers"},
};

struct UpdateOptions {
    std::string id, resources_file, cpuset_cpus, cpuset_mems;
    std::map<std::string, int64_t> limits;  // by the flag's name
};

Outcome<std::string> read_resources(const std::string& file) {
    if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
    const std::ifstream stream(file);
    std::ostringstream text;
    text << stream.rdbuf();
    if (!stream) return errno_failure("--resources " + file, errno);
    return text.str();
}

std::string resources_of_flags(const UpdateOptions& options) {
    json resources = json::object();
    for (const LimitFlag& flag : kLimitFlags) {
        const auto given = options.limits.find(flag.name);
        if (given != options.limits.end()) resources[flag.group][flag.field] = given->second;
    }
    if (!options.cpuset_cpus.empty()) resources["cpu"]["cpus"] = options.cpuset_cpus;
    if (!options.cpuset_mems.empty()) resources["cpu"]["mems"] = options.cpuset_mems;
    return resources.dump();
}

int update(const std::string& root, const UpdateOptions& options, Reporter& reporter) {
    if (options.resources_file.empty())
        return update_container(root, options.id, resources_of_flags(options), "update", reporter);
    const Outcome<std::string> text = read_resources(options.resources_file);
    if (text.is_ok())
        return update_container(root, options.id, text.value(), "--resources " + options.resources_file, reporter);
    reporter.error(text.error().message);
    return 1;
}

}  // namespace

void add_update(const Verbs& verbs) {
    CLI::App* verb = verbs.add("update", kLifeGroup, "Change a container's limits while it runs");
    verb->fallthrough(false);  // --memory is the container's here
    auto options = std::make_shared<UpdateOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_option("-r,--resources", options->resources_file, "JSON of linux.resources; -: from standard input")
        ->type_name("FILE");
    for (const LimitFlag& flag : kLimitFlags) {
        const std::string name = flag.name;
        const auto take = [options, name](const int64_t& value) { options->limits[name] = value; };
        CLI::Option* option = verb->add_option_function<int64_t>(name, take, flag.description)->type_name("N");
        if (flag.is_size) option->transform(CLI::AsSizeValue(false));
    }
    verb->add_option("--cpuset-cpus", options->cpuset_cpus, "CPUs of the host, such as 0-3,7")->type_name("LIST");
    verb->add_option("--cpuset-mems", options->cpuset_mems, "Memory nodes of the host")->type_name("LIST");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return update(global.sandbox.root(), *options, reporter);
        };
    });
}

}  // namespace kvmsbx::oci::cli
