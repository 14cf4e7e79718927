#ifndef KVASIR_TESTS_ENGINE_STORED_STORED_ENGINE_H_
#define KVASIR_TESTS_ENGINE_STORED_STORED_ENGINE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"
#include "tests/engine/stored/fault_store.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {

// An engine over an SQLite file, which can be restarted on it.
class StoredEngine {
 public:
  // `options.session_store` is set here.
  explicit StoredEngine(EngineOptions options = RandomModel::Options());

  SyncEngine& operator*() { return *engine_; }
  SyncEngine* operator->() { return engine_.get(); }
  FaultStore& store() { return *store_; }
  EngineOptions& options() { return options_; }  // of the next life
  std::string path() const { return (directory_.path() / "sessions.db").string(); }

  void Stop();
  // Once stopped: what a program that opens the file finds.
  std::unique_ptr<SessionStore> OpenFile() const;
  void Start();
  void Restart() {
    Stop();
    Start();
  }

 private:
  const TemporaryDirectory directory_;
  EngineOptions options_;
  std::shared_ptr<FaultStore> store_;
  std::unique_ptr<SyncEngine> engine_;
};

// A turn of `new_tokens` tokens, with the log-probabilities of all that is generated.
GenerateRequest Turn(const std::string& id, std::vector<int> input, uint32_t new_tokens);
// As Turn; creates the session where it is missing.
GenerateRequest FirstTurn(const std::string& id, std::vector<int> input, uint32_t new_tokens);

// A turn {4, 2} + 6 tokens whose reader takes nothing more once it has begun: it runs until it is
// told to go on. Returns when it has begun.
class SlowTurn {
 public:
  SlowTurn(SyncEngine& engine, const std::string& id);
  void GoOn();
  const Outcome& Wait() { return recorder_->Wait(); }

 private:
  SyncEngine& engine_;
  std::shared_ptr<Recorder> recorder_;
};

// What an engine without a store answers to the same conversation: to `before` + `input` at once.
Outcome FreshAnswer(SyncEngine& engine, std::vector<int> before, const std::vector<int>& input,
                    uint32_t new_tokens, uint64_t seed);

// What the session's tokens lie in becomes zeros.  REQUIRES: nobody has the file open.
void DamageTokens(const std::string& path, const std::string& id);

std::string ReasonOf(const absl::Status& status);

std::vector<int> Joined(std::vector<int> a, const std::vector<int>& b);

// The step that the thread under test takes next cannot be waited for; asks until it is so. False
// after a minute.
bool Eventually(const std::function<bool()>& is_so);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_STORED_STORED_ENGINE_H_
