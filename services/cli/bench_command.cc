#include "services/cli/bench_command.h"

#include <algorithm>
#include <cstdio>

#include "engine/schedule/scheduler.h"
#include "services/cli/client_flags.h"
#include "services/cli/kernel_bench.h"
#include "services/default_model.h"
#include "services/device_flag.h"
#include "services/hub/model_folder.h"

namespace kvasir::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir bench\n"
    "      the embedded model, in batches of 1, 4, 8 and 16\n"
    "  kvasir bench --model=/models/Qwen3-4B --prompt=512 --generate=128 --batch=1,8 --json\n"
    "      a checkpoint; a JSON array, an object for each batch size\n"
    "  kvasir bench --batch=1 --depth=4096\n"
    "      with 4096 tokens in the session before the prompt";

constexpr int kMaxTokens = 1 << 20;

}  // namespace

BenchCommand::BenchCommand() : model_(DefaultModel().string()) {}

CLI::App* BenchCommand::AddTo(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("bench", "Measures the engine in this process, without services");
  command->footer(kExamples);
  AddFlag(*command, "--prompt", options_.prompt, "Tokens that each sequence processes")
      ->check(CLI::Range(1, kMaxTokens));
  AddFlag(*command, "--generate", options_.generate, "Tokens that each sequence generates")
      ->check(CLI::Range(1, kMaxTokens));
  AddFlag(*command, "--batch", options_.batches, "Sequences at a time, one row for each number")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  AddFlag(*command, "--depth", options_.depth, "Tokens that each session holds before the prompt")
      ->check(CLI::Range(0, kMaxTokens));
  AddFlag(
      *command, "--arrival", options_.arrival,
      "Also: a prompt of so many tokens arrives beside decoding sessions; how long do they wait?")
      ->check(CLI::Range(0, kMaxTokens));
  AddSwitch(*command, "--kernels", kernels_,
            "Only the rates of this CPU's kernels, one row for each; the first is what auto takes");
  AddSwitch(*command, "--json", options_.json, "A JSON array in place of the table");
  AddFlag(*command, "--model", model_, "Directory of a checkpoint, or the name of a pulled model");
  AddFlag(*command, "--dtype", dtype_, "Arithmetic; auto: the checkpoint's")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}));
  AddFlag(*command, "--device", options_.engine.device,
          "Where the model runs: auto, cpu, cuda, cuda:N; auto: a GPU where there is one")
      ->check(CLI::Validator(IsDevice, ""));
  AddSwitch(*command, "--deterministic", options_.engine.deterministic,
            "On a GPU: no bit of an answer depends on what else is computed");
  AddFlag(*command, "--cpu-kernel", options_.engine.cpu_kernel,
          "Matrix kernels; auto: the CPU's best")
      ->check(CLI::IsMember({"auto", "amx", "avx512bf16", "avx512", "avx2"}));
  AddFlag(*command, "--threads", options_.engine.threads, "0: one for each core")
      ->check(CLI::Range(0, 1024));
  AddFlag(*command, "--kv-memory", kv_memory_,
          "Memory for the KV cache, e.g. 512MiB or 2GB; 0: half of what is free")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description("BYTES"));
  return command;
}

int BenchCommand::Run() {
  if (kernels_) return RunKernelBench(options_.engine.threads, options_.json);
  const absl::StatusOr<hub::ModelFolder> folder = hub::FindModel(model_, hub::ModelUse::kGenerate);
  if (!folder.ok()) {
    std::fprintf(stderr, "kvasir: %s\n", std::string(folder.status().message()).c_str());
    return 1;
  }
  options_.engine.model_dir = folder->path;
  options_.engine.dtype = dtype_ == "f32"    ? DTypeChoice::kF32
                          : dtype_ == "bf16" ? DTypeChoice::kBf16
                                             : DTypeChoice::kAuto;
  options_.engine.kv_memory = static_cast<int64_t>(kv_memory_);
  options_.engine.kv_host_memory = 0;  // nothing is evicted here
  options_.engine.touch_kv =
      kv_memory_ > 0;  // as after a while of use; of half a machine it is too much
  const int largest = *std::max_element(options_.batches.begin(), options_.batches.end());
  if (largest > SchedulerLimits{}.max_running) options_.engine.max_running = largest;
  options_.engine.max_queue = std::max(options_.engine.max_queue, largest);
  return RunBench(options_);
}

}  // namespace kvasir::cli
