#include "client/cli/transfer/image_input.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "client/cli/transfer/transfer.h"
#include "qcow2/chain_source.h"
#include "qcow2/image_file.h"
#include "qcow2/stream_writer.h"

namespace ramvol::cli {
namespace {

// Also ends chains that lead back to where they began.
constexpr size_t kMaxChain = 64;

class FileReader final : public qcow2::RandomReader {
 public:
  explicit FileReader(LocalFile file) : file_(std::move(file)) {}

  uint64_t size_bytes() const override { return file_.size_bytes(); }
  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<char> out) override {
    return file_.ReadAt(static_cast<int64_t>(offset), out);
  }
  absl::StatusOr<uint64_t> NextData(uint64_t offset) override {
    // Within a run that is known there is no need to ask again.
    if (offset >= run_.offset && offset < run_.offset + run_.length) {
      return offset;
    }
    auto run = file_.NextData(static_cast<int64_t>(offset));
    if (!run.ok()) return run.status();
    run_ = {static_cast<uint64_t>(run->offset),
            static_cast<uint64_t>(run->length)};
    return run_.length == 0 ? size_bytes() : run_.offset;
  }

 private:
  struct Run {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  LocalFile file_;
  Run run_;
};

// The bytes of files, one after the other.
class FilesInput final : public ImageInput {
 public:
  explicit FilesInput(std::vector<LocalFile> files) : files_(std::move(files)) {
    for (const LocalFile& file : files_) {
      known_ = known_ && file.random_access();
      total_ += file.size_bytes();
    }
  }

  int64_t total_bytes() const override { return known_ ? total_ : 0; }
  bool as_written() const override { return true; }
  absl::Status Read(std::string* out) override {
    while (out->empty() && next_ < files_.size()) {
      out->resize(kOperationBytes);
      auto read = ReadFrom(files_[next_], {out->data(), out->size()});
      if (!read.ok()) return read.status();
      out->resize(*read);
      at_ += static_cast<int64_t>(*read);
      if (*read == 0) {
        ++next_;
        at_ = 0;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<size_t> ReadFrom(LocalFile& file, absl::Span<char> out) const {
    return file.random_access() ? file.ReadAt(at_, out) : file.Read(out);
  }

  std::vector<LocalFile> files_;
  size_t next_ = 0;
  int64_t at_ = 0;
  bool known_ = true;
  int64_t total_ = 0;
};

// A chain that is written anew.
class ChainInput final : public ImageInput {
 public:
  explicit ChainInput(std::vector<std::unique_ptr<qcow2::ImageFile>> images)
      : source_(std::move(images)) {}

  absl::Status Begin(std::string settings) {
    qcow2::Header header;
    header.origin = {.size_bytes = source_.size_bytes(),
                     .settings = std::move(settings)};
    auto writer = qcow2::StreamWriter::Make(&source_, std::move(header),
                                            /*digest=*/false);
    if (!writer.ok()) return writer.status();
    writer_ = *std::move(writer);
    return absl::OkStatus();
  }

  int64_t total_bytes() const override {
    return static_cast<int64_t>(writer_->file_bytes());
  }
  bool as_written() const override { return false; }
  absl::Status Read(std::string* out) override {
    return writer_->Append(kOperationBytes, out);
  }

 private:
  qcow2::ChainSource source_;
  std::unique_ptr<qcow2::StreamWriter> writer_;
};

absl::Status NeedsFile(const std::string& what) {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          what,
          " can only be read from a file: write it to one, and restore "
          "that")),
      reason::kForeignImage);
}

// Collects a chain of files, from the top to the bottom.
class Chain {
 public:
  explicit Chain(const std::atomic<bool>& interrupted)
      : interrupted_(interrupted) {}

  absl::Status Add(LocalFile file, const std::string& path,
                   ImageFormat format) {
    // Who says what it is wants it read as what it is now.
    all_as_written_ = format == ImageFormat::kAuto;
    std::string next = path;
    std::optional<LocalFile> opened(std::move(file));
    for (;;) {
      auto head = opened->Peek(qcow2::kHeadBytes);
      if (!head.ok()) return head.status();
      std::optional<qcow2::Header> header;
      if (format == ImageFormat::kQcow2 ||
          (format == ImageFormat::kAuto && qcow2::IsQcow2(*head))) {
        auto parsed = qcow2::ParseHeader(*head);
        if (!parsed.ok()) return Annotate(parsed.status(), opened->name());
        header = *std::move(parsed);
      }
      all_as_written_ =
          all_as_written_ && header.has_value() && header->as_written;
      files_.push_back({std::move(*opened), std::move(header)});
      if (!files_.back().header.has_value() ||
          files_.back().header->backing_file.empty()) {
        return absl::OkStatus();
      }
      if (files_.size() == kMaxChain) {
        return qcow2::Damaged(
            absl::StrCat(path, " lies on ", kMaxChain, " others or on itself"));
      }
      absl::Status below = OpenBelow(&next, &format, &opened);
      if (!below.ok()) return below;
    }
  }

  absl::StatusOr<std::unique_ptr<ImageInput>> Open() {
    if (all_as_written_) {
      std::vector<LocalFile> files;
      while (!files_.empty()) {
        files.push_back(std::move(files_.back().file));
        files_.pop_back();
      }
      return std::make_unique<FilesInput>(std::move(files));
    }
    std::string settings;
    std::vector<std::unique_ptr<qcow2::ImageFile>> images;
    for (Part& part : files_) {
      const std::string name = part.file.name();
      if (!part.file.random_access()) return NeedsFile(name);
      if (images.empty() && part.header.has_value() &&
          part.header->origin.has_value()) {
        settings = part.header->origin->settings;
      }
      auto reader = std::make_unique<FileReader>(std::move(part.file));
      if (!part.header.has_value()) {
        images.push_back(qcow2::ImageFile::OpenRaw(std::move(reader)));
        continue;
      }
      auto image = qcow2::ImageFile::Open(std::move(reader));
      if (!image.ok()) return Annotate(image.status(), name);
      images.push_back(*std::move(image));
    }
    auto input = std::make_unique<ChainInput>(std::move(images));
    absl::Status begun = input->Begin(std::move(settings));
    if (!begun.ok()) return Annotate(begun, files_[0].file.name());
    return input;
  }

 private:
  struct Part {
    LocalFile file;
    std::optional<qcow2::Header> header;
  };

  absl::Status OpenBelow(std::string* path, ImageFormat* format,
                         std::optional<LocalFile>* opened) const {
    const qcow2::Header& header = *files_.back().header;
    const std::string& name = header.backing_file;
    if (absl::StartsWith(name, "json:") || absl::StrContains(name, "://")) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat(*path, " lies on ", name,
                                         ", which is no local file; \"qemu-img "
                                         "convert\" makes one image of both")),
                        reason::kForeignImage);
    }
    *path = BackingPath(*path, name);
    *format = header.backing_format == "raw"     ? ImageFormat::kRaw
              : header.backing_format == "qcow2" ? ImageFormat::kQcow2
                                                 : ImageFormat::kAuto;
    auto file = LocalFile::OpenForReading(*path, -1, interrupted_);
    if (!file.ok()) return Annotate(file.status(), "backing file");
    opened->emplace(*std::move(file));
    return absl::OkStatus();
  }

  const std::atomic<bool>& interrupted_;
  std::vector<Part> files_;
  bool all_as_written_ = false;
};

}  // namespace

std::string BackingPath(const std::string& path, const std::string& name) {
  const size_t slash = path.rfind('/');
  if (absl::StartsWith(name, "/") || slash == std::string::npos) return name;
  return absl::StrCat(path.substr(0, slash + 1), name);
}

absl::StatusOr<std::unique_ptr<ImageInput>> ImageInput::Open(
    LocalFile file, const std::string& path, ImageFormat format,
    const std::atomic<bool>& interrupted) {
  if (!file.random_access()) {
    // The server sees whether it is one that can be read in order.
    auto head = file.Peek(qcow2::kHeadBytes);
    if (!head.ok()) return head.status();
    if (format == ImageFormat::kRaw ||
        (format == ImageFormat::kAuto && !qcow2::IsQcow2(*head))) {
      return WithReason(
          absl::FailedPreconditionError(absl::StrCat(
              "what comes from ", file.name(),
              " is not a qcow2 image, and the size of a raw one is not known "
              "before its end; \"ramvol import - NAME\" takes it")),
          reason::kForeignImage);
    }
    std::vector<LocalFile> files;
    files.push_back(std::move(file));
    return std::make_unique<FilesInput>(std::move(files));
  }
  Chain chain(interrupted);
  absl::Status added = chain.Add(std::move(file), path, format);
  if (!added.ok()) return added;
  return chain.Open();
}

}  // namespace ramvol::cli
