// SPDX-License-Identifier: GPL-2.0
/*
 * count: a QEMU TCG plugin that counts the instructions a guest executes.
 *
 *   -plugin count.so,out=FILE[,profile=FILE]
 *
 * The guest says what is to be counted: a program in it executes a marker, and
 * for every marker one line is added to the out file:
 *
 *   MARKER INSTRUCTIONS ITERATIONS NANOSECONDS
 *
 * with the number of the marker, the instructions since the start of QEMU, the
 * iterations of string instructions with a repeat prefix (QEMU executes those
 * as a whole and would count a copy of any length as one instruction) and the
 * host's monotonic clock.  A line is written in one piece before the guest
 * executes its next instruction.
 *
 * A marker is the no-op "nopl N(%rax)", N = 0x4e5345xx with the number of the
 * marker in its low byte: it needs no privilege, touches no memory or device,
 * and no compiler emits it.
 *
 * With profile=FILE, each marker 2 also replaces that file: lines "ADDRESS
 * COUNT" with what was executed since the last marker 1, per block of code.
 *
 * Counting is exact for one virtual CPU, and more than one is refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/*
 * The part of QEMU's plugin interface that is used here, version 7 (QEMU 11.1:
 * docs/devel/tcg-plugins.rst).  No package ships its header.
 */
typedef uint64_t qemu_plugin_id_t;

typedef struct {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus;
		int max_vcpus;
	} system;
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;

typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W };

typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(struct qemu_plugin_tb *tb, void *userdata);
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned int vcpu_index, void *userdata);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t cb,
					   void *userdata);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    qemu_plugin_vcpu_udata_cb_t cb,
					    enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
						       enum qemu_plugin_op op,
						       qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_mem_inline_per_vcpu(struct qemu_plugin_insn *insn,
						   enum qemu_plugin_mem_rw rw,
						   enum qemu_plugin_op op,
						   qemu_plugin_u64 entry, uint64_t imm);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
void qemu_plugin_u64_set(qemu_plugin_u64 entry, unsigned int vcpu_index, uint64_t val);
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

EXPORT int qemu_plugin_version = 7;

#define MARK_START 1
#define MARK_END 2

/* Longest x86 instruction. */
#define INSN_MAX 15

/* Blocks of code that a profile can tell apart: half of this; the rest are counted at address 0. */
#define SLOT_BITS 20
#define SLOTS (1u << SLOT_BITS)

static struct qemu_plugin_scoreboard *board;
static int out = -1;
static const char *profile;
static uint64_t slot_address[SLOTS];
static unsigned int slots_used;

static qemu_plugin_u64 entry(size_t index)
{
	return (qemu_plugin_u64){ .score = board, .offset = index * sizeof(uint64_t) };
}

/* The entries: instructions, iterations, then one per slot of the profile. */
#define INSTRUCTIONS entry(0)
#define ITERATIONS entry(1)
#define SLOT(n) entry(2 + (n))

/* The slot of the block at this address; the one behind the table when that is full. */
static unsigned int slot_of(uint64_t address)
{
	unsigned int n = (address * 0x9e3779b97f4a7c15ull) >> (64 - SLOT_BITS);

	while (slot_address[n] && slot_address[n] != address)
		n = (n + 1) % SLOTS;
	if (!slot_address[n]) {
		if (slots_used >= SLOTS / 2)
			return SLOTS;
		slots_used++;
		slot_address[n] = address;
	}
	return n;
}

static void clear_profile(void)
{
	for (unsigned int n = 0; n <= SLOTS; n++)
		qemu_plugin_u64_set(SLOT(n), 0, 0);
}

static void write_profile(void)
{
	FILE *file = fopen(profile, "w");

	if (!file) {
		fprintf(stderr, "count: %s: %s\n", profile, strerror(errno));
		return;
	}
	for (unsigned int n = 0; n <= SLOTS; n++) {
		uint64_t count = qemu_plugin_u64_sum(SLOT(n));

		if (count)
			fprintf(file, "%" PRIx64 " %" PRIu64 "\n", n < SLOTS ? slot_address[n] : 0,
				count);
	}
	if (fclose(file))
		fprintf(stderr, "count: %s: %s\n", profile, strerror(errno));
}

static void on_marker(unsigned int vcpu_index, void *userdata)
{
	uintptr_t marker = (uintptr_t)userdata;
	struct timespec now;
	char line[128];
	int len;

	(void)vcpu_index;
	clock_gettime(CLOCK_MONOTONIC, &now);
	len = snprintf(line, sizeof(line), "%u %" PRIu64 " %" PRIu64 " %lld%09ld\n",
		       (unsigned int)marker, qemu_plugin_u64_sum(INSTRUCTIONS),
		       qemu_plugin_u64_sum(ITERATIONS), (long long)now.tv_sec, now.tv_nsec);
	if (profile && marker == MARK_END)
		write_profile();
	if (write(out, line, len) != len)
		fprintf(stderr, "count: cannot write the counters: %s\n", strerror(errno));
	if (profile && marker == MARK_START)
		clear_profile();
}

/* The number of the marker that these bytes are, 0 if they are none. */
static unsigned int marker_number(const uint8_t *code, size_t len)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x80 };
	static const uint8_t magic[] = { 'E', 'S', 'N' };

	if (len != 7 || memcmp(code, nop, sizeof(nop)) || memcmp(code + 4, magic, sizeof(magic)))
		return 0;
	return code[3];
}

/*
 * The kind of memory access that an iteration of a repeated string instruction
 * makes once; 0 if the bytes are none.  MOVS A4/A5 and STOS AA/AB store; CMPS
 * A6/A7, LODS AC/AD and SCAS AE/AF only load (CMPS twice: it counts double).
 */
static enum qemu_plugin_mem_rw repeated_access(const uint8_t *code, size_t len)
{
	bool repeated = false;

	for (size_t i = 0; i < len; i++) {
		switch (code[i]) {
		case 0xf2:
		case 0xf3:
			repeated = true;
			break;
		case 0x66:
		case 0x67:
		case 0x40 ... 0x4f: /* REX */
			break;
		case 0xa4:
		case 0xa5:
		case 0xaa:
		case 0xab:
			return repeated ? QEMU_PLUGIN_MEM_W : 0;
		case 0xa6:
		case 0xa7:
		case 0xac ... 0xaf:
			return repeated ? QEMU_PLUGIN_MEM_R : 0;
		default:
			return 0;
		}
	}
	return 0;
}

static void on_instruction(struct qemu_plugin_insn *insn, unsigned int slot)
{
	uint8_t code[INSN_MAX];
	size_t len = qemu_plugin_insn_data(insn, code, sizeof(code));
	enum qemu_plugin_mem_rw access = repeated_access(code, len);
	unsigned int marker = marker_number(code, len);

	if (marker)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
						       (void *)(uintptr_t)marker);
	if (!access)
		return;
	qemu_plugin_register_vcpu_mem_inline_per_vcpu(insn, access, QEMU_PLUGIN_INLINE_ADD_U64,
						      ITERATIONS, 1);
	if (profile)
		qemu_plugin_register_vcpu_mem_inline_per_vcpu(
			insn, access, QEMU_PLUGIN_INLINE_ADD_U64, SLOT(slot), 1);
}

/*
 * Counting per block is as good as per instruction: a block is left early only
 * by an exception in its middle, and interrupts are taken between blocks.
 */
static void on_translation(struct qemu_plugin_tb *tb, void *userdata)
{
	unsigned int slot = profile ? slot_of(qemu_plugin_tb_vaddr(tb)) : 0;
	size_t count = qemu_plugin_tb_n_insns(tb);

	(void)userdata;
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							  INSTRUCTIONS, count);
	if (profile)
		qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
			tb, QEMU_PLUGIN_INLINE_ADD_U64, SLOT(slot), count);
	for (size_t i = 0; i < count; i++)
		on_instruction(qemu_plugin_tb_get_insn(tb, i), slot);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *path = NULL;

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4)) {
			path = argv[i] + 4;
		} else if (!strncmp(argv[i], "profile=", 8)) {
			profile = argv[i] + 8;
		} else {
			fprintf(stderr, "count: unknown option %s: use out=, profile=\n", argv[i]);
			return -1;
		}
	}
	if (!path || strcmp(info->target_name, "x86_64") || !info->system_emulation ||
	    info->system.max_vcpus != 1) {
		fprintf(stderr, "count: needs out=FILE and an x86_64 machine with -smp 1\n");
		return -1;
	}
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (out < 0) {
		fprintf(stderr, "count: %s: %s\n", path, strerror(errno));
		return -1;
	}
	board = qemu_plugin_scoreboard_new((profile ? SLOTS + 3 : 2) * sizeof(uint64_t));
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation, NULL);
	return 0;
}
