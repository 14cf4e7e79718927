#ifndef KVASIR_SERVICES_HUB_DOWNLOAD_H_
#define KVASIR_SERVICES_HUB_DOWNLOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "services/hub/attempts.h"
#include "services/hub/cancellation.h"
#include "services/hub/hub_cache.h"
#include "services/hub/hub_client.h"

namespace kvasir::hub {

// How far a pull is, for whoever watches: bytes that there will be, that are there (whether they
// came now or before), that came now.
struct PullProgress {
  std::atomic<int64_t> total = 0, done = 0, received = 0;
  std::function<void(const std::string&)> tell;  // a line for the user; called by any thread
};

// Brings a file to its place: what is there and right stays, what an earlier attempt began goes on,
// one writer at a time. Errors are told with the file's name.
absl::Status Download(HttpSession& http, const RemoteFile& remote, const FilePlace& place,
                      const AttemptLimits& limits, const Cancellation& cancellation,
                      PullProgress& progress);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_DOWNLOAD_H_
