#include "vhost_user/socket_dir.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace ramvol::vhost {
namespace {

constexpr absl::string_view kSuffix = ".sock";
constexpr mode_t kOwner = 0600;
constexpr mode_t kOwnerAndGroup = 0660;
// A virtual machine has one connection; a second one waits.
constexpr int kBacklog = 8;

absl::Status Failed(absl::string_view what, const std::string& path) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

bool Fits(const std::string& path) {
  return path.size() < sizeof(sockaddr_un::sun_path);
}

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Whether the file is a socket that nobody listens on.
bool IsStale(const std::string& path) {
  struct stat file{};
  if (lstat(path.c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  if (!Fits(path)) return false;
  const Descriptor probe(
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = AddressOf(path);
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                 sizeof(address)) != 0 &&
         errno == ECONNREFUSED;
}

void RemoveStale(const std::string& dir) {
  struct Close {
    void operator()(DIR* open) const { closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(opendir(dir.c_str()));
  if (open == nullptr) return;
  while (const dirent* entry = readdir(open.get())) {
    if (!absl::EndsWith(entry->d_name, kSuffix)) continue;
    const std::string path = absl::StrCat(dir, "/", entry->d_name);
    if (IsStale(path)) unlink(path.c_str());
  }
}

}  // namespace

absl::StatusOr<SocketDir> SocketDir::Open(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed("make the folder", path);
  }
  struct stat folder{};
  if (stat(path.c_str(), &folder) != 0) return Failed("look at", path);
  if (!S_ISDIR(folder.st_mode)) {
    return absl::UnavailableError(absl::StrCat(path, " is no folder"));
  }
  if (access(path.c_str(), W_OK | X_OK) != 0) return Failed("write to", path);
  RemoveStale(path);
  const bool shared = (folder.st_mode & S_ISGID) != 0;
  return SocketDir(path, shared ? kOwnerAndGroup : kOwner);
}

std::string SocketDir::PathOf(absl::string_view volume) const {
  return absl::StrCat(path_, "/", volume, kSuffix);
}

absl::StatusOr<Descriptor> SocketDir::Listen(absl::string_view volume) const {
  const std::string path = PathOf(volume);
  if (!Fits(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is too long for a socket, which may have ",
                     sizeof(sockaddr_un::sun_path) - 1,
                     " bytes; use a shorter name or folder"));
  }
  if (IsStale(path)) unlink(path.c_str());
  Descriptor listener(
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.is_open()) return Failed("make a socket for", path);
  // The file gets the mode that the socket has, at once.
  const sockaddr_un address = AddressOf(path);
  if (fchmod(listener.get(), mode_) != 0 ||
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address),
           sizeof(address)) != 0) {
    return Failed("listen on", path);
  }
  // What the process's umask took away.
  if (mode_ != kOwner) chmod(path.c_str(), mode_);
  if (listen(listener.get(), kBacklog) != 0) return Failed("listen on", path);
  return listener;
}

void SocketDir::Remove(absl::string_view volume) const {
  unlink(PathOf(volume).c_str());
}

}  // namespace ramvol::vhost
