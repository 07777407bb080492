#include "http/request_parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace fathom::http {
namespace {

using Progress = RequestParser::Progress;

struct Outcome {
  Progress progress = Progress::kNeedMore;
  Request request;
  int status = 0;
  size_t left = 0;  // bytes behind the request
};

// Feeds `bytes` in pieces of at most `piece` bytes, as a connection does.
Outcome parse(std::string_view bytes, size_t piece, const RequestLimits& limits = {}) {
  RequestParser parser(limits);
  std::string pending;
  size_t fed = 0;
  Progress progress = Progress::kNeedMore;
  for (;;) {
    size_t used = 0;
    progress = parser.feed(pending, used);
    pending.erase(0, used);
    if (progress == Progress::kDone || progress == Progress::kFailed) break;
    if (progress == Progress::kHeaderDone) continue;
    if (fed == bytes.size()) break;
    const size_t n = std::min(piece, bytes.size() - fed);
    pending.append(bytes.substr(fed, n));
    fed += n;
  }
  Outcome outcome{progress, parser.take(), 0, pending.size() + bytes.size() - fed};
  if (progress == Progress::kFailed) outcome.status = parser.failure().status;
  return outcome;
}

const std::string kPost =
    "POST /generate?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nX-A:  b c \r\n\r\nhello world";
const std::string kEmptyChunked = "POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
const std::string kChunked =
    "POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nTrailer: x\r\n\r\n";

TEST(RequestParser, ReadsARequestHoweverItIsCut) {
  for (const std::string& bytes : {kPost, kChunked}) {
    for (size_t piece = 1; piece <= bytes.size(); ++piece) {
      const Outcome outcome = parse(bytes + "GET", piece);
      ASSERT_EQ(outcome.progress, Progress::kDone) << piece;
      EXPECT_EQ(outcome.request.method, "POST");
      EXPECT_EQ(outcome.request.path, "/generate");
      EXPECT_EQ(outcome.request.body, "hello world");
      EXPECT_GE(outcome.request.body.capacity(), outcome.request.body.size() + 64);
      EXPECT_EQ(outcome.left, 3u) << "the next request's bytes are not ours";
    }
  }
}

TEST(RequestParser, AnEmptyChunkedBodyIsComplete) {
  for (size_t piece = 1; piece <= kEmptyChunked.size(); ++piece) {
    const Outcome outcome = parse(kEmptyChunked, piece);
    ASSERT_EQ(outcome.progress, Progress::kDone) << piece;
    EXPECT_EQ(outcome.request.body, "");
  }
}

TEST(RequestParser, AMalformedChunkIsRefusedAtOnce) {
  EXPECT_EQ(parse("POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 4096).progress,
            Progress::kFailed);
}

TEST(RequestParser, EveryPrefixWantsMore) {
  for (const std::string& bytes : {kPost, kChunked, kEmptyChunked}) {
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_EQ(parse(bytes.substr(0, length), 4096).progress, Progress::kNeedMore) << length;
    }
  }
}

TEST(RequestParser, KeepAliveFollowsVersionAndHeader) {
  const auto request = [](std::string_view version, std::string_view fields) {
    return parse(fmt::format("GET / {}\r\n{}\r\n", version, fields), 4096).request;
  };
  EXPECT_TRUE(request("HTTP/1.1", "").keep_alive);
  EXPECT_FALSE(request("HTTP/1.1", "Connection: close\r\n").keep_alive);
  EXPECT_FALSE(request("HTTP/1.0", "").keep_alive);
  EXPECT_TRUE(request("HTTP/1.0", "Connection: keep-alive\r\n").keep_alive);
  EXPECT_TRUE(request("HTTP/1.0", "").http_1_0);
}

TEST(RequestParser, IgnoresEmptyLinesBeforeARequest) {
  EXPECT_EQ(parse("\r\n\r\nGET /a HTTP/1.1\r\n\r\n", 3).request.path, "/a");
}

TEST(RequestParser, RefusesMalformedRequests) {
  const std::vector<std::string> bad = {
      "hello\r\n\r\n",
      "GET\r\n\r\n",
      "GET / HTTP/2.0\r\n\r\n",
      "GET / HTTP/1.1\n\nA: b\r\n\r\n",
      "GET /a b HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nno colon\r\n\r\n",
      "GET / HTTP/1.1\r\n: no name\r\n\r\n",
      "GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
      std::string("GET /\0 HTTP/1.1\r\n\r\n", 19),
  };
  for (const auto& bytes : bad) {
    for (const size_t piece : {size_t{1}, bytes.size()}) {
      const Outcome outcome = parse(bytes, piece);
      EXPECT_EQ(outcome.progress, Progress::kFailed) << bytes;
      EXPECT_EQ(outcome.status, 400) << bytes;
    }
  }
  EXPECT_EQ(parse("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 99).status, 501);
}

TEST(RequestParser, HeaderBytesAreLimitedHoweverTheyCome) {
  const RequestLimits limits{.header_bytes = 1000, .header_lines = 1000};
  const std::string line = "GET / HTTP/1.1\r\n";
  std::string fields;
  while (fields.size() < 2000) fields += "A: b\r\n";
  for (const size_t piece : {1u, 6u, 7u, 100u, 5000u}) {  // 6: each piece ends with its field
    EXPECT_EQ(parse(line + fields + "\r\n", piece, limits).status, 431) << piece;
    EXPECT_EQ(parse(line + "A: " + std::string(2000, 'x'), piece, limits).status, 431) << piece;
    EXPECT_EQ(parse("GET /" + std::string(2000, 'x'), piece, limits).status, 431) << piece;
  }
  EXPECT_EQ(parse(line + fields.substr(0, 900) + "\r\n", 6, limits).progress, Progress::kDone);
}

TEST(RequestParser, HeaderLinesAreLimited) {
  std::string bytes = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 100; ++i) bytes += "A: b\r\n";
  EXPECT_EQ(parse(bytes + "\r\n", 4096).progress, Progress::kDone);
  EXPECT_EQ(parse(bytes + "A: b\r\n\r\n", 4096).status, 431);
}

TEST(RequestParser, BodiesAreLimitedAndThePathIsKnown) {
  const RequestLimits limits{.body_bytes = 10};
  const Outcome announced = parse(kPost, 4096, limits);
  EXPECT_EQ(announced.status, 413);
  EXPECT_EQ(announced.request.path, "/generate");
  EXPECT_EQ(parse(kChunked, 4096, limits).status, 413);
}

TEST(RequestParser, EndlessChunkExtensionsAndTrailersAreRefused) {
  const RequestLimits limits{.header_bytes = 1000};
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const size_t piece : {1u, 7u, 5000u}) {
    EXPECT_EQ(parse(head + "1;" + std::string(3000, 'x'), piece, limits).progress,
              Progress::kFailed);
    std::string trailers = "0\r\n";
    while (trailers.size() < 3000) trailers += "A: b\r\n";
    EXPECT_EQ(parse(head + trailers, piece, limits).progress, Progress::kFailed);
  }
}

TEST(RequestParser, AnAnnouncedLengthAllocatesNothing) {
  const Outcome outcome = parse("POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\nx", 4096);
  EXPECT_EQ(outcome.progress, Progress::kNeedMore);
  EXPECT_LT(outcome.request.body.capacity(), 2u << 20);
}

TEST(RequestParser, ExpectIsSeen) {
  for (const bool expects : {false, true}) {
    RequestParser parser({});
    size_t used = 0;
    const std::string bytes = fmt::format("POST / HTTP/1.1\r\nContent-Length: 3\r\n{}\r\n",
                                          expects ? "Expect: 100-Continue\r\n" : "");
    ASSERT_EQ(parser.feed(bytes, used), Progress::kHeaderDone);
    EXPECT_EQ(parser.expects_continue(), expects);
  }
}

}  // namespace
}  // namespace fathom::http
