// What stored sessions cost an engine: throughput, memory, start, restoring.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/check.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/heap_bytes.h"
#include "tests/engine/random_model.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using testing::RandomModel;
using testing::SyncEngine;

constexpr int kBatch = 16;
constexpr uint32_t kInput = 16, kReply = 64;  // tokens of a turn; replies on the average
constexpr int kTurns = 12;                    // of each session
constexpr int kPairs = 9;

enum class Replies {
  kOfAllLengths,  // 37 to 92 tokens: turns end one by one
  kOfOneLength,   // all turns end in the same step, and nobody computes while they are stored
};

constexpr int kSessions = 100'000;
constexpr size_t kLength = 1'000;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double MillisecondsOf(const std::function<void()>& call) {
  const absl::Time start = absl::Now();
  call();
  return absl::ToDoubleMilliseconds(absl::Now() - start);
}

std::shared_ptr<SessionStore> OpenStore(const std::string& path) {
  auto opened = OpenSqliteStore(path);
  if (!opened.ok()) std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
  KVASIR_CHECK(opened.ok());
  return *std::move(opened);
}

// One session after the other's answer, as a client does: the next turn begins when one has ended.
class Talk : public GenerateSink {
 public:
  using Next = std::function<void(int session, int turn)>;
  Talk(int session, int turn, const Next& next, std::promise<void>* ended)
      : session_(session), turn_(turn), next_(next), ended_(ended) {}

  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {}
  void OnComplete(const GenerateComplete&) override {
    if (turn_ + 1 < kTurns) {
      next_(session_, turn_ + 1);
    } else {
      ended_->set_value();
    }
  }
  void OnError(const absl::Status& status) override {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::abort();
  }

 private:
  const int session_, turn_;
  const Next& next_;
  std::promise<void>* ended_;
};

uint32_t ReplyLength(Replies replies, int session, int turn) {
  if (replies == Replies::kOfOneLength) return kReply;
  // The turns of a session are as long together, whatever the session.
  const uint32_t step = kReply / (kTurns - 1);
  return kReply - step * (kTurns - 1) / 2 + step * ((turn * 5 + session) % kTurns);
}

// They exist before the clock runs: creating them is not a turn's cost, and would spread the turns.
void CreateEmpty(Engine& engine) {
  for (int i = 0; i < kBatch; ++i) {
    std::promise<void> created;
    engine.CreateSession({.session_id = absl::StrFormat("s%d", i)},
                         [&created](const absl::StatusOr<SessionInfo>& info) {
                           KVASIR_CHECK(info.ok());
                           created.set_value();
                         });
    created.get_future().get();
  }
}

// Generated tokens a second.
double Throughput(const EngineOptions& options, Replies replies) {
  auto created = Engine::Create(options);
  KVASIR_CHECK(created.ok());
  Engine& engine = **created;
  CreateEmpty(engine);
  std::vector<std::promise<void>> ended(kBatch);
  const Talk::Next next = [&](int session, int turn) {
    engine.Generate({.session_id = absl::StrFormat("s%d", session),
                     .input_ids = std::vector<int>(kInput, 100 + turn),
                     .max_new_tokens = ReplyLength(replies, session, turn),
                     .ignore_eos = true},
                    std::make_shared<Talk>(session, turn, next, &ended[session]));
  };
  const double milliseconds = MillisecondsOf([&] {
    for (int i = 0; i < kBatch; ++i) next(i, 0);
    for (auto& one : ended) one.get_future().get();
  });
  int tokens = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    for (int i = 0; i < kBatch; ++i) tokens += static_cast<int>(ReplyLength(replies, i, turn));
  }
  return tokens / milliseconds * 1e3;
}

void MeasureThroughput(const std::string& model, const std::string& folder, int threads) {
  struct Mode {
    const char* name;
    Durability durability;
    Replies replies = Replies::kOfAllLengths;
  };
  absl::PrintF(
      "%d sessions at once, %d turns of %d + %d tokens each, %d pairs with and without "
      "SQLite: medians\n%-24s %14s %14s %10s %10s\n",
      kBatch, kTurns, kInput, kReply, kPairs, "durability", "without, tok/s", "with, tok/s",
      "ratio", "from..to");
  int files = 0;
  const auto run = [&](std::optional<Durability> durability, Replies replies) {
    EngineOptions options;
    options.model_dir = model;
    options.kv_memory = int64_t{256} << 20;
    options.threads = threads;
    if (durability) {
      options.durability = *durability;
      options.session_store = OpenStore(absl::StrFormat("%s/speed-%d", folder, ++files));
    }
    return Throughput(options, replies);
  };
  (void)run(std::nullopt, Replies::kOfAllLengths);  // warm
  for (const Mode mode : {Mode{"turn", Durability::kTurn},
                          Mode{"turn, all at one time", Durability::kTurn, Replies::kOfOneLength},
                          Mode{"token", Durability::kToken}, Mode{"none", Durability::kNone}}) {
    std::vector<double> without, with, ratios;
    for (int i = 0; i < kPairs; ++i) {
      // Which one comes first changes: the machine's mood has a slope.
      if (i % 2 == 0) without.push_back(run(std::nullopt, mode.replies));
      with.push_back(run(mode.durability, mode.replies));
      if (i % 2 == 1) without.push_back(run(std::nullopt, mode.replies));
      ratios.push_back(with.back() / without.back());
    }
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    absl::PrintF("%-24s %14.0f %14.0f %10.3f %.3f..%.3f\n", mode.name, Median(without),
                 Median(with), Median(ratios), *least, *most);
    std::fflush(stdout);
  }
}

std::string IdOf(int i) { return absl::StrFormat("%08x-session-%06d", i * 2654435761u, i); }

// All at once: as many share a commit as come together.
void CreateSessions(Engine& engine, int first, int count, size_t length) {
  std::vector<std::promise<void>> created(count);
  for (int i = 0; i < count; ++i) {
    engine.CreateSession(
        {.session_id = IdOf(first + i), .initial_ids = std::vector<int>(length, 300)},
        [&created, i](const absl::StatusOr<SessionInfo>& info) {
          KVASIR_CHECK(info.ok());
          created[i].set_value();
        });
  }
  for (auto& one : created) one.get_future().get();
}

EngineOptions Plain() {
  unsetenv("KVASIR_TEST_SESSION_STORE");
  return RandomModel::Options();
}

void Row(const char* what, double value, const char* unit) {
  absl::PrintF("%-80s %10.2f %s\n", what, value, unit);
  std::fflush(stdout);
}

// Besides its tokens: their vector has room for as many.
double BytesBesides(int64_t before, int sessions, size_t length) {
  return static_cast<double>(testing::HeapBytes() - before) / sessions -
         static_cast<double>(length * sizeof(int));
}

void MeasureMemoryWithoutStore() {
  SyncEngine engine(Plain());
  engine.Stats();
  const int64_t before = testing::HeapBytes();
  for (int i = 0; i < kSessions; i += 1000) CreateSessions(engine.engine(), i, 1000, 100);
  engine.Stats();
  Row("a session without a store, besides its 100 tokens", BytesBesides(before, kSessions, 100),
      "bytes");
}

// Of 25 sessions that are in no memory.
void MeasureRestoring(SyncEngine& engine, int first, const char* when) {
  // Until it is let in: then its prefill begins.
  class Started : public GenerateSink {
   public:
    bool HasRoom() const override { return true; }
    void OnStarted(const GenerateStarted&) override { started.set_value(); }
    void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                  std::span<const TokenLogprob>) override {}
    void OnComplete(const GenerateComplete&) override { ended.set_value(); }
    void OnError(const absl::Status&) override { std::abort(); }
    std::promise<void> started, ended;
  };
  std::vector<double> restores;
  for (int i = first; i < first + 25; ++i) {
    const auto sink = std::make_shared<Started>();
    restores.push_back(MillisecondsOf([&] {
      engine.engine().Generate({.session_id = absl::StrFormat("long%d", i), .max_new_tokens = 1},
                               sink);
      sink->started.get_future().get();
    }));
    sink->ended.get_future().get();
  }
  Row(absl::StrFormat("restoring 4,096 tokens until their prefill begins, %s", when).c_str(),
      Median(restores), "ms");
  Row("  the longest", *std::max_element(restores.begin(), restores.end()), "ms");
}

void MeasureMany(const std::string& path) {
  EngineOptions options = Plain();
  options.session_store = OpenStore(path);
  {
    SyncEngine engine(options);
    const double creation = MillisecondsOf([&] {
      for (int i = 0; i < kSessions; i += 1000) CreateSessions(engine.engine(), i, 1000, kLength);
    });
    Row("creating 100,000 sessions of 1,000 tokens", creation / 1e3, "s");
    for (int i = 0; i < 50; ++i) {
      KVASIR_CHECK(engine
                       .Create({.session_id = absl::StrFormat("long%d", i),
                                .initial_ids = std::vector<int>(4096, i)})
                       .ok());
    }
  }
  options.session_store.reset();
  std::vector<double> starts;
  std::optional<SyncEngine> engine;
  for (int i = 0; i < 3; ++i) {
    engine.reset();
    options.session_store.reset();
    starts.push_back(MillisecondsOf([&] {
      options.session_store = OpenStore(path);
      engine.emplace(options);
    }));
  }
  Row("an engine's start over them, median of 3", Median(starts), "ms");
  std::vector<double> pages;
  ListSessionsRequest request = {.page_size = 1000};
  for (int i = 0; i < 50; ++i) {
    pages.push_back(
        MillisecondsOf([&] { request.page_token = engine->List(request)->next_page_token; }));
  }
  Row("a page of 1,000 of them, median of 50", Median(pages), "ms");

  MeasureRestoring(*engine, 0, "few in memory");
  engine->Stats();
  const int64_t before = testing::HeapBytes();
  for (int first = 0; first < kSessions; first += 1000) {
    std::vector<std::promise<void>> seen(1000);
    for (int i = 0; i < 1000; ++i) {
      // Loads the session and changes nothing.
      engine->engine().TruncateSession("", IdOf(first + i), 0, kLength + 1,
                                       [&seen, i](const absl::StatusOr<SessionInfo>& info) {
                                         KVASIR_CHECK(absl::IsAborted(info.status()));
                                         seen[i].set_value();
                                       });
    }
    for (auto& one : seen) one.get_future().get();
  }
  KVASIR_CHECK(engine->Stats().sessions >= kSessions);
  Row("a session loaded from SQLite, besides its 1,000 tokens",
      BytesBesides(before, kSessions, kLength), "bytes");

  MeasureRestoring(*engine, 25, "with 100,000 sessions in memory");
}

}  // namespace
}  // namespace kvasir

// stored_engine_bench MODEL_DIR [FOLDER]: FOLDER lies on the disk to be measured; else a temporary
// one.
int main(int argc, char** argv) {
  const bool help = argc == 2 && std::string(argv[1]) == "--help";
  if (help || argc < 2 || argc > 4) {
    std::fprintf(help ? stdout : stderr,
                 "usage: stored_engine_bench MODEL_DIR [FOLDER [THREADS]]\n"
                 "  MODEL_DIR  whose throughput is measured; \"\": none\n"
                 "  FOLDER     for the stores; \"\" (the default): a temporary one\n"
                 "  THREADS    that compute; 0 (the default): one for each core\n");
    return help ? 0 : 2;
  }
  const kvasir::testing::TemporaryDirectory temporary;
  const bool named = argc > 2 && argv[2][0] != '\0';
  const std::string folder = named ? argv[2] : temporary.path().string();
  const int threads = argc > 3 ? std::atoi(argv[3]) : 0;
  if (argv[1][0] != '\0') kvasir::MeasureThroughput(argv[1], folder, threads);
  kvasir::MeasureMemoryWithoutStore();
  kvasir::MeasureMany(folder + "/many");
  return 0;
}
