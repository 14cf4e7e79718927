#include "services/cli/logprob_table.h"

#include <cstdio>

namespace kvasir::cli {
namespace {

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\x%02x", static_cast<unsigned char>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

void LogprobTable::Print(const v1::TokenChunk& chunk) {
  for (int i = chunk.logprobs_size(); i < chunk.ids_size(); ++i) {
    std::printf("%u\t-\t%s\n", chunk.ids(i), TextOf(chunk.ids(i)).c_str());
  }
  for (const v1::TokenLogprob& token : chunk.logprobs()) {
    std::printf("%u\t%.6f\t%s", token.id(), token.logprob(), TextOf(token.id()).c_str());
    for (const v1::Alternative& other : token.alternatives()) {
      std::printf("\t%u %.6f %s", other.id(), other.logprob(), TextOf(other.id()).c_str());
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

const std::string& LogprobTable::TextOf(uint32_t id) {
  const auto [at, is_new] = texts_.try_emplace(id);
  if (is_new && status_.ok()) {
    std::string text;
    status_ = connection_.Decode({id}, text);
    at->second = Quoted(text);
  }
  return at->second;
}

}  // namespace kvasir::cli
