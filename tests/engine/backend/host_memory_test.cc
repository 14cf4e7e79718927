#include "engine/backend/cpu/host_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

// A root directory with the files that the kernel would show.
class FakeRoot : public ::testing::Test {
 protected:
  FakeRoot() {
    Write("proc/meminfo",
          "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n");
  }
  void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  void ExpectMemory(int64_t total_kib, int64_t available_kib) {
    const HostMemory memory = ReadHostMemory(root_);
    EXPECT_EQ(memory.total, total_kib * 1024);
    EXPECT_EQ(memory.available, available_kib * 1024);
  }

  const testing::TemporaryDirectory directory_;
  const std::filesystem::path& root_ = directory_.path();
};

TEST_F(FakeRoot, WithoutLimitsTheMachinesOwn) {
  ExpectMemory(1000, 600);
  Write("sys/fs/cgroup/memory.max", "max\n");
  ExpectMemory(1000, 600);
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  ExpectMemory(1000, 600);
}

TEST_F(FakeRoot, AContainersLimitCounts) {
  Write("sys/fs/cgroup/memory.max", "409600\n");      // 400 KiB
  Write("sys/fs/cgroup/memory.current", "307200\n");  // 300 KiB
  Write("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 102400\nactive_file 7\n");
  ExpectMemory(400, 200);
}

TEST_F(FakeRoot, TheFirstVersionOfControlGroupsToo) {
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "819200\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "102400\n");
  ExpectMemory(800, 600);  // no more than the machine has
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "919200\n");
  ExpectMemory(800, 0);
}

TEST(HostMemory, IsReadHere) {
  const HostMemory memory = ReadHostMemory();
  EXPECT_GT(memory.available, 0);
  EXPECT_LE(memory.available, memory.total);
}

}  // namespace
}  // namespace kvasir
