// A raw TCP client for tests: what it sends is sent as it is, in one piece.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/message.h"

namespace fathom::http {

class LoopbackClient {
 public:
  // ipv6: connects to ::1. ok() says whether it worked.
  explicit LoopbackClient(uint16_t port, bool ipv6 = false, int receive_buffer = 0);
  LoopbackClient(LoopbackClient&& other) noexcept : socket_(other.socket_) { other.socket_ = -1; }
  LoopbackClient(const LoopbackClient&) = delete;
  ~LoopbackClient() { close(); }

  bool ok() const { return socket_ >= 0; }
  bool send(std::string_view bytes);  // false: the server has closed
  void half_close();
  void reset();  // close with RST
  void close();

  // One response: head and body (by Content-Length, chunks decoded, or to the end of the stream).
  struct Reply {
    int status = 0;  // 0: closed without an answer
    std::string head;
    std::string body;
    std::vector<std::string> chunks;
  };
  Reply receive(bool head_only = false);
  std::string receive_some();  // "" at the end
  bool at_end();               // waits for the server to close
  Reply ask(std::string_view request) {
    send(request);
    return receive();
  }

 private:
  bool read_until(std::string_view mark, size_t from, size_t& position);
  bool read_bytes(size_t count);

  int socket_ = -1;
  std::string pending_;
};

inline std::string header_field(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    const size_t colon = line.find(": ");
    if (colon != std::string_view::npos && equals_ignoring_case(line.substr(0, colon), name)) {
      return std::string(line.substr(colon + 2));
    }
    if (end == std::string_view::npos) break;
    head.remove_prefix(end + 2);
  }
  return "";
}

inline LoopbackClient::LoopbackClient(uint16_t port, bool ipv6, int receive_buffer) {
  socket_ = ::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer > 0) {
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  const auto* address = ipv6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
  if (connect(socket_, address, ipv6 ? sizeof(v6) : sizeof(v4)) != 0) close();
}

inline bool LoopbackClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

inline void LoopbackClient::half_close() {
  shutdown(socket_, SHUT_WR);
}

inline void LoopbackClient::reset() {
  const linger now{1, 0};
  setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close();
}

inline void LoopbackClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

inline std::string LoopbackClient::receive_some() {
  char bytes[16384];
  const ssize_t n = recv(socket_, bytes, sizeof(bytes), 0);
  return n > 0 ? std::string(bytes, static_cast<size_t>(n)) : std::string();
}

inline bool LoopbackClient::at_end() {
  return receive_some().empty();
}

inline bool LoopbackClient::read_until(std::string_view mark, size_t from, size_t& position) {
  while ((position = pending_.find(mark, from)) == std::string::npos) {
    const std::string more = receive_some();
    if (more.empty()) return false;
    pending_ += more;
  }
  return true;
}

inline bool LoopbackClient::read_bytes(size_t count) {
  while (pending_.size() < count) {
    const std::string more = receive_some();
    if (more.empty()) return false;
    pending_ += more;
  }
  return true;
}

inline LoopbackClient::Reply LoopbackClient::receive(bool head_only) {
  Reply reply;
  size_t end = 0;
  if (!read_until("\r\n\r\n", 0, end)) return reply;
  reply.head = pending_.substr(0, end + 2);
  pending_.erase(0, end + 4);
  reply.status = std::atoi(reply.head.c_str() + reply.head.find(' ') + 1);
  if (head_only || reply.status == 100 || reply.status == 204) return reply;
  if (const std::string length = header_field(reply.head, "content-length"); !length.empty()) {
    const size_t bytes = std::strtoull(length.c_str(), nullptr, 10);
    read_bytes(bytes);
    reply.body = pending_.substr(0, bytes);
    pending_.erase(0, bytes);
  } else if (header_field(reply.head, "transfer-encoding") == "chunked") {
    for (;;) {
      if (!read_until("\r\n", 0, end)) return reply;
      const size_t bytes = std::strtoull(pending_.c_str(), nullptr, 16);
      pending_.erase(0, end + 2);
      if (!read_bytes(bytes + 2)) return reply;
      if (bytes > 0) reply.chunks.push_back(pending_.substr(0, bytes));
      reply.body += pending_.substr(0, bytes);
      pending_.erase(0, bytes + 2);
      if (bytes == 0) break;
    }
  } else {
    while (true) {
      const std::string more = receive_some();
      if (more.empty()) break;
      pending_ += more;
    }
    reply.body = std::exchange(pending_, {});
  }
  return reply;
}

}  // namespace fathom::http
