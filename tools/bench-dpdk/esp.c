// SPDX-License-Identifier: GPL-2.0
/*
 * Packets through DPDK's ESP library, with the crypto drivers that call intel-ipsec-mb.
 */

#include "dpdk.h"

#include <rte_bus_vdev.h>
#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_ipsec.h>
#include <rte_malloc.h>

#define MOST_TEXT 9000
#define TRAILER 2 /* pad length and next header; the texts need no padding */
#define BEFORE_TEXT 16 /* ESP header and IV */
#define ICV 16
#define ROOM 64 /* for what the library adds, and for what it keeps behind the ICV */
#define MOST_BYTES (HEADERS + MOST_TEXT + ROOM)
#define SPI 0x11223344
#define SALT 0x06070809
#define IPV4 4 /* as a protocol number */
#define ESP 50
#define PROTOCOL 23 /* where the frame has it */
#define IV_OFFSET (sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op))
#define IV_LEN 12
#define QUEUE 256 /* operations */
#define TRIES 1000 /* to get a burst of them back */
#define WAYS 4

#define GCM "crypto_aesni_gcm"
#define MB "crypto_aesni_mb"

enum direction { OUT, IN };

/* A crypto driver, and how it is called. */
struct method {
	const char *name, *driver;
	enum rte_security_session_action_type type;
};

static const char *const drivers[] = { GCM, MB };

static const struct method methods[WAYS] = {
	{ "aesni_gcm at once", GCM, RTE_SECURITY_ACTION_TYPE_CPU_CRYPTO },
	{ "aesni_gcm queue", GCM, RTE_SECURITY_ACTION_TYPE_NONE },
	{ "aesni_mb at once", MB, RTE_SECURITY_ACTION_TYPE_CPU_CRYPTO },
	{ "aesni_mb queue", MB, RTE_SECURITY_ACTION_TYPE_NONE },
};

/* An SA and its packets: what goes in, and the length that comes out. */
struct sa {
	struct rte_ipsec_session session;
	const uint8_t *frame;
	unsigned int len, new_len;
};

static struct sa sas[2][WAYS];
static struct rte_mbuf *packets[BURST];
static struct rte_crypto_op *operations[BURST];
static struct rte_mempool *sessions;

static void start(const char *driver)
{
	struct rte_cryptodev_config config = { .nb_queue_pairs = 1, .socket_id = SOCKET_ID_ANY };
	struct rte_cryptodev_qp_conf queue = { .nb_descriptors = QUEUE };
	int device;

	if (rte_vdev_init(driver, NULL))
		not_here("DPDK's %s does not start", driver);
	device = rte_cryptodev_get_dev_id(driver);
	if (device < 0 || rte_cryptodev_configure(device, &config) ||
	    rte_cryptodev_queue_pair_setup(device, 0, &queue, SOCKET_ID_ANY) ||
	    rte_cryptodev_start(device))
		not_here("DPDK's %s does not start its queue", driver);
}

/* The IV is where the library writes it: behind the operation. */
static struct rte_crypto_sym_xform cipher(enum direction direction)
{
	static const uint8_t key[16] = { 0x42, 0x42, 0x42, 0x42 };

	return (struct rte_crypto_sym_xform){
		.type = RTE_CRYPTO_SYM_XFORM_AEAD,
		.aead = {
			.op = direction == OUT ? RTE_CRYPTO_AEAD_OP_ENCRYPT :
						 RTE_CRYPTO_AEAD_OP_DECRYPT,
			.algo = RTE_CRYPTO_AEAD_AES_GCM,
			.key = { .data = key, .length = sizeof(key) },
			.iv = { .offset = IV_OFFSET, .length = IV_LEN },
			.digest_length = ICV,
			.aad_length = 8,
		},
	};
}

/* Without a replay window: in crypto offload, the NIC has none either. */
static struct rte_ipsec_sa *make_sa(enum direction direction, struct rte_crypto_sym_xform *xform)
{
	struct rte_ipsec_sa_prm wanted = {
		.ipsec_xform = {
			.spi = SPI,
			.salt = SALT,
			.direction = direction == OUT ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS :
							RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
			.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP,
			.mode = RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT,
		},
		.crypto_xform = xform,
		.trs = { .proto = IPV4 }, /* what the packets are, not what is in them */
	};
	int size = rte_ipsec_sa_size(&wanted);
	struct rte_ipsec_sa *sa = NULL;

	if (size > 0)
		sa = rte_zmalloc(NULL, size, RTE_CACHE_LINE_SIZE);
	if (!sa || rte_ipsec_sa_init(sa, &wanted, size) < 0)
		die("DPDK's ESP library does not take the SA");
	return sa;
}

static void add_sa(const struct method *method, enum direction direction,
		   struct rte_ipsec_session *session)
{
	struct rte_crypto_sym_xform xform = cipher(direction);

	session->sa = make_sa(direction, &xform);
	session->type = method->type;
	session->crypto.dev_id = rte_cryptodev_get_dev_id(method->driver);
	session->crypto.ses = rte_cryptodev_sym_session_create(session->crypto.dev_id, &xform,
							       sessions);
	if (!session->crypto.ses || rte_ipsec_session_prepare(session))
		not_here("DPDK's %s does not take the SA", method->driver);
}

/* Writes the frames anew, because the library changes them. */
static void reset(const struct sa *sa)
{
	unsigned int number;

	for (number = 0; number < BURST; number++) {
		struct rte_mbuf *packet = packets[number];

		rte_pktmbuf_reset(packet);
		packet->data_len = sa->len;
		packet->pkt_len = sa->len;
		packet->l2_len = 14;
		packet->l3_len = HEADERS - 14;
		memcpy(rte_pktmbuf_mtod(packet, void *), sa->frame, sa->len);
	}
}

static unsigned int at_once(const struct rte_ipsec_session *session)
{
	unsigned int count = rte_ipsec_pkt_cpu_prepare(session, packets, BURST);

	return rte_ipsec_pkt_process(session, packets, count);
}

static unsigned int through_queue(const struct rte_ipsec_session *session)
{
	unsigned int count = rte_ipsec_pkt_crypto_prepare(session, packets, operations, BURST);
	unsigned int back = 0, tries;
	struct rte_ipsec_group groups[BURST];
	uint8_t device = session->crypto.dev_id;

	count = rte_cryptodev_enqueue_burst(device, 0, operations, count);
	for (tries = 0; back < count && tries < TRIES; tries++)
		back += rte_cryptodev_dequeue_burst(device, 0, operations + back, count - back);
	if (rte_ipsec_pkt_crypto_group((const struct rte_crypto_op **)(uintptr_t)operations,
				       packets, groups, back) != 1)
		return 0;
	return rte_ipsec_pkt_process(groups[0].id.ptr, groups[0].m, groups[0].cnt);
}

/* All packets of a burst, which are whole and as long as they should be afterwards. */
static uint64_t burst(void *context)
{
	const struct sa *sa = context;
	const struct rte_ipsec_session *session = &sa->session;
	unsigned int count, number;
	uint64_t start, time;

	reset(sa);
	start = rte_rdtsc_precise();
	if (session->type == RTE_SECURITY_ACTION_TYPE_CPU_CRYPTO)
		count = at_once(session);
	else
		count = through_queue(session);
	time = rte_rdtsc_precise() - start;
	for (number = 0; number < count; number++)
		if (packets[number]->nb_segs != 1 || packets[number]->data_len != sa->new_len)
			die("DPDK's ESP library has made a packet of another length");
	if (count != BURST)
		die("DPDK's ESP library has done %u packets instead of %d", count, BURST);
	return time;
}

static void use(enum direction direction, const uint8_t *frame, unsigned int len, int more)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		sas[direction][way].frame = frame;
		sas[direction][way].len = len;
		sas[direction][way].new_len = len + more;
	}
}

/*
 * Encrypts the frame in all ways, and decrypts it in all ways, which must bring
 * it back; what was encrypted last is left in `encrypted`.
 */
static void check(const uint8_t *frame, unsigned int len, uint8_t *encrypted)
{
	int out, in;

	for (out = 0; out < WAYS; out++) {
		burst(&sas[OUT][out]);
		memcpy(encrypted, rte_pktmbuf_mtod(packets[0], void *), sas[IN][0].len);
		if (encrypted[PROTOCOL] != ESP)
			die("DPDK's ESP library has not made ESP");
		for (in = 0; in < WAYS; in++) {
			burst(&sas[IN][in]);
			if (!is_same(packets[0], frame, len))
				die("what %s encrypts, %s decrypts to something else",
				    methods[out].name, methods[in].name);
		}
	}
}

static void measure(unsigned int text)
{
	static uint8_t frame[MOST_BYTES], encrypted[MOST_BYTES];
	static const char *const names[] = { "encrypt", "decrypt" };
	unsigned int len = HEADERS + text - TRAILER;
	const int more = BEFORE_TEXT + TRAILER + ICV;
	struct way ways[WAYS];
	int direction, way;

	make_frame(frame, len);
	use(OUT, frame, len, more);
	use(IN, encrypted, len + more, -more);
	check(frame, len, encrypted);
	for (direction = OUT; direction <= IN; direction++) {
		for (way = 0; way < WAYS; way++)
			ways[way] = (struct way){ methods[way].name, burst,
						  &sas[direction][way] };
		compare(names[direction], text, ways, WAYS);
	}
}

/* For sessions, operations and packets. */
static void make_pools(void)
{
	struct rte_mempool *pool = packets_of("esp", 4 * BURST, MOST_BYTES);
	struct rte_mempool *free_ones;
	unsigned int size = 0;
	int device;

	for (device = 0; device < rte_cryptodev_count(); device++)
		size = RTE_MAX(size, rte_cryptodev_sym_get_private_session_size(device));
	sessions = rte_cryptodev_sym_session_pool_create("sessions", 2 * WAYS, size, 0, 0,
							 SOCKET_ID_ANY);
	free_ones = rte_crypto_op_pool_create("operations", RTE_CRYPTO_OP_TYPE_SYMMETRIC, BURST, 0,
					      RTE_ALIGN_CEIL(IV_LEN, 16), SOCKET_ID_ANY);
	if (!sessions || !free_ones || rte_pktmbuf_alloc_bulk(pool, packets, BURST) ||
	    rte_crypto_op_bulk_alloc(free_ones, RTE_CRYPTO_OP_TYPE_SYMMETRIC, operations,
				     BURST) != BURST)
		not_here("no memory for SAs and a burst of packets");
}

static void stop(const char *driver)
{
	rte_cryptodev_stop(rte_cryptodev_get_dev_id(driver));
	if (rte_cryptodev_close(rte_cryptodev_get_dev_id(driver)))
		die("DPDK's %s does not stop", driver);
}

void measure_esp(void)
{
	/* 1416 is that of a frame of 1448 bytes before it has ESP. */
	static const unsigned int texts[] = { 64, 1400, 1416, MOST_TEXT };
	unsigned int number;
	int way;

	for (number = 0; number < RTE_DIM(drivers); number++)
		start(drivers[number]);
	make_pools();
	for (way = 0; way < WAYS; way++) {
		add_sa(&methods[way], OUT, &sas[OUT][way].session);
		add_sa(&methods[way], IN, &sas[IN][way].session);
	}
	for (number = 0; number < RTE_DIM(texts); number++)
		measure(texts[number]);
	for (number = 0; number < RTE_DIM(drivers); number++)
		stop(drivers[number]);
}
