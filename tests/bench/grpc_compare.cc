// Compares ramvold's gRPC with gRPC itself, which stores nothing, and Io with
// the unary calls: each pair in turn, A B A B, over Unix sockets, with the
// servers in processes of their own. The volume fits the hot cache, so that it
// is gRPC that is measured and not the codec.
//
//   bazel run --config=opt //tests/bench:grpc_compare -- --seconds=2
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/bench/echo_server.h"
#include "tests/bench/grpc_loads.h"
#include "tests/bench/load.h"
#include "tests/bench/server_process.h"

ABSL_FLAG(std::string, ramvold, "server/ramvold", "The ramvold to measure.");
ABSL_FLAG(double, seconds, 2, "How long each measurement takes.");
ABSL_FLAG(int, rounds, 3, "How often each is made; the median counts.");
ABSL_FLAG(std::string, filter, "", "Only rows whose group has this in it.");
ABSL_FLAG(bool, json, false, "Print one JSON object instead of a table.");
ABSL_FLAG(std::string, serve_echo, "",
          "Only serve the bare gRPC server, at this address.");

namespace ramvol::bench {
namespace {

constexpr char kVolume[] = "bench";
constexpr int64_t kVolumeBytes = int64_t{32} << 20;
constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kLargeBytes = int64_t{1} << 20;
constexpr int kDepths[] = {1, 16, 64};
constexpr int kIoDepths[] = {16, 64, 256};
constexpr int kLargeDepth = 8;

// A row of the table.
struct Row {
  std::string name;
  const ServerProcess* server = nullptr;
  std::function<std::unique_ptr<Load>()> make;
  int depth = 1;
  std::vector<Measurement> rounds;
};

// Rows that are measured in turn; ratios are to the first.
struct Group {
  std::string name;
  std::vector<Row> rows;
};

double Median(const std::vector<Measurement>& rounds,
              double Measurement::* field) {
  std::vector<double> values;
  for (const Measurement& round : rounds) values.push_back(round.*field);
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(EXIT_FAILURE);
}

// Makes the volume and writes all of it, block by block.
void FillVolume(const std::string& server) {
  const Client client({.server = server});
  v1::CreateVolumeRequest request;
  request.set_name(kVolume);
  request.set_size_bytes(kVolumeBytes);
  const auto made = client.CreateVolume(request);
  if (!made.ok()) Fail(made.status().ToString());
  const auto volume = client.Open(kVolume);
  if (!volume.ok()) Fail(volume.status().ToString());
  const std::string data = BlockData(kBlockBytes);
  for (int64_t at = 0; at < kVolumeBytes; at += kBlockBytes) {
    const absl::Status written = volume->Write(at, data);
    if (!written.ok()) Fail(written.ToString());
  }
}

// The two servers, and the rows over them.
class Comparison {
 public:
  explicit Comparison(const std::string& folder)
      : echo_address_(absl::StrCat("unix:", folder, "/echo")),
        ramvold_address_(absl::StrCat("unix:", folder, "/ramvold")),
        echo_({"/proc/self/exe", absl::StrCat("--serve_echo=", echo_address_)}),
        ramvold_({absl::GetFlag(FLAGS_ramvold),
                  absl::StrCat("--listen=", ramvold_address_),
                  "--metrics_listen="}) {
    FillVolume(ramvold_address_);
  }

  std::vector<Group> Groups() const {
    std::vector<Group> groups;
    for (const Direction direction : {Direction::kRead, Direction::kWrite}) {
      for (const int depth : kDepths)
        groups.push_back(Unaries(direction, depth));
    }
    for (const Direction direction : {Direction::kRead, Direction::kWrite}) {
      groups.push_back(Ios(direction));
    }
    groups.push_back(LargeReads());
    return groups;
  }

 private:
  static const char* Name(Direction direction) {
    return direction == Direction::kRead ? "read" : "write";
  }

  Target EchoTarget(Direction direction, int64_t bytes) const {
    return {echo_address_, kVolume, kVolumeBytes, bytes, direction};
  }
  Target RamvoldTarget(Direction direction, int64_t bytes) const {
    return {ramvold_address_, kVolume, kVolumeBytes, bytes, direction};
  }

  Row UnaryRow(const ServerProcess& server, const Target& target, int depth,
               const char* whose) const {
    return {absl::StrCat(whose, " unary ", Name(target.direction),
                         " 4K, depth ", depth),
            &server,
            [=] { return UnaryLoad(target, depth); },
            depth,
            {}};
  }
  Row SdkRow(const Target& target, const char* size, int depth) const {
    return {absl::StrCat("ramvold Io ", Name(target.direction), " ", size,
                         ", depth ", depth),
            &ramvold_,
            [=] { return SdkLoad(target, depth); },
            depth,
            {}};
  }

  Group Unaries(Direction direction, int depth) const {
    return {absl::StrCat("unary ", Name(direction)),
            {UnaryRow(echo_, EchoTarget(direction, kBlockBytes), depth, "echo"),
             UnaryRow(ramvold_, RamvoldTarget(direction, kBlockBytes), depth,
                      "ramvold")}};
  }

  Group Ios(Direction direction) const {
    const Target target = RamvoldTarget(direction, kBlockBytes);
    Group group{absl::StrCat("io ", Name(direction)), {}};
    group.rows.push_back(UnaryRow(ramvold_, target, 64, "ramvold"));
    for (const int depth : kIoDepths) {
      group.rows.push_back(SdkRow(target, "4K", depth));
    }
    return group;
  }

  Group LargeReads() const {
    const Target echo = EchoTarget(Direction::kRead, kLargeBytes);
    Row bare{absl::StrCat("echo stream read 1M, depth ", kLargeDepth),
             &echo_,
             [=] { return BareStreamLoad(echo, kLargeDepth); },
             kLargeDepth,
             {}};
    return {"large read",
            {bare, SdkRow(RamvoldTarget(Direction::kRead, kLargeBytes), "1M",
                          kLargeDepth)}};
  }

  const std::string echo_address_;
  const std::string ramvold_address_;
  const ServerProcess echo_;
  const ServerProcess ramvold_;
};

void MeasureInTurn(Group& group) {
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (Row& row : group.rows) {
      const std::unique_ptr<Load> load = row.make();
      row.rounds.push_back(Measure(
          *load, row.depth, absl::GetFlag(FLAGS_seconds), row.server->pid()));
    }
  }
}

double Ratio(const Group& group, const Row& row) {
  return Median(row.rounds, &Measurement::ops_per_s) /
         Median(group.rows.front().rounds, &Measurement::ops_per_s);
}

void PrintTable(const Group& group) {
  std::printf("%-34s %10s %7s %12s %12s %9s %9s\n", group.name.c_str(), "ops/s",
              "ratio", "server us/op", "client us/op", "p50 us", "p99 us");
  for (const Row& row : group.rows) {
    std::printf("  %-32s %10.0f %7.2f %12.1f %12.1f %9.0f %9.0f\n",
                row.name.c_str(), Median(row.rounds, &Measurement::ops_per_s),
                Ratio(group, row),
                Median(row.rounds, &Measurement::server_cpu_us_per_op),
                Median(row.rounds, &Measurement::client_cpu_us_per_op),
                Median(row.rounds, &Measurement::p50_us),
                Median(row.rounds, &Measurement::p99_us));
  }
  std::fflush(stdout);
}

std::string ToJson(const Group& group, const Row& row) {
  return absl::StrFormat(
      R"({"name":"%s","against":"%s","ratio":%.3f,"ops_per_s":%.0f,)"
      R"("server_cpu_us_per_op":%.2f,"client_cpu_us_per_op":%.2f,)"
      R"("p50_us":%.1f,"p99_us":%.1f})",
      row.name, group.rows.front().name, Ratio(group, row),
      Median(row.rounds, &Measurement::ops_per_s),
      Median(row.rounds, &Measurement::server_cpu_us_per_op),
      Median(row.rounds, &Measurement::client_cpu_us_per_op),
      Median(row.rounds, &Measurement::p50_us),
      Median(row.rounds, &Measurement::p99_us));
}

void Run() {
  const char* temporary = std::getenv("TMPDIR");
  std::string folder =
      absl::StrCat(temporary == nullptr ? "/tmp" : temporary, "/ramvol-XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) Fail("no folder for the sockets");
  {
    const Comparison comparison(folder);
    std::vector<std::string> rows;
    for (Group& group : comparison.Groups()) {
      if (group.name.find(absl::GetFlag(FLAGS_filter)) == std::string::npos) {
        continue;
      }
      MeasureInTurn(group);
      if (!absl::GetFlag(FLAGS_json)) PrintTable(group);
      for (const Row& row : group.rows) rows.push_back(ToJson(group, row));
    }
    if (absl::GetFlag(FLAGS_json)) {
      std::printf("{\"rows\":[\n%s\n]}\n", absl::StrJoin(rows, ",\n").c_str());
    }
  }
  for (const char* socket : {"/echo", "/ramvold"}) {
    unlink((folder + socket).c_str());
  }
  rmdir(folder.c_str());
}

}  // namespace
}  // namespace ramvol::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Compares ramvold's gRPC with bare gRPC, and Io with the unary calls.");
  absl::ParseCommandLine(argc, argv);
  const std::string echo = absl::GetFlag(FLAGS_serve_echo);
  if (!echo.empty()) ramvol::bench::ServeEcho(echo);
  ramvol::bench::Run();
  return EXIT_SUCCESS;
}
