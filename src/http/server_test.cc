#include "http/server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "http/channel.h"
#include "http/testing/loopback_client.h"

namespace fathom::http {
namespace {

using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.port = 0;
    Server::Hooks hooks;
    hooks.handler = [this](const Request& request, Responder& responder) {
      return handle(request, responder);
    };
    hooks.on_error = [](int status, std::string_view message, std::string_view path) {
      return Response{status, "text/plain", fmt::format("{}|{}", path, message), {}};
    };
    hooks.after = [this](const Request&, int status) { last_status_ = status; };
    auto server = Server::listen(options, std::move(hooks));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    server_->start();
  }
  void TearDown() override {
    if (server_) server_->stop();
  }

  asio::awaitable<void> handle(const Request& request, Responder& responder) {
    ++handled_;
    if (request.path == "/throw") throw std::runtime_error("on purpose");
    if (request.path == "/silent") co_return;
    if (request.path == "/stream") co_return co_await stream(responder, 3, "data: x\n\n");
    if (request.path == "/flood") {
      co_return co_await stream(responder, 1 << 20, std::string(65536, 'x'));
    }
    if (request.path == "/half") {
      Response head;
      co_await responder.begin_stream(std::move(head));
      throw std::runtime_error("in the middle");
    }
    if (request.path == "/wait") co_return co_await wait(responder);
    Response response;
    response.content_type = "text/plain";
    response.body = request.method + " " + request.path + " " + request.body;
    co_await responder.send(std::move(response));
  }

  asio::awaitable<void> stream(Responder& responder, int count, std::string chunk) {
    Response head;
    head.content_type = "text/event-stream";
    bool open = co_await responder.begin_stream(std::move(head));
    for (int i = 0; open && i < count; ++i) {
      std::string copy = chunk;
      open = co_await responder.write(std::move(copy));
    }
    if (open) open = co_await responder.end_stream();
    if (!open) ++disconnects_;
  }

  // Answers when told through release_, or gives up when the client leaves.
  asio::awaitable<void> wait(Responder& responder) {
    auto channel = std::make_shared<Channel<int>>(responder.executor());
    {
      std::lock_guard lock(mutex_);
      release_ = channel;
    }
    responder.on_disconnect([this, channel] {
      ++disconnects_;
      channel->close();
    });
    ++waiting_;
    const auto released = co_await channel->pop();
    if (!released) co_return;
    Response response;
    response.body = "waited";
    co_await responder.send(std::move(response));
  }
  void release() {
    std::lock_guard lock(mutex_);
    release_->push(1);
  }

  LoopbackClient connect() { return LoopbackClient(server_->port()); }

  std::unique_ptr<Server> server_;
  std::atomic<int> handled_{0}, waiting_{0}, disconnects_{0}, last_status_{0};
  std::mutex mutex_;
  std::shared_ptr<Channel<int>> release_;
};

const std::string kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
std::string get(std::string_view path) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path);
}

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  start();
  auto client = connect();
  for (int i = 0; i < 3; ++i) {
    const auto reply = client.ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, "POST /a hello");
    EXPECT_EQ(header_field(reply.head, "content-type"), "text/plain");
  }
  EXPECT_EQ(client.ask("GET /b HTTP/1.1\r\nConnection: close\r\n\r\n").body, "GET /b ");
  EXPECT_TRUE(client.at_end());
}

TEST_F(ServerTest, ByteByByteAndPipelined) {
  start();
  auto slow = connect();
  for (const char c : kGet) slow.send({&c, 1});
  EXPECT_EQ(slow.receive().body, "GET /a ");

  auto eager = connect();
  std::string burst;
  for (int i = 0; i < 50; ++i) burst += get(fmt::format("/{}", i));
  eager.send(burst);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(eager.receive().body, fmt::format("GET /{} ", i));
}

TEST_F(ServerTest, PipelinedBehindAStreamAndBehindAWaitingRequest) {
  start();
  auto client = connect();
  client.send(get("/stream") + get("/wait") + kGet + "GET /cut");
  EXPECT_EQ(client.receive().chunks.size(), 3u);
  ASSERT_TRUE(eventually([&] { return waiting_ == 1; }));
  EXPECT_EQ(handled_, 2) << "requests of one connection never overlap";
  release();
  EXPECT_EQ(client.receive().body, "waited");
  EXPECT_EQ(client.receive().body, "GET /a ");
  client.send("/off HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.receive().body, "GET /cut/off ");
}

TEST_F(ServerTest, BytesThatArriveWhileAHandlerRunsAreKept) {
  start();
  auto client = connect();
  for (int i = 0; i < 20; ++i) {
    client.send(get("/wait"));
    ASSERT_TRUE(eventually([&] { return waiting_ == i + 1; }));
    const std::string next = "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
    client.send(next.substr(0, static_cast<size_t>(i)));
    if (i % 2 == 0) std::this_thread::sleep_for(2ms);
    release();
    EXPECT_EQ(client.receive().body, "waited");
    client.send(next.substr(static_cast<size_t>(i)));
    EXPECT_EQ(client.receive().body, "POST /b xyz");
  }
  EXPECT_EQ(disconnects_, 0);
}

TEST_F(ServerTest, OneChunkPerWrite) {
  start();
  auto client = connect();
  const auto reply = client.ask(get("/stream"));
  EXPECT_EQ(reply.chunks, std::vector<std::string>(3, "data: x\n\n"));
  EXPECT_EQ(client.ask(kGet).status, 200) << "keep-alive after a stream";
}

TEST_F(ServerTest, Http10GetsAPlainStreamThatEndsWithTheConnection) {
  start();
  auto client = connect();
  const auto reply = client.ask("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(header_field(reply.head, "transfer-encoding"), "");
  EXPECT_EQ(reply.body, "data: x\n\ndata: x\n\ndata: x\n\n");

  auto plain = connect();
  EXPECT_EQ(plain.ask("GET /a HTTP/1.0\r\n\r\n").body, "GET /a ");
  EXPECT_TRUE(plain.at_end());
  auto kept = connect();
  const std::string request = "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  EXPECT_EQ(header_field(kept.ask(request).head, "connection"), "keep-alive");
  EXPECT_EQ(kept.ask(request).status, 200);
}

TEST_F(ServerTest, HeadHasNoBody) {
  start();
  auto client = connect();
  client.send("HEAD /a HTTP/1.1\r\n\r\n");
  const auto reply = client.receive(true);
  EXPECT_EQ(header_field(reply.head, "content-length"), "8");
  client.send("HEAD /stream HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.receive(true).status, 200);
  EXPECT_EQ(client.ask(kGet).body, "GET /a ");
}

TEST_F(ServerTest, ChunkedBodyAndExpectContinue) {
  start();
  auto client = connect();
  EXPECT_EQ(client
                .ask("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
                .body,
            "POST /a abc");
  client.send("POST /a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  EXPECT_EQ(client.ask("hi").body, "POST /a hi");
}

TEST_F(ServerTest, LargeBodiesArriveWhole) {
  start();
  auto client = connect();
  const std::string body(8u << 20, 'z');
  const auto reply = client.ask(
      fmt::format("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  EXPECT_EQ(reply.body.size(), body.size() + 8);
}

TEST_F(ServerTest, MalformedAndOversizedRequestsGetAnAnswerAndAClose) {
  ServerOptions options;
  options.max_body_bytes = 1000;
  start(options);
  const auto expect = [&](const std::string& request, int status, std::string_view path) {
    auto client = connect();
    const auto reply = client.ask(request);
    EXPECT_EQ(reply.status, status) << request.substr(0, 80);
    EXPECT_EQ(reply.body.substr(0, reply.body.find('|')), path);
    EXPECT_EQ(header_field(reply.head, "connection"), "close");
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(last_status_, status);
  };
  expect("nonsense\r\n\r\n", 400, "");
  expect("GET /x HTTP/1.1\r\nbroken\r\n\r\n", 400, "/x");
  expect("POST /x HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413, "/x");
  expect("POST /x HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + std::string(5'000'000, 'x'), 413,
         "/x");
  expect("GET /x HTTP/1.1\r\nA: " + std::string(70'000, 'x') + "\r\n\r\n", 431, "/x");
  std::string lines = "GET /x HTTP/1.1\r\n";
  for (int i = 0; i < 101; ++i) lines += "A: b\r\n";
  expect(lines + "\r\n", 431, "/x");
  EXPECT_EQ(handled_, 0);
  EXPECT_EQ(connect().ask(kGet).status, 200);
}

TEST_F(ServerTest, RequestsCutAnywhereHarmNobody) {
  start();
  const std::string request =
      "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (size_t length = 0; length < request.size(); ++length) {
    auto client = connect();
    client.send(request.substr(0, length));
    if (length % 3 == 0) client.reset();
    if (length % 3 == 1) client.half_close();
  }
  EXPECT_EQ(connect().ask(request).body, "POST /a abc");
  EXPECT_EQ(handled_, 1);
  EXPECT_TRUE(eventually([&] { return server_->open_connections() == 0; }));
}

TEST_F(ServerTest, FailingHandlersGiveA500) {
  start();
  auto client = connect();
  EXPECT_EQ(client.ask(get("/throw")).body, "/throw|on purpose");
  const auto silent = client.ask(get("/silent"));
  EXPECT_EQ(silent.status, 500);
  EXPECT_EQ(client.ask(kGet).status, 200) << "the connection goes on";
  client.send(get("/half"));
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_TRUE(client.at_end()) << "a broken stream must not look complete";
}

TEST_F(ServerTest, DisconnectIsSeenWhileTheHandlerRuns) {
  start();
  for (int how = 0; how < 4; ++how) {
    auto client = connect();
    client.send(get("/wait") + (how == 3 ? kGet : ""));  // 3: with a pipelined request before EOF
    ASSERT_TRUE(eventually([&] { return waiting_ == how + 1; }));
    if (how == 0) client.close();
    if (how == 1) client.reset();
    if (how >= 2) client.half_close();
    ASSERT_TRUE(eventually([&] { return disconnects_ == how + 1; })) << how;
    ASSERT_TRUE(eventually([&] { return last_status_ == 499; }));
    last_status_ = 0;
    if (how >= 2) {
      EXPECT_TRUE(client.at_end());
    }
  }
  EXPECT_EQ(handled_, 4);
  EXPECT_TRUE(eventually([&] { return server_->open_connections() == 0; }));
}

TEST_F(ServerTest, ReadersThatStopReadingAreDropped) {
  ServerOptions options;
  options.write_timeout = 1s;
  start(options);
  LoopbackClient client(server_->port(), false, 4096);
  client.send(get("/flood"));
  EXPECT_TRUE(eventually([&] { return disconnects_ == 1; }));
  EXPECT_TRUE(eventually([&] { return server_->open_connections() == 0; }));
}

TEST_F(ServerTest, SlowRequestsTimeOut) {
  ServerOptions options;
  options.header_timeout = 1s;
  options.body_idle_timeout = 1s;
  options.keep_alive_timeout = 1s;
  start(options);
  auto silent = connect();
  auto header = connect();
  header.send("GET / HT");
  auto body = connect();
  body.send("POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
  auto idle = connect();
  EXPECT_EQ(idle.ask(kGet).status, 200);
  auto drip = connect();  // progress in the headers does not help
  std::atomic<bool> ended{false};
  std::thread dripping([&] {
    while (!ended && drip.send("x")) std::this_thread::sleep_for(20ms);
  });
  const auto late = header.receive();
  EXPECT_EQ(late.status, 408);
  EXPECT_TRUE(header.at_end());
  EXPECT_EQ(body.receive().status, 408);
  EXPECT_TRUE(body.at_end());
  EXPECT_EQ(drip.receive().status, 408);
  ended = true;
  dripping.join();
  EXPECT_TRUE(silent.at_end());
  EXPECT_TRUE(idle.at_end());
  EXPECT_EQ(handled_, 1);
}

TEST_F(ServerTest, TwoThousandIdleConnections) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max < 5000) GTEST_SKIP() << "needs 5,000 file descriptors";
  start();
  std::vector<LoopbackClient> clients;
  for (int i = 0; i < 2000; ++i) {
    clients.push_back(connect());
    ASSERT_TRUE(clients.back().ok()) << i;
    clients.back().send(kGet);
  }
  for (auto& client : clients) ASSERT_EQ(client.receive().status, 200);
  EXPECT_EQ(server_->open_connections(), 2000);
  for (auto& client : clients) ASSERT_EQ(client.ask(kGet).status, 200);
}

TEST_F(ServerTest, TooManyConnectionsAreTurnedAway) {
  ServerOptions options;
  options.max_connections = 3;
  start(options);
  std::vector<LoopbackClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().ask(kGet).status, 200);
  }
  EXPECT_EQ(connect().receive().status, 503);
  clients.pop_back();
  EXPECT_TRUE(eventually([&] { return connect().ask(kGet).status == 200; }));
}

TEST_F(ServerTest, ManyThreadsServeManyClients) {
  ServerOptions options;
  options.threads = 3;
  start(options);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        auto client = connect();
        if (client.ask(get(i % 2 ? "/stream" : "/a")).status == 200) ++good;
        if (i % 5 == t % 5) {
          client.send(get("/stream") + get("/a"));
          client.reset();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 480);
}

TEST_F(ServerTest, StopEndsWaitingHandlers) {
  start();
  auto client = connect();
  client.send(get("/wait"));
  ASSERT_TRUE(eventually([&] { return waiting_ == 1; }));
  server_->stop();
  EXPECT_EQ(disconnects_, 1);
  EXPECT_TRUE(client.at_end());
}

TEST_F(ServerTest, StopAcceptingLetsOpenConnectionsGoOn) {
  start();
  auto client = connect();
  EXPECT_EQ(client.ask(kGet).status, 200);
  server_->stop_accepting();
  EXPECT_TRUE(eventually([&] { return !connect().ok(); }));
  EXPECT_EQ(client.ask(kGet).status, 200);
}

TEST_F(ServerTest, ThePortInUseIsNamed) {
  start();
  ServerOptions options;
  options.port = server_->port();
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0"}) {
    options.host = host;
    const auto second = Server::listen(options, {});
    ASSERT_FALSE(second.has_value()) << host;
    EXPECT_EQ(second.error().message, fmt::format("Port {} is already in use", options.port));
  }
  options.host = "no such host";
  EXPECT_FALSE(Server::listen(options, {}).has_value());
}

TEST_F(ServerTest, Ipv6AnyServesBothFamilies) {
  ServerOptions options;
  options.host = "::";
  options.port = 0;
  if (!Server::listen(options, {}).has_value()) GTEST_SKIP() << "no IPv6 here";
  start(options);
  EXPECT_EQ(connect().ask(kGet).status, 200);
  LoopbackClient v6(server_->port(), true);
  if (v6.ok()) {
    EXPECT_EQ(v6.ask(kGet).status, 200);
  }
}

}  // namespace
}  // namespace fathom::http
