// Invariant I2 through real gRPC: however a Generate call ends, and whenever, the session is what
// it was, or input + S, where what the client received is a prefix of S and S is a prefix of the
// uninterrupted run. And no block leaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/services/cuttable_link.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::CreateWith;
using kvasir::testing::CuttableLink;
using kvasir::testing::Delete;
using kvasir::testing::Fork;
using kvasir::testing::Generate;
using kvasir::testing::Generation;
using kvasir::testing::Get;
using kvasir::testing::Ids;
using kvasir::testing::ModelServer;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using kvasir::testing::Truncate;
using std::chrono::microseconds;
using ::testing::Gt;

constexpr uint32_t kNewTokens = 120;

bool IsPrefix(const Ids& prefix, const Ids& of) {
  return prefix.size() <= of.size() && std::equal(prefix.begin(), prefix.end(), of.begin());
}

enum class Interruption { kCancel, kDeadline, kClientGone };

// One conversation whose turns are interrupted one after the other, by a client of its own.
class Conversation {
 public:
  Conversation(ModelServer& server, const std::string& id, uint32_t seed)
      : server_(server), stub_(server.NewStub()), id_(id), random_(seed) {
    CreateWith(*stub_, id_, SomeIds(10, seed));
  }

  void TakeTurn(Interruption interruption) {
    const Ids before = ReadAll(*stub_, id_);
    const std::string reference_id = id_ + ".reference";
    v1::ForkSessionRequest fork;
    fork.set_session_id(id_);
    fork.set_new_session_id(reference_id);
    ASSERT_TRUE(Fork(*stub_, fork).ok());

    const Ids input = SomeIds(random_() % 100, random_());
    v1::GenerateRequest request = AskFor(id_, input, kNewTokens);
    request.set_request_id("turn");
    const Generation received = Interrupted(request, interruption);
    AwaitSettled(before.size());
    const Ids after = ReadAll(*stub_, id_);

    request.set_session_id(reference_id);
    const Generation whole = Generate(*stub_, request);
    ASSERT_TRUE(whole.status.ok()) << whole.status.error_message();
    Check(before, input, received.ids, after, whole.ids);
    EXPECT_TRUE(!received.status.ok() || received.ids == whole.ids);

    EXPECT_TRUE(Delete(*stub_, reference_id).ok());
    v1::TruncateSessionRequest truncate;  // keeps the conversation short
    truncate.set_session_id(id_);
    truncate.set_length(std::min<size_t>(after.size(), 200));
    grpc::Status cut = Truncate(*stub_, truncate);
    // A call that was given up on its way in may make the session busy yet.
    while (cut.error_code() == grpc::ABORTED) cut = Truncate(*stub_, truncate);
    EXPECT_TRUE(cut.ok()) << cut.error_message();
  }

  // Turns that ended with some tokens, but not all.
  int cut_in_the_middle() const { return cut_in_the_middle_; }

 private:
  Generation Interrupted(const v1::GenerateRequest& request, Interruption interruption) {
    // Half of the turns are cut at a token, half at a moment.
    const bool at_token = random_() % 2 == 0;
    const size_t token = random_() % kNewTokens;
    const microseconds moment(random_() % 30'000);
    grpc::ClientContext context;
    CuttableLink link(server_.address());
    std::unique_ptr<v1::ModelService::Stub> stub = v1::ModelService::NewStub(
        grpc::CreateChannel(link.address(), grpc::InsecureChannelCredentials()));
    if (interruption == Interruption::kDeadline) {
      context.set_deadline(std::chrono::system_clock::now() + moment);
      return Generate(*stub_, request, context);
    }
    const auto interrupt = [&] {
      if (interruption == Interruption::kCancel) {
        context.TryCancel();
      } else {
        link.Cut();
      }
    };
    v1::ModelService::Stub& client = interruption == Interruption::kCancel ? *stub_ : *stub;
    if (at_token) {
      bool done = false;
      return Generate(client, request, context, [&](const Generation& so_far) {
        if (!done && so_far.ids.size() >= token) {
          interrupt();
          done = true;
        }
      });
    }
    std::thread timer([&] {
      std::this_thread::sleep_for(moment);
      interrupt();
    });
    Generation received = Generate(client, request, context);
    timer.join();
    return received;
  }

  // A call whose client is gone may still be on its way into the engine or out of it.
  void AwaitSettled(size_t length_before) {
    v1::Session session;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    do {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "the session stays busy";
      ASSERT_TRUE(Get(*stub_, id_, session).ok());
      if (session.busy()) std::this_thread::yield();
    } while (session.busy());
    if (session.last_request_id() == "turn" && session.length() > length_before) {
      EXPECT_EQ(session.last_base_length(), length_before);
    }
  }

  void Check(const Ids& before, const Ids& input, const Ids& received, const Ids& after,
             const Ids& whole) {
    if (after == before) {
      EXPECT_TRUE(received.empty()) << received.size() << " tokens received, none kept";
      return;
    }
    Ids base = before;
    base.insert(base.end(), input.begin(), input.end());
    ASSERT_TRUE(IsPrefix(base, after)) << "the session lost its past or its input";
    const Ids kept(after.begin() + static_cast<ptrdiff_t>(base.size()), after.end());
    EXPECT_FALSE(kept.empty()) << "input came in without a token";
    EXPECT_TRUE(IsPrefix(received, kept)) << received.size() << " received, " << kept.size();
    EXPECT_TRUE(IsPrefix(kept, whole)) << "not what an uninterrupted run gives";
    if (kept.size() < whole.size()) ++cut_in_the_middle_;
  }

  ModelServer& server_;
  std::unique_ptr<v1::ModelService::Stub> stub_;
  const std::string id_;
  std::mt19937 random_;
  int cut_in_the_middle_ = 0;
};

class AtomicTurnRpcTest : public ::testing::TestWithParam<Interruption> {};

TEST_P(AtomicTurnRpcTest, UnderLoad) {
  constexpr int kConversations = 4;
  constexpr int kTurns = 25;
  ModelServer server;
  std::atomic<int> cut_in_the_middle = 0;
  std::vector<std::thread> threads;
  for (int c = 0; c < kConversations; ++c) {
    threads.emplace_back([&, c] {
      Conversation conversation(server, "c" + std::to_string(c), static_cast<uint32_t>(c + 1));
      for (int turn = 0; turn < kTurns && !::testing::Test::HasFailure(); ++turn) {
        conversation.TakeTurn(GetParam());
      }
      cut_in_the_middle += conversation.cut_in_the_middle();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(cut_in_the_middle.load(), Gt(10)) << "the interruptions come too early or too late";

  EXPECT_GT(server.SettledStats().kv_blocks_used, 0);
  for (int c = 0; c < kConversations; ++c) {
    EXPECT_TRUE(Delete(server.stub(), "c" + std::to_string(c)).ok());
  }
  const EngineStats stats = server.SettledStats();
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.sessions, 0);
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
}

std::string NameOf(const ::testing::TestParamInfo<Interruption>& info) {
  const char* const names[] = {"Cancel", "Deadline", "ClientGone"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(, AtomicTurnRpcTest,
                         ::testing::Values(Interruption::kCancel, Interruption::kDeadline,
                                           Interruption::kClientGone),
                         NameOf);

TEST(SlowReader, PausesOnlyItself) {
  ModelServer server;
  // About 250 bytes a token: 2,000 of them are far more than the windows of HTTP/2 and the queue.
  constexpr uint32_t kTokens = 2000;
  v1::GenerateRequest request = AskFor("", SomeIds(10, 1), kTokens);
  request.set_top_logprobs(20);
  request.mutable_sampling()->set_seed(5);
  const Generation fast = Generate(server.stub(), request);
  ASSERT_TRUE(fast.status.ok()) << fast.status.error_message();

  const auto slow_stub = server.NewStub();
  grpc::ClientContext context;
  const auto reader = slow_stub->Generate(&context, request);
  const uint64_t before = server.SettledStats().generated_tokens;
  // Its client reads nothing: it comes to a stop, short of its end.
  uint64_t generated = before, last = before;
  do {
    last = generated;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    generated = server.engine().stats().generated_tokens;
  } while (generated != last);
  EXPECT_GT(generated, before);
  EXPECT_LT(generated, before + kTokens);

  // Nobody else does.
  const Generation other = Generate(server.stub(), AskFor("", SomeIds(10, 2), 200));
  ASSERT_TRUE(other.status.ok()) << other.status.error_message();
  EXPECT_EQ(other.ids.size(), 200u);
  EXPECT_EQ(server.SettledStats().generated_tokens, generated + 200);

  // Once it reads, it gets all that it asked for.
  Ids ids;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    ids.insert(ids.end(), response.chunk().ids().begin(), response.chunk().ids().end());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(ids, fast.ids);
  EXPECT_EQ(server.SettledStats().kv_blocks_used, 0);
}

double CountOf(prometheus::Registry& registry, const std::string& code) {
  for (const prometheus::MetricFamily& family : registry.Collect()) {
    if (family.name != "kvasir_requests_total") continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      for (const auto& label : metric.label) {
        if (label.value == code) return metric.counter.value;
      }
    }
  }
  return 0;
}

TEST(Deadline, IsTheStatusThatIsCounted) {
  ModelServer server;
  v1::GenerateRequest endless = AskFor("", {1}, 1);
  endless.clear_max_new_tokens();
  // On a machine with much else to do, a call may come to its end before it comes to the server.
  for (int i = 0; i < 20 && CountOf(server.registry(), "DEADLINE_EXCEEDED") == 0; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
    EXPECT_EQ(Generate(server.stub(), endless, context).status.error_code(),
              grpc::DEADLINE_EXCEEDED);
  }
  server.server().Shutdown(absl::Seconds(5));  // all are counted now
  EXPECT_GT(CountOf(server.registry(), "DEADLINE_EXCEEDED"), 0);
  EXPECT_EQ(CountOf(server.registry(), "CANCELLED"), 0);
}

}  // namespace
}  // namespace kvasir
