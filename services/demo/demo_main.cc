// What Kvasir does, step by step, through its API alone: also the example of a client in C++.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "services/demo/demo_client.h"

namespace kvasir::demo {
namespace {

// In the manner of the little world that models/tiny knows; any model can go on from them.
constexpr std::string_view kPrompts[] = {
    "Once upon a time there was a brave rabbit named Nora.",
    "One sunny morning a curious fox named Otto woke up early.",
    "In Woodham there lived a clever girl named Mei.",
    "Long ago, a cat named Ada lived by the sea.",
};
constexpr std::string_view kContinuationPrompt = "This is the story of a shy hedgehog named Emil.";
constexpr std::string_view kCrashPrompt = "Far away there lived a kind bear named Finn.";

// What the user says; a word that the answer must then have.
struct Turn {
  std::string_view text;
  std::string_view expected;
};
constexpr Turn kTurns[] = {
    {"Hello, my name is Olga. I have seven green kites.", ""},
    {"Please tell me a story.", ""},
    {"How many kites do I have?", "seven"},
    {"And what is my name?", "Olga"},
};

class Terminal {
 public:
  void Heading(const std::string& text) { Line("\n" + Styled("1", text)); }
  void Prompt(std::string_view text) { Line("\n  " + Styled("36", "> " + std::string(text))); }
  void Note(const std::string& text) { Line("    " + Styled("2", text)); }
  void Verdict(bool good, const std::string& text) {
    Line("    " + (good ? Styled("32", "ok: ") : Styled("31", "FAILED: ")) + text);
  }

  // Prints generated text as it comes, indented; ended by EndText.
  TextSink Text() {
    std::fputs("    ", stdout);
    return [](std::string_view text) {
      for (char c : text) {
        std::fputc(c, stdout);
        if (c == '\n') std::fputs("    ", stdout);
      }
      std::fflush(stdout);
    };
  }
  void EndText() { Line(""); }

 private:
  std::string Styled(const char* style, const std::string& text) const {
    return coloured_ ? "\033[" + std::string(style) + "m" + text + "\033[0m" : text;
  }
  void Line(const std::string& text) {
    std::fputs((text + "\n").c_str(), stdout);
    std::fflush(stdout);
  }

  const bool coloured_ = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
};

template <typename... Args>
std::string Format(const char* format, Args... args) {
  std::string text(std::snprintf(nullptr, 0, format, args...), '\0');
  std::snprintf(text.data(), text.size() + 1, format, args...);
  return text;
}

std::string Speed(const Generation& generation) {
  const auto generated = static_cast<double>(generation.ids.size());
  return Format("%u tokens sent, %.0f generated in %.3f s: %.0f tokens/s, the first after %.1f ms",
                generation.complete.usage().input_tokens(), generated, generation.seconds,
                generated / generation.seconds, generation.first_token_seconds * 1e3);
}

void Introduce(DemoClient& client, Terminal& terminal) {
  const v1::GetModelInfoResponse model = client.ModelInfo();
  terminal.Heading("Kvasir " + model.version());
  terminal.Note(Format("model %s: %s on %s, context %u tokens, room for %llu tokens in the KV pool",
                       model.model_name().c_str(), model.dtype().c_str(), model.device().c_str(),
                       model.max_context(), static_cast<unsigned long long>(model.kv_tokens())));
  terminal.Note(Format("tokenizer %s: %u ids", client.TokenizerInfo().model_name().c_str(),
                       client.TokenizerInfo().vocab_size()));
}

void ShowPrompts(DemoClient& client, Terminal& terminal) {
  terminal.Heading("1. Four prompts, nothing kept (temperature 0.7, top-k 50)");
  for (std::string_view prompt : kPrompts) {
    terminal.Prompt(prompt);
    const TokenIds ids = client.Encode(prompt);
    v1::GenerateRequest request;
    request.mutable_input_ids()->Add(ids.begin(), ids.end());
    request.set_max_new_tokens(200);
    request.mutable_sampling()->set_temperature(0.7f);
    request.mutable_sampling()->set_top_k(50);
    const Generation generation = client.Generate(request, terminal.Text());
    terminal.EndText();
    terminal.Note(Speed(generation));
  }
}

Generation Continue(DemoClient& client, Terminal& terminal, const std::string& session_id,
                    uint32_t tokens) {
  v1::GenerateRequest request;
  request.set_session_id(session_id);
  request.set_max_new_tokens(tokens);
  request.set_ignore_eos(true);  // the proof wants exactly so many
  request.mutable_sampling()->set_temperature(0.7f);
  request.mutable_sampling()->set_top_k(50);
  Generation generation = client.Generate(request, terminal.Text());
  terminal.EndText();
  terminal.Note(Speed(generation));
  return generation;
}

// 20 tokens and 20 more are the 40 of one call. No seed is given: the fork keeps the one that was
// drawn for the session.
bool ShowContinuation(DemoClient& client, Terminal& terminal) {
  terminal.Heading("2. Continuation with no new input");
  terminal.Prompt(kContinuationPrompt);
  const std::string session = client.CreateSession(client.Encode(kContinuationPrompt)).session_id();
  const std::string fork = client.ForkSession(session).session_id();

  TokenIds twice = Continue(client, terminal, session, 20).ids;
  const TokenIds more = Continue(client, terminal, session, 20).ids;
  twice.insert(twice.end(), more.begin(), more.end());
  terminal.Prompt("the same from a fork made before, 40 tokens in one call");
  const Generation once = Continue(client, terminal, fork, 40);
  client.DeleteSession(session);
  client.DeleteSession(fork);

  const bool equal = twice == once.ids && once.ids.size() == 40;
  terminal.Verdict(equal, Format("20 + 20 tokens %s the 40 of one call (seed %llu)",
                                 equal ? "equal" : "DIFFER FROM",
                                 static_cast<unsigned long long>(once.started.seed())));
  return equal;
}

// The ids that close an answer and that the session, which ends with `answer`, still lacks.
TokenIds MissingClosing(const TokenIds& answer, const v1::ApplyChatTemplateResponse& rendered) {
  const TokenIds closing(rendered.closing_ids().begin(), rendered.closing_ids().end());
  size_t present = std::min(closing.size(), answer.size());
  while (!std::equal(closing.begin(), closing.begin() + present, answer.end() - present)) {
    --present;
  }
  return {closing.begin() + present, closing.end()};
}

class Chat {
 public:
  Chat(DemoClient& client, Terminal& terminal)
      : client_(client), terminal_(terminal), session_(client.CreateSession({})) {}
  ~Chat() { client_.DeleteSession(session_.session_id()); }

  // Sends only what the new turn adds to the session. Returns the answer.
  std::string Say(std::string_view text) {
    terminal_.Prompt(text);
    v1::GenerateRequest request;
    request.set_session_id(session_.session_id());
    request.set_expected_length(length_);
    const TokenIds ids = NewTurn(text);
    request.mutable_input_ids()->Add(ids.begin(), ids.end());
    request.set_max_new_tokens(120);
    request.mutable_sampling()->set_temperature(0);
    const Generation generation = client_.Generate(request, terminal_.Text());
    terminal_.EndText();
    terminal_.Note(Speed(generation));
    terminal_.Note(Format("the session had %llu tokens: cached_tokens = %u",
                          static_cast<unsigned long long>(generation.started.session_length()),
                          generation.started.cached_tokens()));
    length_ = generation.complete.session_length();
    answer_ = generation.ids;
    AddMessage("assistant", generation.text);
    return generation.text;
  }

 private:
  void AddMessage(const char* role, std::string_view content) {
    messages_.emplace_back().set_role(role);
    messages_.back().set_content(std::string(content));
  }

  // What the template puts after the conversation so far when the user says `text`.
  TokenIds NewTurn(std::string_view text) {
    TokenIds ids;
    v1::ApplyChatTemplateResponse past;
    if (!messages_.empty()) {
      past = client_.Render(messages_, /*add_generation_prompt=*/false);
      ids = MissingClosing(answer_, past);
    }
    AddMessage("user", text);
    const auto whole = client_.Render(messages_, /*add_generation_prompt=*/true);
    ids.insert(ids.end(), whole.ids().begin() + past.ids_size(), whole.ids().end());
    return ids;
  }

  DemoClient& client_;
  Terminal& terminal_;
  const v1::Session session_;
  std::vector<v1::ChatMessage> messages_;
  TokenIds answer_;
  uint64_t length_ = 0;
};

bool ShowConversation(DemoClient& client, Terminal& terminal) {
  terminal.Heading("3. A conversation in one session, only the new turn sent (greedy)");
  Chat chat(client, terminal);
  bool recalled_all = true;
  for (const Turn& turn : kTurns) {
    const std::string answer = chat.Say(turn.text);
    if (turn.expected.empty()) continue;
    const bool recalled = answer.find(turn.expected) != std::string::npos;
    terminal.Verdict(
        recalled, Format("the answer %s \"%s\", told in the first turn", recalled ? "has" : "LACKS",
                         std::string(turn.expected).c_str()));
    recalled_all = recalled_all && recalled;
  }
  return recalled_all;
}

// The service is killed between two calls; the second goes on as if nothing had been.
bool ShowCrash(DemoClient& client, Terminal& terminal, const std::string& pid_file) {
  terminal.Heading("4. kill -9 between two calls");
  pid_t pid = 0;
  if (!(std::ifstream(pid_file) >> pid) || pid <= 1) {
    terminal.Note("left out: nothing here would start the service again (KVASIR_MODEL_PID_FILE)");
    return true;
  }
  terminal.Prompt(kCrashPrompt);
  const std::string session = client.CreateSession(client.Encode(kCrashPrompt)).session_id();
  const std::string fork = client.ForkSession(session).session_id();
  const Generation once = Continue(client, terminal, fork, 40);
  terminal.Prompt("the same, but killed after 20 tokens");
  TokenIds twice = Continue(client, terminal, session, 20).ids;
  kill(pid, SIGKILL);
  client.AwaitModel();
  terminal.Prompt("the service is back");
  const Generation rest = Continue(client, terminal, session, 20);
  terminal.Note(Format("the session had %llu tokens: cached_tokens = %u",
                       static_cast<unsigned long long>(rest.started.session_length()),
                       rest.started.cached_tokens()));
  twice.insert(twice.end(), rest.ids.begin(), rest.ids.end());
  client.DeleteSession(session);
  client.DeleteSession(fork);
  const bool equal = twice == once.ids && once.ids.size() == 40;
  terminal.Verdict(equal, Format("20 + 20 tokens with a crash between %s the 40 without one",
                                 equal ? "equal" : "DIFFER FROM"));
  return equal;
}

int Run(const std::string& tokenizer_address, const std::string& model_address,
        const std::string& pid_file) {
  const auto start = std::chrono::steady_clock::now();
  DemoClient client(tokenizer_address, model_address);
  Terminal terminal;
  Introduce(client, terminal);
  ShowPrompts(client, terminal);
  const bool exact = ShowContinuation(client, terminal);
  const bool recalled = ShowConversation(client, terminal);
  const bool survived = ShowCrash(client, terminal, pid_file);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  terminal.Heading(Format("The demo took %.1f s.", seconds.count()));
  return exact && recalled && survived ? 0 : 1;
}

}  // namespace
}  // namespace kvasir::demo

int main(int argc, char** argv) {
  CLI::App app("Shows what Kvasir does: prompts, continuation, a conversation, a crash.");
  std::string tokenizer_address = "127.0.0.1:50051";
  std::string model_address = "127.0.0.1:50052";
  app.add_option("--tokenizer-address", tokenizer_address, "HOST:PORT of kvasir-tokenizer")
      ->envname("KVASIR_TOKENIZER_ADDRESS")
      ->capture_default_str();
  app.add_option("--model-address", model_address, "HOST:PORT of kvasir-model")
      ->envname("KVASIR_MODEL_ADDRESS")
      ->capture_default_str();
  std::string pid_file;
  app.add_option("--model-pid-file", pid_file,
                 "Holds the process of kvasir-model, to be killed and started again by someone")
      ->envname("KVASIR_MODEL_PID_FILE");
  CLI11_PARSE(app, argc, argv);
  return kvasir::demo::Run(tokenizer_address, model_address, pid_file);
}
