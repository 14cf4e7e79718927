#include "services/cli/retries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>
#include <vector>

#include "services/cli/interrupts.h"
#include "services/grpc_status.h"

namespace kvasir::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RetriesTest : public ::testing::Test {
 protected:
  Retries WithBudget(Retries::Clock::duration budget) {
    return Retries(budget, {.now = [this] { return now_; },
                            .sleep =
                                [this](Retries::Clock::duration time) {
                                  waits_.push_back(time);
                                  now_ += time;
                                },
                            .tell = [this](const std::string& line) { told_.push_back(line); }});
  }

  const grpc::Status gone_ = {grpc::StatusCode::UNAVAILABLE, "no route"};
  Retries::Clock::time_point now_;
  std::vector<Retries::Clock::duration> waits_;
  std::vector<std::string> told_;
};

TEST_F(RetriesTest, WhatMayPassIsTriedAgain) {
  using grpc::StatusCode;
  EXPECT_TRUE(IsTransient(gone_));
  EXPECT_TRUE(IsTransient({StatusCode::CANCELLED, "by the server"}));
  EXPECT_TRUE(IsTransient({StatusCode::UNKNOWN, "Stream removed"})) << "a proxy lost its server";
  for (const auto& [reason, transient] :
       {std::pair{Reason::kStore, true}, std::pair{Reason::kNotOwner, true},
        std::pair{Reason::kDraining, true}, std::pair{Reason::kLeaseLost, true},
        std::pair{Reason::kLengthMismatch, false}, std::pair{Reason::kSessionBusy, false},
        std::pair{Reason::kSessionNotFound, false}, std::pair{Reason::kModelChanged, false}}) {
    EXPECT_EQ(IsTransient(ToGrpcStatus(MakeError(reason, "x"))), transient) << NameOf(reason);
  }
  EXPECT_FALSE(IsTransient(grpc::Status::OK));
  EXPECT_FALSE(IsTransient({StatusCode::INVALID_ARGUMENT, "x"}));
}

TEST_F(RetriesTest, WaitsGrowToTwoSecondsAndEndWithTheBudget) {
  Retries retries = WithBudget(seconds(30));
  grpc::Status status = gone_;
  while (retries.Again(status)) EXPECT_EQ(status.error_message(), "no route");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(),
              ::testing::AllOf(HasSubstr("30 s (--retry-for)"), HasSubstr("no route")));
  EXPECT_EQ(now_.time_since_epoch(), seconds(30)) << "the last try is at the end";
  milliseconds longest(100);
  ASSERT_GT(waits_.size(), 10);
  waits_.pop_back();  // what was left
  for (const Retries::Clock::duration wait : waits_) {
    EXPECT_GE(wait, longest / 2);
    EXPECT_LE(wait, longest);
    longest = std::min<milliseconds>(2 * longest, seconds(2));
  }
}

TEST_F(RetriesTest, TellsOnceOfAnOutageThatLasts) {
  Retries retries = WithBudget(seconds(30));
  grpc::Status status = gone_;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(retries.Again(status));
  EXPECT_THAT(told_, IsEmpty()) << "within 0.7 s";
  while (now_.time_since_epoch() < seconds(20)) ASSERT_TRUE(retries.Again(status));
  EXPECT_THAT(told_, ElementsAre(::testing::MatchesRegex(
                         "the server cannot be reached; trying again for 2[89] s")));
  retries.Progress();
  status = ToGrpcStatus(MakeError(Reason::kNotOwner, "another replica's"));
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(retries.Again(status)) << "a budget of its own";
  EXPECT_EQ(told_.size(), 2);
  EXPECT_THAT(told_.back(), HasSubstr("NOT_OWNER"));
}

TEST_F(RetriesTest, AfterAnOutageWasGivenUpTheNextHasItsOwnBudget) {
  Retries retries = WithBudget(seconds(1));
  for (int i = 0; i < 2; ++i) {
    grpc::Status status = gone_;
    EXPECT_TRUE(retries.Again(status));
    while (retries.Again(status)) continue;
  }
  EXPECT_EQ(now_.time_since_epoch(), seconds(2));
}

TEST_F(RetriesTest, TheServersDelayIsHonoured) {
  Retries retries = WithBudget(seconds(10));
  grpc::Status status = ToGrpcStatus(MakeError(Reason::kDraining, "soon", {}, absl::Seconds(7)));
  EXPECT_TRUE(retries.Again(status));
  EXPECT_THAT(waits_, ElementsAre(seconds(7)));
  EXPECT_FALSE(retries.Again(status)) << "7 s more would be too late";
  EXPECT_THAT(waits_, ElementsAre(seconds(7)));
  EXPECT_EQ(DetailOf(status).reason, "DRAINING");
}

TEST_F(RetriesTest, WithoutABudgetOrSwitchedOffNothingIsTriedAgain) {
  Retries none = WithBudget(seconds(0));
  grpc::Status status = gone_;
  EXPECT_FALSE(none.Again(status));
  EXPECT_EQ(status.error_message(), "no route");
  Retries retries = WithBudget(seconds(30));
  {
    const Retries::Off off(retries);
    EXPECT_FALSE(retries.Again(status));
    EXPECT_EQ(status.error_message(), "no route");
  }
  EXPECT_TRUE(retries.Again(status));
}

TEST_F(RetriesTest, CtrlCEndsAWaitAtOnce) {
  Retries retries(seconds(3600), {.now = Retries::Clock::now,
                                  .sleep =
                                      [](Retries::Clock::duration) {
                                        std::raise(SIGINT);
                                        // For ever, were it not for the signal.
                                        Interrupts::Get().Wait(std::chrono::hours(24));
                                      },
                                  .tell = [](const std::string&) {}});
  Interrupts::Get();
  grpc::Status status = gone_;
  EXPECT_FALSE(retries.Again(status));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  Interrupts::Get().Clear();
}

}  // namespace
}  // namespace kvasir::cli
