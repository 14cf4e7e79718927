// No replica loses, doubles or mixes up what clients were promised, whatever fails.
#include "tests/engine/journal/ownership_model.h"

#include <cstdio>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvasir {
namespace {

using testing::ExploreOwnership;
using testing::OwnershipReport;
using testing::OwnershipRules;
using testing::OwnershipScope;
using ::testing::StartsWith;
using testing::Wish;

constexpr Wish kAppend = Wish::kAppend, kCut = Wish::kCutLast, kDelete = Wish::kDelete,
               kCreate = Wish::kCreate;

// Small enough to look at all states, large enough for every broken rule to show.
const OwnershipScope kTwoWriters = {.replicas = 2, .clients = {{kAppend}, {kAppend}}};
const OwnershipScope kThreeReplicas = {.replicas = 3, .clients = {{kAppend, kAppend}}};
const OwnershipScope kCutting = {.replicas = 2, .clients = {{kAppend}, {kCut}}, .last_version = 3};
const OwnershipScope kLongerCutting = {
    .replicas = 2, .clients = {{kAppend, kAppend}, {kCut}}, .under_way = 1, .last_version = 4};
const OwnershipScope kDeleting = {.replicas = 2, .clients = {{kAppend}, {kDelete, kCreate}}};
const OwnershipScope kReborn = {
    .replicas = 2, .clients = {{kAppend}, {kDelete, kCreate, kAppend}}, .under_way = 1};

class OwnershipModelTest : public ::testing::TestWithParam<OwnershipScope> {};

TEST_P(OwnershipModelTest, NothingIsLostDoubledOrMixedUp) {
  const OwnershipReport report = ExploreOwnership(GetParam(), {});
  std::printf("%lu states, %lu steps\n", report.states, report.steps);
  EXPECT_EQ(report.violation, "");
  // All that it is about has happened.
  EXPECT_GT(report.states, 10'000);
  EXPECT_GT(report.stale, 0);
  EXPECT_GT(report.unknown, 0);
  EXPECT_GT(report.twice, 0);
  EXPECT_GT(report.acquired, 0);
  EXPECT_GT(report.finished, 0);
}

INSTANTIATE_TEST_SUITE_P(Scopes, OwnershipModelTest,
                         ::testing::Values(kTwoWriters, kThreeReplicas, kCutting, kLongerCutting,
                                           kDeleting, kReborn));

// A replica that answers from memory longer than it may does no harm to a session that only grows:
// what it writes is refused, and what it tells of the length is found out by the next write.
TEST(OwnershipModel, OverstayingDoesNoHarmWhereSessionsOnlyGrow) {
  OwnershipRules rules;
  rules.serves_within_lease = false;
  EXPECT_EQ(ExploreOwnership(kTwoWriters, rules).violation, "");
}

// Without any one of them, something breaks.
TEST(OwnershipModel, EveryRuleIsNeeded) {
  struct Case {
    bool OwnershipRules::*rule;
    OwnershipScope scope;
    std::string property;
  };
  const std::vector<Case> cases = {
      {&OwnershipRules::compares_fence, kTwoWriters, "an owner's copy is stale"},
      {&OwnershipRules::compares_version, kTwoWriters,
       "a write happens to a state that it was not made from"},
      {&OwnershipRules::knows_own_write, kTwoWriters,
       "the store doubts the write that made its state"},
      {&OwnershipRules::doubts_repetitions, kTwoWriters,
       "a write is said not to have happened, but has"},
      {&OwnershipRules::fences_never_restart, kDeleting,
       "a write happens to a state that it was not made from"},
      {&OwnershipRules::acquire_renews_fence, kTwoWriters, "an owner's copy is stale"},
      {&OwnershipRules::known_by_write, kReborn, "a copy that was never stored"},
      {&OwnershipRules::creation_keeps_fence, kDeleting, "an owner's copy is stale"},
      {&OwnershipRules::serves_within_lease, kReborn, "a token is there twice"},
  };
  for (const Case& broken : cases) {
    OwnershipRules rules;
    rules.*broken.rule = false;
    const OwnershipReport report = ExploreOwnership(broken.scope, rules);
    EXPECT_THAT(report.violation, StartsWith(broken.property)) << "rule " << &broken - cases.data();
  }
}

}  // namespace
}  // namespace kvasir
