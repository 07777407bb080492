// Visitors that fill weights with random numbers (--load-format dummy), in any format.
#pragma once

#include <string>

#include "device/exec.h"
#include "weights/quant_config.h"
#include "weights/quantize.h"

namespace fathom {

// Deterministic: uniform codes, scaled by 1 / sqrt(in) so that activations stay of order one; norms
// are 1, biases 0. Layers that the config excludes from quantisation are BF16.
class DummyLoader {
 public:
  // target: of linear layers; head: of the output head.
  DummyLoader(const QuantTarget& target, const QuantTarget& head, const QuantConfig& config,
              uint64_t seed, Exec& exec)
      : target_(target), head_(head), config_(config), seed_(seed), exec_(exec) {}

  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    linear(prefix, out, in, matrix);
  }
  void table(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void router(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix);
  void head(const std::string& prefix, int32_t out, int32_t in, Matrix& matrix) {
    fill(prefix, head_, out, in, matrix);
  }
  void vector(const std::string& name, int32_t n, Vector& vector);
  void kv_scale(const std::string&, float& scale) { scale = 1; }

  const Status& status() const { return status_; }

 private:
  void fill(const std::string& prefix, const QuantTarget& target, int32_t out, int32_t in,
            Matrix& matrix);

  QuantTarget target_;
  QuantTarget head_;
  const QuantConfig& config_;
  uint64_t seed_;
  Exec& exec_;
  uint64_t next_ = 0;  // number of the weight, part of its random key
  Status status_;
};

// The bytes that they will take.
class DummyCounter {
 public:
  DummyCounter(const QuantTarget& target, const QuantTarget& head, const QuantConfig& config)
      : target_(target), head_(head), config_(config) {}
  void linear(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void source(const std::string& prefix, int32_t out, int32_t in, Matrix&);
  void table(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{2} * out * in;
  }
  void router(const std::string&, int32_t out, int32_t in, Matrix&) {
    bytes += int64_t{4} * out * in;
  }
  void head(const std::string&, int32_t out, int32_t in, Matrix&);
  void vector(const std::string&, int32_t n, Vector&) { bytes += int64_t{4} * n; }
  void kv_scale(const std::string&, float&) {}

  int64_t bytes = 0;

 private:
  QuantTarget target_;
  QuantTarget head_;
  const QuantConfig& config_;
};

}  // namespace fathom
