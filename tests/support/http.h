// The least of an HTTP client.
#ifndef RAMVOL_TESTS_SUPPORT_HTTP_H_
#define RAMVOL_TESTS_SUPPORT_HTTP_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace ramvol::testing {

struct HttpAnswer {
  int code = 0;
  std::string head;
  std::string body;
};

// Asks 127.0.0.1 for `path`. The connection, which HttpReceive closes.
inline int HttpSend(int port, const std::string& path,
                    const std::string& method = "GET",
                    const std::string& host = "localhost") {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::string request = method + " " + path +
                              " HTTP/1.1\r\nHost: " + host +
                              "\r\n"
                              "Accept-Encoding: gzip\r\n\r\n";
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) !=
          0 ||
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request.size())) {
    ADD_FAILURE() << "nobody listens on port " << port;
  }
  return fd;
}

inline HttpAnswer HttpReceive(int fd) {
  HttpAnswer answer;
  std::string all;
  char buffer[4096];
  ssize_t n = 0;
  while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
    all.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  const size_t end = all.find("\r\n\r\n");
  if (end == std::string::npos) return answer;
  answer.head = all.substr(0, end);
  answer.body = all.substr(end + 4);
  answer.code = std::atoi(all.c_str() + all.find(' '));
  return answer;
}

inline HttpAnswer HttpRequest(int port, const std::string& path,
                              const std::string& method = "GET") {
  return HttpReceive(HttpSend(port, path, method));
}

// "http://127.0.0.1:7421/metrics"
inline int PortOf(const std::string& url) {
  return std::atoi(url.c_str() + url.rfind(':') + 1);
}

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_HTTP_H_
