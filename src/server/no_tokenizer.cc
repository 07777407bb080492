#include "server/no_tokenizer.h"

#include <limits>

#include "api/settings.h"

namespace fathom {
namespace {

class NoTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> encode(std::string_view, bool) const override {
    return invalid("{}", api::kNoText);
  }
  std::string_view token_bytes(int32_t) const override { return {}; }
  bool is_special(int32_t) const override { return false; }
  int32_t size() const override { return std::numeric_limits<int32_t>::max(); }
  bool has(int32_t) const override { return true; }
  std::optional<int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::optional<int32_t> bos() const override { return std::nullopt; }
  std::optional<int32_t> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return false; }
  std::string_view chat_template() const override { return {}; }
  std::string_view config_json() const override { return "{}"; }
};

}  // namespace

std::shared_ptr<const Tokenizer> no_tokenizer() {
  return std::make_shared<const NoTokenizer>();
}

}  // namespace fathom
