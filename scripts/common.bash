# shellcheck shell=bash
# Sourced by the scripts of this folder: where the project is, and how to speak.
# shellcheck disable=SC2034  # used by the scripts that source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "== $*" >&2; }
die() {
    printf '%s\n' "${0##*/}: $*" >&2
    exit 1
}

# as_root COMMAND...: directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: run it as root, or install sudo"
    fi
}

# build_jobs: as many compilers as processors, but at least 1 GB of memory each.
build_jobs() {
    local cpus by_memory
    cpus=$(nproc)
    by_memory=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
    if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
    if [ "$by_memory" -lt "$cpus" ]; then echo "$by_memory"; else echo "$cpus"; fi
}
