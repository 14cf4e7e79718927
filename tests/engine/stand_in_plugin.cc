// A GPU's library that has no GPU: it tells that it was asked.
#include "engine/backend/plugin.h"

extern "C" const kvasir::Plugin* kvasir_plugin() {
  static constexpr kvasir::Plugin kPlugin = {
      .interface = kvasir::PluginInterface(KVASIR_PLUGIN_INTERFACE),
      .create = [](const kvasir::GpuBackendOptions&, std::unique_ptr<kvasir::Backend>&,
                   std::string& error) {
        error = "the stand-in was asked";
        return static_cast<int>(absl::StatusCode::kResourceExhausted);
      }};
  return &kPlugin;
}
