// SPDX-License-Identifier: GPL-2.0
/*
 * One object for all helpers; each file is named after the C header it serves.
 */

#include "helpers.h"

#include "neighbour.c"
#include "netdevice.c"
#include "page_pool.c"
#include "skbuff.c"
#include "sync.c"
#include "umem.c"
#include "virtio.c"
#include "xdp.c"
#include "xfrm.c"
