#include "services/gateway/turn.h"

#include <random>
#include <utility>

#include "engine/error.h"
#include "services/cli/random_id.h"
#include "services/sampling_message.h"

namespace kvasir::gateway {
namespace {

// How long it may take to notice that a caller has gone.
constexpr std::chrono::milliseconds kGonePeriod(100);
// A place may prove stale this often before there is a new one.
constexpr int kMostPlaces = 3;

// The session is not what it was taken for: it has expired, or somebody else has written it.
bool IsStale(const absl::Status& status) {
  const std::string reason = DetailOf(status).reason;
  return reason == NameOf(Reason::kSessionNotFound) || reason == NameOf(Reason::kLengthMismatch) ||
         reason == NameOf(Reason::kSessionBusy);
}

uint64_t RandomSeed() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

Turn::Turn(KvasirServices& services, SessionKeeper& keeper, Caller caller,
           std::shared_ptr<const KvasirServices::Facts> facts, std::function<bool()> gone)
    : services_(services),
      keeper_(keeper),
      caller_(std::move(caller)),
      facts_(std::move(facts)),
      gone_(std::move(gone)),
      asked_(Clock::now()) {}

Turn::~Turn() {
  for (const auto& choice : choices_) Cancel(*choice);
  Event event;
  while (Next(event)) continue;
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) continue;
}

absl::StatusOr<Place> Turn::OpenPlace(const AnswerOptions& options, const TokenIds& prompt,
                                      bool keeps) {
  if (!options.session_id.empty()) {
    return keeper_.OpenNamed(caller_, facts_->tokens, options.session_id, prompt);
  }
  return keeps ? keeper_.Open(caller_, facts_->tokens, prompt)
               : keeper_.OpenOnce(caller_, prompt, /*forked=*/options.n > 1);
}

v1::GenerateRequest Turn::RequestFor(const AnswerOptions& options, const Place& place,
                                     uint64_t seed) const {
  v1::GenerateRequest request;
  if (!place.session.id.empty()) {
    request.set_session_id(place.session.id);
    request.set_expected_length(place.held.size());
  }
  request.mutable_input_ids()->Add(place.input.begin(), place.input.end());
  if (options.max_tokens.has_value()) request.set_max_new_tokens(*options.max_tokens);
  *request.mutable_sampling() = ToProto(options.sampling);
  request.mutable_sampling()->set_seed(seed);
  if (options.top_logprobs.has_value()) request.set_top_logprobs(*options.top_logprobs);
  request.set_request_id(cli::RandomId());
  return request;
}

absl::Status Turn::Start(const AnswerOptions& options, const TokenIds& prompt, bool keeps) {
  seed_ = options.sampling.seed.has_value() ? *options.sampling.seed : RandomSeed();
  absl::Status status;
  const size_t before = choices_.size();
  for (int i = 0; i < kMostPlaces; ++i) {
    absl::StatusOr<Place> place = OpenPlace(options, prompt, keeps);
    if (!place.ok()) return place.status();
    status = options.n == 1 ? StartOne(options, *std::move(place))
                            : StartSeveral(options, *std::move(place));
    if (!IsStale(status)) return status;
    if (choices_.size() > before) Forget();
  }
  return status;
}

absl::Status Turn::StartOne(const AnswerOptions& options, Place place) {
  v1::GenerateRequest request = RequestFor(options, place, seed_);
  Choice& choice = Begin(std::move(place), std::move(request), /*closes=*/true);
  absl::Status status = Await(choice, /*wholly=*/false);
  cached_tokens_ += choice.cached_tokens.value_or(0);
  return status;
}

absl::Status Turn::StartSeveral(const AnswerOptions& options, Place place) {
  const bool reads = !place.input.empty();
  if (reads) {
    v1::GenerateRequest request = RequestFor(options, place, seed_);
    request.set_max_new_tokens(0);
    request.clear_top_logprobs();
    Choice& reading = Begin(std::move(place), std::move(request), /*closes=*/false);
    absl::Status status = Await(reading, /*wholly=*/true);
    if (!status.ok()) {
      Close(reading);
      return status;
    }
    cached_tokens_ += reading.cached_tokens.value_or(0);
    place = std::move(reading.place);
    place.held.insert(place.held.end(), place.input.begin(), place.input.end());
    place.input.clear();
    Forget();
  }
  std::vector<Place> places;
  absl::Status status;
  for (uint32_t i = 1; i < options.n && status.ok(); ++i) {
    absl::StatusOr<Place> fork = keeper_.Fork(caller_, place);
    status = fork.status();
    if (fork.ok()) places.push_back(*std::move(fork));
  }
  places.insert(places.begin(), std::move(place));
  for (size_t i = 0; i < places.size(); ++i) {
    if (!status.ok()) {
      using Outcome = SessionKeeper::Outcome;
      keeper_.Close(caller_, facts_->tokens, std::move(places[i]),
                    IsStale(status) ? Outcome::kStale : Outcome::kFailed, {});
      continue;
    }
    v1::GenerateRequest request = RequestFor(options, places[i], seed_ + i);
    Choice& choice = Begin(std::move(places[i]), std::move(request), /*closes=*/true);
    if (i > 0) continue;
    status = Await(choice, /*wholly=*/false);
    if (!reads) cached_tokens_ += choice.cached_tokens.value_or(0);
  }
  return status;
}

void Turn::Forget() {
  choices_.pop_back();
  --ended_;
}

Turn::Choice& Turn::Begin(Place place, v1::GenerateRequest request, bool closes) {
  Choice& choice = *choices_.emplace_back(std::make_unique<Choice>());
  choice.index = choices_.size() - 1;
  choice.place = std::move(place);
  choice.request = std::move(request);
  choice.closes = closes;
  KvasirServices::Prepare(choice.context, caller_, choice.request);
  choice.call = services_.model().PrepareAsyncGenerate(&choice.context, choice.request, &queue_);
  choice.call->StartCall(&choice);
  return choice;
}

absl::Status Turn::Await(Choice& choice, bool wholly) {
  while (choice.state != Choice::State::kEnded && (wholly || !choice.cached_tokens)) {
    Choice* told = Poll();
    if (told != nullptr && told != &choice) told_.push_back(told);
  }
  return choice.state == Choice::State::kEnded ? FromGrpcStatus(choice.status) : absl::OkStatus();
}

bool Turn::Next(Event& event) {
  if (read_ != nullptr) Read(*std::exchange(read_, nullptr));
  Choice* choice = nullptr;
  if (!told_.empty()) {
    choice = told_.front();
    told_.pop_front();
  }
  while (choice == nullptr && ended_ < choices_.size()) choice = Poll();
  if (choice == nullptr) return false;
  event = {.choice = choice->index};
  if (choice->state == Choice::State::kReported) {
    event.chunk = &choice->response.chunk();
    read_ = choice;
  } else if (choice->complete.has_value()) {
    event.by_length = choice->complete->finish_reason() != v1::FINISH_REASON_STOP_TOKEN;
  } else {
    event.status = choice->status.ok() ? absl::InternalError("the answer has no end")
                                       : FromGrpcStatus(choice->status);
  }
  return true;
}

Turn::Choice* Turn::Poll() {
  void* tag = nullptr;
  bool ok = false;
  const auto deadline = std::chrono::system_clock::now() + kGonePeriod;
  const auto next = queue_.AsyncNext(&tag, &ok, deadline);
  if (Clock::now() - asked_ >= kGonePeriod) CancelIfGone();
  if (next != grpc::CompletionQueue::GOT_EVENT) return nullptr;
  auto* choice = static_cast<Choice*>(tag);
  return Advance(*choice, ok) ? choice : nullptr;
}

bool Turn::Advance(Choice& choice, bool ok) {
  switch (choice.state) {
    case Choice::State::kStarting:
    case Choice::State::kReading:
      if (!ok) {
        choice.state = Choice::State::kFinishing;
        choice.call->Finish(&choice.status, &choice);
        return false;
      }
      if (choice.state == Choice::State::kReading) {
        if (choice.response.has_chunk()) {
          const auto& ids = choice.response.chunk().ids();
          choice.generated.insert(choice.generated.end(), ids.begin(), ids.end());
          choice.state = Choice::State::kReported;
          return true;
        }
        if (choice.response.has_started()) {
          choice.cached_tokens = choice.response.started().cached_tokens();
        }
        if (choice.response.has_complete()) choice.complete = choice.response.complete();
      }
      Read(choice);
      return false;
    case Choice::State::kFinishing:
      choice.state = Choice::State::kEnded;
      ++ended_;
      if (choice.closes) Close(choice);
      return true;
    case Choice::State::kReported:
    case Choice::State::kEnded:
      break;
  }
  return false;
}

void Turn::Read(Choice& choice) {
  choice.state = Choice::State::kReading;
  choice.response.Clear();
  choice.call->Read(&choice.response, &choice);
}

void Turn::Stop(size_t choice) { Cancel(*choices_[choice]); }

void Turn::Cancel(Choice& choice) {
  if (choice.state == Choice::State::kEnded || choice.cancelled) return;
  choice.cancelled = true;
  choice.context.TryCancel();
}

void Turn::CancelIfGone() {
  asked_ = Clock::now();
  if (!gone_()) return;
  for (const auto& choice : choices_) Cancel(*choice);
}

void Turn::Close(Choice& choice) {
  using Outcome = SessionKeeper::Outcome;
  Outcome outcome = Outcome::kFailed;
  if (choice.complete.has_value()) {
    outcome = Outcome::kComplete;
  } else if (choice.cancelled) {
    outcome = Outcome::kInterrupted;
  } else if (!choice.cached_tokens && IsStale(FromGrpcStatus(choice.status))) {
    outcome = Outcome::kStale;
  }
  keeper_.Close(caller_, facts_->tokens, std::move(choice.place), outcome, choice.generated);
}

}  // namespace kvasir::gateway
