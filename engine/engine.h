#ifndef KVASIR_ENGINE_ENGINE_H_
#define KVASIR_ENGINE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/cache/kv_cache.h"
#include "engine/journal/session_store.h"
#include "engine/model/weights.h"
#include "engine/sampling.h"
#include "engine/schedule/request.h"
#include "engine/tenant_usage.h"

namespace kvasir {

enum class DTypeChoice { kAuto, kBf16, kF32 };

// What is durable when a client hears of it, where sessions are stored.
enum class Durability {
  kTurn,   // a turn, before its end is told
  kToken,  // every token, before it is told
  kNone,   // nothing: turns are stored soon after
};

struct EngineOptions {
  std::filesystem::path model_dir;
  std::string model_name;                  // what GetModelInfo calls it; empty: as the directory
  DTypeChoice dtype = DTypeChoice::kAuto;  // auto: the checkpoint's; f16 runs as bf16
  std::string device = "cpu";              // as BackendChoice says
  std::string gpu_plugin;                  // the GPU's library; empty: where it is installed
  bool deterministic = false;              // on a GPU: no bit depends on what runs together
  double gpu_memory_fraction = 0.9;        // of a GPU's memory
  std::string cpu_kernel = "auto";
  int threads = 0;  // 0: one per available core
  // Bytes; 0: half of what is free once the weights are loaded, on a GPU all that is left.
  int64_t kv_memory = 0;
  // Bytes of the host's memory for K and V that a GPU's pool has no room for; 0: none; nothing: a
  // quarter of what is available, where copying costs less than computing. Needs share_prefixes.
  std::optional<int64_t> kv_host_memory;
  bool touch_kv = false;  // all of it is in memory from the start, not only what has been used
  // Rows of one step, and calls in one; 0: what suits the device (SchedulerLimits,
  // GpuBackendOptions).
  int max_step_tokens = 0;
  int max_running = 0;
  int max_queue = 1024;  // calls that wait; more: QUEUE_FULL
  // A call whose reader takes nothing for so long ends with DEADLINE_EXCEEDED.
  absl::Duration stall_timeout = absl::Minutes(1);
  bool share_prefixes = true;                   // between the sessions of a tenant
  LoadProgress progress;                        // may be null
  std::shared_ptr<SessionStore> session_store;  // null: sessions die with the process
  Durability durability = Durability::kTurn;
  std::optional<absl::Duration> session_ttl;  // of sessions that are created without one
  TenantLimits tenant_limits;
  double tenant_kv_share = 1;  // of the KV pool, that a tenant's sessions may hold
  std::function<void(const std::string&)> warn;  // a line for the operator; may be null
};

struct ModelInfo {
  std::string model_name;
  std::string fingerprint;
  uint32_t vocab_size = 0;
  uint32_t max_context = 0;
  std::vector<int> eos_token_ids;
  SamplingOverrides default_sampling;
  std::string device;
  std::string dtype;
  std::string numerics;
  std::string device_fallback;  // why it is not a GPU, where one was looked for
  int max_running = 0;          // calls in one step
  int max_step_tokens = 0;      // rows of one step
  uint64_t kv_tokens = 0;
  uint64_t kv_host_tokens = 0;  // in the host's memory besides
  std::string kv_host_reason;   // what decided that, where something had to be decided
};

struct SessionInfo {
  std::string session_id;
  uint64_t length = 0;
  uint64_t cached_tokens = 0;
  bool busy = false;
  absl::Time create_time, last_use_time;
  std::optional<absl::Time> expire_time;
  std::string parent_session_id;
  std::map<std::string, std::string> labels;
  SamplingOverrides sampling;  // the seed is always set
  std::string last_request_id;
  uint64_t last_base_length = 0;
  FinishReason last_finish_reason = FinishReason::kUnspecified;
};

struct CreateSessionRequest {
  std::string session_id;  // empty: 128 random bits
  std::string tenant;      // whose it is; prefixes are shared within it only
  std::vector<int> initial_ids;
  std::optional<absl::Duration> ttl;
  std::map<std::string, std::string> labels;
  SamplingOverrides sampling;
};

struct ListSessionsRequest {
  std::string tenant;
  uint32_t page_size = 0;  // 0: 100; at most 1,000
  std::string page_token;
  std::map<std::string, std::string> labels;
};

struct SessionPage {
  std::vector<SessionInfo> sessions;  // ordered by id
  std::string next_page_token;
};

// Since the start, and now. Read from any thread.
struct EngineStats {
  uint64_t steps = 0;
  uint64_t steps_ahead = 0;  // of those, enqueued before the one before was done
  uint64_t input_tokens = 0;
  uint64_t prompt_tokens = 0;  // input and the sessions that it continues
  uint64_t cached_tokens = 0;  // of those, not computed for these calls
  uint64_t computed_tokens = 0;
  uint64_t recomputed_tokens = 0;  // of those, computed for the same session before
  uint64_t generated_tokens = 0;
  // Tokens looked for in what other sessions have computed, and found there.
  uint64_t prefix_queries = 0;
  uint64_t prefix_hits = 0;
  uint64_t evicted_blocks = 0;
  uint64_t saved_blocks = 0;     // copied to the host's memory before they were overwritten
  uint64_t restored_blocks = 0;  // and back
  uint64_t paused_calls = 0;     // times a running call gave up its blocks to an older one
  uint64_t session_moves = 0;    // sessions taken over from other replicas
  uint64_t store_writes = 0;     // of sessions
  uint64_t store_commits = 0;    // groups of writes
  double store_seconds = 0;      // spent in them
  int64_t store_waiting = 0;     // operations
  int64_t sessions = 0;          // in memory
  std::optional<absl::Time> least_recent_use;  // of a session that no call uses
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t paused = 0;   // of those, had begun and gave up their blocks
  int64_t stalled = 0;  // run or wait, and their readers are slow
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_total = 0;
  KvCache::Usage kv_usage;  // as of a second ago at most
};

// One step, as the engine's thread saw it.
struct StepReport {
  int tokens = 0;               // rows through the model
  int sequences = 0;            // calls that these belong to
  double forward_seconds = 0;   // the model, with the batch's making
  double sampling_seconds = 0;  // until every next token is known
  // What the host did before: results of the step before, requests, the plan.
  double host_seconds = 0;
  double seconds() const { return forward_seconds + sampling_seconds; }
};

// Sessions, cache, scheduler and model behind one owner thread: every method posts to its mailbox
// and returns at once. Thread-safe.
//
// Callbacks run on the engine's thread and must return at once. Destruction ends running calls with
// CANCELLED. REQUIRES: no method is called once destruction has begun.
class Engine {
 public:
  template <typename T>
  using Callback = absl::AnyInvocable<void(absl::StatusOr<T>)>;
  using CallId = uint64_t;
  // Called on the engine's thread, before the step's tokens are delivered.
  using StepObserver = absl::AnyInvocable<void(const StepReport&)>;

  // Loads the model. Errors name file and field.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  CallId Generate(GenerateRequest request, std::shared_ptr<GenerateSink> sink);
  // The call ends with CANCELLED within one step, its session settled. Unknown or ended: no effect.
  void Cancel(CallId call);
  // The sink has room again.
  void Resume(CallId call);

  // Ids are each tenant's own: what is another tenant's is not there, and takes no name away.
  void CreateSession(CreateSessionRequest request, Callback<SessionInfo> done);
  void GetSession(std::string tenant, std::string session_id, Callback<SessionInfo> done);
  void ListSessions(ListSessionsRequest request, Callback<SessionPage> done);
  void ForkSession(std::string tenant, std::string session_id, std::string new_session_id,
                   std::optional<uint64_t> length, Callback<SessionInfo> done);
  void TruncateSession(std::string tenant, std::string session_id, uint64_t length,
                       std::optional<uint64_t> expected_length, Callback<SessionInfo> done);
  // Cancels a running call first.
  void DeleteSession(std::string tenant, std::string session_id,
                     absl::AnyInvocable<void(absl::Status)> done);
  // The ids from `offset` on. Past the end: OUT_OF_RANGE.
  void ReadSession(std::string tenant, std::string session_id, uint64_t offset,
                   Callback<std::vector<int>> done);

  const ModelInfo& model_info() const;
  EngineStats stats() const;
  // For how long the engine's thread has owed the answer to an earlier such question; asks the next
  // one. Whoever asks again and again sees whether it moves.
  absl::Duration SilentFor() const;
  // REQUIRES: called before the first Generate.
  void set_step_observer(StepObserver observer);

  // For tests and tools: drops all blocks of idle sessions, as memory pressure would, and what is
  // remembered of freed ones.
  void DropIdleBlocks(absl::AnyInvocable<void()> done);

 private:
  class Core;
  explicit Engine(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
  std::atomic<CallId> next_call_{1};
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_ENGINE_H_
