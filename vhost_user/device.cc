#include "vhost_user/device.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "vhost_user/block_request.h"
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

// Threads of all devices that look without having found anything.
std::atomic<int> awake{0};

// Holds a place among them. There are as many as cores, so that threads which
// only look take turns with all others at most.
class AwakePlace {
 public:
  bool Take() {
    if (has_) return true;
    has_ = awake.fetch_add(1, std::memory_order_relaxed) < Cores();
    if (!has_) awake.fetch_sub(1, std::memory_order_relaxed);
    return has_;
  }
  void Give() {
    if (has_) awake.fetch_sub(1, std::memory_order_relaxed);
    has_ = false;
  }
  ~AwakePlace() { Give(); }

 private:
  bool has_ = false;
};

void Signal(const Descriptor& event) {
  if (!event.is_open()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      write(event.get(), &one, sizeof(one));
}

void Drain(const Descriptor& event) {
  if (!event.is_open()) return;
  pollfd look{event.get(), POLLIN, 0};
  uint64_t count;
  if (poll(&look, 1, 0) == 1 && (look.revents & POLLIN) != 0) {
    [[maybe_unused]] const ssize_t got =
        read(event.get(), &count, sizeof(count));
  }
}

}  // namespace

Device::Device(std::unique_ptr<block::BlockDevice> device,
               DeviceOptions options)
    : device_(std::move(device)),
      options_(std::move(options)),
      worker_count_(std::min(Cores(), kMaxDeviceThreads)),
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
  for (uint32_t i = worker; i < kMaxQueues; i += worker_count_) {
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
  return StartWorker(static_cast<int>(index) % worker_count_);
}

absl::Status Device::OpenWorker(Worker* worker) {
  if (worker->epoll.is_open()) return absl::OkStatus();
  Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = kMaxQueues;
  if (!epoll.is_open() || !wake.is_open() ||
      epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return absl::ResourceExhaustedError(
        "the process has no more file descriptors");
  }
  worker->epoll = std::move(epoll);
  worker->wake = std::move(wake);
  return absl::OkStatus();
}

absl::Status Device::SetKick(uint32_t index, Queue& queue, Descriptor kick) {
  Worker& worker = workers_[index % worker_count_];
  absl::Status opened = OpenWorker(&worker);
  if (!opened.ok()) return opened;
  // Others have it, too, so that closing does not take it out.
  if (queue.kick.is_open()) {
    epoll_ctl(worker.epoll.get(), EPOLL_CTL_DEL, queue.kick.get(), nullptr);
  }
  queue.kick.Reset();
  queue.kick = std::move(kick);
  if (!queue.kick.is_open()) return absl::OkStatus();
  // Edge-triggered, so that it need not be read.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u32 = index;
  if (epoll_ctl(worker.epoll.get(), EPOLL_CTL_ADD, queue.kick.get(), &event) !=
      0) {
    return absl::InvalidArgumentError("a kick that cannot be waited for");
  }
  return absl::OkStatus();
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
  MutexLock lock(&wait_mu_);
  ++running_;
  worker.started = options_.threads.Run([this, index] { Work(index); });
  if (worker.started) return absl::OkStatus();
  --running_;
  return absl::ResourceExhaustedError("the system has no more threads");
}

void Device::WakeAll() {
  for (const Worker& worker : workers_) Signal(worker.wake);
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
  AwakePlace place;
  int64_t idle_since = SteadyNowNs();
  while (!over()) {
    WaitForChange();
    if (!Enter()) continue;
    const bool served = ServeAll(index);
    Leave();
    if (served) {
      place.Give();
      idle_since = SteadyNowNs();
      continue;
    }
    const bool short_yet = SteadyNowNs() - idle_since < kAwakeNs;
    if (worker.looks && short_yet && place.Take()) {
      sched_yield();
      continue;
    }
    place.Give();
    Sleep(index);
    const int64_t now = SteadyNowNs();
    worker.looks = now - idle_since < kAwakeNs;
    idle_since = now;
  }
  place.Give();
  MutexLock lock(&wait_mu_);
  --running_;
  changed_.SignalAll();
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

bool Device::ServeAll(int index) {
  ReaderMutexLock lock(&mu_);
  bool served = false;
  ForQueuesOf(index, [&](Queue& queue) ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    if (std::exchange(queue.must_tell, false)) Signal(queue.call);
    if (queue.ring.HasWork()) served = Serve(queue) || served;
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

bool Device::Serve(Queue& queue) {
  const RequestTarget target = {*device_, capacity_sectors(), read_only(),
                                options_.id};
  int64_t began_ns = SteadyNowNs();
  int64_t told_ns = began_ns;
  bool served = false;
  for (int i = 0; i < kMaxBatch; ++i) {
    const absl::StatusOr<bool> taken = queue.ring.Take(&queue.chain);
    absl::StatusOr<RequestResult> result;
    if (taken.ok()) {
      if (!*taken) break;
      result = Execute(target, queue.chain);
    } else {
      result = taken.status();
    }
    if (!result.ok()) {
      Fail(result.status());
      Signal(queue.error);
      return served;
    }
    // What it did to memory that is gone is not answered.
    if (broken_.load(std::memory_order_relaxed)) return served;
    MarkWritten(queue.chain);
    queue.ring.Answer(queue.chain.head, result->written + 1);
    served = true;
    const int64_t now = SteadyNowNs();
    options_.stats.RequestEnded(result->kind, result->result, now - began_ns);
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

void Device::Sleep(int index) {
  const Worker& worker = workers_[index];
  int timeout_ms = -1;
  {
    ReaderMutexLock lock(&mu_);
    bool work = false;
    ForQueuesOf(index, [&](Queue& queue) {
      work = queue.ring.StartKicks() || work;
      if (!queue.kick.is_open()) timeout_ms = kNapMs;
    });
    if (work) timeout_ms = 0;
  }
  std::array<epoll_event, 8> events;
  const int ready =
      over() || timeout_ms == 0
          ? 0
          : epoll_wait(worker.epoll.get(), events.data(),
                       static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < ready; ++i) {
    if (events[i].data.u32 == kMaxQueues) Drain(worker.wake);
  }
  ReaderMutexLock lock(&mu_);
  ForQueuesOf(index, [](Queue& queue) { queue.ring.StopKicks(); });
}

}  // namespace ramvol::vhost
