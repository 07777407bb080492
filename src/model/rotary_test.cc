// Rotary tables against golden ones (tests/golden/ops/rope): plain, YaRN of V3 and V2-Lite, unequal
// mscales, a tiny model.
#include "model/deepseek/rotary.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/json.h"
#include "weights/formats/format.h"

namespace fathom::deepseek {
namespace {

ModelConfig config_of(const Json& json) {
  ModelConfig c;
  c.qk_rope = json["dim"];
  c.qk_nope = json["nope"];
  c.rope_theta = json["theta"];
  const Json& yarn = json["scaling"];
  if (!yarn.is_null()) {
    c.yarn = YarnConfig{yarn["factor"],    yarn["original_max_position_embeddings"],
                        yarn["beta_fast"], yarn["beta_slow"],
                        yarn["mscale"],    yarn["mscale_all_dim"]};
  }
  return c;
}

TEST(Rotary, Golden) {
  const std::string folder = std::string(FATHOM_TEST_DATA) + "/golden/ops";
  std::ifstream text(folder + "/rope.json");
  const Json json = Json::parse(text);
  const FileBytes file = FileSet::folder(folder).value()->open("rope.safetensors").value();
  const auto tensors = read_safetensors(file.bytes, file.path).value();
  const auto positions = json["positions"].get<std::vector<int32_t>>();
  for (const auto& [name, item] : json["configs"].items()) {
    SCOPED_TRACE(name);
    const ModelConfig c = config_of(item);
    EXPECT_NEAR(c.softmax_scale(), item["softmax_scale"].get<double>(), 1e-8);
    const size_t pairs = static_cast<size_t>(c.qk_rope) / 2;
    const auto golden = [&](const char* what) {
      return to_floats(tensors.at(name + "/" + what), what).value();
    };
    const Vector frequencies = inverse_frequencies(c);
    const Vector want = golden("inv_freq");
    ASSERT_EQ(frequencies.size(), want.size());
    for (size_t i = 0; i < pairs; ++i) EXPECT_NEAR(frequencies[i] / want[i], 1, 2e-7);

    const RotaryTables tables = make_rotary_tables(c, positions.back() + 1).value();
    // The last bits of FP32 frequencies differ between libraries; times the position they show.
    const auto compare = [&](const float* table, const Vector& values, const char* what) {
      for (size_t p = 0; p < positions.size(); ++p) {
        const double tolerance = 1e-6 + 1.5e-7 * positions[p];
        for (size_t i = 0; i < pairs; ++i) {
          EXPECT_NEAR(table[static_cast<size_t>(positions[p]) * pairs + i], values[p * pairs + i],
                      tolerance)
              << what << " position " << positions[p] << " pair " << i;
        }
      }
    };
    compare(tables.cos.as<float>(), golden("cos_fp32_angles"), "cos");
    compare(tables.sin.as<float>(), golden("sin_fp32_angles"), "sin");
  }
}

}  // namespace
}  // namespace fathom::deepseek
