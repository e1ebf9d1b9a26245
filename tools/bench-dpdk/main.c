// SPDX-License-Identifier: GPL-2.0
/*
 * bench-dpdk: what a packet costs in DPDK, which the NIC is compared with.
 *
 *   bench-dpdk MILLISECONDS FOLDER
 *
 * It measures for so long at a time, and makes all its files in the folder.  One
 * JSON object goes to stdout: each row has what was measured, the length of a
 * packet, which way it was done, and the median in nanoseconds per packet.
 *
 *   take, give        DPDK's vhost library takes a packet from a queue of virtio-user, or gives it
 *                     one; the length is that of the frame; split and packed queues
 *   encrypt, decrypt  DPDK's ESP library, AES-GCM-128 in transport mode; the length is that of the
 *                     text; each crypto driver there is, called at once or through its queue
 *
 * Memory is not in huge pages, devices are made by software: it needs no
 * privilege and changes nothing on the machine.
 *
 * Exit status 0 if everything was measured, 69 if DPDK does not work on this
 * machine, 1 if it does something wrong, 2 for a wrong command line.
 */

#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dpdk.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_version.h>

#define MEMORY "192" /* MiB */
#define MOST_WAYS 4
#define LEAST_ROUNDS 20
#define MOST_ROUNDS 65536

static uint64_t ticks[MOST_WAYS][MOST_ROUNDS];
static double milliseconds;
static bool is_first_row = true;

static void end(int status, const char *format, va_list args)
{
	fputs("bench-dpdk: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(status);
}

void not_here(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	end(NOT_HERE, format, args);
	abort();
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	end(1, format, args);
	abort();
}

static int by_size(const void *left, const void *right)
{
	uint64_t one = *(const uint64_t *)left, other = *(const uint64_t *)right;

	return (one > other) - (one < other);
}

static void print_row(const char *what, unsigned int bytes, const char *way, double ns)
{
	printf("%s\n {\"what\": \"%s\", \"bytes\": %u, \"way\": \"%s\", \"ns\": %.2f}",
	       is_first_row ? "" : ",", what, bytes, way, ns);
	is_first_row = false;
}

void compare(const char *what, unsigned int bytes, const struct way *ways, unsigned int count)
{
	double ns_per_packet = 1e9 / rte_get_tsc_hz() / BURST;
	uint64_t end = rte_rdtsc() + milliseconds / 1e3 * rte_get_tsc_hz();
	unsigned int rounds, way;

	for (rounds = 0; rounds < MOST_ROUNDS; rounds++) {
		if (rounds >= LEAST_ROUNDS && rte_rdtsc() > end)
			break;
		for (way = 0; way < count; way++)
			ticks[way][rounds] = ways[way].burst(ways[way].context);
	}
	for (way = 0; way < count; way++) {
		qsort(ticks[way], rounds, sizeof(ticks[way][0]), by_size);
		print_row(what, bytes, ways[way].name, ticks[way][rounds / 2] * ns_per_packet);
	}
}

struct rte_mempool *packets_of(const char *name, unsigned int count, unsigned int bytes)
{
	unsigned int room = RTE_PKTMBUF_HEADROOM + RTE_ALIGN_CEIL(bytes, RTE_CACHE_LINE_SIZE);
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, count, 2 * BURST, 0, room,
							   SOCKET_ID_ANY);

	if (!pool)
		not_here("no pool of %u packets of %u bytes: %s", count, bytes,
			 rte_strerror(rte_errno));
	return pool;
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

void make_frame(uint8_t *frame, unsigned int len)
{
	static const uint8_t headers[HEADERS] = {
		2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0,
		0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	};
	unsigned int at;

	memcpy(frame, headers, HEADERS);
	for (at = HEADERS; at < len; at++)
		frame[at] = at;
	put16(frame + 16, len - 14);
	put16(frame + HEADERS + 4, len - HEADERS);
	put16(frame + HEADERS + 6, 0);
}

bool is_same(const struct rte_mbuf *packet, const uint8_t *bytes, unsigned int len)
{
	return packet->nb_segs == 1 && packet->data_len == len &&
	       memcmp(rte_pktmbuf_mtod(packet, const void *), bytes, len) == 0;
}

/* One thread, on any of the processors that this process may use. */
static void processors(char *text, size_t room)
{
	cpu_set_t set;
	size_t len;
	int cpu;

	if (sched_getaffinity(0, sizeof(set), &set))
		not_here("the kernel does not say which processors may be used");
	len = snprintf(text, room, "0@(");
	for (cpu = 0; cpu < CPU_SETSIZE && len < room; cpu++)
		if (CPU_ISSET(cpu, &set))
			len += snprintf(text + len, room - len, "%d,", cpu);
	if (len >= room)
		not_here("more processors than DPDK can be told of");
	text[len - 1] = ')';
}

static void start(char *program, const char *folder)
{
	char list[4096];
	char *args[] = { program, "--lcores", list, "--no-huge", "-m", MEMORY, "--no-shconf",
			 "--no-pci", "--no-telemetry", "--log-level", "*:error" };

	processors(list, sizeof(list));
	if (setenv("RUNTIME_DIRECTORY", folder, 1))
		not_here("no memory for a variable of the environment");
	if (rte_eal_init(RTE_DIM(args), args) < 0)
		not_here("DPDK does not start: %s", rte_strerror(rte_errno));
}

int main(int argc, char **argv)
{
	char *rest = NULL;

	if (argc == 3)
		milliseconds = strtod(argv[1], &rest);
	if (!rest || *rest || !(milliseconds > 0 && milliseconds <= 1e6)) {
		fputs("usage: bench-dpdk MILLISECONDS FOLDER\n", stderr);
		return 2;
	}
	start(argv[0], argv[2]);
	printf("{\"version\": \"%s\", \"batch\": %d, \"rows\": [", rte_version(), BURST);
	measure_vhost(argv[2]);
	measure_esp();
	printf("\n]}\n");
	rte_eal_cleanup();
	return 0;
}
