#ifndef KVASIR_TESTS_SERVICES_CRASH_SETTING_H_
#define KVASIR_TESTS_SERVICES_CRASH_SETTING_H_

#include <cstdint>
#include <cstdlib>

namespace kvasir::testing {

// A number of the environment, by which a test takes longer than it does for every change.
inline uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::strtoull(value, nullptr, 10) : otherwise;
}

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CRASH_SETTING_H_
