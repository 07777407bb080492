// A tokenizer for tests: token i below 256 is the byte i, then <bos> and <eos>.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fathom::api {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256, kEos = 257;

  ByteTokenizer() {
    for (int i = 0; i < 256; ++i)
      bytes_[static_cast<size_t>(i)] = std::string(1, static_cast<char>(i));
    bytes_[kBos] = "<bos>";
    bytes_[kEos] = "<eos>";
  }
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    std::vector<int32_t> ids;
    if (add_special) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string_view token_bytes(int32_t id) const override {
    return has(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
  }
  bool is_special(int32_t id) const override { return id == kBos || id == kEos; }
  int32_t size() const override { return 258; }
  bool has(int32_t id) const override { return id >= 0 && id < size(); }
  std::optional<int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::optional<int32_t> bos() const override { return kBos; }
  std::optional<int32_t> eos() const override { return kEos; }
  bool adds_bos() const override { return true; }
  std::string_view chat_template() const override { return ""; }
  std::string_view config_json() const override { return "{}"; }

 private:
  std::array<std::string, 258> bytes_;
};

// The tokens of `text`, one per byte.
inline std::vector<int32_t> byte_ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

}  // namespace fathom::api
