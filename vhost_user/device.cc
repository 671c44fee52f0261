#include "vhost_user/device.h"

#include <sched.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"
#include "vhost_user/config_space.h"
#include "vhost_user/event.h"
#include "vhost_user/inflight.h"
#include "vhost_user/protocol/split_ring.h"

namespace ramvol::vhost {
namespace {

// How long a thread looks before it sleeps: about what sleeping and being woken
// costs.
constexpr int64_t kAwakeNs = 50'000;
// The guest hears of answers that are older than this, even when more requests
// wait.
constexpr int64_t kTellNs = 50'000;
// How many requests of a queue are served before the next queue's turn.
constexpr int kMaxBatch = 64;
// How often a sleeping thread looks at queues that have no kick.
constexpr int kNapMs = 1;
// How often Stop frees threads that wait for the front-end.
constexpr absl::Duration kUnblockInterval = absl::Milliseconds(50);

int Cores() {
  static const int cores =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return cores;
}

}  // namespace

int DefaultDeviceThreads() { return std::min(Cores(), kMaxDeviceThreads); }

Device::Device(std::unique_ptr<block::BlockDevice> device,
               DeviceOptions options)
    : device_(std::move(device)),
      options_(std::move(options)),
      capacity_sectors_(device_->size_bytes() / kSectorBytes),
      setup_(&broken_) {
  for (std::unique_ptr<Queue>& queue : setup_.queues) {
    queue = std::make_unique<Queue>();
  }
}

Device::~Device() { Stop(); }

bool Device::SetSize(uint64_t bytes) {
  const uint64_t sectors = bytes / kSectorBytes;
  return capacity_sectors_.exchange(sectors) != sectors;
}

template <typename Do>
void Device::ForQueuesOf(int worker, Do action) {
  for (uint32_t i = worker; i < kMaxQueues; i += options_.max_threads) {
    Queue& queue = *setup_.queues[i];
    if (queue.ring.running()) action(queue);
  }
}

// --- Setting up ---

absl::Status Device::Change(absl::FunctionRef<absl::Status(Setup&)> change) {
  changes_.fetch_add(1);
  WaitForWorkers();
  absl::Status status;
  {
    WriterMutexLock lock(&mu_);
    status = change(setup_);
    absl::Status settled = Settle();
    if (status.ok()) status = std::move(settled);
  }
  {
    MutexLock lock(&wait_mu_);
    changes_.fetch_sub(1);
    changed_.SignalAll();
  }
  WakeAll();
  return status;
}

bool Device::Runs(const Queue& queue) const {
  const bool needs_enabling =
      (setup_.features & Bit(kFeatureProtocolFeatures)) != 0;
  return queue.kicked && queue.has_address && queue.ring.size() != 0 &&
         (queue.enabled || !needs_enabling) && !over();
}

absl::Status Device::Settle() {
  for (uint32_t i = 0; i < kMaxQueues; ++i) {
    absl::Status settled = SettleQueue(i, *setup_.queues[i]);
    if (!settled.ok()) return settled;
  }
  return absl::OkStatus();
}

absl::Status Device::SettleQueue(uint32_t index, Queue& queue) {
  if (!Runs(queue)) {
    queue.ring.Stop();
    return absl::OkStatus();
  }
  const bool logs = (setup_.features & Bit(kFeatureLogAll)) != 0;
  const Virtqueue::Options options = {
      .event_index = (setup_.features & Bit(VIRTIO_RING_F_EVENT_IDX)) != 0,
      .indirect = (setup_.features & Bit(VIRTIO_RING_F_INDIRECT_DESC)) != 0,
      .log = logs ? setup_.log.get() : nullptr};
  if (queue.ring.running()) return queue.ring.Move(setup_.memory, options);
  const InflightArea& area = setup_.inflight_area;
  if (setup_.inflight != nullptr && index < area.queues) {
    char* const region =
        setup_.inflight->data() + index * Inflight::BytesFor(area.queue_size);
    queue.ring.SetInflight(Inflight(region, area.queue_size));
  } else {
    queue.ring.SetInflight(Inflight());
  }
  absl::Status started = queue.ring.Start(setup_.memory, options);
  if (!started.ok()) return started;
  queue.must_tell = true;
  return StartWorker(static_cast<int>(index) % options_.max_threads);
}

absl::Status Device::SetKick(uint32_t index, Queue& queue, Descriptor kick) {
  Worker& worker = workers_[index % options_.max_threads];
  return worker.kicks.Set(&queue.kick, std::move(kick));
}

void Device::SetEvent(Queue& queue, Descriptor Queue::* place,
                      Descriptor event) {
  {
    MutexLock lock(&events_mu_);
    (queue.*place).Reset();
    queue.*place = std::move(event);
  }
  // By a worker: the guest can make whoever tells it wait.
  queue.must_tell = true;
}

absl::Status Device::ResetQueue(uint32_t index, std::unique_ptr<Queue>& queue) {
  if (queue->kick.is_open()) {
    absl::Status unset = SetKick(index, *queue, Descriptor());
    if (!unset.ok()) return unset;
  }
  auto fresh = std::make_unique<Queue>();
  MutexLock lock(&events_mu_);
  queue.swap(fresh);
  return absl::OkStatus();
}

absl::Status Device::StartWorker(int index) {
  Worker& worker = workers_[index];
  if (worker.started) return absl::OkStatus();
  awake_.fetch_add(1);
  worker.started = StartThread([this, index] { Work(index); });
  if (worker.started) return absl::OkStatus();
  awake_.fetch_sub(1);
  return absl::ResourceExhaustedError("the system has no more threads");
}

bool Device::StartThread(std::function<void()> run) {
  MutexLock lock(&wait_mu_);
  ++running_;
  const bool started = options_.threads.Run([this, run = std::move(run)] {
    run();
    ThreadEnds();
  });
  if (!started) --running_;
  return started;
}

void Device::ThreadEnds() {
  awake_.fetch_sub(1);
  MutexLock lock(&wait_mu_);
  --running_;
  changed_.SignalAll();
}

void Device::WakeAll() {
  for (const Worker& worker : workers_) worker.kicks.Wake();
}

void Device::Unblock() {
  // Without mu_, which a thread that waits has: queues and their events are
  // only replaced with events_mu_, too.
  MutexLock lock(&events_mu_);
  for (const std::unique_ptr<Queue>& queue : setup_.queues) {
    Drain(queue->call);
    Drain(queue->error);
  }
}

void Device::Stop() {
  stopping_.store(true);
  device_->Abandon();  // Lets go of threads that limits hold up.
  WakeAll();
  MutexLock lock(&wait_mu_);
  changed_.SignalAll();
  while (running_ > 0) {
    if (changed_.WaitFor(&wait_mu_, kUnblockInterval)) Unblock();
  }
}

void Device::Fail(const absl::Status& why) {
  if (failed_.exchange(true)) return;
  options_.failed(why);
}

// --- Working ---

void Device::Work(int index) {
  Worker& worker = workers_[index];
  Thread me = {AwakePlace(Cores()), Chain(), SteadyNowNs()};
  while (!over()) {
    if (ServeOrLook(index, worker.looks, &me)) continue;
    me.place.Give();
    awake_.fetch_sub(1);
    Sleep(index);
    awake_.fetch_add(1);
    const int64_t now = SteadyNowNs();
    worker.looks = now - me.idle_since < kAwakeNs;
    me.idle_since = now;
  }
}

void Device::GetHelp(int index) {
  std::atomic<int>& helpers = workers_[index].helpers;
  if (awake_.load(std::memory_order_relaxed) >= options_.max_threads) return;
  if (awake_.fetch_add(1) < options_.max_threads) {
    helpers.fetch_add(1);
    if (StartThread([this, index] { Help(index); })) return;
    helpers.fetch_sub(1);
  }
  awake_.fetch_sub(1);
}

void Device::Help(int index) {
  Thread me = {AwakePlace(Cores()), Chain(), SteadyNowNs()};
  while (!over() && ServeOrLook(index, /*looks=*/true, &me)) {
    if (!estimate_.WorthSharing()) break;
    // A queue of another worker needs the core.
    if (awake_.load(std::memory_order_relaxed) > options_.max_threads) break;
  }
  workers_[index].helpers.fetch_sub(1);
}

bool Device::ServeOrLook(int index, bool looks, Thread* me) {
  WaitForChange();
  if (!Enter()) return true;
  const bool served = ServeAll(index, &me->chain);
  Leave();
  if (served) {
    me->place.Give();
    me->idle_since = SteadyNowNs();
    return true;
  }
  const bool short_yet = SteadyNowNs() - me->idle_since < kAwakeNs;
  if (!looks || !short_yet || !me->place.Take()) return false;
  sched_yield();
  return true;
}

void Device::WaitForChange() {
  if (changes_.load(std::memory_order_relaxed) == 0) return;
  MutexLock lock(&wait_mu_);
  while (changes_.load() > 0 && !over()) {
    changed_.WaitFor(&wait_mu_, kUnblockInterval);
  }
}

bool Device::Enter() {
  serving_.fetch_add(1);
  if (changes_.load() == 0) return true;
  Leave();
  return false;
}

void Device::Leave() {
  if (serving_.fetch_sub(1) != 1 || changes_.load() == 0) return;
  MutexLock lock(&wait_mu_);
  changed_.SignalAll();
}

void Device::WaitForWorkers() {
  MutexLock lock(&wait_mu_);
  while (serving_.load() > 0) {
    if (changed_.WaitFor(&wait_mu_, kUnblockInterval)) Unblock();
  }
}

bool Device::ServeAll(int index, Chain* chain) {
  ReaderMutexLock lock(&mu_);
  bool served = false;
  ForQueuesOf(index, [&](Queue& queue) ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (queue.must_tell.load(std::memory_order_relaxed) &&
        queue.must_tell.exchange(false)) {
      Signal(queue.call);
    }
    served = Serve(index, queue, chain) || served;
  });
  if (broken_.load(std::memory_order_relaxed)) {
    Fail(absl::InvalidArgumentError(
        "the guest's memory was taken away while it was in use"));
  }
  return served;
}

void Device::MarkWritten(const Chain& chain) {
  if (setup_.log == nullptr) return;
  if ((setup_.features & Bit(kFeatureLogAll)) == 0) return;
  for (const Segment& segment : chain.writable) {
    setup_.log->Mark(segment.guest_address, segment.bytes);
  }
}

bool Device::Serve(int index, Queue& queue, Chain* chain) {
  // Alone, a thread keeps it over all of a batch.
  SmallMutexLock lock(&queue.mu);
  if (!queue.ring.HasWork()) return false;
  int64_t began_ns = SteadyNowNs();
  int64_t told_ns = began_ns;
  bool served = false;
  for (int i = 0; i < kMaxBatch; ++i) {
    const absl::StatusOr<bool> taken = queue.ring.Take(chain);
    if (taken.ok() && !*taken) break;
    const absl::StatusOr<RequestResult> result =
        taken.ok() ? CarryOut(index, queue, *chain) : taken.status();
    if (!result.ok()) {
      Fail(result.status());
      Signal(queue.error);
      return served;
    }
    // What it did to memory that is gone is not answered.
    if (broken_.load(std::memory_order_relaxed)) return served;
    MarkWritten(*chain);
    queue.ring.Answer(chain->head, result->written + 1);
    served = true;
    const int64_t now = SteadyNowNs();
    options_.stats.RequestEnded(result->kind, result->result, now - began_ns);
    estimate_.Note(now - began_ns);
    began_ns = now;
    if (absl::IsNotFound(result->why)) Fail(result->why);
    if (over() || changes_.load(std::memory_order_relaxed) > 0) break;
    if (now - told_ns > kTellNs) {
      told_ns = now;
      if (queue.ring.MustNotify()) Signal(queue.call);
    }
  }
  if (served && queue.ring.MustNotify()) Signal(queue.call);
  return served;
}

absl::StatusOr<RequestResult> Device::CarryOut(int index, Queue& queue,
                                               const Chain& chain) {
  const RequestTarget target = {*device_, capacity_sectors(), read_only(),
                                options_.id};
  const auto waiting = static_cast<int64_t>(queue.ring.waiting());
  // Threads that limits hold up would be of no help.
  const bool wants_help = estimate_.WorthWaking(waiting) && !device_->limited();
  const std::atomic<int>& helpers = workers_[index].helpers;
  if (!wants_help && helpers.load(std::memory_order_relaxed) == 0) {
    return Execute(target, chain);
  }
  queue.mu.Unlock();
  if (wants_help) GetHelp(index);
  absl::StatusOr<RequestResult> result = Execute(target, chain);
  queue.mu.Lock();
  return result;
}

void Device::Sleep(int index) {
  const Worker& worker = workers_[index];
  int timeout_ms = -1;
  {
    ReaderMutexLock lock(&mu_);
    bool work = false;
    ForQueuesOf(index, [&](Queue& queue) {
      SmallMutexLock queue_lock(&queue.mu);
      work = queue.ring.StartKicks() || work;
      if (!queue.kick.is_open()) timeout_ms = kNapMs;
    });
    if (work) timeout_ms = 0;
  }
  if (!over() && timeout_ms != 0) worker.kicks.Wait(timeout_ms);
  ReaderMutexLock lock(&mu_);
  ForQueuesOf(index, [](Queue& queue) {
    SmallMutexLock queue_lock(&queue.mu);
    queue.ring.StopKicks();
  });
}

}  // namespace ramvol::vhost
