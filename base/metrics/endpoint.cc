#include "base/metrics/endpoint.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/exposure.h"
#include "base/listen_address.h"
#include "base/metrics/http_request.h"
#include "base/printable.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"

namespace ramvol::metrics {
namespace {

constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kMetricsPath[] = "/metrics";

constexpr size_t kMaxConnections = 64;
// Smaller than the reserve of other doors, so that probes get in when those are
// full.
constexpr size_t kReserveDivisor = 8;

const char* Phrase(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 421:
      return "Misdirected Request";
    default:
      return "Service Unavailable";
  }
}

HttpAnswer NotFound() {
  return {.code = 404,
          .body = "not found; there are /metrics, /healthz and /readyz\n"};
}

// Browsers ask for a name and a password then.
HttpAnswer WhoIsThere() {
  return {.code = 401,
          .body =
              "send the bearer token of one who may see all volumes, or have "
              "it as the password of any user\n",
          .fields = "WWW-Authenticate: Basic realm=\"ramvol\"\r\n"};
}

HttpAnswer ForeignHost(const std::string& host) {
  constexpr size_t kMaxShown = 80;
  return {.code = 421,
          .body = absl::StrCat(
              "this page is not served for the host ",
              Quoted(host.substr(0, kMaxShown)),
              ", since a site of that name could read it through your browser; "
              "ask for it by an IP address or localhost, or name the host in "
              "--status_page_hosts\n")};
}

Opening JudgeRequest(std::string_view seen) {
  HttpRequest request;
  return ParseHttpRequest(seen, &request);
}

}  // namespace

struct Endpoint::Client {
  Client(int its_fd, Door::Place its_place,
         std::unique_ptr<SecureStream> its_stream)
      : fd(its_fd),
        place(std::move(its_place)),
        stream(std::move(its_stream)) {}
  ~Client() { close(fd); }

  ssize_t Peek(std::string* out) const {
    return stream == nullptr ? recv(fd, out->data(), out->size(), MSG_PEEK)
                             : stream->Peek(out->data(), out->size());
  }
  ssize_t Take(char* out, size_t bytes) const {
    const iovec part = {out, bytes};
    return stream == nullptr ? recv(fd, out, bytes, 0)
                             : stream->Receive({&part, 1});
  }
  ssize_t Send(char* bytes, size_t count) const {
    const iovec part = {bytes, count};
    return stream == nullptr
               ? send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT)
               : stream->Send({&part, 1});
  }

  // Reads the request. The door lets a client in only when it has arrived in
  // full.
  bool Receive() {
    std::string head(kMaxRequestBytes, '\0');
    ssize_t bytes = Peek(&head);
    if (bytes <= 0) return false;
    head.resize(static_cast<size_t>(bytes));
    if (ParseHttpRequest(head, &request) != Opening::kComplete) return false;
    bytes = Take(head.data(), request.bytes);
    return bytes == static_cast<ssize_t>(request.bytes);
  }

  void Reply(const HttpAnswer& answer) {
    out = absl::StrCat("HTTP/1.1 ", answer.code, " ", Phrase(answer.code),
                       "\r\nContent-Type: ", answer.type,
                       "\r\nContent-Length: ", answer.body.size(),
                       "\r\nConnection: close\r\n", answer.fields, "\r\n");
    if (request.method != "HEAD") out += answer.body;
    answered = true;
  }

  // Sends as much as the socket takes, then waits for the peer to close.
  // Closing while bytes of the peer are unread would reset the connection, and
  // the reset can destroy the answer. False when the connection is over.
  bool GoOn() {
    while (sent < out.size()) {
      const ssize_t bytes = Send(&out[sent], out.size() - sent);
      if (bytes < 0) return errno == EAGAIN || errno == EINTR;
      sent += static_cast<size_t>(bytes);
      if (sent < out.size()) continue;
      if (stream != nullptr) stream->Finish();
      shutdown(fd, SHUT_WR);
    }
    char dropped[4096];
    const ssize_t bytes = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
    return bytes > 0 || (bytes < 0 && (errno == EAGAIN || errno == EINTR));
  }

  short events() const {
    if (!answered) return 0;
    return sent < out.size() ? POLLOUT : POLLIN;
  }

  const int fd;
  const Door::Place place;
  const std::unique_ptr<SecureStream> stream;  // Null: the bytes are plain.
  const absl::Time deadline = absl::Now() + kAnswerTimeout;
  HttpRequest request;
  bool of_page = false;
  bool answered = false;
  std::string out;
  size_t sent = 0;
};

absl::StatusOr<std::unique_ptr<Endpoint>> Endpoint::Start(
    const std::string& address, Metrics metrics, Readiness readiness,
    DoorStats* stats, HttpPages* pages, HostRule hosts, Securer secure,
    bool insecure, Guard guard) {
  auto parsed = ParseListenAddress(address);
  if (!parsed.ok()) return parsed.status();
  if (parsed->is_unix()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics cannot be served on ", address, "; give HOST:PORT"));
  }
  auto sockets = ListenOn(*parsed);
  if (!sockets.ok()) return sockets.status();
  if (!secure && !insecure) {
    absl::Status refused =
        RefuseExposed(*sockets, "give --tls_cert and --tls_key");
    if (!refused.ok()) return refused;
  }
  std::unique_ptr<Endpoint> endpoint(new Endpoint(
      *std::move(sockets), std::move(metrics), std::move(readiness), pages,
      std::move(hosts), secure != nullptr, std::move(guard)));
  absl::Status status = endpoint->OpenDoor(stats, std::move(secure));
  if (!status.ok()) return status;
  return endpoint;
}

Endpoint::Endpoint(std::vector<ListenSocket> sockets, Metrics metrics,
                   Readiness readiness, HttpPages* pages, HostRule hosts,
                   bool secure, Guard guard)
    : sockets_(std::move(sockets)),
      metrics_(std::move(metrics)),
      readiness_(std::move(readiness)),
      pages_(pages),
      hosts_(std::move(hosts)),
      guard_(std::move(guard)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      url_(absl::StrCat(secure ? "https://" : "http://",
                        sockets_.front().name(), kMetricsPath)) {}

absl::Status Endpoint::OpenDoor(DoorStats* stats, Securer secure) {
  if (wake_fd_ < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics: ", std::strerror(errno)));
  }
  DoorOptions options;
  options.protocol = "http";
  for (const ListenSocket& socket : sockets_) {
    options.listeners.push_back(socket.fd());
  }
  options.max_connections = kMaxConnections;
  options.max_openings = kMaxConnections;
  options.judge = &JudgeRequest;
  options.opening_bytes = kMaxRequestBytes;
  options.reserve_divisor = kReserveDivisor;
  if (secure) {
    options.secure = [begin = std::move(secure)](int, int fd) {
      return begin(fd);
    };
    options.judge_secure = true;
  }
  auto door = Door::Make(
      std::move(options),
      [this](int, int fd, Door::Place place,
             std::unique_ptr<SecureStream> stream) {
        Take(fd, std::move(place), std::move(stream));
      },
      stats);
  if (!door.ok()) return door.status();
  door_ = *std::move(door);
  door_->Start();
  thread_ = std::thread([this] { AnswerUntilStopped(); });
  return absl::OkStatus();
}

Endpoint::~Endpoint() {
  if (door_ != nullptr) door_->Stop();
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  Wake();
  if (thread_.joinable()) thread_.join();
  close(wake_fd_);
}

void Endpoint::Take(int fd, Door::Place place,
                    std::unique_ptr<SecureStream> stream) {
  {
    MutexLock lock(&mu_);
    arrived_.push_back(
        std::make_unique<Client>(fd, std::move(place), std::move(stream)));
  }
  Wake();
}

void Endpoint::Wake() const {
  const uint64_t one = 1;
  // Can only fail when the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

void Endpoint::AnswerUntilStopped() {
  while (WaitAndSend()) AnswerNext();
}

bool Endpoint::WaitAndSend() {
  std::vector<pollfd> waits = {{wake_fd_, POLLIN, 0}};
  bool unanswered = false;
  for (const auto& client : clients_) {
    waits.push_back({client->fd, client->events(), 0});
    unanswered = unanswered || !client->answered;
  }
  const absl::Duration left =
      clients_.empty() ? absl::Hours(1)
                       : std::max(clients_.front()->deadline - absl::Now(),
                                  absl::ZeroDuration());
  poll(waits.data(), waits.size(),
       unanswered ? 0 : static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
  auto wait = waits.begin() + 1;
  for (auto client = clients_.begin(); client != clients_.end(); ++wait) {
    const bool over =
        wait->revents != 0 && (!(*client)->answered || !(*client)->GoOn());
    client = over ? clients_.erase(client) : std::next(client);
  }
  DropLateOnes();
  Clients arrived;
  {
    MutexLock lock(&mu_);
    if (stopping_) return false;
    arrived.swap(arrived_);
  }
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof(count));
  Welcome(std::move(arrived));
  return true;
}

void Endpoint::DropLateOnes() {
  const absl::Time now = absl::Now();
  while (!clients_.empty() && clients_.front()->deadline <= now) {
    clients_.pop_front();
  }
  DropBeyond(kMaxAnswers, /*of_pages=*/false);
  DropBeyond(kMaxPageAnswers, /*of_pages=*/true);
}

void Endpoint::DropBeyond(size_t most, bool of_pages) {
  const auto counts = [of_pages](const auto& client) {
    return client->of_page == of_pages;
  };
  size_t count = std::count_if(clients_.begin(), clients_.end(), counts);
  for (; count > most; --count) {
    clients_.erase(std::find_if(clients_.begin(), clients_.end(), counts));
  }
}

size_t Endpoint::waiting_pages() const {
  return std::count_if(
      clients_.begin(), clients_.end(),
      [](const auto& client) { return client->of_page && !client->answered; });
}

void Endpoint::Welcome(Clients arrived) {
  for (auto& client : arrived) {
    if (!client->Receive()) continue;
    AnswerAtOnce(*client);
    if (client->answered && !client->GoOn()) continue;
    clients_.push_back(std::move(client));
  }
}

void Endpoint::AnswerAtOnce(Client& client) const {
  const HttpRequest& request = client.request;
  if (request.method != "GET" && request.method != "HEAD") {
    return client.Reply({.code = 405, .body = "only GET is served\n"});
  }
  if (request.path == "/healthz" || request.path == "/readyz") {
    return client.Reply(Probe(request.path));
  }
  if (guard_ && !guard_(request.authorization)) {
    return client.Reply(WhoIsThere());
  }
  if (request.path == kMetricsPath) return;
  if (pages_ == nullptr) return client.Reply(NotFound());
  client.of_page = true;
  if (!hosts_.Allows(request.host)) {
    return client.Reply(ForeignHost(request.host));
  }
  if (const HttpAnswer* file = pages_->FindFile(request.path)) {
    return client.Reply(*file);
  }
  if (waiting_pages() >= kMaxWaitingPages) {
    client.Reply({.code = 503,
                  .body = "too many ask at once; try again\n",
                  .fields = "Retry-After: 2\r\n"});
  }
}

void Endpoint::AnswerNext() {
  const auto next_of = [this](bool pages) {
    return std::find_if(clients_.begin(), clients_.end(),
                        [pages](const auto& client) {
                          return !client->answered && client->of_page == pages;
                        });
  };
  auto next = next_of(/*pages=*/false);
  if (next == clients_.end()) next = next_of(/*pages=*/true);
  if (next == clients_.end()) return;
  Client& client = **next;
  client.Reply(Make(client.request));
  if (!client.GoOn()) clients_.erase(next);
}

HttpAnswer Endpoint::Probe(const std::string& path) const {
  const std::string reason = path == "/readyz" ? readiness_() : "";
  if (reason.empty()) return {};
  return {.code = 503, .body = absl::StrCat(reason, "\n")};
}

HttpAnswer Endpoint::Make(const HttpRequest& request) const {
  if (request.path == kMetricsPath) {
    return {.body = Scrape(), .type = kMetricsText};
  }
  return pages_->Make(request).value_or(NotFound());
}

std::string Endpoint::Scrape() const {
  std::vector<prometheus::MetricFamily> all;
  for (const auto& metrics : metrics_) {
    auto families = metrics->Collect();
    std::move(families.begin(), families.end(), std::back_inserter(all));
  }
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace ramvol::metrics
