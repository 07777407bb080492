#include "api/embeddings.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "api/completions.h"
#include "api/native.h"
#include "api/sampling.h"

namespace fathom::api {
namespace {

std::expected<void, Failure> check_embedding_model(const Settings& settings) {
  if (settings.embedding_size > 0) return {};
  return refuse(
      "This model does not appear to be an embedding model by default. Please add `--is-embedding` "
      "when launching the server or try another model.");
}

// Prompts are computed and nothing is generated.
void make_embedding_job(Job& job) {
  job.embed = true;
  for (Prompt& prompt : job.prompts) {
    prompt.sampling.max_new_tokens = 0;
    prompt.sampling.min_new_tokens = 0;
    prompt.explicit_length = true;
    prompt.logprob = {};
  }
}

// The first `dimensions` values, scaled to length 1.
std::vector<float> normalized(std::span<const float> hidden, int64_t dimensions) {
  const auto used = hidden.first(std::min(static_cast<size_t>(dimensions), hidden.size()));
  double squares = 0;
  for (const float x : used) squares += double{x} * x;
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  std::vector<float> out(used.begin(), used.end());
  for (float& x : out) x = static_cast<float>(x * scale);
  return out;
}

std::string base64_of(std::span<const float> values) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bytes = std::as_bytes(values);
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < n ? std::to_integer<uint32_t>(bytes[i + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= n ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

class EmbeddingFormat final : public Format {
 public:
  explicit EmbeddingFormat(const EmbeddingRequest& request)
      : options_(request.options),
        native_(request.native),
        batch_(request.batch),
        base64_(request.base64),
        dimensions_(request.dimensions) {}

  Shape error_shape() const override { return native_ ? Shape::kNative : Shape::kOpenAi; }
  void set_prompts(std::vector<std::vector<int32_t>>) override {}
  void append_chunk(Events&, size_t, const Choice&) override {}  // never streams
  void append_closing(Events&, const std::vector<Choice>&) override {}

  std::string answer(const std::vector<Choice>& choices) override {
    std::string body;
    JsonWriter out(body);
    native_ ? write_native(out, choices) : write_openai(out, choices);
    return body;
  }

 private:
  void write_embedding(JsonWriter& out, const Choice& choice) const {
    const auto values = normalized(choice.embedding(), dimensions_);
    out.key("embedding");
    if (base64_) {
      out.string(base64_of(values));
      return;
    }
    out.begin_array();
    for (const float x : values) out.number(x);
    out.end_array();
  }

  void write_openai(JsonWriter& out, const std::vector<Choice>& choices) const {
    out.begin_object().key("object").string("list").key("data").begin_array();
    for (size_t i = 0; i < choices.size(); ++i) {
      out.begin_object().key("object").string("embedding");
      out.key("index").integer(static_cast<int64_t>(i));
      write_embedding(out, choices[i]);
      out.end_object();
    }
    out.end_array().key("model").string(options_.model).key("usage");
    write_usage(out, usage_of(choices, 1));
    out.end_object();
  }

  void write_native(JsonWriter& out, const std::vector<Choice>& choices) const {
    if (batch_) out.begin_array();
    for (const Choice& choice : choices) {
      out.begin_object();
      write_embedding(out, choice);
      out.key("meta_info").begin_object().key("id").string(choice.rid());
      out.key("finish_reason").begin_object().key("type").string("length");
      out.key("length").integer(0).end_object();
      out.key("prompt_tokens").integer(choice.prompt_tokens());
      out.key("cached_tokens").integer(choice.cached_tokens()).end_object().end_object();
    }
    if (batch_) out.end_array();
  }

  OpenAiOptions options_;
  bool native_, batch_, base64_;
  int64_t dimensions_;
};

}  // namespace

Parsed<EmbeddingRequest> parse_embeddings(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  TRY(check_embedding_model(settings));
  EmbeddingRequest request;
  Job& job = request.job;
  TRY(read_common(fields, job, settings));
  if (job.stream) {
    return std::unexpected(Failure(501, "stream: embeddings cannot be streamed."));
  }
  TRY(read_prompts(fields, "input", settings, job.prompts));
  TRY(check_sequence_count(job.prompts.size(), 1, settings));
  TRY(read_openai(fields, "embd", request.options, job, settings));
  std::string encoding = "float";
  fields.string("encoding_format", encoding);
  request.dimensions = settings.embedding_size;
  fields.integer("dimensions", request.dimensions, 1, settings.embedding_size);
  TRY(fields.status());
  if (encoding != "float" && encoding != "base64") {
    return refuse("encoding_format must be float or base64, got '{}'.", encoding);
  }
  request.base64 = encoding == "base64";
  make_embedding_job(job);
  return request;
}

Parsed<EmbeddingRequest> parse_encode(const std::string& body, const Settings& settings) {
  NativeRequest native = TRY(parse_generate(body, settings));
  TRY(check_embedding_model(settings));
  if (native.job.stream) {
    return std::unexpected(Failure(501, "stream: embeddings cannot be streamed."));
  }
  EmbeddingRequest request{.job = std::move(native.job),
                           .native = true,
                           .batch = native.batch,
                           .dimensions = settings.embedding_size};
  make_embedding_job(request.job);
  return request;
}

std::unique_ptr<Format> embedding_format(const EmbeddingRequest& request) {
  return std::make_unique<EmbeddingFormat>(request);
}

}  // namespace fathom::api
