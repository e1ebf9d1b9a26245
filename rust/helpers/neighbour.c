// SPDX-License-Identifier: GPL-2.0

/* The next hop of a route that leaves through this device; the route is given up. */
static struct neighbour *neigh_of_route(struct dst_entry *dst, struct net_device *dev,
					const void *daddr)
{
	struct neighbour *neigh = ERR_PTR(-ENETUNREACH);

	if (dst_dev(dst) == dev)
		neigh = dst_neigh_lookup(dst, daddr) ?: ERR_PTR(-ENOBUFS);
	dst_release(dst);
	return neigh;
}

/*
 * Without a protocol the flow is no matter of policies. The source decides which
 * route it is, but need not be an address of this host (yet).
 */
struct neighbour *espnic_helper_neigh_resolve4(struct net_device *dev, __be32 saddr, __be32 daddr)
{
	struct flowi4 flow = {
		.flowi4_oif = dev->ifindex,
		.flowi4_flags = FLOWI_FLAG_ANYSRC,
		.saddr = saddr,
		.daddr = daddr,
	};
	struct neighbour *neigh;
	struct rtable *route;

	rcu_read_lock();
	route = ip_route_output_key(dev_net_rcu(dev), &flow);
	if (IS_ERR(route)) {
		neigh = ERR_CAST(route);
	} else if (route->rt_type != RTN_UNICAST) {
		ip_rt_put(route);
		neigh = ERR_PTR(-ENETUNREACH);
	} else {
		neigh = neigh_of_route(&route->dst, dev, &daddr);
	}
	rcu_read_unlock();
	return neigh;
}

struct neighbour *espnic_helper_neigh_resolve6(struct net_device *dev,
					       const struct in6_addr *saddr,
					       const struct in6_addr *daddr)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct flowi6 flow = {
		.flowi6_oif = dev->ifindex,
		.saddr = *saddr,
		.daddr = *daddr,
	};
	struct neighbour *neigh;
	struct dst_entry *dst;
	int err;

	if (ipv6_addr_is_multicast(daddr))
		return ERR_PTR(-ENETUNREACH);
	rcu_read_lock();
	err = ip6_dst_lookup(dev_net_rcu(dev), NULL, &dst, &flow);
	neigh = err ? ERR_PTR(err) : neigh_of_route(dst, dev, daddr);
	rcu_read_unlock();
	return neigh;
#else
	return ERR_PTR(-EAFNOSUPPORT);
#endif
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

void espnic_helper_neigh_hold(struct neighbour *neigh)
{
	neigh_hold(neigh);
}

void espnic_helper_neigh_release(struct neighbour *neigh)
{
	neigh_release(neigh);
}
