#ifndef KVASIR_SERVICES_DEVICE_FLAG_H_
#define KVASIR_SERVICES_DEVICE_FLAG_H_

#include <algorithm>
#include <string>

namespace kvasir {

// A check of CLI11 for --device: an empty string where `value` is one, else what is wrong.
inline std::string IsDevice(const std::string& value) {
  if (value == "auto" || value == "cpu" || value == "cuda") return "";
  const std::string index = value.rfind("cuda:", 0) == 0 ? value.substr(5) : "";
  const bool number =
      !index.empty() && index.size() <= 4 &&
      std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; });
  return number ? "" : value + " is none of auto, cpu, cuda, cuda:N";
}

}  // namespace kvasir

#endif  // KVASIR_SERVICES_DEVICE_FLAG_H_
