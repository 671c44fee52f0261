#include "client/cli/output/top_sample.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace ramvol::cli {
namespace {

// How many calls run at a time. So a thousand volumes of a distant server take
// half a second.
constexpr size_t kMaxThreads = 16;

using Answers = std::vector<absl::StatusOr<v1::VolumeStats>>;

Answers StatAll(const Client& client, const std::vector<v1::Volume>& volumes) {
  Answers answers(volumes.size());
  std::atomic<size_t> next = 0;
  const auto ask = [&] {
    for (size_t i = next++; i < volumes.size(); i = next++) {
      answers[i] = client.StatVolume(volumes[i].name());
    }
  };
  std::vector<std::thread> threads;
  while (threads.size() + 1 < std::min(kMaxThreads, volumes.size())) {
    threads.emplace_back(ask);
  }
  ask();
  for (std::thread& thread : threads) thread.join();
  return answers;
}

double PerSecond(int64_t before, int64_t after, absl::Duration interval) {
  const double seconds = absl::ToDoubleSeconds(interval);
  return seconds > 0 ? static_cast<double>(after - before) / seconds : 0;
}

TopRates Rates(int64_t operations, int64_t bytes, int64_t nanoseconds,
               absl::Duration interval) {
  TopRates rates;
  rates.operations_per_second = PerSecond(0, operations, interval);
  rates.bytes_per_second = PerSecond(0, bytes, interval);
  if (operations > 0) {
    rates.microseconds = static_cast<double>(nanoseconds) / 1e3 /
                         static_cast<double>(operations);
  }
  return rates;
}

int64_t OtherOperations(const v1::IoCounters& io) {
  return io.trim_operations() + io.zero_operations() + io.flush_operations() +
         io.extents_operations();
}

TopLine Compare(const v1::IoCounters& before, const v1::VolumeStats& after,
                absl::Duration interval) {
  const v1::IoCounters& io = after.io();
  TopLine line;
  line.stats = after;
  line.read =
      Rates(io.read_operations() - before.read_operations(),
            io.read_bytes() - before.read_bytes(),
            io.read_nanoseconds() - before.read_nanoseconds(), interval);
  line.write =
      Rates(io.write_operations() - before.write_operations(),
            io.written_bytes() - before.written_bytes(),
            io.write_nanoseconds() - before.write_nanoseconds(), interval);
  line.other_operations_per_second =
      PerSecond(OtherOperations(before), OtherOperations(io), interval);
  line.errors_per_second =
      PerSecond(before.failed_operations(), io.failed_operations(), interval);
  const int64_t hits = io.cache_hits() - before.cache_hits();
  const int64_t looked = hits + io.cache_misses() - before.cache_misses();
  if (looked > 0) {
    line.hit_rate = static_cast<double>(hits) / static_cast<double>(looked);
  }
  return line;
}

// Adds the fields that a total has.
void Add(const v1::VolumeStats& from, v1::VolumeStats* to) {
  to->set_size_bytes(0);  // A sum of sizes means nothing, and may overflow.
  to->set_logical_bytes(to->logical_bytes() + from.logical_bytes());
  to->set_stored_bytes(to->stored_bytes() + from.stored_bytes());
  to->set_memory_bytes(to->memory_bytes() + from.memory_bytes());
  to->set_attached_clients(to->attached_clients() + from.attached_clients());
  if (to->stored_bytes() > 0) {
    to->set_ratio(static_cast<double>(to->logical_bytes()) /
                  static_cast<double>(to->stored_bytes()));
  }
}

void Add(const v1::IoCounters& from, v1::IoCounters* to) {
  to->set_read_operations(to->read_operations() + from.read_operations());
  to->set_write_operations(to->write_operations() + from.write_operations());
  to->set_trim_operations(to->trim_operations() + from.trim_operations());
  to->set_zero_operations(to->zero_operations() + from.zero_operations());
  to->set_flush_operations(to->flush_operations() + from.flush_operations());
  to->set_extents_operations(to->extents_operations() +
                             from.extents_operations());
  to->set_failed_operations(to->failed_operations() + from.failed_operations());
  to->set_read_bytes(to->read_bytes() + from.read_bytes());
  to->set_written_bytes(to->written_bytes() + from.written_bytes());
  to->set_cache_hits(to->cache_hits() + from.cache_hits());
  to->set_cache_misses(to->cache_misses() + from.cache_misses());
  to->set_read_nanoseconds(to->read_nanoseconds() + from.read_nanoseconds());
  to->set_write_nanoseconds(to->write_nanoseconds() + from.write_nanoseconds());
}

}  // namespace

absl::StatusOr<TopSample> TakeTopSample(const Client& client, absl::Time now) {
  TopSample sample;
  sample.time = now;
  absl::StatusOr<v1::GetServerInfoResponse> server = client.GetServerInfo();
  if (!server.ok()) return server.status();
  sample.server = *std::move(server);
  absl::StatusOr<std::vector<v1::Volume>> volumes = client.ListVolumes();
  if (!volumes.ok()) return volumes.status();
  Answers answers = StatAll(client, *volumes);
  for (size_t i = 0; i < answers.size(); ++i) {
    if (absl::IsNotFound(answers[i].status())) continue;
    if (!answers[i].ok()) return answers[i].status();
    sample.volumes.push_back(
        {(*volumes)[i].name(), (*volumes)[i].uid(), *std::move(answers[i])});
  }
  return sample;
}

TopView CompareTopSamples(const TopSample& before, const TopSample& after) {
  std::map<std::string, const v1::IoCounters*> before_by_uid;
  for (const TopSample::Volume& volume : before.volumes) {
    before_by_uid[volume.uid] = &volume.stats.io();
  }
  TopView view;
  view.time = after.time;
  view.interval = after.time - before.time;
  view.server = after.server;
  v1::IoCounters all_before;
  v1::VolumeStats all_after;
  for (const TopSample::Volume& volume : after.volumes) {
    const auto found = before_by_uid.find(volume.uid);
    const v1::IoCounters& io_before = found == before_by_uid.end()
                                          ? v1::IoCounters::default_instance()
                                          : *found->second;
    TopLine line = Compare(io_before, volume.stats, view.interval);
    line.name = volume.name;
    view.volumes.push_back(std::move(line));
    Add(io_before, &all_before);
    Add(volume.stats, &all_after);
    Add(volume.stats.io(), all_after.mutable_io());
  }
  view.total = Compare(all_before, all_after, view.interval);
  return view;
}

}  // namespace ramvol::cli
