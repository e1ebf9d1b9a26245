// SPDX-License-Identifier: GPL-2.0

struct xfrm_offload *espnic_helper_xfrm_offload(struct sk_buff *skb)
{
	return xfrm_offload(skb);
}

struct sec_path *espnic_helper_skb_sec_path(const struct sk_buff *skb)
{
	return skb_sec_path(skb);
}

void espnic_helper_secpath_reset(struct sk_buff *skb)
{
	secpath_reset(skb);
}

/* Null if the packet has no secpath. */
struct xfrm_state *espnic_helper_skb_last_state(const struct sk_buff *skb)
{
	const struct sec_path *sp = skb_sec_path(skb);

	return sp && sp->len ? sp->xvec[sp->len - 1] : NULL;
}

struct xfrm_state *espnic_helper_xfrm_input_state(struct sk_buff *skb)
{
	return xfrm_input_state(skb);
}

bool espnic_helper_xfrm_state_tryget(struct xfrm_state *x)
{
	return refcount_inc_not_zero(&x->refcnt);
}

void espnic_helper_xfrm_state_hold(struct xfrm_state *x)
{
	xfrm_state_hold(x);
}

void espnic_helper_xfrm_state_put(struct xfrm_state *x)
{
	xfrm_state_put(x);
}

void espnic_helper_xfrm_state_lock(struct xfrm_state *x)
{
	spin_lock_bh(&x->lock);
}

/* Waits for a moment only: the caller may have the lock. */
bool espnic_helper_xfrm_state_trylock(struct xfrm_state *x)
{
	unsigned int tries;

	for (tries = 0; tries < 256; tries++) {
		if (spin_trylock_bh(&x->lock))
			return true;
		cpu_relax();
	}
	return false;
}

void espnic_helper_xfrm_state_unlock(struct xfrm_state *x)
{
	spin_unlock_bh(&x->lock);
}

u8 espnic_helper_xfrm_offload_dir(const struct xfrm_state *x)
{
	return x->xso.dir;
}

u8 espnic_helper_xfrm_offload_type(const struct xfrm_state *x)
{
	return x->xso.type;
}

u8 espnic_helper_xfrm_offload_flags(const struct xfrm_state *x)
{
	return x->xso.flags;
}

u8 espnic_helper_xfrm_policy_offload_dir(const struct xfrm_policy *xp)
{
	return xp->xdo.dir;
}

u8 espnic_helper_xfrm_policy_offload_type(const struct xfrm_policy *xp)
{
	return xp->xdo.type;
}

/* A migration may change it meanwhile. */
bool espnic_helper_xfrm_policy_first_template(struct xfrm_policy *xp, struct xfrm_tmpl *out)
{
	read_lock_bh(&xp->lock);
	*out = xp->xfrm_vec[0];
	read_unlock_bh(&xp->lock);
	return xp->xfrm_nr > 0;
}

/* The counters of /proc/net/xfrm_stat for what software would have found. */
void espnic_helper_xfrm_add_errors(struct xfrm_state *x, unsigned long auth_fail,
				   unsigned long format_fail, unsigned long replayed)
{
	XFRM_ADD_STATS(xs_net(x), LINUX_MIB_XFRMINSTATEPROTOERROR, auth_fail);
	XFRM_ADD_STATS(xs_net(x), LINUX_MIB_XFRMINHDRERROR, format_fail);
	XFRM_ADD_STATS(xs_net(x), LINUX_MIB_XFRMINSTATESEQERROR, replayed);
}

struct xfrm_state *espnic_helper_xfrm_find_esp(struct net_device *dev, const xfrm_address_t *daddr,
					       __be32 spi, unsigned short family)
{
	return xfrm_state_lookup(dev_net(dev), 0, daddr, spi, IPPROTO_ESP, family);
}

struct net *espnic_helper_xs_net(struct xfrm_state *x)
{
	return xs_net(x);
}

/* What the stack gives packets of the state's (outer) family whose route has no value of its own. */
int espnic_helper_xfrm_hop_limit(struct xfrm_state *x)
{
	struct inet6_dev *idev = NULL;
	struct net_device *dev;
	int limit;

	if (x->props.family == AF_INET)
		return READ_ONCE(xs_net(x)->ipv4.sysctl_ip_default_ttl);

	rcu_read_lock();
	dev = READ_ONCE(x->xso.dev);
	if (dev)
		idev = __in6_dev_get(dev);
	limit = idev ? READ_ONCE(idev->cnf.hop_limit) : IPV6_DEFAULT_HOPLIMIT;
	rcu_read_unlock();
	return limit;
}

void espnic_helper_xfrm_cfg_lock(struct net *net)
{
	mutex_lock(&net->xfrm.xfrm_cfg_mutex);
}

void espnic_helper_xfrm_cfg_unlock(struct net *net)
{
	mutex_unlock(&net->xfrm.xfrm_cfg_mutex);
}

/* When key managers hear of the sequence numbers; the time is in units of 100 ms. */
void espnic_helper_xfrm_replay_notify_defaults(struct xfrm_state *x)
{
	x->replay_maxdiff = xs_net(x)->xfrm.sysctl_aevent_rseqth;
	x->replay_maxage = xs_net(x)->xfrm.sysctl_aevent_etime * HZ / XFRM_AE_ETH_M;
}

void espnic_helper_xfrm_audit_state_add(struct xfrm_state *x, int result)
{
	xfrm_audit_state_add(x, result, true);
}

void espnic_helper_xfrm_audit_state_delete(struct xfrm_state *x, int result)
{
	xfrm_audit_state_delete(x, result, true);
}

int espnic_helper_xfrm_security_delete(struct xfrm_state *x)
{
	return security_xfrm_state_delete(x);
}

bool espnic_helper_xfrm_state_kern(const struct xfrm_state *x)
{
	return xfrm_state_kern(x);
}

void espnic_helper_xfrm_advance_esn(struct xfrm_state *x)
{
	xfrm_dev_state_advance_esn(x);
}

static bool xfrm_passed(u64 count, u64 soft, u64 hard)
{
	return soft < hard && count >= soft;
}

/*
 * The stack looks after each packet, so that it meets a soft limit first, if that is below
 * the hard one. Who looks after many of them may find both reached, and then tells of
 * the soft one, too.
 */
int espnic_helper_xfrm_check_expire(struct xfrm_state *x)
{
	const struct xfrm_lifetime_cfg *limit = &x->lft;
	int err = xfrm_state_check_expire(x);

	if (err && !x->km.dying &&
	    (xfrm_passed(x->curlft.bytes, limit->soft_byte_limit, limit->hard_byte_limit) ||
	     xfrm_passed(x->curlft.packets, limit->soft_packet_limit,
			 limit->hard_packet_limit))) {
		x->km.dying = 1;
		km_state_expired(x, 0, 0);
	}
	return err;
}

/*
 * What the stack's timer does when a hard limit is reached. A state that is in no
 * list yet is not the stack's to delete: who adds it holds its only reference.
 */
void espnic_helper_xfrm_state_expire(struct xfrm_state *x)
{
	int err;

	if (list_empty_careful(&x->km.all))
		return;
	err = xfrm_state_delete(x);
	if (!err)
		km_state_expired(x, 1, 0);
	xfrm_audit_state_delete(x, !err, true);
}

void espnic_helper_xfrm_set_output_mark(struct sk_buff *skb, const struct xfrm_state *x)
{
	skb->mark = xfrm_smark_get(skb->mark, (struct xfrm_state *)x);
}

/* With the transport header before ESP. The control block is clear since the packet was built. */
static __always_inline void input_esp(struct sk_buff *skb, struct napi_struct *napi,
				      unsigned int family, int encap)
{
	skb_mark_napi_id(skb, napi);

	/* The control block that xfrm_input() reads; no tunnel device. */
	DEBUG_NET_WARN_ON_ONCE(memchr_inv(skb->cb, 0, sizeof(skb->cb)));
	XFRM_SPI_SKB_CB(skb)->family = family;
	if (family == AF_INET6) {
		XFRM_SPI_SKB_CB(skb)->daddroff = offsetof(struct ipv6hdr, daddr);
		IP6CB(skb)->nhoff = offsetof(struct ipv6hdr, nexthdr);
	} else {
		XFRM_SPI_SKB_CB(skb)->daddroff = offsetof(struct iphdr, daddr);
	}

	xfrm_input(skb, IPPROTO_ESP, 0, encap);
}

/*
 * What receive offload does with marked ESP: xfrm_input() gets it, which is at the offset behind the network
 * header. Not before eth_type_trans(), which also sets the device; false without that or a mark. In an RCU section.
 */
bool espnic_helper_xfrm_receive_esp(struct sk_buff *skb, struct napi_struct *napi,
				    unsigned int family, unsigned int offset, int encap)
{
	struct xfrm_offload *xo = xfrm_offload(skb);

	if (!xo || !skb_mac_header_was_set(skb))
		return false;

	xo->flags |= XFRM_GRO;
	skb_reset_network_header(skb);
	skb_reset_mac_len(skb);
	__skb_pull(skb, offset);
	skb_reset_transport_header(skb);
	input_esp(skb, napi, family, encap);
	return true;
}

/*
 * Gives an Ethernet frame without extensions a secpath among others, with the caller's reference to them. In front it
 * does what eth_type_trans() would do with an IP packet of the family, but takes nothing off.
 */
static __always_inline void mark_from_device(struct sk_buff *skb, struct napi_struct *napi,
					     u16 queue, unsigned int family, struct skb_ext *ext,
					     u32 mark)
{
	struct net_device *dev = napi->dev;

	skb->extensions = ext;
	skb->active_extensions = BIT(SKB_EXT_SEC_PATH);
	skb->slow_gro = 1;
	skb->mark = mark;

	skb->dev = dev;
	skb->protocol = family == AF_INET6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	if (unlikely(netdev_uses_dsa(dev)))
		skb->protocol = htons(ETH_P_XDSA);
	skb_record_rx_queue(skb, queue);
	skb_reset_mac_header(skb);
	eth_skb_pkt_type(skb, dev);
}

/*
 * All of it for ESP right behind an Ethernet header and an IP header without options, whose secpath says XFRM_GRO
 * already. The packet has data of all three headers. In an RCU section.
 */
void espnic_helper_xfrm_receive_marked_esp(struct sk_buff *skb, struct napi_struct *napi,
					   u16 queue, unsigned int family, struct skb_ext *ext,
					   u32 mark)
{
	mark_from_device(skb, napi, queue, family, ext, mark);
	skb_set_network_header(skb, ETH_HLEN);
	skb->mac_len = ETH_HLEN;
	__skb_pull(skb, ETH_HLEN + (family == AF_INET6 ? sizeof(struct ipv6hdr) :
							 sizeof(struct iphdr)));
	skb_reset_transport_header(skb);
	input_esp(skb, napi, family, 0);
}

/* To receive offload, with a packet that has an Ethernet header. */
void espnic_helper_napi_gro_receive_marked(struct sk_buff *skb, struct napi_struct *napi,
					   u16 queue, unsigned int family, struct skb_ext *ext,
					   u32 mark)
{
	mark_from_device(skb, napi, queue, family, ext, mark);
	__skb_pull(skb, ETH_HLEN);
	napi_gro_receive(napi, skb);
}

/* A gateway sends packets of others, too: foreign ones come from any source. */
struct dst_entry *espnic_helper_ip4_route_output(struct net *net, struct flowi *flow, bool foreign)
{
	struct rtable *route;

	if (foreign)
		flow->u.ip4.flowi4_flags |= FLOWI_FLAG_ANYSRC;
	route = ip_route_output_flow(net, &flow->u.ip4, NULL);
	return IS_ERR(route) ? ERR_CAST(route) : &route->dst;
}

struct dst_entry *espnic_helper_ip6_route_output(struct net *net, struct flowi *flow, bool foreign)
{
#if IS_ENABLED(CONFIG_IPV6)
	/* Routing of IPv6 does not look at the source. */
	if (!foreign && !ipv6_chk_addr(net, &flow->u.ip6.saddr, NULL, 0))
		return ERR_PTR(-EINVAL);
	return ip6_dst_lookup_flow(net, NULL, &flow->u.ip6, NULL);
#else
	return ERR_PTR(-EAFNOSUPPORT);
#endif
}

/* A record as those of the stack; without a state it names none. */
void espnic_helper_xfrm_audit(const char *op, const struct xfrm_state *x, bool done)
{
#ifdef CONFIG_AUDITSYSCALL
	struct audit_buffer *record = xfrm_audit_start(op);

	if (!record)
		return;
	xfrm_audit_helper_usrinfo(true, record);
	if (x && x->props.family == AF_INET)
		audit_log_format(record, " src=%pI4 dst=%pI4", &x->props.saddr.a4,
				 &x->id.daddr.a4);
	else if (x)
		audit_log_format(record, " src=%pI6 dst=%pI6", x->props.saddr.a6,
				 x->id.daddr.a6);
	if (x)
		audit_log_format(record, " spi=%u(0x%x)", ntohl(x->id.spi), ntohl(x->id.spi));
	audit_log_format(record, " res=%u", done);
	audit_log_end(record);
#endif
}
