#include "bench/bench_one_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/json.h"
#include "base/log.h"
#include "bench/one_batch.h"
#include "server/args/config_file.h"

namespace fathom {
namespace {

constexpr std::string_view kGroup = "Benchmark";
const Option kOwnOptions[] = {
    {.name = "run-name", .fallback = "default", .group = kGroup, .help = "name in the result file"},
    {.name = "batch-size",
     .type = OptionType::kList,
     .group = kGroup,
     .help = "prompts side by side; several values: all combinations"},
    {.name = "input-len",
     .type = OptionType::kList,
     .group = kGroup,
     .help = "prompt tokens (1024)"},
    {.name = "output-len",
     .type = OptionType::kList,
     .group = kGroup,
     .help = "generated tokens (16)"},
    {.name = "repetitions",
     .type = OptionType::kInt,
     .fallback = "1",
     .group = kGroup,
     .help = "runs of every case; the medians are reported"},
    {.name = "result-filename",
     .fallback = "",
     .group = kGroup,
     .help = "append a JSON line per case to this file"},
    {.name = "correctness-test",
     .type = OptionType::kFlag,
     .group = kGroup,
     .help = "prompts in pieces against prompts in one: the same greedy tokens"},
    {.name = "cut-len",
     .type = OptionType::kInt,
     .fallback = "4",
     .group = kGroup,
     .help = "piece of --correctness-test"},
    {.name = "log-decode-step",
     .type = OptionType::kInt,
     .fallback = "0",
     .group = kGroup,
     .help = "print every N-th decode step"},
};

std::vector<Option> all_options() {
  std::vector<Option> all(std::begin(kOwnOptions), std::end(kOwnOptions));
  const auto server = server_options();
  all.insert(all.end(), server.begin(), server.end());
  return all;
}

Result<std::vector<int32_t>> lengths(const OptionValues& v, std::string_view name,
                                     int32_t fallback) {
  std::vector<int32_t> values;
  for (const std::string& word : v.list(name)) {
    const auto value = parse_human_integer(word);
    if (!value || *value < 1 || *value > (1 << 24)) {
      return invalid("argument --{}: '{}' is not a number from 1 to {}", name, word, 1 << 24);
    }
    values.push_back(static_cast<int32_t>(*value));
  }
  if (values.empty()) values.push_back(fallback);
  return values;
}

Result<std::vector<BatchShape>> shapes(const OptionValues& v) {
  std::vector<BatchShape> all;
  for (const int32_t batch : TRY(lengths(v, "batch-size", 1))) {
    for (const int32_t input : TRY(lengths(v, "input-len", 1024))) {
      for (const int32_t output : TRY(lengths(v, "output-len", 16))) {
        all.push_back({batch, input, output});
      }
    }
  }
  return all;
}

// The run whose decode is the median of all.
BatchTimes median_run(OneBatch& bench, const BatchShape& shape, int64_t repetitions) {
  std::vector<BatchTimes> runs;
  for (int64_t i = 0; i < repetitions; ++i) runs.push_back(bench.run(shape, 42));
  const auto middle = runs.begin() + static_cast<std::ptrdiff_t>(runs.size() / 2);
  std::nth_element(runs.begin(), middle, runs.end(), [](const BatchTimes& a, const BatchTimes& b) {
    return a.median_decode < b.median_decode;
  });
  BatchTimes result = *middle;
  std::nth_element(runs.begin(), middle, runs.end(),
                   [](const BatchTimes& a, const BatchTimes& b) { return a.prefill < b.prefill; });
  result.prefill = middle->prefill;
  result.prefill_throughput = middle->prefill_throughput;
  return result;
}

void print(const BatchShape& shape, const BatchTimes& t, int64_t every) {
  fmt::print("Prefill. latency: {:.5f} s, throughput: {:9.2f} token/s\n", t.prefill,
             t.prefill_throughput);
  for (size_t i = 0; i < t.decode.size(); ++i) {
    if (every > 0 ? i % static_cast<size_t>(every) != 0 : i >= 5) continue;
    fmt::print("Decode {}. Batch size: {}, latency: {:.5f} s, throughput: {:9.2f} token/s\n", i,
               shape.batch, t.decode[i], shape.batch / t.decode[i]);
  }
  if (!t.decode.empty()) {
    fmt::print("Decode.  median latency: {:.5f} s, median throughput: {:9.2f} token/s\n",
               t.median_decode, t.median_decode_throughput);
  }
  fmt::print("Total. latency: {:6.3f} s, throughput: {:9.2f} token/s\n", t.total,
             t.overall_throughput);
}

OrderedJson to_json(const std::string& run_name, const BatchShape& shape, const BatchTimes& t,
                    double weights_read) {
  OrderedJson json = {{"run_name", run_name},
                      {"batch_size", shape.batch},
                      {"input_len", shape.input_len},
                      {"output_len", shape.output_len},
                      {"prefill_latency", t.prefill},
                      {"prefill_throughput", t.prefill_throughput},
                      {"median_decode_latency", t.median_decode},
                      {"median_decode_throughput", t.median_decode_throughput},
                      {"total_latency", t.total},
                      {"overall_throughput", t.overall_throughput}};
  if (t.read_limit > 0) {
    json["weights_read_per_second"] = weights_read;
    json["machine_read_per_second"] = t.read_limit;
  }
  return json;
}

Status append_line(const std::string& path, const OrderedJson& json) {
  std::ofstream file(path, std::ios::app);
  file << json_text(json) << '\n';
  if (!file) return invalid("--result-filename {}: cannot be written", path);
  return {};
}

Status check_pieces(OneBatch& bench, const LoadedFiles& files, int64_t cut) {
  constexpr std::string_view kPrompts[] = {"The capital of France is",
                                           "The capital of the United Kingdom is",
                                           "Today is a sunny day and I like"};
  for (const std::string_view text : kPrompts) {
    const std::vector<int32_t> prompt = TRY(files.tokenizer->encode(text, true));
    const std::vector<int32_t> whole = bench.generate(prompt, 16, 0);
    const std::vector<int32_t> pieces = bench.generate(prompt, 16, static_cast<int32_t>(cut));
    fmt::print("{}{}\n", text, files.tokenizer->decode(whole, true));
    if (whole != pieces) {
      return fail(ErrorCode::kInternal,
                  "the prompt \"{}\" in pieces of {} tokens gives other tokens", text, cut);
    }
  }
  fmt::print("Prompts in one and in pieces of {} tokens give the same tokens.\n", cut);
  return {};
}

Status run(const OptionValues& v, const ServerArgs& args, LoadModel demo_model) {
  const std::vector<BatchShape> cases = TRY(shapes(v));
  const LoadedFiles files = TRY(load_files(args, demo_model));
  const Plan plan = TRY(resolve(engine_options(args, files)));
  int64_t tokens = 256;  // of --correctness-test
  int32_t rows = 256;
  for (const BatchShape& shape : cases) {
    if (shape.input_len + shape.output_len > plan.context_length) {
      return invalid("--input-len {} and --output-len {} exceed the context of {} tokens",
                     shape.input_len, shape.output_len, plan.context_length);
    }
    tokens = std::max(tokens, shape.tokens());
    rows = std::max(
        {rows, shape.batch,
         plan.chunk_rows > 0 ? std::min(shape.input_len, plan.chunk_rows) : shape.input_len});
  }
  const auto bench = TRY(OneBatch::create(plan, tokens, rows));
  if (v.flag("correctness-test")) return check_pieces(*bench, files, *v.integer("cut-len"));

  fmt::print("{} threads, {} kernels, {:.3f} GB of weights, {:.3f} GB read per token\n",
             bench->threads(), bench->target(),
             static_cast<double>(bench->model().weight_bytes()) / 1e9,
             static_cast<double>(bench->model().bytes_per_token()) / 1e9);
  bench->run({1, std::min(32, cases[0].input_len), 4}, 1);  // warm-up
  for (const BatchShape& shape : cases) {
    fmt::print("\nBenchmark: batch size {}, input {}, output {}\n", shape.batch, shape.input_len,
               shape.output_len);
    const BatchTimes times =
        median_run(*bench, shape, std::max<int64_t>(1, *v.integer("repetitions")));
    print(shape, times, *v.integer("log-decode-step"));
    // Batch 1 reads every active weight once.
    const double read = static_cast<double>(bench->model().bytes_per_token()) / times.median_decode;
    if (times.read_limit > 0) {
      fmt::print(
          "Decode reads {:.1f} GB/s of weights, {:.2f} of the {:.1f} GB/s at which a plain loop "
          "reads them.\n",
          read / 1e9, read / times.read_limit, times.read_limit / 1e9);
    }
    const std::string file = v.text("result-filename");
    if (!file.empty()) TRY(append_line(file, to_json(v.text("run-name"), shape, times, read)));
  }
  return {};
}

}  // namespace

int run_bench_one_batch(std::span<const std::string> words, LoadModel demo_model) {
  const std::vector<Option> table = all_options();
  if (std::find(words.begin(), words.end(), "--help") != words.end()) {
    fmt::print("{}", help_text("fathom bench_one_batch", table));
    return 0;
  }
  const auto failed = [](const Error& error) {
    fmt::print(stderr, "fathom bench_one_batch: error: {}\n", error.message);
    return error.code == ErrorCode::kUnsupported ? 1 : 2;
  };
  const Result<OptionValues> values = parse_options_and_config(table, words);
  if (!values) return failed(values.error());
  const Result<ServerArgs> args = read_server_args(*values, Environment::read());
  if (!args) return failed(args.error());
  log::init(args->log_level);
  const Status status = run(*values, *args, demo_model);
  return status ? 0 : failed(status.error());
}

}  // namespace fathom
