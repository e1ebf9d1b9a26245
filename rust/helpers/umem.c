// SPDX-License-Identifier: GPL-2.0

/* Of XDP_SETUP_XSK_POOL. */
struct xsk_buff_pool *espnic_helper_bpf_setup_pool(const struct netdev_bpf *bpf)
{
	return bpf->xsk.pool;
}

/* Of XDP_SETUP_XSK_POOL. */
u16 espnic_helper_bpf_setup_queue(const struct netdev_bpf *bpf)
{
	return bpf->xsk.queue_id;
}

/* Maps the memory of sockets and a header for what they send, or neither. RTNL is held. */
int espnic_helper_umem_map(struct xsk_buff_pool *pool, struct device *dma, void *header,
			   size_t len, dma_addr_t *addr)
{
	int err = xsk_pool_dma_map(pool, dma, 0);

	if (err)
		return err;
	*addr = dma_map_single(dma, header, len, DMA_TO_DEVICE);
	if (!dma_mapping_error(dma, *addr))
		return 0;
	xsk_pool_dma_unmap(pool, 0);
	return -ENOMEM;
}

/* RTNL is held. */
void espnic_helper_umem_unmap(struct xsk_buff_pool *pool, struct device *dma, dma_addr_t addr,
			      size_t len)
{
	dma_unmap_single(dma, addr, len, DMA_TO_DEVICE);
	xsk_pool_dma_unmap(pool, 0);
}

/* Makes the queue that of all buffers of the pool. After an error xdp_rxq_info_unreg() does nothing. */
int espnic_helper_umem_set_queue(struct xsk_buff_pool *pool, struct xdp_rxq_info *rxq,
				 struct net_device *dev, unsigned int queue)
{
	int err = __xdp_rxq_info_reg(rxq, dev, queue, 0, 0);

	if (!err)
		err = xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_XSK_BUFF_POOL, NULL);
	if (err)
		xdp_rxq_info_unused(rxq);
	else
		xsk_pool_set_rxq_info(pool, rxq);
	return err;
}

/* Bytes for a frame, behind the room that programs and the socket want. */
u32 espnic_helper_umem_frame_size(struct xsk_buff_pool *pool)
{
	return xsk_pool_get_rx_frame_size(pool);
}

struct xdp_buff *espnic_helper_umem_alloc(struct xsk_buff_pool *pool)
{
	return xsk_buff_alloc(pool);
}

void espnic_helper_umem_free(struct xdp_buff *xdp)
{
	xsk_buff_free(xdp);
}

/* Whether the socket says that it wakes the driver, which asks for that if `lacking`. */
bool espnic_helper_umem_ask_wakeup(struct xsk_buff_pool *pool, bool lacking)
{
	if (!xsk_uses_need_wakeup(pool))
		return false;
	if (lacking)
		xsk_set_rx_need_wakeup(pool);
	else
		xsk_clear_rx_need_wakeup(pool);
	return true;
}

/* Room for `header` bytes and a frame, together `len` bytes, where the frame begins behind the header. */
int espnic_helper_virtqueue_add_umem(struct virtqueue *vq, struct xdp_buff *xdp,
				     unsigned int header, unsigned int len, void *token)
{
	struct xdp_buff_xsk *xskb = container_of(xdp, struct xdp_buff_xsk, xdp);
	struct scatterlist sg = {};

	if (unlikely(xskb->pool->dev != virtqueue_dma_dev(vq)))
		return -EINVAL;
	sg_init_marker(&sg, 1);
	sg_dma_address(&sg) = xsk_buff_xdp_get_dma(xdp) - header;
	sg_dma_len(&sg) = len;
	return virtqueue_add_inbuf_premapped(vq, &sg, 1, token, NULL, GFP_ATOMIC);
}

/* The device has written a header and a frame of `len` bytes. */
void espnic_helper_umem_received(struct xdp_buff *xdp, unsigned int header, unsigned int len)
{
	struct xdp_buff_xsk *xskb = container_of(xdp, struct xdp_buff_xsk, xdp);

	xsk_buff_set_size(xdp, len);
	/* The other function leaves out what is in front of the frame. */
	dma_sync_single_for_cpu(xskb->pool->dev, xskb->dma - header, header, DMA_BIDIRECTIONAL);
	xsk_buff_dma_sync_for_cpu(xdp);
}

/* What begins `before` bytes in front of the frame. The user may change it meanwhile. */
void espnic_helper_umem_read(const struct xdp_buff *xdp, unsigned int before, void *to,
			     unsigned int len)
{
	memcpy(to, xdp->data - before, len);
}

/* How many of the frames that sockets want to send were taken, at most `max`. */
u32 espnic_helper_umem_take(struct xsk_buff_pool *pool, u32 max)
{
	return xsk_tx_peek_release_desc_batch(pool, max);
}

/* One of those that were taken last. */
void espnic_helper_umem_taken(const struct xsk_buff_pool *pool, u32 n, u64 *addr, u32 *len)
{
	*addr = pool->tx_descs[n].addr;
	*len = pool->tx_descs[n].len;
}

void espnic_helper_umem_sent(struct xsk_buff_pool *pool)
{
	xsk_tx_completed(pool, 1);
}

/* A frame of a socket behind a header that is mapped. */
int espnic_helper_virtqueue_add_umem_frame(struct virtqueue *vq, dma_addr_t header,
					   unsigned int header_len, struct xsk_buff_pool *pool,
					   u64 addr, u32 len, void *token)
{
	struct scatterlist sg[2] = {};

	if (unlikely(pool->dev != virtqueue_dma_dev(vq)))
		return -EINVAL;
	sg_init_marker(sg, 2);
	sg_dma_address(&sg[0]) = header;
	sg_dma_len(&sg[0]) = header_len;
	sg_dma_address(&sg[1]) = xsk_buff_raw_get_dma(pool, addr);
	sg_dma_len(&sg[1]) = len;
	xsk_buff_raw_dma_sync_for_device(pool, sg_dma_address(&sg[1]), len);
	return virtqueue_add_outbuf_premapped(vq, sg, 2, token, GFP_ATOMIC);
}

/* A copy of a frame of a socket, with room in front of it. In a softirq. */
struct xdp_frame *espnic_helper_umem_copy_frame(struct xsk_buff_pool *pool, u64 addr, u32 len,
						u16 room)
{
	const unsigned int begin = SKB_DATA_ALIGN(sizeof(struct xdp_frame) + room);
	const unsigned int size = begin + SKB_DATA_ALIGN(len);
	struct xdp_frame *frame = netdev_alloc_frag(size);

	if (unlikely(!frame))
		return NULL;
	memset(frame, 0, sizeof(*frame));
	frame->data = (void *)frame + begin;
	frame->len = len;
	frame->headroom = begin - sizeof(*frame);
	frame->frame_sz = size;
	frame->mem_type = MEM_TYPE_PAGE_SHARED;
	memcpy(frame->data, xsk_buff_raw_get_data(pool, addr), len);
	return frame;
}
