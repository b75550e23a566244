// A QEMU TCG plugin that counts how many instructions the emulated CPU executes between two addresses of one program:
//   -plugin count_plugin.so,from=ADDRESS,to=ADDRESS,output=FILE
// Each time the instruction at `from` has been executed, instructions are counted until the one at `to` is about to be; FILE gets one number per line.
// What a nested hypervisor executes in between (a timer interrupt) is counted as well, so the smallest and the median tell.
//
// QEMU 7.2's plugin interface, version 1 (include/qemu/qemu-plugin.h), as far as it is used: Debian ships the loader, not the header.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb* tb));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn* insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn* insn, void (*callback)(unsigned vcpu, void* data), int flags, void* data);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

static uint64_t from_address, to_address, counter;
static bool counting;
static FILE* output;

static void on_any(unsigned vcpu, void* data) {
    (void)vcpu;
    (void)data;
    counter++;
}

static void on_from(unsigned vcpu, void* data) {
    (void)vcpu;
    (void)data;
    counter = 0;
    counting = true;
}

static void on_to(unsigned vcpu, void* data) {
    (void)vcpu;
    (void)data;
    if (counting && output != NULL) {
        fprintf(output, "%lu\n", (unsigned long)counter);
        fflush(output);
    }
    counting = false;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, address == from_address ? on_from : address == to_address ? on_to : on_any, 0, NULL);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info* info, int argc, char** argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "from=", 5) == 0) from_address = strtoull(argv[i] + 5, NULL, 0);
        if (strncmp(argv[i], "to=", 3) == 0) to_address = strtoull(argv[i] + 3, NULL, 0);
        if (strncmp(argv[i], "output=", 7) == 0) output = fopen(argv[i] + 7, "w");
    }
    if (from_address == 0 || to_address == 0 || output == NULL) {
        fprintf(stderr, "count_plugin: from=, to= and a writable output= are needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
