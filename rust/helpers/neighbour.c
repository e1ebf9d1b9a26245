// SPDX-License-Identifier: GPL-2.0

/* The route, if it leaves through this device; else it is given up. */
static struct dst_entry *route_through(struct dst_entry *dst, struct net_device *dev)
{
	if (dst_dev(dst) == dev)
		return dst;
	dst_release(dst);
	return ERR_PTR(-ENETUNREACH);
}

/*
 * Without a protocol the flow is no matter of policies. The source decides which
 * route it is, but need not be an address of this host (yet).
 */
struct dst_entry *espnic_helper_ip4_route_through(struct net_device *dev, __be32 saddr,
						  __be32 daddr)
{
	struct flowi4 flow = {
		.flowi4_oif = dev->ifindex,
		.flowi4_flags = FLOWI_FLAG_ANYSRC,
		.saddr = saddr,
		.daddr = daddr,
	};
	struct rtable *route;

	rcu_read_lock();
	route = ip_route_output_key(dev_net_rcu(dev), &flow);
	rcu_read_unlock();
	if (IS_ERR(route))
		return ERR_CAST(route);
	if (route->rt_type != RTN_UNICAST) {
		ip_rt_put(route);
		return ERR_PTR(-ENETUNREACH);
	}
	return route_through(&route->dst, dev);
}

struct dst_entry *espnic_helper_ip6_route_through(struct net_device *dev,
						  const struct in6_addr *saddr,
						  const struct in6_addr *daddr)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct flowi6 flow = {
		.flowi6_oif = dev->ifindex,
		.saddr = *saddr,
		.daddr = *daddr,
	};
	struct dst_entry *dst;
	int err;

	if (ipv6_addr_is_multicast(daddr))
		return ERR_PTR(-ENETUNREACH);
	rcu_read_lock();
	err = ip6_dst_lookup(dev_net_rcu(dev), NULL, &dst, &flow);
	rcu_read_unlock();
	return err ? ERR_PTR(err) : route_through(dst, dev);
#else
	return ERR_PTR(-EAFNOSUPPORT);
#endif
}

struct neighbour *espnic_helper_dst_neigh_lookup(struct dst_entry *dst, const void *daddr)
{
	return dst_neigh_lookup(dst, daddr);
}

/* For dst_is_current(): by it routes of IPv6 know whether they have changed. */
u32 espnic_helper_dst_cookie(const struct dst_entry *dst)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (dst->ops->family == AF_INET6)
		return rt6_get_cookie(dst_rt6_info(dst));
#endif
	return 0;
}

bool espnic_helper_dst_is_current(struct dst_entry *dst, u32 cookie)
{
	bool current_one;

	rcu_read_lock();
	current_one = !READ_ONCE(dst->obsolete) || dst->ops->check(dst, cookie);
	rcu_read_unlock();
	return current_one;
}

void espnic_helper_dst_release(struct dst_entry *dst)
{
	dst_release(dst);
}

/*
 * The address if it is known; asks for it, or whether it is still right, if that
 * is due. The question is sent by the neighbour's timer, not here: this may be
 * called with the lock of a transmit queue held.
 */
bool espnic_helper_neigh_address(struct neighbour *neigh, u8 *address)
{
	neigh_event_send_probe(neigh, NULL, false);
	if (!(READ_ONCE(neigh->nud_state) & NUD_VALID))
		return false;
	neigh_ha_snapshot(address, neigh, neigh->dev);
	return true;
}

bool espnic_helper_neigh_dead(const struct neighbour *neigh)
{
	return READ_ONCE(neigh->dead);
}

void espnic_helper_neigh_release(struct neighbour *neigh)
{
	neigh_release(neigh);
}
