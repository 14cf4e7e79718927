#include "tests/engine/stored/stored_engine.h"

#include <sqlite3.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/check.h"
#include "engine/error.h"

namespace kvasir::testing {

StoredEngine::StoredEngine(EngineOptions options) : options_(std::move(options)) { Start(); }

void StoredEngine::Stop() {
  engine_.reset();
  store_.reset();
  options_.session_store.reset();
}

std::unique_ptr<SessionStore> StoredEngine::OpenFile() const {
  auto opened = OpenSqliteStore(path());
  if (!opened.ok()) std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
  KVASIR_CHECK(opened.ok());
  return *std::move(opened);
}

void StoredEngine::Start() {
  store_ = std::make_shared<FaultStore>(OpenFile());
  options_.session_store = store_;
  engine_ = std::make_unique<SyncEngine>(options_);
}

GenerateRequest Turn(const std::string& id, std::vector<int> input, uint32_t new_tokens) {
  return {.session_id = id,
          .input_ids = std::move(input),
          .max_new_tokens = new_tokens,
          .ignore_eos = true,
          .top_logprobs = 2};
}

GenerateRequest FirstTurn(const std::string& id, std::vector<int> input, uint32_t new_tokens) {
  GenerateRequest request = Turn(id, std::move(input), new_tokens);
  request.create_if_missing = true;
  return request;
}

SlowTurn::SlowTurn(SyncEngine& engine, const std::string& id) : engine_(engine) {
  const auto begun = std::make_shared<std::promise<void>>();
  const auto itself = std::make_shared<Recorder*>();
  recorder_ = std::make_shared<Recorder>([begun, itself, has_begun = false](size_t) mutable {
    if (std::exchange(has_begun, true)) return;
    (*itself)->room = false;
    begun->set_value();
  });
  *itself = recorder_.get();
  engine_.Start(Turn(id, {4, 2}, 6), recorder_);
  begun->get_future().get();
  engine_.DropIdleBlocks();  // the engine's thread has left the recorder
}

void SlowTurn::GoOn() {
  recorder_->room = true;
  engine_.Resume(recorder_);
}

Outcome FreshAnswer(SyncEngine& engine, std::vector<int> before, const std::vector<int>& input,
                    uint32_t new_tokens, uint64_t seed) {
  GenerateRequest request = Turn("", Joined(std::move(before), input), new_tokens);
  request.sampling.seed = seed;
  return engine.Generate(std::move(request));
}

void DamageTokens(const std::string& path, const std::string& id) {
  sqlite3* database = nullptr;
  KVASIR_CHECK(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
  const std::string sql =
      absl::StrCat("UPDATE runs SET data = zeroblob(length(data)) WHERE id = '", id, "'");
  KVASIR_CHECK(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  KVASIR_CHECK(sqlite3_changes(database) > 0);
  sqlite3_close(database);
}

std::string ReasonOf(const absl::Status& status) { return DetailOf(status).reason; }

std::vector<int> Joined(std::vector<int> a, const std::vector<int>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool Eventually(const std::function<bool()>& is_so) {
  for (const absl::Time end = absl::Now() + absl::Minutes(1); absl::Now() < end;) {
    if (is_so()) return true;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return false;
}

}  // namespace kvasir::testing
