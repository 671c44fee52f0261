#include "tests/fuzz/io_session_driver.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/check.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/engine/engine.h"
#include "server/service/block_operations.h"
#include "server/service/io_session.h"
#include "server/service/limits.h"

namespace ramvol::testing {
namespace {

using service::IoSession;
using service::Lane;

constexpr uint64_t kVolumeBytes = 1 << 20;

// One engine for all inputs: making one takes longer than an input.
engine::Engine& SharedEngine() {
  static engine::Engine* const engine = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.background_threads = 1;
    auto created = engine::Engine::Create(options);
    RAMVOL_CHECK(created.ok());
    return created->release();
  }();
  return *engine;
}

// A volume "v" and its snapshot "@s", which are deleted afterwards.
class ScratchVolume {
 public:
  ScratchVolume() {
    engine::VolumeOptions options;
    options.name = "v";
    options.size_bytes = kVolumeBytes;
    auto created = SharedEngine().CreateVolume(options);
    RAMVOL_CHECK(created.ok());
    volume_ = *std::move(created);
    auto kept = SharedEngine().CreateSnapshots({{volume_, "s"}});
    RAMVOL_CHECK(kept.ok());
    snapshot_ = kept->front();
  }
  ~ScratchVolume() {
    RAMVOL_CHECK(SharedEngine().DeleteVolume(volume_, /*force=*/true).ok());
    RAMVOL_CHECK(SharedEngine().DeleteVolume(snapshot_, /*force=*/true).ok());
  }
  engine::Volume& operator*() { return *volume_; }

 private:
  std::shared_ptr<engine::Volume> volume_;
  std::shared_ptr<engine::Volume> snapshot_;
};

// The extents adjoin, and neighbours differ in state.
void CheckChanges(const v1::IoResult& result) {
  for (int i = 1; i < result.changed_extents_size(); ++i) {
    const v1::ChangedExtent& before = result.changed_extents(i - 1);
    const v1::ChangedExtent& extent = result.changed_extents(i);
    RAMVOL_CHECK(extent.offset() == before.offset() + before.length());
    RAMVOL_CHECK(extent.changed() != before.changed());
  }
  if (result.changed_extents_size() == 0) return;
  const v1::ChangedExtent& last = *result.changed_extents().rbegin();
  RAMVOL_CHECK(result.next_offset() == last.offset() + last.length());
}

// What happens next.
enum class Step : uint8_t {
  kMessage,
  kRunPrompt,
  kRunMayWait,
  kCompleteOldest,
  kCompleteNewest,
  kWrite,
  kFailWaiting,
  kEnd,
  kAbandon,
};
constexpr int kSteps = 9;

class Driver {
 public:
  void Run(const uint8_t* data, size_t size) {
    while (size > 0) {
      const Step step = static_cast<Step>(*data % kSteps);
      ++data;
      --size;
      if (step != Step::kMessage) {
        Do(step);
        continue;
      }
      if (size < 2) break;
      const size_t length = std::min<size_t>(data[0] | data[1] << 8, size - 2);
      Message(data + 2, length);
      data += 2 + length;
      size -= 2 + length;
    }
    FinishAll();
  }

 private:
  void Message(const uint8_t* data, size_t size) {
    v1::IoRequest request;
    // gRPC answers what does not parse by itself.
    if (!request.ParseFromArray(data, static_cast<int>(size))) return;
    if (session_.ended()) return;
    std::vector<uint64_t> ids;
    for (const auto& operation : request.operations()) {
      ids.push_back(operation.id());
    }
    const size_t before = session_.unanswered_operations();
    const absl::Status status = session_.Receive(&request);
    if (!status.ok()) {
      RAMVOL_CHECK(session_.unanswered_operations() == before);
      session_.End(status);
      return;
    }
    for (const uint64_t id : ids) RAMVOL_CHECK(unanswered_.insert(id).second);
    if (!open_) {
      open_ = true;
      session_.Open(v1::IoOpened());
    }
    CheckWindow();
  }

  void Do(Step step) {
    switch (step) {
      case Step::kRunPrompt:
        return Begin(Lane::kPrompt);
      case Step::kRunMayWait:
        return Begin(Lane::kMayWait);
      case Step::kCompleteOldest:
        return Complete(0);
      case Step::kCompleteNewest:
        return Complete(running_.empty() ? 0 : running_.size() - 1);
      case Step::kWrite:
        Write();
        return;
      case Step::kFailWaiting:
        return session_.FailWaiting(Lane::kPrompt,
                                    absl::UnavailableError("busy"));
      case Step::kEnd:
        return session_.End(absl::OkStatus());
      case Step::kAbandon:
        abandoned_ = true;
        return session_.Abandon(absl::CancelledError("gone"));
      case Step::kMessage:
        return;
    }
  }

  void Begin(Lane lane) {
    auto operation = session_.NextOperation(lane);
    if (operation != nullptr) running_.push_back(std::move(operation));
  }

  void Complete(size_t index) {
    if (running_.empty()) return;
    auto operation = std::move(running_[index]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
    session_.Complete(
        service::RunOperation(*volume_, SharedEngine(), *operation));
  }

  bool Write() {
    v1::IoResponse response;
    if (!session_.NextMessage(&response)) return false;
    RAMVOL_CHECK(response.has_opened() == (open_ && !opened_sent_));
    opened_sent_ = true;
    RAMVOL_CHECK(response.results_size() <=
                 static_cast<int>(service::kMaxBatchResults));
    for (const auto& result : response.results()) {
      RAMVOL_CHECK(unanswered_.erase(result.id()) == 1);
      CheckChanges(result);
    }
    CheckWindow();
    return true;
  }

  void CheckWindow() {
    if (!abandoned_) {
      RAMVOL_CHECK(session_.unanswered_operations() == unanswered_.size());
    }
    RAMVOL_CHECK(session_.unanswered_operations() <=
                 service::kMaxWindowOperations);
    RAMVOL_CHECK(session_.unanswered_bytes() >= 0);
    RAMVOL_CHECK(session_.unanswered_bytes() <= service::kMaxWindowBytes);
  }

  // However it came to here, everything is answered or thrown away.
  void FinishAll() {
    session_.End(absl::OkStatus());
    bool moved = true;
    while (moved) {
      const size_t before = running_.size();
      Begin(Lane::kPrompt);
      Begin(Lane::kMayWait);
      moved = running_.size() > before || !running_.empty();
      Complete(0);
      moved = Write() || moved;
    }
    RAMVOL_CHECK(session_.Idle());
    RAMVOL_CHECK(abandoned_ || unanswered_.empty());
  }

  ScratchVolume volume_;
  IoSession session_;
  bool open_ = false;
  bool opened_sent_ = false;
  bool abandoned_ = false;
  std::vector<std::unique_ptr<v1::IoOperation>> running_;
  std::set<uint64_t> unanswered_;
};

}  // namespace

void FuzzIoSession(const uint8_t* data, size_t size) {
  Driver().Run(data, size);
}

}  // namespace ramvol::testing
