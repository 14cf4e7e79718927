#ifndef KVASIR_ENGINE_CHECK_H_
#define KVASIR_ENGINE_CHECK_H_

#include <cstdio>
#include <cstdlib>

// For our own bugs only: a user's mistake is an absl::Status.
#define KVASIR_CHECK(condition)                                                          \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

#endif  // KVASIR_ENGINE_CHECK_H_
