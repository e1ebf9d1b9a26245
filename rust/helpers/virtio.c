// SPDX-License-Identifier: GPL-2.0

bool espnic_helper_virtio_test_bit(const struct virtio_device *vdev, unsigned int bit)
{
	return __virtio_test_bit(vdev, bit);
}

void espnic_helper_virtio_clear_bit(struct virtio_device *vdev, unsigned int bit)
{
	__virtio_clear_bit(vdev, bit);
}

int espnic_helper_virtio_find_vqs(struct virtio_device *vdev, unsigned int n,
				  struct virtqueue *vqs[], struct virtqueue_info info[])
{
	return virtio_find_vqs(vdev, n, vqs, info, NULL);
}

/* The device's lock and that of the device on the bus below it; both or none. */
bool espnic_helper_virtio_trylock(struct virtio_device *vdev)
{
	if (!device_trylock(vdev->dev.parent))
		return false;
	if (device_trylock(&vdev->dev))
		return true;
	device_unlock(vdev->dev.parent);
	return false;
}

void espnic_helper_virtio_unlock(struct virtio_device *vdev)
{
	device_unlock(&vdev->dev);
	device_unlock(vdev->dev.parent);
}

void espnic_helper_virtio_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

void espnic_helper_virtio_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

void espnic_helper_virtqueue_set_cpu(struct virtqueue *vq, unsigned int nth)
{
	unsigned int cpu = cpumask_nth(nth, cpu_online_mask);

	/* Fewer may be online by now. */
	if (cpu < nr_cpu_ids)
		virtqueue_set_affinity(vq, cpumask_of(cpu));
}

/* Whether the handler of an interrupt that nobody shares was given this data. */
static bool serves(int irq, const void *data)
{
	struct irq_data *irq_data = irq_get_irq_data(irq);
	struct irqaction *action = irq_data ? irq_data_to_desc(irq_data)->action : NULL;

	return action && action->dev_id == data;
}

/*
 * The interrupt of a queue, or -1. No function of virtio tells it, but virtio-pci gives each queue with a vector
 * of its own to the vector's handler, and requests and frees those only when it makes and deletes the queues.
 */
int espnic_helper_virtqueue_irq(struct virtqueue *vq)
{
	struct device *parent = vq->vdev->dev.parent;
	int irq;

	if (!dev_is_pci(parent) || !to_pci_dev(parent)->msix_enabled)
		return -1;
	for (int n = 0; (irq = pci_irq_vector(to_pci_dev(parent), n)) > 0; n++)
		if (serves(irq, vq))
			return irq;
	return -1;
}

/* One piece of memory for the device to write. */
int espnic_helper_virtqueue_add_room(struct virtqueue *vq, void *room, unsigned int len,
				     void *token)
{
	struct scatterlist sg = {};

	sg_init_marker(&sg, 1);
	sg_set_buf(&sg, room, len);
	return virtqueue_add_inbuf(vq, &sg, 1, token, GFP_ATOMIC);
}

/* The same with memory of a page pool, which is not mapped again if the pool has mapped it for the device. */
int espnic_helper_virtqueue_add_buffer(struct virtqueue *vq, void *room, unsigned int len,
				       void *token)
{
	struct page *page = virt_to_head_page(room);
	struct page_pool *pool = __netmem_get_pp(page_to_netmem(page));
	struct scatterlist sg = {};

	if (unlikely(!pool->dma_map || pool->p.dev != virtqueue_dma_dev(vq)))
		return espnic_helper_virtqueue_add_room(vq, room, len, token);
	sg_init_marker(&sg, 1);
	sg_dma_address(&sg) = page_pool_get_dma_addr(page) + (room - page_address(page));
	sg_dma_len(&sg) = len;
	return virtqueue_add_inbuf_premapped(vq, &sg, 1, token, NULL, GFP_ATOMIC);
}

/*
 * A packet for the device to read, behind a header: right in front of it if there is room that nobody shares,
 * else in the control block, where it must fit. The list has room for two pieces and the fragments.
 */
int espnic_helper_virtqueue_add_packet(struct virtqueue *vq, struct scatterlist *sg,
				       const void *header, unsigned int len, struct sk_buff *skb)
{
	unsigned int pieces = skb_shinfo(skb)->nr_frags + 1;
	int used;

	if (!skb_header_cloned(skb) && skb_headroom(skb) >= len) {
		memcpy(__skb_push(skb, len), header, len);
		sg_init_table(sg, pieces);
		used = skb_to_sgvec(skb, sg, 0, skb->len);
		__skb_pull(skb, len);
	} else {
		memcpy(skb->cb, header, len);
		sg_init_table(sg, pieces + 1);
		sg_set_buf(sg, skb->cb, len);
		used = skb_to_sgvec(skb, sg + 1, 0, skb->len);
		if (used >= 0)
			used++;
	}
	if (unlikely(used < 0))
		return used;
	return virtqueue_add_outbuf(vq, sg, used, skb, GFP_ATOMIC);
}

bool espnic_helper_virtio_has_config(struct virtio_device *vdev)
{
	return vdev->config->get;
}

void espnic_helper_virtio_synchronize_cbs(struct virtio_device *vdev)
{
	virtio_synchronize_cbs(vdev);
}

u8 espnic_helper_virtio_get_status(struct virtio_device *vdev)
{
	return vdev->config->get_status(vdev);
}

void espnic_helper_virtio_cread_bytes(struct virtio_device *vdev, unsigned int offset,
				      void *buf, size_t len)
{
	virtio_cread_bytes(vdev, offset, buf, len);
}

struct device *espnic_helper_virtio_get_device(struct virtio_device *vdev)
{
	return get_device(&vdev->dev);
}

void espnic_helper_virtio_put_device(struct virtio_device *vdev)
{
	put_device(&vdev->dev);
}
