#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "client/client.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"
#include "ramvol/output/v1/output.pb.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

bool ParseJson(const std::string& json, google::protobuf::Message* message) {
  return google::protobuf::util::JsonStringToMessage(json, message).ok();
}

// What the command line says of an error, the code, the message and the reason.
absl::Status ErrorOf(const std::string& json) {
  output::v1::ErrorOutput output;
  if (!ParseJson(json, &output)) return absl::InternalError(json);
  const output::v1::Error& error = output.error();
  for (int code = 1; code <= 16; ++code) {
    const auto one = static_cast<absl::StatusCode>(code);
    if (absl::StatusCodeToString(one) != error.code()) continue;
    return WithReason(absl::Status(one, error.message()), error.reason());
  }
  return absl::InternalError(json);
}

// Runs `ramvol` in this process.
class CommandLine {
 public:
  // Borrows `server`.
  explicit CommandLine(TestServer& server) : server_(server) {}

  // Answers with the standard output. Several threads may call.
  absl::StatusOr<std::string> Run(std::vector<std::string> words,
                                  const std::string& in = "") const {
    cli::CliHarness harness;
    harness.context().connect = [](const ClientOptions& options) {
      return Client(options);
    };
    harness.in().Set(in);
    words.push_back(
        absl::StrCat("--server=", server_.server().grpc_addresses().front()));
    words.push_back("--output=json");
    auto result = harness.Run(words);
    if (result.exit_code == 0) return std::move(result.out);
    return ErrorOf(result.err);
  }

 private:
  TestServer& server_;
};

// A `ramvol` for each operation. Others are attached meanwhile, so all of them
// are forced.
class CliDevice : public Device {
 public:
  CliDevice(const CommandLine& line, std::string name)
      : line_(line), name_(std::move(name)) {}

  bool read_only() override {
    const auto shown = line_.Run({"show", name_});
    v1::Volume volume;
    return shown.ok() && ParseJson(*shown, &volume) && volume.read_only();
  }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    return line_.Run(
        {"read", name_, absl::StrCat(offset), absl::StrCat(length)});
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    return line_.Run({"write", name_, absl::StrCat(offset), "--force"}, data)
        .status();
  }
  absl::Status Trim(int64_t offset, int64_t length) override {
    return line_
        .Run({"trim", name_, absl::StrCat(offset), absl::StrCat(length),
              "--force"})
        .status();
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool /*no_hole*/) override {
    return Trim(offset, length);
  }
  // The command line has no such thing.
  absl::Status Flush() override { return line_.Run({"show", name_}).status(); }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    const auto listed =
        line_.Run({"extents", name_, absl::StrCat("--offset=", offset),
                   absl::StrCat("--length=", length)});
    if (!listed.ok()) return listed.status();
    output::v1::ExtentsOutput output;
    if (!ParseJson(*listed, &output)) return absl::InternalError(*listed);
    std::vector<DeviceExtent> extents;
    for (const v1::Extent& extent : output.extents()) {
      extents.push_back({extent.offset(), extent.length(), extent.hole()});
    }
    return extents;
  }

 private:
  const CommandLine& line_;
  const std::string name_;
};

class CliFactory : public DeviceFactory {
 public:
  std::unique_ptr<Device> Open(const std::string& name,
                               int64_t size_bytes) override {
    if (!line_.Run({"show", name}).ok()) {
      line_.Run({"create", name, absl::StrCat(size_bytes)})
          .status()
          .IgnoreError();
    }
    return std::make_unique<CliDevice>(line_, name);
  }
  bool steps_are_dear() const override { return true; }
  bool keeps_zeroes() const override { return false; }

  absl::Status SetReadOnly(const std::string& name) override {
    return line_.Run({"set", name, "--read-only=true"}).status();
  }
  absl::Status Delete(const std::string& name) override {
    if (name[0] != '@') return line_.Run({"rm", name, "--force"}).status();
    return line_.Run({"snapshot", "rm", name, "--force"}).status();
  }
  absl::Status Snapshot(const std::string& volume,
                        const std::string& name) override {
    return line_.Run({"snapshot", "create", volume, name}).status();
  }
  absl::Status Clone(const std::string& source,
                     const std::string& name) override {
    return line_.Run({"clone", source, name}).status();
  }

 private:
  engine::Engine& engine() override { return server_.server().engine(); }

  TestServer server_{ConformanceServerOptions()};
  const CommandLine line_{server_};
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeCliFactory() {
  return std::make_unique<CliFactory>();
}

}  // namespace ramvol::testing
