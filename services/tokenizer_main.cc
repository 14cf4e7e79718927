// kvasir-tokenizer: text to token ids and back.
#include <spdlog/spdlog.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
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
    "  kvasir-tokenizer --model=DIR --chat-template=brief.jinja\n"
    "      renders conversations with a template of your own\n"
    "  kvasir-tokenizer --listen=0.0.0.0:50051 --metrics=0.0.0.0:9464 --api-keys=FILE\n"
    "      serves the network, to whoever has a key";

// Nothing where no file is named.
std::optional<std::string> ReadTemplate(const std::string& file) {
  if (file.empty()) return std::nullopt;
  std::ifstream stream(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

int Main(int argc, char** argv) {
  StopSignals signals;
  ServiceCommand command({.name = "kvasir-tokenizer",
                          .description = "Serves a Qwen3 model's tokenizer over gRPC: text to "
                                         "token ids and back, chat templates.",
                          .examples = kExamples,
                          .listen = "127.0.0.1:50051",
                          .metrics = "127.0.0.1:9464",
                          .use = hub::ModelUse::kTokenize});
  int threads = 0;
  std::string template_file;
  command
      .AddFlag("--chat-template", template_file,
               "File with a Jinja template in place of the model's own")
      ->check(CLI::ExistingFile);
  command.AddFlag("--threads", threads, "0: one for each core")->check(CLI::Range(0, 1024));
  AccessFlags access;
  access.AddTo(command);
  if (const std::optional<int> code = command.Parse(argc, argv)) return *code;
  if (absl::Status opened = access.Apply(command); !opened.ok()) {
    return command.Fail(std::string(opened.message()));
  }

  const absl::StatusOr<std::unique_ptr<Telemetry>> telemetry = Telemetry::Start(command);
  if (!telemetry.ok()) return command.Fail(std::string(telemetry.status().message()));
  const std::optional<std::string> chat_template = ReadTemplate(template_file);
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Load(command.model().path, command.model().name,
                      chat_template.has_value() ? &*chat_template : nullptr);
  if (!tokenizer.ok()) return command.Fail(std::string(tokenizer.status().message()));
  spdlog::info("tokenizer {} ({}): {} ids", (*tokenizer)->model_name(), (*tokenizer)->fingerprint(),
               (*tokenizer)->vocab_size());
  const ChatRenderer renderer(**tokenizer);
  if (!renderer.status().ok()) {
    const std::string why(renderer.status().message());
    if (chat_template.has_value()) return command.Fail(template_file + ": " + why);
    spdlog::warn("ApplyChatTemplate: {}", why);
  }

  TokenizerMetrics metrics(*(*telemetry)->registry());
  const char* name = v1::TokenizerService::service_full_name();
  TokenizerService service(**tokenizer, renderer, threads, (*telemetry)->ObserversOf(name), metrics,
                           access.guards());
  return Serve(command, access,
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
