#include "server/engine/volume/description.h"

#include <cstring>

namespace ramvol::engine {
namespace {

// The text begins with this. The name and the attributes follow.
struct Head {
  uint64_t uid;
  uint64_t memory_limit_bytes;
  uint64_t attribute_bytes;
  uint32_t min_frame_bytes;
  uint32_t max_frame_bytes;
  int32_t write_level;
  int32_t merge_level;
  uint32_t name_bytes;
  uint8_t allocator;
  uint8_t read_only;
  uint8_t unused[2];
};
static_assert(sizeof(Head) == 48);

}  // namespace

std::string Format(const Description& description) {
  const VolumeOptions& options = description.options;
  const Head head = {
      .uid = description.uid,
      .memory_limit_bytes = options.memory_limit_bytes,
      .attribute_bytes = description.attributes.size(),
      .min_frame_bytes = options.min_frame_bytes,
      .max_frame_bytes = options.max_frame_bytes,
      .write_level = options.write_level,
      .merge_level = options.merge_level,
      .name_bytes = static_cast<uint32_t>(options.name.size()),
      .allocator = static_cast<uint8_t>(options.allocator),
      .read_only = options.read_only,
      .unused = {},
  };
  std::string text(reinterpret_cast<const char*>(&head), sizeof(head));
  return text + options.name + description.attributes;
}

std::optional<Description> ParseDescription(std::string_view text) {
  Head head;
  if (text.size() < sizeof(head)) return std::nullopt;
  std::memcpy(&head, text.data(), sizeof(head));
  text.remove_prefix(sizeof(head));
  if (head.name_bytes > text.size() ||
      head.attribute_bytes != text.size() - head.name_bytes ||
      head.allocator > static_cast<uint8_t>(Allocator::kMalloc)) {
    return std::nullopt;
  }
  Description description;
  description.uid = head.uid;
  description.attributes = text.substr(head.name_bytes);
  VolumeOptions& options = description.options;
  options.name = text.substr(0, head.name_bytes);
  options.allocator = static_cast<Allocator>(head.allocator);
  options.min_frame_bytes = head.min_frame_bytes;
  options.max_frame_bytes = head.max_frame_bytes;
  options.write_level = head.write_level;
  options.merge_level = head.merge_level;
  options.memory_limit_bytes = head.memory_limit_bytes;
  options.read_only = head.read_only != 0;
  return description;
}

}  // namespace ramvol::engine
