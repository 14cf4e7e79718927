// The build that watches nothing.

#include "tests/simt/include/simt.h"
#include "tests/simt/include/simt_counts.h"
#include "tests/simt/observe.h"

namespace simt {

Mode BuildMode() { return Mode::kPlain; }
std::vector<std::string> TakeRaces() { return {}; }
std::map<std::string, KernelCounts> TakeCounts() { return {}; }

namespace observe {

void Touch(Access, const void*, size_t, const void*) {}
void BeginLaunch(const Launch&) {}
void EndLaunch() {}
void BeginBlock(const Block&) {}
void EndBlock(const Block&) {}
void BlockMet(const Block&) {}
void LanesMet(const Warp&, unsigned, bool) {}
void Fence() {}
void CopyIssued(const void*, const void*, const void*) {}
void CopyLanded(const void*, const void*, const void*) {}
void MatrixLoaded(const Warp&, const void* const (&)[8], unsigned, const void*) {}
void Multiplied(double) {}
void Forget(const void*, size_t) {}

}  // namespace observe
}  // namespace simt
