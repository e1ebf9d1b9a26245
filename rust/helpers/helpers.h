/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions for what bindgen cannot see: inline functions and macros. One line
 * each, no logic. Rust calls espnic_helper_foo() as foo().
 */
#ifndef ESPNIC_HELPERS_H
#define ESPNIC_HELPERS_H

#include <linux/bpf_trace.h>
#include <linux/completion.h>
#include <linux/etherdevice.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/swiotlb.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#include <net/addrconf.h>
#include <net/busy_poll.h>
#include <net/dsa.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/neighbour.h>
#include <net/page_pool/helpers.h>
#include <net/route.h>
#include <net/xdp.h>
#include <net/xdp_sock_drv.h>
#include <net/xfrm.h>

/* virtio.c */
bool espnic_helper_virtio_test_bit(const struct virtio_device *vdev, unsigned int bit);
void espnic_helper_virtio_clear_bit(struct virtio_device *vdev, unsigned int bit);
int espnic_helper_virtio_find_vqs(struct virtio_device *vdev, unsigned int n,
				  struct virtqueue *vqs[], struct virtqueue_info info[]);
bool espnic_helper_virtio_trylock(struct virtio_device *vdev);
void espnic_helper_virtio_unlock(struct virtio_device *vdev);
void espnic_helper_virtio_del_vqs(struct virtio_device *vdev);
void espnic_helper_virtio_device_ready(struct virtio_device *vdev);
int espnic_helper_virtqueue_add_packet(struct virtqueue *vq, struct scatterlist *sg,
				       const void *header, unsigned int len, struct sk_buff *skb);
bool espnic_helper_virtio_has_config(struct virtio_device *vdev);
void espnic_helper_virtio_synchronize_cbs(struct virtio_device *vdev);
u8 espnic_helper_virtio_get_status(struct virtio_device *vdev);
void espnic_helper_virtio_cread_bytes(struct virtio_device *vdev, unsigned int offset,
				      void *buf, size_t len);
struct device *espnic_helper_virtio_get_device(struct virtio_device *vdev);
void espnic_helper_virtio_put_device(struct virtio_device *vdev);

/* netdevice.c */
void *espnic_helper_netdev_priv(const struct net_device *dev);
void espnic_helper_netdev_set_parent(struct net_device *dev, struct device *parent);
void espnic_helper_netdev_disable_skb_sharing(struct net_device *dev);
void espnic_helper_netdev_disable_netpoll(struct net_device *dev);
void espnic_helper_netdev_allow_live_address(struct net_device *dev);
void espnic_helper_netdev_filters_unicast(struct net_device *dev);
unsigned int espnic_helper_netdev_copy_addresses(struct net_device *dev, bool multicast,
						 u8 *to, unsigned int room);
void espnic_helper_eth_hw_addr_set(struct net_device *dev, const u8 *addr);
void espnic_helper_eth_hw_addr_random(struct net_device *dev);
void espnic_helper_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
				  int (*poll)(struct napi_struct *, int));
void espnic_helper_netif_napi_set_irq(struct napi_struct *napi, int irq);
void espnic_helper_netif_napi_del(struct napi_struct *napi);
void espnic_helper_napi_schedule_process(struct napi_struct *napi);
void espnic_helper_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);
bool espnic_helper_netif_elide_gro(const struct net_device *dev);
void espnic_helper_netif_tx_start(struct net_device *dev, unsigned int queue);
void espnic_helper_netif_tx_stop(struct net_device *dev, unsigned int queue);
void espnic_helper_netif_tx_wake(struct net_device *dev, unsigned int queue);
bool espnic_helper_netif_tx_stopped(struct net_device *dev, unsigned int queue);
void espnic_helper_netdev_detach(struct net_device *dev);
void espnic_helper_netif_tx_disable(struct net_device *dev);
bool espnic_helper_netif_running(const struct net_device *dev);
bool espnic_helper_netdev_xmit_more(void);
bool espnic_helper_netdev_tx_sent(struct net_device *dev, unsigned int queue, unsigned int bytes);
void espnic_helper_netdev_tx_completed(struct net_device *dev, unsigned int queue,
				       unsigned int packets, unsigned int bytes);
void espnic_helper_netdev_tx_reset(struct net_device *dev, unsigned int queue);
unsigned int espnic_helper_num_online_cpus(void);
unsigned int espnic_helper_num_possible_cpus(void);
int espnic_helper_virtqueue_irq(struct virtqueue *vq);
void espnic_helper_virtqueue_set_cpu(struct virtqueue *vq, unsigned int nth);
int espnic_helper_virtqueue_add_room(struct virtqueue *vq, void *room, unsigned int len,
				     void *token);
int espnic_helper_virtqueue_add_buffer(struct virtqueue *vq, void *room, unsigned int len,
				       void *token);
void espnic_helper_netif_set_xps_cpu(struct net_device *dev, unsigned int nth, u16 queue);
struct net *espnic_helper_current_net(void);
void espnic_helper_get_net(struct net *net);
void espnic_helper_put_net(struct net *net);
bool espnic_helper_net_admin(const struct net *net);
bool espnic_helper_net_raw(const struct net *net);
void espnic_helper_dev_put(struct net_device *dev);
struct net_device *espnic_helper_notifier_dev(void *info);
bool espnic_helper_netdev_has_rx_handler(const struct net_device *dev);
bool espnic_helper_netif_is_bond_master(const struct net_device *dev);
bool espnic_helper_netif_is_bond_slave(const struct net_device *dev);
bool espnic_helper_is_vlan_dev(const struct net_device *dev);
void espnic_helper_rtnl_lock(void);
void espnic_helper_rtnl_unlock(void);
void espnic_helper_init_delayed_work(struct delayed_work *work, work_func_t func);
void espnic_helper_schedule_work_in(struct delayed_work *work, unsigned int ms);
void espnic_helper_init_work(struct work_struct *work, work_func_t func);
void espnic_helper_queue_long_work(struct work_struct *work);

/* neighbour.c */
struct dst_entry *espnic_helper_ip4_route_through(struct net_device *dev, __be32 saddr,
						  __be32 daddr);
struct dst_entry *espnic_helper_ip6_route_through(struct net_device *dev,
						  const struct in6_addr *saddr,
						  const struct in6_addr *daddr);
struct neighbour *espnic_helper_dst_neigh_lookup(struct dst_entry *dst, const void *daddr);
u32 espnic_helper_dst_cookie(const struct dst_entry *dst);
bool espnic_helper_dst_is_current(struct dst_entry *dst, u32 cookie);
void espnic_helper_dst_release(struct dst_entry *dst);
bool espnic_helper_neigh_address(struct neighbour *neigh, u8 *address);
bool espnic_helper_neigh_dead(const struct neighbour *neigh);
void espnic_helper_neigh_release(struct neighbour *neigh);

/* page_pool.c */
struct page_pool *espnic_helper_page_pool_create(unsigned int buffers, struct device *dma,
						 struct net_device *dev, unsigned int queue,
						 struct napi_struct *napi);
void espnic_helper_page_pool_sync_buffer(void *data, unsigned int len);
void *espnic_helper_page_pool_alloc_buffer(struct page_pool *pool, unsigned int size);
void espnic_helper_page_pool_free_buffer(void *data);

/* skbuff.c */
struct sk_buff *espnic_helper_napi_build_packet(void *data, unsigned int truesize,
						unsigned int reserve, unsigned int len);
void espnic_helper_skb_adopt_pieces(struct sk_buff *skb, u8 pieces, unsigned int truesize,
				    u32 flags);
bool espnic_helper_skb_pull_head(struct sk_buff *skb, unsigned int len);
unsigned int espnic_helper_skb_nr_frags(const struct sk_buff *skb);
u16 espnic_helper_skb_gso_size(const struct sk_buff *skb);
u16 espnic_helper_skb_gso_segs(const struct sk_buff *skb);
unsigned int espnic_helper_skb_gso_type(const struct sk_buff *skb);
bool espnic_helper_skb_is_gso(const struct sk_buff *skb);
u8 espnic_helper_skb_ip_summed(const struct sk_buff *skb);
void espnic_helper_skb_set_ip_summed(struct sk_buff *skb, u8 ip_summed);
int espnic_helper_skb_checksum_start_offset(const struct sk_buff *skb);
u16 espnic_helper_skb_csum_offset(const struct sk_buff *skb);
int espnic_helper_skb_transport_offset(const struct sk_buff *skb);
int espnic_helper_skb_network_offset(const struct sk_buff *skb);
u16 espnic_helper_skb_protocol(const struct sk_buff *skb);
int espnic_helper_skb_cow_head(struct sk_buff *skb, unsigned int headroom);
int espnic_helper_skb_copy_bits(const struct sk_buff *skb, int offset, void *to, int len);
void espnic_helper_skb_reserve(struct sk_buff *skb, unsigned int len);
void *espnic_helper_skb_put(struct sk_buff *skb, unsigned int len);
struct sk_buff *espnic_helper_alloc_skb(unsigned int size);
void espnic_helper_skb_set_network(struct sk_buff *skb, u16 protocol, unsigned int length);
void espnic_helper_skb_dst_set(struct sk_buff *skb, struct dst_entry *dst);
unsigned int espnic_helper_skb_dst_mtu(const struct sk_buff *skb);
struct xfrm_state *espnic_helper_skb_dst_xfrm(const struct sk_buff *skb);
u32 espnic_helper_skb_mark(const struct sk_buff *skb);
struct skb_ext *espnic_helper_skb_hold_extensions(const struct sk_buff *skb);
void espnic_helper_skb_spare_extensions(struct skb_ext *ext, unsigned int spare);
void espnic_helper_skb_put_extensions(struct skb_ext *ext, unsigned int spare);
void espnic_helper_skb_share_secpath(struct sk_buff *skb, struct skb_ext *ext);
void espnic_helper_skb_share_extensions(struct sk_buff *skb, struct skb_ext *ext, u8 active,
					u32 mark);
void espnic_helper_skb_pull(struct sk_buff *skb, unsigned int len);
int espnic_helper_skb_trim(struct sk_buff *skb, unsigned int len);
bool espnic_helper_skb_is_for_us(const struct sk_buff *skb);
void espnic_helper_skb_add_rx_buffer(struct sk_buff *skb, void *data, unsigned int len,
				     unsigned int truesize);
void espnic_helper_skb_set_hash(struct sk_buff *skb, u32 hash, bool ports);
void espnic_helper_skb_set_gso(struct sk_buff *skb, unsigned int type, u16 size, u16 segments);
void espnic_helper_skb_metadata_set(struct sk_buff *skb, u8 len);
void espnic_helper_skb_from_device(struct sk_buff *skb, struct net_device *dev, u16 queue);
void espnic_helper_skb_tx_timestamp(struct sk_buff *skb);
void espnic_helper_sg_set_buf(struct scatterlist *sg, const void *buf, unsigned int len);

/* sync.c */
void espnic_helper_spin_lock_bh(spinlock_t *lock);
bool espnic_helper_spin_trylock_bh(spinlock_t *lock);
void espnic_helper_spin_unlock_bh(spinlock_t *lock);
unsigned long espnic_helper_spin_lock_irqsave(spinlock_t *lock);
bool espnic_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void espnic_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void espnic_helper_init_completion(struct completion *done);
bool espnic_helper_wait_for_completion_ms(struct completion *done, unsigned int ms);
void *espnic_helper_kzalloc(size_t size);
void espnic_helper_memzero_explicit(void *buf, size_t len);

/* umem.c */
struct xsk_buff_pool *espnic_helper_bpf_setup_pool(const struct netdev_bpf *bpf);
u16 espnic_helper_bpf_setup_queue(const struct netdev_bpf *bpf);
int espnic_helper_umem_map(struct xsk_buff_pool *pool, struct device *dma, void *header,
			   size_t len, dma_addr_t *addr);
void espnic_helper_umem_unmap(struct xsk_buff_pool *pool, struct device *dma, dma_addr_t addr,
			      size_t len);
int espnic_helper_umem_set_queue(struct xsk_buff_pool *pool, struct xdp_rxq_info *rxq,
				 struct net_device *dev, unsigned int queue);
u32 espnic_helper_umem_frame_size(struct xsk_buff_pool *pool);
struct xdp_buff *espnic_helper_umem_alloc(struct xsk_buff_pool *pool);
void espnic_helper_umem_free(struct xdp_buff *xdp);
bool espnic_helper_umem_ask_wakeup(struct xsk_buff_pool *pool, bool lacking);
int espnic_helper_virtqueue_add_umem(struct virtqueue *vq, struct xdp_buff *xdp,
				     unsigned int header, unsigned int len, void *token);
void espnic_helper_umem_received(struct xdp_buff *xdp, unsigned int header, unsigned int len);
void espnic_helper_umem_read(const struct xdp_buff *xdp, unsigned int before, void *to,
			     unsigned int len);
u32 espnic_helper_umem_take(struct xsk_buff_pool *pool, u32 max);
void espnic_helper_umem_taken(const struct xsk_buff_pool *pool, u32 n, u64 *addr, u32 *len);
void espnic_helper_umem_sent(struct xsk_buff_pool *pool);
int espnic_helper_virtqueue_add_umem_frame(struct virtqueue *vq, dma_addr_t header,
					   unsigned int header_len, struct xsk_buff_pool *pool,
					   u64 addr, u32 len, void *token);
struct xdp_frame *espnic_helper_umem_copy_frame(struct xsk_buff_pool *pool, u64 addr, u32 len,
						u16 room);

/* xdp.c */
enum bpf_netdev_command espnic_helper_bpf_command(const struct netdev_bpf *bpf);
struct bpf_prog *espnic_helper_bpf_setup_prog(const struct netdev_bpf *bpf);
struct netlink_ext_ack *espnic_helper_bpf_setup_extack(const struct netdev_bpf *bpf);
bool espnic_helper_bpf_takes_pieces(const struct bpf_prog *prog);
int espnic_helper_xdp_rxq_info_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
				   unsigned int queue, u32 piece);
int espnic_helper_xdp_rxq_info_use_pool(struct xdp_rxq_info *rxq, struct page_pool *pool);
void espnic_helper_xdp_init_buff(struct xdp_buff *xdp, unsigned int size,
				 struct xdp_rxq_info *rxq);
void espnic_helper_xdp_prepare_buff(struct xdp_buff *xdp, void *memory, unsigned int headroom,
				    unsigned int len, u32 flags);
u32 espnic_helper_xdp_flags(const struct xdp_buff *xdp);
bool espnic_helper_xdp_add_piece(void *memory, unsigned int size, u32 *flags, void *data,
				 unsigned int len, unsigned int truesize);
unsigned int espnic_helper_xdp_list_pieces(const struct skb_shared_info *list);
unsigned int espnic_helper_xdp_list_len(const struct skb_shared_info *list);
void *espnic_helper_xdp_list_piece(const struct skb_shared_info *list, unsigned int n,
				   unsigned int *len);
unsigned int espnic_helper_bpf_prog_run_xdp(const struct bpf_prog *prog, struct xdp_buff *xdp);
struct xdp_frame *espnic_helper_xdp_convert_buff_to_frame(struct xdp_buff *xdp);
struct skb_shared_info *espnic_helper_xdp_frame_list(const struct xdp_frame *frame);
void espnic_helper_xdp_list_to_sg(const struct skb_shared_info *list, struct scatterlist *sg);
void espnic_helper_trace_xdp_exception(const struct net_device *dev, const struct bpf_prog *prog,
				       unsigned int action);

/* xfrm.c */
struct xfrm_offload *espnic_helper_xfrm_offload(struct sk_buff *skb);
struct sec_path *espnic_helper_skb_sec_path(const struct sk_buff *skb);
void espnic_helper_secpath_reset(struct sk_buff *skb);
struct xfrm_state *espnic_helper_skb_last_state(const struct sk_buff *skb);
struct xfrm_state *espnic_helper_xfrm_input_state(struct sk_buff *skb);
bool espnic_helper_xfrm_state_tryget(struct xfrm_state *x);
void espnic_helper_xfrm_state_hold(struct xfrm_state *x);
void espnic_helper_xfrm_state_put(struct xfrm_state *x);
void espnic_helper_xfrm_state_lock(struct xfrm_state *x);
bool espnic_helper_xfrm_state_trylock(struct xfrm_state *x);
int espnic_helper_xfrm_check_expire(struct xfrm_state *x);
void espnic_helper_xfrm_state_unlock(struct xfrm_state *x);
u8 espnic_helper_xfrm_offload_dir(const struct xfrm_state *x);
u8 espnic_helper_xfrm_offload_type(const struct xfrm_state *x);
u8 espnic_helper_xfrm_offload_flags(const struct xfrm_state *x);
u8 espnic_helper_xfrm_policy_offload_dir(const struct xfrm_policy *xp);
u8 espnic_helper_xfrm_policy_offload_type(const struct xfrm_policy *xp);
bool espnic_helper_xfrm_policy_first_template(struct xfrm_policy *xp, struct xfrm_tmpl *out);
void espnic_helper_xfrm_add_errors(struct xfrm_state *x, unsigned long auth_fail,
				   unsigned long format_fail, unsigned long replayed);
struct xfrm_state *espnic_helper_xfrm_find_esp(struct net_device *dev, const xfrm_address_t *daddr,
					       __be32 spi, unsigned short family);
struct net *espnic_helper_xs_net(struct xfrm_state *x);
int espnic_helper_xfrm_hop_limit(struct xfrm_state *x);
void espnic_helper_xfrm_cfg_lock(struct net *net);
void espnic_helper_xfrm_cfg_unlock(struct net *net);
void espnic_helper_xfrm_replay_notify_defaults(struct xfrm_state *x);
void espnic_helper_xfrm_audit_state_add(struct xfrm_state *x, int result);
void espnic_helper_xfrm_audit_state_delete(struct xfrm_state *x, int result);
int espnic_helper_xfrm_security_delete(struct xfrm_state *x);
bool espnic_helper_xfrm_state_kern(const struct xfrm_state *x);
void espnic_helper_xfrm_advance_esn(struct xfrm_state *x);
void espnic_helper_xfrm_state_expire(struct xfrm_state *x);
void espnic_helper_xfrm_set_output_mark(struct sk_buff *skb, const struct xfrm_state *x);
bool espnic_helper_xfrm_receive_esp(struct sk_buff *skb, struct napi_struct *napi,
				    unsigned int family, unsigned int offset, int encap);
void espnic_helper_napi_gro_receive_marked(struct sk_buff *skb, struct napi_struct *napi,
					   u16 queue, unsigned int family, struct skb_ext *ext,
					   u32 mark);
void espnic_helper_xfrm_receive_marked_esp(struct sk_buff *skb, struct napi_struct *napi,
					   u16 queue, unsigned int family, struct skb_ext *ext,
					   u32 mark);
struct dst_entry *espnic_helper_ip4_route_output(struct net *net, struct flowi *flow, bool foreign);
struct dst_entry *espnic_helper_ip6_route_output(struct net *net, struct flowi *flow, bool foreign);
void espnic_helper_xfrm_audit(const char *op, const struct xfrm_state *x, bool done);

#endif /* ESPNIC_HELPERS_H */
