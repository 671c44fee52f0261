#include "client/cli/commands/compare_commands.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/content.h"
#include "ramvol/output/v1/output.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kChecksumHelp[] =
    R"(A name with a / in it, such as ./image, is that of a file. The checksum is of 128
bits (XXH3, over the blocks that are not zero and the size), the same for a
volume and for its file, wherever they have holes. It is not that of other
programs, and tells accidents, not attacks. Nothing should write meanwhile.

)";

constexpr char kCompareHelp[] =
    R"(A name with a / in it, such as ./image, is that of a file. What both have as
holes is not read. Exits with 0 if they are equal, with 1 if not, and tells where
they differ first. Nothing should write meanwhile.

)";

bool IsFile(const std::string& name) {
  return name.find('/') != std::string::npos;
}

absl::StatusOr<std::unique_ptr<Content>> OpenFileContent(
    const Invocation& invocation, const std::string& path) {
  const CliContext& context = invocation.context();
  absl::StatusOr<LocalFile> file =
      LocalFile::OpenForReading(path, context.in_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  if (!file->random_access()) {
    return UsageError(absl::StrCat(
        path, " is no regular file and no block device, which this takes"));
  }
  return ContentOfFile(*std::move(file));
}

absl::StatusOr<std::unique_ptr<Content>> OpenContent(
    const Invocation& invocation, const std::string& name) {
  if (IsFile(name)) return OpenFileContent(invocation, name);
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, name);
  if (!volume.ok()) return volume.status();
  return ContentOfVolume(name, volume->remote, volume->settings.size_bytes());
}

absl::Status PrintChecksums(const Invocation& invocation,
                            const std::vector<std::string>& names) {
  output::v1::ChecksumOutput message;
  std::string text;
  for (const std::string& name : names) {
    absl::StatusOr<std::unique_ptr<Content>> content =
        OpenContent(invocation, name);
    if (!content.ok()) return content.status();
    absl::StatusOr<std::string> checksum =
        Checksum(**content, *invocation.context().interrupted);
    if (!checksum.ok()) return checksum.status();
    output::v1::Checksum& one = *message.add_checksums();
    one.set_name(name);
    one.set_checksum(*checksum);
    one.set_size_bytes((*content)->size_bytes());
    absl::StrAppend(&text, *checksum, "  ", Printable(name), "\n");
  }
  return invocation.PrintVolumes(message, text, names);
}

absl::Status CompareNamed(const Invocation& invocation,
                          const std::string& name_a,
                          const std::string& name_b) {
  absl::StatusOr<std::unique_ptr<Content>> a = OpenContent(invocation, name_a);
  if (!a.ok()) return a.status();
  absl::StatusOr<std::unique_ptr<Content>> b = OpenContent(invocation, name_b);
  if (!b.ok()) return b.status();
  return Compare(**a, **b, *invocation.context().interrupted);
}

}  // namespace

void AddCompareCommands(CommandSet& commands) {
  Invocation& invocation = commands.invocation();
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* command = commands.Add(
      "checksum", "Print checksums of what volumes and files hold",
      [&invocation, names] { return PrintChecksums(invocation, *names); });
  command->add_option("NAME", *names, "Volumes, or files such as ./image")
      ->required()
      ->type_name("");
  command->footer(std::string(kChecksumHelp) + kCommonHelp);

  auto pair = std::make_shared<std::pair<std::string, std::string>>();
  command =
      commands.Add("cmp", "Compare volumes and files", [&invocation, pair] {
        return CompareNamed(invocation, pair->first, pair->second);
      });
  command
      ->add_option("NAME", pair->first, "A volume, or a file such as ./image")
      ->required()
      ->type_name("");
  command->add_option("OTHER", pair->second, "Likewise")
      ->required()
      ->type_name("");
  command->footer(std::string(kCompareHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
