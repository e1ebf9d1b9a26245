// SPDX-License-Identifier: GPL-2.0

struct xfrm_offload *espnic_helper_xfrm_offload(struct sk_buff *skb)
{
	return xfrm_offload(skb);
}

struct xfrm_state *espnic_helper_xfrm_input_state(struct sk_buff *skb)
{
	return xfrm_input_state(skb);
}

bool espnic_helper_xfrm_state_tryget(struct xfrm_state *x)
{
	return refcount_inc_not_zero(&x->refcnt);
}

void espnic_helper_xfrm_state_put(struct xfrm_state *x)
{
	xfrm_state_put(x);
}

void espnic_helper_xfrm_state_lock(struct xfrm_state *x)
{
	spin_lock_bh(&x->lock);
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
