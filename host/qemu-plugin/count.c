/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A QEMU plugin that counts how often each instruction runs and each branch is taken, layer by layer.
 *
 * The arguments are layout=FILE and out=FILE. The layout has lines "ADDRESS BUCKET", in hex and decimal:
 * running the instruction at ADDRESS enters BUCKET. What runs in bucket 0 is not counted. Entering bucket 0
 * from another one writes the counts so far, as lines "BUCKET RUNS TAKEN FIRST SIZES", one for each straight
 * piece of code. FIRST is the address of the piece in hex; SIZES has one digit per instruction, its size in
 * bytes; TAKEN says how often execution did not continue after its last instruction.
 *
 * QEMU's interface is declared here, so none of QEMU's headers is needed. Only functions that are the same in
 * versions 1 to 4 of the interface are used; QEMU_PLUGIN_VERSION is the version that QEMU expects.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
typedef void (*translated_t)(plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*executed_t)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, translated_t callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_t callback, int flags,
                                          void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_t callback, int flags,
                                            void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
EXPORT int qemu_plugin_install(plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

enum { NO_REGISTERS = 0, NO_MARK = -1 };

typedef struct {
    uint64_t runs;
    uint64_t taken;
} count_t;

/* A straight piece of code: it is entered only at its first instruction and left only after its last. */
typedef struct piece {
    struct piece *next;
    uint64_t first;
    uint64_t end;
    char *sizes;
    int mark; /* the bucket its first instruction enters, or NO_MARK */
    count_t counts[];
} piece_t;

typedef struct {
    uint64_t address;
    int bucket;
} mark_t;

static const char *out;
static mark_t *marks;
static size_t mark_count;
static int bucket_count = 1;
static piece_t *pieces;
static int bucket;
static piece_t *previous;   /* the piece that ran last */
static int previous_bucket; /* the bucket in which it ran */

static void fail(const char *what, const char *name)
{
    (void)fprintf(stderr, "count plugin: %s %s\n", what, name);
    exit(1);
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fail("no memory for", out);
    }
    return memory;
}

static void write_counts(void)
{
    char draft[4096];
    (void)snprintf(draft, sizeof draft, "%s.draft", out);
    FILE *file = fopen(draft, "w");
    if (file == NULL) {
        fail("cannot write", draft);
    }
    for (const piece_t *piece = pieces; piece != NULL; piece = piece->next) {
        for (int b = 1; b < bucket_count; b++) {
            const count_t *count = &piece->counts[b];
            if (count->runs != 0) {
                (void)fprintf(file, "%d %" PRIu64 " %" PRIu64 " %" PRIx64 " %s\n", b, count->runs,
                              count->taken, piece->first, piece->sizes);
            }
        }
    }
    if ((fclose(file) != 0) || (rename(draft, out) != 0)) {
        fail("cannot write", out);
    }
}

static void enter_piece(unsigned int cpu, void *data)
{
    (void)cpu;
    piece_t *const piece = data;
    if ((previous != NULL) && (previous->end != piece->first)) {
        previous->counts[previous_bucket].taken++;
    }
    if (piece->mark != NO_MARK) {
        const bool ended = (bucket != 0) && (piece->mark == 0);
        bucket = piece->mark;
        if (ended) {
            write_counts();
        }
    }
    piece->counts[bucket].runs++;
    previous = piece;
    previous_bucket = bucket;
}

static int mark_at(uint64_t address)
{
    for (size_t i = 0; i < mark_count; i++) {
        if (marks[i].address == address) {
            return marks[i].bucket;
        }
    }
    return NO_MARK;
}

/* Create the piece of a block that starts at instruction `from`; `to` becomes the instruction after it. */
static piece_t *new_piece(const struct qemu_plugin_tb *tb, size_t from, size_t *to)
{
    const size_t count = qemu_plugin_tb_n_insns(tb);
    piece_t *piece = allocate(sizeof *piece + ((size_t)bucket_count * sizeof(count_t)));
    piece->sizes = allocate(count - from + 1);
    size_t i = from;
    do {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        const size_t size = qemu_plugin_insn_size(insn);
        const int mark = mark_at(address);
        if (i == from) {
            piece->first = address;
            piece->mark = mark;
        } else if (mark != NO_MARK) {
            break;
        }
        piece->end = address + size;
        piece->sizes[i - from] = (char)('0' + size);
        i++;
    } while (i < count);
    piece->next = pieces;
    pieces = piece;
    *to = i;
    return piece;
}

static void block_translated(plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t from = 0, to; from < count; from = to) {
        piece_t *const piece = new_piece(tb, from, &to);
        if (from == 0) {
            qemu_plugin_register_vcpu_tb_exec_cb(tb, enter_piece, NO_REGISTERS, piece);
        } else {
            qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, from), enter_piece,
                                                   NO_REGISTERS, piece);
        }
    }
}

static void read_layout(const char *name)
{
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        fail("cannot read", name);
    }
    mark_t mark;
    while (fscanf(file, "%" SCNx64 " %d", &mark.address, &mark.bucket) == 2) {
        mark_t *more = realloc(marks, (mark_count + 1) * sizeof *marks);
        if ((more == NULL) || (mark.bucket < 0)) {
            fail("cannot use", name);
        }
        marks = more;
        marks[mark_count++] = mark;
        bucket_count = (mark.bucket >= bucket_count) ? mark.bucket + 1 : bucket_count;
    }
    (void)fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    const char *layout = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "layout=", 7) == 0) {
            layout = argv[i] + 7;
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = strdup(argv[i] + 4);
        }
    }
    if ((layout == NULL) || (out == NULL)) {
        fail("needs", "layout=FILE and out=FILE");
    }
    read_layout(layout);
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    return 0;
}
