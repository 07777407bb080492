// The model against the golden checkpoints (tests/golden): prompt logprobs, greedy continuations,
// hidden states and the residual stream, on every target this host runs; and the promise that a
// row's bits depend on nothing but the row.
#include <gtest/gtest.h>

#include "model/test_rig.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

const char* const kCases[] = {"v3-bf16",      "v2-lite-bf16",    "v2-group-bf16",
                              "v3-fp8-block", "v3-int8-channel", "v3-int8-block",
                              "v3-awq",       "v3-gptq",         "v3-nvfp4"};

struct Setup {
  std::string name;
  std::string target;
  KvFormat kv;
};

class GoldenModel : public testing::TestWithParam<Setup> {
 protected:
  static Rig make_rig(int threads = 2) {
    return Rig(GetParam().name,
               {.target = GetParam().target, .kv = GetParam().kv, .threads = threads});
  }
  // FP32 tolerances hold where nothing is rounded on the way: matmuls of quantised weights may round
  // their inputs, and a quantised kv_b_proj is unpacked to BF16.
  static bool is_fp32() {
    return GetParam().kv == KvFormat::kF32 && GetParam().name.ends_with("bf16") &&
           GetParam().target != "avx512_bf16" && !GetParam().target.starts_with("amx");
  }

  const Json expected = golden_expected(GetParam().name);
};

TEST_P(GoldenModel, PromptLogprobs) {
  Rig rig = make_rig();
  expect_prompt_logprobs(rig, expected, is_fp32() ? "fp32" : "bf16");
}

TEST_P(GoldenModel, GreedyContinuation) {
  Rig rig = make_rig();
  for (const char* sequence : kGoldenSequences) {
    const std::vector<int32_t> ids = golden_ids(expected, sequence);
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
  const std::vector<int32_t> ids = golden_ids(expected, "len130");
  const std::vector<int32_t> other = golden_ids(expected, "len64");
  Rig rig = make_rig(1);
  const auto whole = rig.run({{ids, 0, 0}});
  const auto other_alone = rig.run({{other, 0, 256}});

  const auto expect_same = [&](Rig& again, size_t cut) {
    const auto middle = ids.begin() + static_cast<ptrdiff_t>(cut);
    const std::vector<int32_t> head(ids.begin(), middle);
    const std::vector<int32_t> tail(middle, ids.end());
    auto chunked = again.run({{head, 0, 0}});
    // The second chunk shares its step with another sequence.
    const auto rest = again.run({{tail, static_cast<int32_t>(cut), 0}, {other, 0, 256}});
    const auto neighbour = rest.begin() + static_cast<ptrdiff_t>(tail.size());
    chunked.insert(chunked.end(), rest.begin(), neighbour);
    EXPECT_EQ(chunked, whole) << "cut " << cut;
    EXPECT_TRUE(std::equal(other_alone.begin(), other_alone.end(), neighbour)) << "cut " << cut;
  };
  expect_same(rig, 1);
  expect_same(rig, 64);
  Rig three = make_rig(3);
  expect_same(three, 7);
  expect_same(three, 129);
}

// Steps that are longer than a block of rows (model.cc): sequences that end and begin in the middle
// of one.
TEST(LongSteps, BlocksOfRowsCannotBeTold) {
  std::vector<std::vector<int32_t>> prompts(3);
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (size_t i = 0; i < 500; ++i) prompts[p].push_back(static_cast<int32_t>(7 + (i * 37 + p * 11) % 50));
  }
  Rig rig("v3-bf16", {.target = "auto", .kv = KvFormat::kBF16});
  const auto together = rig.run({{prompts[0], 0, 0}, {prompts[1], 0, 512}, {prompts[2], 0, 1024}});
  std::vector<std::vector<float>> alone;
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (auto& row : rig.run({{prompts[p], 0, 512}})) alone.push_back(std::move(row));
  }
  EXPECT_EQ(together, alone);
}

// Compares tapped values with golden ones; says where the first difference is.
void expect_near(const float* found, const float* want, int64_t rows, int64_t n, double tolerance,
                 const std::string& what) {
  float scale = 0;
  for (int64_t i = 0; i < rows * n; ++i) scale = std::max(scale, std::abs(want[i]));
  for (int64_t i = 0; i < rows * n; ++i) {
    ASSERT_NEAR(found[i], want[i], tolerance * scale)
        << what << ": first difference at row " << i / n << ", column " << i % n;
  }
}

TEST_P(GoldenModel, ResidualStreamAndHidden) {
  Rig rig = make_rig();
  const auto files = FileSet::folder(golden_folder(GetParam().name)).value();
  const FileBytes file = files->open("expected.safetensors").value();
  const auto tensors = read_safetensors(file.bytes, file.path).value();
  const double tolerance = is_fp32() ? 1e-4 : 0.05;
  for (const std::string sequence : {"len1", "len7"}) {
    const std::string prefix = "weights/" + sequence + "/";
    const Vector stream = to_floats(tensors.at(prefix + "layer_inputs"), "layer_inputs").value();
    const Vector hidden = to_floats(tensors.at(prefix + "hidden"), "hidden").value();
    int32_t compared = 0;
    rig.model->set_tap(
        [&](std::string_view name, int32_t layer, const float* x, int32_t rows, int32_t n) {
          if (testing::Test::HasFailure()) return;  // the first difference says most
          if (name == "layer_input") {
            expect_near(x, stream.data() + int64_t{layer} * rows * n, rows, n, tolerance,
                        "input of layer " + std::to_string(layer));
          } else if (name == "hidden") {
            expect_near(x, hidden.data(), rows, n, tolerance, "hidden");
          } else {
            return;
          }
          ++compared;
        });
    rig.run({{golden_ids(expected, sequence.c_str()), 0, 0}});
    EXPECT_EQ(compared, rig.config.layers + 2) << sequence;
  }
}

std::vector<Setup> setups() {
  std::vector<Setup> all;
  for (const char* name : kCases) {
    for (const std::string& target : model_targets()) {
      all.push_back({name, target, KvFormat::kBF16});
      all.push_back({name, target, KvFormat::kF32});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(setups()), [](const auto& info) {
  std::string name = info.param.name + "_" + info.param.target +
                     (info.param.kv == KvFormat::kF32 ? "_kv_f32" : "_kv_bf16");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace fathom
