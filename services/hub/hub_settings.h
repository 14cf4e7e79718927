#ifndef KVASIR_SERVICES_HUB_HUB_SETTINGS_H_
#define KVASIR_SERVICES_HUB_HUB_SETTINGS_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace kvasir::hub {

// What the environment says of hubs, by the names that the Python library huggingface_hub reads. A
// variable that is empty counts as not set.
struct HubSettings {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT, without a slash at its end
  // HF_TOKEN, else what the file HF_TOKEN_PATH ($HF_HOME/token) holds; empty: none.
  std::string token;
  bool offline = false;         // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE: 1, ON, YES, TRUE
  std::filesystem::path cache;  // as HubCacheFromEnvironment says
};

// INVALID_ARGUMENT names the variable, and never repeats a token.
absl::StatusOr<HubSettings> HubSettingsFromEnvironment();

// HF_HUB_CACHE, else $HF_HOME/hub; HF_HOME is $XDG_CACHE_HOME/huggingface where not set, and that
// ~/.cache/huggingface.
std::filesystem::path HubCacheFromEnvironment();

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_HUB_SETTINGS_H_
