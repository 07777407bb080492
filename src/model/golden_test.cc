// The model against the golden checkpoints (tests/golden): prompt logprobs, greedy continuations
// and the residual stream, on every target this host runs; and the promise that a row's bits depend
// on nothing but the row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/loader.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

const char* const kCases[] = {"v3-bf16", "v2-lite-bf16", "v2-group-bf16", "v3-fp8-block"};
const char* const kSequences[] = {"len1", "len7", "len64", "len130"};
constexpr int64_t kSlots = 512;

std::string folder_of(const std::string& name) {
  return std::string(FATHOM_TEST_DATA) + "/golden/models/" + name;
}

Json expected_of(const std::string& name) {
  std::ifstream file(folder_of(name) + "/expected.json");
  return Json::parse(file);
}

// A model with its surroundings, run by hand.
class Rig {
 public:
  Rig(const std::string& name, const std::string& target, KvFormat kv_format, int threads = 2)
      : exec_(Exec::create({.threads = threads, .cores = {}})) {
    files_ = FileSet::folder(folder_of(name)).value();
    config = read_model_config(*files_, "").value();
    compute_ = Compute::create(*exec_, target).value();
    model = load_model(config, *files_, {.max_positions = 512}, *compute_).value();
    kv_ = KvPool::allocate(config, kv_format, kSlots).value();
    arena_ = std::make_unique<Arena>(
        Buffer::allocate(static_cast<size_t>(model->scratch_bytes(512))).value());
  }

  struct Part {
    std::vector<int32_t> tokens;
    int32_t first_position = 0;
    int32_t first_slot = 0;  // slots of a sequence are consecutive here, backwards to be odd
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
    std::vector<float> logits(rows.size() * static_cast<size_t>(config.vocab_size));
    model->forward({tokens, positions, slots, sequences, rows}, kv_, *compute_, *arena_,
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
  std::unique_ptr<Exec> exec_;
  std::shared_ptr<const FileSet> files_;
  std::unique_ptr<Compute> compute_;
  KvPool kv_;
  std::unique_ptr<Arena> arena_;
};

double logprob(const std::vector<float>& logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(l - max);
  return logits[static_cast<size_t>(token)] - max - std::log(sum);
}

int32_t argmax(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

struct Setup {
  std::string name;
  std::string target;
  KvFormat kv;
};

class GoldenModel : public testing::TestWithParam<Setup> {};

std::vector<Setup> setups() {
  std::vector<Setup> all;
  for (const char* name : kCases) {
    for (const std::string& target : runnable_targets()) {
      all.push_back({name, target, KvFormat::kBF16});
      all.push_back({name, target, KvFormat::kF32});
    }
  }
  return all;
}

// FP32 tolerances hold where nothing is rounded to BF16 on the way.
bool is_fp32(const Setup& setup) {
  return setup.kv == KvFormat::kF32 && setup.name != "v3-fp8-block" &&
         setup.target != "avx512_bf16" && !setup.target.starts_with("amx");
}

TEST_P(GoldenModel, PromptLogprobs) {
  Rig rig(GetParam().name, GetParam().target, GetParam().kv);
  const Json expected = expected_of(GetParam().name);
  const Json& mode = expected["modes"]["weights"];
  std::vector<double> differences;
  for (const char* sequence : kSequences) {
    const auto ids = expected["sequences"][sequence]["input_ids"].get<std::vector<int32_t>>();
    const auto logits = rig.run({{ids, 0, 0}});
    const Json& want = mode["sequences"][sequence]["input_token_logprobs"];
    for (size_t i = 1; i < ids.size(); ++i) {
      differences.push_back(std::abs(logprob(logits[i - 1], ids[i]) - want[i].get<double>()));
    }
  }
  std::sort(differences.begin(), differences.end());
  double mean = 0;
  for (const double d : differences) mean += d / static_cast<double>(differences.size());
  const double p99 = differences[differences.size() * 99 / 100];
  const Json& bound = mode["tolerances"][is_fp32(GetParam()) ? "fp32" : "bf16"];
  SCOPED_TRACE(bound.dump());
  EXPECT_LE(mean, bound["mean"].get<double>());
  EXPECT_LE(p99, bound["p99"].get<double>());
  EXPECT_LE(differences.back(), bound["max"].get<double>());
}

TEST_P(GoldenModel, GreedyContinuation) {
  Rig rig(GetParam().name, GetParam().target, GetParam().kv);
  const Json expected = expected_of(GetParam().name);
  for (const char* sequence : kSequences) {
    const auto ids = expected["sequences"][sequence]["input_ids"].get<std::vector<int32_t>>();
    const Json& greedy = expected["modes"]["weights"]["sequences"][sequence]["greedy"];
    const auto want = greedy["ids"].get<std::vector<int32_t>>();
    std::vector<float> last = rig.run({{ids, 0, 0}}).back();
    for (int32_t step = 0; step < greedy["stable_steps"].get<int32_t>(); ++step) {
      const int32_t token = argmax(last);
      ASSERT_EQ(token, want[static_cast<size_t>(step)]) << sequence << " step " << step;
      last = rig.run({{{token}, static_cast<int32_t>(ids.size()) + step, 0}}).back();
    }
  }
}

// Chunking, batch composition and thread count must not change a bit.
TEST_P(GoldenModel, BitsDependOnTheRowAlone) {
  const Json expected = expected_of(GetParam().name);
  const auto ids = expected["sequences"]["len130"]["input_ids"].get<std::vector<int32_t>>();
  const auto other = expected["sequences"]["len64"]["input_ids"].get<std::vector<int32_t>>();
  Rig rig(GetParam().name, GetParam().target, GetParam().kv, 1);
  const auto whole = rig.run({{ids, 0, 0}});
  const auto other_alone = rig.run({{other, 0, 256}});

  for (const int threads : {1, 3}) {
    Rig again(GetParam().name, GetParam().target, GetParam().kv, threads);
    for (const size_t cut : {size_t{1}, size_t{7}, size_t{64}, size_t{129}}) {
      const std::vector<int32_t> head(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(cut));
      const std::vector<int32_t> tail(ids.begin() + static_cast<ptrdiff_t>(cut), ids.end());
      auto chunked = again.run({{head, 0, 0}});
      // The second chunk shares its step with another sequence.
      const auto rest = again.run({{tail, static_cast<int32_t>(cut), 0}, {other, 0, 256}});
      chunked.insert(chunked.end(), rest.begin(),
                     rest.begin() + static_cast<ptrdiff_t>(tail.size()));
      EXPECT_EQ(chunked, whole) << "cut " << cut << ", threads " << threads;
      EXPECT_TRUE(std::equal(other_alone.begin(), other_alone.end(),
                             rest.begin() + static_cast<ptrdiff_t>(tail.size())))
          << "neighbour, cut " << cut << ", threads " << threads;
    }
  }
}

TEST_P(GoldenModel, ResidualStream) {
  if (GetParam().name == "v3-fp8-block") GTEST_SKIP() << "the file has it for plain weights only";
  Rig rig(GetParam().name, GetParam().target, GetParam().kv);
  const auto files = FileSet::folder(folder_of(GetParam().name)).value();
  const FileBytes file = files->open("expected.safetensors").value();
  const auto tensors = read_safetensors(file.bytes, file.path).value();
  const StoredTensor& want = tensors.at("weights/len7/layer_inputs");
  const Vector values = to_floats(want, "layer_inputs").value();
  const double tolerance = is_fp32(GetParam()) ? 1e-4 : 0.05;

  int32_t compared = 0;
  rig.model->set_tap(
      [&](std::string_view name, int32_t layer, const float* x, int32_t rows, int32_t n) {
        if (name != "layer_input") return;
        const float* expected = values.data() + int64_t{layer} * rows * n;
        float scale = 0;
        for (int64_t i = 0; i < int64_t{rows} * n; ++i)
          scale = std::max(scale, std::abs(expected[i]));
        for (int64_t i = 0; i < int64_t{rows} * n; ++i) {
          ASSERT_NEAR(x[i], expected[i], tolerance * scale)
              << "first difference at layer " << layer << ", row " << i / n << ", column " << i % n;
        }
        ++compared;
      });
  const Json expected = expected_of(GetParam().name);
  rig.run({{expected["sequences"]["len7"]["input_ids"].get<std::vector<int32_t>>(), 0, 0}});
  EXPECT_EQ(compared, rig.config.layers + 1);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(setups()), [](const auto& info) {
  std::string name = info.param.name + "_" + info.param.target +
                     (info.param.kv == KvFormat::kF32 ? "_kv_f32" : "_kv_bf16");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace fathom
