#include "engine/core.h"

#include <pthread.h>

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/host_memory.h"
#include "engine/check.h"
#include "engine/host_kv.h"
#include "engine/open_backend.h"

namespace kvasir {
namespace {

constexpr absl::Duration kCountBlocksEvery = absl::Seconds(1);

absl::StatusOr<int> CountKvBlocks(const EngineOptions& options, const ModelConfig& config,
                                  const Backend& backend) {
  const int64_t block_bytes = static_cast<int64_t>(backend.KvBlockBytes(config.layers));
  const int64_t memory = options.kv_memory > 0 ? options.kv_memory : backend.DefaultKvMemory();
  const int64_t blocks = memory / block_bytes;
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat("--kv-memory: ", memory,
                                                   " bytes hold no block of ", kBlockTokens,
                                                   " tokens (", block_bytes, " bytes)"));
  }
  // Slots are ints.
  return static_cast<int>(
      std::min<int64_t>(blocks, std::numeric_limits<int>::max() / kBlockTokens));
}

DType ChooseDType(DTypeChoice choice, const ModelConfig& config) {
  if (choice == DTypeChoice::kAuto) {
    return config.dtype == DType::kF32 ? DType::kF32 : DType::kBf16;
  }
  return choice == DTypeChoice::kF32 ? DType::kF32 : DType::kBf16;
}

SchedulerLimits LimitsOf(const EngineOptions& options) {
  return {options.max_step_tokens, options.max_running, options.max_queue};
}

BackendChoice ChooseBackend(const EngineOptions& options, const ModelConfig& config,
                            const SchedulerLimits& limits) {
  const AttentionShape attention = {.heads = config.heads,
                                    .kv_heads = config.kv_heads,
                                    .head_dim = config.head_dim,
                                    .rope_theta = config.rope_theta,
                                    .norm_eps = config.norm_eps};
  return {.device = options.device,
          .cpu = {.attention = attention,
                  .dtype = ChooseDType(options.dtype, config),
                  .threads = options.threads,
                  .kernel = options.cpu_kernel,
                  .touch_kv = options.touch_kv},
          .gpu = {.attention = attention,
                  .hidden = config.hidden,
                  .ffn = config.ffn,
                  .vocab = config.vocab,
                  .layers = config.layers,
                  .max_positions = static_cast<int>(config.max_positions),
                  .max_step_tokens = limits.max_step_tokens,
                  .max_sequences = limits.max_running,
                  .max_logits = limits.max_logits(),
                  .deterministic = options.deterministic,
                  .memory_fraction = options.gpu_memory_fraction},
          .plugin = options.gpu_plugin};
}

// Whether the model and at least one block fit.
absl::Status PlanMemory(const EngineOptions& options, const ModelConfig& config,
                        const SchedulerLimits& limits, Backend& backend) {
  const auto element = static_cast<int64_t>(SizeOf(ChooseDType(options.dtype, config)));
  const auto block = static_cast<int64_t>(backend.KvBlockBytes(config.layers));
  return backend.Plan(
      {.weights = ParameterCount(config) * element,
       .workspace = Qwen3::WorkspaceBytes(config, backend.activation_dtype(),
                                          limits.max_step_tokens, limits.max_logits()),
       .kv = std::max(options.kv_memory, block)});
}

std::string ModelName(const std::filesystem::path& dir) {
  const std::filesystem::path path = std::filesystem::absolute(dir).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine::Core::Model>> Engine::Core::Load(
    const EngineOptions& options) {
  auto model = std::make_unique<Model>();
  const absl::StatusOr<std::string> config_json = ReadFile(options.model_dir / "config.json");
  if (!config_json.ok()) return config_json.status();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*config_json);
  if (!config.ok()) return config.status();
  model->config = *config;

  std::string generation_json;  // the file may be absent
  const std::filesystem::path generation_path = options.model_dir / "generation_config.json";
  std::error_code unreadable;  // then reading it tells why
  if (std::filesystem::exists(generation_path, unreadable) || unreadable) {
    absl::StatusOr<std::string> read = ReadFile(generation_path);
    if (!read.ok()) return read.status();
    generation_json = *std::move(read);
  }
  absl::StatusOr<GenerationConfig> generation =
      ParseGenerationConfig(generation_json, *config_json, *config);
  if (!generation.ok()) return generation.status();
  model->generation = *std::move(generation);

  const SchedulerLimits limits = LimitsOf(options);
  BackendChoice choice = ChooseBackend(options, *config, limits);
  choice.accept = [&](Backend& backend) { return PlanMemory(options, *config, limits, backend); };
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  if (!opened.ok()) return opened.status();
  model->backend = std::move(opened->backend);

  absl::StatusOr<Weights> weights =
      LoadWeights(options.model_dir, model->config, *model->backend, options.progress);
  if (!weights.ok()) return weights.status();
  model->weights = *std::move(weights);

  const absl::StatusOr<int> blocks = CountKvBlocks(options, model->config, *model->backend);
  if (!blocks.ok()) return blocks.status();
  model->kv_blocks = *blocks;
  const absl::Status allocated = model->backend->AllocateKv(model->config.layers, *blocks);
  if (!allocated.ok()) return allocated;

  const absl::StatusOr<int> host_blocks =
      AllocateHostKv(options, model->config, ReadHostMemory().available, *model->backend);
  if (!host_blocks.ok()) return host_blocks.status();
  model->host_kv_blocks = *host_blocks;

  const uint64_t kv_tokens = uint64_t{static_cast<uint32_t>(*blocks)} * kBlockTokens;
  model->info = {.model_name = ModelName(options.model_dir),
                 .fingerprint = model->weights.fingerprint,
                 .vocab_size = static_cast<uint32_t>(model->config.vocab),
                 .max_context = static_cast<uint32_t>(model->config.max_positions),
                 .eos_token_ids = model->generation.eos_token_ids,
                 .default_sampling = model->generation.sampling,
                 .device = model->backend->device(),
                 .dtype = NameOf(choice.cpu.dtype),
                 .numerics = model->backend->numerics(),
                 .device_fallback = opened->fallback,
                 .kv_tokens = kv_tokens};
  return model;
}

Engine::Core::Core(const EngineOptions& options, std::unique_ptr<Model> model)
    : model_(std::move(model)),
      limits_(LimitsOf(options)),
      stall_timeout_(options.stall_timeout),
      durability_(options.durability),
      session_ttl_(options.session_ttl),
      qwen3_(model_->config, model_->weights, *model_->backend, options.max_step_tokens,
             limits_.max_logits()),
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
  HostKv host = ChooseHostKv(options, model_->config, model_->kv_blocks,
                             ReadHostMemory().available / kShare, *model_->backend, qwen3_);
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
    const bool has_worked = Advance();
    Publish();
    if (has_worked) continue;
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
    mailbox_.Wait(absl::InfiniteFuture());
    RunTasks();
  }
  while (in_flight_ > 0) Finish();
  sessions_.Close();
  RunTasks();
}

// --- the public face: everything is posted ------------------------------------------------------

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
  core_->Post([core = core_.get(), request = std::move(request), done = std::move(done)]() mutable {
    core->CreateSession(std::move(request), std::move(done));
  });
}

void Engine::GetSession(std::string session_id, Callback<SessionInfo> done) {
  core_->Post([core = core_.get(), id = std::move(session_id), done = std::move(done)]() mutable {
    core->GetSession(id, std::move(done));
  });
}

void Engine::ListSessions(ListSessionsRequest request, Callback<SessionPage> done) {
  core_->Post([core = core_.get(), request = std::move(request), done = std::move(done)]() mutable {
    core->ListSessions(request, std::move(done));
  });
}

void Engine::ForkSession(std::string session_id, std::string new_session_id,
                         std::optional<uint64_t> length, Callback<SessionInfo> done) {
  core_->Post([core = core_.get(), id = std::move(session_id), new_id = std::move(new_session_id),
               length, done = std::move(done)]() mutable {
    core->ForkSession(id, std::move(new_id), length, std::move(done));
  });
}

void Engine::TruncateSession(std::string session_id, uint64_t length,
                             std::optional<uint64_t> expected_length, Callback<SessionInfo> done) {
  core_->Post([core = core_.get(), id = std::move(session_id), length, expected_length,
               done = std::move(done)]() mutable {
    core->TruncateSession(id, length, expected_length, std::move(done));
  });
}

void Engine::DeleteSession(std::string session_id, absl::AnyInvocable<void(absl::Status)> done) {
  core_->Post([core = core_.get(), id = std::move(session_id), done = std::move(done)]() mutable {
    core->DeleteSession(id, std::move(done));
  });
}

void Engine::ReadSession(std::string session_id, uint64_t offset, Callback<std::vector<int>> done) {
  core_->Post(
      [core = core_.get(), id = std::move(session_id), offset, done = std::move(done)]() mutable {
        core->ReadSession(id, offset, std::move(done));
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
