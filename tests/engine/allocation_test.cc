// A steady decode step asks the heap for nothing on the engine's thread.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace {

thread_local bool counting = false;
std::atomic<int> allocations = 0;

void* Count(size_t bytes) {
  if (counting) ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t bytes) { return Count(bytes); }
void* operator new[](size_t bytes) { return Count(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace kvasir {
namespace {

using testing::RandomModel;
using testing::SyncEngine;

// Keeps nothing, so that what is counted is the engine's own.
class Silent : public GenerateSink {
 public:
  bool HasRoom() const override { return true; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int> ids, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {
    tokens_ += ids.size();
    // All calls decode by the first of these, and none has ended by the second.
    if (leader && tokens_ == 50) counting = true;
    if (leader && tokens_ == 150) counting = false;
  }
  void OnComplete(const GenerateComplete&) override { done_.set_value(); }
  void OnError(const absl::Status& status) override {
    ADD_FAILURE() << status;
    done_.set_value();
  }
  void Wait() { done_.get_future().get(); }

  bool leader = false;

 private:
  size_t tokens_ = 0;
  std::promise<void> done_;
};

TEST(Allocation, ASteadyDecodeStepTakesNothingFromTheHeap) {
  SyncEngine engine(RandomModel::Options());
  std::vector<std::shared_ptr<Silent>> sinks;
  for (int i = 0; i < 16; ++i) {
    sinks.push_back(std::make_shared<Silent>());
    sinks.back()->leader = i == 15;
    engine.engine().Generate({.input_ids = {1, 2, 3 + i},
                              .max_new_tokens = 200,
                              .sampling = {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f},
                              .ignore_eos = true},
                             sinks.back());
  }
  for (const auto& sink : sinks) sink->Wait();
  EXPECT_EQ(allocations, 0);
  EXPECT_GT(engine.Stats().steps, 150);
}

}  // namespace
}  // namespace kvasir
