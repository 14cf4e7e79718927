// How fast the tokenizer is, in process. scripts/bench/tokenizer.py runs it beside its peer.
//
//   tokenizer_bench MODEL_DIR DOCUMENTS [THREADS]
//
// DOCUMENTS: texts, each after its length in bytes as a little-endian 32-bit number. Each is
// encoded by a call of its own. Prints one JSON object. Times of one thread are its CPU time, which
// others at work on the machine do not lengthen; `cold` is the first pass, in which the tokenizer
// sees every text for the first time; `warm` and all others are medians of several passes.
// `threads_speedup` is by the clock and needs as many cores that are free; `threads_cpu_ratio` is
// CPU time with one thread by that with all: 1 where they do not hinder each other.
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/check.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {
namespace {

double ThreadSeconds() {
  timespec time;
  KVASIR_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double ProcessSeconds() {
  timespec time;
  KVASIR_CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Work>
double Timed(double (*now)(), Work work) {
  const double begin = now();
  work();
  return now() - begin;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

template <typename Work>
double MedianOf(int passes, double (*now)(), Work work) {
  std::vector<double> seconds;
  for (int i = 0; i < passes; ++i) seconds.push_back(Timed(now, work));
  return Median(seconds);
}

std::vector<std::string_view> Documents(std::string_view file) {
  std::vector<std::string_view> documents;
  for (size_t at = 0; at < file.size();) {
    uint32_t size;
    KVASIR_CHECK(file.size() - at >= sizeof(size));
    std::memcpy(&size, file.data() + at, sizeof(size));
    at += sizeof(size);
    KVASIR_CHECK(file.size() - at >= size);
    documents.push_back(file.substr(at, size));
    at += size;
  }
  return documents;
}

// All documents by `threads` threads, each of which takes the next that is left.
void EncodeTogether(const Tokenizer& tokenizer, std::span<const std::string_view> documents,
                    int threads) {
  std::atomic<size_t> next = 0;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (size_t at; (at = next++) < documents.size();) (void)tokenizer.Encode(documents[at]);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

int Main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: tokenizer_bench MODEL_DIR DOCUMENTS [THREADS]\n");
    return 2;
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> loaded;
  const double load = Timed(WallSeconds, [&] { loaded = Tokenizer::Load(argv[1]); });
  KVASIR_CHECK(loaded.ok());
  const Tokenizer& tokenizer = **loaded;
  std::ifstream stream(argv[2], std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(stream), {});
  const std::vector<std::string_view> documents = Documents(file);
  KVASIR_CHECK(!documents.empty());
  constexpr int kPasses = 5;

  std::vector<std::vector<uint32_t>> ids(documents.size());
  const auto encode = [&] {
    for (size_t i = 0; i < documents.size(); ++i) ids[i] = tokenizer.Encode(documents[i]);
  };
  const double cold = Timed(ThreadSeconds, encode);
  const double warm = MedianOf(kPasses, ThreadSeconds, encode);

  const double decode = MedianOf(kPasses, ThreadSeconds, [&] {
    for (const std::vector<uint32_t>& each : ids) KVASIR_CHECK(tokenizer.Decode(each, false).ok());
  });
  // A message an id, as a model's answer comes.
  const double stream_decode = MedianOf(kPasses, ThreadSeconds, [&] {
    for (const std::vector<uint32_t>& each : ids) {
      StreamDecoder decoder(tokenizer, false);
      for (const uint32_t& id : each) KVASIR_CHECK(decoder.Push({&id, 1}).ok());
      decoder.Finish();
    }
  });

  size_t bytes = 0;
  size_t tokens = 0;
  uLong checksum = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    bytes += documents[i].size();
    tokens += ids[i].size();
    checksum = crc32(checksum, reinterpret_cast<const Bytef*>(ids[i].data()),
                     static_cast<uInt>(ids[i].size() * sizeof(uint32_t)));
  }
  std::printf(
      "{\"bytes\": %zu, \"tokens\": %zu, \"ids_crc32\": %lu, \"load_seconds\": %.6f, "
      "\"cold_seconds\": %.6f, \"warm_seconds\": %.6f, \"decode_seconds\": %.6f, "
      "\"stream_decode_seconds\": %.6f",
      bytes, tokens, checksum, load, cold, warm, decode, stream_decode);
  if (argc == 4) {
    const int threads = std::atoi(argv[3]);
    KVASIR_CHECK(threads > 0);
    // In turns: another's work on the machine is then in both.
    std::vector<double> speedups;
    std::vector<double> cpu_ratios;
    for (int i = 0; i < kPasses; ++i) {
      double cpu[2];
      double wall[2];
      for (const int n : {0, 1}) {
        cpu[n] = Timed(ProcessSeconds, [&] {
          wall[n] = Timed(WallSeconds,
                          [&] { EncodeTogether(tokenizer, documents, n == 0 ? 1 : threads); });
        });
      }
      speedups.push_back(wall[0] / wall[1]);
      cpu_ratios.push_back(cpu[0] / cpu[1]);
    }
    std::printf(", \"threads\": %d, \"threads_speedup\": %.3f, \"threads_cpu_ratio\": %.3f",
                threads, Median(speedups), Median(cpu_ratios));
  }
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }
