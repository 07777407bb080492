// Visitors that fill weights: from a checkpoint, or with random numbers (--load-format dummy).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "device/exec.h"
#include "weights/formats/format.h"

namespace fathom {

// What a visitor is asked for: see model/deepseek/weights.h.

// Loads each visited weight in place where the file allows it, and collects every problem, so that
// a wrong checkpoint is described once and completely.
class CheckpointLoader {
 public:
  CheckpointLoader(const Checkpoint& checkpoint, const QuantHints& hints)
      : checkpoint_(checkpoint), hints_(hints) {}

  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void vector(const std::string& name, int32_t n, Vector& vector);

  // All problems in one message; fine when there were none.
  Status status(const std::string& location) const;
  // Tensors of the checkpoint that no visit asked for.
  std::vector<std::string> unvisited() const;
  // Which formats linear layers had.
  const std::set<std::string_view>& formats_seen() const { return formats_seen_; }

 private:
  void problem(std::string message);
  void load(const Format& format, const std::string& prefix, int32_t out, int32_t in,
            Matrix& matrix);

  const Checkpoint& checkpoint_;
  QuantHints hints_;
  std::set<std::string, std::less<>> visited_;
  std::set<std::string_view> formats_seen_;
  std::vector<std::string> problems_;
  int64_t problem_count_ = 0;
};

// Deterministic random weights of a format: uniform, scaled by 1 / sqrt(in) so that activations
// stay of order one; norms are 1, biases small.
class DummyLoader {
 public:
  DummyLoader(const Format& format, const QuantHints& hints, uint64_t seed, Exec& exec)
      : format_(format), hints_(hints), seed_(seed), exec_(exec) {}

  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void vector(const std::string& name, int32_t n, Vector& vector);

  const Status& status() const { return status_; }

 private:
  void fill(WeightFormat format, int32_t out, int32_t in, Matrix& matrix);

  const Format& format_;
  QuantHints hints_;
  uint64_t seed_;
  Exec& exec_;
  uint64_t next_ = 0;  // number of the weight, part of its random key
  Status status_;
};

// Bytes of an unpacked matrix: what a `source` weight of this dtype becomes.
int64_t unpacked_bytes(WeightFormat source, int32_t out, int32_t in);

// Count the bytes that visited weights will take, without memory for them: random ones of a format
// ...
class DummyCounter {
 public:
  DummyCounter(const Format& format, const QuantHints& hints) : format_(format), hints_(hints) {}
  void linear(const std::string&, int32_t out, int32_t in, Matrix&);
  void source(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += unpacked_bytes(format_.matrix, out, in);
  }
  void table(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{2} * out * in;
  }
  void router(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{4} * out * in;
  }
  void vector(const std::string&, int32_t n, Vector&) { bytes += int64_t{4} * n; }

  int64_t bytes = 0;

 private:
  const Format& format_;
  QuantHints hints_;
};

// ... and those of a checkpoint, from its headers. Missing tensors count nothing; loading reports
// them.
class StoredCounter {
 public:
  explicit StoredCounter(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void router(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{4} * out * in;
  }
  void vector(const std::string&, int32_t n, Vector&) { bytes += int64_t{4} * n; }

  int64_t bytes = 0;

 private:
  const Checkpoint& checkpoint_;
};

}  // namespace fathom
