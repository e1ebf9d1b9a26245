// SPDX-License-Identifier: GPL-2.0
/*
 * Packets between DPDK's vhost library, the back end that is measured, and its
 * driver virtio-user, in one thread.
 */

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "dpdk.h"

#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_vhost.h>

/* The queues of the first pair as the back end numbers them: the driver's. */
#define DRIVER_RX 0
#define DRIVER_TX 1
#define QUEUE_SIZE 256 /* descriptors, as QEMU has by default */
#define PACKETS 1024 /* of a pool */
#define MOST_BYTES 1536
#define WAIT_MS 5000 /* for the connection */

/* A driver and its back end. */
struct pair {
	char path[108]; /* of their socket */
	uint16_t port;
	int vid; /* the back end's name for it */
	struct rte_mempool *pool;
	struct rte_mbuf *given[BURST]; /* what the back end gives, again and again */
	const uint8_t *frame;
	unsigned int len;
	bool is_checked;
};

/* What the vhost library's own thread says: the device that is ready. */
static atomic_int ready;

static int new_device(int vid)
{
	atomic_store(&ready, vid);
	return 0;
}

static void destroy_device(int vid)
{
	(void)vid;
}

static const struct rte_vhost_device_ops operations = {
	.new_device = new_device,
	.destroy_device = destroy_device,
};

static void listen_at(const char *path)
{
	if (rte_vhost_driver_register(path, RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS) ||
	    rte_vhost_driver_callback_register(path, &operations) ||
	    rte_vhost_driver_start(path))
		not_here("DPDK's vhost library does not listen at %s", path);
}

/* The driver's port, connected to the back end at `path`. */
static uint16_t connect_to(const char *path, const char *name, bool packed)
{
	char options[512];
	uint16_t port;

	snprintf(options, sizeof(options), "path=%s,mac=%s,queues=1,queue_size=%d,packed_vq=%d",
		 path, "02:00:00:00:00:01", QUEUE_SIZE, packed);
	if (rte_vdev_init(name, options) || rte_eth_dev_get_port_by_name(name, &port))
		not_here("DPDK's driver virtio-user does not start");
	return port;
}

static void start_port(uint16_t port, struct rte_mempool *pool)
{
	struct rte_eth_conf config = { 0 };

	if (rte_eth_dev_configure(port, 1, 1, &config) ||
	    rte_eth_rx_queue_setup(port, 0, QUEUE_SIZE, SOCKET_ID_ANY, NULL, pool) ||
	    rte_eth_tx_queue_setup(port, 0, QUEUE_SIZE, SOCKET_ID_ANY, NULL) ||
	    rte_eth_dev_start(port))
		not_here("DPDK's driver virtio-user does not start its queues");
}

static int wait_for_device(void)
{
	int tries, vid;

	for (tries = 0; tries < WAIT_MS; tries++) {
		vid = atomic_load(&ready);
		if (vid >= 0)
			return vid;
		rte_delay_us_sleep(1000);
	}
	not_here("DPDK's driver and back end do not find each other");
}

static void start(struct pair *pair, const char *folder, const char *name, bool packed)
{
	int len = snprintf(pair->path, sizeof(pair->path), "%s/%s", folder, name);

	if (len < 0 || (size_t)len >= sizeof(pair->path))
		not_here("the path of the folder is too long for a socket");
	pair->pool = packets_of(name, PACKETS, MOST_BYTES);
	atomic_store(&ready, -1);
	listen_at(pair->path);
	pair->port = connect_to(pair->path, name, packed);
	start_port(pair->port, pair->pool);
	pair->vid = wait_for_device();
	/* Both ends poll. */
	rte_vhost_enable_guest_notification(pair->vid, DRIVER_RX, 0);
	rte_vhost_enable_guest_notification(pair->vid, DRIVER_TX, 0);
}

static void stop(const struct pair *pair)
{
	if (rte_eth_dev_stop(pair->port) || rte_eth_dev_close(pair->port) ||
	    rte_vhost_driver_unregister(pair->path))
		die("DPDK's driver and back end do not stop");
}

static void fill(struct pair *pair, struct rte_mbuf **packets)
{
	int number;

	if (rte_pktmbuf_alloc_bulk(pair->pool, packets, BURST))
		die("DPDK has no packets left");
	for (number = 0; number < BURST; number++) {
		packets[number]->data_len = pair->len;
		packets[number]->pkt_len = pair->len;
		memcpy(rte_pktmbuf_mtod(packets[number], void *), pair->frame, pair->len);
	}
}

/* The first burst shows that it is the packets that are moved. */
static void check(struct pair *pair, const char *who, struct rte_mbuf **packets,
		  unsigned int count)
{
	unsigned int number;

	if (count != BURST)
		die("%s has got %u packets instead of %d", who, count, BURST);
	for (number = 0; number < count && !pair->is_checked; number++)
		if (!is_same(packets[number], pair->frame, pair->len))
			die("%s has got another packet than was sent", who);
	pair->is_checked = true;
}

/* The back end takes a burst from the driver. */
static uint64_t take(void *context)
{
	struct pair *pair = context;
	struct rte_mbuf *packets[BURST];
	uint64_t start, time;
	uint16_t count;

	fill(pair, packets);
	if (rte_eth_tx_burst(pair->port, 0, packets, BURST) != BURST)
		die("DPDK's driver does not send");
	start = rte_rdtsc_precise();
	count = rte_vhost_dequeue_burst(pair->vid, DRIVER_TX, pair->pool, packets, BURST);
	time = rte_rdtsc_precise() - start;
	check(pair, "the back end", packets, count);
	rte_pktmbuf_free_bulk(packets, count);
	return time;
}

/* The back end gives the driver a burst. */
static uint64_t give(void *context)
{
	struct pair *pair = context;
	struct rte_mbuf *packets[BURST];
	uint64_t start, time;
	uint16_t count;

	start = rte_rdtsc_precise();
	count = rte_vhost_enqueue_burst(pair->vid, DRIVER_RX, pair->given, BURST);
	time = rte_rdtsc_precise() - start;
	if (count != BURST)
		die("the back end has given %u packets instead of %d", count, BURST);
	count = rte_eth_rx_burst(pair->port, 0, packets, BURST);
	check(pair, "the driver", packets, count);
	rte_pktmbuf_free_bulk(packets, count);
	return time;
}

/* Measures frames of `len` bytes both ways. */
static void measure(struct pair *split, struct pair *packed, const uint8_t *frame,
		    unsigned int len)
{
	struct pair *pairs[] = { split, packed };
	struct way ways[] = { { "split", NULL, split }, { "packed", NULL, packed } };
	unsigned int form;

	for (form = 0; form < RTE_DIM(pairs); form++) {
		pairs[form]->frame = frame;
		pairs[form]->len = len;
		pairs[form]->is_checked = false;
		ways[form].burst = take;
	}
	compare("take", len, ways, RTE_DIM(ways));
	for (form = 0; form < RTE_DIM(pairs); form++) {
		fill(pairs[form], pairs[form]->given);
		pairs[form]->is_checked = false;
		ways[form].burst = give;
	}
	compare("give", len, ways, RTE_DIM(ways));
	for (form = 0; form < RTE_DIM(pairs); form++)
		rte_pktmbuf_free_bulk(pairs[form]->given, BURST);
}

void measure_vhost(const char *folder)
{
	static const unsigned int lengths[] = { 64, 1448 };
	static struct pair split, packed;
	uint8_t frame[MOST_BYTES];
	unsigned int number;

	start(&split, folder, "net_virtio_user0", false);
	start(&packed, folder, "net_virtio_user1", true);
	for (number = 0; number < RTE_DIM(lengths); number++) {
		make_frame(frame, lengths[number]);
		measure(&split, &packed, frame, lengths[number]);
	}
	stop(&split);
	stop(&packed);
}
