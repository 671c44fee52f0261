#include "tests/client/fake_server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "proto/status.h"

namespace ramvol {
namespace {

constexpr int kWindowOperations = 64;
constexpr int64_t kWindowBytes = int64_t{8} << 20;
constexpr int64_t kMaxDataBytes = int64_t{1} << 20;
constexpr int kMaxMessageBytes = 32 << 20;
constexpr int64_t kBlockBytes = 4096;

absl::Status NoVolume(const std::string& name) {
  return WithReason(
      absl::NotFoundError(absl::StrCat("there is no volume \"", name, "\"")),
      reason::kVolumeNotFound);
}

// Appends the extents of a range, at block granularity.
void ListExtents(const std::string& data, int64_t offset, int64_t length,
                 int max_extents, v1::IoResult& result) {
  const int64_t end = length == 0 ? data.size() : offset + length;
  int64_t at = offset;
  while (at < end) {
    const int64_t next = std::min(end, (at / kBlockBytes + 1) * kBlockBytes);
    const bool hole = std::all_of(data.begin() + at, data.begin() + next,
                                  [](char byte) { return byte == '\0'; });
    if (result.extents_size() > 0 &&
        result.extents(result.extents_size() - 1).hole() == hole) {
      v1::Extent& last = *result.mutable_extents(result.extents_size() - 1);
      last.set_length(last.length() + next - at);
    } else {
      if (result.extents_size() == max_extents) break;
      v1::Extent& extent = *result.add_extents();
      extent.set_offset(at);
      extent.set_length(next - at);
      extent.set_hole(hole);
    }
    at = next;
  }
  result.set_next_offset(at);
}

}  // namespace

class FakeServer::Control : public v1::VolumeService::Service {
 public:
  explicit Control(FakeServer& server) : server_(server) {}

  grpc::Status CreateVolume(grpc::ServerContext*,
                            const v1::CreateVolumeRequest* request,
                            v1::CreateVolumeResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      server_.last_request_id_ = request->request_id();
      auto found = server_.volumes_.find(request->name());
      if (found == server_.volumes_.end()) {
        Volume volume;
        volume.settings.set_name(request->name());
        volume.settings.set_size_bytes(request->size_bytes());
        volume.settings.set_uid(absl::StrCat("uid-", server_.next_uid_++));
        volume.data.resize(request->size_bytes());
        volume.request_id = request->request_id();
        found = server_.volumes_.emplace(request->name(), volume).first;
      } else if (found->second.request_id != request->request_id()) {
        return WithReason(absl::AlreadyExistsError("the name is taken"),
                          reason::kVolumeExists);
      }
      *response->mutable_volume() = found->second.settings;
      return absl::OkStatus();
    });
  }

  grpc::Status GetVolume(grpc::ServerContext*,
                         const v1::GetVolumeRequest* request,
                         v1::GetVolumeResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      auto found = server_.volumes_.find(request->name());
      if (found == server_.volumes_.end()) return NoVolume(request->name());
      *response->mutable_volume() = found->second.settings;
      return absl::OkStatus();
    });
  }

  // Two on a page, so that there are many pages.
  grpc::Status ListVolumes(grpc::ServerContext*,
                           const v1::ListVolumesRequest* request,
                           v1::ListVolumesResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      auto next = server_.volumes_.upper_bound(request->page_token());
      while (next != server_.volumes_.end() && response->volumes_size() < 2) {
        *response->add_volumes() = next->second.settings;
        ++next;
      }
      if (next != server_.volumes_.end()) {
        response->set_next_page_token(
            response->volumes(response->volumes_size() - 1).name());
      }
      return absl::OkStatus();
    });
  }

  grpc::Status UpdateVolume(grpc::ServerContext*,
                            const v1::UpdateVolumeRequest* request,
                            v1::UpdateVolumeResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      auto found = server_.volumes_.find(request->name());
      if (found == server_.volumes_.end()) return NoVolume(request->name());
      found->second.settings.set_size_bytes(request->volume().size_bytes());
      found->second.data.resize(request->volume().size_bytes());
      *response->mutable_volume() = found->second.settings;
      return absl::OkStatus();
    });
  }

  grpc::Status DeleteVolume(grpc::ServerContext*,
                            const v1::DeleteVolumeRequest* request,
                            v1::DeleteVolumeResponse*) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      return server_.volumes_.erase(request->name()) == 1
                 ? absl::OkStatus()
                 : NoVolume(request->name());
    });
  }

  grpc::Status StatVolume(grpc::ServerContext*,
                          const v1::StatVolumeRequest* request,
                          v1::StatVolumeResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      auto found = server_.volumes_.find(request->name());
      if (found == server_.volumes_.end()) return NoVolume(request->name());
      response->mutable_stats()->set_size_bytes(found->second.data.size());
      return absl::OkStatus();
    });
  }

  grpc::Status GetServerInfo(grpc::ServerContext*,
                             const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    return Run([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_.mu_) {
      response->set_version("fake");
      return absl::OkStatus();
    });
  }

 private:
  template <typename Body>
  grpc::Status Run(Body body) {
    bool applied;
    absl::Status fault = server_.NextFault(&applied);
    if (!fault.ok() && !applied) return ToGrpcStatus(fault);
    MutexLock lock(&server_.mu_);
    absl::Status status = body();
    return ToGrpcStatus(fault.ok() ? status : fault);
  }

  FakeServer& server_;
};

class FakeServer::Block : public v1::BlockService::Service {
 public:
  explicit Block(FakeServer& server) : server_(server) {}

  grpc::Status Read(grpc::ServerContext*, const v1::ReadRequest* request,
                    v1::ReadResponse* response) override {
    v1::IoOperation operation;
    operation.mutable_read()->set_offset(request->offset());
    operation.mutable_read()->set_length(request->length());
    v1::IoResult result;
    absl::Status status = server_.Apply(request->volume(), operation, result);
    *response->mutable_data() = std::move(*result.mutable_data());
    return ToGrpcStatus(status);
  }

  grpc::Status
  Io(grpc::ServerContext* context,
     grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>* stream) override {
    return server_.ServeIo(*context, *stream);
  }

 private:
  FakeServer& server_;
};

FakeServer::FakeServer()
    : control_(std::make_unique<Control>(*this)),
      block_(std::make_unique<Block>(*this)) {}

FakeServer::~FakeServer() { Stop(); }

bool FakeServer::Start(const std::string& address) {
  {
    MutexLock lock(&mu_);
    stopping_ = false;
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.RegisterService(control_.get());
  builder.RegisterService(block_.get());
  server_ = builder.BuildAndStart();
  return server_ != nullptr;
}

void FakeServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_ = nullptr;
}

void FakeServer::Wipe() {
  MutexLock lock(&mu_);
  volumes_.clear();
}

void FakeServer::Add(const std::string& name, int64_t size_bytes) {
  MutexLock lock(&mu_);
  Volume& volume = volumes_[name];
  volume.settings.set_name(name);
  volume.settings.set_size_bytes(size_bytes);
  volume.settings.set_uid(absl::StrCat("uid-", next_uid_++));
  volume.data.assign(size_bytes, '\0');
}

std::string FakeServer::Content(const std::string& name) {
  MutexLock lock(&mu_);
  return volumes_[name].data;
}

void FakeServer::FailControlCall(int nth, absl::Status status, bool applied) {
  MutexLock lock(&mu_);
  fault_in_ = nth;
  fault_ = std::move(status);
  fault_applied_ = applied;
}

void FakeServer::BreakStreamsEvery(int operations) {
  MutexLock lock(&mu_);
  break_every_ = operations;
  until_break_ = operations;
}

void FakeServer::SetMute(bool mute) {
  MutexLock lock(&mu_);
  mute_ = mute;
  changed_.SignalAll();
}

void FakeServer::AwaitReceived(int64_t operations) {
  MutexLock lock(&mu_);
  while (received_ < operations) changed_.Wait(&mu_);
}

int64_t FakeServer::control_calls() {
  MutexLock lock(&mu_);
  return control_calls_;
}

std::string FakeServer::last_request_id() {
  MutexLock lock(&mu_);
  return last_request_id_;
}

absl::Status FakeServer::NextFault(bool* applied) {
  MutexLock lock(&mu_);
  ++control_calls_;
  *applied = fault_applied_;
  return fault_in_ > 0 && --fault_in_ == 0 ? fault_ : absl::OkStatus();
}

absl::Status FakeServer::Check(const Volume& volume, int64_t offset,
                               int64_t length) {
  const int64_t size_bytes = volume.data.size();
  if (offset < 0 || length < 0) return InvalidField("offset", "negative");
  if (length > size_bytes || offset > size_bytes - length) {
    return WithReason(
        absl::OutOfRangeError(absl::StrCat(length, " bytes at offset ", offset,
                                           " end past the volume")),
        reason::kPastEnd);
  }
  return absl::OkStatus();
}

absl::Status FakeServer::Apply(const std::string& name,
                               const v1::IoOperation& operation,
                               v1::IoResult& result) {
  MutexLock lock(&mu_);
  auto found = volumes_.find(name);
  if (found == volumes_.end()) return NoVolume(name);
  std::string& data = found->second.data;
  auto check = [&](int64_t offset, int64_t length) {
    return Check(found->second, offset, length);
  };
  absl::Status status;
  if (operation.has_read()) {
    const v1::IoRead& read = operation.read();
    status = check(read.offset(), read.length());
    if (status.ok()) {
      result.set_data(data.substr(read.offset(), read.length()));
    }
  } else if (operation.has_write()) {
    const v1::IoWrite& write = operation.write();
    status = check(write.offset(), write.data().size());
    if (status.ok()) {
      data.replace(write.offset(), write.data().size(), write.data());
    }
  } else if (operation.has_trim()) {
    const v1::IoTrim& trim = operation.trim();
    status = check(trim.offset(), trim.length());
    if (status.ok()) {
      data.replace(trim.offset(), trim.length(), trim.length(), '\0');
    }
  } else if (operation.has_write_zeroes()) {
    const v1::IoWriteZeroes& zero = operation.write_zeroes();
    status = check(zero.offset(), zero.length());
    if (status.ok()) {
      data.replace(zero.offset(), zero.length(), zero.length(), '\0');
    }
  } else if (operation.has_get_extents()) {
    const v1::IoGetExtents& get = operation.get_extents();
    status = check(get.offset(), get.length());
    // Far fewer than asked for, so that there are pages.
    if (status.ok()) {
      ListExtents(data, get.offset(), get.length(), 3, result);
    }
  }
  return status;
}

bool FakeServer::CountReceived(grpc::ServerContext& context, int operations) {
  MutexLock lock(&mu_);
  received_ += operations;
  changed_.SignalAll();
  while (mute_ && !stopping_ && !context.IsCancelled()) changed_.Wait(&mu_);
  if (break_every_ == 0) return false;
  until_break_ -= operations;
  if (until_break_ > 0) return false;
  until_break_ = break_every_;
  return true;
}

grpc::Status FakeServer::ServeIo(
    grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>& stream) {
  v1::IoRequest request;
  if (!stream.Read(&request)) return grpc::Status::OK;
  const std::string name = request.volume();
  v1::IoResponse response;
  {
    MutexLock lock(&mu_);
    auto found = volumes_.find(name);
    if (found == volumes_.end()) return ToGrpcStatus(NoVolume(name));
    v1::IoOpened& opened = *response.mutable_opened();
    opened.set_size_bytes(found->second.data.size());
    opened.set_window_operations(kWindowOperations);
    opened.set_window_bytes(kWindowBytes);
    opened.set_max_data_bytes(kMaxDataBytes);
    opened.set_uid(found->second.settings.uid());
  }
  do {
    const bool breaks = CountReceived(context, request.operations_size());
    for (const v1::IoOperation& operation : request.operations()) {
      v1::IoResult& result = *response.add_results();
      result.set_id(operation.id());
      absl::Status status = Apply(name, operation, result);
      if (!status.ok()) *result.mutable_error() = ToRpcStatus(status);
    }
    if (breaks) {
      return ToGrpcStatus(absl::UnavailableError("broken for the test"));
    }
    // In an order that is not theirs.
    std::reverse(response.mutable_results()->pointer_begin(),
                 response.mutable_results()->pointer_end());
    if (!stream.Write(response)) break;
    response.Clear();
  } while (stream.Read(&request));
  return grpc::Status::OK;
}

}  // namespace ramvol
