/* A qemu plugin: how many guest instructions ran, by the address of the block they lie in.
 *
 * Counts from one marker to the next, so that start and loading are not in it. A marker is a system
 * call that does nothing, getpgid of a process that cannot be (see repeat.py). At the second one it
 * writes a line `address instructions` for each block that ran to the file named by `out=`.
 *
 * Debian ships qemu without the header of its plugin interface, so what is used of it is declared
 * here; these declarations are the same in all versions of the interface. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
enum { NO_REGISTERS = 0 };
enum { GETPGID = 155, BEGIN = 0x6b770001, END = 0x6b770002 }; /* the system call's number on arm64 */

void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

int qemu_plugin_version = API_VERSION;

struct block {
    uint64_t address, instructions;
    atomic_uint_fast64_t runs;
    struct block *next;
};

static struct block *_Atomic blocks;
static const char *path;

static void run(unsigned cpu, void *block)
{
    atomic_fetch_add_explicit(&((struct block *)block)->runs, 1, memory_order_relaxed);
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->next = atomic_load(&blocks);
    while (!atomic_compare_exchange_weak(&blocks, &block->next, block)) {
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, run, NO_REGISTERS, block);
}

static void begin(void)
{
    for (struct block *block = blocks; block; block = block->next)
        block->runs = 0;
}

static void end(void)
{
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return;
    }
    for (struct block *block = blocks; block; block = block->next)
        if (block->runs)
            fprintf(file, "%" PRIx64 " %" PRIu64 "\n", block->address,
                    block->instructions * block->runs);
    fclose(file);
}

static void call(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t argument, uint64_t b,
                 uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    if (number == GETPGID && argument == BEGIN)
        begin();
    if (number == GETPGID && argument == END)
        end();
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4))
        return 1;
    path = strdup(argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, call);
    return 0;
}
