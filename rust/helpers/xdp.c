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

int espnic_helper_xdp_rxq_info_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
				   unsigned int queue)
{
	return xdp_rxq_info_reg(rxq, dev, queue, 0);
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
				    unsigned int len)
{
	xdp_prepare_buff(xdp, memory, headroom, len, true);
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

bool espnic_helper_xdp_frame_has_frags(const struct xdp_frame *frame)
{
	return xdp_frame_has_frags(frame);
}

void espnic_helper_trace_xdp_exception(const struct net_device *dev, const struct bpf_prog *prog,
				       unsigned int action)
{
	trace_xdp_exception(dev, prog, action);
}
