#include "vhost_user/config_space.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include <cstring>

#include "vhost_user/block_request.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/protocol/split_ring.h"

namespace ramvol::vhost {
namespace {

constexpr uint32_t kBlockSectors = 4096 / kSectorBytes;
constexpr uint32_t kChunkSectors = 65536 / kSectorBytes;
constexpr uint8_t kBlockExponent = 3;
static_assert(1U << kBlockExponent == kBlockSectors);

}  // namespace

uint64_t OfferedFeatures(bool read_only) {
  uint64_t features = Bit(VIRTIO_F_VERSION_1) | Bit(VIRTIO_RING_F_EVENT_IDX) |
                      Bit(VIRTIO_RING_F_INDIRECT_DESC) | Bit(kFeatureLogAll) |
                      Bit(kFeatureProtocolFeatures) |
                      Bit(VIRTIO_BLK_F_SIZE_MAX) | Bit(VIRTIO_BLK_F_SEG_MAX) |
                      Bit(VIRTIO_BLK_F_BLK_SIZE) | Bit(VIRTIO_BLK_F_TOPOLOGY) |
                      Bit(VIRTIO_BLK_F_MQ) | Bit(VIRTIO_BLK_F_FLUSH);
  features |= read_only
                  ? Bit(VIRTIO_BLK_F_RO)
                  : Bit(VIRTIO_BLK_F_DISCARD) | Bit(VIRTIO_BLK_F_WRITE_ZEROES);
  return features;
}

uint64_t OfferedProtocolFeatures() {
  return Bit(ProtocolFeature::kMq) | Bit(ProtocolFeature::kLogShmFd) |
         Bit(ProtocolFeature::kReplyAck) | Bit(ProtocolFeature::kBackendReq) |
         Bit(ProtocolFeature::kConfig) | Bit(ProtocolFeature::kInflightShmFd) |
         Bit(ProtocolFeature::kResetDevice) |
         Bit(ProtocolFeature::kConfigureMemSlots) |
         Bit(ProtocolFeature::kStatus);
}

std::string ConfigSpace(uint64_t capacity_sectors) {
  virtio_blk_config config{};
  config.capacity = capacity_sectors;
  config.size_max = kMaxSegmentBytes;
  config.seg_max = kMaxSegments;
  config.blk_size = kSectorBytes;
  config.physical_block_exp = kBlockExponent;
  config.min_io_size = kBlockSectors;
  config.opt_io_size = kChunkSectors;
  config.wce = 1;
  config.num_queues = kMaxQueues;
  config.max_discard_sectors = kMaxZeroSectors;
  config.max_discard_seg = kMaxZeroRanges;
  config.discard_sector_alignment = kBlockSectors;
  config.max_write_zeroes_sectors = kMaxZeroSectors;
  config.max_write_zeroes_seg = kMaxZeroRanges;
  config.write_zeroes_may_unmap = 1;
  std::string space(kConfigSpaceBytes, '\0');
  static_assert(sizeof(config) <= kConfigSpaceBytes);
  std::memcpy(space.data(), &config, sizeof(config));
  return space;
}

}  // namespace ramvol::vhost
