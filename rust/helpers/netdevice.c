// SPDX-License-Identifier: GPL-2.0

void *espnic_helper_netdev_priv(const struct net_device *dev)
{
	return netdev_priv(dev);
}

void espnic_helper_netdev_set_parent(struct net_device *dev, struct device *parent)
{
	SET_NETDEV_DEV(dev, parent);
}

void espnic_helper_netdev_disable_skb_sharing(struct net_device *dev)
{
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
}

void espnic_helper_netdev_disable_netpoll(struct net_device *dev)
{
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
}

void espnic_helper_netdev_allow_live_address(struct net_device *dev)
{
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
}

void espnic_helper_netdev_filters_unicast(struct net_device *dev)
{
	dev->priv_flags |= IFF_UNICAST_FLT;
}

/* Copies the first addresses of a list and returns how many there are. */
unsigned int espnic_helper_netdev_copy_addresses(struct net_device *dev, bool multicast,
						 u8 *to, unsigned int room)
{
	struct netdev_hw_addr_list *list = multicast ? &dev->mc : &dev->uc;
	struct netdev_hw_addr *ha;
	unsigned int count = 0;

	netif_addr_lock_bh(dev);
	netdev_hw_addr_list_for_each(ha, list) {
		if (count < room)
			memcpy(to + count * ETH_ALEN, ha->addr, ETH_ALEN);
		count++;
	}
	netif_addr_unlock_bh(dev);
	return count;
}

void espnic_helper_eth_hw_addr_set(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

void espnic_helper_eth_hw_addr_random(struct net_device *dev)
{
	eth_hw_addr_random(dev);
}

void espnic_helper_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
				  int (*poll)(struct napi_struct *, int))
{
	netif_napi_add(dev, napi, poll);
}

void espnic_helper_netif_napi_set_irq(struct napi_struct *napi, int irq)
{
	netif_napi_set_irq(napi, irq);
}

void espnic_helper_netif_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

void espnic_helper_napi_schedule_process(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

void espnic_helper_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb)
{
	napi_gro_receive(napi, skb);
}

bool espnic_helper_netif_elide_gro(const struct net_device *dev)
{
	return netif_elide_gro(dev);
}

void espnic_helper_netif_tx_start(struct net_device *dev, unsigned int queue)
{
	netif_tx_start_queue(netdev_get_tx_queue(dev, queue));
}

void espnic_helper_netif_tx_stop(struct net_device *dev, unsigned int queue)
{
	netif_tx_stop_queue(netdev_get_tx_queue(dev, queue));
}

void espnic_helper_netif_tx_wake(struct net_device *dev, unsigned int queue)
{
	netif_tx_wake_queue(netdev_get_tx_queue(dev, queue));
}

bool espnic_helper_netif_tx_stopped(struct net_device *dev, unsigned int queue)
{
	return netif_tx_queue_stopped(netdev_get_tx_queue(dev, queue));
}

void espnic_helper_netdev_detach(struct net_device *dev)
{
	netif_tx_lock_bh(dev);
	netif_device_detach(dev);
	netif_tx_unlock_bh(dev);
}

void espnic_helper_netif_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

bool espnic_helper_netif_running(const struct net_device *dev)
{
	return netif_running(dev);
}

bool espnic_helper_netdev_xmit_more(void)
{
	return netdev_xmit_more();
}

bool espnic_helper_netdev_tx_sent(struct net_device *dev, unsigned int queue, unsigned int bytes)
{
	return __netdev_tx_sent_queue(netdev_get_tx_queue(dev, queue), bytes, netdev_xmit_more());
}

void espnic_helper_netdev_tx_completed(struct net_device *dev, unsigned int queue,
				       unsigned int packets, unsigned int bytes)
{
	netdev_tx_completed_queue(netdev_get_tx_queue(dev, queue), packets, bytes);
}

void espnic_helper_netdev_tx_reset(struct net_device *dev, unsigned int queue)
{
	netdev_tx_reset_queue(netdev_get_tx_queue(dev, queue));
}

void espnic_helper_netif_set_xps_cpu(struct net_device *dev, unsigned int nth, u16 queue)
{
	unsigned int cpu = cpumask_nth(nth, cpu_online_mask);

	/* Fewer may be online by now. */
	if (cpu < nr_cpu_ids)
		netif_set_xps_queue(dev, cpumask_of(cpu), queue);
}

unsigned int espnic_helper_num_online_cpus(void)
{
	return num_online_cpus();
}

unsigned int espnic_helper_num_possible_cpus(void)
{
	return num_possible_cpus();
}

void espnic_helper_rtnl_lock(void)
{
	rtnl_lock();
}

void espnic_helper_rtnl_unlock(void)
{
	rtnl_unlock();
}

void espnic_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

/* Not later than it is scheduled for already. */
void espnic_helper_schedule_work_in(struct delayed_work *work, unsigned int ms)
{
	unsigned long delay = msecs_to_jiffies(ms);

	if (delayed_work_pending(work) &&
	    (!timer_pending(&work->timer) || time_before_eq(work->timer.expires, jiffies + delay)))
		return;
	mod_delayed_work(system_percpu_wq, work, delay);
}

void espnic_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void espnic_helper_queue_long_work(struct work_struct *work)
{
	queue_work(system_dfl_long_wq, work);
}

struct net *espnic_helper_current_net(void)
{
	return current->nsproxy ? current->nsproxy->net_ns : NULL;
}

void espnic_helper_get_net(struct net *net)
{
	get_net(net);
}

void espnic_helper_put_net(struct net *net)
{
	put_net(net);
}

bool espnic_helper_net_admin(const struct net *net)
{
	return ns_capable(net->user_ns, CAP_NET_ADMIN);
}

bool espnic_helper_net_raw(const struct net *net)
{
	return ns_capable(net->user_ns, CAP_NET_RAW);
}

void espnic_helper_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

struct net_device *espnic_helper_notifier_dev(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

bool espnic_helper_netdev_has_rx_handler(const struct net_device *dev)
{
	return rcu_access_pointer(dev->rx_handler);
}

bool espnic_helper_netif_is_bond_master(const struct net_device *dev)
{
	return netif_is_bond_master(dev);
}

bool espnic_helper_netif_is_bond_slave(const struct net_device *dev)
{
	return netif_is_bond_slave(dev);
}

bool espnic_helper_is_vlan_dev(const struct net_device *dev)
{
	return is_vlan_dev(dev);
}
