#include "tests/services/crash/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace kvasir::testing {
namespace {

// What the server has of a session.
struct Stored {
  bool exists = false;
  v1::Session session;
  Ids tokens;
};

Stored Ask(v1::ModelService::Stub& stub, const std::string& id) {
  Stored stored;
  const grpc::Status status = Get(stub, id, stored.session);
  stored.exists = status.ok();
  if (stored.exists) {
    stored.tokens = ReadAll(stub, id);
    EXPECT_EQ(stored.session.length(), stored.tokens.size()) << id;
    EXPECT_FALSE(stored.session.busy()) << id;
  } else {
    EXPECT_EQ(status.error_code(), grpc::NOT_FOUND) << id << ": " << status.error_message();
  }
  return stored;
}

std::string Shown(const Ids& ids) {
  return std::to_string(ids.size()) + " tokens " + ::testing::PrintToString(ids);
}

// What one session may be.
class Comparison {
 public:
  Comparison(Reference& reference, Durability durability, const KnownSession& known,
             const Stored& stored)
      : durability_(durability),
        known_(known),
        stored_(stored),
        run_(reference, known.history),
        base_(reference, known.pending ? known.pending->base : History()) {}

  // The history that the session has then; none where it is what it must not be.
  std::optional<History> Match(Found& found) {
    const auto& pending = known_.pending;
    if (pending && pending->step) {
      if (auto history = MatchPending(found)) return history;
    }
    if (pending && pending->deletion && !stored_.exists) return History();
    if (IsTurn() && must_be_there_) return std::nullopt;
    for (size_t steps = known_.history.size() + 1; steps-- > known_.durable;) {
      if (steps == 0 ? stored_.exists : !stored_.exists || run_.After(steps) != stored_.tokens) {
        continue;
      }
      if (IsTurn()) ++found.absent;
      found.lost_turns += static_cast<int>(known_.history.size() - steps);
      const auto begin = known_.history.begin();
      return History(begin, begin + static_cast<ptrdiff_t>(steps));
    }
    return std::nullopt;
  }

 private:
  // A turn of the session's own was under way.
  bool IsTurn() const {
    const auto& pending = known_.pending;
    return pending && pending->step && !pending->is_fork &&
           pending->step->kind == Step::Kind::kTurn;
  }

  std::optional<History> MatchPending(Found& found) {
    const KnownSession::Pending& pending = *known_.pending;
    Step step = *pending.step;
    const Ids before = pending.base.empty() ? Ids() : base_.tokens();
    const Generation generation = base_.Do(step);
    const bool turn = step.kind == Step::Kind::kTurn;
    must_be_there_ = durability_ == Durability::kToken && !step.ids.empty();
    if (!stored_.exists) return std::nullopt;
    History history = pending.base;
    if (pending.is_fork && stored_.tokens == before) return history;
    if (stored_.tokens == base_.tokens()) {
      if (IsTurn()) ExpectMetadata(generation, generation.ids.size());
      if (IsTurn()) ++found.whole;
      history.push_back(std::move(step));
      return history;
    }
    const bool may_be_cut = turn && (durability_ != Durability::kTurn || pending.cancelled);
    const size_t input_end = before.size() + step.turn.input_ids_size();
    if (!may_be_cut || stored_.tokens.size() <= input_end) return std::nullopt;
    const size_t kept = stored_.tokens.size() - input_end;
    if (kept > generation.ids.size()) return std::nullopt;
    if (!std::equal(stored_.tokens.begin(), stored_.tokens.end(), base_.tokens().begin())) {
      return std::nullopt;
    }
    if (must_be_there_ && kept < step.ids.size()) return std::nullopt;
    if (IsTurn()) ExpectMetadata(generation, kept);
    if (IsTurn()) ++found.partly;
    step.kept = static_cast<uint32_t>(kept);
    step.ids.resize(std::min(step.ids.size(), kept));
    history.push_back(std::move(step));
    return history;
  }

  // By which its client can tell that its turn is there, and whether all of it.
  void ExpectMetadata(const Generation& generation, size_t kept) const {
    const KnownSession::Pending& pending = *known_.pending;
    const v1::GenerateRequest& turn = pending.step->turn;
    const v1::Session& session = stored_.session;
    EXPECT_EQ(session.last_request_id(), turn.request_id());
    EXPECT_EQ(session.last_base_length(),
              session.length() - kept - static_cast<uint64_t>(turn.input_ids_size()));
    const bool whole = kept == generation.ids.size();
    // Each token is stored before it is known whether it was the last.
    const bool may_be_interrupted =
        !whole || durability_ == Durability::kToken || pending.cancelled;
    if (whole && !may_be_interrupted) {
      EXPECT_EQ(session.last_finish_reason(), generation.complete->finish_reason());
    } else if (!whole) {
      EXPECT_EQ(session.last_finish_reason(), v1::FINISH_REASON_INTERRUPTED);
    }
  }

  const Durability durability_;
  const KnownSession& known_;
  const Stored& stored_;
  Reference::Run run_, base_;
  bool must_be_there_ = false;  // the turn that was under way: its client has tokens of it
};

}  // namespace

Found& Found::operator+=(const Found& other) {
  sessions += other.sessions;
  whole += other.whole;
  absent += other.absent;
  partly += other.partly;
  lost_turns += other.lost_turns;
  return *this;
}

Found CompareAfterDeath(v1::ModelService::Stub& stub, Reference& reference, Durability durability,
                        KnownSession& session) {
  const Stored stored = Ask(stub, session.id);
  Found found;
  found.sessions = 1;
  std::optional<History> history = Comparison(reference, durability, session, stored).Match(found);
  if (!history) {
    const auto& pending = session.pending;
    ADD_FAILURE() << session.id << (stored.exists ? " is " : " is not there ")
                  << Shown(stored.tokens) << "\nafter " << session.history.size() << " steps, "
                  << session.durable << " of them durable, " << session.length << " tokens, "
                  << (!pending             ? "nothing"
                      : pending->deletion  ? "its deletion"
                      : pending->cancelled ? "a cancelled turn"
                                           : "something")
                  << " under way"
                  << (pending && pending->step
                          ? ":\n" + pending->step->turn.ShortDebugString() +
                                "\nof which was seen: " + Shown(pending->step->ids)
                          : "");
    history.emplace();
  }
  const bool settled = !session.pending && history->size() == session.history.size();
  if (settled && stored.exists && !session.last_request_id.empty()) {
    EXPECT_EQ(stored.session.last_request_id(), session.last_request_id);
  }
  session.pending.reset();
  session.history = *std::move(history);
  session.length = stored.tokens.size();
  session.durable = session.history.size();
  session.last_request_id = stored.session.last_request_id();
  return found;
}

void ContinueOnBoth(v1::ModelService::Stub& stub, Reference& reference,
                    const v1::GenerateRequest& turn, KnownSession& session) {
  const Generation seen = Generate(stub, turn);
  EXPECT_TRUE(seen.status.ok()) << session.id << ": " << seen.status.error_message();
  if (!seen.complete) return;
  Step step = TurnStep(turn, seen);
  Reference::Run run(reference, session.history);
  const Generation undisturbed = run.Do(step);
  EXPECT_EQ(seen.ids.size(), undisturbed.ids.size());
  EXPECT_EQ(seen.complete->finish_reason(), undisturbed.complete->finish_reason());
  EXPECT_EQ(seen.started->seed(), undisturbed.started->seed());
  session.last_request_id = turn.request_id();
  session.Add(std::move(step), seen.complete->session_length(), true);
}

}  // namespace kvasir::testing
