/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of bench-dpdk share.  It comes before all other headers of DPDK. */

#ifndef BENCH_DPDK_H
#define BENCH_DPDK_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_config.h>
#undef RTE_USE_LIBBSD /* whose headers come in a package of their own */
#include <rte_mbuf.h>

#define BURST 32 /* packets */
#define HEADERS 34 /* bytes of Ethernet and IPv4 */

/* Of processes that cannot do here what they are for (EX_UNAVAILABLE of sysexits.h). */
#define NOT_HERE 69

/* One of the ways to do something, which take turns. */
struct way {
	const char *name;
	/* Does a burst; returns how many ticks of the TSC the measured part took. */
	uint64_t (*burst)(void *context);
	void *context;
};

/* Ends the program with a message: what this machine cannot do, and what went wrong. */
void not_here(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Lets all ways take turns, and prints a row for each; `bytes` is the length of a packet. */
void compare(const char *what, unsigned int bytes, const struct way *ways, unsigned int count);

/* A pool of packets of up to so many bytes. */
struct rte_mempool *packets_of(const char *name, unsigned int count, unsigned int bytes);

/* An Ethernet frame with UDP over IPv4, without a checksum. */
void make_frame(uint8_t *frame, unsigned int len);

/* Whether the packet is these bytes, in one piece. */
bool is_same(const struct rte_mbuf *packet, const uint8_t *bytes, unsigned int len);

/* The measurements, at the end of which everything is stopped; sockets are made in `folder`. */
void measure_vhost(const char *folder);
void measure_esp(void);

#endif
