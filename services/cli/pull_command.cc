#include "services/cli/pull_command.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <future>

#include "absl/strings/str_cat.h"
#include "services/cli/client_flags.h"
#include "services/cli/connection.h"
#include "services/cli/interrupts.h"
#include "services/cli/pull_display.h"
#include "services/hub/pull.h"

namespace kvasir::cli {
namespace {

using std::chrono::steady_clock;

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir pull Qwen/Qwen3-4B-Instruct-2507\n"
    "  kvasir-model --model=Qwen/Qwen3-4B-Instruct-2507\n"
    "      from the hub to the cache, and from there to the service\n"
    "  kvasir pull Qwen/Qwen3-4B-Instruct-2507 --dir=/models/qwen3\n"
    "      the files themselves, to a folder\n"
    "\n"
    "The environment is read as Python's huggingface_hub reads it: HF_ENDPOINT, HF_TOKEN, "
    "HF_HOME,\n"
    "HF_HUB_CACHE, HF_HUB_OFFLINE. What was interrupted goes on where it was.";

constexpr std::chrono::milliseconds kTick(100);

int Report(const absl::Status& status) {
  if (absl::IsCancelled(status)) {
    std::fputs("kvasir: CANCELLED: interrupted; the same command goes on from here\n", stderr);
    return Interrupts::kExitCode;
  }
  return ReportFailure(
      grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message())));
}

// Pulls while this thread watches for Ctrl-C and shows how far it is.
absl::StatusOr<hub::PulledModel> PullShown(const hub::PullOptions& options,
                                           hub::PullProgress& progress, PullDisplay& display) {
  hub::Cancellation cancellation;
  progress.tell = [&display](const std::string& line) { display.Tell(line); };
  std::future<absl::StatusOr<hub::PulledModel>> pulled =
      std::async(std::launch::async, [&] { return hub::Pull(options, cancellation, progress); });
  while (pulled.wait_for(kTick) != std::future_status::ready) {
    if (Interrupts::Get().pending()) cancellation.Cancel();
    display.Show(progress.done, progress.total, progress.received);
  }
  return pulled.get();
}

std::string Summary(const hub::PulledModel& model, const hub::PullProgress& progress,
                    double seconds) {
  if (model.files == 0) return "all files were there";
  const auto received = static_cast<double>(progress.received);
  return absl::StrCat(model.files, " files, ", BytesText(static_cast<double>(progress.total)),
                      received == 0
                          ? ", all there"
                          : absl::StrCat(", of which ", BytesText(received), " came now, ",
                                         BytesText(received / seconds), "/s"));
}

}  // namespace

std::string PullCommand::Json(const hub::PulledModel& model,
                              const hub::PullProgress& progress) const {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  writer.StartObject();
  writer.Key("model");
  writer.String(model_.c_str());
  writer.Key("revision");
  writer.String(revision_.c_str());
  writer.Key("folder");
  writer.String(model.folder.c_str());
  writer.Key("files");
  writer.Int(model.files);
  writer.Key("bytes");
  writer.Int64(static_cast<int64_t>(progress.total));
  writer.Key("received");
  writer.Int64(static_cast<int64_t>(progress.received));
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

CLI::App* PullCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("pull", "Fetches a model from a Hugging Face hub");
  command->footer(kExamples);
  command->add_option("model", model_, "Its name there, ORGANIZATION/NAME")->required();
  AddFlag(*command, "--revision", revision_, "Branch, tag or commit");
  AddFlag(*command, "--dir", folder_, "Folder for the files; without it they go to the cache");
  AddFlag(*command, "--redirect-hosts", redirect_hosts_,
          "Hosts that the hub may send the download to; '*' is any run of characters")
      ->delimiter(',');
  AddSwitch(
      *command, "--json", json_,
      "A JSON object in place of the folder: model, revision, folder, files, bytes, received");
  return command;
}

int PullCommand::Run() {
  hub::PullOptions options = {.revision = revision_, .redirect_hosts = redirect_hosts_};
  absl::StatusOr<hub::ModelId> id = hub::ParseModelId(model_);
  if (!id.ok()) return Report(id.status());
  options.id = *std::move(id);
  absl::StatusOr<hub::HubSettings> settings = hub::HubSettingsFromEnvironment();
  if (!settings.ok()) return Report(settings.status());
  options.hub = *std::move(settings);
  if (folder_.has_value()) options.folder = *folder_;

  Interrupts::Get().AlsoTake(SIGTERM);
  const steady_clock::time_point start = steady_clock::now();
  hub::PullProgress progress;
  absl::StatusOr<hub::PulledModel> pulled;
  {
    PullDisplay display;
    pulled = PullShown(options, progress, display);
  }
  if (!pulled.ok()) return Report(pulled.status());
  const std::chrono::duration<double> time = steady_clock::now() - start;
  std::fprintf(stderr, "%s at %s: %s\n", options.id.Text().c_str(), revision_.c_str(),
               Summary(*pulled, progress, time.count()).c_str());
  std::printf("%s\n", json_ ? Json(*pulled, progress).c_str() : pulled->folder.c_str());
  return 0;
}

}  // namespace kvasir::cli
