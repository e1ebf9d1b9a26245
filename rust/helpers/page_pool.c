// SPDX-License-Identifier: GPL-2.0

/*
 * Pages for received packets. With a device they are mapped for it once, for as long as the pool has them;
 * without one, who gives them to a device maps them. The latter also where all goes through bounce buffers: they are
 * few, and each page would keep some as long as it is in the pool.
 *
 * With a network device that is registered the pool is shown as its. RTNL is held then.
 */
struct page_pool *espnic_helper_page_pool_create(unsigned int buffers, struct device *dma,
						 struct net_device *dev, unsigned int queue,
						 struct napi_struct *napi)
{
	const bool map = dma && !is_swiotlb_force_bounce(dma);
	const struct page_pool_params params = {
		.flags = map ? PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV : 0,
		.pool_size = buffers,
		.nid = NUMA_NO_NODE,
		.dev = map ? dma : NULL,
		.napi = napi,
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = PAGE_SIZE,
		.netdev = dev && dev->reg_state == NETREG_REGISTERED ? dev : NULL,
		.queue_idx = queue,
	};

	return page_pool_create(&params);
}

/* By the only user of the pool, in a run of its NAPI context if it has one. */
void *espnic_helper_page_pool_alloc_buffer(struct page_pool *pool, unsigned int size)
{
	unsigned int offset;
	struct page *page = page_pool_dev_alloc_frag(pool, &offset, size);

	return likely(page) ? page_address(page) + offset : NULL;
}

/* Not in a hard interrupt. */
void espnic_helper_page_pool_free_buffer(void *data)
{
	struct page *page = virt_to_head_page(data);

	page_pool_put_full_page(__netmem_get_pp(page_to_netmem(page)), page, false);
}

/* Before the CPU reads what the device has written there. */
void espnic_helper_page_pool_sync_buffer(void *data, unsigned int len)
{
	struct page *page = virt_to_head_page(data);
	struct page_pool *pool = __netmem_get_pp(page_to_netmem(page));

	if (pool->dma_map)
		page_pool_dma_sync_for_cpu(pool, page, data - page_address(page), len);
}
