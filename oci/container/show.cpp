// state, list, ps, stacks.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "oci/container/access.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::ordered_json;

// Columns as wide as their widest word; the last one as it comes.
std::string as_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (size_t i = 0; i < row.size(); i++) widths[i] = std::max(widths[i], row[i].size());
    }
    constexpr size_t kGap = 3;
    std::string text;
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); i++) {
            text += row[i];
            if (i + 1 < row.size()) text.append(widths[i] + kGap - row[i].size(), ' ');
        }
        text += '\n';
    }
    return text;
}

// What ends a line or plays with the terminal is no part of a table.
std::string printable(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return out;
}

ordered_json list_entry(const ContainerRecord& record, Status status) {
    return {{"ociVersion", "1.1.0"},
            {"id", record.id},
            {"pid", status == Status::kStopped ? 0 : record.monitor.pid},
            {"status", status_name(status)},
            {"bundle", record.bundle},
            {"rootfs", record.rootfs},
            {"created", record.created},
            {"annotations", record.annotations},
            {"owner", user_name(record.owner)}};
}

// One that is being removed, or cannot be read, is told and left out.
std::vector<Container> find_all(const std::string& root, Reporter& reporter) {
    std::vector<Container> containers;
    for (const std::string& id : list_container_ids(root)) {
        Outcome<Container> container = find_container(root, id);
        if (container.is_ok())
            containers.push_back(container.release_value());
        else if (ContainerFolder::open(root, id).is_ok())
            reporter.warning(container.error().message);
    }
    return containers;
}

Outcome<> list(const std::string& root, Format format, Reporter& reporter) {
    const std::vector<Container> containers = find_all(root, reporter);
    std::string ids;
    ordered_json entries = ordered_json::array();
    std::vector<std::vector<std::string>> rows{{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
    for (const Container& container : containers) {
        const ContainerRecord& record = container.record;
        ids += record.id + "\n";
        entries.push_back(list_entry(record, container.status));
        rows.push_back({record.id, std::to_string(container.status == Status::kStopped ? 0 : record.monitor.pid),
                        status_name(container.status), printable(record.bundle), record.created,
                        user_name(record.owner)});
    }
    if (format == Format::kIds) return print(ids);
    if (format == Format::kTable) return print(as_table(rows));
    return print(entries.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

Outcome<> state(const std::string& root, const std::string& id) {
    const Container container = TRY(find_container(root, id));
    ContainerRecord record = container.record;
    return print(oci_state_report(record));
}

std::string cpu_time(uint64_t ns) {
    const uint64_t seconds = ns / 1'000'000'000;
    char text[32];
    std::snprintf(text, sizeof text, "%02lu:%02lu:%02lu", static_cast<unsigned long>(seconds / 3600),
                  static_cast<unsigned long>(seconds / 60 % 60), static_cast<unsigned long>(seconds % 60));
    return text;
}

std::string start_of(uint64_t seconds) {
    const auto when = static_cast<std::time_t>(seconds);
    std::tm local{};
    localtime_r(&when, &local);
    char text[32];
    std::strftime(text, sizeof text, std::time(nullptr) - when < 24 * 3600 ? "%H:%M" : "%b%d", &local);
    return text;
}

std::string process_table(const control::Processes<wire::Viewed>& processes) {
    std::vector<std::vector<std::string>> rows{
        {"UID", "PID", "PPID", "S", "THREADS", "RSS", "STIME", "TTY", "TIME", "CMD"}};
    for (const control::ProcessEntry<wire::Viewed>& entry : processes.entries)
        rows.push_back({std::to_string(entry.uid), std::to_string(entry.pid), std::to_string(entry.parent),
                        printable(std::string(1, static_cast<char>(entry.state))), std::to_string(entry.threads),
                        std::to_string(entry.resident / 1024) + "K", start_of(entry.started_s),
                        printable(entry.terminal), cpu_time(entry.cpu_ns), printable(entry.command)});
    return as_table(rows);
}

Outcome<> show_processes(const std::string& root, const std::string& id, Format format) {
    const Container container = TRY(find_container(root, id));
    ControlConnection monitor = TRY(connect(container));
    if (format == Format::kTable) {
        const Frame answer = TRY(ask(monitor, control::Ps{}));
        return print(process_table(TRY(answer_as<control::Processes<wire::Viewed>>(answer))));
    }
    const Frame answer = TRY(ask(monitor, control::HostProcesses{}));
    ordered_json pids = ordered_json::array();
    for (int32_t pid : TRY(answer_as<control::HostPids<wire::Viewed>>(answer)).pids) pids.push_back(pid);
    return print(pids.dump() + "\n");
}

Outcome<> show_stacks(const std::string& root, const std::string& id) {
    const Container container = TRY(find_container(root, id));
    ControlConnection monitor = TRY(connect(container));
    const Frame answer = TRY(ask(monitor, control::Stacks{}));
    return print(std::string(TRY(answer_as<control::Report<wire::Viewed>>(answer)).text));
}

}  // namespace

int print_state(const std::string& root, const std::string& id, Reporter& reporter) {
    return finish(state(root, id), reporter);
}

int list_containers(const std::string& root, Format format, Reporter& reporter) {
    return finish(list(root, format, reporter), reporter);
}

int print_processes(const std::string& root, const std::string& id, Format format, Reporter& reporter) {
    return finish(show_processes(root, id, format), reporter);
}

int print_stacks(const std::string& root, const std::string& id, Reporter& reporter) {
    return finish(show_stacks(root, id), reporter);
}

}  // namespace kvmsbx::oci
