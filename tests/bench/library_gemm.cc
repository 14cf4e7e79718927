// Operations a second of oneDNN's product of two square matrices, f32 and bf16 into f32, on all
// CPUs: the best of several rounds, as one JSON object. 0 where oneDNN does not take the CPU.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <oneapi/dnnl/dnnl.hpp>

namespace kvasir {
namespace {

constexpr int kSize = 4096;
constexpr int kRounds = 5;

using Tag = dnnl::memory::format_tag;

// Ones, in whatever layout: the rate does not depend on the values.
void Fill(const dnnl::memory& memory, bool bf16) {
  const size_t count = memory.get_desc().get_size() / (bf16 ? 2 : 4);
  if (bf16) {
    std::fill_n(static_cast<uint16_t*>(memory.get_data_handle()), count, uint16_t{0x3F80});
  } else {
    std::fill_n(static_cast<float*>(memory.get_data_handle()), count, 1.0f);
  }
}

double BestRate(bool bf16) try {
  const auto type = bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  // The weight's layout is the library's own choice, as for packed weights.
  const dnnl::memory::desc x({kSize, kSize}, type, Tag::ab);
  const dnnl::memory::desc w({kSize, kSize}, type, Tag::any);
  const dnnl::memory::desc out({kSize, kSize}, dnnl::memory::data_type::f32, Tag::ab);
  const dnnl::matmul::primitive_desc primitive(dnnl::matmul::desc(x, w, out), engine);
  const dnnl::memory x_memory(x, engine), w_memory(primitive.weights_desc(), engine),
      out_memory(out, engine);
  Fill(x_memory, bf16);
  Fill(w_memory, bf16);
  const dnnl::matmul product(primitive);
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    product.execute(
        stream,
        {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, w_memory}, {DNNL_ARG_DST, out_memory}});
    stream.wait();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kSize * kSize * kSize / took.count());
  }
  return best;
} catch (const dnnl::error&) {  // the library throws where the CPU lacks the type
  return 0;
}

}  // namespace
}  // namespace kvasir

int main() {
  std::printf("{\"gemm_f32_flops\": %.4g, \"gemm_bf16_flops\": %.4g}\n", kvasir::BestRate(false),
              kvasir::BestRate(true));
  return 0;
}
