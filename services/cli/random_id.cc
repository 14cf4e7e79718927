#include "services/cli/random_id.h"

#include <cstdio>
#include <random>

namespace kvasir::cli {

std::string RandomId() {
  std::random_device random;
  char id[33];
  std::snprintf(id, sizeof(id), "%08x%08x%08x%08x", random(), random(), random(), random());
  return id;
}

}  // namespace kvasir::cli
