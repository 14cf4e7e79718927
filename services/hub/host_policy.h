#ifndef KVASIR_SERVICES_HUB_HOST_POLICY_H_
#define KVASIR_SERVICES_HUB_HOST_POLICY_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir::hub {

// Where an address leads: all of it that decides who answers.
struct Origin {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case
  int port = 0;

  std::string Text() const;  // https://huggingface.co, http://127.0.0.1:8080
  friend bool operator==(const Origin&, const Origin&) = default;
};

// As the transport will read it. INVALID_ARGUMENT for what is not http or https, and for a user or
// password in the address.
absl::StatusOr<Origin> OriginOf(const std::string& url);

// Hosts that Hugging Face's own hub redirects to (https://huggingface.co/.well-known/meta.json, and
// what served Git LFS before).
std::vector<std::string> DefaultRedirectHosts();

// Who may be asked for a model, and with what. The hub's own origin always, with the token; others
// when the hub redirects to them, if they are on the list, without it.
class HostPolicy {
 public:
  // `endpoint`: the hub's address. `redirect_hosts`: host names, in which a '*' stands for any run
  // of characters, e.g. "*.hf.co". INVALID_ARGUMENT names what cannot be one.
  static absl::StatusOr<HostPolicy> Create(const std::string& endpoint,
                                           std::vector<std::string> redirect_hosts);

  // Whether a redirect to `url` may be followed. PERMISSION_DENIED names host and list; from https
  // to http is no way either.
  absl::Status CheckRedirect(const std::string& url) const;

  // Whether the token is for this one.
  bool IsHub(const Origin& origin) const { return origin == hub_; }

  // Whether it may be at an address that is not public: the hub itself, and hosts that the user has
  // named in full.
  bool MayBePrivate(const Origin& origin) const;

 private:
  Origin hub_;
  std::vector<std::string> redirect_hosts_;
  bool defaults_ = false;  // nobody has named these
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HOST_POLICY_H_
