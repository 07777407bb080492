// Visitors that fill weights from a checkpoint, and that count what they will take. What a visitor
// is asked for: see model/deepseek/weights.h. Random weights: dummy.h.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "device/exec.h"
#include "weights/formats/format.h"
#include "weights/quant_method.h"

namespace fathom {

// A log line now and then while linear layers are repacked or quantised, and one at the end.
class PackingProgress {
 public:
  explicit PackingProgress(int64_t layers) : layers_(layers) {}
  void done(const char* what, int64_t bytes);
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  int64_t layers_;
  int64_t done_ = 0;
  int64_t bytes_ = 0;
  const char* what_ = "";
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

// Loads each visited weight in place where the file allows it, repacks or quantises it where not,
// and collects every problem, so that a wrong checkpoint is described once and completely.
class CheckpointLoader {
 public:
  CheckpointLoader(const Checkpoint& checkpoint, const QuantConfig& config, const QuantPlan& plan,
                   const FormatSurvey& survey, Exec& exec);

  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void head(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void vector(const std::string& name, int32_t n, Vector& vector);
  // The factor of FP8 codes in the KV cache, from the checkpoint's k_scale and v_scale; else 1.
  void kv_scale(const std::string& prefix, float& scale);

  // All problems in one message; fine when there were none.
  Status status(const std::string& location) const;
  // Tensors of the checkpoint that no visit asked for.
  std::vector<std::string> unvisited() const;
  // Logs what was packed.
  void finish();

 private:
  void problem(std::string message);
  void missing(const std::string& prefix, int32_t out, int32_t in, const char* allowed);
  void load(const Format& format, const std::string& prefix, int32_t out, int32_t in,
            Matrix& matrix);
  void quantize_loaded(const std::string& prefix, const QuantTarget& target, Matrix& matrix);

  const Checkpoint& checkpoint_;
  const QuantConfig& config_;
  const QuantPlan& plan_;
  Exec& exec_;
  PackingProgress progress_;
  int64_t unpacked_layers_ = 0;
  int64_t unpacked_bytes_ = 0;
  std::set<std::string, std::less<>> visited_;
  std::vector<std::string> problems_;
  int64_t problem_count_ = 0;
};

// Bytes of an unpacked matrix: what a `source` weight of this format becomes.
int64_t unpacked_bytes(WeightFormat source, int32_t out, int32_t in);

// Bytes that visited weights will take, from the checkpoint's headers. Wrong or missing tensors
// count nothing; loading reports them.
class StoredCounter {
 public:
  StoredCounter(const Checkpoint& checkpoint, const QuantConfig& config, const QuantPlan& plan)
      : checkpoint_(checkpoint), config_(config), plan_(plan) {}
  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void router(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{4} * out * in;
  }
  void head(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void vector(const std::string&, int32_t n, Vector&) { bytes += int64_t{4} * n; }
  void kv_scale(const std::string&, float&) {}

  int64_t bytes = 0;

 private:
  const Checkpoint& checkpoint_;
  const QuantConfig& config_;
  const QuantPlan& plan_;
};

}  // namespace fathom
