// A chunk of the engine as a cluster of an image, and back.
#ifndef RAMVOL_SERVER_ARCHIVE_CLUSTER_CODEC_H_
#define RAMVOL_SERVER_ARCHIVE_CLUSTER_CODEC_H_

#include <cstdint>

#include "absl/types/span.h"
#include "qcow2/format.h"
#include "server/engine/types/encoded_chunk.h"

namespace ramvol::archive {

// Most bytes that a chunk takes as a compressed cluster, by the bytes of its
// runs and their number.
uint32_t CompressedBytes(uint64_t run_bytes, int runs);

// Writes the chunk as a compressed cluster: a frame for each run, and before
// one that is as stored another one with its checksum. `out` has
// CompressedBytes; returns how many are used.
uint32_t WriteCluster(const engine::EncodedChunk& chunk, absl::Span<char> out);

// Fills `*chunk` with the runs of a cluster, whose bytes are copied to its
// buffer. Frames that are whole blocks stay; a cluster of others is
// decompressed. With `own`, frames with a checksum are as stored.
// False when it does not hold a whole cluster.
bool ReadCluster(qcow2::ClusterKind kind, absl::Span<const char> cluster,
                 bool own, engine::EncodedChunk* chunk);

}  // namespace ramvol::archive

#endif  // RAMVOL_SERVER_ARCHIVE_CLUSTER_CODEC_H_
