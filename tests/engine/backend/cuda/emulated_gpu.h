#ifndef KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_GPU_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_GPU_H_

#include <dlfcn.h>

#include <string>

#include "engine/check.h"
#include "tests/simt/include/simt.h"

// Of the library of the emulated GPU: what the emulator has counted since it was opened.
extern "C" void kvasir_emulated_statistics(simt::Statistics* statistics);

namespace kvasir {

// Of the library at `path`, which an engine has open.
inline simt::Statistics EmulatedStatistics(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  KVASIR_CHECK(library != nullptr);
  auto* const read = reinterpret_cast<decltype(&kvasir_emulated_statistics)>(
      dlsym(library, "kvasir_emulated_statistics"));
  KVASIR_CHECK(read != nullptr);
  simt::Statistics statistics;
  read(&statistics);
  (void)dlclose(library);
  return statistics;
}

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CUDA_EMULATED_GPU_H_
