// What the kernel says about this process and its memory.
#ifndef RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_
#define RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

namespace ramvol::metrics {

// Resident size of this process; 0 when /proc does not tell.
uint64_t ResidentBytes();

// The memory that this process may take: the least of the machine's RAM and the
// limits of its cgroups (v1 or v2). nullopt when none is known. `root` is a
// prefix for the files' paths, for tests.
std::optional<uint64_t> AvailableMemoryBytes(const std::string& root = "");

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_PROCESS_MEMORY_H_
