// A volume's reader, writer and trimmer, made without an engine.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_VOLUME_REQUESTS_FIXTURE_H_
#define RAMVOL_TESTS_SERVER_ENGINE_VOLUME_REQUESTS_FIXTURE_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/read_clock.h"
#include "server/engine/volume/piece_writer.h"
#include "server/engine/volume/reader.h"
#include "server/engine/volume/trimmer.h"
#include "server/engine/volume/writer.h"
#include "tests/server/engine/support/volume_parts_fixture.h"

namespace ramvol::engine {

class RequestsTest : public VolumePartsTest {
 protected:
  RequestsTest() { worker_.to = &compactor_; }

  Cause Write(uint64_t offset, const std::string& data) {
    return writer_.Write(offset, {data.data(), data.size()}).cause;
  }
  // What the range holds; empty when the read was refused.
  std::string Read(uint64_t offset, size_t length) {
    std::string data(length, '?');
    ReadClock clock(true);
    return reader_.Read(offset, absl::MakeSpan(data), &clock).ok() ? data : "";
  }
  std::string CompressibleBlocks(int count) {
    std::string data;
    for (int i = 0; i < count; ++i) data += Compressible();
    return data;
  }
  // Compresses and drops what is cached of a chunk.
  void MakeCold(uint64_t chunk) {
    Flush(chunk);
    Drop(chunk);
  }
  void Shrink(uint64_t size_bytes) {
    StripedWriterLock lock(&content_.lock());
    content_.SetSizeLocked(size_bytes);
  }

  Reclaimer reclaimer_{engine_};
  Reader reader_{parts_, reclaimer_};
  PieceWriter pieces_{parts_, reclaimer_};
  Writer writer_{parts_, pieces_};
  Trimmer trimmer_{parts_, pieces_};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_VOLUME_REQUESTS_FIXTURE_H_
