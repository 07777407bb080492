#include "sample/thoughts.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Thoughts, TheEndIsForcedWhenTheBudgetIsSpent) {
  const ThoughtLimits limits{.end = {7}, .budget = 2, .banned = {1}};
  Thoughts thoughts(&limits);
  EXPECT_EQ(thoughts.forced(), -1);
  thoughts.add(3);
  EXPECT_EQ(thoughts.forced(), -1);
  thoughts.add(4);
  EXPECT_EQ(thoughts.forced(), 7);
  EXPECT_EQ(thoughts.banned().size(), 1u);
  thoughts.add(7);
  EXPECT_EQ(thoughts.forced(), -1);
  EXPECT_TRUE(thoughts.banned().empty());
}

TEST(Thoughts, NoneAreAllowed) {
  const ThoughtLimits limits{.end = {7}, .budget = 0};
  EXPECT_EQ(Thoughts(&limits).forced(), 7);
}

TEST(Thoughts, AnEndOfSeveralTokensIsCompleted) {
  const ThoughtLimits limits{.end = {7, 8, 9}, .budget = 3};
  Thoughts thoughts(&limits);
  for (const int32_t token : {7, 7, 8}) thoughts.add(token);
  EXPECT_EQ(thoughts.forced(), 9);
  thoughts.add(9);
  EXPECT_EQ(thoughts.forced(), -1);
}

TEST(Thoughts, TheEndComesWhereTheAnswerWouldEnd) {
  const ThoughtLimits limits{.end = {7, 8}, .closes = true};
  Thoughts thoughts(&limits);
  thoughts.add(3);
  EXPECT_EQ(thoughts.instead_of_stop(), 7);
  EXPECT_EQ(thoughts.forced(), -1);
  thoughts.close();
  thoughts.add(7);
  EXPECT_EQ(thoughts.forced(), 8);
  thoughts.add(8);
  EXPECT_EQ(thoughts.forced(), -1);
  EXPECT_EQ(thoughts.instead_of_stop(), -1);
}

TEST(Thoughts, EndedByThemselvesNothingIsForced) {
  const ThoughtLimits limits{.end = {7}, .budget = 2};
  Thoughts thoughts(&limits);
  for (const int32_t token : {7, 1, 2, 3}) thoughts.add(token);
  EXPECT_EQ(thoughts.forced(), -1);
  EXPECT_EQ(Thoughts().forced(), -1);
}

}  // namespace
}  // namespace fathom
