#include "vhost_user/guest_memory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ramvol::vhost {
namespace {

bool Wraps(uint64_t begin, uint64_t bytes) { return begin + bytes < begin; }

bool Overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

// Whether [address, address + bytes) lies in [begin, begin + size).
bool Lies(uint64_t address, uint64_t bytes, uint64_t begin, uint64_t size) {
  return address >= begin && bytes <= size && address - begin <= size - bytes;
}

}  // namespace

absl::Status GuestMemory::AddTo(std::vector<Region>* regions,
                                const MemoryRegion& region,
                                const Descriptor& descriptor,
                                BrokenFlag* broken) {
  if (Wraps(region.guest_address, region.bytes) ||
      Wraps(region.user_address, region.bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a memory region of ", region.bytes, " bytes at ",
                     absl::Hex(region.guest_address), " wraps around"));
  }
  if (regions->size() == kMaxRegions) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kMaxRegions, " memory regions"));
  }
  for (const Region& other : *regions) {
    if (Overlap(region.guest_address, region.bytes, other.where.guest_address,
                other.where.bytes) ||
        Overlap(region.user_address, region.bytes, other.where.user_address,
                other.where.bytes)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a memory region of ", region.bytes, " bytes at ",
          absl::Hex(region.guest_address), " overlaps another one"));
    }
  }
  auto mapping =
      SharedMapping::Map(descriptor.get(), region.offset, region.bytes, broken);
  if (!mapping.ok()) return mapping.status();
  const auto behind =
      std::upper_bound(regions->begin(), regions->end(), region.guest_address,
                       [](uint64_t address, const Region& other) {
                         return address < other.where.guest_address;
                       });
  regions->insert(behind, Region{region, *std::move(mapping)});
  return absl::OkStatus();
}

absl::Status GuestMemory::Set(const std::vector<MemoryRegion>& regions,
                              const std::vector<Descriptor>& descriptors) {
  if (regions.size() != descriptors.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(regions.size(), " memory regions with ",
                     descriptors.size(), " descriptors"));
  }
  std::vector<Region> fresh;
  for (size_t i = 0; i < regions.size(); ++i) {
    absl::Status added = AddTo(&fresh, regions[i], descriptors[i], &broken_);
    if (!added.ok()) return added;
  }
  regions_ = std::move(fresh);
  return absl::OkStatus();
}

absl::Status GuestMemory::Add(const MemoryRegion& region,
                              const Descriptor& descriptor) {
  return AddTo(&regions_, region, descriptor, &broken_);
}

absl::Status GuestMemory::Remove(const MemoryRegion& region) {
  const auto found =
      std::find_if(regions_.begin(), regions_.end(), [&](const Region& one) {
        return one.where.guest_address == region.guest_address &&
               one.where.user_address == region.user_address &&
               one.where.bytes == region.bytes;
      });
  if (found == regions_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no memory region of ",
                                            region.bytes, " bytes at ",
                                            absl::Hex(region.guest_address)));
  }
  regions_.erase(found);
  return absl::OkStatus();
}

char* GuestMemory::AtUser(uint64_t address, uint64_t bytes) const {
  for (const Region& region : regions_) {
    const MemoryRegion& where = region.where;
    if (Lies(address, bytes, where.user_address, where.bytes)) {
      return region.mapping->data() + (address - where.user_address);
    }
  }
  return nullptr;
}

const GuestMemory::Region* GuestMemory::RegionAt(uint64_t guest_address) const {
  const auto behind =
      std::upper_bound(regions_.begin(), regions_.end(), guest_address,
                       [](uint64_t address, const Region& region) {
                         return address < region.where.guest_address;
                       });
  if (behind == regions_.begin()) return nullptr;
  const Region& region = *(behind - 1);
  return guest_address - region.where.guest_address < region.where.bytes
             ? &region
             : nullptr;
}

char* GuestMemory::AtGuest(uint64_t address, uint64_t bytes) const {
  const Region* region = RegionAt(address);
  if (region == nullptr) return nullptr;
  const uint64_t into = address - region->where.guest_address;
  return bytes <= region->where.bytes - into ? region->mapping->data() + into
                                             : nullptr;
}

bool GuestMemory::Find(uint64_t address, uint64_t bytes,
                       Segments* segments) const {
  while (bytes > 0) {
    const Region* region = RegionAt(address);
    if (region == nullptr) return false;
    const uint64_t into = address - region->where.guest_address;
    const uint64_t here = std::min(bytes, region->where.bytes - into);
    segments->push_back({region->mapping->data() + into, here, address});
    address += here;  // Regions do not wrap around.
    bytes -= here;
  }
  return true;
}

}  // namespace ramvol::vhost
