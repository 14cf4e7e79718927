#include "tests/simt/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

namespace simt {
namespace {

constexpr char kStandIns[] = "/tests/simt/include/";

// The file that an address was loaded from, and the address in that file's own terms.
struct Origin {
  std::string file;
  uintptr_t address = 0;
};
Origin OriginOf(const void* p) {
  Dl_info info;
  if (dladdr(p, &info) == 0) return {};
  std::string file = info.dli_fname;
  if (!std::ifstream(file)) file = "/proc/self/exe";
  const auto* const header = static_cast<const Elf64_Ehdr*>(info.dli_fbase);
  const uintptr_t base = header->e_type == ET_DYN ? reinterpret_cast<uintptr_t>(header) : 0;
  return {file, reinterpret_cast<uintptr_t>(p) - base};
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Function's address -> mangled name.
std::map<uintptr_t, std::string> ReadSymbols(const std::string& path) {
  std::map<uintptr_t, std::string> symbols;
  const std::string file = ReadFile(path);
  if (file.size() < sizeof(Elf64_Ehdr)) return symbols;
  const auto* const header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const auto* const sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const char* const names = file.data() + sections[sections[i].sh_link].sh_offset;
    const auto* symbol = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const auto* const end = symbol + sections[i].sh_size / sizeof(Elf64_Sym);
    for (; symbol != end; ++symbol) {
      if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC) continue;
      symbols[symbol->st_value] = names + symbol->st_name;
    }
  }
  return symbols;
}

// Up to the parameters: the parenthesis that the last one closes.
std::string WithoutParameters(const std::string& name) {
  int depth = 0;
  for (size_t i = name.size(); i-- > 0;) {
    if (name[i] == ')') ++depth;
    if (name[i] == '(' && --depth == 0) return name.substr(0, i);
  }
  return name;
}

std::string Demangle(const std::string& mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? WithoutParameters(text) : mangled;
  std::free(text);
  if (name.starts_with("void ")) name.erase(0, 5);  // a template's result
  return name;
}

std::string Hexadecimal(uintptr_t address) {
  char text[2 + 16 + 1];
  std::snprintf(text, sizeof(text), "0x%zx", static_cast<size_t>(address));
  return text;
}

// addr2line's answers: a line with the address, then the places from the innermost outwards.
std::map<uintptr_t, std::string> AskForLines(const std::string& file,
                                             const std::vector<uintptr_t>& addresses) {
  std::string command = "addr2line -a -i -e '" + file + "'";
  for (const uintptr_t address : addresses) command += " " + Hexadecimal(address);
  std::map<uintptr_t, std::string> lines;
  FILE* const answers = popen((command + " 2>/dev/null").c_str(), "r");
  if (answers == nullptr) return lines;
  char line[4096];
  uintptr_t address = 0;
  while (std::fgets(line, sizeof(line), answers) != nullptr) {
    std::string text = line;
    text.erase(text.find_last_not_of('\n') + 1);
    text.erase(std::min(text.find(" (discriminator"), text.size()));
    if (text.starts_with("0x")) {
      address = std::strtoull(text.c_str(), nullptr, 16);
    } else if (std::string& best = lines[address];
               best.empty() || best.find(kStandIns) != std::string::npos) {
      best = text;
    }
  }
  pclose(answers);
  return lines;
}

}  // namespace

std::string FunctionName(const void* function) {
  static auto& files = *new std::map<std::string, std::map<uintptr_t, std::string>>;
  const Origin origin = OriginOf(function);
  const auto [symbols, first] = files.try_emplace(origin.file);
  if (first) symbols->second = ReadSymbols(origin.file);
  const auto found = symbols->second.find(origin.address);
  return found != symbols->second.end() ? Demangle(found->second) : Hexadecimal(origin.address);
}

std::vector<std::string> SourceLines(const std::vector<const void*>& return_addresses) {
  std::map<std::string, std::vector<uintptr_t>> by_file;
  std::vector<Origin> origins;
  for (const void* const address : return_addresses) {
    origins.push_back(OriginOf(static_cast<const char*>(address) - 1));
    by_file[origins.back().file].push_back(origins.back().address);
  }
  std::map<std::string, std::map<uintptr_t, std::string>> lines;
  for (const auto& [file, addresses] : by_file) lines[file] = AskForLines(file, addresses);
  std::vector<std::string> result;
  for (const Origin& origin : origins) {
    const std::string& line = lines[origin.file][origin.address];
    result.push_back(line.empty() ? Hexadecimal(origin.address) : line);
  }
  return result;
}

}  // namespace simt
