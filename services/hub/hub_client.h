#ifndef KVASIR_SERVICES_HUB_HUB_CLIENT_H_
#define KVASIR_SERVICES_HUB_HUB_CLIENT_H_

#include <string>

#include "absl/status/statusor.h"
#include "services/hub/http_session.h"
#include "services/hub/hub_answers.h"
#include "services/hub/model_id.h"
#include "services/hub/partial_file.h"

namespace kvasir::hub {

// A file of a model at a commit.
struct RemoteFile {
  std::string name;  // a plain file name
  std::string url;   // on the hub, which may redirect
  Content content;
};

// What the hub is asked, each question once.
class HubClient {
 public:
  // `endpoint`: the hub's address, without a slash at its end.
  HubClient(std::string endpoint, ModelId id)
      : endpoint_(std::move(endpoint)), id_(std::move(id)) {}

  // What `revision` is at this moment.
  absl::StatusOr<ModelListing> List(HttpSession& http, const std::string& revision) const;
  // Size and hash of one of its files. FAILED_PRECONDITION where the hub gives no hash.
  absl::StatusOr<RemoteFile> Describe(HttpSession& http, const std::string& commit,
                                      const std::string& name) const;
  // Appends what `file` lacks. UNAVAILABLE where it is not whole then, and asking again may help;
  // DATA_LOSS where the server sends something else.
  static absl::Status Fetch(HttpSession& http, const RemoteFile& remote, PartialFile& file);

 private:
  std::string endpoint_;
  ModelId id_;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HUB_CLIENT_H_
