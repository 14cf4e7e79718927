// What callers send as `traceparent`: it never fails, and what it takes it gives back.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "services/trace_context.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view header(reinterpret_cast<const char*>(data), size);
  const auto context = kvasir::ParseTraceparent(header);
  if (!context) return 0;
  const std::string written = context->traceparent();
  KVASIR_CHECK(written.substr(3, 50) == header.substr(3, 50));  // the ids
  const auto again = kvasir::ParseTraceparent(written);
  KVASIR_CHECK(again && again->traceparent() == written);
  return 0;
}
