#ifndef KVASIR_ENGINE_JOURNAL_REDIS_URL_H_
#define KVASIR_ENGINE_JOURNAL_REDIS_URL_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvasir {

// redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], user and password percent-encoded; an IPv6 address
// stands in brackets.
struct RedisUrl {
  std::string user;  // empty: Redis' default user
  std::string password;
  std::string host;
  uint16_t port = 6379;
  int database = 0;

  // redis://HOST:PORT/DB: fit for logs and errors.
  std::string WithoutPassword() const;
};

// INVALID_ARGUMENT says what is wrong and never repeats what may be part of a password.
absl::StatusOr<RedisUrl> ParseRedisUrl(std::string_view url);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_REDIS_URL_H_
