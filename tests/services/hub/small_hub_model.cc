#include "tests/services/hub/small_hub_model.h"

#include <fstream>
#include <iterator>
#include <random>

namespace kvasir::testing {

std::string SomeBytes(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::map<std::string, HubServer::File> SmallHubModel() {
  const std::string index = R"({"weight_map": {"a": "model-00001-of-00002.safetensors",)"
                            R"( "b": "model-00002-of-00002.safetensors"}})";
  return {{".gitattributes", {"*.safetensors filter=lfs\n"}},
          {"README.md", {"# Small\n"}},
          {"chat_template.jinja", {"{{ messages }}"}},
          {"config.json", {TextOf(KVASIR_SOURCE_DIR "/models/tiny/config.json")}},
          {"generation_config.json", {"{}"}},
          {"model-00001-of-00002.safetensors", {SomeBytes(300'000, 1), true}},
          {"model-00002-of-00002.safetensors", {SomeBytes(200'000, 2), true}},
          {"model.safetensors.index.json", {index}},
          {"original/params.safetensors", {SomeBytes(10'000, 3), true}},
          {"small.gguf", {SomeBytes(10'000, 4), true}},
          {"tokenizer.json", {SomeBytes(20'000, 5), true}},
          {"tokenizer_config.json", {"{\"added_tokens\": []}"}}};
}

}  // namespace kvasir::testing
