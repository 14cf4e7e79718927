#ifndef KVASIR_SERVICES_HUB_PULL_H_
#define KVASIR_SERVICES_HUB_PULL_H_

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/hub/attempts.h"
#include "services/hub/cancellation.h"
#include "services/hub/download.h"
#include "services/hub/host_policy.h"
#include "services/hub/http_session.h"
#include "services/hub/hub_settings.h"
#include "services/hub/model_id.h"

namespace kvasir::hub {

struct PullOptions {
  ModelId id;
  std::string revision = "main";
  std::optional<std::filesystem::path> folder;  // the files themselves; nothing: to the cache
  HubSettings hub;
  std::vector<std::string> redirect_hosts = DefaultRedirectHosts();
  HttpTimes times;
  AttemptLimits attempts;
};

struct PulledModel {
  std::filesystem::path folder;
  int files = 0;  // that were looked at; 0: the hub was not asked, or not reached
};

// Brings the files that Kvasir reads of a model (configuration, safetensors, tokenizer, chat
// template) to the cache or a folder, several at a time, and refuses a model that it cannot serve
// before the weights come. In the cache, snapshot and revision appear when all is there. Where the
// hub need not be asked (a commit in full), may not be (offline) or cannot be reached, what is
// there is the answer, if it is whole.
//
// Errors: NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED as the hub says; UNAVAILABLE after all
// attempts; DATA_LOSS where what comes is not what the hub announced; RESOURCE_EXHAUSTED where the
// disk has no room; CANCELLED. What came stays, and the next pull goes on from there.
//
// Cancels `cancellation` itself when a file fails, so that the others end.
absl::StatusOr<PulledModel> Pull(const PullOptions& options, Cancellation& cancellation,
                                 PullProgress& progress);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_PULL_H_
