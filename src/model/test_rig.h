// A model with its surroundings, run by hand. Test support.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/loader.h"

namespace fathom {

inline std::string golden_folder(const std::string& name) {
  return std::string(FATHOM_TEST_DATA) + "/golden/models/" + name;
}

// Targets to run whole models on. ThreadSanitizer watches scalar kernels only
// (kernels/CMakeLists.txt), which takes half an hour here: kernels_test and test_golden.py do it.
inline std::vector<std::string> model_targets() {
  std::vector<std::string> targets = runnable_targets();
#ifdef __SANITIZE_THREAD__
  if (targets.size() > 1) targets.erase(targets.begin());
#endif
  return targets;
}

class Rig {
 public:
  struct Options {
    std::string target = "auto";
    KvFormat kv = KvFormat::kF32;
    int threads = 2;
    LoadOptions load = {.max_positions = 512};
  };
  Rig(std::shared_ptr<const FileSet> files, const Options& options,
      const std::string& override = "")
      : exec_(Exec::create({.threads = options.threads, .cores = {}})), files_(std::move(files)) {
    config = read_model_config(*files_, override).value();
    compute_ = Compute::create(*exec_, options.target).value();
    Result<std::unique_ptr<Model>> loaded = load_model(config, *files_, options.load, *compute_);
    EXPECT_TRUE(loaded) << loaded.error().message;
    model = std::move(loaded).value();
    EXPECT_EQ(model->weight_bytes(), summarize_weights(config, *files_, options.load).value().bytes);
    kv_ = KvPool::allocate(config, options.kv, kSlots).value();
  }
  Rig(const std::string& golden, const Options& options)
      : Rig(FileSet::folder(golden_folder(golden)).value(), options) {}

  // A sequence's new rows. Its pool rows start at first_slot, in an order that is not that of its
  // positions.
  struct Part {
    std::vector<int32_t> tokens;
    int32_t first_position = 0;
    int32_t first_slot = 0;
  };
  // Logits of all rows: [rows][vocab].
  std::vector<std::vector<float>> run(const std::vector<Part>& parts) {
    std::vector<int32_t> tokens, positions, slots, rows;
    std::vector<std::vector<int32_t>> tables;
    std::vector<SequenceRows> sequences;
    for (const Part& part : parts) {
      const int32_t count = static_cast<int32_t>(part.tokens.size());
      std::vector<int32_t>& table = tables.emplace_back();
      for (int32_t p = 0; p < part.first_position + count; ++p) {
        table.push_back(part.first_slot + (p ^ 1));
      }
      sequences.push_back(
          {static_cast<int32_t>(tokens.size()), count, part.first_position, nullptr});
      for (int32_t i = 0; i < count; ++i) {
        rows.push_back(static_cast<int32_t>(tokens.size()));
        tokens.push_back(part.tokens[static_cast<size_t>(i)]);
        positions.push_back(part.first_position + i);
        slots.push_back(table[static_cast<size_t>(part.first_position + i)]);
      }
    }
    for (size_t i = 0; i < sequences.size(); ++i) sequences[i].slots = tables[i].data();
    // As small as promised: the arena CHECKs when a step takes more.
    const int64_t scratch = scratch_bytes(config, static_cast<int32_t>(tokens.size()));
    Arena arena(Buffer::allocate(static_cast<size_t>(scratch)).value());
    std::vector<float> logits(rows.size() * static_cast<size_t>(config.vocab_size));
    model->forward({tokens, positions, slots, sequences, rows}, kv_, *compute_, arena,
                   logits.data());
    std::vector<std::vector<float>> result;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto first = logits.begin() + static_cast<ptrdiff_t>(i) * config.vocab_size;
      result.emplace_back(first, first + config.vocab_size);
    }
    return result;
  }

  ModelConfig config;
  std::unique_ptr<Model> model;

 private:
  static constexpr int64_t kSlots = 2048;

  std::unique_ptr<Exec> exec_;
  std::shared_ptr<const FileSet> files_;
  std::unique_ptr<Compute> compute_;
  KvPool kv_;
};

inline double logprob(const std::vector<float>& logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(l - max);
  return logits[static_cast<size_t>(token)] - max - std::log(sum);
}

inline int32_t argmax(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

constexpr const char* kGoldenSequences[] = {"len1", "len7", "len64", "len130"};

inline Json golden_expected(const std::string& name) {
  std::ifstream file(golden_folder(name) + "/expected.json");
  return Json::parse(file);
}

inline std::vector<int32_t> golden_ids(const Json& expected, const char* sequence) {
  return expected["sequences"][sequence]["input_ids"].get<std::vector<int32_t>>();
}

// Log probabilities of all prompts within the golden file's tolerances: "fp32" or "bf16".
inline void expect_prompt_logprobs(Rig& rig, const Json& expected, const char* tolerance) {
  const Json& mode = expected["modes"]["weights"];
  std::vector<double> differences;
  for (const char* sequence : kGoldenSequences) {
    const std::vector<int32_t> ids = golden_ids(expected, sequence);
    const auto logits = rig.run({{ids, 0, 0}});
    const Json& want = mode["sequences"][sequence]["input_token_logprobs"];
    for (size_t i = 1; i < ids.size(); ++i) {
      differences.push_back(std::abs(logprob(logits[i - 1], ids[i]) - want[i].get<double>()));
    }
  }
  std::sort(differences.begin(), differences.end());
  double mean = 0;
  for (const double d : differences) mean += d / static_cast<double>(differences.size());
  const Json& bound = mode["tolerances"][tolerance];
  EXPECT_LE(mean, bound["mean"].get<double>());
  EXPECT_LE(differences[differences.size() * 99 / 100], bound["p99"].get<double>());
  EXPECT_LE(differences.back(), bound["max"].get<double>());
}

}  // namespace fathom
