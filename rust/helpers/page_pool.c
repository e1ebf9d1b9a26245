// SPDX-License-Identifier: GPL-2.0

/* Pages for packets that stay in the CPU's memory: who gives them to a device maps them. */
struct page_pool *espnic_helper_page_pool_create(unsigned int buffers)
{
	const struct page_pool_params params = {
		.pool_size = buffers,
		.nid = NUMA_NO_NODE,
	};

	return page_pool_create(&params);
}

/* By the only user of the pool, not in a hard interrupt. */
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
