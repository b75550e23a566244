#pragma once
// Loading a program into a new address space: segments, stack, vDSO, auxiliary vector.
#include "guestkernel/task/elf.hpp"
#include "guestkernel/task/life.hpp"

namespace kvmsbx::task {

struct LoadedProgram {
    RefPtr<mm::AddressSpace> space;
    uint64_t entry = 0, stack = 0;
};

struct ProgramIdentity {  // for the auxiliary vector
    uint32_t uid, euid, gid, egid;
    bool secure;
};

// `program` is the ELF file, already recognized; `name` goes to AT_EXECFN. Errors: ENOEXEC, ENOMEM, E2BIG, EIO,
// ELIBBAD's Linux answers.
Result<LoadedProgram> load_program(Task& task, RefPtr<vfs::File> program, std::string_view name,
                                   const Vector<String>& arguments, const Vector<String>& environment,
                                   const ProgramIdentity& identity);

}  // namespace kvmsbx::task
