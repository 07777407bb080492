#include "text/stop_matcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace fathom {
namespace {

Result<StopMatcher> matcher_of(const std::vector<std::string>& strings,
                               const std::vector<std::string>& regexes, bool at_once = false) {
  return StopMatcher(TRY(StopSet::create(strings, regexes)), at_once);
}

struct Outcome {
  std::string text;
  std::optional<std::string> matched;
  std::string stop_text;
};

// Feeds `text` in pieces of the given sizes (the last one repeats).
Outcome feed(StopMatcher& matcher, std::string_view text, const std::vector<size_t>& sizes) {
  Outcome run;
  for (size_t i = 0; !text.empty(); ++i) {
    const size_t size = std::min(text.size(), sizes[std::min(i, sizes.size() - 1)]);
    StopMatcher::Output out = matcher.push(text.substr(0, size));
    run.text += out.text;
    if (out.matched) {
      run.matched = out.matched;
      run.stop_text = out.stop_text;
      return run;
    }
    text.remove_prefix(size);
  }
  run.text += matcher.finish();
  return run;
}

Outcome whole(const std::vector<std::string>& stops, std::string_view text, size_t piece) {
  auto matcher = matcher_of(stops, {});
  return feed(*matcher, text, {piece});
}

// The obvious way: the stop string with the smallest end, the longest of those.
Outcome expected(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& s : stops) {
      if (s.size() <= end && s.size() > longest.size() &&
          text.compare(end - s.size(), s.size(), s) == 0) {
        longest = s;
      }
    }
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest, longest};
  }
  return {text, std::nullopt, ""};
}

TEST(StopMatcher, AgreesWithTheObviousSearchHoweverTextIsCut) {
  std::mt19937 random(7);
  const auto word = [&](size_t most) {
    std::string s;
    for (size_t n = random() % (most + 1); n > 0; --n) s += static_cast<char>('a' + random() % 2);
    return s;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops(1 + random() % 4);
    for (std::string& s : stops) s = word(6);
    const std::string text = word(40);
    const Outcome right = expected(stops, text);
    std::vector<size_t> cuts(8);
    for (size_t& cut : cuts) cut = 1 + random() % 9;
    auto matcher = matcher_of(stops, {});
    const Outcome run = feed(*matcher, text, cuts);
    ASSERT_EQ(run.text, right.text) << text << " stops " << testing::PrintToString(stops);
    ASSERT_EQ(run.matched, right.matched);
    ASSERT_EQ(run.stop_text, right.stop_text);
  }
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  auto matcher = matcher_of({"\n\nUser:", "END"}, {});
  EXPECT_EQ(matcher->push("Hello E").text, "Hello ");
  EXPECT_EQ(matcher->push("N").text, "");
  EXPECT_EQ(matcher->push("ough").text, "ENough");
  EXPECT_EQ(matcher->push(" x\n").text, " x");
  EXPECT_EQ(matcher->push("\n").text, "");
  const auto out = matcher->push("User: more");
  EXPECT_EQ(out.text, "");
  EXPECT_EQ(out.matched, "\n\nUser:");
}

TEST(StopMatcher, EmptyAndAbsentStopsNeverMatch) {
  EXPECT_EQ(whole({}, "text", 1).text, "text");
  EXPECT_EQ(whole({""}, "text", 1).text, "text");
}

TEST(StopMatcher, LongSelfSimilarStopsStayLinear) {
  // 32 stop strings of 4096 equal bytes and half a megabyte that nearly matches: quadratic work
  // would take minutes.
  std::vector<std::string> stops;
  for (int i = 0; i < 32; ++i)
    stops.push_back(std::string(4095, 'a') + static_cast<char>('b' + i % 20));
  const std::string text(1 << 19, 'a');
  auto matcher = matcher_of(stops, {});
  std::string sent;
  for (size_t at = 0; at < text.size(); at += 16)
    sent += matcher->push(std::string_view(text).substr(at, 16)).text;
  EXPECT_EQ(sent.size(), text.size() - 4095);
  EXPECT_EQ(matcher->finish().size(), 4095u);
}

TEST(StopMatcher, RegexesMatchAcrossPieces) {
  auto matcher = matcher_of({}, {"[0-9]{3}"});
  EXPECT_EQ(matcher->push("ab 1").text, "ab 1");
  EXPECT_FALSE(matcher->push("2").matched);
  const auto out = matcher->push("34");
  EXPECT_EQ(out.matched, "[0-9]{3}");
  EXPECT_EQ(out.stop_text, "3");  // the first two digits were sent already
}

TEST(StopMatcher, NothingOfARegexsMatchIsLeftInATextThatIsReadAtOnce) {
  auto matcher = matcher_of({"END"}, {"She loses [0-9]+ of"}, true);
  std::string text;
  for (const char* piece : {"Tom asks. ", "She ", "loses", " 1", "0 of"}) {
    const auto out = matcher->push(piece);
    text += out.text;
    EXPECT_EQ(out.matched.has_value(), std::string_view(piece) == "0 of");
    EXPECT_EQ(out.stop_text, out.matched ? "She loses 10 of" : "");
  }
  EXPECT_EQ(text, "Tom asks. ");

  // A long text is let go of but for what a regex may look back over.
  matcher = matcher_of({}, {"never"}, true);
  std::string all;
  text.clear();
  for (int i = 0; i < 5000; ++i) {
    all += "é€😀";
    text += matcher->push("é€😀").text;
  }
  EXPECT_EQ(text.size(), all.size() - 4096);
  EXPECT_EQ(text + matcher->finish(), all);
}

TEST(StopMatcher, ForgetsOldTextBetweenCharacters) {
  auto matcher = matcher_of({}, {"never"});
  std::string sent;
  for (int i = 0; i < 5000; ++i) sent += matcher->push("é€😀").text;
  EXPECT_EQ(sent.size(), 45000u);
  EXPECT_EQ(matcher->push("it is never").matched, "never");
}

TEST(StopMatcher, RefusesBadAndHugePatterns) {
  for (const char* bad :
       {"(", "a{2", "[z-a]", "*", "(?<=x)y", "((((((((((a{99}){99}){99}){99})))))))"}) {
    const auto matcher = StopSet::create({}, {bad});
    if (std::string_view(bad) == "a{2") continue;  // a literal in some dialects
    ASSERT_FALSE(matcher) << bad;
    EXPECT_THAT(matcher.error().message, testing::HasSubstr("stop_regex"));
  }
  const std::string nested = std::string(60000, '(') + std::string(60000, ')');
  EXPECT_FALSE(StopSet::create({}, {nested}));
}

}  // namespace
}  // namespace fathom
