// What a virtio-blk device says of itself.
#ifndef RAMVOL_VHOST_USER_CONFIG_SPACE_H_
#define RAMVOL_VHOST_USER_CONFIG_SPACE_H_

#include <cstdint>
#include <string>

namespace ramvol::vhost {

// Most queues of a device. A front-end that wants one for each virtual CPU asks
// for as many.
inline constexpr uint32_t kMaxQueues = 64;

// The bits of virtio and of vhost-user that a device offers.
uint64_t OfferedFeatures(bool read_only);
uint64_t OfferedProtocolFeatures();

// The configuration space: kConfigSpaceBytes bytes, a virtio_blk_config and
// zeroes.
std::string ConfigSpace(uint64_t capacity_sectors);

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_CONFIG_SPACE_H_
