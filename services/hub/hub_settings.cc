#include "services/hub/hub_settings.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> Variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

bool IsTrue(const char* name) {
  const std::string value = absl::AsciiStrToUpper(Variable(name).value_or(""));
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path HomeDirectory() { return Variable("HOME").value_or("/"); }

// "~/models" as a shell would read it.
fs::path WithHome(const std::string& path) {
  if (path == "~") return HomeDirectory();
  if (path.starts_with("~/")) return HomeDirectory() / path.substr(2);
  return path;
}

fs::path HubHome() {
  if (const auto home = Variable("HF_HOME")) return WithHome(*home);
  if (const auto caches = Variable("XDG_CACHE_HOME")) return WithHome(*caches) / "huggingface";
  return HomeDirectory() / ".cache" / "huggingface";
}

// It goes into a header, where a line's end would begin another one.
absl::StatusOr<std::string> CheckedToken(const std::string& source, std::string token) {
  token = std::string(absl::StripAsciiWhitespace(token));
  const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
  if (std::ranges::all_of(token, printable)) return token;
  return absl::InvalidArgumentError(
      absl::StrCat(source, " holds no token: there are spaces or control characters in it"));
}

absl::StatusOr<std::string> ReadToken() {
  if (const auto token = Variable("HF_TOKEN")) return CheckedToken("HF_TOKEN", *token);
  const auto named = Variable("HF_TOKEN_PATH");
  const fs::path path = named.has_value() ? WithHome(*named) : HubHome() / "token";
  std::ifstream file(path);
  return CheckedToken(path.string(), std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace

fs::path HubCacheFromEnvironment() {
  // The second is what the library called it once, and still reads.
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto cache = Variable(name)) return WithHome(*cache);
  }
  return HubHome() / "hub";
}

absl::StatusOr<HubSettings> HubSettingsFromEnvironment() {
  HubSettings settings;
  if (const auto endpoint = Variable("HF_ENDPOINT")) settings.endpoint = *endpoint;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  absl::StatusOr<std::string> token = ReadToken();
  if (!token.ok()) return token.status();
  settings.token = *std::move(token);
  settings.offline = IsTrue("HF_HUB_OFFLINE") || IsTrue("TRANSFORMERS_OFFLINE");
  settings.cache = HubCacheFromEnvironment();
  return settings;
}

}  // namespace kvasir::hub
