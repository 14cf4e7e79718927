#ifndef KVASIR_ENGINE_CORE_H_
#define KVASIR_ENGINE_CORE_H_

#include <array>
#include <atomic>
#include <chrono>
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
#include "engine/stored_sessions.h"

namespace kvasir {

// What the engine's thread owns. Every method but the constructor, Post, info, stats and SilentFor
// runs on that thread alone.
class Engine::Core {
 public:
  // What Load gathers before the thread starts. Order matters: weights live in the backend's
  // memory.
  struct Model {
    ModelConfig config;
    GenerationConfig generation;
    std::unique_ptr<Backend> backend;
    bool on_gpu = false;
    SchedulerLimits limits;
    Weights weights;
    std::unique_ptr<Qwen3> qwen3;
    ModelInfo info;
    int kv_blocks = 0;
    int host_kv_blocks = 0;  // of a given size; where it is left open the core chooses

    // Gives back what lies on the device, and the device.
    void Unload() {
      qwen3.reset();
      weights = {};
      backend.reset();
    }
  };
  // Where "auto" finds too little memory on a GPU, be it in the middle of it, the CPU takes over.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const EngineOptions& options);

  Core(const EngineOptions& options, std::unique_ptr<Model> model);
  ~Core();

  void Post(Mailbox::Task task) { mailbox_.Post(std::move(task)); }
  const ModelInfo& info() const { return model_->info; }
  EngineStats stats() const;
  absl::Duration SilentFor();
  void set_step_observer(StepObserver observer) { observer_ = std::move(observer); }

  // --- calls (core_calls.cc) --------------------------------------------------------------------
  void StartCall(CallId id, GenerateRequest request, std::shared_ptr<GenerateSink> sink,
                 absl::Time arrived);
  void CancelCall(CallId id, const absl::Status& why);

  // --- sessions (core_sessions.cc) --------------------------------------------------------------
  void CreateSession(CreateSessionRequest request, Callback<SessionInfo> done);
  void GetSession(const std::string& tenant, const std::string& id, Callback<SessionInfo> done);
  void ListSessions(const ListSessionsRequest& request, Callback<SessionPage> done);
  void ForkSession(const std::string& tenant, const std::string& id, const std::string& new_id,
                   std::optional<uint64_t> length, Callback<SessionInfo> done);
  void TruncateSession(const std::string& tenant, const std::string& id, uint64_t length,
                       std::optional<uint64_t> expected_length, Callback<SessionInfo> done);
  void DeleteSession(const std::string& tenant, const std::string& id,
                     absl::AnyInvocable<void(absl::Status)> done);
  void ReadSession(const std::string& tenant, const std::string& id, uint64_t offset,
                   Callback<std::vector<int>> done);
  void DropIdleBlocks();

 private:
  // --- loading (core_load.cc) -------------------------------------------------------------------
  static absl::Status ReadConfig(const EngineOptions& options, Model& model);
  static absl::Status LoadOn(const std::string& device, const EngineOptions& options, Model& model);
  // Blocks of the host's memory, chosen now where options leave it open.
  int HostKvBlocks(const EngineOptions& options);

  // --- the thread (core.cc) ---------------------------------------------------------------------
  void Run();
  void RunTasks();
  void EndAll();
  void Publish();
  // Now and then; returns when to come again, if anything may have changed by then.
  absl::Time CountBlocks(absl::Time now);

  // --- calls ------------------------------------------------------------------------------------
  absl::Status CheckRequest(const GenerateRequest& request) const;
  absl::Status CheckFits(const Call& call) const;
  // Tokens that the KV pool holds for a tenant at most.
  size_t KvTokensOfTenant() const;
  // Both with the session that the call names, or why there is none.
  void Open(Call& call, const absl::StatusOr<Session*>& found);
  absl::Status OpenSession(Call& call, const absl::StatusOr<Session*>& found);
  void Begin(Call& call);
  // Where a call says no number itself, its tenant's quota is the end.
  void LimitByQuota(Call& call);
  // The call has all the tokens that it may have.
  void EndAtMax(Call& call);
  // Ends a call whose tokens stand.
  void Complete(Call& call, FinishReason reason);
  // Ends a call otherwise: rolls back an input that has brought forth no token. No effect where it
  // has ended.
  void Fail(Call& call, const absl::Status& status);
  // No step concerns it any more.
  void Leave(Call& call);
  // Makes durable what is not yet, then answers (core_settle.cc).
  void Settle(Call& call, FinishReason reason);
  void Save(Call& call);
  void OnSaved(CallId id, size_t tokens, bool last, const absl::Status& saved);
  bool IsStored(const Call& call) const;
  GenerateStarted StartedOf(const Call& call) const;
  GenerateReport ReportOf(const Call& call) const;
  void Send(Call& call, size_t tokens);
  void Answer(Call& call, const absl::Status& saved);
  // A session that may be another replica's now: its call ends, it leaves the memory.
  void Lose(Session& session, const absl::Status& why);
  Call* CallOn(const Session& session);
  // Runs what waits for the session's end of being busy.
  void WakeWaiting(const std::string& id);
  // Ends the calls whose readers have been slow for too long; returns when the next one will be.
  absl::Time CutStalled(absl::Time now);
  void Forget(Call& call);

  // --- one step (core_step.cc) ------------------------------------------------------------------
  // Plans a step and enqueues it, where what it needs to know is known, and finishes one, unless
  // the next can be enqueued before. False: there was nothing to do.
  struct Step;
  bool Advance();
  bool Launch();
  void Finish();
  // Whether the next step needs nothing of the host that only the running one will tell.
  bool CanRunAhead() const;
  // What the running step draws gets its place in the sessions.
  void PresumeTokens();
  void AnnounceAdmitted();
  void BuildBatch();
  void AddRows(Step& step, size_t index);
  void ApplyResults(std::span<const SampledToken> results);
  void AppendToken(Call& call, const SampledToken& result);

  // --- sessions ---------------------------------------------------------------------------------
  absl::Status CheckCreate(const CreateSessionRequest& request) const;
  void AddSession(std::unique_ptr<Session> session, Callback<SessionInfo> done);
  std::unique_ptr<Session> MakeFork(const SessionView& source, std::string key, size_t length);
  void Truncate(Session& session, size_t length, Callback<SessionInfo> done);
  void Delete(const std::string& key, absl::AnyInvocable<void(absl::Status)> done);
  // A key; of a new id where none is wanted.
  std::string NewKey(const std::string& tenant, const std::string& wanted);
  absl::Status CheckIds(std::string_view field, const std::vector<int>& ids) const;
  uint64_t DrawSeed() { return (uint64_t{random_()} << 32) | random_(); }

  const std::unique_ptr<Model> model_;
  const SchedulerLimits limits_;
  const absl::Duration stall_timeout_;
  const Durability durability_;
  const std::optional<absl::Duration> session_ttl_;
  Mailbox mailbox_;
  std::random_device random_;
  KvCache cache_;
  SessionTable table_;
  StoredSessions sessions_;
  Scheduler scheduler_;
  std::map<CallId, std::unique_ptr<Call>> calls_;
  StepObserver observer_;

  // What each row of logits is for.
  struct LogitUse {
    size_t entry;  // of the plan
    Call* call;    // null: it has ended meanwhile
    bool prompt;   // the log-probability of an input token, else the next token
  };
  struct Step {
    StepPlan plan;
    std::vector<LogitUse> uses;  // [R]
    int tokens = 0;
    std::chrono::steady_clock::time_point begun;
    double forward_seconds = 0, host_seconds = 0;
  };
  // Two where the backend computes one while the host plans the next: then the older is first.
  std::array<Step, 2> steps_;
  int in_flight_ = 0;
  std::chrono::steady_clock::time_point last_finish_;
  std::chrono::steady_clock::time_point host_since_;  // the host has been at work without a step
  Batch batch_;
  std::vector<SamplingRow> rows_;  // [R]
  std::vector<TokenLogprob> prompt_logprobs_;
  std::vector<Call*> stalled_;                                 // scratch of CutStalled
  std::map<std::string, std::vector<Mailbox::Task>> waiting_;  // by session

  bool stopping_ = false;
  std::vector<Mailbox::Task> tasks_;  // scratch of RunTasks
  mutable std::mutex stats_mutex_;
  EngineStats published_;  // guarded by stats_mutex_
  EngineStats counters_;
  absl::Time next_block_count_ = absl::InfinitePast();
  std::atomic<int64_t> asked_at_ = 0;  // nanoseconds; 0: no question of SilentFor is open
  std::thread thread_;                 // last: starts when all else is there
};

// "[A-Za-z0-9._-]{1,128}", or INVALID_FIELD naming `field`.
absl::Status CheckSessionId(std::string_view field, std::string_view id);
// The same of a tenant's session; its key.
absl::StatusOr<std::string> KeyOf(const std::string& tenant, std::string_view field,
                                  const std::string& id);
// An error as its tenant is to read it: where we speak of keys, it does of ids.
absl::Status InIdsOf(const std::string& tenant, const absl::Status& error);
absl::Status SessionBusy(const Session& session);
absl::Status LengthMismatch(uint64_t expected, const Session& session);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CORE_H_
