#include "client/cli/commands/import_command.h"

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "base/size.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/create_flags.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/local_file.h"
#include "client/cli/output/progress.h"
#include "client/cli/transfer/file_format.h"
#include "client/cli/transfer/import_transfer.h"
#include "client/client.h"
#include "client/remote_volume.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kHelp[] =
    R"(The file is checked before anything is written: that it is the bytes of a disk,
and that it fits. Holes and blocks of zeroes are not sent. In a volume that is
there they are trimmed, and what lies past the file's length stays as it is.
When the import fails or is interrupted, a volume that it made is removed.

)";

struct ImportArguments {
  std::string file;
  std::string name;
  bool must_create = false;
  bool must_exist = false;
  bool keep_partial = false;
  bool force = false;
  std::string format = "auto";
  std::optional<int64_t> size_bytes;
  CreateFlags flags;
};

// The number of bytes that will be read, for the progress bar. 0 when unknown.
int64_t DataBytes(const LocalFile& source) {
  int64_t bytes = 0;
  int64_t offset = 0;
  while (offset < source.size_bytes()) {
    absl::StatusOr<LocalFile::Run> run = source.NextData(offset);
    if (!run.ok()) return 0;
    bytes += run->length;
    offset = run->offset + run->length;
  }
  return bytes;
}

class ImportCommand {
 public:
  ImportCommand(const Invocation& invocation, const ImportArguments& arguments,
                LocalFile source)
      : invocation_(invocation),
        arguments_(arguments),
        source_(std::move(source)),
        control_(invocation.ControlClient()) {}

  absl::Status Run() {
    const absl::Time start = invocation_.context().now();
    absl::Status prepared = CheckFormat();
    if (prepared.ok()) prepared = FindOrCreate();
    if (!prepared.ok()) return prepared;
    absl::StatusOr<RemoteVolume> remote = invocation_.DataClient().Open(
        arguments_.name, {.if_unattached = !created_ && !arguments_.force});
    if (!remote.ok() && !created_) return remote.status();
    absl::StatusOr<ImportResult> result =
        remote.ok() ? Transfer(*remote) : remote.status();
    absl::Status finished =
        result.ok() ? FinishVolume(*result) : result.status();
    if (!finished.ok()) return GiveUp(finished);
    return Report(*result, invocation_.context().now() - start);
  }

 private:
  absl::Status CheckFormat() {
    if (arguments_.format == "raw") return absl::OkStatus();
    absl::StatusOr<std::string> head = source_.Peek(kFormatBytes);
    if (!head.ok()) return head.status();
    return CheckRawFormat(arguments_.file == "-" ? "" : arguments_.file, *head);
  }

  // Checks a file whose size is known, before anything is written.
  absl::Status CheckFits(int64_t size_bytes, const std::string& remedy) const {
    if (source_.size_bytes() <= size_bytes) return absl::OkStatus();
    return WithReason(
        absl::OutOfRangeError(absl::StrCat(
            source_.name(), " has ", source_.size_bytes(), " bytes, volume \"",
            arguments_.name, "\" ", size_bytes, "; ", remedy)),
        reason::kPastEnd);
  }

  absl::Status CheckExisting() const {
    if (volume_.read_only()) {
      return WithReason(
          absl::FailedPreconditionError(absl::StrCat(
              "volume \"", arguments_.name, "\" is read-only; \"ramvol set ",
              arguments_.name, " --read-only=false\" lets it be changed")),
          reason::kVolumeReadOnly);
    }
    return CheckFits(
        volume_.size_bytes(),
        absl::StrCat("grow it with \"ramvol resize ", arguments_.name, " ",
                     source_.size_bytes(), "\""));
  }

  absl::Status FindOrCreate() {
    absl::StatusOr<v1::Volume> found = control_.GetVolume(arguments_.name);
    if (absl::IsNotFound(found.status()) && !arguments_.must_exist) {
      return Create();
    }
    if (!found.ok()) return found.status();
    if (arguments_.must_create) {
      return WithReason(absl::AlreadyExistsError(absl::StrCat(
                            "volume \"", arguments_.name,
                            "\" exists; leave --create out to import into it")),
                        reason::kVolumeExists);
    }
    std::string given = arguments_.flags.Given();
    if (given.empty() && arguments_.size_bytes.has_value()) given = "--size";
    if (!given.empty()) {
      return UsageError(absl::StrCat("volume \"", arguments_.name,
                                     "\" exists, and ", given,
                                     " only describes a new one"));
    }
    volume_ = *std::move(found);
    absl::Status fits = CheckExisting();
    if (!fits.ok()) return fits;
    absl::StatusOr<v1::VolumeStats> stats =
        control_.StatVolume(arguments_.name);
    if (!stats.ok()) return stats.status();
    fresh_ = stats->logical_bytes() == 0;
    return absl::OkStatus();
  }

  absl::Status Create() {
    v1::CreateVolumeRequest request = arguments_.flags.Request();
    absl::Status sized = SetSize(&request);
    if (!sized.ok()) return sized;
    request.set_name(arguments_.name);
    // The volume becomes read-only when the data is in it.
    read_only_later_ = request.read_only();
    request.set_read_only(false);
    absl::StatusOr<v1::Volume> created = control_.CreateVolume(request);
    if (!created.ok()) return created.status();
    volume_ = *std::move(created);
    created_ = true;
    fresh_ = true;
    return absl::OkStatus();
  }

  absl::Status SetSize(v1::CreateVolumeRequest* request) {
    if (arguments_.size_bytes.has_value()) {
      request->set_size_bytes(*arguments_.size_bytes);
      return CheckFits(*arguments_.size_bytes, "give a larger --size");
    }
    if (source_.random_access()) {
      if (source_.size_bytes() == 0) return Empty();
      request->set_size_bytes(source_.size_bytes());
      return absl::OkStatus();
    }
    if (request->allocator() == v1::ALLOCATOR_MALLOC) {
      return UsageError(absl::StrCat(
          "the size of ", source_.name(),
          " is not known beforehand, and --allocator=malloc needs it; give "
          "--size"));
    }
    // A volume of this size costs nothing. It is cut when the end is known.
    request->set_size_bytes(std::numeric_limits<int64_t>::max());
    size_later_ = true;
    return absl::OkStatus();
  }

  absl::Status Empty() const {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            source_.name(),
            " is empty, and a volume has at least one byte; give --size")),
        "EMPTY_FILE");
  }

  absl::StatusOr<ImportResult> Transfer(const RemoteVolume& remote) {
    const int64_t total =
        invocation_.context().err_is_terminal ? DataBytes(source_) : 0;
    ProgressBar progress(invocation_.context(),
                         absl::StrCat("import ", arguments_.name), total,
                         [this]() -> absl::StatusOr<double> {
                           absl::StatusOr<v1::VolumeStats> stats =
                               control_.StatVolume(arguments_.name);
                           if (!stats.ok()) return stats.status();
                           return stats->ratio();
                         });
    return Import(source_, remote,
                  {.room_bytes = volume_.size_bytes(), .fresh = fresh_},
                  {.interrupted = *invocation_.context().interrupted,
                   .done_bytes = progress.done_bytes(),
                   .changed = &changed_});
  }

  absl::Status FinishVolume(const ImportResult& result) {
    if (size_later_ && result.source_bytes == 0) return Empty();
    v1::UpdateVolumeRequest request;
    request.set_name(arguments_.name);
    if (size_later_) {
      request.mutable_volume()->set_size_bytes(result.source_bytes);
      request.mutable_update_mask()->add_paths("size_bytes");
    }
    if (read_only_later_) {
      request.mutable_volume()->set_read_only(true);
      request.mutable_update_mask()->add_paths("read_only");
    }
    if (request.update_mask().paths().empty()) return absl::OkStatus();
    return control_.UpdateVolume(request).status();
  }

  // Removes a volume that this command created and could not fill. It would be
  // in the way of the next attempt. The etag makes sure that it is still this
  // volume.
  absl::Status GiveUp(const absl::Status& failure) {
    if (!created_) {
      return Annotate(failure,
                      absl::StrCat("volume \"", arguments_.name, "\" is ",
                                   changed_ ? "partly written" : "unchanged"));
    }
    if (arguments_.keep_partial) {
      return Annotate(failure, absl::StrCat("volume \"", arguments_.name,
                                            "\" is kept, partly written"));
    }
    v1::DeleteVolumeRequest request;
    request.set_name(arguments_.name);
    request.set_etag(volume_.etag());
    request.set_force(true);  // Our own connection may still be attached.
    const bool removed = control_.DeleteVolume(request).ok();
    return Annotate(failure, absl::StrCat("volume \"", arguments_.name, "\" ",
                                          removed ? "is removed again"
                                                  : "is left, partly written"));
  }

  absl::Status Report(const ImportResult& result, absl::Duration elapsed) {
    output::v1::ImportOutput message;
    message.set_name(arguments_.name);
    message.set_created(created_);
    message.set_source_bytes(result.source_bytes);
    message.set_sent_bytes(result.sent_bytes);
    absl::Status printed =
        invocation_.PrintVolumes(message, "", {arguments_.name});
    if (!printed.ok() || invocation_.structured()) return printed;
    invocation_.Remark(absl::StrCat(
        "imported ", source_.name(), " into ", arguments_.name, ": ",
        FormatSize(result.source_bytes), ", of which ",
        FormatSize(result.sent_bytes), " data, in ", FormatClock(elapsed)));
    return absl::OkStatus();
  }

  const Invocation& invocation_;
  const ImportArguments& arguments_;
  LocalFile source_;
  const Client control_;
  v1::Volume volume_;
  bool created_ = false;
  bool fresh_ = false;
  bool size_later_ = false;
  bool read_only_later_ = false;
  std::atomic<bool> changed_{false};
};

absl::Status RunImport(const Invocation& invocation,
                       const ImportArguments& arguments) {
  const CliContext& context = invocation.context();
  absl::StatusOr<LocalFile> source = LocalFile::OpenForReading(
      arguments.file, context.in_fd, *context.interrupted);
  if (!source.ok()) return source.status();
  return ImportCommand(invocation, arguments, *std::move(source)).Run();
}

}  // namespace

void AddImportCommand(CommandSet& commands) {
  auto arguments = std::make_shared<ImportArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "import", "Copy a file into a volume, made if it is not there",
      [&invocation, arguments] { return RunImport(invocation, *arguments); });
  command
      ->add_option("FILE", arguments->file,
                   "A file or block device, or - for standard input")
      ->required()
      ->type_name("");
  AddVolumeName(command, &arguments->name);
  CLI::Option* create = command->add_flag("--create", arguments->must_create,
                                          "Fail if the volume is there");
  command
      ->add_flag("--existing", arguments->must_exist,
                 "Fail if the volume is not there")
      ->excludes(create);
  AddSize(command, "--size", &arguments->size_bytes,
          "Size of a new volume (default: the file's)");
  command->add_flag("--keep-partial", arguments->keep_partial,
                    "Keep a new volume when the import fails");
  Restrict(
      command->add_option(
          "--format", arguments->format,
          "raw stores any file as it is; auto (the default) refuses images "
          "such as qcow2, and compressed files"),
      {"auto", "raw"});
  AddForce(command, &arguments->force);
  arguments->flags.AddTo(command);
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
