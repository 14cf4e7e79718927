#include "services/service_command.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "services/default_model.h"
#include "services/log.h"

namespace kvasir {
namespace {

// Both libraries that listen take a port over 65,535 modulo 65,536.
std::string CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      port.find_first_not_of("0123456789") == std::string::npos;
  if (colon != 0 && digits && std::stoi(port) <= 65535) return "";
  return address + " is not of the form HOST:PORT, with a port of 0 to 65535";
}

// gRPC's own log is for whoever looks for it: what a caller needs to know is in our messages.
void LogForGrpc(gpr_log_func_args* args) {
  spdlog::debug("grpc: {}:{}: {}", args->file, args->line, args->message);
}

}  // namespace

std::string ServiceCommand::EnvironmentName(const std::string& flag) {
  std::string name = "KVASIR_";
  for (char c : flag.substr(2)) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

ServiceCommand::ServiceCommand(const Defaults& defaults)
    : name_(defaults.name),
      app_(defaults.description, defaults.name),
      listen_(defaults.listen),
      model_(DefaultModel().string()),
      use_(defaults.use),
      metrics_(defaults.metrics) {
  app_.footer("Examples:\n" + defaults.examples);
  app_.set_version_flag("--version", name_ + " " + KVASIR_VERSION);
  app_.get_formatter()->column_width(36);
  AddFlag("--listen", listen_,
          "HOST:PORT to serve " + defaults.protocol + " on; port 0: any that is free")
      ->check(CLI::Validator(CheckAddress, ""));
  AddFlag("--log-level", log_level_, "What is logged on stderr")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}));
  AddFlag("--log-format", log_format_, "How: text, or a JSON object a line")
      ->check(CLI::IsMember({"text", "json"}));
  if (use_.has_value()) AddModelFlags();
}

void ServiceCommand::AddModelFlags() {
  AddFlag("--model", model_,
          "Directory of a checkpoint, or ORGANIZATION/NAME[@REVISION] of a pulled model");
  AddFlag("--metrics", metrics_,
          "HOST:PORT of Prometheus metrics (/metrics), /healthz and /readyz, " + metrics_ +
              " where not set; empty: none")
      ->expected(0, 1)  // so that --metrics= is empty
      ->default_str("");
  AddSwitch("--log-prompts", log_prompts_, "With what callers sent to be processed");
  AddFlag("--otlp-endpoint", otlp_endpoint_,
          "OpenTelemetry collector that gets spans of requests, http://HOST:4318; where not set, "
          "OTEL_EXPORTER_OTLP_ENDPOINT; empty: none");
}

CLI::Option* ServiceCommand::AddSizeFlag(const std::string& name, uint64_t& bytes,
                                         const std::string& description) {
  return AddFlag(name, bytes, description)
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description("BYTES"))
      ->check(
          CLI::Range(uint64_t{0}, uint64_t{std::numeric_limits<int64_t>::max()}).description(""));
}

CLI::Option* ServiceCommand::AddOptionalSizeFlag(const std::string& name,
                                                 std::optional<int64_t>& bytes,
                                                 const std::string& description) {
  const CLI::AsSizeValue size(/*kb_is_1000=*/true);
  const auto to_bytes = [size](std::string& text) { return text == "auto" ? "" : size(text); };
  const auto store = [&bytes](const std::string& text) {
    int64_t number = 0;
    if (text != "auto" && (!absl::SimpleAtoi(text, &number) || number < 0)) return false;
    bytes = text == "auto" ? std::nullopt : std::optional(number);
    return true;
  };
  return app_
      .add_option(
          name, [store](const CLI::results_t& texts) { return store(texts.back()); }, description)
      ->envname(EnvironmentName(name))
      ->default_str("auto")
      ->transform(CLI::Validator(to_bytes, ""))
      ->type_name("BYTES|auto");
}

std::optional<int> ServiceCommand::Parse(int argc, char** argv) {
  try {  // the library throws
    app_.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app_.exit(success);
  } catch (const CLI::ParseError& error) {
    return Fail(std::string(error.what()) + " (try --help)");
  }
  if (use_.has_value()) {
    if (absl::Status status = ApplyModelFlags(); !status.ok()) {
      return Fail(std::string(status.message()));
    }
  }
  StartLogging(log_level_, log_format_ == "json" ? LogFormat::kJson : LogFormat::kText);
  gpr_set_log_function(LogForGrpc);
  return std::nullopt;
}

absl::Status ServiceCommand::ApplyModelFlags() {
  // The library takes an empty variable for one that is not set.
  const char* metrics = std::getenv("KVASIR_METRICS");
  if (app_.count("--metrics") == 0 && metrics != nullptr && *metrics == '\0') metrics_.clear();
  absl::StatusOr<hub::ModelFolder> folder = hub::FindModel(model_, *use_);
  if (!folder.ok()) return folder.status();
  folder_ = *std::move(folder);
  const char* collector = std::getenv("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (otlp_endpoint_.empty() && collector != nullptr) otlp_endpoint_ = collector;
  return absl::OkStatus();
}

int ServiceCommand::Fail(const std::string& why) const {
  std::fprintf(stderr, "%s: %s\n", name_.c_str(), why.c_str());
  return 1;
}

}  // namespace kvasir
