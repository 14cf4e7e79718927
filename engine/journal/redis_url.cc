#include "engine/journal/redis_url.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr std::string_view kScheme = "redis://";

absl::Status Wrong(std::string_view what) {
  return MakeError(Reason::kInvalidField,
                   absl::StrCat("session store: ", std::string(what),
                                "; expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]"),
                   {{"field", "session_store"}});
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

template <typename Number>
bool ParseWhole(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

bool IsHostCharacter(char c) { return c > ' ' && c <= '~' && c != '[' && c != ']' && c != '?'; }

// `text`: what stands before '@'.
absl::Status ParseCredentials(std::string_view text, RedisUrl* parsed) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return Wrong("no ':' before the password");
  const auto user = PercentDecode(text.substr(0, colon));
  const auto password = PercentDecode(text.substr(colon + 1));
  if (!user || !password) return Wrong("a '%' in user or password begins no two hex digits");
  if (password->empty()) return Wrong("the password is empty");
  parsed->user = *user;
  parsed->password = *password;
  return absl::OkStatus();
}

absl::Status ParseAddress(std::string_view text, RedisUrl* parsed) {
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return Wrong("no ']' behind the address");
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port[0] != ':') return Wrong("neither ':' nor '/' behind ']'");
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (host.empty()) return Wrong("no host");
  if (!std::all_of(host.begin(), host.end(), IsHostCharacter)) {
    return Wrong("a character in the host that no host has");
  }
  parsed->host = std::string(host);
  if (!port.empty() && (!ParseWhole(port.substr(1), &parsed->port) || parsed->port == 0)) {
    return Wrong("the port is no number from 1 to 65535");
  }
  return absl::OkStatus();
}

}  // namespace

std::string RedisUrl::WithoutPassword() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return absl::StrCat("redis://", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", ":", port, "/",
                      database);
}

absl::StatusOr<RedisUrl> ParseRedisUrl(std::string_view url) {
  if (!url.starts_with(kScheme)) return Wrong("does not begin with redis://");
  std::string_view rest = url.substr(kScheme.size());
  RedisUrl parsed;
  // The last '@': a password may hold one that nobody has encoded.
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    if (auto status = ParseCredentials(rest.substr(0, at), &parsed); !status.ok()) return status;
    rest = rest.substr(at + 1);
  }
  const size_t slash = rest.find('/');
  if (auto status = ParseAddress(rest.substr(0, slash), &parsed); !status.ok()) return status;
  if (slash != std::string_view::npos && slash + 1 < rest.size() &&
      (!ParseWhole(rest.substr(slash + 1), &parsed.database) || parsed.database < 0)) {
    return Wrong("the database is no number");
  }
  return parsed;
}

}  // namespace kvasir
