#include "nbd_bridge/negotiation.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/event_log.h"
#include "base/nbd_constants.h"
#include "base/reason.h"
#include "nbd_bridge/protocol/option.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::nbd {
namespace {

uint16_t TransmissionFlags(Style style, bool read_only) {
  uint16_t flags =
      kHasFlags | kSendFlush | kSendFua | kCanMultiConn | kSendCache;
  flags |= read_only ? kReadOnly : kSendTrim | kSendWriteZeroes | kSendFastZero;
  if (style != Style::kSimple) flags |= kSendDf;
  return flags;
}

std::string NameOf(const MetaContext& context) {
  return context.snapshot.empty()
             ? std::string(kAllocationContext)
             : absl::StrCat(kChangesContext, context.snapshot);
}

// For NBD_OPT_LIST_META_CONTEXT, a namespace alone selects all of its contexts.
bool SelectsAllocation(absl::string_view query, bool listing) {
  return query == kAllocationContext || (listing && query == "base:");
}
bool SelectsAllChanges(absl::string_view query) {
  return query == "qemu:" || query == kChangesContext;
}

// What follows an option.
enum class Phase { kOption, kTransmission, kEnd };

class Negotiator {
 public:
  Negotiator(Socket& socket, block::Exports& exports,
             const NegotiationOptions& options)
      : socket_(socket), exports_(exports), options_(options) {}

  std::optional<Negotiated> Run() {
    if (!Greet()) return std::nullopt;
    Phase phase = Phase::kOption;
    while (phase == Phase::kOption) phase = HandleOption();
    if (phase == Phase::kEnd) return std::nullopt;
    return std::move(result_);
  }

 private:
  absl::Time Deadline() const {
    return std::min(absl::Now() + kOptionTimeout, end_);
  }

  bool Greet() {
    char flags[4];
    if (!socket_.SendAll(EncodeGreeting(), Deadline()) ||
        !socket_.ReceiveAll(absl::MakeSpan(flags), Deadline())) {
      return false;
    }
    client_flags_ = Get<uint32_t>(flags);
    // The protocol wants clients with unknown flags dropped.
    constexpr uint32_t kOffered = kFlagFixedNewstyle | kFlagNoZeroes;
    return (client_flags_ & ~kOffered) == 0;
  }

  Phase HandleOption() {
    const absl::Time deadline = Deadline();
    char head[kOptionHeaderBytes];
    OptionHeader header;
    if (!socket_.ReceiveAll(absl::MakeSpan(head), deadline) ||
        !DecodeOptionHeader(head, &header)) {
      return Phase::kEnd;
    }
    option_ = header.option;
    // A new selection replaces the old one even when it fails.
    if (Is(Option::kSetMetaContext)) contexts_.clear();
    if (header.length > kMaxOptionBytes) return RefuseTooBig(header, deadline);
    std::string data(header.length, '\0');
    if (!socket_.ReceiveAll(absl::MakeSpan(data), deadline)) return Phase::kEnd;
    return Dispatch(data);
  }

  Phase RefuseTooBig(const OptionHeader& header, absl::Time deadline) {
    if (header.length > kMaxSkippedOptionBytes) return Phase::kEnd;
    // No export has a name of that length, and this option has no error reply.
    if (Is(Option::kExportName)) return Phase::kEnd;
    if (!Skip(header.length, deadline)) return Phase::kEnd;
    return Reply(OptionReply::kErrTooBig,
                 absl::StrCat("the option has ", header.length,
                              " bytes of data; at most ", kMaxOptionBytes,
                              " are understood"));
  }

  // Reads in pieces: announced data that is not wanted takes no memory.
  bool Skip(size_t bytes, absl::Time deadline) {
    char dropped[4096];
    while (bytes > 0) {
      const size_t piece = std::min(bytes, sizeof(dropped));
      if (!socket_.ReceiveAll({dropped, piece}, deadline)) return false;
      bytes -= piece;
    }
    return true;
  }

  Phase Dispatch(absl::string_view data) {
    if (Is(Option::kAbort)) {
      Reply(OptionReply::kAck);
      return Phase::kEnd;
    }
    if (Is(Option::kStartTls)) return StartTls(data);
    if (options_.tls.mode == NbdTls::Mode::kRequire && !secure_) {
      // NBD_OPT_EXPORT_NAME has no error reply.
      if (Is(Option::kExportName)) return Phase::kEnd;
      return Reply(OptionReply::kErrTlsRequired,
                   "this server wants TLS; ask for it first (nbds://)");
    }
    if (Is(Option::kExportName)) return ChooseByName(data);
    if (options_.draining != nullptr && *options_.draining) {
      return Reply(OptionReply::kErrShutdown, "the server shuts down");
    }
    switch (static_cast<Option>(option_)) {
      case Option::kList:
        return NeedsNoData(data) ? List() : refused_;
      case Option::kInfo:
      case Option::kGo:
        return ShowOrGo(data);
      case Option::kStructuredReply:
        return NeedsNoData(data) ? UseStructured() : refused_;
      case Option::kExtendedHeaders:
        return NeedsNoData(data) ? Use(Style::kExtended) : refused_;
      case Option::kListMetaContext:
      case Option::kSetMetaContext:
        return MetaContexts(data);
      default:
        return Reply(OptionReply::kErrUnsupported,
                     absl::StrCat("option ", option_, " is unknown"));
    }
  }

  // Nothing that came before counts afterwards: anyone on the way may have sent
  // it. Nor can what was sent together with the option: it is still in the
  // socket, and no part of TLS's handshake.
  Phase StartTls(absl::string_view data) {
    if (!NeedsNoData(data)) return refused_;
    if (options_.tls.mode == NbdTls::Mode::kOff) {
      return Reply(OptionReply::kErrUnsupported,
                   "there is no TLS; use a Unix socket or a tunnel");
    }
    if (secure_) {
      return Reply(OptionReply::kErrInvalid, "TLS is in use already");
    }
    if (Reply(OptionReply::kAck) == Phase::kEnd) return Phase::kEnd;
    std::string why = "there is no memory";
    auto stream = options_.tls.begin(socket_.fd());
    secure_ =
        stream != nullptr &&
        socket_.Secure(std::move(stream),
                       std::min(absl::Now() + NbdTls::kTimeout, end_), &why);
    if (!secure_) return Fail(why);
    result_ = {};
    contexts_.clear();
    context_export_.clear();
    return Phase::kOption;
  }

  // TLS's handshake failed.
  Phase Fail(const std::string& why) {
    constexpr auto kTls = static_cast<size_t>(TurnedAway::kTls);
    if (options_.door_stats != nullptr) {
      options_.door_stats->Count(TurnedAway::kTls);
    }
    LogEvent(Event::kConnectionRefused, {.client = socket_.Peer(),
                                         .over = "nbd",
                                         .reason = kTurnedAwayNames[kTls],
                                         .message = why});
    return Phase::kEnd;
  }

  bool Is(Option option) const {
    return option_ == static_cast<uint32_t>(option);
  }

  Phase Reply(OptionReply type, absl::string_view data = "") {
    const bool sent =
        socket_.SendAll(EncodeOptionReply(option_, type, data), Deadline());
    return sent ? Phase::kOption : Phase::kEnd;
  }

  // If there is data, refuses and sets refused_.
  bool NeedsNoData(absl::string_view data) {
    if (data.empty()) return true;
    refused_ = Reply(OptionReply::kErrInvalid,
                     absl::StrCat("option ", option_, " takes no data, and ",
                                  data.size(), " bytes were sent"));
    return false;
  }

  // Messages can quote a client's bytes, and clients show messages to people.
  static std::string Printable(absl::string_view message) {
    std::string text(message.substr(0, kMaxStringBytes));
    for (char& c : text) {
      if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
    }
    return text;
  }

  Phase Refuse(const absl::Status& status) {
    LogRefusal(status);
    // What is damaged is no better when it is asked for again.
    const bool unavailable =
        absl::IsNotFound(status) || absl::IsDataLoss(status);
    const OptionReply type =
        unavailable                       ? OptionReply::kErrUnknown
        : absl::IsInvalidArgument(status) ? OptionReply::kErrInvalid
        : absl::IsPermissionDenied(status)
            ? OptionReply::kErrPolicy
            : OptionReply::kErrShutdown;  // The server cannot be reached.
    return Reply(type, Printable(status.message()));
  }

  // Many clients do not show why an option was refused. Logs one line a
  // connection.
  void LogRefusal(const absl::Status& status) {
    if (std::exchange(refusal_logged_, true)) return;
    LogEvent(Event::kConnectionRefused,
             {.client = socket_.Peer(),
              .over = "nbd",
              .reason = GetReason(status),
              .message = std::string(status.message())});
  }

  // The name of the volume that a client means.
  absl::StatusOr<std::string> Resolve(absl::string_view name) const {
    if (!name.empty()) return std::string(name);
    if (!options_.default_export.empty()) return options_.default_export;
    return absl::NotFoundError(
        "the empty name means no volume here; name one, or start the server "
        "with --default_export");
  }

  Phase List() {
    // A page at a time: a client that does not read holds no more than that.
    std::string from;
    do {
      const auto page = exports_.List(from);
      if (!page.ok()) return Refuse(page.status());
      std::string replies;
      for (const block::ExportInfo& info : page->exports) {
        replies += EncodeOptionReply(option_, OptionReply::kServer,
                                     EncodeServer(info.name));
      }
      if (!socket_.SendAll(replies, Deadline())) return Phase::kEnd;
      from = page->next;
    } while (!from.empty());
    return Reply(OptionReply::kAck);
  }

  Phase UseStructured() {
    if (result_.style == Style::kExtended) {
      return Reply(OptionReply::kErrExtendedHeaderRequired,
                   "extended headers are in use already");
    }
    return Use(Style::kStructured);
  }

  Phase Use(Style style) {
    result_.style = style;
    return Reply(OptionReply::kAck);
  }

  Phase ChooseByName(absl::string_view name) {
    // After extended headers this option is not allowed, and it has no error
    // reply.
    if (result_.style == Style::kExtended) return Phase::kEnd;
    if (options_.draining != nullptr && *options_.draining) return Phase::kEnd;
    const auto resolved = Resolve(name);
    const absl::Status opened =
        resolved.ok() ? Open(*resolved) : resolved.status();
    if (!opened.ok()) {
      LogRefusal(opened);
      return Phase::kEnd;
    }
    const bool no_zeroes = (client_flags_ & kFlagNoZeroes) != 0;
    const bool sent = socket_.SendAll(
        EncodeExportName(result_.device->size_bytes(),
                         TransmissionFlags(result_.style, result_.read_only),
                         no_zeroes),
        Deadline());
    return sent ? Phase::kTransmission : Phase::kEnd;
  }

  absl::Status Open(const std::string& name) {
    auto device = exports_.Open(name, socket_.Peer());
    if (!device.ok()) return device.status();
    result_.name = name;
    result_.device = *std::move(device);
    result_.read_only = options_.read_only || result_.device->read_only();
    // A context counts only for the export that it was selected for.
    if (context_export_ == name) result_.contexts = contexts_;
    return absl::OkStatus();
  }

  Phase ShowOrGo(absl::string_view data) {
    const auto request = ParseInfoRequest(data);
    if (!request.ok()) return Refuse(request.status());
    const auto name = Resolve(request->name);
    if (!name.ok()) return Refuse(name.status());
    return Is(Option::kGo) ? Go(*name, *request) : Show(*name, *request);
  }

  Phase Show(const std::string& name, const InfoRequest& request) {
    const auto info = exports_.Find(name);
    if (!info.ok()) return Refuse(info.status());
    const bool read_only = options_.read_only || info->read_only;
    return SendInfos(name, request, info->size_bytes, read_only)
               ? Phase::kOption
               : Phase::kEnd;
  }

  Phase Go(const std::string& name, const InfoRequest& request) {
    const absl::Status opened = Open(name);
    if (!opened.ok()) return Refuse(opened);
    return SendInfos(name, request, result_.device->size_bytes(),
                     result_.read_only)
               ? Phase::kTransmission
               : Phase::kEnd;
  }

  bool SendInfos(const std::string& name, const InfoRequest& request,
                 uint64_t size_bytes, bool read_only) {
    const uint16_t flags = TransmissionFlags(result_.style, read_only);
    std::vector<std::string> infos = {EncodeInfoExport(size_bytes, flags)};
    if (request.Wants(Info::kName)) infos.push_back(EncodeInfoName(name));
    if (request.Wants(Info::kBlockSize)) {
      infos.push_back(EncodeInfoBlockSize());
    }
    std::string replies;
    for (const std::string& info : infos) {
      replies += EncodeOptionReply(option_, OptionReply::kInfo, info);
    }
    replies += EncodeOptionReply(option_, OptionReply::kAck, "");
    return socket_.SendAll(replies, Deadline());
  }

  Phase MetaContexts(absl::string_view data) {
    const bool listing = Is(Option::kListMetaContext);
    const auto request = ParseMetaContextRequest(data);
    if (!request.ok()) return Refuse(request.status());
    if (!listing && result_.style == Style::kSimple) {
      return Reply(OptionReply::kErrInvalid,
                   "negotiate structured replies or extended headers first");
    }
    const auto name = Resolve(request->name);
    if (!name.ok()) return Refuse(name.status());
    const auto info = exports_.Find(*name);
    if (!info.ok()) return Refuse(info.status());
    auto selected = Select(*request, *name, listing);
    if (!selected.ok()) return Refuse(selected.status());
    std::string replies;
    for (const MetaContext& context : *selected) {
      replies += EncodeOptionReply(
          option_, OptionReply::kMetaContext,
          EncodeMetaContext(listing ? 0 : context.id, NameOf(context)));
    }
    if (!listing) {
      contexts_ = *std::move(selected);
      context_export_ = *name;
    }
    replies += EncodeOptionReply(option_, OptionReply::kAck, "");
    return socket_.SendAll(replies, Deadline()) ? Phase::kOption : Phase::kEnd;
  }

  // The contexts of the export `name` that a client lists or selects, each
  // once.
  absl::StatusOr<std::vector<MetaContext>> Select(
      const MetaContextRequest& request, const std::string& name,
      bool listing) {
    const auto any = [&](const auto& selects) {
      return (listing && request.queries.empty()) ||
             std::any_of(request.queries.begin(), request.queries.end(),
                         selects);
    };
    std::vector<MetaContext> selected;
    if (any([&](const std::string& query) {
          return SelectsAllocation(query, listing);
        })) {
      selected.push_back({.id = 1});
    }
    std::vector<MetaContext> changes;
    if (listing && any(SelectsAllChanges)) {
      auto all = exports_.ListSnapshots(name, kMaxListedContexts);
      if (!all.ok()) return all.status();
      for (std::string& snapshot : *all) {
        changes.push_back({.snapshot = std::move(snapshot)});
      }
    }
    for (const std::string& query : request.queries) {
      auto context = ChangesSince(query);
      if (!context.ok()) return context.status();
      if (!context->snapshot.empty()) changes.push_back(*std::move(context));
      if (changes.size() > kMaxListedContexts) break;
    }
    const size_t most = listing ? kMaxListedContexts : kMaxContexts;
    for (MetaContext& context : changes) {
      const bool known = std::any_of(selected.begin(), selected.end(),
                                     [&](const MetaContext& one) {
                                       return one.snapshot == context.snapshot;
                                     });
      if (known || selected.size() == most) continue;
      context.id = static_cast<uint32_t>(selected.size() + 1);
      selected.push_back(std::move(context));
    }
    return selected;
  }

  // The context of changes, without an id, that `query` selects; of no snapshot
  // when it selects none.
  absl::StatusOr<MetaContext> ChangesSince(absl::string_view query) {
    if (!absl::ConsumePrefix(&query, kChangesContext) || query.empty()) {
      return MetaContext();
    }
    auto found = exports_.Find(absl::StrCat("@", query));
    if (absl::IsNotFound(found.status())) return MetaContext();
    if (!found.ok()) return found.status();
    return MetaContext{.snapshot = std::string(query),
                       .snapshot_uid = std::move(found->uid)};
  }

  Socket& socket_;
  block::Exports& exports_;
  const NegotiationOptions& options_;
  const absl::Time end_ = absl::Now() + kHandshakeTimeout;

  bool secure_ = false;  // TLS is in use.
  uint32_t client_flags_ = 0;
  uint32_t option_ = 0;  // The option being handled.
  Phase refused_ = Phase::kOption;
  bool refusal_logged_ = false;
  std::vector<MetaContext> contexts_;
  std::string context_export_;  // Which they were selected for.
  Negotiated result_;
};

}  // namespace

std::optional<Negotiated> Negotiate(Socket& socket, block::Exports& exports,
                                    const NegotiationOptions& options) {
  return Negotiator(socket, exports, options).Run();
}

}  // namespace ramvol::nbd
