#include "csi/driver.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/metrics/endpoint.h"
#include "base/metrics/process_metrics.h"
#include "csi/csi_metrics.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace ramvol::csi_driver {
namespace {

// Of a round of trims. What it does not reach, the next one does.
constexpr absl::Duration kTrimTimeout = absl::Minutes(1);
// Of each file system, of which hardly one has errors.
constexpr absl::Duration kCheckTimeout = absl::Seconds(2);
// What hangs for longer is taken away later, beside calls, and must not keep
// the driver from serving.
constexpr absl::Duration kCleanUpTimeout = absl::Seconds(20);

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> Driver::Start(
    const DriverOptions& options) {
  auto driver = absl::WrapUnique(new Driver(options));
  driver->CleanUp();
  driver->watch_.Look();
  absl::Status started = driver->StartMetrics();
  if (!started.ok()) return started;
  driver->StartTickers();
  started = driver->Serve();
  if (!started.ok()) return started;
  return driver;
}

Driver::Driver(const DriverOptions& options)
    : options_(options),
      volumes_(Client(options.client), options.volumes),
      mounter_(&commands_),
      file_systems_(&commands_),
      attaching_(ChooseAttacher(volumes_.client(), options.attach, &commands_,
                                &mounter_, options.node)),
      node_volumes_(&volumes_, attaching_.attacher.get(), &mounter_,
                    &file_systems_),
      write_back_(&volumes_, attaching_.attacher.get(), &mounter_),
      leftovers_(&volumes_, attaching_.attacher.get(), &mounter_, &locks_),
      identity_(&calls_),
      controller_(&volumes_, &locks_, &calls_,
                  {{"attach", attaching_.attacher->way()},
                   {"attachReason", attaching_.reason}},
                  Flush()),
      groups_(&volumes_),
      group_controller_(&groups_, &locks_, &calls_, Flush()),
      metadata_(&volumes_, &calls_),
      node_(volumes_.node_id(), &node_volumes_, &locks_, &calls_),
      watch_(&volumes_, attaching_.attacher.get(),
             [this](const AttachedDevice& attached) {
               return node_volumes_.HasStopped(attached,
                                               absl::Now() + kCheckTimeout);
             }) {}

ControllerService::Flush Driver::Flush() {
  return [this](const std::string& handle, absl::Time deadline) {
    return write_back_.Flush(handle, deadline);
  };
}

absl::Status Driver::StartMetrics() {
  if (options_.metrics_listen.empty()) return absl::OkStatus();
  auto started = metrics::Endpoint::Start(
      options_.metrics_listen,
      {std::make_shared<metrics::ProcessMetrics>(),
       std::make_shared<CsiMetrics>(&calls_, attaching_.attacher.get(),
                                    &node_volumes_, &leftovers_, &watch_)},
      [] { return std::string(); }, &door_);
  if (!started.ok()) return started.status();
  metrics_ = *std::move(started);
  return absl::OkStatus();
}

void Driver::StartTickers() {
  if (options_.trim_interval > absl::ZeroDuration()) {
    const auto trim = [this, last = std::string()]() mutable {
      // Else fstrim waits in the kernel, beyond its deadline.
      if (!watch_.summary().reached) return;
      last = node_volumes_.TrimAll(std::move(last), absl::Now() + kTrimTimeout);
    };
    trimmer_ = std::make_unique<Ticker>(options_.trim_interval, trim);
  }
  watcher_ = std::make_unique<Ticker>(options_.watch_interval, [this] {
    watch_.Look();
    if (absl::Now() >= leftovers_.next_try() && watch_.summary().reached) {
      CleanUp();
    }
  });
}

void Driver::CleanUp() {
  const auto did = leftovers_.TakeAway(absl::Now() + kCleanUpTimeout);
  if (!did.ok()) {
    options_.log(
        absl::StrCat("cleaned up: nothing, until ramvold says what there is: ",
                     std::string(did.status().message())));
    return;
  }
  for (const std::string& line : *did) options_.log(line);
}

absl::Status Driver::Serve() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.endpoint,
                           grpc::InsecureServerCredentials());
  builder.RegisterService(&identity_);
  builder.RegisterService(&controller_);
  builder.RegisterService(&group_controller_);
  builder.RegisterService(&metadata_);
  builder.RegisterService(&node_);
  server_ = builder.BuildAndStart();
  if (server_ != nullptr) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", options_.endpoint));
}

std::string Driver::description() const {
  std::string text = absl::StrCat(
      "csi ", options_.endpoint, "; server ", options_.client.server,
      "; attach ", attaching_.attacher->way(), " (", attaching_.reason, ")");
  if (metrics_ != nullptr) {
    absl::StrAppend(&text, "; metrics ", metrics_->url());
  }
  return text;
}

void Driver::Shutdown(absl::Duration drain_timeout) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + drain_timeout));
  server_->Wait();
}

}  // namespace ramvol::csi_driver
