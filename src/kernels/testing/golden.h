// Reads tests/golden/ops/<name>.safetensors and its .json. For tests only: trusts the file.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"

namespace fathom {

class Golden {
 public:
  explicit Golden(const std::string& name) {
    const std::string base = std::string(FATHOM_TEST_DATA) + "/golden/ops/" + name;
    about = Json::parse(std::ifstream(base + ".json"));
    std::ifstream file(base + ".safetensors", std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), 8);
    header_ = Json::parse(bytes_.substr(8, length));
    data_ = 8 + length;
  }

  // Elements of a tensor, reinterpreted as T.
  template <class T = float>
  std::vector<T> get(const std::string& name) const {
    const size_t begin = header_.at(name)["data_offsets"][0].get<size_t>();
    const size_t end = header_.at(name)["data_offsets"][1].get<size_t>();
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + data_ + begin, end - begin);
    return values;
  }
  std::vector<int32_t> shape(const std::string& name) const { return header_.at(name)["shape"]; }
  std::string dtype(const std::string& name) const { return header_.at(name)["dtype"]; }
  // Names that begin with this.
  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const auto& [name, entry] : header_.items()) {
      if (name.starts_with(prefix)) found.push_back(name);
    }
    return found;
  }
  bool has(const std::string& name) const { return header_.contains(name); }

  Json about;

 private:
  std::string bytes_;
  Json header_;
  size_t data_ = 0;
};

// Golden FP32 results hold within 1e-5 of the tensor's largest value.
inline void expect_close(const std::vector<float>& got, const std::vector<float>& want,
                         float relative) {
  ASSERT_EQ(got.size(), want.size());
  float largest = 0;
  for (const float w : want) largest = std::max(largest, std::abs(w));
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], relative * largest) << "at " << i;
  }
}

}  // namespace fathom
