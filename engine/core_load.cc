// From a folder to a model that can run, on the device that is wanted or that there is.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/host_memory.h"
#include "engine/core.h"
#include "engine/host_kv.h"
#include "engine/open_backend.h"

namespace kvasir {
namespace {

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

SchedulerLimits LimitsOf(const EngineOptions& options, bool on_gpu) {
  SchedulerLimits limits;
  if (on_gpu) {
    const GpuBackendOptions suits;
    limits.max_step_tokens = suits.max_step_tokens;
    limits.max_running = suits.max_sequences;
  }
  if (options.max_step_tokens > 0) limits.max_step_tokens = options.max_step_tokens;
  if (options.max_running > 0) limits.max_running = options.max_running;
  limits.max_queue = options.max_queue;
  return limits;
}

BackendChoice ChooseBackend(const EngineOptions& options, const ModelConfig& config) {
  const AttentionShape attention = {.heads = config.heads,
                                    .kv_heads = config.kv_heads,
                                    .head_dim = config.head_dim,
                                    .rope_theta = config.rope_theta,
                                    .norm_eps = config.norm_eps};
  const SchedulerLimits gpu_limits = LimitsOf(options, true);
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
                  .max_step_tokens = gpu_limits.max_step_tokens,
                  .max_sequences = gpu_limits.max_running,
                  .max_logits = gpu_limits.max_logits(),
                  .deterministic = options.deterministic,
                  .memory_fraction = options.gpu_memory_fraction},
          .plugin = options.gpu_plugin};
}

// Whether the model and at least one block fit a GPU.
absl::Status PlanMemory(const EngineOptions& options, const ModelConfig& config, Backend& backend) {
  const SchedulerLimits limits = LimitsOf(options, true);
  const auto block = static_cast<int64_t>(backend.KvBlockBytes(config.layers));
  return backend.Plan(
      {.weights = WeightBytes(config, ChooseDType(options.dtype, config)),
       .workspace = Qwen3::WorkspaceBytes(config, backend.activation_dtype(),
                                          limits.max_step_tokens, limits.max_logits()),
       .kv = std::max(options.kv_memory, block)});
}

std::string ModelName(const std::filesystem::path& dir) {
  const std::filesystem::path path = std::filesystem::absolute(dir).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

}  // namespace

absl::Status Engine::Core::ReadConfig(const EngineOptions& options, Model& model) {
  const absl::StatusOr<std::string> config_json = ReadFile(options.model_dir / "config.json");
  if (!config_json.ok()) return config_json.status();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*config_json);
  if (!config.ok()) return config.status();
  model.config = *config;

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
  model.generation = *std::move(generation);
  return absl::OkStatus();
}

absl::Status Engine::Core::LoadOn(const std::string& device, const EngineOptions& options,
                                  Model& model) {
  BackendChoice choice = ChooseBackend(options, model.config);
  choice.device = device;
  choice.accept = [&](Backend& backend) { return PlanMemory(options, model.config, backend); };
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  if (!opened.ok()) return opened.status();
  model.backend = std::move(opened->backend);
  model.on_gpu = opened->on_gpu;
  model.limits = LimitsOf(options, opened->on_gpu);
  model.info.device_fallback = opened->fallback;
  model.info.dtype = NameOf(choice.cpu.dtype);

  absl::StatusOr<Weights> weights =
      LoadWeights(options.model_dir, model.config, *model.backend, options.progress);
  if (!weights.ok()) return weights.status();
  model.weights = *std::move(weights);

  const absl::StatusOr<int> blocks = CountKvBlocks(options, model.config, *model.backend);
  if (!blocks.ok()) return blocks.status();
  model.kv_blocks = *blocks;
  if (options.tenant_kv_share < 1) {
    model.limits.max_tenant_blocks =
        std::max(1, static_cast<int>(options.tenant_kv_share * *blocks));
  }
  const absl::Status allocated = model.backend->AllocateKv(model.config.layers, *blocks);
  if (!allocated.ok()) return allocated;

  absl::StatusOr<std::unique_ptr<Qwen3>> qwen3 =
      Qwen3::Create(model.config, model.weights, *model.backend, model.limits.max_step_tokens,
                    model.limits.max_logits());
  if (!qwen3.ok()) return qwen3.status();
  model.qwen3 = *std::move(qwen3);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine::Core::Model>> Engine::Core::Load(
    const EngineOptions& options) {
  auto model = std::make_unique<Model>();
  absl::Status status = ReadConfig(options, *model);
  if (!status.ok()) return status;
  status = LoadOn(options.device, options, *model);
  if (options.device == "auto" && model->on_gpu && absl::IsResourceExhausted(status)) {
    // There was room when it was planned: somebody else took it, or it lies in pieces.
    const std::string why(status.message());
    model->Unload();
    status = LoadOn("cpu", options, *model);
    model->info.device_fallback = why;
  }
  if (!status.ok()) return status;

  const absl::StatusOr<int> host_blocks =
      AllocateHostKv(options, model->config, ReadHostMemory().available, *model->backend);
  if (!host_blocks.ok()) return host_blocks.status();
  model->host_kv_blocks = *host_blocks;

  ModelInfo& info = model->info;
  info.model_name = options.model_name.empty() ? ModelName(options.model_dir) : options.model_name;
  info.fingerprint = model->weights.fingerprint;
  info.vocab_size = static_cast<uint32_t>(model->config.vocab);
  info.max_context = static_cast<uint32_t>(model->config.max_positions);
  info.eos_token_ids = model->generation.eos_token_ids;
  info.default_sampling = model->generation.sampling;
  info.device = model->backend->device();
  info.numerics = model->backend->numerics();
  info.max_running = model->limits.max_running;
  info.max_step_tokens = model->limits.max_step_tokens;
  info.kv_tokens = uint64_t{static_cast<uint32_t>(model->kv_blocks)} * kBlockTokens;
  return model;
}

}  // namespace kvasir
