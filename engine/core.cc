#include "engine/core.h"

#include <pthread.h>

#include <algorithm>

#include "engine/backend/cpu/host_memory.h"
#include "engine/check.h"
#include "engine/host_kv.h"

namespace kvasir {
namespace {

constexpr absl::Duration kCountBlocksEvery = absl::Seconds(1);

}  // namespace

Engine::Core::Core(const EngineOptions& options, std::unique_ptr<Model> model)
    : model_(std::move(model)),
      limits_(model_->limits),
      stall_timeout_(options.stall_timeout),
      durability_(options.durability),
      session_ttl_(options.session_ttl),
      cache_(model_->kv_blocks, options.share_prefixes ? std::optional(DrawSeed()) : std::nullopt,
             HostKvBlocks(options)),
      table_(cache_),
      sessions_(table_, cache_,
                {.store = options.session_store,
                 .fingerprint = model_->info.fingerprint,
                 .numerics = model_->info.numerics,
                 .post = [this](Mailbox::Task task) { mailbox_.Post(std::move(task)); },
                 .lost = [this](Session& session, const absl::Status& why) { Lose(session, why); },
                 .limits = options.tenant_limits,
                 .warn = options.warn}),
      scheduler_(cache_, table_, limits_) {
  // Whoever asks before the first step is told of an idle engine, not of none.
  CountBlocks(absl::InfinitePast());
  Publish();
  thread_ = std::thread([this] { Run(); });
}

int Engine::Core::HostKvBlocks(const EngineOptions& options) {
  constexpr int kShare = 4;  // a quarter: the rest is the files' and the system's
  HostKv host =
      ChooseHostKv(options, model_->config, model_->kv_blocks, ReadHostMemory().available / kShare,
                   limits_.max_step_tokens, *model_->backend, *model_->qwen3);
  host.blocks += model_->host_kv_blocks;  // one of them is 0
  model_->info.kv_host_tokens = uint64_t{static_cast<uint32_t>(host.blocks)} * kBlockTokens;
  model_->info.kv_host_reason = std::move(host.reason);
  return host.blocks;
}

Engine::Core::~Core() {
  Post([this] { stopping_ = true; });
  thread_.join();
  model_->backend->UseThisThread();  // and frees its memory
}

EngineStats Engine::Core::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return published_;
}

void Engine::Core::Publish() {
  counters_.evicted_blocks = table_.evicted_blocks();
  counters_.saved_blocks = cache_.saved_blocks();
  counters_.restored_blocks = cache_.restored_blocks();
  counters_.prefix_queries = scheduler_.prefix_queries();
  counters_.prefix_hits = scheduler_.prefix_hits();
  counters_.paused_calls = scheduler_.preemptions();
  counters_.session_moves = sessions_.moves();
  const Journal::Stats store = sessions_.journal_stats();
  counters_.store_writes = store.writes;
  counters_.store_commits = store.groups;
  counters_.store_seconds = store.write_seconds;
  counters_.store_waiting = static_cast<int64_t>(store.waiting);
  counters_.sessions = static_cast<int64_t>(table_.size());
  counters_.least_recent_use = table_.least_recent_use();
  counters_.running = scheduler_.running();
  counters_.waiting = scheduler_.waiting();
  counters_.kv_blocks_used = cache_.allocator().used();
  counters_.kv_blocks_total = cache_.allocator().total();
  const std::lock_guard lock(stats_mutex_);
  published_ = counters_;
}

absl::Time Engine::Core::CountBlocks(absl::Time now) {
  if (now < next_block_count_) return next_block_count_;
  counters_.kv_usage = scheduler_.CountBlocks();
  next_block_count_ = now + kCountBlocksEvery;
  return absl::InfiniteFuture();
}

absl::Duration Engine::Core::SilentFor() {
  const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  int64_t asked_at = 0;
  if (!asked_at_.compare_exchange_strong(asked_at, now)) return absl::Nanoseconds(now - asked_at);
  Post([this] { asked_at_ = 0; });
  return absl::ZeroDuration();
}

void Engine::Core::Run() {
  pthread_setname_np(pthread_self(), "engine");  // as debuggers and top show it
  model_->backend->UseThisThread();
  const size_t longest =
      std::min<size_t>(model_->kv_blocks, KvCache::BlocksFor(model_->config.max_positions));
  batch_.Reserve(limits_.max_step_tokens, limits_.max_running, limits_.max_running * longest);
  host_since_ = std::chrono::steady_clock::now();
  while (!stopping_) {
    RunTasks();
    if (stopping_) break;
    const absl::Time now = absl::Now();
    const absl::Time next_sweep = sessions_.Sweep(now);
    const absl::Time next_cut = CutStalled(now);
    const absl::Time next_count = CountBlocks(now);
    sessions_.Submit();
    const bool has_worked = Advance();
    Publish();
    if (has_worked) continue;
    sessions_.Submit();
    mailbox_.Wait(std::min({next_cut, next_sweep, next_count}));
    host_since_ = std::chrono::steady_clock::now();
  }
  EndAll();
}

void Engine::Core::RunTasks() {
  mailbox_.Take(tasks_);
  for (Mailbox::Task& task : tasks_) task();
}

// Everyone whose call or question is in by now gets an answer.
void Engine::Core::EndAll() {
  RunTasks();
  std::vector<Call*> calls;
  for (const auto& [id, call] : calls_) calls.push_back(call.get());
  for (Call* call : calls) Fail(*call, absl::CancelledError("the server is stopping"));
  while (!calls_.empty()) {  // on their way to the store
    sessions_.Submit();
    mailbox_.Wait(absl::InfiniteFuture());
    RunTasks();
  }
  while (in_flight_ > 0) Finish();
  sessions_.Close();
  RunTasks();
}

// --- the public face: everything is posted ------------------------------------------------------

namespace {

// Answers as a tenant is to read them: where we speak of keys, it does of ids.
absl::AnyInvocable<void(absl::Status)> AnswerTo(std::string tenant,
                                                absl::AnyInvocable<void(absl::Status)> done) {
  return [tenant = std::move(tenant), done = std::move(done)](const absl::Status& answer) mutable {
    done(InIdsOf(tenant, answer));
  };
}

template <typename T>
Engine::Callback<T> AnswerTo(std::string tenant, Engine::Callback<T> done) {
  return [tenant = std::move(tenant), done = std::move(done)](absl::StatusOr<T> answer) mutable {
    if (!answer.ok()) answer = InIdsOf(tenant, answer.status());
    done(std::move(answer));
  };
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options) {
  absl::StatusOr<std::unique_ptr<Core::Model>> model = Core::Load(options);
  if (!model.ok()) return model.status();
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Core>(options, *std::move(model))));
}

Engine::Engine(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Engine::~Engine() = default;

Engine::CallId Engine::Generate(GenerateRequest request, std::shared_ptr<GenerateSink> sink) {
  const CallId id = next_call_.fetch_add(1);
  core_->Post([core = core_.get(), id, request = std::move(request), sink = std::move(sink),
               arrived = absl::Now()]() mutable {
    core->StartCall(id, std::move(request), std::move(sink), arrived);
  });
  return id;
}

void Engine::Cancel(CallId call) {
  core_->Post([core = core_.get(), call] {
    core->CancelCall(call, absl::CancelledError("the call was cancelled"));
  });
}

void Engine::Resume(CallId) {
  core_->Post([] {});  // waking is enough: the scheduler asks every sink anew
}

void Engine::CreateSession(CreateSessionRequest request, Callback<SessionInfo> done) {
  done = AnswerTo(request.tenant, std::move(done));
  core_->Post([core = core_.get(), request = std::move(request), done = std::move(done)]() mutable {
    core->CreateSession(std::move(request), std::move(done));
  });
}

void Engine::GetSession(std::string tenant, std::string session_id, Callback<SessionInfo> done) {
  done = AnswerTo(tenant, std::move(done));
  core_->Post(
      [core = core_.get(), tenant = std::move(tenant), id = std::move(session_id),
       done = std::move(done)]() mutable { core->GetSession(tenant, id, std::move(done)); });
}

void Engine::ListSessions(ListSessionsRequest request, Callback<SessionPage> done) {
  done = AnswerTo(request.tenant, std::move(done));
  core_->Post([core = core_.get(), request = std::move(request), done = std::move(done)]() mutable {
    core->ListSessions(request, std::move(done));
  });
}

void Engine::ForkSession(std::string tenant, std::string session_id, std::string new_session_id,
                         std::optional<uint64_t> length, Callback<SessionInfo> done) {
  done = AnswerTo(tenant, std::move(done));
  core_->Post([core = core_.get(), tenant = std::move(tenant), id = std::move(session_id),
               new_id = std::move(new_session_id), length, done = std::move(done)]() mutable {
    core->ForkSession(tenant, id, new_id, length, std::move(done));
  });
}

void Engine::TruncateSession(std::string tenant, std::string session_id, uint64_t length,
                             std::optional<uint64_t> expected_length, Callback<SessionInfo> done) {
  done = AnswerTo(tenant, std::move(done));
  core_->Post([core = core_.get(), tenant = std::move(tenant), id = std::move(session_id), length,
               expected_length, done = std::move(done)]() mutable {
    core->TruncateSession(tenant, id, length, expected_length, std::move(done));
  });
}

void Engine::DeleteSession(std::string tenant, std::string session_id,
                           absl::AnyInvocable<void(absl::Status)> done) {
  done = AnswerTo(tenant, std::move(done));
  core_->Post(
      [core = core_.get(), tenant = std::move(tenant), id = std::move(session_id),
       done = std::move(done)]() mutable { core->DeleteSession(tenant, id, std::move(done)); });
}

void Engine::ReadSession(std::string tenant, std::string session_id, uint64_t offset,
                         Callback<std::vector<int>> done) {
  done = AnswerTo(tenant, std::move(done));
  core_->Post([core = core_.get(), tenant = std::move(tenant), id = std::move(session_id), offset,
               done = std::move(done)]() mutable {
    core->ReadSession(tenant, id, offset, std::move(done));
  });
}

void Engine::DropIdleBlocks(absl::AnyInvocable<void()> done) {
  core_->Post([core = core_.get(), done = std::move(done)]() mutable {
    core->DropIdleBlocks();
    done();
  });
}

const ModelInfo& Engine::model_info() const { return core_->info(); }
EngineStats Engine::stats() const { return core_->stats(); }
absl::Duration Engine::SilentFor() const { return core_->SilentFor(); }
void Engine::set_step_observer(StepObserver observer) {
  core_->set_step_observer(std::move(observer));
}

}  // namespace kvasir
