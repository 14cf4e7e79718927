// What the library shows to the program that opens it.
#include "engine/backend/plugin.h"

#include <string>
#include <utility>

#include "engine/backend/cuda/cuda_backend.h"

extern "C" __attribute__((visibility("default"))) const kvasir::Plugin* kvasir_plugin() {
  static constexpr kvasir::Plugin kPlugin = {
      .interface = kvasir::PluginInterface(KVASIR_PLUGIN_INTERFACE),
      .create = [](const kvasir::GpuBackendOptions& options,
                   std::unique_ptr<kvasir::Backend>& backend, std::string& error) {
        absl::StatusOr<std::unique_ptr<kvasir::Backend>> created =
            kvasir::cuda::CreateCudaBackend(options);
        if (!created.ok()) {
          error = std::string(created.status().message());
          return static_cast<int>(created.status().code());
        }
        backend = *std::move(created);
        return 0;
      }};
  return &kPlugin;
}
