#include "server/telemetry/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

http::Request post(std::string body) {
  http::Request request;
  request.method = "POST";
  request.target = "/generate";
  request.body = std::move(body);
  return request;
}

TEST(RequestLog, LevelsShowMoreAndMore) {
  const auto request = post(R"({"text":"secret","sampling_params":{"top_p":0.5},"stream":true})");
  EXPECT_THAT(describe_request(request, RequestLogLevel::kMetadata), Not(HasSubstr("top_p")));
  const auto sampling = describe_request(request, RequestLogLevel::kSampling);
  EXPECT_THAT(sampling, HasSubstr(R"({"sampling_params":{"top_p":0.5},"stream":true})"));
  EXPECT_THAT(sampling, Not(HasSubstr("secret")));
  EXPECT_THAT(describe_request(request, RequestLogLevel::kPartial), HasSubstr("secret"));
  EXPECT_EQ(describe_output("12345", RequestLogLevel::kSampling), "5 bytes");
}

TEST(RequestLog, PartialIsCutAndFullIsNot) {
  const std::string body(5000, 'x');
  const auto partial = describe_request(post(body), RequestLogLevel::kPartial);
  EXPECT_LT(partial.size(), 2300u);
  EXPECT_THAT(partial, HasSubstr("... (5000 bytes)"));
  EXPECT_GT(describe_request(post(body), RequestLogLevel::kFull).size(), 5000u);
}

TEST(RequestLog, WhateverTheBodyHoldsItIsOneLine) {
  const auto line = describe_request(post("a\nb\r\xff\x00\"c"), RequestLogLevel::kFull);
  EXPECT_EQ(line.find_first_of("\r\n"), std::string::npos);
}

TEST(RequestLog, DeepBodiesAreHarmless) {
  const auto log_of = [](size_t levels) {
    const std::string body = R"({"stop":)" + std::string(levels, '[') + std::string(levels, ']') + R"(,"n":2})";
    return describe_request(post(body), RequestLogLevel::kSampling);
  };
  EXPECT_THAT(log_of(4), HasSubstr(R"({"n":2,"stop":[[[[]]]]})"));
  EXPECT_THAT(log_of(100), HasSubstr(R"({"n":2})"));
  EXPECT_THAT(log_of(300'000), HasSubstr("sampling={}"));
}

}  // namespace
}  // namespace fathom
