// What is told about requests: records, traces, dumps, metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "server/telemetry/metrics.h"
#include "server/telemetry/request_journal.h"
#include "server/telemetry/request_log.h"
#include "server/telemetry/request_records.h"
#include "server/telemetry/trace_exporter.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

FinishedRequest a_request() {
  FinishedRequest r;
  r.rid = "abc\"\n";
  r.path = "/generate";
  r.finish_reason = "stop";
  r.arrival = std::chrono::system_clock::time_point(std::chrono::seconds(1000));
  r.samples = 1;
  r.prompt_tokens = 10;
  r.cached_tokens = 4;
  r.generated_tokens = 6;
  r.tokenize_seconds = 0.5;
  r.queue_seconds = 1;
  r.first_token_seconds = 2;
  r.total_seconds = 3;
  return r;
}

class Telemetry : public testing::Test {
 protected:
  Telemetry()
      : folder_(std::filesystem::temp_directory_path() /
                ("fathom-telemetry-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~Telemetry() override { std::filesystem::remove_all(folder_); }
  std::string all_text() const {
    std::string text;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      text.append(std::istreambuf_iterator<char>(file), {});
    }
    return text;
  }
  std::filesystem::path folder_;
};

TEST(TraceSpans, ThePhasesLieInTheRequest) {
  const OrderedJson spans = spans_of(a_request());
  ASSERT_EQ(spans.size(), 5u);
  EXPECT_EQ(spans[0]["startTimeUnixNano"], "1000000000000");
  EXPECT_EQ(spans[0]["endTimeUnixNano"], "1003000000000");
  EXPECT_EQ(spans[1]["endTimeUnixNano"], "1000500000000");
  EXPECT_EQ(spans[3]["startTimeUnixNano"], "1001500000000");
  EXPECT_EQ(spans[4]["name"], "decode_forward");
  for (const OrderedJson& span : spans) EXPECT_EQ(span["traceId"], spans[0]["traceId"]);
}

TEST(TraceSpans, AnUnsampledOrBrokenParent) {
  FinishedRequest r = a_request();
  const std::string ids = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
  r.trace_parent = ids + "00";
  EXPECT_TRUE(spans_of(r).empty());
  r.trace_parent = ids + "01";
  EXPECT_EQ(spans_of(r)[0]["parentSpanId"], "b7ad6b7169203331");
  for (const char* bad :
       {"", "x", "00-zz", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    r.trace_parent = bad;
    const OrderedJson spans = spans_of(r);
    EXPECT_EQ(spans[0]["parentSpanId"], "");
    EXPECT_EQ(spans[0]["traceId"].get<std::string>().size(), 32u);
  }
}

TEST(TraceExporter, BadEndpointsAreNamed) {
  for (const char* bad : {"", "host:0", "host:70000", "https://host", "a b:1", "host:"}) {
    const auto exporter = TraceExporter::open(bad);
    ASSERT_FALSE(exporter.has_value()) << bad;
    EXPECT_THAT(exporter.error().message, HasSubstr("--otlp-traces-endpoint"));
  }
}

TEST(TimeStats, OneLineWhateverTheRid) {
  const std::string line = time_stats_line(a_request());
  EXPECT_THAT(line, HasSubstr("queue_duration=1000.00ms, forward_duration=1500.00ms"));
  EXPECT_THAT(line, Not(HasSubstr("\n")));
}

TEST_F(Telemetry, MetricsFilesNameTheHour) {
  const auto files = MetricsFiles::open(folder_ / "new");
  ASSERT_TRUE(files.has_value());
  (*files)->write(a_request());
  EXPECT_THAT(all_text(),
              HasSubstr(R"("prompt_tokens":10,"cached_tokens":4,"completion_tokens":6)"));
  std::ofstream(folder_ / "file") << "x";
  EXPECT_THAT(MetricsFiles::open(folder_ / "file").error().message, HasSubstr("cannot be written"));
}

TEST_F(Telemetry, TheJournalKeepsARecentPast) {
  const auto journal = RequestJournal::open({.folder = folder_, .most_file_bytes = 1000});
  ASSERT_TRUE(journal.has_value());
  http::Request request;
  request.method = "POST";
  request.target = "/generate";
  for (uint64_t id = 0; id < 100; ++id) {
    request.body = "body " + std::to_string(id) + " \xff";
    (*journal)->received(id, request);
  }
  const std::string text = all_text();
  EXPECT_THAT(text, HasSubstr("body 99"));
  EXPECT_THAT(text, Not(HasSubstr("body 1 ")));
  EXPECT_LT(text.size(), 3000u);
  (*journal)->remove();
  (*journal)->finished(99, 200);
  EXPECT_EQ(all_text(), "");
}

TEST_F(Telemetry, RequestLogsGoWhereTheyAreSent) {
  const auto log = RequestLog::open({.enabled = true,
                                     .level = RequestLogLevel::kMetadata,
                                     .json = true,
                                     .targets = {folder_.string()}});
  ASSERT_TRUE(log.has_value());
  http::Request request;
  request.method = "POST";
  request.target = "/generate";
  request.body = "secret";
  (*log)->received(request);
  EXPECT_THAT(all_text(), HasSubstr(R"("event":"request.received")"));
  EXPECT_THAT(all_text(), Not(HasSubstr("secret")));
  (*log)->enable(false);
  const std::string before = all_text();
  (*log)->finished(request, "out", 200, 1);
  EXPECT_EQ(all_text(), before);
  EXPECT_EQ((*log)->wanted_output(), 0u);
  (*log)->enable(true);
  (*log)->set_level(RequestLogLevel::kFull);
  (*log)->finished(request, "the answer", 200, 1);
  EXPECT_THAT(all_text(), HasSubstr(R"("out":"the answer")"));
  const auto bad = RequestLog::open({.targets = {"/proc/nowhere"}});
  ASSERT_FALSE(bad.has_value());
  EXPECT_THAT(bad.error().message, HasSubstr("--log-requests-target /proc/nowhere"));
}

// While it lives no file of this process can grow, as on a full disk.
class FullDisk {
 public:
  FullDisk() {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

TEST_F(Telemetry, LogsGoOnWhenADiskHasRoomAgain) {
  const auto log = RequestLog::open({.enabled = true, .targets = {(folder_ / "log").string()}});
  const auto journal = RequestJournal::open({.folder = folder_ / "dump"});
  ASSERT_TRUE(log.has_value() && journal.has_value());
  http::Request request;
  const auto arrives = [&](const char* target) {
    request.target = target;
    (*log)->received(request);
    (*journal)->received(1, request);
  };
  {
    const FullDisk full;
    arrives("/lost");
  }
  arrives("/kept");
  std::map<std::string, std::string> texts;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    texts[entry.path().string()] = {std::istreambuf_iterator<char>(file), {}};
  }
  EXPECT_EQ(texts.size(), 2u);
  for (const auto& [path, text] : texts) EXPECT_THAT(text, HasSubstr("/kept")) << path;
}

TEST(MetricsText, FollowsTheEngineAndTheRequests) {
  Metrics metrics(
      {.model_name = "m", .extra_labels = {{"zone", "a"}}, .first_token_buckets = {0.5, 5}});
  EngineStats stats;
  stats.evictions.add(0.003);
  stats.evictions.add(1);
  stats.decode_passes = {.count = 3, .seconds = 0.25};
  metrics.finished(a_request());
  metrics.first_token(2);
  metrics.structured_request();
  metrics.grammar(Metrics::GrammarFate::kCompiled, 0.2);
  metrics.grammar(Metrics::GrammarFate::kFound, 0);
  metrics.grammar(Metrics::GrammarFate::kTimedOut, 10);
  metrics.grammar(Metrics::GrammarFate::kRefused, 0);
  metrics.text(stats);
  const std::string text = metrics.text(stats);  // a second scrape counts nothing twice
  for (const char* line :
       {"sglang:eviction_duration_seconds_count{model_name=\"m\",zone=\"a\"} 2\n",
        "sglang:eviction_duration_seconds_bucket{model_name=\"m\",zone=\"a\",le=\"0.005\"} 1\n",
        "sglang:time_to_first_token_seconds_bucket{model_name=\"m\",zone=\"a\",le=\"5\"} 1\n",
        "sglang:num_grammar_total", "category=\"decode\"", "} 0.25\n",
        "stage=\"prefill_forward\""}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace fathom
