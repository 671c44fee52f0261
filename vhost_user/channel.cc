#include "vhost_user/channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ramvol::vhost {
namespace {

// One more than allowed, so that too many are seen.
constexpr size_t kControlBytes =
    CMSG_SPACE(sizeof(int) * (kMaxDescriptors + 1));

// Takes ownership of what came; nothing stays open by mistake.
void TakeDescriptors(msghdr* header, std::vector<Descriptor>* descriptors) {
  for (cmsghdr* part = CMSG_FIRSTHDR(header); part != nullptr;
       part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      descriptors->emplace_back(fd);
    }
  }
}

// Fills `out`. False at the end of the stream.
bool ReceiveAll(int fd, char* out, size_t bytes,
                std::vector<Descriptor>* descriptors) {
  while (bytes > 0) {
    alignas(cmsghdr) char control[kControlBytes];
    iovec part = {out, bytes};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    TakeDescriptors(&header, descriptors);
    out += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::optional<Message>> Receive(int fd) {
  Message message;
  Header header;
  if (!ReceiveAll(fd, reinterpret_cast<char*>(&header), sizeof(header),
                  &message.descriptors)) {
    return std::nullopt;
  }
  absl::Status valid = CheckHeader(header);
  if (!valid.ok()) return valid;
  message.request = static_cast<Request>(header.request);
  message.flags = header.flags;
  message.payload.resize(header.payload_bytes);
  if (!ReceiveAll(fd, message.payload.data(), message.payload.size(),
                  &message.descriptors)) {
    return std::nullopt;
  }
  if (message.descriptors.size() > kMaxDescriptors) {
    return absl::InvalidArgumentError(
        absl::StrCat(NameOf(message.request), " with more than ",
                     kMaxDescriptors, " descriptors"));
  }
  return message;
}

bool Send(int fd, const Message& message, bool wait) {
  const Header header = {static_cast<uint32_t>(message.request), message.flags,
                         static_cast<uint32_t>(message.payload.size())};
  std::string bytes = Bytes(header);
  bytes += message.payload;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  for (size_t done = 0; done < bytes.size();) {
    iovec part = {bytes.data() + done, bytes.size() - done};
    msghdr out{};
    out.msg_iov = &part;
    out.msg_iovlen = 1;
    if (done == 0 && !message.descriptors.empty()) {
      out.msg_control = control;
      out.msg_controllen = sizeof(control);
      cmsghdr* rights = CMSG_FIRSTHDR(&out);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int));
      const int given = message.descriptors.front().get();
      std::memcpy(CMSG_DATA(rights), &given, sizeof(given));
    }
    const ssize_t sent =
        sendmsg(fd, &out, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    done += static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace ramvol::vhost
