#ifndef KVASIR_TESTS_ENGINE_BACKEND_FORWARDING_BACKEND_H_
#define KVASIR_TESTS_ENGINE_BACKEND_FORWARDING_BACKEND_H_

#include <memory>
#include <string>
#include <utility>

#include "engine/backend/backend.h"

namespace kvasir {

// Hands everything on to another one: for a backend that changes or watches a part of that.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  void UseThisThread() override { inner_->UseThisThread(); }
  std::string device() const override { return inner_->device(); }
  std::string numerics() const override { return inner_->numerics(); }
  DType activation_dtype() const override { return inner_->activation_dtype(); }
  std::unique_ptr<Buffer> Allocate(size_t bytes) override { return inner_->Allocate(bytes); }
  PackedWeight Pack(std::span<const HostMatrix> parts) override { return inner_->Pack(parts); }
  PackedWeight PackGateUp(const HostMatrix& gate, const HostMatrix& up) override {
    return inner_->PackGateUp(gate, up);
  }
  std::unique_ptr<Buffer> UploadVector(const HostMatrix& vector) override {
    return inner_->UploadVector(vector);
  }
  absl::Status Plan(const MemoryPlan& plan) override { return inner_->Plan(plan); }
  int64_t DefaultKvMemory() const override { return inner_->DefaultKvMemory(); }
  absl::Status AllocateKv(int layers, int num_blocks) override {
    return inner_->AllocateKv(layers, num_blocks);
  }
  absl::Status AllocateHostKv(int num_blocks) override {
    return inner_->AllocateHostKv(num_blocks);
  }
  KvLayer Kv(int layer) override { return inner_->Kv(layer); }
  size_t KvBlockBytes(int layers) const override { return inner_->KvBlockBytes(layers); }
  const DeviceBatch& Stage(const Batch& batch) override { return inner_->Stage(batch); }
  void Run(const Batch& batch, Forward forward) override { inner_->Run(batch, forward); }
  absl::Status Prepare(Forward forward) override { return inner_->Prepare(forward); }
  void Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) override {
    inner_->Embed(x, table, batch);
  }
  void AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) override {
    inner_->AddRmsNorm(out, residual, x, w, eps);
  }
  void Matmul(Tensor out, Tensor x, const PackedWeight& w) override { inner_->Matmul(out, x, w); }
  Tensor MatmulAdd(Tensor residual, Tensor delta, Tensor x, const PackedWeight& w) override {
    return inner_->MatmulAdd(residual, delta, x, w);
  }
  void NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                     const DeviceBatch& batch) override {
    inner_->NormRopeStore(qkv, q_norm, k_norm, kv, batch);
  }
  void Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) override {
    inner_->Attention(out, qkv, kv, batch);
  }
  void SiluMul(Tensor out, Tensor gate_up) override { inner_->SiluMul(out, gate_up); }
  void MatmulSiluMul(Tensor out, Tensor gate_up, Tensor x, const PackedWeight& w) override {
    inner_->MatmulSiluMul(out, gate_up, x, w);
  }
  void GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) override {
    inner_->GatherRows(out, x, batch);
  }
  void Sample(Tensor logits, std::span<const SamplingRow> rows) override {
    inner_->Sample(logits, rows);
  }
  bool CanRunAhead() const override { return inner_->CanRunAhead(); }
  std::span<const SampledToken> Collect() override { return inner_->Collect(); }
  void CopyBlocks(std::span<const BlockCopy> copies) override { inner_->CopyBlocks(copies); }
  void Read(void* to, const void* from, size_t bytes) override { inner_->Read(to, from, bytes); }
  void Write(void* to, const void* from, size_t bytes) override { inner_->Write(to, from, bytes); }

 protected:
  Backend& inner() { return *inner_; }

 private:
  const std::unique_ptr<Backend> inner_;
};

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_BACKEND_FORWARDING_BACKEND_H_
