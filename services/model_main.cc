// kvasir-model: token ids to token ids, with conversations kept under session ids.
#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "services/device_flag.h"
#include "services/engine_metrics.h"
#include "services/generate_metrics.h"
#include "services/load_progress.h"
#include "services/model_service.h"
#include "services/serve.h"
#include "services/service_command.h"
#include "services/session_flags.h"
#include "services/stop_signals.h"
#include "services/telemetry.h"

namespace kvasir {
namespace {

constexpr char kExamples[] =
    "  kvasir-model\n"
    "      serves the embedded model\n"
    "  kvasir-model --model=/models/Qwen3-4B-Instruct-2507 --kv-memory=8GiB\n"
    "      serves a checkpoint, with so much memory for conversations\n"
    "  kvasir-model --listen=0.0.0.0:50052 --metrics=0.0.0.0:9465 --api-keys=FILE\n"
    "      serves the network, to whoever has a key";

struct ModelFlags {
  std::string dtype = "auto";
  std::string device = "auto";
  bool deterministic = false;
  double gpu_memory_fraction = 0.9;
  std::string cpu_kernel = "auto";
  int threads = 0;
  uint64_t kv_memory = 0;
  std::optional<int64_t> kv_host_memory;
  int max_step_tokens = 0;
  int max_running = 0;
  int max_queue = 1024;
  double stall_timeout = 60;
  double watchdog = 300;
  SessionFlags sessions;
};

void AddModelFlags(ServiceCommand& command, ModelFlags& flags) {
  command.AddFlag("--dtype", flags.dtype, "Arithmetic; auto: the checkpoint's")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}));
  command
      .AddFlag("--device", flags.device,
               "Where the model runs: auto, cpu, cuda, cuda:N; auto: a GPU where there is one")
      ->check(CLI::Validator(IsDevice, ""));
  command.AddSwitch("--deterministic", flags.deterministic,
                    "On a GPU: no bit of an answer depends on what else is computed");
  command
      .AddFlag("--gpu-memory-fraction", flags.gpu_memory_fraction,
               "Of a GPU's memory, for weights, KV cache and all else")
      ->check(CLI::Range(0.05, 1.0));
  command.AddFlag("--threads", flags.threads, "0: one for each core")->check(CLI::Range(0, 1024));
  command.AddSizeFlag("--kv-memory", flags.kv_memory,
                      "Memory for the KV cache, e.g. 512MiB or 2GB; 0: half of what is free, on a "
                      "GPU all of it");
  command.AddOptionalSizeFlag("--kv-host-memory", flags.kv_host_memory,
                              "Memory of the host for K and V that a GPU's KV cache has no room "
                              "for; auto: a quarter of what is available, where that pays");
  command
      .AddFlag("--max-running", flags.max_running,
               "Calls in one step; 0: 64 on a CPU, 256 on a GPU")
      ->check(CLI::Range(0, 4096));
  command
      .AddFlag(
          "--max-step-tokens", flags.max_step_tokens,
          "Tokens in one step, of prompts and of running calls; 0: 512 on a CPU, 2048 on a GPU")
      ->check(CLI::Range(0, 65536));
  command.AddFlag("--max-queue", flags.max_queue, "Generate calls that may wait")
      ->check(CLI::Range(1, 1'000'000));
  command
      .AddFlag("--stall-timeout", flags.stall_timeout,
               "Seconds for which a reader may take nothing before its call is ended")
      ->check(CLI::Range(0.1, 86400.0));
  command
      .AddFlag("--watchdog", flags.watchdog,
               "Seconds without a sign of the engine after which /healthz says so; more than the "
               "longest step")
      ->check(CLI::Range(1.0, 86400.0));
  flags.sessions.AddTo(command);
  command.AddFlag("--cpu-kernel", flags.cpu_kernel, "Matrix kernels; auto: the CPU's best")
      ->check(CLI::IsMember({"auto", "amx", "avx512bf16", "avx512", "avx2"}));
}

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const ServiceCommand& command,
                                                   prometheus::Registry& registry,
                                                   ModelFlags& flags) {
  EngineOptions options;
  options.model_dir = command.model().path;
  options.model_name = command.model().name;
  options.dtype = flags.dtype == "f32"    ? DTypeChoice::kF32
                  : flags.dtype == "bf16" ? DTypeChoice::kBf16
                                          : DTypeChoice::kAuto;
  options.device = flags.device;
  options.deterministic = flags.deterministic;
  options.gpu_memory_fraction = flags.gpu_memory_fraction;
  options.cpu_kernel = flags.cpu_kernel;
  options.threads = flags.threads;
  options.kv_memory = static_cast<int64_t>(flags.kv_memory);
  options.kv_host_memory = flags.kv_host_memory;
  options.max_step_tokens = flags.max_step_tokens;
  options.max_running = flags.max_running;
  options.max_queue = flags.max_queue;
  options.stall_timeout = absl::Seconds(flags.stall_timeout);
  if (absl::Status opened = flags.sessions.Apply(command, registry, options); !opened.ok()) {
    return opened;
  }
  LoadProgressBar bar;
  options.progress = [&bar](int64_t done, int64_t total) { bar.Show(done, total); };
  return Engine::Create(std::move(options));
}

void LogModel(const ModelInfo& info) {
  if (!info.device_fallback.empty()) {
    spdlog::info("the CPU computes: {}", info.device_fallback);
  }
  spdlog::info(
      "model {} ({}): {} on {}, {}; context {}, KV pool {} tokens; steps of {} calls, {} "
      "tokens",
      info.model_name, info.fingerprint, info.dtype, info.device, info.numerics, info.max_context,
      info.kv_tokens, info.max_running, info.max_step_tokens);
  if (info.kv_host_tokens > 0 || !info.kv_host_reason.empty()) {
    spdlog::info("K and V of {} more tokens in the host's memory{}{}", info.kv_host_tokens,
                 info.kv_host_reason.empty() ? "" : ": ", info.kv_host_reason);
  }
}

absl::Status CheckMoves(const Engine& engine, absl::Duration limit) {
  const absl::Duration silent = engine.SilentFor();
  if (silent <= limit) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("no sign of the engine for ", absl::FormatDuration(silent)));
}

int Main(int argc, char** argv) {
  StopSignals signals;
  ServiceCommand command({.name = "kvasir-model",
                          .description = "Serves a Qwen3 model over gRPC: token ids in and out, "
                                         "conversations kept under session ids.",
                          .examples = kExamples,
                          .listen = "127.0.0.1:50052",
                          .metrics = "127.0.0.1:9465"});
  ModelFlags flags;
  AddModelFlags(command, flags);
  AccessFlags access;
  access.AddTo(command);
  if (const std::optional<int> code = command.Parse(argc, argv)) return *code;
  if (absl::Status opened = access.Apply(command); !opened.ok()) {
    return command.Fail(std::string(opened.message()));
  }

  const absl::StatusOr<std::unique_ptr<Telemetry>> telemetry = Telemetry::Start(command);
  if (!telemetry.ok()) return command.Fail(std::string(telemetry.status().message()));
  prometheus::Registry& registry = *(*telemetry)->registry();
  StepMetrics step_metrics(registry);  // the engine's thread tells it to the end

  const absl::Time begun = absl::Now();
  absl::StatusOr<std::unique_ptr<Engine>> engine = LoadEngine(command, registry, flags);
  if (!engine.ok()) return command.Fail(std::string(engine.status().message()));
  const ModelInfo& info = (*engine)->model_info();
  LogModel(info);
  flags.sessions.Log();

  RegisterModel(registry, info, absl::Now() - begun);
  (*engine)->set_step_observer(
      [&step_metrics](const StepReport& step) { step_metrics.Record(step); });
  GenerateMetrics generate_metrics(registry, info.model_name);
  const char* name = v1::ModelService::service_full_name();
  ModelService service(**engine, (*telemetry)->ObserversOf(name, info.model_name), generate_metrics,
                       access.guards());
  MetricsEndpoint::Service operations = {
      .metrics = (*telemetry)->metrics(),
      .healthy = [&] { return CheckMoves(**engine, absl::Seconds(flags.watchdog)); },
      .ready = [&] { return flags.sessions.Reachable(); }};
  operations.metrics.push_back(std::make_shared<EngineMetrics>(**engine));
  return Serve(command, access,
               {service, name, service.calls(), ModelService::kMaxMessageBytes,
                (*telemetry)->endpoint(), std::move(operations)},
               signals);
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }
