// The tokenizer of a GGUF file ("gpt2": byte-level BPE) as tokenizer.json.

#include "base/json.h"
#include "weights/gguf/model_files.h"

namespace fathom {
namespace {

using Strings = std::vector<std::string_view>;
using Integers = std::vector<int64_t>;

// Values of tokenizer.ggml.token_type.
constexpr int64_t kControl = 3;
constexpr int64_t kUserDefined = 4;
constexpr int64_t kUnused = 5;

// The regular expressions that cut text into words, by tokenizer.ggml.pre: those of the models'
// tokenizer.json files, applied one after the other.
struct PreTokenizer {
  std::string_view name;
  std::vector<std::string_view> splits;
};

const std::vector<PreTokenizer>& pre_tokenizers() {
  constexpr std::string_view kCjk = "[一-龥ࠀ-一가-퟿]+";
  // DeepSeek-LLM and V2 list the letters with upper and lower case of an older Unicode one by one:
  // the same as these classes without what was added or cased later.
  constexpr std::string_view kCased =
      R"(\s?[\p{Lu}\p{Ll}\p{Lt}&&[^\u10D0-\u10FF\u1C80-\u1C88\u2CF2\u2D00-\u2D2D\uA790-\uA7CA)"
      R"(\uA7D0-\uA7D9\uA7F5-\uA7FA\uAB30-\uAB68\x{10570}-\x{105BC}\x{16E40}-\x{16E7F})"
      R"(\x{1D400}-\x{1D7CB}\x{1DF00}-\x{1DF1E}]]+)";
  constexpr std::string_view kWords =
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
      R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  static const std::vector<PreTokenizer> rows = {
      {"deepseek-v3", {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kWords}},
      {"deepseek-llm",
       {"[\r\n]", kCased, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kCjk, R"(\p{N})"}},
      {"deepseek-coder", {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, R"(\p{N})"}},
      {"gpt-2", {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
  };
  return rows;
}

Result<Json> pre_tokenizer_json(std::string_view pre) {
  std::string known;
  for (const PreTokenizer& row : pre_tokenizers()) {
    known += (known.empty() ? "" : ", ") + std::string(row.name);
    if (row.name != pre) continue;
    Json steps = Json::array();
    for (const std::string_view split : row.splits) {
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", split}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", false}});
    return Json{{"type", "Sequence"}, {"pretokenizers", steps}};
  }
  return fail(ErrorCode::kUnsupported,
              "tokenizer.ggml.pre is '{}'; Fathom knows {}. Put the model's tokenizer.json beside "
              "the file and name the folder, or use --tokenizer-path",
              pre, known);
}

bool is_valid_utf8(std::string_view text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

// Vocabulary and added tokens.
Status add_tokens(const Strings& tokens, const Integers* types, Json& vocab, Json& added) {
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    const int64_t type = types ? (*types)[id] : 1;
    if (type == kUnused || token.empty()) continue;
    if (!is_valid_utf8(token)) {
      return invalid("tokenizer.ggml.tokens[{}] is not UTF-8; the file is damaged", id);
    }
    const auto [place, fresh] = vocab.emplace(std::string(token), id);
    if (!fresh) {
      return invalid("tokenizer.ggml.tokens[{}] is '{}', which token {} is already", id, token,
                     place->get<size_t>());
    }
    if (type == kControl || type == kUserDefined) {
      added.push_back({{"id", id},
                       {"content", token},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type == kControl}});
    }
  }
  return {};
}

Result<Json> merges_json(const Strings& merges, const Json& vocab) {
  Json list = Json::array();
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const size_t space = merge.find(' ', 1);
    const std::string left(merge.substr(0, space));
    const std::string right(space == merge.npos ? "" : merge.substr(space + 1));
    for (const std::string& part : {left, right, left + right}) {
      if (!vocab.contains(part)) {
        return invalid(
            "tokenizer.ggml.merges[{}] needs a token that is not in the vocabulary; the "
            "file is damaged",
            i);
      }
    }
    list.push_back({left, right});
  }
  return list;
}

std::string token_of(const GgufFile& model, const char* key) {
  const auto* id = model.find<int64_t>(key);
  const auto* tokens = model.find<Strings>("tokenizer.ggml.tokens");
  if (!id || !tokens || *id < 0 || static_cast<size_t>(*id) >= tokens->size()) return "";
  return std::string((*tokens)[static_cast<size_t>(*id)]);
}

}  // namespace

Result<std::string> tokenizer_json_of(const GgufFile& model) {
  if (const auto* whole = model.find<std::string_view>("tokenizer.huggingface.json")) {
    return std::string(*whole);
  }
  const auto* kind = model.find<std::string_view>("tokenizer.ggml.model");
  if (!kind || *kind != "gpt2") {
    return fail(ErrorCode::kUnsupported,
                "tokenizer.ggml.model is '{}', expected 'gpt2' (byte-level BPE)",
                kind ? *kind : "(absent)");
  }
  const auto* tokens = model.find<Strings>("tokenizer.ggml.tokens");
  const auto* merges = model.find<Strings>("tokenizer.ggml.merges");
  const auto* types = model.find<Integers>("tokenizer.ggml.token_type");
  if (!tokens || !merges) {
    return invalid("needs the lists of strings tokenizer.ggml.tokens and tokenizer.ggml.merges");
  }
  if (types && types->size() != tokens->size()) {
    return invalid("tokenizer.ggml.token_type has {} entries for {} tokens", types->size(),
                   tokens->size());
  }
  const auto* pre = model.find<std::string_view>("tokenizer.ggml.pre");
  Json vocab = Json::object();
  Json added = Json::array();
  TRY(add_tokens(*tokens, types, vocab, added));
  Json list = TRY(merges_json(*merges, vocab));
  Json pre_tokenizer = TRY(pre_tokenizer_json(pre ? *pre : "(absent)"));
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", true},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", std::move(pre_tokenizer)},
                     {"post_processor", byte_level},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"vocab", std::move(vocab)},
                       {"merges", std::move(list)}}}};
  return json_text(json);
}

std::string tokenizer_config_json_of(const GgufFile& model) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const std::pair<const char*, const char*> names[] = {
      {"tokenizer.ggml.bos_token_id", "bos_token"},
      {"tokenizer.ggml.eos_token_id", "eos_token"},
      {"tokenizer.ggml.padding_token_id", "pad_token"}};
  for (const auto& [key, name] : names) {
    if (const std::string token = token_of(model, key); !token.empty()) config[name] = token;
  }
  for (const char* name : {"add_bos_token", "add_eos_token"}) {
    const auto* value = model.find<bool>(std::string("tokenizer.ggml.") + name);
    config[name] = value && *value;
  }
  if (const auto* source = model.find<std::string_view>("tokenizer.chat_template")) {
    config["chat_template"] = *source;
  }
  return json_text(config, 2);
}

}  // namespace fathom
