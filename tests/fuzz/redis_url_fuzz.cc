// Any bytes as the address of a Redis: what is accepted names the same one when it is written out.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "engine/journal/redis_url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view url(reinterpret_cast<const char*>(data), size);
  const auto parsed = kvasir::ParseRedisUrl(url);
  if (!parsed.ok()) return 0;
  const auto again = kvasir::ParseRedisUrl(parsed->WithoutPassword());
  KVASIR_CHECK(again.ok());
  KVASIR_CHECK(again->host == parsed->host && again->port == parsed->port);
  KVASIR_CHECK(again->database == parsed->database && again->password.empty());
  return 0;
}
