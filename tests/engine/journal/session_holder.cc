#include "tests/engine/journal/session_holder.h"

#include <optional>

namespace kvasir::testing {

SessionWrite SessionHolder::WriteOf(size_t keep, const std::vector<int>& more) const {
  SessionWrite write = {.record = record, .fence = fence, .keep = keep, .append = more};
  write.record.length = keep + more.size();
  return write;
}

void SessionHolder::Accept(const SessionWrite& write) {
  record = write.record;
  ++record.version;
  tokens.resize(write.keep);
  tokens.insert(tokens.end(), write.append.begin(), write.append.end());
}

absl::Status SessionHolder::Create(const std::vector<int>& first) {
  record.version = 0;
  fence = 0;
  SessionWrite write = WriteOf(0, first);
  write.kind = SessionWrite::Kind::kCreate;
  store->Write({&write, 1});
  if (!write.status.ok()) return write.status;
  Accept(write);
  fence = write.new_fence;
  return absl::OkStatus();
}

absl::Status SessionHolder::Change(size_t keep, const std::vector<int>& more) {
  SessionWrite write = WriteOf(keep, more);
  store->Write({&write, 1});
  if (write.status.ok()) Accept(write);
  return write.status;
}

absl::Status SessionHolder::Delete() {
  SessionWrite write = WriteOf(0, {});
  write.kind = SessionWrite::Kind::kDelete;
  store->Write({&write, 1});
  return write.status;
}

absl::Status SessionHolder::Acquire() {
  auto session = store->Acquire(id(), std::nullopt);
  if (!session.ok()) return session.status();
  record = session->record;
  tokens = session->tokens.value();
  fence = session->fence;
  return absl::OkStatus();
}

absl::Status SessionHolder::Release() {
  const SessionStore::Lease lease = {id(), fence};
  return store->Release({&lease, 1});
}

}  // namespace kvasir::testing
