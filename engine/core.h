#ifndef KVASIR_ENGINE_CORE_H_
#define KVASIR_ENGINE_CORE_H_

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/batch.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/session_table.h"
#include "engine/engine.h"
#include "engine/mailbox.h"
#include "engine/model/config.h"
#include "engine/model/qwen3.h"
#include "engine/schedule/scheduler.h"

namespace kvasir {

// What the engine's thread owns. Every method but the constructor, Post, info and stats runs on
// that thread alone.
class Engine::Core {
 public:
  // What Load gathers before the thread starts. Order matters: weights live in the backend's
  // memory.
  struct Model {
    ModelConfig config;
    GenerationConfig generation;
    std::unique_ptr<Backend> backend;
    Weights weights;
    ModelInfo info;
    int kv_blocks = 0;
    int host_kv_blocks = 0;  // of a given size; where it is left open the core chooses
  };
  static absl::StatusOr<std::unique_ptr<Model>> Load(const EngineOptions& options);

  Core(const EngineOptions& options, std::unique_ptr<Model> model);
  ~Core();

  void Post(Mailbox::Task task) { mailbox_.Post(std::move(task)); }
  const ModelInfo& info() const { return model_->info; }
  EngineStats stats() const;
  void set_step_observer(StepObserver observer) { observer_ = std::move(observer); }

  // --- calls (core_calls.cc) --------------------------------------------------------------------
  void StartCall(CallId id, GenerateRequest request, std::shared_ptr<GenerateSink> sink);
  void CancelCall(CallId id, const absl::Status& why);

  // --- sessions (core_sessions.cc) --------------------------------------------------------------
  absl::StatusOr<SessionInfo> CreateSession(CreateSessionRequest request);
  absl::StatusOr<SessionInfo> GetSession(const std::string& id);
  absl::StatusOr<SessionPage> ListSessions(const ListSessionsRequest& request);
  absl::StatusOr<SessionInfo> ForkSession(const std::string& id, std::string new_id,
                                          std::optional<uint64_t> length);
  absl::StatusOr<SessionInfo> TruncateSession(const std::string& id, uint64_t length,
                                              std::optional<uint64_t> expected_length);
  absl::Status DeleteSession(const std::string& id);
  absl::StatusOr<std::vector<int>> ReadSession(const std::string& id, uint64_t offset);
  void DropIdleBlocks();

 private:
  // Blocks of the host's memory, chosen now where options leave it open.
  int HostKvBlocks(const EngineOptions& options);

  // --- the thread (core.cc) ---------------------------------------------------------------------
  void Run();
  void Publish();

  // --- calls ------------------------------------------------------------------------------------
  absl::Status CheckRequest(const GenerateRequest& request) const;
  absl::Status CheckFits(const Call& call) const;
  absl::Status OpenSession(Call& call);
  void Begin(Call& call);
  // Ends a call whose tokens stand: commits, tells the sink, forgets the call.
  void Complete(Call& call, FinishReason reason);
  // Ends a call otherwise: rolls back an input that has brought forth no token.
  void Fail(Call& call, const absl::Status& status);
  void Settle(Call& call, FinishReason reason);
  // Ends the calls whose readers have been slow for too long; returns when the next one will be.
  absl::Time CutStalled(absl::Time now);
  void Forget(Call& call);

  // --- one step (core_step.cc) ------------------------------------------------------------------
  void RunStep();
  void AnnounceAdmitted();
  void BuildBatch();
  void AddRows(const StepEntry& entry);
  void ApplyResults(std::span<const SampledToken> results);
  void AppendToken(Call& call, const SampledToken& result);

  // --- sessions ---------------------------------------------------------------------------------
  absl::StatusOr<Session*> FindSession(const std::string& id);
  std::string NewSessionId(std::string wanted);
  absl::Status CheckIds(std::string_view field, const std::vector<int>& ids) const;
  SessionInfo InfoOf(const Session& session) const;
  uint64_t DrawSeed() { return (uint64_t{random_()} << 32) | random_(); }

  const std::unique_ptr<Model> model_;
  const SchedulerLimits limits_;
  const absl::Duration stall_timeout_;
  std::random_device random_;
  Qwen3 qwen3_;
  KvCache cache_;
  SessionTable table_;
  Scheduler scheduler_;
  std::map<CallId, std::unique_ptr<Call>> calls_;
  StepObserver observer_;

  StepPlan plan_;
  Batch batch_;
  // What each row of logits is for.
  struct LogitUse {
    Call* call;
    bool prompt;  // the log-probability of an input token, else the next token
  };
  std::vector<LogitUse> uses_;     // [R]
  std::vector<SamplingRow> rows_;  // [R]
  std::vector<TokenLogprob> prompt_logprobs_;
  std::vector<Call*> stalled_;  // scratch of CutStalled

  bool stopping_ = false;
  std::optional<absl::Time> next_expiry_ = absl::InfinitePast();

  Mailbox mailbox_;
  mutable std::mutex stats_mutex_;
  EngineStats published_;  // guarded by stats_mutex_
  EngineStats counters_;
  std::thread thread_;  // last: starts when all else is there
};

// "[A-Za-z0-9._-]{1,128}", or INVALID_FIELD naming `field`.
absl::Status CheckSessionId(std::string_view field, std::string_view id);
absl::Status SessionNotFound(const std::string& id);
absl::Status SessionBusy(const Session& session);
absl::Status LengthMismatch(uint64_t expected, const Session& session);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CORE_H_
