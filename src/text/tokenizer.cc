#include "text/tokenizer.h"

#include <cstring>

#include "base/json.h"
#include "text/rust_call.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr uint32_t kSpecial = 1;
constexpr uint32_t kKnown = 1u << 31;

// A token in tokenizer_config.json is a string or an object with "content"; "" when absent.
std::string token_text(const Json& config, const char* name) {
  if (!config.contains(name)) return "";
  const Json& value = config[name];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return "";
}

bool flag(const Json& config, const char* name, bool otherwise) {
  return config.contains(name) && config[name].is_boolean() ? config[name].get<bool>() : otherwise;
}

// The template is a string, or a list of {name, template} of which "default" is wanted.
std::string template_source(const Json& config) {
  if (!config.contains("chat_template")) return "";
  const Json& value = config["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return "";
  for (const Json& entry : value) {
    if (entry.is_object() && entry.value("name", Json()) == "default" &&
        entry.value("template", Json()).is_string()) {
      return entry["template"].get<std::string>();
    }
  }
  return "";
}

class RustTokenizer final : public Tokenizer {
 public:
  RustTokenizer(ft_tokenizer* handle, std::string config_text)
      : handle_(handle), config_text_(std::move(config_text)) {}
  ~RustTokenizer() override { rust<ft_tokenizer_free>(handle_); }

  // Fills the byte table and what tokenizer_config.json says.
  Status index(const Json& config) {
    RustBuffer records;
    if (rust<ft_tokenizer_tokens>(handle_, records.out()) != 0) return invalid("{}", rust_error());
    const std::span<const uint8_t> bytes = records.bytes();
    for (size_t at = 0; at < bytes.size();) {
      uint32_t head[3];  // id, flags, length
      std::memcpy(head, bytes.data() + at, sizeof head);
      at += sizeof head;
      if (head[0] >= tokens_.size()) tokens_.resize(head[0] + 1);
      tokens_[head[0]] = {static_cast<uint32_t>(bytes_.size()), head[2], head[1] | kKnown};
      bytes_.append(reinterpret_cast<const char*>(bytes.data()) + at, head[2]);
      at += head[2];
    }
    bos_ = id_of(token_text(config, "bos_token"));
    eos_ = id_of(token_text(config, "eos_token"));
    const bool llama = config.value("tokenizer_class", Json("")) == "LlamaTokenizerFast" ||
                       config.value("tokenizer_class", Json("")) == "LlamaTokenizer";
    adds_bos_ = bos_ && flag(config, "add_bos_token", llama);
    adds_eos_ = eos_ && flag(config, "add_eos_token", false);
    chat_template_ = template_source(config);
    return {};
  }
  void set_chat_template(std::string source) { chat_template_ = std::move(source); }

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    RustBuffer out;
    if (rust<ft_tokenizer_encode>(handle_, text.data(), text.size(), out.out()) != 0) {
      return invalid("{}", rust_error());
    }
    const size_t count = out.bytes().size() / sizeof(uint32_t);
    std::vector<int32_t> ids;
    ids.reserve(count + 2);
    if (add_special && adds_bos_) ids.push_back(*bos_);
    const size_t first = ids.size();
    ids.resize(first + count);
    if (count > 0) std::memcpy(ids.data() + first, out.bytes().data(), count * sizeof(uint32_t));
    if (add_special && adds_eos_) ids.push_back(*eos_);
    return ids;
  }

  std::string_view token_bytes(int32_t id) const override {
    if (!has(id)) return {};
    const Entry& entry = tokens_[static_cast<size_t>(id)];
    return std::string_view(bytes_).substr(entry.offset, entry.length);
  }
  bool is_special(int32_t id) const override {
    return has(id) && (tokens_[static_cast<size_t>(id)].flags & kSpecial);
  }
  int32_t size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool has(int32_t id) const override {
    return id >= 0 && id < size() && (tokens_[static_cast<size_t>(id)].flags & kKnown);
  }
  std::optional<int32_t> id_of(std::string_view token) const override {
    if (token.empty()) return std::nullopt;
    for (int32_t id = 0; id < size(); ++id) {
      if (has(id) && token_bytes(id) == token) return id;
    }
    return std::nullopt;
  }
  std::optional<int32_t> bos() const override { return bos_; }
  std::optional<int32_t> eos() const override { return eos_; }
  bool adds_bos() const override { return adds_bos_; }
  std::string_view chat_template() const override { return chat_template_; }
  std::string_view config_json() const override { return config_text_; }
  const ft_tokenizer* native() const override { return handle_; }

 private:
  struct Entry {
    uint32_t offset = 0;
    uint32_t length = 0;
    uint32_t flags = 0;
  };
  ft_tokenizer* handle_;
  std::string config_text_;
  std::string bytes_;  // of all tokens, one behind the other
  std::vector<Entry> tokens_;
  std::optional<int32_t> bos_, eos_;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
  std::string chat_template_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const FileSet& files) {
  const FileBytes json = TRY(files.open("tokenizer.json"));
  std::string config_text = "{}";
  if (files.has("tokenizer_config.json")) {
    config_text = std::string(TRY(files.open("tokenizer_config.json")).text());
  }
  const Json config =
      TRY(parse_json_object(config_text, files.location() + "/tokenizer_config.json"));
  ft_tokenizer* handle = rust<ft_tokenizer_load>(json.text().data(), json.text().size(),
                                                 config_text.data(), config_text.size());
  if (!handle) return invalid("{}: {}", files.location(), rust_error());
  auto tokenizer = std::make_shared<RustTokenizer>(handle, config_text);
  TRY(tokenizer->index(config));
  if (files.has("chat_template.jinja")) {
    tokenizer->set_chat_template(std::string(TRY(files.open("chat_template.jinja")).text()));
  }
  return tokenizer;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special || !is_special(id)) bytes += token_bytes(id);
  }
  return replace_invalid_utf8(bytes);
}

}  // namespace fathom
