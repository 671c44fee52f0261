// Locks memory, so that the kernel refuses to release it.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_LOCK_MEMORY_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_LOCK_MEMORY_H_

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

namespace ramvol::engine {

// False where it is not allowed. Not by mlock, which sanitizers replace by
// nothing.
inline bool LockMemory(void* data, size_t bytes) {
  return syscall(SYS_mlock, data, bytes) == 0;
}
inline void UnlockMemory(void* data, size_t bytes) {
  syscall(SYS_munlock, data, bytes);
}

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_LOCK_MEMORY_H_
