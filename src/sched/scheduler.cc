#include "sched/scheduler.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "sched/policy.h"

namespace fathom {
namespace {
constexpr int64_t kReservedOutputTokens = 4096;  // room in a sequence's vectors
// A prompt that shares at least so many tokens with one being computed waits for it.
constexpr int32_t kSharedPrefixWorthWaiting = 32;
// How many such prompts one step passes over in search of one that can run: bounds the step's own work.
constexpr int32_t kMostPassedOver = 256;
}  // namespace

struct Scheduler::Impl {
  SchedulerOptions options;
  PagePool& pool;
  PrefixCache& cache;
  const Clock& clock;
  std::mt19937_64 random;

  WaitingQueue waiting;
  bool reorder = false;                            // something changed since `waiting` was ordered
  int32_t newcomers = 0;                           // of `waiting`, added since the last plan
  int64_t waiting_tokens = 0;                      // of those that are not aborted: all to be computed
  std::vector<std::unique_ptr<Sequence>> running;  // in order of admission
  std::unordered_map<SequenceId, Sequence*> known;  // waiting and running
  int32_t aborted_waiting = 0, aborted_running = 0;
  StepPlan plan;
  std::vector<Sequence*> planned;                  // parallel to plan.sequences
  std::vector<SequenceId> starved, displaced;
  std::vector<std::string> messages;
  uint64_t arrivals = 0;
  int64_t retractions = 0, retracted_input = 0, retracted_output = 0;  // times, tokens, tokens
  int64_t evicted_pages = 0;
  DurationCounts evictions;
  bool admissions_held = false;

  double initial_ratio, min_ratio;
  double ratio;  // share of a sequence's remaining output that is expected to be used

  Impl(const SchedulerOptions& o, PagePool& p, PrefixCache& c, const Clock& k)
      : options(o), pool(p), cache(c), clock(k), random(o.random_seed) {
    reset_ratio();
  }

  void reset_ratio() {
    initial_ratio = std::min(options.estimate.initial_ratio * options.conservativeness, 1.0);
    min_ratio = initial_ratio * options.estimate.min_factor;
    ratio = initial_ratio;
  }

  // ---- pages -------------------------------------------------------------------------------

  // Pages for positions [0, positions), evicting cached prefixes if need be.
  bool grow(Sequence& s, int32_t positions) {
    const int32_t size = pool.page_size();
    const int32_t more = (positions + size - 1) / size - static_cast<int32_t>(s.pages.size());
    if (more <= 0) return true;
    if (pool.available() < more) {
      const double start = clock.now();
      evicted_pages += cache.evict(more - pool.available());
      evictions.add(clock.now() - start);
    }
    if (!pool.take(more, s.pages)) return false;
    refresh_slots(s, static_cast<int32_t>(s.pages.size()) - more);
    return true;
  }

  // Slots of pages [first, end) again.
  void refresh_slots(Sequence& s, int32_t first) {
    const int32_t size = pool.page_size();
    s.slots.resize(static_cast<size_t>(first) * static_cast<size_t>(size));
    for (size_t i = static_cast<size_t>(first); i < s.pages.size(); ++i) {
      for (int32_t offset = 0; offset < size; ++offset) {
        s.slots.push_back(s.pages[i] * size + offset);
      }
    }
  }

  // Tokens whose KV may stay in the cache.
  static int32_t cacheable(const Sequence& s) {
    if (s.spec.insert_generated) return s.computed;
    return std::max(std::min(s.computed, s.prompt_tokens), s.lease.tokens());
  }

  // Lets others share what is computed; the sequence goes on. Whole pages only: the last, partly
  // filled one stays private.
  void share_computed(Sequence& s) {
    if (!cache.enabled() || !s.spec.insert_into_cache) return;
    const int32_t size = pool.page_size();
    const int32_t whole = cacheable(s) / size;
    const int32_t leased = s.lease.tokens() / size;
    if (whole <= leased) return;
    std::vector<PageId> rest(s.pages.begin() + whole, s.pages.end());
    s.pages.resize(static_cast<size_t>(whole));
    cache.insert(s.spec.cache_namespace, std::span(s.tokens).first(static_cast<size_t>(whole * size)),
                 s.pages, s.lease, clock.now(), urgency(options, s));
    s.pages.insert(s.pages.end(), rest.begin(), rest.end());
    refresh_slots(s, leased);
    reorder = true;
  }

  // After this the sequence holds nothing; its private pages have other owners.
  void forget_pages(Sequence& s) {
    s.lease = PrefixLease();
    s.pages.clear();
    s.slots.clear();
    s.computed = 0;
  }

  // Gives everything back; computed KV goes to the cache.
  void release(Sequence& s) {
    const int32_t size = pool.page_size();
    if (cache.enabled() && s.spec.insert_into_cache) {
      // Pages beyond were taken for a step that will not run, or hold what shall not be kept.
      const auto used = static_cast<size_t>((cacheable(s) + size - 1) / size);
      for (size_t i = used; i < s.pages.size(); ++i) pool.give_back(s.pages[i]);
      s.pages.resize(std::min(used, s.pages.size()));
      const auto kept = std::span(s.tokens).first(static_cast<size_t>(cacheable(s)));
      cache.insert(s.spec.cache_namespace, kept, s.pages, s.lease, clock.now(),
                   urgency(options, s));
    } else {
      for (size_t i = static_cast<size_t>(s.lease.tokens() / size); i < s.pages.size(); ++i) {
        pool.give_back(s.pages[i]);
      }
    }
    forget_pages(s);
    reorder = true;
  }

  // ---- retraction --------------------------------------------------------------------------

  void retract(size_t i) {
    const int32_t before = pool.available() + cache.evictable_pages();
    send_back(i);
    const int32_t gained = (pool.available() + cache.evictable_pages() - before) * pool.page_size();
    const double old_ratio = ratio;
    raise_ratio();
    messages.push_back(fmt::format(
        "KV cache pool is full. Retract requests. #retracted_reqs: 1, #new_tokens_gained: {}, "
        "#new_token_ratio: {:.4f} -> {:.4f}", gained, old_ratio, ratio));
  }

  // From the batch to the queue, with what it generated.
  void send_back(size_t i) {
    std::unique_ptr<Sequence> s = std::move(running[i]);
    running.erase(running.begin() + static_cast<ptrdiff_t>(i));
    release(*s);
    ++s->retractions;
    ++retractions;
    retracted_input += s->prompt_tokens;
    retracted_output += s->generated();
    // Back to its place by arrival.
    const auto later = [&s](const auto& other) { return other->arrival > s->arrival; };
    waiting_tokens += std::ssize(s->tokens);
    waiting.insert(std::ranges::find_if(waiting, later), std::move(s));
    reorder = true;
  }

  void raise_ratio() {
    double generated = 0;
    double most = 0;
    for (const auto& s : running) {
      generated += s->generated() + options.estimate.retract_steps;
      most += static_cast<double>(std::min(s->spec.max_new_tokens, options.estimate.clip_tokens));
    }
    ratio = std::min(1.0, generated / (most + 1));
  }

  // ---- the plan ----------------------------------------------------------------------------

  void add_step(Sequence& s, int32_t rows) {
    s.planned_rows = rows;
    SequenceStep step{.id = s.spec.id,
                      .first_position = s.computed,
                      .rows = rows,
                      .samples = rows == s.pending(),
                      .is_prompt = !s.decoding(),
                      .cached_tokens = std::max(s.cached_tokens, 0),
                      .first_step = !s.started,
                      .retractions = s.retractions,
                      .tokens = s.tokens.data() + s.computed,
                      .slots = s.slots.data()};
    s.started = true;
    (step.is_prompt ? plan.prompt_rows : plan.decode_rows) += rows;
    plan.decoding += !step.is_prompt;
    plan.sequences.push_back(step);
    planned.push_back(&s);
  }

  // Gives up the only running sequence: all other pages are free, and still it has too few.
  void starve_last() {
    starved.push_back(running[0]->spec.id);
    known.erase(running[0]->spec.id);
    release(*running[0]);
    running.clear();
  }

  // Nothing runs and the first in the queue cannot: it never will.
  void starve_first_waiting() {
    starved.push_back(waiting.front()->spec.id);
    known.erase(waiting.front()->spec.id);
    waiting_tokens -= std::ssize(waiting.front()->tokens);
    waiting.pop_front();
  }

  // Makes sure that every decoding sequence can store its next row; retracts until that holds.
  void reserve_decode_rows() {
    for (size_t i = 0; i < running.size();) {
      Sequence& s = *running[i];
      if (!s.decoding() || grow(s, static_cast<int32_t>(s.tokens.size()))) {
        ++i;
        continue;
      }
      if (running.size() == 1) return starve_last();
      const size_t victim = cheapest_to_retract(options, running);
      retract(victim);
      if (victim < i) --i;  // the same sequence again
    }
  }

  int32_t free_places() const {
    return std::max(options.max_running - static_cast<int32_t>(running.size()), 0);
  }

  int32_t rows_left_in_step() const {
    int32_t budget = options.max_prefill_tokens;
    if (options.chunked_prefill_size > 0) budget = std::min(budget, options.chunked_prefill_size);
    return budget - plan.prompt_rows - (plan.decode_rows - plan.decoding);
  }

  // Rows of a prompt that this step computes: all, or a chunk of whole pages. Without chunking the
  // first prompt is always taken whole.
  int32_t rows_for(const Sequence& s) const {
    const int32_t left = rows_left_in_step();
    if (s.pending() <= left) return s.pending();
    if (options.chunked_prefill_size <= 0) return plan.prompt_rows == 0 ? s.pending() : 0;
    const int32_t size = pool.page_size();
    const int32_t end = (s.computed + left) / size * size;
    return std::max(end - s.computed, 0);
  }

  // Prompts that were begun: next chunk.
  void continue_prompts() {
    for (size_t i = 0; i < running.size(); ++i) {
      Sequence& s = *running[i];
      if (s.decoding()) continue;
      const int32_t rows = rows_for(s);
      if (rows <= 0) return;
      while (!grow(s, s.computed + rows)) {
        if (running.size() == 1) return starve_last();
        size_t victim = cheapest_to_retract(options, running);
        const bool itself = victim == i;
        if (!itself && running[victim]->planned_rows > 0) return;  // already part of this step
        retract(victim);
        if (itself) return;
        if (victim < i) --i;
      }
      add_step(s, rows);
    }
  }

  // Tokens that running sequences are expected to need beyond what they hold.
  double expected_growth() const {
    double tokens = 0;
    for (const auto& s : running) {
      const int64_t left =
          std::min(s->spec.max_new_tokens - s->generated(), options.estimate.clip_tokens);
      tokens += static_cast<double>(left) * (s->spec.ignore_eos ? 1.0 : ratio);
      const int64_t held = static_cast<int64_t>(s->pages.size()) * pool.page_size();
      tokens += static_cast<double>(std::max<int64_t>(static_cast<int64_t>(s->tokens.size()) - held, 0));
    }
    return tokens;
  }

  double expected_output(const Sequence& s) const {
    return static_cast<double>(
        std::min(s.spec.max_new_tokens - s.generated(), options.estimate.clip_tokens) +
        pool.page_size());
  }

  // ---- preemption --------------------------------------------------------------------------

  // Would it be admitted, if `more_sequences` left the batch and gave back `more_tokens`?
  bool fits(const Sequence& s, int64_t more_tokens = 0, int32_t more_sequences = 0) const {
    const int64_t free =
        int64_t{pool.page_size()} * (pool.available() + cache.evictable_pages()) + more_tokens;
    const int32_t others = static_cast<int32_t>(running.size()) - more_sequences;
    const int32_t cached = cache.peek(s.spec.cache_namespace, s.tokens, reuse_limit(s));
    const double need = static_cast<double>(s.tokens.size()) - cached + expected_output(s);
    return others < options.max_running &&
           (others == 0 || need <= static_cast<double>(free) - expected_growth());
  }

  // The most urgent waiting sequence, if it does not fit, takes the place of running ones that it
  // outranks; the least urgent go first. Those with rows in this step stay.
  void preempt_for_waiting() {
    if (!options.preemption_threshold || waiting.empty() || admissions_held) return;
    if (std::exchange(reorder, false)) order_waiting(options, cache, random, waiting);
    const Sequence& newcomer = *waiting.front();
    const auto victims = outranked_by(options, newcomer, running);
    int64_t held = 0;  // tokens that go back if all of them go
    for (const Sequence* s : victims) held += static_cast<int64_t>(s->pages.size()) * pool.page_size();
    if (victims.empty() || !fits(newcomer, held, static_cast<int32_t>(victims.size()))) return;
    size_t preempted = 0;
    for (; preempted < victims.size() && !fits(newcomer); ++preempted) {
      const auto place = std::ranges::find(running, victims[preempted], &std::unique_ptr<Sequence>::get);
      send_back(static_cast<size_t>(place - running.begin()));
    }
    if (preempted == 0) return;
    messages.push_back(fmt::format("Preempt requests for priority {}. #preempted_reqs: {}",
                                   newcomer.spec.priority, preempted));
  }

  // A prompt whose beginning is being computed in this step finds it in the cache after it.
  bool shares_prefix_under_way(const Sequence& s, int32_t cached) const {
    if (!cache.enabled()) return false;
    for (const Sequence* other : planned) {
      if (other->spec.cache_namespace != s.spec.cache_namespace || other->decoding() ||
          !other->spec.insert_into_cache) {
        continue;
      }
      const auto differ = std::mismatch(s.tokens.begin(), s.tokens.end(), other->tokens.begin(),
                                        other->tokens.end());
      const int32_t common = std::min(static_cast<int32_t>(differ.first - s.tokens.begin()), reuse_limit(s));
      const int32_t whole_pages = common / pool.page_size() * pool.page_size();
      if (whole_pages - cached >= kSharedPrefixWorthWaiting) return true;
    }
    return false;
  }

  int32_t reuse_limit(const Sequence& s) const {
    const int32_t all_but_one = static_cast<int32_t>(s.tokens.size()) - 1;
    return s.spec.max_cached_tokens < 0 ? all_but_one
                                        : std::min(all_but_one, s.spec.max_cached_tokens);
  }

  // Room for what it will likely generate, so that decoding does not allocate.
  void reserve(Sequence& s) const {
    const auto size = static_cast<size_t>(pool.page_size());
    const int64_t output = std::min(s.spec.max_new_tokens - s.generated(), kReservedOutputTokens);
    const size_t pages = (s.tokens.size() + static_cast<size_t>(output)) / size + 2;
    s.tokens.reserve(pages * size);
    s.pages.reserve(pages);
    s.slots.reserve(pages * size);
  }

  enum class Admission { kAdmitted, kDeferred, kNoRoom };

  Admission try_admit(Sequence& s) {
    PrefixMatch match = cache.match(s.spec.cache_namespace, s.tokens, reuse_limit(s), clock.now());
    const int32_t cached = match.lease.tokens();
    if (shares_prefix_under_way(s, cached)) return Admission::kDeferred;

    const int64_t free = int64_t{pool.page_size()} * (pool.available() + cache.evictable_pages());
    const int64_t uncached = static_cast<int64_t>(s.tokens.size()) - cached;
    const double need = static_cast<double>(uncached) + expected_output(s);
    // Alone, a sequence may use the whole pool: the engine has checked that it fits.
    if (!running.empty() && need > static_cast<double>(free) - expected_growth()) {
      return Admission::kNoRoom;
    }
    s.computed = cached;
    s.lease = std::move(match.lease);
    s.pages = std::move(match.pages);
    reserve(s);
    refresh_slots(s, 0);
    const int32_t rows = rows_for(s);
    if (rows <= 0 || !grow(s, s.computed + rows)) {
      forget_pages(s);
      return Admission::kNoRoom;
    }
    if (s.cached_tokens < 0) s.cached_tokens = cached;
    cache.count_hit(s.lease);
    return Admission::kAdmitted;
  }

  // Fills the rest of the step from the queue. Strictly in order: nothing overtakes a sequence that
  // does not fit, except while it waits for a prefix being computed.
  void admit_waiting() {
    if (waiting.empty() || admissions_held || free_places() == 0 || rows_left_in_step() <= 0) return;
    if (std::exchange(reorder, false)) order_waiting(options, cache, random, waiting);
    int32_t admitted = 0;
    int32_t passed_over = 0;
    for (size_t i = 0; i < waiting.size();) {
      if (free_places() == 0 || rows_left_in_step() <= 0 ||
          admitted >= options.prefill_max_requests.value_or(INT32_MAX)) {
        return;
      }
      const Admission outcome = try_admit(*waiting[i]);
      if (outcome == Admission::kNoRoom) return;
      if (outcome == Admission::kDeferred) {
        if (++passed_over == kMostPassedOver) return;
        ++i;
        continue;
      }
      running.push_back(std::move(waiting[i]));
      waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
      ++admitted;
      Sequence& s = *running.back();
      waiting_tokens -= std::ssize(s.tokens);
      add_step(s, rows_for(s));
      if (s.planned_rows < s.pending()) return;  // chunked: the step is full
    }
  }

  void add_decode_rows() {
    for (const auto& s : running) {
      // One admitted in this step may decode at once: retracted before, and all but its last row found
      // in the cache.
      if (!s->decoding() || s->planned_rows > 0) continue;
      add_step(*s, std::min(s->pending(), 1 + std::max(rows_left_in_step(), 0)));
    }
  }

  void drop_aborted() {
    const auto forget = [this](const std::unique_ptr<Sequence>& s) {
      return s->aborted && known.erase(s->spec.id) > 0;
    };
    if (std::exchange(aborted_waiting, 0) > 0) std::erase_if(waiting, forget);
    if (std::exchange(aborted_running, 0) == 0) return;
    for (const auto& s : running) {
      if (s->aborted) release(*s);
    }
    std::erase_if(running, forget);
  }

  int64_t queued() const { return static_cast<int64_t>(waiting.size()) - aborted_waiting; }
};

Scheduler::Scheduler(const SchedulerOptions& options, PagePool& pool, PrefixCache& cache,
                     const Clock& clock)
    : impl_(std::make_unique<Impl>(options, pool, cache, clock)) {}

Scheduler::~Scheduler() {
  for (const auto& s : impl_->running) impl_->release(*s);
}

Status Scheduler::add(SequenceSpec spec) {
  Impl& m = *impl_;
  const bool passed_over = m.queued() > m.newcomers;
  const int64_t most = m.options.max_queued.value_or(INT32_MAX) + int64_t{passed_over ? 0 : m.free_places()};
  if (!spec.health_probe && m.queued() >= most) {
    const Sequence* least = displaced_by(m.options, m.waiting, spec);
    if (!least) return fail(ErrorCode::kUnavailable, "The request queue is full.");
    m.displaced.push_back(least->spec.id);
    abort(least->spec.id);
  }
  auto s = std::make_unique<Sequence>();
  s->prompt_tokens = static_cast<int32_t>(spec.prompt.size());
  s->tokens = std::move(spec.prompt);
  s->spec = std::move(spec);
  s->arrival = ++m.arrivals;
  m.known.reserve(m.known.size() + 1);
  decltype(m.known) entry{{s->spec.id, s.get()}};
  m.waiting.push_back(std::move(s));
  m.known.merge(entry);  // allocates nothing: the sequence is in both or in neither
  CHECK(entry.empty());
  m.waiting_tokens += std::ssize(m.waiting.back()->tokens);
  ++m.newcomers;
  m.reorder = true;
  return {};
}

bool Scheduler::abort(SequenceId id) {
  const auto found = impl_->known.find(id);
  if (found == impl_->known.end() || found->second->aborted) return false;
  Sequence& s = *found->second;
  s.aborted = true;
  if (s.pages.empty()) impl_->waiting_tokens -= std::ssize(s.tokens);
  ++(s.pages.empty() ? impl_->aborted_waiting : impl_->aborted_running);
  return true;
}

const StepPlan& Scheduler::plan() {
  Impl& m = *impl_;
  m.plan.clear();
  m.planned.clear();
  m.drop_aborted();
  for (const auto& s : m.running) s->planned_rows = 0;
  m.reserve_decode_rows();
  m.continue_prompts();
  m.preempt_for_waiting();
  m.admit_waiting();
  if (m.options.mixed_chunk || m.plan.empty()) m.add_decode_rows();
  m.newcomers = 0;
  if (m.running.empty() && !m.waiting.empty() && !m.admissions_held) m.starve_first_waiting();
  return m.plan;
}

void Scheduler::commit(std::span<const Committed> results) {
  Impl& m = *impl_;
  CHECK_EQ(results.size(), m.planned.size());
  bool any_decode = false;
  for (size_t i = 0; i < results.size(); ++i) {
    const Committed& result = results[i];
    Sequence& s = *m.planned[i];
    CHECK_EQ(result.id, s.spec.id);
    const bool prompt = !s.decoding();
    any_decode |= !prompt;
    s.computed += s.planned_rows;
    s.planned_rows = 0;
    if (result.token) {
      s.tokens.push_back(*result.token);
      s.tokens.insert(s.tokens.end(), result.forced.begin(), result.forced.end());
      s.forced = static_cast<int32_t>(result.forced.size());
    }
    if (result.discard_kv) s.spec.insert_into_cache = false;
    if (result.finished) {
      abort(result.id);  // leaves the batch below
    } else if (prompt) {
      m.share_computed(s);
    }
  }
  m.drop_aborted();
  m.planned.clear();
  m.plan.sequences.clear();
  if (any_decode) {
    m.ratio = std::max(m.ratio - (m.initial_ratio - m.min_ratio) / m.options.estimate.decay_steps,
                       m.min_ratio);
  }
}

std::vector<SequenceId> Scheduler::take_starved() { return std::exchange(impl_->starved, {}); }
std::vector<SequenceId> Scheduler::take_displaced() { return std::exchange(impl_->displaced, {}); }
std::vector<std::string> Scheduler::take_messages() { return std::exchange(impl_->messages, {}); }

void Scheduler::retract_all() {
  Impl& m = *impl_;
  m.drop_aborted();
  while (!m.running.empty()) m.send_back(m.running.size() - 1);
}

void Scheduler::drop_aborted() { impl_->drop_aborted(); }
void Scheduler::set_policy(SchedulePolicy policy) {
  // First come, first served keeps the queue's order; the policy before may have left another one.
  std::ranges::sort(impl_->waiting, {}, &Sequence::arrival);
  impl_->options.policy = policy;
  impl_->reorder = true;
}
void Scheduler::set_max_running(int32_t max_running) { impl_->options.max_running = max_running; }
void Scheduler::set_conservativeness(double conservativeness) {
  impl_->options.conservativeness = conservativeness;
  impl_->reset_ratio();
}

bool Scheduler::idle() const { return impl_->waiting.empty() && impl_->running.empty(); }

bool Scheduler::flush_cache() {
  impl_->drop_aborted();
  if (idle()) impl_->cache.flush();
  return idle();
}

void Scheduler::forget_cache() {
  for (const auto& s : impl_->running) s->spec.insert_into_cache = false;
  impl_->cache.flush();
  impl_->reorder = true;
}
void Scheduler::hold_admissions(bool hold) { impl_->admissions_held = hold; }

SchedulerStats Scheduler::stats() const {
  const Impl& m = *impl_;
  const int32_t size = m.pool.page_size();
  SchedulerStats stats{.running = static_cast<int32_t>(m.running.size()),
                       .queued = static_cast<int32_t>(m.queued()),
                       .queued_tokens = m.waiting_tokens,
                       .total_tokens = m.pool.total() * size,
                       .available_tokens = m.pool.available() * size,
                       .evictable_tokens = m.cache.evictable_pages() * size,
                       .used_tokens = 0,
                       .new_token_ratio = m.ratio,
                       .retractions = m.retractions,
                       .retracted_input_tokens = m.retracted_input,
                       .retracted_output_tokens = m.retracted_output,
                       .evicted_tokens = m.evicted_pages * size,
                       .evictions = m.evictions,
                       .context_tokens = 0};
  for (const auto& s : m.running) stats.context_tokens += s->computed;
  stats.used_tokens = stats.total_tokens - stats.available_tokens - stats.evictable_tokens;
  return stats;
}

void Scheduler::check_books() const {
  const Impl& m = *impl_;
  int64_t private_pages = 0;
  for (const auto& s : m.running) {
    private_pages += static_cast<int64_t>(s->pages.size()) - s->lease.tokens() / m.pool.page_size();
  }
  CHECK_EQ(int64_t{m.pool.available()} + m.cache.cached_pages() + private_pages,
           int64_t{m.pool.total()});
  if (m.running.empty()) CHECK_EQ(m.cache.evictable_pages(), m.cache.cached_pages());
  if (m.waiting.empty()) CHECK_EQ(m.waiting_tokens, 0);
}

}  // namespace fathom
