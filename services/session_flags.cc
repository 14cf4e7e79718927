#include "services/session_flags.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/journal/open_store.h"

namespace kvasir {
namespace {

// Whether a HOST:PORT to listen on names one server: every replica may listen on 0.0.0.0:50052.
bool NamesOneServer(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon), port = listen.substr(colon + 1);
  const bool any_host = host == "0.0.0.0" || host == "[::]" || host == "::" || host == "*";
  return !any_host && port.find_first_not_of('0') != std::string::npos;
}

}  // namespace

void SessionFlags::AddTo(ServiceCommand& command) {
  command.AddFlag("--session-store", store_,
                  "Where sessions are kept: memory, sqlite:PATH, redis://[:PASSWORD@]HOST:PORT/DB");
  command
      .AddFlag("--durability", durability_,
               "What is in the store when a client hears of it: a turn when its end is told, every "
               "token, or none")
      ->check(CLI::IsMember({"turn", "token", "none"}));
  command.AddFlag("--advertise", advertise_,
                  "This replica's address as others tell it to clients; default: --listen");
  command
      .AddFlag("--session-ttl", ttl_,
               "Seconds after whose idleness a session expires that asks for no ttl; 0: never")
      ->check(CLI::Range(0.0, 1e10));
  command
      .AddFlag("--max-sessions", max_sessions_, "Sessions that a tenant may keep; 0: any number")
      ->check(CLI::NonNegativeNumber);
  command
      .AddFlag("--max-session-tokens", max_tokens_,
               "Tokens in all sessions of a tenant together; 0: any number")
      ->check(CLI::NonNegativeNumber);
  command
      .AddFlag("--max-kv-share", max_kv_share_,
               "Of the KV cache's memory, that a tenant's sessions may hold; over 0 to 1")
      ->check(CLI::Range(1e-6, 1.0));
}

absl::Status SessionFlags::Apply(const ServiceCommand& command, prometheus::Registry& registry,
                                 EngineOptions& options) {
  // Two replicas of one name would take each other's running sessions for their own.
  if (store_.starts_with("redis:") && advertise_.empty() && !NamesOneServer(command.listen())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--advertise: needed with --session-store=redis://..., since --listen=", command.listen(),
        " does not tell this replica from others"));
  }
  const std::string& owner = advertise_.empty() ? command.listen() : advertise_;
  absl::StatusOr<std::unique_ptr<SessionStore>> store = OpenSessionStore(store_, owner);
  if (!store.ok()) return store.status();
  opened_ = *std::move(store);
  if (opened_ != nullptr) {
    store_metrics_ = std::make_shared<StoreMetrics>(registry);
    options.session_store = store_metrics_->Observe(opened_);
  }
  options.durability = durability_ == "token"  ? Durability::kToken
                       : durability_ == "none" ? Durability::kNone
                                               : Durability::kTurn;
  if (ttl_ > 0) options.session_ttl = absl::Seconds(ttl_);
  options.tenant_limits = {max_sessions_, max_tokens_};
  options.tenant_kv_share = max_kv_share_;
  options.warn = [](const std::string& line) { spdlog::warn("{}", line); };
  return absl::OkStatus();
}

absl::Status SessionFlags::Reachable() const {
  if (store_metrics_ == nullptr || store_metrics_->reachable()) return absl::OkStatus();
  return absl::UnavailableError("the session store cannot be reached");
}

void SessionFlags::Log() const {
  if (opened_ == nullptr) {
    spdlog::warn("sessions are in memory alone and end with this process (--session-store)");
    return;
  }
  spdlog::info("sessions are kept in {}, durable by {}", opened_->name(), durability_);
  if (const std::string warning = opened_->warning(); !warning.empty()) {
    spdlog::warn("{}", warning);
  }
}

}  // namespace kvasir
