#include "client/cli/commands/image_commands.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "base/size.h"
#include "base/ticker.h"
#include "client/cli/commands/create_flags.h"
#include "client/cli/errors.h"
#include "client/cli/local_file.h"
#include "client/cli/output/message_text.h"
#include "client/cli/output/progress.h"
#include "client/cli/transfer/image_input.h"
#include "client/cli/transfer/zeroes.h"
#include "client/image_stream.h"
#include "qcow2/format.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(100);

constexpr char kSaveHelp[] =
    R"(The image is qcow2 with zstd clusters, which qemu-img and QEMU open. It is of one
instant, takes what the volume takes, and needs no compressing. FILE appears, or
changes, when all of it is written.

With --since the image holds only what changed since a snapshot, and names the
file that has the rest: save that snapshot first. "ramvol restore" reads such a
chain, and qemu-img rebases, commits and converts it.

With --all the server saves everything to its --save_dir, for its next start, and
the command prints the directory of the save.

)";

constexpr char kRestoreHelp[] =
    R"(Images that "ramvol save" wrote come back without compressing, and are checked
from end to end; also from a pipe. So do chains of them. Any other qcow2 image of
qemu-img, on any backing file, and raw ones are taken from a file.

The volume appears when all of it is there. What no flag sets, it has from the
image: size, allocator, frame sizes, levels and labels.

)";

// Ends a stream when the command is interrupted.
template <typename Stream>
class Interrupter {
 public:
  Interrupter(const Invocation& invocation, Stream& stream)
      : interrupted_(*invocation.context().interrupted),
        ticker_(kLookInterval, [this, &stream] {
          if (interrupted_.load()) stream.Cancel();
        }) {}

  // What a command ends with.
  absl::Status Explain(const absl::Status& status) const {
    return interrupted_.load() && !status.ok() ? InterruptedError() : status;
  }

 private:
  const std::atomic<bool>& interrupted_;
  const Ticker ticker_;
};

ProgressBar::RatioSource RatioOf(const Client& client, std::string name) {
  return [client, name = std::move(name)]() -> absl::StatusOr<double> {
    absl::StatusOr<v1::VolumeStats> stats = client.StatVolume(name);
    if (!stats.ok()) return stats.status();
    return stats->ratio();
  };
}

// --- save ---

struct SaveArguments {
  bool all = false;
  std::string name;
  std::string file;
  std::string since;
  std::string backing;
  bool force = false;
};

// Writes an image in order, with holes where a file can have them.
class ImageOutput {
 public:
  explicit ImageOutput(LocalFile& file) : file_(file) {}

  absl::Status Write(std::string_view data) {
    if (!file_.random_access()) return file_.Write(data);
    while (!data.empty()) {
      const HeadRun run = FindHeadRun(at_, data);
      if (!run.zero) {
        absl::Status written = file_.WriteAt(at_, data.substr(0, run.length));
        if (!written.ok()) return written;
      }
      at_ += static_cast<int64_t>(run.length);
      data.remove_prefix(run.length);
    }
    return absl::OkStatus();
  }
  absl::Status Finish() {
    absl::Status sized =
        file_.random_access() ? file_.Truncate(at_) : absl::OkStatus();
    return sized.ok() ? file_.Replace() : sized;
  }

 private:
  LocalFile& file_;
  int64_t at_ = 0;
};

std::string DefaultBacking(const std::string& since) {
  return absl::StrCat(absl::StripPrefix(since, "@"), ".qcow2");
}

// If the backing file is there, it must be the right one.
absl::Status CheckBacking(const Invocation& invocation,
                          const SaveArguments& arguments,
                          const std::string& backing) {
  const Client client = invocation.ControlClient();
  const absl::StatusOr<v1::Snapshot> since =
      client.GetSnapshot(arguments.since);
  if (!since.ok()) return since.status();
  const std::string path = BackingPath(arguments.file, backing);
  absl::StatusOr<LocalFile> file =
      LocalFile::OpenForReading(path, -1, *invocation.context().interrupted);
  if (!file.ok()) {
    invocation.Remark(absl::StrCat("the image needs ", path,
                                   ", which is not there; \"ramvol save ",
                                   arguments.since, " ", path, "\" makes it"));
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> head = file->Peek(qcow2::kHeadBytes);
  if (!head.ok()) return head.status();
  const absl::StatusOr<qcow2::Header> header = qcow2::ParseHeader(*head);
  uint64_t uid = 0;
  if (header.ok() && header->origin.has_value() &&
      absl::SimpleHexAtoi(since->uid(), &uid) && header->origin->id == uid) {
    return absl::OkStatus();
  }
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          path, " is not the image of ", arguments.since,
          ", on which the new one would lie; name another with --backing")),
      reason::kWrongBacking);
}

absl::Status SaveTo(const Invocation& invocation, ImageReader& reader,
                    const Client& client, const SaveArguments& arguments,
                    LocalFile& file) {
  const Interrupter<ImageReader> interrupter(invocation, reader);
  ProgressBar progress(
      invocation.context(), absl::StrCat("save ", arguments.name),
      reader.info().image_bytes(), RatioOf(client, arguments.name));
  ImageOutput output(file);
  std::string data;
  for (;;) {
    absl::StatusOr<bool> more = reader.Next(&data);
    if (!more.ok()) return interrupter.Explain(more.status());
    if (!*more) break;
    absl::Status written = output.Write(data);
    if (!written.ok()) return written;
    progress.done_bytes() += static_cast<int64_t>(data.size());
  }
  return output.Finish();
}

absl::Status ReportSave(const Invocation& invocation,
                        const SaveArguments& arguments,
                        const v1::SaveInfo& info, const std::string& file,
                        absl::Duration elapsed) {
  output::v1::SaveOutput message;
  message.set_name(arguments.name);
  message.set_since(arguments.since);
  message.set_size_bytes(info.size_bytes());
  message.set_image_bytes(info.image_bytes());
  message.set_uid(info.uid());
  const bool to_output = arguments.file == "-";
  // Standard output is the image's then.
  if (!to_output) {
    absl::Status printed =
        invocation.PrintVolumes(message, "", {arguments.name});
    if (!printed.ok() || invocation.structured()) return printed;
  }
  invocation.Remark(absl::StrCat("saved ", arguments.name, " as ", file, ": ",
                                 FormatSize(info.size_bytes()), ", ",
                                 FormatSize(info.image_bytes()),
                                 " as an image, in ", FormatClock(elapsed)));
  return absl::OkStatus();
}

absl::Status RunSave(const Invocation& invocation, SaveArguments arguments) {
  const CliContext& context = invocation.context();
  const absl::Time start = context.now();
  if (arguments.file == "-" && !arguments.force &&
      context.out_terminal().has_value()) {
    return BinaryToTerminal();
  }
  if (arguments.since.empty() != arguments.backing.empty() &&
      arguments.since.empty()) {
    return UsageError("--backing is for images of what changed --since");
  }
  v1::SaveRequest request;
  request.set_volume(arguments.name);
  if (!arguments.since.empty()) {
    arguments.since =
        absl::StrCat("@", absl::StripPrefix(arguments.since, "@"));
    const std::string backing = arguments.backing.empty()
                                    ? DefaultBacking(arguments.since)
                                    : arguments.backing;
    request.set_since(arguments.since);
    request.set_backing_file(backing);
    absl::Status fits = CheckBacking(invocation, arguments, backing);
    if (!fits.ok()) return fits;
  }
  const Client client = invocation.ControlClient();
  auto reader = client.Save(request);
  if (!reader.ok()) return reader.status();
  absl::StatusOr<LocalFile> file = LocalFile::OpenForReplacing(
      arguments.file, context.out_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  absl::Status saved = SaveTo(invocation, **reader, client, arguments, *file);
  if (!saved.ok()) {
    file->RemoveIfCreated();
    return saved;
  }
  return ReportSave(invocation, arguments, (*reader)->info(), file->name(),
                    context.now() - start);
}

// The server writes. A second interruption ends this process at once, which the
// server notices: it ends the save.
absl::Status RunSaveAll(const Invocation& invocation) {
  const absl::StatusOr<v1::SaveAllResponse> saved =
      invocation.ControlClient().SaveAll(v1::SaveAllRequest());
  if (!saved.ok()) return saved.status();
  std::string text = absl::StrCat(saved->directory(), "\n");
  absl::Status printed = invocation.PrintMessage(*saved, text);
  if (!printed.ok()) return printed;
  if (!invocation.structured()) {
    const absl::Duration took = absl::Seconds(saved->took().seconds()) +
                                absl::Nanoseconds(saved->took().nanos());
    invocation.Remark(absl::StrCat(
        "saved ", saved->volumes(), " volumes and ", saved->snapshots(),
        " snapshots to ", saved->directory(), ": ", FormatSize(saved->bytes()),
        ", in ", FormatClock(took)));
  }
  if (saved->left_out().empty()) return printed;
  std::vector<std::string> why;
  for (const v1::SaveAllResponse::LeftOut& one : saved->left_out()) {
    why.push_back(absl::StrCat(one.name(), " (", one.why(), ")"));
  }
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "the save lacks ", absl::StrJoin(why, ", "),
                        "; the one before is kept beside it")),
                    reason::kSaveFailed);
}

absl::Status RunSaveAny(const Invocation& invocation,
                        const SaveArguments& arguments) {
  const bool one = !arguments.name.empty() || !arguments.since.empty() ||
                   !arguments.backing.empty();
  if (arguments.all && one) {
    return UsageError("--all saves all volumes; name none with it");
  }
  if (arguments.all) return RunSaveAll(invocation);
  if (arguments.file.empty()) {
    return UsageError("NAME and FILE are required, or --all");
  }
  return RunSave(invocation, arguments);
}

void AddSave(CommandSet& commands) {
  auto arguments = std::make_shared<SaveArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "save", "Save a volume as a qcow2 image",
      [&invocation, arguments] { return RunSaveAny(invocation, *arguments); });
  command
      ->add_option("NAME", arguments->name,
                   "The volume, or the snapshot as @NAME")
      ->type_name("");
  command
      ->add_option("FILE", arguments->file,
                   "The image, or - for standard output")
      ->type_name("");
  command->add_flag("--all", arguments->all,
                    "All volumes and snapshots, to the server's --save_dir");
  command
      ->add_option("--since", arguments->since,
                   "Only what changed since this snapshot")
      ->type_name("@SNAPSHOT");
  command
      ->add_option("--backing", arguments->backing,
                   "The file that has the rest, as the image names it "
                   "(default: SNAPSHOT.qcow2)")
      ->type_name("FILE");
  command->add_flag("--force", arguments->force,
                    "Also to a terminal as standard output");
  command->footer(std::string(kSaveHelp) + kCommonHelp);
}

// --- restore ---

struct RestoreArguments {
  std::string file;
  std::string name;
  std::string format = "auto";
  int64_t size_bytes = 0;
  CreateFlags flags;
};

absl::StatusOr<v1::Volume> SendAll(const Invocation& invocation,
                                   ImageInput& input, const Client& client,
                                   const v1::CreateVolumeRequest& volume,
                                   int64_t* sent_bytes) {
  auto writer = client.Restore(volume);
  if (!writer.ok()) return writer.status();
  const Interrupter<ImageWriter> interrupter(invocation, **writer);
  ProgressBar progress(
      invocation.context(), absl::StrCat("restore ", volume.name()),
      input.total_bytes(), []() -> absl::StatusOr<double> { return 0; });
  for (;;) {
    std::string data;
    absl::Status status = input.Read(&data);
    if (!status.ok()) return interrupter.Explain(status);
    if (data.empty()) break;
    const auto bytes = static_cast<int64_t>(data.size());
    status = (*writer)->Write(std::move(data));
    if (!status.ok()) return interrupter.Explain(status);
    progress.done_bytes() += bytes;
    *sent_bytes += bytes;
  }
  absl::StatusOr<v1::Volume> made = (*writer)->Finish();
  if (!made.ok()) return interrupter.Explain(made.status());
  return made;
}

// QEMU changes images without a sign of it when it commits to them.
absl::Status WithWayOut(const absl::Status& status, const ImageInput& input,
                        const RestoreArguments& arguments) {
  if (!HasReason(status, reason::kDamagedImage) || !input.as_written() ||
      arguments.file == "-") {
    return status;
  }
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat(
          status.message(),
          "; if another program changed it since, such as \"qemu-img commit\", "
          "--format=qcow2 takes it as that left it")),
      reason::kDamagedImage);
}

absl::Status RunRestore(const Invocation& invocation,
                        const RestoreArguments& arguments) {
  const CliContext& context = invocation.context();
  const absl::Time start = context.now();
  absl::StatusOr<LocalFile> file = LocalFile::OpenForReading(
      arguments.file, context.in_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  const std::string name = file->name();
  const ImageFormat format = arguments.format == "raw"     ? ImageFormat::kRaw
                             : arguments.format == "qcow2" ? ImageFormat::kQcow2
                                                           : ImageFormat::kAuto;
  auto input = ImageInput::Open(*std::move(file), arguments.file, format,
                                *context.interrupted);
  if (!input.ok()) return input.status();
  v1::CreateVolumeRequest request = arguments.flags.Request();
  request.set_name(arguments.name);
  request.set_size_bytes(arguments.size_bytes);
  int64_t sent_bytes = 0;
  const absl::StatusOr<v1::Volume> volume = SendAll(
      invocation, **input, invocation.ControlClient(), request, &sent_bytes);
  if (!volume.ok()) return WithWayOut(volume.status(), **input, arguments);
  absl::Status printed = invocation.PrintVolumes(
      *volume, VolumeText(*volume, context.now()), {volume->name()});
  if (!printed.ok() || invocation.structured()) return printed;
  invocation.Remark(absl::StrCat("restored ", name, " as ", volume->name(),
                                 ": ", FormatSize(volume->size_bytes()), ", ",
                                 FormatSize(sent_bytes), " as an image, in ",
                                 FormatClock(context.now() - start)));
  return absl::OkStatus();
}

void AddRestore(CommandSet& commands) {
  auto arguments = std::make_shared<RestoreArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "restore", "Make a volume of an image",
      [&invocation, arguments] { return RunRestore(invocation, *arguments); });
  command
      ->add_option("FILE", arguments->file,
                   "The image, or - for standard input")
      ->required()
      ->type_name("");
  AddVolumeName(command, &arguments->name)->description("The new volume");
  Restrict(command->add_option(
               "--format", arguments->format,
               "What FILE is; auto (the default) takes what does not begin as "
               "qcow2 for raw, and refuses an image of ramvol that is not as "
               "it was saved"),
           {"auto", "qcow2", "raw"});
  AddSize(command, "--size", &arguments->size_bytes,
          "Its size, if it is to be larger than the image's");
  arguments->flags.AddTo(command);
  command->footer(std::string(kRestoreHelp) + kCommonHelp);
}

// What another server saves.
class ServerInput final : public ImageInput {
 public:
  explicit ServerInput(std::unique_ptr<ImageReader> reader)
      : reader_(std::move(reader)) {}

  int64_t total_bytes() const override { return reader_->info().image_bytes(); }
  bool as_written() const override { return true; }
  absl::Status Read(std::string* out) override {
    absl::StatusOr<bool> more = reader_->Next(out);
    if (more.ok() && !*more) out->clear();
    return more.status();
  }

 private:
  const std::unique_ptr<ImageReader> reader_;
};

}  // namespace

void AddImageCommands(CommandSet& commands) {
  AddSave(commands);
  AddRestore(commands);
}

absl::StatusOr<v1::Volume> CopyToServer(const Invocation& invocation,
                                        const Client& from,
                                        const std::string& source,
                                        const Client& to,
                                        const v1::CreateVolumeRequest& volume) {
  v1::SaveRequest request;
  request.set_volume(source);
  auto reader = from.Save(request);
  if (!reader.ok()) return reader.status();
  ServerInput input(*std::move(reader));
  int64_t sent_bytes = 0;
  return SendAll(invocation, input, to, volume, &sent_bytes);
}

}  // namespace ramvol::cli
