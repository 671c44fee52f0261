// The kernel's structs of a split virtqueue. C++ cannot compile the functions
// that are beside them.
#ifndef RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_
#define RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_

#ifndef VIRTIO_RING_NO_LEGACY
#define VIRTIO_RING_NO_LEGACY
#endif
#include <linux/virtio_ring.h>  // IWYU pragma: export

#endif  // RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_
