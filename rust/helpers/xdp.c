// SPDX-License-Identifier: GPL-2.0

enum bpf_netdev_command espnic_helper_bpf_command(const struct netdev_bpf *bpf)
{
	return bpf->command;
}

/* Of XDP_SETUP_PROG. */
struct bpf_prog *espnic_helper_bpf_setup_prog(const struct netdev_bpf *bpf)
{
	return bpf->prog;
}

/* Of XDP_SETUP_PROG. */
struct netlink_ext_ack *espnic_helper_bpf_setup_extack(const struct netdev_bpf *bpf)
{
	return bpf->extack;
}

bool espnic_helper_bpf_takes_pieces(const struct bpf_prog *prog)
{
	return prog->aux->xdp_has_frags;
}

/* Pieces of frames are in memory of this size, and at a multiple of it. */
int espnic_helper_xdp_rxq_info_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
				   unsigned int queue, u32 piece)
{
	return __xdp_rxq_info_reg(rxq, dev, queue, 0, piece);
}

int espnic_helper_xdp_rxq_info_use_pool(struct xdp_rxq_info *rxq, struct page_pool *pool)
{
	return xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_PAGE_POOL, pool);
}

void espnic_helper_xdp_init_buff(struct xdp_buff *xdp, unsigned int size,
				 struct xdp_rxq_info *rxq)
{
	xdp_init_buff(xdp, size, rxq);
}

/* With room for metadata in front of the data. */
void espnic_helper_xdp_prepare_buff(struct xdp_buff *xdp, void *memory, unsigned int headroom,
				    unsigned int len, u32 flags)
{
	xdp_prepare_buff(xdp, memory, headroom, len, true);
	xdp->flags = flags;
}

u32 espnic_helper_xdp_flags(const struct xdp_buff *xdp)
{
	return xdp->flags;
}

/*
 * Appends memory of a page pool to the frame in `memory`, which has so many bytes, and such flags. False if there
 * are too many pieces.
 */
bool espnic_helper_xdp_add_piece(void *memory, unsigned int size, u32 *flags, void *data,
				 unsigned int len, unsigned int truesize)
{
	struct page *page = virt_to_head_page(data);
	struct xdp_buff xdp;
	bool added;

	xdp_init_buff(&xdp, size, NULL);
	xdp_prepare_buff(&xdp, memory, 0, 0, false);
	xdp.flags = *flags;
	added = __xdp_buff_add_frag(&xdp, page_to_netmem(page), data - page_address(page), len,
				    truesize, false);
	if (added && unlikely(page_is_pfmemalloc(page)))
		xdp_buff_set_frag_pfmemalloc(&xdp);
	*flags = xdp.flags;
	return added;
}

unsigned int espnic_helper_xdp_list_pieces(const struct skb_shared_info *list)
{
	return list->nr_frags;
}

unsigned int espnic_helper_xdp_list_len(const struct skb_shared_info *list)
{
	return list->xdp_frags_size;
}

/* Null if the CPU cannot read it. */
void *espnic_helper_xdp_list_piece(const struct skb_shared_info *list, unsigned int n,
				   unsigned int *len)
{
	const skb_frag_t *piece = &list->frags[n];

	*len = skb_frag_size(piece);
	return skb_frag_address_safe(piece);
}

/* In a run of NAPI. */
unsigned int espnic_helper_bpf_prog_run_xdp(const struct bpf_prog *prog, struct xdp_buff *xdp)
{
	return bpf_prog_run_xdp(prog, xdp);
}

struct xdp_frame *espnic_helper_xdp_convert_buff_to_frame(struct xdp_buff *xdp)
{
	return xdp_convert_buff_to_frame(xdp);
}

/* Null if the frame is in one piece. */
struct skb_shared_info *espnic_helper_xdp_frame_list(const struct xdp_frame *frame)
{
	return xdp_frame_has_frags(frame) ? xdp_get_shared_info_from_frame(frame) : NULL;
}

void espnic_helper_xdp_list_to_sg(const struct skb_shared_info *list, struct scatterlist *sg)
{
	for (unsigned int n = 0; n < list->nr_frags; n++) {
		const skb_frag_t *piece = &list->frags[n];

		sg_set_page(&sg[n], skb_frag_page(piece), skb_frag_size(piece),
			    skb_frag_off(piece));
	}
}

void espnic_helper_trace_xdp_exception(const struct net_device *dev, const struct bpf_prog *prog,
				       unsigned int action)
{
	trace_xdp_exception(dev, prog, action);
}
