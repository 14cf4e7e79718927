#ifndef KVASIR_SERVICES_DEVICE_FLAG_H_
#define KVASIR_SERVICES_DEVICE_FLAG_H_

#include <string>

#include "engine/open_backend.h"

namespace kvasir {

// A check of CLI11 for --device: an empty string where `value` is one, else what is wrong.
inline std::string IsDevice(const std::string& value) {
  return std::string(CheckDevice(value).message());
}

}  // namespace kvasir

#endif  // KVASIR_SERVICES_DEVICE_FLAG_H_
