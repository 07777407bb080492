// A Hugging Face tokenizer (tokenizer.json + tokenizer_config.json) through the Rust `tokenizers`
// crate. Immutable after load, any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_set.h"
#include "base/result.h"

struct ft_tokenizer;

namespace fathom {

class Tokenizer {
 public:
  // Reads tokenizer.json and, where present, tokenizer_config.json. Errors name the file and entry.
  static Result<std::shared_ptr<const Tokenizer>> load(const FileSet& files);
  virtual ~Tokenizer() = default;

  // add_special: BOS in front when tokenizer_config says add_bos_token (EOS likewise).
  // Added tokens written in the text become their ids.
  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const = 0;
  // Bytes of one token as it stands in running text; "" for ids the tokenizer lacks.
  virtual std::string_view token_bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;  // dropped by skip_special_tokens
  // Whole text, invalid UTF-8 as U+FFFD per maximal invalid part.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  virtual int32_t size() const = 0;  // largest id + 1
  virtual bool has(int32_t id) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;
  virtual bool adds_bos() const = 0;
  virtual std::string_view chat_template() const = 0;  // Jinja source, "" when the files have none
  virtual std::string_view config_json() const = 0;    // tokenizer_config.json, "{}" when absent
  // For src/grammar; null where there is no such handle.
  virtual const ft_tokenizer* native() const { return nullptr; }
};

}  // namespace fathom
