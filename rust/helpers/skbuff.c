// SPDX-License-Identifier: GPL-2.0

/* Of memory of a page pool that is a packet with something in front of it. In a run of NAPI. */
struct sk_buff *espnic_helper_napi_build_packet(void *data, unsigned int truesize,
						unsigned int reserve, unsigned int len)
{
	struct sk_buff *skb = napi_build_skb(data, truesize);

	if (likely(skb)) {
		skb_mark_for_recycle(skb);
		skb_reserve(skb, reserve);
		__skb_put(skb, len);
	}
	return skb;
}

/* In whose memory was a frame with so many pieces, of so much memory. */
void espnic_helper_skb_adopt_pieces(struct sk_buff *skb, u8 pieces, unsigned int truesize,
				    u32 flags)
{
	xdp_update_skb_frags_info(skb, pieces, skb_shinfo(skb)->xdp_frags_size, truesize, flags);
}

/* Has so many bytes, or all, in its first piece. */
bool espnic_helper_skb_pull_head(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, min(len, skb->len));
}

unsigned int espnic_helper_skb_nr_frags(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->nr_frags;
}

u16 espnic_helper_skb_gso_size(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_size;
}

u16 espnic_helper_skb_gso_segs(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_segs;
}

unsigned int espnic_helper_skb_gso_type(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_type;
}

bool espnic_helper_skb_is_gso(const struct sk_buff *skb)
{
	return skb_is_gso(skb);
}

u8 espnic_helper_skb_ip_summed(const struct sk_buff *skb)
{
	return skb->ip_summed;
}

void espnic_helper_skb_set_ip_summed(struct sk_buff *skb, u8 ip_summed)
{
	skb->ip_summed = ip_summed;
}

int espnic_helper_skb_checksum_start_offset(const struct sk_buff *skb)
{
	return skb_checksum_start_offset(skb);
}

u16 espnic_helper_skb_csum_offset(const struct sk_buff *skb)
{
	return skb->csum_offset;
}

int espnic_helper_skb_transport_offset(const struct sk_buff *skb)
{
	return skb_transport_offset(skb);
}

int espnic_helper_skb_network_offset(const struct sk_buff *skb)
{
	return skb_network_offset(skb);
}

u16 espnic_helper_skb_protocol(const struct sk_buff *skb)
{
	return ntohs(skb->protocol);
}

int espnic_helper_skb_cow_head(struct sk_buff *skb, unsigned int headroom)
{
	return skb_cow_head(skb, headroom);
}

int espnic_helper_skb_copy_bits(const struct sk_buff *skb, int offset, void *to, int len)
{
	return skb_copy_bits(skb, offset, to, len);
}

void espnic_helper_skb_reserve(struct sk_buff *skb, unsigned int len)
{
	skb_reserve(skb, len);
}

void *espnic_helper_skb_put(struct sk_buff *skb, unsigned int len)
{
	return skb_put(skb, len);
}

void espnic_helper_skb_pull(struct sk_buff *skb, unsigned int len)
{
	__skb_pull(skb, len);
}

/* Memory of a page pool. */
void espnic_helper_skb_add_rx_buffer(struct sk_buff *skb, void *data, unsigned int len,
				     unsigned int truesize)
{
	struct page *page = virt_to_head_page(data);

	skb_mark_for_recycle(skb);
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, data - page_address(page), len,
			truesize);
}

/* The device's hash of addresses and ports, or of addresses. */
void espnic_helper_skb_set_hash(struct sk_buff *skb, u32 hash, bool ports)
{
	skb_set_hash(skb, hash, ports ? PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
}

/* Segments of TCP in one packet. */
void espnic_helper_skb_set_gso(struct sk_buff *skb, unsigned int type, u16 size, u16 segments)
{
	struct skb_shared_info *info = skb_shinfo(skb);

	info->gso_type = type;
	info->gso_size = size;
	info->gso_segs = segments;
}

/* Bytes right in front of the packet, which are no part of it. */
void espnic_helper_skb_metadata_set(struct sk_buff *skb, u8 len)
{
	skb_metadata_set(skb, len);
}

void espnic_helper_skb_from_device(struct sk_buff *skb, struct net_device *dev, u16 queue)
{
	skb->protocol = eth_type_trans(skb, dev);
	skb_record_rx_queue(skb, queue);
}

void espnic_helper_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

void espnic_helper_sg_set_buf(struct scatterlist *sg, const void *buf, unsigned int len)
{
	sg_set_buf(sg, buf, len);
}

int espnic_helper_skb_trim(struct sk_buff *skb, unsigned int len)
{
	return pskb_trim(skb, len);
}

bool espnic_helper_skb_is_for_us(const struct sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST;
}

struct sk_buff *espnic_helper_alloc_skb(unsigned int size)
{
	return alloc_skb(size, GFP_KERNEL);
}

/*
 * The packet begins with a network header of this length. It is no received one, so the stack does not
 * quote it in ICMP errors.
 */
void espnic_helper_skb_set_network(struct sk_buff *skb, u16 protocol, unsigned int length)
{
	skb->pkt_type = PACKET_OUTGOING;
	skb->protocol = htons(protocol);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, length);
}

void espnic_helper_skb_dst_set(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set(skb, dst);
}

unsigned int espnic_helper_skb_dst_mtu(const struct sk_buff *skb)
{
	return dst_mtu(skb_dst(skb));
}

struct xfrm_state *espnic_helper_skb_dst_xfrm(const struct sk_buff *skb)
{
	return dst_xfrm(skb_dst(skb));
}

u32 espnic_helper_skb_mark(const struct sk_buff *skb)
{
	return skb->mark;
}

struct skb_ext *espnic_helper_skb_hold_extensions(const struct sk_buff *skb)
{
	refcount_inc(&skb->extensions->refcnt);
	return skb->extensions;
}

/* More references, by who has one. */
void espnic_helper_skb_spare_extensions(struct skb_ext *ext, unsigned int spare)
{
	refcount_add(spare, &ext->refcnt);
}

/* One reference, and spare ones that no skb got. */
void espnic_helper_skb_put_extensions(struct skb_ext *ext, unsigned int spare)
{
	if (spare)
		WARN_ON_ONCE(refcount_sub_and_test(spare, &ext->refcnt));
	__skb_ext_put(ext);
}

/* The secpath among them, with an skb that has no extensions yet. */
void espnic_helper_skb_share_secpath(struct sk_buff *skb, struct skb_ext *ext)
{
	refcount_inc(&ext->refcnt);
	skb->extensions = ext;
	skb->active_extensions = BIT(SKB_EXT_SEC_PATH);
	skb->slow_gro = 1;
}

/* As a clone shares them, but with an skb that has none yet. It gets a reference of the caller. */
void espnic_helper_skb_share_extensions(struct sk_buff *skb, struct skb_ext *ext, u8 active,
					u32 mark)
{
	skb->extensions = ext;
	skb->active_extensions = active;
	skb->slow_gro = 1;
	skb->mark = mark;
}
