#include "guestkernel/control/program.hpp"

#include "guestkernel/control/environment.hpp"

namespace kvmsbx::control {
namespace {

constexpr std::string_view kInPath = "is it in the image, and PATH in process.env right?",
                           kInImage = "is it (and its interpreter) in the image?",
                           kForSearch = "may the user of the process search its directories?",
                           kExecutable = "it must be a file with execute permission for the user of the process";

bool is_missing(Errno error) { return error == Errno::kNOENT || error == Errno::kNOTDIR; }

// exec: "NAME": REASON; ADVICE
bool refuse(Failure& failure, int code, std::string_view name, std::string_view reason, std::string_view advice) {
    failure.code = code;
    format_to(failure.text, "exec: \"{}\": {}; {}", name, reason, advice);
    return false;
}

bool refuse_path(Failure& failure, std::string_view name, std::string_view reason, int code, std::string_view advice) {
    FixedText<512> text;
    format_to(text, "stat {}: {}", name, reason);
    return refuse(failure, code, name, text.view(), advice);
}

bool use_path(task::Task& task, task::ExecRequest& request, std::string_view name, Failure& failure) {
    const auto there = vfs::walk(task.caller(), request.base, name, vfs::Follow::kYes);
    if (there.is_error()) {
        if (there.error() == Errno::kNOENT)
            return refuse_path(failure, name, "no such file or directory", kNotFound, kInImage);
        if (there.error() == Errno::kNOTDIR) return refuse_path(failure, name, "not a directory", kNotFound, kInImage);
        if (there.error() == Errno::kACCES)
            return refuse_path(failure, name, "permission denied", kNotExecutable, kForSearch);
        return cannot_execute(name, there.error(), failure);
    }
    const auto found = vfs::find_executable(task.caller(), request.base, name, vfs::Follow::kYes);
    if (found.is_error()) {
        if (found.error() == Errno::kACCES)
            return refuse(failure, kNotExecutable, name, "permission denied", kExecutable);
        return cannot_execute(name, found.error(), failure);
    }
    if (auto set = request.path.append(name); set.is_error()) return cannot_execute(name, set.error(), failure);
    return true;
}

Result<String> join(std::string_view directory, std::string_view name) {
    String path = TRY(String::create(directory));
    TRY(path.append('/'));
    TRY(path.append(name));
    return path;
}

// The first directory of PATH in which the task finds the program executable.
bool search(task::Task& task, task::ExecRequest& request, std::string_view name, Failure& failure) {
    for (std::string_view rest = search_path(request); !rest.empty();) {
        const size_t colon = rest.find(':');
        const std::string_view directory = rest.substr(0, colon);
        rest.remove_prefix(colon == rest.npos ? rest.size() : colon + 1);
        auto path = join(directory.empty() ? "." : directory, name);
        if (path.is_error()) return cannot_execute(name, path.error(), failure);
        if (vfs::find_executable(task.caller(), request.base, path->view(), vfs::Follow::kYes).is_error()) continue;
        if (!path->view().starts_with('/'))
            return refuse(failure, kNotExecutable, name, "cannot run executable found relative to current directory",
                          "name it with a slash, or leave \".\" out of PATH in process.env");
        request.path = path.release_value();
        return true;
    }
    return refuse(failure, kNotFound, name, "executable file not found in $PATH", kInPath);
}

}  // namespace

bool find_program(task::Task& task, task::ExecRequest& request, Failure& failure) {
    if (request.arguments.empty()) return refuse(failure, kNotFound, "", "no command", "give one in process.args");
    const std::string_view name = request.arguments[0].view();
    request.base = task.fs().cwd;
    return name.find('/') != name.npos ? use_path(task, request, name, failure) : search(task, request, name, failure);
}

bool cannot_execute(std::string_view program, Errno error, Failure& failure) {
    if (error == Errno::kAGAIN || error == Errno::kNOMEM)
        return fail(failure, "cannot run", program, error, advice_for(error));
    failure.code = is_missing(error) ? kNotFound : kNotExecutable;
    return fail(failure, "cannot run", program, error,
                is_missing(error) ? kInImage : "it must be an executable x86-64 ELF file or a #! script");
}

}  // namespace kvmsbx::control
