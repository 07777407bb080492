#include <algorithm>
#include <numeric>
#include <set>

#include "api/completions.h"
#include "api/token_text.h"
#include "text/detokenizer.h"

namespace fathom::api {
namespace {

constexpr std::string_view kObject = "text_completion";

struct SentText {
  bool begun = false;  // what belongs to the prompt has been sent
  size_t text = 0, tokens = 0;
};

class CompletionFormat final : public Format {
 public:
  CompletionFormat(const CompletionRequest& request, const Settings& settings,
                   std::shared_ptr<const Tokenizer> tokenizer)
      : options_(request.options),
        weight_version_(settings.weight_version),
        samples_(static_cast<size_t>(request.job.samples)),
        n_(static_cast<size_t>(request.n)),
        echo_(request.echo),
        logprobs_(request.logprobs),
        tokenizer_(std::move(tokenizer)),
        sent_(request.job.sequences()) {
    if (!echo_) return;
    for (const auto& prompt : request.job.prompts) {
      echo_texts_.push_back(prompt.tokenized ? tokenizer_->decode(prompt.ids, true) : prompt.text);
    }
  }

  Shape error_shape() const override { return Shape::kOpenAi; }
  void set_prompts(std::vector<std::vector<int32_t>> ids) override { prompt_ids_ = std::move(ids); }

  void append_chunk(Events& events, size_t index, const Choice& choice) override {
    const SentText& sent = sent_[index];
    const bool new_tokens = choice.ids().size() > sent.tokens;
    const bool shows_tokens = logprobs_ || options_.return_token_ids;
    const bool nothing = choice.text().size() == sent.text && (sent.begun || !echo_) &&
                         !(new_tokens && shows_tokens);
    if (nothing && !choice.finish()) return;
    std::string& event = events.emplace_back("data: ");
    JsonWriter out(event);
    open_response(out, options_, kObject);
    out.key("choices").begin_array();
    write_choice(out, index, index, choice);
    out.end_array().key("usage");
    options_.continuous_usage ? write_usage(out, usage_of(choice)) : void(out.null());
    out.end_object();
    event += "\n\n";
  }

  void append_closing(Events& events, const std::vector<Choice>& choices) override {
    if (!options_.include_usage) return;
    events.push_back(usage_event(options_, kObject, usage_of(choices, samples_)));
  }

  std::string answer(const std::vector<Choice>& choices) override {
    std::string body;
    JsonWriter out(body);
    open_response(out, options_, kObject);
    out.key("choices").begin_array();
    size_t shown = 0;
    for (size_t first = 0; first < choices.size(); first += samples_) {
      for (const size_t i : best_of_prompt(choices, first))
        write_choice(out, shown++, i, choices[i]);
    }
    out.end_array();
    close_response(out, options_, usage_of(choices, samples_), weight_version_());
    return body;
  }

 private:
  // The n samples to show of the prompt whose samples start at `first`.
  std::vector<size_t> best_of_prompt(const std::vector<Choice>& choices, size_t first) const {
    std::vector<size_t> order(samples_);
    std::iota(order.begin(), order.end(), first);
    if (n_ < samples_) {
      std::ranges::stable_sort(order, std::greater(),
                               [&](size_t i) { return choices[i].mean_logprob(); });
      order.resize(n_);
    }
    return order;
  }

  // `index` is shown; `sequence` is where the choice stands among all samples.
  void write_choice(JsonWriter& out, size_t index, size_t sequence, const Choice& choice) {
    SentText& sent = sent_[sequence];
    const size_t prompt = sequence / samples_;
    const bool first = !sent.begun;
    const bool with_echo = echo_ && first;
    std::string text = with_echo ? echo_texts_[prompt] : std::string();
    text += std::string_view(choice.text()).substr(sent.text);
    out.begin_object().key("index").integer(static_cast<int64_t>(index));
    out.key("text").string(text);
    out.key("logprobs");
    logprobs_ ? write_logprobs(out, prompt, choice, with_echo, sent.tokens) : void(out.null());
    write_finish(out, choice.finish());
    if (options_.return_token_ids) {
      write_ids(out, "token_ids", std::span(choice.ids()).subspan(sent.tokens));
    }
    if (options_.return_prompt_ids && first) {
      write_ids(out, "prompt_token_ids", prompt_ids_[prompt]);
    }
    write_meta_info(out, choice, options_, weight_version_());
    out.end_object();
    sent = {.begun = true, .text = choice.text().size(), .tokens = choice.ids().size()};
  }

  struct Entry {
    int64_t offset;
    const PositionLogprobs* position;
  };

  // The echoed prompt's tokens (if this chunk has them), then the generated ones from `from` on.
  std::vector<Entry> entries(size_t prompt, const Choice& choice, bool with_echo,
                             size_t from) const {
    std::vector<Entry> all;
    if (with_echo) {
      Detokenizer detokenizer(tokenizer_, true);
      int64_t offset = 0;
      for (const auto& position : choice.input_logprobs()) {
        all.push_back({offset, &position});
        offset += count_characters(detokenizer.push(position.token.id));
      }
    }
    const int64_t start = echo_ ? count_characters(echo_texts_[prompt]) : 0;
    for (size_t i = from; i < choice.output_logprobs().size(); ++i) {
      all.push_back({start + choice.char_offsets()[i], &choice.output_logprobs()[i]});
    }
    return all;
  }

  void write_top(JsonWriter& out, const PositionLogprobs& position) const {
    if (!position.token.logprob) {
      out.null();
      return;
    }
    out.begin_object();
    std::set<std::string> seen;  // of equal texts the first, which has the larger logprob
    for (const auto& token : position.top) {
      std::string text = token_text(*tokenizer_, token.id);
      if (!seen.insert(text).second) continue;
      out.any_key(text).number(token.logprob.value_or(0.0f));
    }
    out.end_object();
  }

  void write_logprobs(JsonWriter& out, size_t prompt, const Choice& choice, bool with_echo,
                      size_t from) const {
    const auto all = entries(prompt, choice, with_echo, from);
    out.begin_object().key("text_offset").begin_array();
    for (const auto& entry : all) out.integer(entry.offset);
    out.end_array().key("token_logprobs").begin_array();
    for (const auto& entry : all) {
      const auto& logprob = entry.position->token.logprob;
      logprob ? out.number(*logprob) : out.null();
    }
    out.end_array().key("tokens").begin_array();
    for (const auto& entry : all) out.string(token_text(*tokenizer_, entry.position->token.id));
    out.end_array().key("top_logprobs");
    if (*logprobs_ == 0) {
      out.null();
    } else {
      out.begin_array();
      for (const auto& entry : all) write_top(out, *entry.position);
      out.end_array();
    }
    out.end_object();
  }

  OpenAiOptions options_;
  std::function<std::string()> weight_version_;
  size_t samples_, n_;
  bool echo_;
  std::optional<int64_t> logprobs_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<SentText> sent_;           // per sequence
  std::vector<std::string> echo_texts_;  // per prompt
  std::vector<std::vector<int32_t>> prompt_ids_;
};

}  // namespace

std::unique_ptr<Format> completion_format(const CompletionRequest& request,
                                          const Settings& settings,
                                          std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_unique<CompletionFormat>(request, settings, std::move(tokenizer));
}

}  // namespace fathom::api
