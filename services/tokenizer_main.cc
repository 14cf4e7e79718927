// kvasir-tokenizer: text to token ids and back.
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

#include "services/chat_renderer.h"
#include "services/serve.h"
#include "services/service_command.h"
#include "services/stop_signals.h"
#include "services/telemetry.h"
#include "services/tokenizer_service.h"

namespace kvasir {
namespace {

constexpr char kExamples[] =
    "  kvasir-tokenizer\n"
    "      serves the embedded model's tokenizer\n"
    "  kvasir-tokenizer --model=/models/Qwen3-4B-Instruct-2507\n"
    "      serves a checkpoint's; tokenizer.json and tokenizer_config.json are enough\n"
    "  KVASIR_THREADS=8 kvasir-tokenizer --listen=0.0.0.0:50051 --metrics=0.0.0.0:9464\n"
    "      serves the network, with 8 threads";

int Main(int argc, char** argv) {
  StopSignals signals;
  ServiceCommand command({.name = "kvasir-tokenizer",
                          .description = "Serves a Qwen3 model's tokenizer over gRPC: text to "
                                         "token ids and back, chat templates.",
                          .examples = kExamples,
                          .listen = "127.0.0.1:50051",
                          .metrics = "127.0.0.1:9464"});
  int threads = 0;
  command.AddFlag("--threads", threads, "0: one for each core")->check(CLI::Range(0, 1024));
  if (const std::optional<int> code = command.Parse(argc, argv)) return *code;

  const absl::StatusOr<std::unique_ptr<Telemetry>> telemetry = Telemetry::Start(command);
  if (!telemetry.ok()) return command.Fail(std::string(telemetry.status().message()));
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(command.model());
  if (!tokenizer.ok()) return command.Fail(std::string(tokenizer.status().message()));
  spdlog::info("tokenizer {} ({}): {} ids", (*tokenizer)->model_name(), (*tokenizer)->fingerprint(),
               (*tokenizer)->vocab_size());
  const ChatRenderer renderer(**tokenizer);
  if (!renderer.status().ok()) {
    spdlog::warn("ApplyChatTemplate: {}", std::string(renderer.status().message()));
  }

  TokenizerMetrics metrics(*(*telemetry)->registry());
  const char* name = v1::TokenizerService::service_full_name();
  TokenizerService service(**tokenizer, renderer, threads, (*telemetry)->ObserversOf(name),
                           metrics);
  return Serve(command,
               {service,
                name,
                service.calls(),
                TokenizerService::kMaxMessageBytes,
                (*telemetry)->endpoint(),
                {.metrics = (*telemetry)->metrics(), .healthy = nullptr, .ready = nullptr}},
               signals);
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }
