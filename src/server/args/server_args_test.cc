// Every flag of the specification is known, and says truly what it does.
#include "server/args/server_args.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/json.h"
#include "server/args/config_file.h"

namespace fathom {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Words = std::vector<std::string>;

// Every flag and alias that the specification names.
constexpr const char* kSpecified[] = {"model-path",
                                      "model",
                                      "tokenizer-path",
                                      "tokenizer-mode",
                                      "skip-tokenizer-init",
                                      "load-format",
                                      "trust-remote-code",
                                      "trust-remote",
                                      "dtype",
                                      "kv-cache-dtype",
                                      "quantization",
                                      "quantization-param-path",
                                      "context-length",
                                      "device",
                                      "served-model-name",
                                      "chat-template",
                                      "is-embedding",
                                      "revision",
                                      "json-model-override-args",
                                      "delete-ckpt-after-loading",
                                      "disable-fast-image-processor",
                                      "download-dir",
                                      "preferred-sampling-params",
                                      "host",
                                      "port",
                                      "api-key",
                                      "admin-api-key",
                                      "file-storage-path",
                                      "file-storage-pth",
                                      "enable-cache-report",
                                      "log-level",
                                      "log-level-http",
                                      "log-requests",
                                      "log-requests-level",
                                      "log-requests-format",
                                      "log-requests-target",
                                      "show-time-cost",
                                      "enable-metrics",
                                      "decode-log-interval",
                                      "stream-interval",
                                      "stream-output",
                                      "incremental-streaming-output",
                                      "random-seed",
                                      "watchdog-timeout",
                                      "allow-auto-truncate",
                                      "crash-dump-folder",
                                      "skip-server-warmup",
                                      "warmups",
                                      "fastapi-root-path",
                                      "ssl-keyfile",
                                      "ssl-certfile",
                                      "ssl-ca-certs",
                                      "ssl-keyfile-password",
                                      "tensor-parallel-size",
                                      "tp-size",
                                      "tp",
                                      "data-parallel-size",
                                      "dp-size",
                                      "dp",
                                      "load-balance-method",
                                      "enable-dp-attention",
                                      "attn-dp-size",
                                      "expert-parallel-size",
                                      "ep-size",
                                      "ep",
                                      "enable-ep-moe",
                                      "enable-deepep-moe",
                                      "moe-a2a-backend",
                                      "deepep-mode",
                                      "nnodes",
                                      "node-rank",
                                      "dist-init-addr",
                                      "nccl-init-addr",
                                      "dist-timeout",
                                      "nccl-port",
                                      "pipeline-parallel-size",
                                      "pp-size",
                                      "pp",
                                      "base-gpu-id",
                                      "gpu-id-step",
                                      "enable-p2p-check",
                                      "disable-custom-all-reduce",
                                      "enable-flashinfer-cutlass-moe",
                                      "enable-flashinfer-trtllm-moe",
                                      "moe-runner-backend",
                                      "fp8-gemm-backend",
                                      "fp8-gemm-runner-backend",
                                      "enable-dp-lm-head",
                                      "moe-dense-tp-size",
                                      "disable-shared-experts-fusion",
                                      "enable-eplb",
                                      "ep-num-redundant-experts",
                                      "init-expert-location",
                                      "eplb-algorithm",
                                      "eplb-rebalance-num-iterations",
                                      "numa-node",
                                      "mem-fraction-static",
                                      "max-running-requests",
                                      "max-queued-requests",
                                      "max-total-tokens",
                                      "max-total-token",
                                      "chunked-prefill-size",
                                      "max-prefill-tokens",
                                      "schedule-policy",
                                      "schedule-conservativeness",
                                      "enable-priority-scheduling",
                                      "schedule-low-priority-values-first",
                                      "priority-scheduling-preemption-threshold",
                                      "default-priority-value",
                                      "abort-on-priority-when-disabled",
                                      "disable-priority-preemption",
                                      "retraction-policy",
                                      "page-size",
                                      "cpu-offload-gb",
                                      "disable-radix-cache",
                                      "radix-eviction-policy",
                                      "tlru-threshold",
                                      "tlru-next-prompt-estimate",
                                      "disable-chunked-prefix-cache",
                                      "enable-mixed-chunk",
                                      "disable-overlap-schedule",
                                      "num-continuous-decode-steps",
                                      "scheduler-recv-interval",
                                      "prefill-max-requests",
                                      "enable-hierarchical-cache",
                                      "hicache-ratio",
                                      "hicache-size",
                                      "hicache-write-policy",
                                      "hicache-storage-backend",
                                      "attention-backend",
                                      "prefill-attention-backend",
                                      "decode-attention-backend",
                                      "sampling-backend",
                                      "grammar-backend",
                                      "constrained-json-whitespace-pattern",
                                      "constrained-json-disable-any-whitespace",
                                      "disable-outlines-disk-cache",
                                      "enable-flashinfer-mla",
                                      "flashinfer-mla-disable-ragged",
                                      "disable-mla",
                                      "triton-attention-reduce-in-fp32",
                                      "triton-attention-num-kv-splits",
                                      "disable-cuda-graph",
                                      "disable-cuda-graph-padding",
                                      "cuda-graph-max-bs",
                                      "cuda-graph-bs",
                                      "enable-profile-cuda-graph",
                                      "cuda-graph-backend-decode",
                                      "cuda-graph-backend-prefill",
                                      "cuda-graph-max-bs-decode",
                                      "cuda-graph-bs-decode",
                                      "enable-torch-compile",
                                      "torch-compile-max-bs",
                                      "torchao-config",
                                      "enable-nan-detection",
                                      "enable-deterministic-inference",
                                      "enable-two-batch-overlap",
                                      "enable-single-batch-overlap",
                                      "enable-nccl-nvls",
                                      "enable-symm-mem",
                                      "enable-mscclpp",
                                      "enable-flashinfer-allreduce-fusion",
                                      "enable-memory-saver",
                                      "kt-weight-path",
                                      "kt-method",
                                      "kt-cpuinfer",
                                      "kt-threadpool-count",
                                      "kt-num-gpu-experts",
                                      "lora-paths",
                                      "max-loras-per-batch",
                                      "lora-backend",
                                      "enable-lora",
                                      "max-lora-rank",
                                      "lora-target-modules",
                                      "speculative-algorithm",
                                      "speculative-draft-model-path",
                                      "speculative-draft",
                                      "speculative-num-steps",
                                      "speculative-eagle-topk",
                                      "speculative-num-draft-tokens",
                                      "speculative-accept-threshold-single",
                                      "speculative-accept-threshold-acc",
                                      "speculative-token-map",
                                      "enable-double-sparsity",
                                      "ds-channel-config-path",
                                      "ds-heavy-channel-num",
                                      "ds-heavy-token-num",
                                      "ds-heavy-channel-type",
                                      "ds-sparse-decode-threshold",
                                      "disaggregation-mode",
                                      "disaggregation-transfer-backend",
                                      "disaggregation-bootstrap-port",
                                      "disaggregation-ib-device",
                                      "enable-multimodal",
                                      "mm-attention-backend",
                                      "limit-mm-data-per-request",
                                      "enable-custom-logit-processor",
                                      "enable-return-hidden-states",
                                      "tool-call-parser",
                                      "reasoning-parser",
                                      "default-chat-template-kwargs",
                                      "sampling-defaults",
                                      "enable-strict-thinking",
                                      "strip-thinking-cache",
                                      "stream-response-default-include-usage",
                                      "weight-version",
                                      "return-input-ids",
                                      "return-output-ids",
                                      "trust-request-chat-template",
                                      "hf-chat-template-name",
                                      "sleep-on-idle",
                                      "soft-watchdog-timeout",
                                      "bucket-time-to-first-token",
                                      "bucket-inter-token-latency",
                                      "bucket-e2e-request-latency",
                                      "enable-metrics-for-all-schedulers",
                                      "uvicorn-access-log-exclude-prefixes",
                                      "enable-request-time-stats-logging",
                                      "export-metrics-to-file",
                                      "export-metrics-to-file-dir",
                                      "extra-metric-labels",
                                      "weight-loader-disable-mmap",
                                      "weight-loader-prefetch-checkpoints",
                                      "weight-loader-prefetch-num-threads",
                                      "weight-loader-drop-cache-after-load",
                                      "model-checksum",
                                      "model-loader-extra-config",
                                      "enable-fp32-lm-head",
                                      "tokenizer-worker-num",
                                      "detokenizer-worker-num",
                                      "enable-http2",
                                      "grpc-port",
                                      "enable-dynamic-batch-tokenizer",
                                      "enable-trace",
                                      "otlp-traces-endpoint",
                                      "kv-events-config",
                                      "gc-warning-threshold-secs",
                                      "gc-threshold",
                                      "use-ray",
                                      "config"};

// A valid value, as words, for any row.
Words some_value(const Option& option) {
  if (option.type == OptionType::kFlag) return {};
  if (!option.choices.empty()) {
    for (const auto choice : option.choices) {
      if (choice != option.neutral) return {std::string(choice)};
    }
  }
  if (option.type == OptionType::kString) return {"x"};
  return {option.neutral == "7" ? "8" : "7"};
}

Words words_for(const Option& option) {
  Words words = {"--" + std::string(option.name)};
  for (std::string& value : some_value(option)) words.push_back(std::move(value));
  return words;
}

Result<ServerArgs> parse(Words words, const Environment& environment = {}) {
  return parse_server_args(words, environment);
}

TEST(ServerArgs, EveryFlagOfTheSpecificationIsKnown) {
  std::set<std::string_view> known;
  for (const Option& option : server_options()) {
    EXPECT_TRUE(known.insert(option.name).second) << option.name << " twice";
    for (const auto alias : option.aliases)
      EXPECT_TRUE(known.insert(alias).second) << alias << " twice";
  }
  for (const char* name : kSpecified) EXPECT_TRUE(known.contains(name)) << "--" << name;
}

TEST(ServerArgs, EveryRowDoesWhatItsStatusSays) {
  for (const Option& option : server_options()) {
    SCOPED_TRACE(std::string(option.name));
    EXPECT_FALSE(option.help.empty());
    const Words words = words_for(option);
    const auto parsed = parse_options(server_options(), words);
    switch (option.status) {
      case Option::Status::kWorks:
        EXPECT_TRUE(parsed.has_value()) << parsed.error().message;
        EXPECT_TRUE(option.note.empty()) << "a flag that works needs no excuse";
        break;
      case Option::Status::kNoEffect:
        ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
        EXPECT_FALSE(option.note.empty()) << "why has it no effect?";
        EXPECT_EQ(parsed->without_effect().size(), 1u);
        break;
      case Option::Status::kRefused:
        ASSERT_FALSE(parsed.has_value());
        EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
        EXPECT_THAT(parsed.error().message, HasSubstr(std::string(option.note)));
        EXPECT_FALSE(option.note.empty());
        if (!option.neutral.empty()) {
          const Words neutral = {words[0], std::string(option.neutral)};
          EXPECT_TRUE(parse_options(server_options(), neutral).has_value());
        }
        break;
    }
  }
}

TEST(ServerArgs, EveryFlagIsShownUnderItsSnakeCaseName) {
  const auto args = parse({});
  ASSERT_TRUE(args.has_value()) << args.error().message;
  const std::string json = json_text(server_args_json(*args));
  for (const Option& option : server_options()) {
    if (option.name == "help" || option.name == "help-markdown" || option.name == "dry-run")
      continue;
    std::string name(option.name);
    std::replace(name.begin(), name.end(), '-', '_');
    EXPECT_THAT(json, HasSubstr("\"" + name + "\":"));
  }
}

TEST(ServerArgs, SecretsAreNotShown) {
  const auto args = parse({"--api-key", "hush1", "--admin-api-key", "hush2", "--ssl-certfile", "c",
                           "--ssl-keyfile", "k", "--ssl-keyfile-password", "hush3"});
  ASSERT_TRUE(args.has_value()) << args.error().message;
  EXPECT_EQ(server_args_line(*args).find("hush"), std::string::npos);
  EXPECT_EQ(json_text(server_args_json(*args)).find("hush"), std::string::npos);
}

TEST(ServerArgs, PrioritiesWithoutAValueAreTheLeastUrgent) {
  EXPECT_EQ(parse({})->default_priority, 0);
  EXPECT_EQ(parse({"--enable-priority-scheduling"})->default_priority, INT64_MIN);
  EXPECT_EQ(parse({"--enable-priority-scheduling"})->preemption_threshold, 10);
  EXPECT_EQ(parse({"--enable-priority-scheduling", "--schedule-low-priority-values-first"})
                ->default_priority,
            INT64_MAX);
  EXPECT_EQ(
      parse({"--enable-priority-scheduling", "--default-priority-value", "-3"})->default_priority,
      -3);
  EXPECT_FALSE(parse({"--enable-priority-scheduling", "--disable-priority-preemption"})
                   ->preemption_threshold.has_value());
}

TEST(ServerArgs, BucketsAndLabelsAreChecked) {
  EXPECT_THAT(parse({"--bucket-time-to-first-token", "0.1", "1", "10"})->bucket_time_to_first_token,
              ElementsAre(0.1, 1, 10));
  EXPECT_THAT(
      parse({"--bucket-inter-token-latency", "1", "0.5"}).error().message,
      AllOf(HasSubstr("--bucket-inter-token-latency"), HasSubstr("ascending"), HasSubstr("'0.5'")));
  EXPECT_EQ(parse({"--extra-metric-labels", R"({"zone":"a"})"})->extra_metric_labels.at("zone"),
            "a");
  EXPECT_THAT(parse({"--extra-metric-labels", R"({"a-b":"c"})"}).error().message,
              HasSubstr("'a-b'"));
  EXPECT_THAT(parse({"--extra-metric-labels", R"({"a":1})"}).error().message,
              HasSubstr("must be a string"));
  EXPECT_THAT(parse({"--export-metrics-to-file"}).error().message,
              HasSubstr("--export-metrics-to-file-dir"));
}

TEST(ServerArgs, WhatCannotBeServedIsSaidAtOnce) {
  const auto unsupported = [](Words words, const char* message) {
    const auto parsed = parse(std::move(words));
    ASSERT_FALSE(parsed.has_value());
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(parsed.error().message, HasSubstr(message));
  };
  unsupported({"--load-format", "pt"}, "--load-format pt is not supported; convert to safetensors");
  unsupported({"--device", "cuda"}, "No CUDA device found; use --device cpu");
  unsupported({"--device", "xpu"}, "--device xpu is not supported (choose cpu or cuda)");
  unsupported({"--delete-ckpt-after-loading"}, "cannot be combined with memory-mapped weights");
  EXPECT_TRUE(parse({"--delete-ckpt-after-loading", "--weight-loader-disable-mmap"})
                  ->delete_ckpt_after_loading);
}

TEST(ServerArgs, TlsNeedsBothFiles) {
  EXPECT_THAT(parse({"--ssl-certfile", "c"}).error().message, HasSubstr("needs both"));
  EXPECT_THAT(parse({"--ssl-keyfile", "k"}).error().message, HasSubstr("needs both"));
  EXPECT_THAT(parse({"--ssl-ca-certs", "a"}).error().message, HasSubstr("only with"));
}

TEST(ServerArgs, HumanIntegersAreExact) {
  const auto tokens = [](const char* text) { return parse({"--max-total-tokens", text}); };
  for (const auto& [text, number] :
       std::initializer_list<std::pair<const char*, int64_t>>{{"16.1k", 16'100},
                                                              {"25.6k", 25'600},
                                                              {"1.001k", 1'001},
                                                              {"0.0123M", 12'300},
                                                              {"4.10k", 4'100},
                                                              {"2Ki", 2'048},
                                                              {".5k", 500},
                                                              {"7k", 7'000},
                                                              {"12", 12}}) {
    const auto args = tokens(text);
    ASSERT_TRUE(args.has_value()) << text << ": " << args.error().message;
    EXPECT_EQ(args->max_total_tokens, number) << text;
  }
  for (const char* text : {"1.0001k", "1.5Ki", "1.k", "k", "1.2.3k", "1e3k", "1.5", "16.1K",
                           "99999999999999999999T", "9e18G"}) {
    EXPECT_THAT(tokens(text).error().message, HasSubstr("Invalid integer value")) << text;
  }
}

TEST(ServerArgs, APrefixMayFitSeveralNamesOfOneOption) {
  const auto args = parse({"--file-storage", "x"});  // -path, and -pth of old
  ASSERT_TRUE(args.has_value()) << args.error().message;
  EXPECT_EQ(args->values.text("file-storage-path"), "x");
  EXPECT_THAT(parse({"--log-request"}).error().message, HasSubstr("ambiguous option"));
}

// As of `--model "$MODEL"` with no such variable.
TEST(ServerArgs, AnEmptyModelPathIsAMistake) {
  EXPECT_THAT(parse({"--model", ""}).error().message, HasSubstr("--model-path: is empty"));
}

TEST(ServerArgs, CoresComeFromTheEnvironmentOrTheNode) {
  Environment environment;
  environment.cpu_threads_bind = "0-2,5|6-8";
  EXPECT_THAT(parse({}, environment)->cores, ElementsAre(0, 1, 2, 5));
  environment.cpu_threads_bind = "3-1";
  EXPECT_THAT(parse({}, environment).error().message, HasSubstr("SGLANG_CPU_OMP_THREADS_BIND"));
  EXPECT_THAT(parse({"--numa-node", "4711"}).error().message, HasSubstr("no NUMA node '4711'"));
  if (std::filesystem::exists("/sys/devices/system/node/node0/cpulist")) {
    EXPECT_FALSE(parse({"--numa-node", "0"})->cores.empty());
  }
}

class EnvironmentTest : public testing::Test {
 protected:
  void set(const char* name, const char* value) {
    setenv(name, value, 1);
    names_.push_back(name);
  }
  ~EnvironmentTest() override {
    for (const char* name : names_) unsetenv(name);
  }
  std::vector<const char*> names_;
};

TEST_F(EnvironmentTest, VariablesAreHonouredOrNamed) {
  set("SGLANG_REQ_WAITING_TIMEOUT", "2.5");
  set("SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION", "100");
  set("SGLANG_INIT_NEW_TOKEN_RATIO", "0.5");
  set("SGLANG_TORCH_PROFILER_DIR", "/somewhere");
  set("SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR", "/elsewhere");
  set("SGLANG_LOG_STYLE", "new");
  set("SGLANG_RETURN_ORIGINAL_LOGPROB", "1");
  set("SGL_ENABLE_JIT_DEEPGEMM", "1");
  const Environment e = Environment::read();
  EXPECT_EQ(e.waiting_timeout, 2.5);
  EXPECT_FALSE(e.running_timeout.has_value());
  EXPECT_EQ(e.estimate.clip_tokens, 100);
  EXPECT_EQ(e.estimate.initial_ratio, 0.5);
  EXPECT_EQ(e.profiler_dir, "/somewhere");
  EXPECT_EQ(e.expert_record_dir, "/elsewhere");
  EXPECT_TRUE(e.new_log_style);
  EXPECT_TRUE(e.original_logprobs);
  EXPECT_FALSE(e.force_shutdown);
  set("SGL_FORCE_SHUTDOWN", "0");
  EXPECT_FALSE(Environment::read().force_shutdown);
  set("SGL_FORCE_SHUTDOWN", "1");
  EXPECT_TRUE(Environment::read().force_shutdown);
  EXPECT_THAT(e.ignored, testing::Contains("SGL_ENABLE_JIT_DEEPGEMM"));
  EXPECT_EQ(e.error, "");
}

TEST_F(EnvironmentTest, NonsenseIsAnErrorThatNamesTheVariable) {
  set("SGLANG_RETRACT_DECODE_STEPS", "many");
  const auto parsed = parse({}, Environment::read());
  ASSERT_FALSE(parsed.has_value());
  EXPECT_THAT(parsed.error().message,
              AllOf(HasSubstr("SGLANG_RETRACT_DECODE_STEPS"), HasSubstr("'many'")));
}

class ConfigFile : public testing::Test {
 protected:
  ConfigFile()
      : path_(std::filesystem::temp_directory_path() /
              ("fathom-config-" + std::to_string(getpid()))) {}
  ~ConfigFile() override { std::filesystem::remove(path_); }
  Words with(const std::string& text, Words words = {}) {
    std::ofstream(path_) << text;
    words.insert(words.begin(), {"--config", path_.string()});
    return words;
  }
  std::filesystem::path path_;
};

TEST_F(ConfigFile, TheCommandLineWins) {
  const std::string yaml =
      "port: 1234\nhost: 0.0.0.0  # everyone\nenable_metrics: true\nlog-requests: false\n"
      "max-total-tokens: 25.6k\nchunked-prefill-size: -1\napi-key: -x\n"
      "bucket-time-to-first-token: [0.5, 1]\n";
  const auto args = parse(with(yaml, {"--port", "99"}));
  ASSERT_TRUE(args.has_value()) << args.error().message;
  EXPECT_EQ(args->port, 99);
  EXPECT_EQ(args->host, "0.0.0.0");
  EXPECT_TRUE(args->enable_metrics);
  EXPECT_FALSE(args->log_requests);
  EXPECT_EQ(args->max_total_tokens, 25600);
  EXPECT_EQ(args->chunked_prefill_size, -1);
  EXPECT_EQ(args->api_key, "-x");
  EXPECT_THAT(args->bucket_time_to_first_token, ElementsAre(0.5, 1));
}

TEST_F(ConfigFile, JsonIsYaml) {
  const auto args = parse(with(R"({"port": 1234, "log_requests": true})"));
  ASSERT_TRUE(args.has_value()) << args.error().message;
  EXPECT_EQ(args->port, 1234);
  EXPECT_TRUE(args->log_requests);
}

TEST_F(ConfigFile, ErrorsNameLineAndKey) {
  const auto error = [this](const std::string& text) { return parse(with(text)).error().message; };
  EXPECT_THAT(error("port: 1\n\nprot: 2\n"),
              AllOf(HasSubstr(":3: prot:"), HasSubstr("did you mean --port?")));
  EXPECT_THAT(error("port: yes\n"), AllOf(HasSubstr(":1: port:"), HasSubstr("invalid int value")));
  EXPECT_THAT(error("log-requests: perhaps\n"),
              AllOf(HasSubstr(":1: log-requests:"), HasSubstr("true or false")));
  EXPECT_THAT(error("host: [a, b]\n"), AllOf(HasSubstr(":1: host:"), HasSubstr("not a list")));
  EXPECT_THAT(error("host: {a: b}\n"), AllOf(HasSubstr(":1: host:"), HasSubstr("mapping")));
  EXPECT_THAT(error("# ok\ntp: 2\n"), AllOf(HasSubstr(":2: tp:"), HasSubstr("one rank")));
  EXPECT_THAT(error("config: other.yaml\n"), HasSubstr(":1: config:"));
  EXPECT_THAT(error("a: [1, 2\n"), HasSubstr(path_.string() + ":"));
  EXPECT_THAT(error("- a\n- b\n"), HasSubstr("must be a mapping"));
  EXPECT_THAT(error(std::string(100000, '[')), HasSubstr("--config"));
  EXPECT_THAT(parse({"--config", "/nowhere"}).error().message, HasSubstr("cannot be read"));
  EXPECT_EQ(parse(with("tp: 2\n")).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace fathom
