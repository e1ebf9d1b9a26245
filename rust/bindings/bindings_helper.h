/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C headers behind the bindings of rust/kernel. What is taken from them is
 * listed in bindgen_parameters.
 */

#include <linux/bpf.h>
#include <linux/completion.h>
#include <linux/dim.h>
#include <linux/errno.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/skbuff.h>
#include <linux/udp.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>
#include <net/xdp_sock_drv.h>
#include <net/xfrm.h>

/* What bindgen does not evaluate as a macro. */
static const unsigned int ESPNIC_COALESCE = ETHTOOL_COALESCE_USECS |
	ETHTOOL_COALESCE_MAX_FRAMES | ETHTOOL_COALESCE_USE_ADAPTIVE_RX;
static const unsigned int ESPNIC_SHINFO_SIZE = SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
