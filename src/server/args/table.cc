// The table of launch_server's flags (spec: server-args). Order is the order of --help.
#include "server/args/server_args.h"

namespace fathom {
namespace {

using enum OptionType;
constexpr auto kWorks = Option::Status::kWorks;
constexpr auto kNone = Option::Status::kNoEffect;
constexpr auto kRefused = Option::Status::kRefused;

constexpr std::string_view kModel = "Model and tokenizer";
constexpr std::string_view kHttp = "HTTP and API";
constexpr std::string_view kMemory = "Memory and scheduling";
constexpr std::string_view kCpu = "CPU";
constexpr std::string_view kParallel = "Parallelism and multi-node";
constexpr std::string_view kKernels = "Kernels, graphs, attention";
constexpr std::string_view kOther = "Speculation, LoRA, disaggregation and more";

constexpr std::string_view kOneDevice = "this build serves on one CPU host with one rank";
constexpr std::string_view kCudaOnly = "it concerns CUDA graphs and GPU kernels";
constexpr std::string_view kGpuChoice = "there is one kernel set, chosen from the CPU's features";
constexpr std::string_view kOneAttention = "there is one MLA implementation";
constexpr std::string_view kText = "the model reads text only";
constexpr std::string_view kNotYet = "not supported by this build";
constexpr std::string_view kMoe = "experts are computed by one kernel set on one rank";
constexpr std::string_view kHostCache = "the KV cache already lies in host memory";

const std::vector<std::string_view> kAttentionBackends = {
    "auto", "fa3", "fa4", "flashinfer", "triton", "torch_native", "flashmla", "cutlass_mla",
    "trtllm_mla", "trtllm_mha", "aiter", "wave", "intel_amx", "intel_xpu", "ascend",
    "flex_attention", "dual_chunk_flash_attn"};

std::vector<Option> make_table() {
  return {
      // ---- Model and tokenizer
      {"model-path", kString, "", kModel, "checkpoint folder or hub id; without it the embedded demo model is served", {"model"}},
      {"tokenizer-path", kString, "", kModel, "tokenizer folder or hub id, if not the model's"},
      {"tokenizer-mode", kString, "auto", kModel, "tokenizer implementation", {}, {"auto", "slow"}, kNone, "there is one tokenizer"},
      {"skip-tokenizer-init", kFlag, "", kModel, "token ids in and out only"},
      {"load-format", kString, "auto", kModel, "auto, safetensors and gguf read the checkpoint; dummy makes random weights", {},
       {"auto", "safetensors", "layered", "gguf", "dummy"}},
      {"trust-remote-code", kFlag, "", kModel, "accepted; no Python is ever run", {"trust-remote"}, {}, kNone, "no remote code is ever run"},
      {"dtype", kString, "auto", kModel, "activation type", {}, {"auto", "half", "float16", "bfloat16", "float", "float32"}, kNone,
       "activations are FP32 between operations"},
      {"kv-cache-dtype", kString, "auto", kModel, "element type of the KV cache; auto is bf16", {}, {"auto", "bf16", "bfloat16", "fp8_e5m2", "fp8_e4m3"}},
      {"quantization", kString, "", kModel,
       "weight format, normally detected: fp8, w8a8_fp8, w8a8_int8, blockwise_int8 (these also quantise plain weights on load), "
       "awq, awq_marlin, gptq, gptq_marlin, moe_wna16, modelopt, modelopt_fp4, modelopt_fp8, compressed-tensors"},
      {"quantization-param-path", kString, "", kModel, "KV scales", {}, {}, kNone, "scales of the KV cache come from the checkpoint"},
      {"context-length", kHuman, "", kModel, "longest sequence; default: the model's"},
      {"device", kString, "cpu", kModel, "where to compute", {}, {"cpu"}},
      {"served-model-name", kString, "", kModel, "name in the API; default: --model-path"},
      {"chat-template", kString, "", kModel, "Jinja file or a built-in name"},
      {"is-embedding", kFlag, "", kModel, "serve /v1/embeddings and /encode: the last token's final hidden state, of length 1"},
      {"revision", kString, "main", kModel, "branch, tag or commit of a hub id"},
      {"json-model-override-args", kString, "", kModel, "JSON merged into config.json"},
      {"delete-ckpt-after-loading", kFlag, "", kModel, "delete the checkpoint", {}, {}, kRefused,
       "--delete-ckpt-after-loading cannot be combined with memory-mapped weights"},
      {"disable-fast-image-processor", kFlag, "", kModel, "image processing", {}, {}, kNone, kText},
      {"download-dir", kString, "", kModel, "Hugging Face cache folder that is searched first and downloaded to"},
      {"preferred-sampling-params", kString, "", kModel, "JSON of default sampling parameters"},
      {"sampling-defaults", kString, "model", kModel, "whose sampling defaults chat uses", {}, {"model", "openai"}},
      {"weight-version", kString, "default", kModel, "reported in answers"},
      {"weight-loader-disable-mmap", kFlag, "", kModel, "read instead of mapping", {}, {}, kRefused, kNotYet},
      {"weight-loader-prefetch-checkpoints", kFlag, "", kModel, "read ahead", {}, {}, kNone, "the kernel reads ahead of mapped files"},
      {"weight-loader-prefetch-num-threads", kInt, "4", kModel, "read-ahead threads", {}, {}, kNone, "the kernel reads ahead of mapped files"},
      {"weight-loader-drop-cache-after-load", kFlag, "", kModel, "drop the page cache", {}, {}, kNone, "weights are used in the page cache"},
      {"model-loader-extra-config", kString, "", kModel, "loader settings", {}, {}, kNone, "weights are mapped, not copied"},
      {"model-checksum", kString, "", kModel, "verify weights", {}, {}, kRefused, kNotYet},
      {"enable-fp32-lm-head", kFlag, "", kModel, "logits in FP32", {}, {}, kNone, "logits are always FP32"},

      // ---- HTTP and API
      {"host", kString, "127.0.0.1", kHttp, "address to listen on"},
      {"port", kInt, "30000", kHttp, "port to listen on; 0 picks one and prints it"},
      {"api-key", kString, "", kHttp, "key of normal routes"},
      {"admin-api-key", kString, "", kHttp, "key of admin routes"},
      {"file-storage-path", kString, "sglang_storage", kHttp, "file storage", {"file-storage-pth"}, {}, kNone, "no files are stored"},
      {"enable-cache-report", kFlag, "", kHttp, "cached tokens in usage"},
      {"log-level", kString, "info", kHttp, "debug, info, warning, error or critical", {}, {"debug", "info", "warning", "error", "critical"}},
      {"log-level-http", kString, "", kHttp, "level of the access log", {}, {"debug", "info", "warning", "error", "critical"}},
      {"log-requests", kFlag, "", kHttp, "log requests and answers"},
      {"log-requests-level", kInt, "2", kHttp, "0 metadata, 1 sampling parameters, 2 part of the text, 3 everything"},
      {"log-requests-format", kString, "text", kHttp, "form of request logs", {}, {"text", "json"}, kRefused, kNotYet, "text"},
      {"log-requests-target", kList, "", kHttp, "where request logs go", {}, {}, kRefused, kNotYet},
      {"show-time-cost", kFlag, "", kHttp, "time per phase", {}, {}, kNone, "loading times are always logged"},
      {"enable-metrics", kFlag, "", kHttp, "serve Prometheus metrics at /metrics"},
      {"enable-metrics-for-all-schedulers", kFlag, "", kHttp, "metrics of every rank", {}, {}, kNone, kOneDevice},
      {"decode-log-interval", kInt, "40", kHttp, "decode steps between log lines"},
      {"stream-interval", kInt, "1", kHttp, "tokens between stream events"},
      {"incremental-streaming-output", kFlag, "", kHttp, "/generate streams deltas instead of the whole text", {"stream-output"}},
      {"stream-response-default-include-usage", kFlag, "", kHttp, "usage in every OpenAI stream"},
      {"random-seed", kInt, "", kHttp, "seed of sampling and dummy weights"},
      {"watchdog-timeout", kFloat, "300", kHttp, "seconds without a step, while work waits, after which the process aborts"},
      {"soft-watchdog-timeout", kFloat, "", kHttp, "only dump", {}, {}, kRefused, kNotYet},
      {"allow-auto-truncate", kFlag, "", kHttp, "cut prompts that are too long"},
      {"crash-dump-folder", kString, "", kHttp, "requests before a crash", {}, {}, kRefused, kNotYet},
      {"skip-server-warmup", kFlag, "", kHttp, "no warm-up request"},
      {"warmups", kString, "", kHttp, "named warm-ups", {}, {}, kNone, "there is one warm-up request"},
      {"fastapi-root-path", kString, "", kHttp, "prefix stripped from request paths"},
      {"ssl-keyfile", kString, "", kHttp, "TLS key", {}, {}, kRefused, "TLS is not built in; terminate TLS in a proxy"},
      {"ssl-certfile", kString, "", kHttp, "TLS certificate", {}, {}, kRefused, "TLS is not built in; terminate TLS in a proxy"},
      {"ssl-ca-certs", kString, "", kHttp, "TLS authorities", {}, {}, kRefused, "TLS is not built in; terminate TLS in a proxy"},
      {"ssl-keyfile-password", kString, "", kHttp, "TLS key password", {}, {}, kRefused, "TLS is not built in; terminate TLS in a proxy"},
      {"tool-call-parser", kString, "", kHttp, "dialect of tool calls", {}, {}, kRefused, kNotYet},
      {"reasoning-parser", kString, "", kHttp, "dialect of reasoning", {}, {}, kRefused, kNotYet},
      {"default-chat-template-kwargs", kString, "", kHttp, "JSON given to every chat template"},
      {"enable-strict-thinking", kFlag, "", kHttp, "thinking rules", {}, {}, kRefused, kNotYet},
      {"strip-thinking-cache", kFlag, "", kHttp, "cache without thoughts", {}, {}, kRefused, kNotYet},
      {"trust-request-chat-template", kFlag, "", kHttp, "accept chat templates in requests", {}, {}, kRefused, kNotYet},
      {"hf-chat-template-name", kString, "", kHttp, "named template", {}, {}, kRefused, kNotYet},
      {"return-input-ids", kFlag, "", kHttp, "ids in answers", {}, {}, kNone, "ask per request with return_prompt_token_ids"},
      {"return-output-ids", kFlag, "", kHttp, "ids in answers", {}, {}, kNone, "output_ids are always returned by /generate"},
      {"timeout-keep-alive", kInt, "75", kHttp, "seconds an idle connection is kept"},
      {"graceful-exit-timeout", kInt, "300", kHttp, "seconds that running requests have to finish after SIGTERM"},
      {"max-request-body-bytes", kHuman, "64Mi", kHttp, "largest request body"},
      {"max-sequences-per-request", kInt, "4096", kHttp, "prompts times n in one request"},
      {"max-top-logprobs", kInt, "4096", kHttp, "largest top_logprobs_num of /generate"},
      {"bucket-time-to-first-token", kList, "", kHttp, "histogram buckets", {}, {}, kRefused, kNotYet},
      {"bucket-inter-token-latency", kList, "", kHttp, "histogram buckets", {}, {}, kRefused, kNotYet},
      {"bucket-e2e-request-latency", kList, "", kHttp, "histogram buckets", {}, {}, kRefused, kNotYet},
      {"uvicorn-access-log-exclude-prefixes", kList, "", kHttp, "paths without access log", {}, {}, kRefused, kNotYet},
      {"enable-request-time-stats-logging", kFlag, "", kHttp, "times per request", {}, {}, kRefused, kNotYet},
      {"export-metrics-to-file", kFlag, "", kHttp, "metrics in files", {}, {}, kRefused, kNotYet},
      {"export-metrics-to-file-dir", kString, "", kHttp, "metrics in files", {}, {}, kRefused, kNotYet},
      {"extra-metric-labels", kString, "", kHttp, "labels on metrics", {}, {}, kRefused, kNotYet},
      {"config", kString, "", kHttp, "options from a file", {}, {}, kRefused, "--config is not supported by this build; pass the options as flags"},
      {"tokenizer-worker-num", kInt, "1", kHttp, "tokenizer processes", {}, {}, kNone, "a thread pool tokenises"},
      {"detokenizer-worker-num", kInt, "1", kHttp, "detokenizer processes", {}, {}, kNone, "connections detokenise"},
      {"enable-dynamic-batch-tokenizer", kFlag, "", kHttp, "batch tokenising", {}, {}, kNone, "a thread pool tokenises"},
      {"enable-http2", kFlag, "", kHttp, "HTTP/2", {}, {}, kNone, "HTTP/1.1 is served"},
      {"grpc-port", kInt, "", kHttp, "gRPC", {}, {}, kNone, "there is no gRPC interface"},
      {"enable-trace", kFlag, "", kHttp, "OpenTelemetry", {}, {}, kNone, "traces are not exported by this build"},
      {"otlp-traces-endpoint", kString, "", kHttp, "OpenTelemetry", {}, {}, kNone, "traces are not exported by this build"},
      {"kv-events-config", kString, "", kHttp, "KV events", {}, {}, kNone, "KV events are not published"},
      {"gc-warning-threshold-secs", kFloat, "", kHttp, "garbage collection", {}, {}, kNone, "there is no garbage collector"},
      {"use-ray", kFlag, "", kHttp, "Ray", {}, {}, kNone, "there is one process"},

      // ---- Memory and scheduling
      {"mem-fraction-static", kFloat, "", kMemory, "share of memory for weights and KV pool (default 0.8)"},
      {"max-running-requests", kInt, "", kMemory, "most sequences in a step (default 256)"},
      {"max-queued-requests", kInt, "", kMemory, "most waiting requests; more get 503"},
      {"max-total-tokens", kHuman, "", kMemory, "cap of the KV pool", {"max-total-token"}},
      {"chunked-prefill-size", kInt, "", kMemory, "most prompt tokens in a step (default 4096); -1: whole prompts"},
      {"max-prefill-tokens", kHuman, "16384", kMemory, "most prompt tokens in a step without chunking"},
      {"schedule-policy", kString, "fcfs", kMemory, "order of the waiting queue", {}, {"lpm", "random", "fcfs", "dfs-weight", "lof"}},
      {"schedule-conservativeness", kFloat, "1.0", kMemory, "above 1: expect longer outputs"},
      {"enable-priority-scheduling", kFlag, "", kMemory, "order by the request's priority first"},
      {"schedule-low-priority-values-first", kFlag, "", kMemory, "smaller priority values first"},
      {"priority-scheduling-preemption-threshold", kInt, "10", kMemory, "preemption", {}, {}, kNone, "running requests are not preempted"},
      {"default-priority-value", kInt, "", kMemory, "priority of requests without one", {}, {}, kRefused, kNotYet},
      {"abort-on-priority-when-disabled", kFlag, "", kMemory, "refuse priorities", {}, {}, kRefused, kNotYet},
      {"disable-priority-preemption", kFlag, "", kMemory, "no preemption", {}, {}, kNone, "running requests are not preempted"},
      {"retraction-policy", kString, "length", kMemory, "whom to retract", {}, {"length", "priority"}, kRefused, kNotYet, "length"},
      {"page-size", kInt, "1", kMemory, "tokens per KV page; cached prefixes are multiples of it"},
      {"cpu-offload-gb", kInt, "0", kMemory, "weights in host memory", {}, {}, kNone, "weights already lie in host memory"},
      {"disable-radix-cache", kFlag, "", kMemory, "no prefix reuse"},
      {"radix-eviction-policy", kString, "lru", kMemory, "which prefix goes first", {}, {"lru", "lfu", "slru", "priority", "tlru"}, kRefused, kNotYet, "lru"},
      {"disable-chunked-prefix-cache", kFlag, "", kMemory, "prefill kernel", {}, {}, kNone, kOneAttention},
      {"enable-mixed-chunk", kFlag, "", kMemory, "decode rows ride with prompt chunks", {}, {}, kNone, "this is always so"},
      {"disable-overlap-schedule", kFlag, "", kMemory, "schedule and compute strictly in turn", {}, {}, kNone, "this is always so"},
      {"num-continuous-decode-steps", kInt, "1", kMemory, "steps between decisions", {}, {}, kNone, "a scheduling decision costs microseconds"},
      {"scheduler-recv-interval", kInt, "1", kMemory, "steps between looks at the inbox", {}, {}, kNone, "every step looks"},
      {"prefill-max-requests", kInt, "", kMemory, "most new requests in a step"},
      {"enable-hierarchical-cache", kFlag, "", kMemory, "KV in host memory", {}, {}, kNone, kHostCache},
      {"hicache-ratio", kFloat, "2.0", kMemory, "KV in host memory", {}, {}, kNone, kHostCache},
      {"hicache-size", kInt, "0", kMemory, "KV in host memory", {}, {}, kNone, kHostCache},
      {"hicache-write-policy", kString, "", kMemory, "KV in host memory", {}, {}, kNone, kHostCache},
      {"hicache-storage-backend", kString, "", kMemory, "KV on disk", {}, {}, kRefused, kNotYet},
      {"sleep-on-idle", kFlag, "", kMemory, "sleep when idle", {}, {}, kNone, "an idle server always sleeps"},

      // ---- CPU
      {"threads", kInt, "0", kCpu, "worker threads; 0: every core this process may use"},
      {"cpu-kernel-target", kString, "auto", kCpu, "instruction set: auto, scalar, avx2, avx512, avx512_vnni, avx512_bf16, amx_bf16"},
      {"cpu-activation-dtype", kString, "auto", kCpu, "what meets the weights in a product: auto takes BF16 or INT8 where weights and CPU gain by it", {}, {"auto", "float32"}},
      {"numa-node", kList, "", kCpu, "NUMA nodes", {}, {}, kRefused, "not supported by this build; use numactl"},
      {"dry-run", kFlag, "", kCpu, "print the resolved plan and memory, then exit"},

      // ---- Parallelism
      {"tensor-parallel-size", kInt, "1", kParallel, "ranks", {"tp-size", "tp"}, {}, kRefused, kOneDevice, "1"},
      {"data-parallel-size", kInt, "1", kParallel, "replicas", {"dp-size", "dp"}, {}, kRefused, kOneDevice, "1"},
      {"load-balance-method", kString, "round_robin", kParallel, "between replicas", {},
       {"auto", "round_robin", "shortest_queue", "total_requests", "total_tokens"}, kNone, kOneDevice},
      {"enable-dp-attention", kFlag, "", kParallel, "attention by data parallelism", {}, {}, kRefused, kOneDevice},
      {"attn-dp-size", kInt, "1", kParallel, "attention by data parallelism", {}, {}, kRefused, kOneDevice, "1"},
      {"expert-parallel-size", kInt, "1", kParallel, "expert ranks", {"ep-size", "ep"}, {}, kRefused, kOneDevice, "1"},
      {"enable-ep-moe", kFlag, "", kParallel, "expert parallelism", {}, {}, kNone, kOneDevice},
      {"enable-deepep-moe", kFlag, "", kParallel, "expert all-to-all", {}, {}, kNone, kOneDevice},
      {"moe-a2a-backend", kString, "none", kParallel, "expert all-to-all", {}, {"none", "deepep", "mooncake"}, kNone, kOneDevice},
      {"deepep-mode", kString, "auto", kParallel, "expert all-to-all", {}, {"auto", "normal", "low_latency"}, kNone, kOneDevice},
      {"nnodes", kInt, "1", kParallel, "nodes", {}, {}, kRefused, kOneDevice, "1"},
      {"node-rank", kInt, "0", kParallel, "this node", {}, {}, kRefused, kOneDevice, "0"},
      {"dist-init-addr", kString, "", kParallel, "address of node 0", {"nccl-init-addr"}, {}, kNone, kOneDevice},
      {"dist-timeout", kInt, "", kParallel, "time for collectives", {}, {}, kNone, kOneDevice},
      {"nccl-port", kInt, "", kParallel, "port of NCCL", {}, {}, kNone, kOneDevice},
      {"pipeline-parallel-size", kInt, "1", kParallel, "pipeline stages", {"pp-size", "pp"}, {}, kRefused, "pipeline parallelism is not supported", "1"},
      {"base-gpu-id", kInt, "0", kParallel, "first GPU", {}, {}, kNone, kOneDevice},
      {"gpu-id-step", kInt, "1", kParallel, "GPU step", {}, {}, kNone, kOneDevice},
      {"enable-p2p-check", kFlag, "", kParallel, "GPU peer access", {}, {}, kNone, kOneDevice},
      {"disable-custom-all-reduce", kFlag, "", kParallel, "GPU all-reduce", {}, {}, kNone, kOneDevice},
      {"enable-dp-lm-head", kFlag, "", kParallel, "head placement", {}, {}, kNone, kOneDevice},
      {"moe-dense-tp-size", kInt, "", kParallel, "dense MLP placement", {}, {}, kNone, kOneDevice},
      {"enable-eplb", kFlag, "", kParallel, "expert balance", {}, {}, kNone, kOneDevice},
      {"ep-num-redundant-experts", kInt, "0", kParallel, "expert balance", {}, {}, kNone, kOneDevice},
      {"init-expert-location", kString, "", kParallel, "expert balance", {}, {}, kNone, kOneDevice},

      // ---- Kernels
      {"attention-backend", kString, "auto", kKernels, "attention kernels", {}, kAttentionBackends, kNone, kOneAttention},
      {"prefill-attention-backend", kString, "", kKernels, "attention kernels", {}, kAttentionBackends, kNone, kOneAttention},
      {"decode-attention-backend", kString, "", kKernels, "attention kernels", {}, kAttentionBackends, kNone, kOneAttention},
      {"sampling-backend", kString, "", kKernels, "sampling kernels", {}, {"flashinfer", "pytorch"}, kNone, "there is one sampler"},
      {"grammar-backend", kString, "llguidance", kKernels, "structured output: llguidance does it under each name; none turns it off", {}, {"xgrammar", "outlines", "llguidance", "none"}},
      {"constrained-json-whitespace-pattern", kString, "", kKernels, "regular expression of what may stand between the parts of JSON; default: up to 20 blanks"},
      {"constrained-json-disable-any-whitespace", kFlag, "", kKernels, "JSON with \", \" and \": \" and no other blank"},
      {"disable-outlines-disk-cache", kFlag, "", kKernels, "structured output", {}, {}, kNone, "there is no such cache"},
      {"enable-flashinfer-mla", kFlag, "", kKernels, "deprecated; attention kernels", {}, {}, kNone, kOneAttention},
      {"flashinfer-mla-disable-ragged", kFlag, "", kKernels, "attention kernels", {}, {}, kNone, kOneAttention},
      {"disable-mla", kFlag, "", kKernels, "decompressed attention", {}, {}, kNone, kOneAttention},
      {"triton-attention-reduce-in-fp32", kFlag, "", kKernels, "attention kernels", {}, {}, kNone, kOneAttention},
      {"triton-attention-num-kv-splits", kInt, "8", kKernels, "attention kernels", {}, {}, kNone, kOneAttention},
      {"enable-flashinfer-cutlass-moe", kFlag, "", kKernels, "expert kernels", {}, {}, kNone, kMoe},
      {"enable-flashinfer-trtllm-moe", kFlag, "", kKernels, "expert kernels", {}, {}, kNone, kMoe},
      {"moe-runner-backend", kString, "auto", kKernels, "expert kernels", {}, {}, kNone, kMoe},
      {"fp8-gemm-backend", kString, "auto", kKernels, "FP8 kernels", {"fp8-gemm-runner-backend"}, {}, kNone, kGpuChoice},
      {"disable-shared-experts-fusion", kFlag, "", kKernels, "shared expert", {}, {}, kNone, kMoe},
      {"disable-cuda-graph", kFlag, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"disable-cuda-graph-padding", kFlag, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-max-bs", kInt, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-bs", kList, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-backend-decode", kString, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-backend-prefill", kString, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-max-bs-decode", kInt, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"cuda-graph-bs-decode", kList, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"enable-profile-cuda-graph", kFlag, "", kKernels, "CUDA graphs", {}, {}, kNone, kCudaOnly},
      {"enable-torch-compile", kFlag, "", kKernels, "compilation", {}, {}, kNone, "there is nothing to compile"},
      {"torch-compile-max-bs", kInt, "32", kKernels, "compilation", {}, {}, kNone, "there is nothing to compile"},
      {"torchao-config", kString, "", kKernels,
       "quantise plain weights on load: int8wo, int8dq, int4wo-<32|64|128|256>, fp8wo, fp8dq-per_tensor or fp8dq-per_row"},
      {"enable-nan-detection", kFlag, "", kKernels, "replace NaN logits instead of failing the request"},
      {"enable-deterministic-inference", kFlag, "", kKernels, "batch invariance", {}, {}, kNone, "inference is always batch-invariant here"},
      {"enable-two-batch-overlap", kFlag, "", kKernels, "overlap", {}, {}, kNone, kOneDevice},
      {"enable-single-batch-overlap", kFlag, "", kKernels, "overlap", {}, {}, kNone, kOneDevice},
      {"enable-nccl-nvls", kFlag, "", kKernels, "NCCL", {}, {}, kNone, kOneDevice},
      {"enable-symm-mem", kFlag, "", kKernels, "NCCL", {}, {}, kNone, kOneDevice},
      {"enable-mscclpp", kFlag, "", kKernels, "MSCCL++", {}, {}, kNone, kOneDevice},
      {"enable-flashinfer-allreduce-fusion", kFlag, "", kKernels, "all-reduce", {}, {}, kNone, kOneDevice},
      {"enable-memory-saver", kFlag, "", kKernels, "release memory on demand", {}, {}, kNone, "memory is not released while serving"},
      {"kt-weight-path", kString, "", kKernels, "hybrid experts", {}, {}, kNone, "all experts already run on the CPU"},
      {"kt-method", kString, "", kKernels, "hybrid experts", {}, {}, kNone, "all experts already run on the CPU"},
      {"kt-cpuinfer", kInt, "", kKernels, "hybrid experts", {}, {}, kNone, "all experts already run on the CPU"},
      {"kt-threadpool-count", kInt, "", kKernels, "hybrid experts", {}, {}, kNone, "all experts already run on the CPU"},
      {"kt-num-gpu-experts", kInt, "", kKernels, "hybrid experts", {}, {}, kNone, "all experts already run on the CPU"},

      // ---- Other
      {"speculative-algorithm", kString, "", kOther, "speculative decoding", {}, {}, kRefused, "speculative decoding is not supported by this build"},
      {"speculative-draft-model-path", kString, "", kOther, "draft model", {"speculative-draft"}, {}, kRefused, "speculative decoding is not supported by this build"},
      {"speculative-num-steps", kInt, "", kOther, "draft steps", {}, {}, kRefused, "speculative decoding is not supported by this build"},
      {"speculative-eagle-topk", kInt, "", kOther, "draft width", {}, {}, kRefused, "speculative decoding is not supported by this build"},
      {"speculative-num-draft-tokens", kInt, "", kOther, "draft tokens", {}, {}, kRefused, "speculative decoding is not supported by this build"},
      {"speculative-accept-threshold-single", kFloat, "1.0", kOther, "acceptance", {}, {}, kNone, "speculative decoding is not in use"},
      {"speculative-accept-threshold-acc", kFloat, "1.0", kOther, "acceptance", {}, {}, kNone, "speculative decoding is not in use"},
      {"speculative-token-map", kString, "", kOther, "draft vocabulary", {}, {}, kNone, "speculative decoding is not in use"},
      {"lora-paths", kList, "", kOther, "LoRA adapters", {}, {}, kRefused, "LoRA adapters are not supported"},
      {"enable-lora", kFlag, "", kOther, "LoRA adapters", {}, {}, kNone, "LoRA adapters are not supported"},
      {"max-loras-per-batch", kInt, "8", kOther, "LoRA adapters", {}, {}, kNone, "LoRA adapters are not supported"},
      {"lora-backend", kString, "triton", kOther, "LoRA adapters", {}, {}, kNone, "LoRA adapters are not supported"},
      {"max-lora-rank", kInt, "", kOther, "LoRA adapters", {}, {}, kNone, "LoRA adapters are not supported"},
      {"lora-target-modules", kList, "", kOther, "LoRA adapters", {}, {}, kNone, "LoRA adapters are not supported"},
      {"enable-double-sparsity", kFlag, "", kOther, "double sparsity", {}, {}, kRefused, "Double sparsity is not supported for MLA models."},
      {"ds-channel-config-path", kString, "", kOther, "double sparsity", {}, {}, kNone, "double sparsity is not in use"},
      {"ds-heavy-channel-num", kInt, "32", kOther, "double sparsity", {}, {}, kNone, "double sparsity is not in use"},
      {"ds-heavy-token-num", kInt, "256", kOther, "double sparsity", {}, {}, kNone, "double sparsity is not in use"},
      {"ds-heavy-channel-type", kString, "qk", kOther, "double sparsity", {}, {}, kNone, "double sparsity is not in use"},
      {"ds-sparse-decode-threshold", kInt, "4096", kOther, "double sparsity", {}, {}, kNone, "double sparsity is not in use"},
      {"disaggregation-mode", kString, "null", kOther, "prefill/decode disaggregation", {}, {"null", "prefill", "decode"}, kRefused,
       "prefill/decode disaggregation is not supported", "null"},
      {"enable-multimodal", kFlag, "", kOther, "images and sound", {}, {}, kNone, kText},
      {"limit-mm-data-per-request", kString, "", kOther, "images and sound", {}, {}, kNone, kText},
      {"enable-custom-logit-processor", kFlag, "", kOther, "Python logit processors", {}, {}, kRefused, "custom logit processors are not supported"},
      {"enable-return-hidden-states", kFlag, "", kOther, "hidden states in answers", {}, {}, kRefused, kNotYet},
      {"help", kFlag, "", kOther, "this text"},
      {"help-markdown", kFlag, "", kOther, "the table of docs/server-args.md"},
  };
}

}  // namespace

std::span<const Option> server_options() {
  static const std::vector<Option> table = make_table();
  return table;
}

}  // namespace fathom
