// Grammars on the demo model's tokenizer and on DeepSeek-V3's: what masks allow, how sequences walk
// through them, and what masks cost.
#include "grammar/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <random>

#include "grammar/compiler.h"
#include "grammar/mask_worker.h"

namespace fathom {
namespace {

using Kind = GrammarSpec::Kind;
using testing::HasSubstr;
using testing::StartsWith;

struct Vocabulary {
  std::string folder;
  int32_t vocab_size;
  int32_t eos;
};

Vocabulary demo_vocabulary() { return {FATHOM_SOURCE_DIR "/demo/bf16", 2048, 1}; }
Vocabulary deepseek_vocabulary() {
  const char* set = std::getenv("FATHOM_TEST_TOKENIZER");
  return {set ? set : FATHOM_SOURCE_DIR "/build/test-tokenizer", 129280, 1};
}

class GrammarTest : public testing::TestWithParam<Vocabulary (*)()> {
 protected:
  void SetUp() override {
    const Vocabulary v = GetParam()();
    eos_ = v.eos;
    if (folder_ == v.folder) return;  // half a second for DeepSeek's: once for all tests
    const auto files = FileSet::folder(v.folder);
    ASSERT_TRUE(files) << v.folder << ": run tools/install_deps.sh test, or set FATHOM_TEST_TOKENIZER.";
    tokenizer_ = *Tokenizer::load(**files);
    compiler_ = *GrammarCompiler::create(tokenizer_, v.vocab_size, {v.eos}, {.most_kept = 2, .most_kept_bytes = 10000});
    folder_ = v.folder;
  }

  std::unique_ptr<GrammarState> start(Kind kind, std::string text, std::vector<int32_t> after = {}) {
    auto grammar = compiler_->compile({.kind = kind, .text = std::move(text), .starts_after = {}});
    EXPECT_TRUE(grammar) << grammar.error().message;
    return *GrammarState::create(*grammar, std::move(after));
  }
  std::string error(Kind kind, std::string text) {
    const auto grammar = compiler_->compile({.kind = kind, .text = std::move(text), .starts_after = {}});
    return grammar ? "" : grammar.error().message;
  }
  std::vector<int32_t> allowed(GrammarState& state) {
    std::vector<int32_t> ids;
    const auto mask = state.mask();
    EXPECT_TRUE(mask) << mask.error().message;
    for (int32_t id = 0; id < static_cast<int32_t>(mask->size() * 32); ++id) {
      if ((*mask)[static_cast<size_t>(id / 32)] >> (id % 32) & 1) ids.push_back(id);
    }
    return ids;
  }
  bool may(GrammarState& state, int32_t id) {
    const auto ids = allowed(state);
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }
  // Walks at random; the text, or "..." behind it when it did not end in time.
  std::string walk(GrammarState& state, std::mt19937& random, int most = 200) {
    std::string text;
    for (int i = 0; i < most; ++i) {
      const auto ids = allowed(state);
      const int32_t id = ids[random() % ids.size()];
      EXPECT_TRUE(state.accept(id));
      if (state.ended()) return text;
      text += tokenizer_->token_bytes(id);
    }
    return text + "...";
  }

  static inline std::string folder_;
  static inline std::shared_ptr<const Tokenizer> tokenizer_;
  static inline std::unique_ptr<GrammarCompiler> compiler_;
  int32_t eos_ = 0;
};

TEST_P(GrammarTest, RandomWalksMatch) {
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(walk(*start(Kind::kRegex, "[0-9]{2}(a|bc)"), random), testing::MatchesRegex("[0-9][0-9](a|bc)"));
    EXPECT_THAT(walk(*start(Kind::kEbnf, "root ::= \"x\" d{1,2} # digits\nd ::= [0-9]"), random),
                testing::MatchesRegex("x[0-9][0-9]?"));
    EXPECT_THAT(walk(*start(Kind::kJsonSchema, R"({"enum":["a","b\"c",1]})"), random),
                testing::AnyOf("\"a\"", "\"b\\\"c\"", "1"));
  }
}

TEST_P(GrammarTest, ForcedTextIsWrittenAsTheTokenizerWritesIt) {
  const std::string text = "the weather in Berlin is fine";
  auto state = start(Kind::kRegex, text);
  const auto expected = tokenizer_->encode(text, false);
  for (const int32_t id : *expected) {
    const auto forced = state->forced_tokens();
    if (!forced.empty()) {
      EXPECT_EQ(forced[0], id);
    }
    ASSERT_TRUE(may(*state, id));
    ASSERT_TRUE(state->accept(id));
  }
  EXPECT_TRUE(state->complete());
  EXPECT_EQ(allowed(*state), std::vector<int32_t>{eos_});
  EXPECT_TRUE(state->forced_tokens().empty());
  ASSERT_TRUE(state->accept(eos_));
  EXPECT_TRUE(state->ended());
}

TEST_P(GrammarTest, TokensBeforeTheStartAreFree) {
  const auto think_end = *tokenizer_->encode("</think>", false);
  const auto thought = *tokenizer_->encode("Hmm </thin", false);
  auto state = start(Kind::kRegex, "a", think_end);
  EXPECT_FALSE(state->binds());
  EXPECT_TRUE(state->mask()->empty());
  for (const int32_t id : thought) ASSERT_TRUE(state->accept(id));
  for (const int32_t id : think_end) {
    EXPECT_FALSE(state->binds());
    ASSERT_TRUE(state->accept(id));
  }
  EXPECT_TRUE(state->binds());
  EXPECT_EQ(allowed(*state), *tokenizer_->encode("a", false));
  ASSERT_TRUE(state->rollback(1));
  EXPECT_FALSE(state->binds());
}

TEST_P(GrammarTest, RollbackReturnsToTheSameMask) {
  std::mt19937 random(5);
  const std::string schema = R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"array",
                                 "items":{"type":"boolean"}}},"required":["a","b"]})";
  for (int round = 0; round < 10; ++round) {
    auto state = start(Kind::kJsonSchema, schema);
    std::vector<std::vector<int32_t>> masks;
    while (masks.size() < 30 && !state->ended()) {
      masks.push_back(allowed(*state));
      ASSERT_TRUE(state->accept(masks.back()[random() % masks.back().size()]));
    }
    size_t at = masks.size();
    while (at > 0) {
      const size_t back = 1 + random() % std::min<size_t>(at, 4);
      ASSERT_TRUE(state->rollback(back));
      at -= back;
      EXPECT_FALSE(state->ended());
      ASSERT_EQ(allowed(*state), masks[at]);
    }
  }
}

TEST_P(GrammarTest, ATokenOutsideTheMaskIsAnError) {
  auto state = start(Kind::kRegex, "abc");
  EXPECT_FALSE(state->accept(tokenizer_->encode("z", false)->at(0)));
}

TEST_P(GrammarTest, EqualGrammarsAreCompiledOnceAndOldOnesForgotten) {
  const GrammarSpec a{.kind = Kind::kRegex, .text = "a", .starts_after = {}};
  GrammarSpec b = a;
  b.text = "b";
  const auto first = *compiler_->compile(a);
  EXPECT_EQ(*compiler_->compile(a), first);
  EXPECT_EQ(compiler_->find(b), nullptr);
  ASSERT_TRUE(compiler_->compile(b));
  EXPECT_EQ(compiler_->find(a), first);  // used last
  GrammarSpec c = a;
  c.kind = Kind::kEbnf;
  c.text = "root ::= \"a\"";
  ASSERT_TRUE(compiler_->compile(c));
  EXPECT_EQ(compiler_->find(b), nullptr);
  EXPECT_EQ(compiler_->find(a), first);
}

TEST_P(GrammarTest, LongGrammarsAreKeptWithinABound) {
  const GrammarSpec one{.kind = Kind::kRegex, .text = std::string(6000, 'a'), .starts_after = {}};
  GrammarSpec other = one;
  other.text = std::string(6000, 'b');
  ASSERT_TRUE(compiler_->compile(one));
  EXPECT_NE(compiler_->find(one), nullptr);
  ASSERT_TRUE(compiler_->compile(other));
  EXPECT_EQ(compiler_->find(one), nullptr);
  EXPECT_NE(compiler_->find(other), nullptr);
}

TEST_P(GrammarTest, ErrorsAreShortAndEndWithTheCause) {
  const std::string nested = error(Kind::kRegex, std::string(60000, '(') + std::string(60000, ')'));
  EXPECT_LT(nested.size(), 800u);
  EXPECT_THAT(nested, HasSubstr("nested parentheses"));
  const std::string tag = error(Kind::kStructuralTag,
                                R"({"structures":[{"begin":"<f>","schema":{"type":"object","$ref":"#"},"end":"</f>"}],)"
                                R"("triggers":["<f>"]})");
  EXPECT_THAT(tag, testing::AllOf(HasSubstr("circular"), testing::Not(HasSubstr(" | "))));
}

TEST_P(GrammarTest, ErrorsNameKindAndPlace) {
  EXPECT_EQ(error(Kind::kJsonSchema, R"({"properties":{"a":{"items":{"not":{}}}}})"),
            "Failed to compile json grammar: #/properties/a/items/not: the keyword 'not' is not supported");
  const std::string look_ahead = R"json({"properties":{"a":{"type":"string","pattern":"(?=x)"}}})json";
  EXPECT_THAT(error(Kind::kJsonSchema, look_ahead),
              StartsWith("Failed to compile json grammar: #/properties/a/pattern: "));
  EXPECT_THAT(error(Kind::kRegex, "(a"), StartsWith("Failed to compile regex grammar: "));
  EXPECT_EQ(error(Kind::kEbnf, "root ::= a\na ::= b"),
            "Failed to compile ebnf grammar: line 2: rule 'b' is not defined");
  EXPECT_THAT(error(Kind::kStructuralTag, "[]"), StartsWith("Failed to compile structural_tag grammar: "));
}

TEST_P(GrammarTest, EbnfErrorsNameTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"root ::= \"a\n", "line 1: the string that opens here is not closed"},
      {"\n\nroot ::= [a", "line 3: the class that opens here is not closed"},
      {"root ::= (\"a\"\n| \"b\"", "line 1: the group that opens here is not closed"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2: rule 'root' is defined in line 1 too"},
      {"root ::= \"a\" )", "line 1: unexpected ')'"},
      {"root = \"a\"", "line 1: expected '::=' behind the rule name 'root'"},
      {"root ::= \"a\"{3,2}", "line 1: repetition {3,2}: the upper bound is the smaller one"},
      {"root ::= \"a\"{9999999}", "line 1: repetition of 9999999: at most 100000 are allowed"},
      {"root ::= \"\\q\"", "line 1: unknown escape \\q"},
      {"root ::= [z-a]", "line 1: range 'z'-'a' is in the wrong order"},
      {"root ::= [\\uD800]", "line 1: \\ud800 is not a character"},
      {"123", "line 1: expected a rule name, found '1'"},
      {"", "line 1: the start rule 'root' is not defined"},
  };
  for (const auto& [grammar, message] : cases) {
    EXPECT_THAT(error(Kind::kEbnf, grammar), HasSubstr(message)) << grammar;
  }
}

TEST_P(GrammarTest, TheWorkerComputesWhatTheCallerWould) {
  MaskWorker worker;
  std::mt19937 random(3);
  std::vector<std::unique_ptr<GrammarState>> states, twins;
  for (int i = 0; i < 12; ++i) {
    const std::string pattern = fmt::format("([a-z]{{{}}} )*[0-9]+", i % 5 + 1);
    states.push_back(start(Kind::kRegex, pattern));
    twins.push_back(start(Kind::kRegex, pattern));
  }
  for (int step = 0; step < 30; ++step) {
    std::vector<GrammarState*> all;
    for (auto& state : states) all.push_back(state.get());
    worker.begin(std::move(all));
    worker.finish();
    for (size_t i = 0; i < states.size(); ++i) {
      const auto ids = allowed(*twins[i]);
      ASSERT_EQ(allowed(*states[i]), ids);
      const int32_t id = ids[random() % ids.size()];
      ASSERT_TRUE(states[i]->accept(id));
      ASSERT_TRUE(twins[i]->accept(id));
      if (!states[i]->ended()) continue;
      states[i] = start(Kind::kRegex, "[ab]*");
      twins[i] = start(Kind::kRegex, "[ab]*");
    }
  }
  worker.begin({});
  worker.finish();
}

// Of this thread, in microseconds: other programs do not count.
double cpu_micros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

// Prints what masks cost; says nothing about whether that is fast.
TEST_P(GrammarTest, CostOfMasks) {
  const std::string schemas[] = {
      R"({"type":"object"})",
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0},
          "mail":{"type":"string","format":"email"},"born":{"type":"string","format":"date-time"},
          "tags":{"type":"array","items":{"type":"string","maxLength":12}},
          "kind":{"enum":["person","company","other"]}},"required":["name","age","mail","born","tags","kind"],
          "additionalProperties":false})",
      R"({"$ref":"#/$defs/t","$defs":{"t":{"type":"object","properties":{"v":{"type":"number"},"kids":
          {"type":"array","items":{"$ref":"#/$defs/t"}}},"required":["v","kids"]}}})"};
  std::vector<double> micros;
  std::mt19937 random(9);
  for (const std::string& schema : schemas) {
    for (int i = 0; i < 10; ++i) {
      auto state = start(Kind::kJsonSchema, schema);
      for (int step = 0; step < 60 && !state->ended(); ++step) {
        const double begin = cpu_micros();
        state->compute_mask();
        micros.push_back(cpu_micros() - begin);
        const auto ids = allowed(*state);
        ASSERT_TRUE(state->accept(ids[random() % ids.size()]));
      }
    }
  }
  std::sort(micros.begin(), micros.end());
  const auto at = [&](double share) { return micros[static_cast<size_t>(share * static_cast<double>(micros.size() - 1))]; };
  fmt::print("{} masks of {} tokens: p50 {:.0f} us, p99 {:.0f} us, worst {:.0f} us\n", micros.size(),
             GetParam()().vocab_size, at(0.5), at(0.99), at(1));
}

INSTANTIATE_TEST_SUITE_P(Demo, GrammarTest, testing::Values(&demo_vocabulary));
INSTANTIATE_TEST_SUITE_P(DeepSeek, GrammarTest, testing::Values(&deepseek_vocabulary));

}  // namespace
}  // namespace fathom
