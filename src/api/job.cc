#include "api/job.h"

#include <algorithm>
#include <random>
#include <set>

#include "base/log.h"

namespace fathom::api {
namespace {

constexpr size_t kMostGrammarBytes = 64 << 20;
constexpr int64_t kMostLogprobs = 1 << 24;
constexpr size_t kMostPromptTokens = 1 << 26;  // every sequence has its own copy
constexpr size_t kMaxRidBytes = 1024;

// The first `bytes` bytes of `text`, less a character that they cut.
std::string_view beginning(std::string_view text, size_t bytes) {
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

Parsed<std::vector<int32_t>> tokenize(const Prompt& prompt, const Tokenizer& tokenizer,
                                      const Settings& settings) {
  if (prompt.tokenized) return prompt.ids;
  // A text far beyond the context is told by its beginning: all of it could take minutes and gigabytes.
  const auto context = static_cast<size_t>(settings.context_length);
  for (size_t bytes = 8 * context; bytes > 0 && bytes < prompt.text.size(); bytes *= 2) {
    auto ids = TRY(tokenizer.encode(beginning(prompt.text, bytes), prompt.add_special));
    if (ids.size() <= 2 * context) continue;
    if (settings.allow_auto_truncate) return ids;  // of which the first are taken
    return refuse(
        "The input ({} bytes, more than {} tokens) is longer than the model's context length ({} "
        "tokens).",
        prompt.text.size(), 2 * context, context);
  }
  auto ids = TRY(tokenizer.encode(prompt.text, prompt.add_special));
  if (ids.empty()) return refuse("The prompt is empty.");
  return ids;
}

// Default lengths shrink to what fits; explicit ones are checked by the engine.
void fit_lengths(std::vector<int32_t>& ids, SamplingParams& sampling, bool explicit_length,
                 const Settings& settings) {
  const int64_t room = settings.max_request_tokens;
  if (settings.allow_auto_truncate && static_cast<int64_t>(ids.size()) >= room && room > 0) {
    const int64_t kept = sampling.max_new_tokens == 0 ? room : room - 1;
    if (std::ssize(ids) > kept) {
      log::warn("--allow-auto-truncate: a prompt is cut to its first {} tokens", kept);
    }
    ids.resize(static_cast<size_t>(kept));
  }
  if (sampling.max_new_tokens < 0) return;  // "as much as fits"
  const int64_t left = std::max<int64_t>(room - static_cast<int64_t>(ids.size()), 0);
  if (explicit_length && !settings.allow_auto_truncate) return;
  if (explicit_length && sampling.max_new_tokens > left) {
    log::warn("--allow-auto-truncate: max_new_tokens is cut from {} to {}", sampling.max_new_tokens,
              left);
  }
  sampling.max_new_tokens = std::min(sampling.max_new_tokens, left);
}

// Every sequence carries its grammar's text until it is compiled.
std::expected<void, Failure> check_grammar_bytes(const Job& job) {
  size_t bytes = 0;
  for (const Prompt& prompt : job.prompts) {
    if (prompt.sampling.grammar) bytes += prompt.sampling.grammar->text.size();
  }
  bytes *= static_cast<size_t>(job.samples);
  if (bytes > kMostGrammarBytes) {
    return refuse(
        "The grammars of all sequences have {} bytes; at most {} are allowed per request.", bytes,
        kMostGrammarBytes);
  }
  return {};
}

// Upper bound of the logprobs that one sequence returns.
int64_t count_logprobs(const LogprobOptions& options, int64_t prompt_tokens, const SamplingParams& sampling,
                       const Settings& settings) {
  if (!options.enabled) return 0;
  const int64_t room = std::max<int64_t>(settings.max_request_tokens - prompt_tokens, 0);
  int64_t positions = sampling.max_new_tokens < 0 ? room : std::min(sampling.max_new_tokens, room);
  if (options.start_len >= 0) positions += std::max<int64_t>(prompt_tokens - options.start_len, 0);
  return positions * (1 + options.top_n + std::ssize(options.token_ids));
}

// How the output of a prompt is read; raw prompts have a form only for the sake of their thoughts.
std::optional<AnswerForm> form_of(const Job& job, const Prompt& prompt, const Settings& settings) {
  if (prompt.form || !job.require_reasoning || !settings.reasoning) return prompt.form;
  return AnswerForm{
      .reasoning = settings.reasoning, .starts_in_thoughts = true, .separate_reasoning = false};
}

// Limits hold for thoughts that begin with the output. A raw prompt with a budget has them.
std::expected<void, Failure> limit_thoughts(SamplingParams& sampling,
                                            const std::optional<AnswerForm>& form,
                                            const Tokenizer& tokenizer, const Settings& settings) {
  std::optional<ThoughtLimits>& limits = sampling.thoughts;
  // A grammar that binds from the first token leaves no room for thoughts.
  if (sampling.grammar && sampling.grammar->starts_after.empty()) {
    limits.reset();
    return {};
  }
  const bool strict = settings.strict_thinking && form && form->reasoning;
  // A grammar that waits for the end of the thoughts binds nothing if the answer ends in them.
  const bool closes = sampling.grammar.has_value();
  if (form && !form->starts_in_thoughts)
    limits.reset();
  else if ((strict || closes) && !limits)
    limits.emplace();
  if (!limits) return {};
  const ReasoningDialect& dialect =
      settings.reasoning ? *settings.reasoning : default_reasoning_dialect();
  limits->end = TRY(tokenizer.encode(dialect.end, false));
  if (limits->end.empty()) {
    return refuse("custom_params.thinking_budget: this model's tokenizer cannot write '{}'.",
                  dialect.end);
  }
  limits->closes = closes;
  if (!strict) return {};
  for (const auto id : {tokenizer.eos(), tokenizer.id_of(dialect.begin)}) {
    if (id) limits->banned.push_back(*id);
  }
  return {};
}

std::expected<void, Failure> check_rids(const Job& job) {
  size_t longest = job.rid_base.size();
  for (const Prompt& prompt : job.prompts) longest = std::max(longest, prompt.rid.size());
  if (longest <= kMaxRidBytes) return {};
  return refuse("rid has {} bytes; at most {} are allowed.", longest, kMaxRidBytes);
}

std::string rid_of(const Job& job, size_t prompt, int64_t sample) {
  const auto samples = static_cast<size_t>(job.samples);
  if (!job.rid_base.empty()) {
    const size_t index = prompt * samples + static_cast<size_t>(sample);
    return fmt::format("{}_{}", job.rid_base, index);
  }
  const std::string& rid = job.prompts[prompt].rid;
  if (rid.empty()) return random_id();
  return samples == 1 ? rid : fmt::format("{}_{}", rid, sample);
}

}  // namespace

std::string random_id() {
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

std::expected<void, Failure> check_sequence_count(size_t prompts, int64_t samples,
                                                  const Settings& settings) {
  const auto total = static_cast<int64_t>(prompts) * samples;
  if (total > settings.max_sequences_per_request) {
    return refuse(
        "{} prompts x {} samples are {} sequences; at most {} are allowed per request "
        "(--max-sequences-per-request).",
        prompts, samples, total, settings.max_sequences_per_request);
  }
  return {};
}

std::expected<void, Failure> check_chosen_ids(const LogprobOptions& logprob, const std::string& path,
                                              const Settings& settings) {
  if (static_cast<int64_t>(logprob.token_ids.size()) <= settings.max_top_logprobs) return {};
  return refuse("{} holds {} token ids; at most {} are allowed (--max-top-logprobs).", path,
                logprob.token_ids.size(), settings.max_top_logprobs);
}

Parsed<Prepared> prepare(const Job& job, std::shared_ptr<const Tokenizer> tokenizer,
                         const Settings& settings) {
  Prepared out;
  std::set<std::string> rids;
  TRY(check_grammar_bytes(job));
  TRY(check_rids(job));
  int64_t logprobs = 0;
  size_t prompt_tokens = 0;
  std::shared_ptr<const StopSet> stops;
  for (size_t p = 0; p < job.prompts.size(); ++p) {
    const Prompt& prompt = job.prompts[p];
    auto ids = TRY(tokenize(prompt, *tokenizer, settings));
    SamplingParams sampling = prompt.sampling;
    fit_lengths(ids, sampling, prompt.explicit_length, settings);
    const std::optional<AnswerForm> form = form_of(job, prompt, settings);
    // Grammars of chats have been told (complete_chat).
    if (sampling.grammar && form && !prompt.form) {
      sampling.grammar->starts_after = TRY(tokenizer->encode(form->reasoning->end, false));
    }
    TRY(limit_thoughts(sampling, form, *tokenizer, settings));
    if (static_cast<int64_t>(ids.size()) > settings.context_length) {
      return refuse("The input ({} tokens) is longer than the model's context length ({} tokens).",
                    ids.size(), settings.context_length);
    }
    logprobs += job.samples * count_logprobs(prompt.logprob, std::ssize(ids), sampling, settings);
    if (logprobs > kMostLogprobs) {
      return refuse(
          "The request asks for up to {} logprobs (sequences x positions x logprobs of each); at most {} are "
          "allowed. Ask for fewer top logprobs, tokens or sequences.",
          logprobs, kMostLogprobs);
    }
    prompt_tokens += static_cast<size_t>(job.samples) * ids.size();
    if (prompt_tokens > kMostPromptTokens) {
      return refuse(
          "The prompts of all sequences have more than {} tokens, the most that are allowed per "
          "request.",
          kMostPromptTokens);
    }
    if (!stops || sampling.stop != job.prompts[p - 1].sampling.stop ||
        sampling.stop_regex != job.prompts[p - 1].sampling.stop_regex) {
      stops = TRY(StopSet::create(sampling.stop, sampling.stop_regex));
    }
    for (int64_t s = 0; s < job.samples; ++s) {
      GenerateRequest request;
      request.rid = rid_of(job, p, s);
      if (!rids.insert(request.rid).second) {
        return refuse("Duplicate request IDs detected within the request: {}", request.rid);
      }
      request.input_ids = ids;
      request.sampling = sampling;
      // Otherwise all samples would be equal.
      if (sampling.seed) request.sampling.seed = *sampling.seed + static_cast<uint64_t>(s);
      request.logprob = prompt.logprob;
      request.priority = job.priority;
      request.cache_namespace = job.cache_namespace;
      request.use_prefix_cache = job.use_prefix_cache;
      request.embed = job.embed;
      request.cache_generated =
          !(settings.strip_thinking_cache && form && form->reasoning && form->starts_in_thoughts);
      out.choices.push_back(
          Choice(tokenizer, sampling, StopMatcher(stops, !job.stream), request.rid, form));
      out.requests.push_back(std::move(request));
    }
    out.prompt_ids.push_back(std::move(ids));
  }
  return out;
}

}  // namespace fathom::api
