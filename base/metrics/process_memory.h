// What the kernel says about this process and its memory.
#ifndef RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_
#define RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

namespace ramvol::metrics {

// Resident size of this process; 0 where /proc does not say.
uint64_t ResidentBytes();

// The memory that this process may take: the machine's RAM, or the smallest
// limit of the cgroups (v2 or v1) that it is in, when that is less. nullopt
// when not even RAM is known. `root` is where the files are looked for: "" but
// in tests.
std::optional<uint64_t> AvailableMemoryBytes(const std::string& root = "");

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_
