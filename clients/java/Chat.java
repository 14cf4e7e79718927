// Two turns of a chat in a session that the server keeps: each call sends only what is new.

import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.ArrayList;
import java.util.List;
import kvasir.v1.ApplyChatTemplateRequest;
import kvasir.v1.ChatMessage;
import kvasir.v1.DecodeRequest;
import kvasir.v1.DeleteSessionRequest;
import kvasir.v1.GenerateRequest;
import kvasir.v1.ModelServiceGrpc;
import kvasir.v1.SamplingParameters;
import kvasir.v1.TokenizerServiceGrpc;

public final class Chat {
  private final TokenizerServiceGrpc.TokenizerServiceBlockingStub tokenizer;
  private final ModelServiceGrpc.ModelServiceBlockingStub model;
  private final String session = "java-example-" + ProcessHandle.current().pid();
  private final List<ChatMessage> messages = new ArrayList<>();
  private long length = 0; // of the session
  private List<Integer> answered = new ArrayList<>(); // the ids of the last answer

  private Chat(ManagedChannel tokenizer, ManagedChannel model) {
    this.tokenizer = TokenizerServiceGrpc.newBlockingStub(tokenizer);
    this.model = ModelServiceGrpc.newBlockingStub(model);
  }

  private static ManagedChannel connect(String variable, String otherwise) {
    String address = System.getenv().getOrDefault(variable, otherwise);
    return ManagedChannelBuilder.forTarget(address).usePlaintext().build();
  }

  // What of `closing` the session lacks: an answer may end with its beginning.
  private List<Integer> lacking(List<Integer> closing) {
    for (int n = Math.min(closing.size(), answered.size()); n > 0; --n) {
      List<Integer> tail = answered.subList(answered.size() - n, answered.size());
      if (tail.equals(closing.subList(0, n))) return closing.subList(n, closing.size());
    }
    return closing;
  }

  private void say(String question) {
    int known = messages.size();
    messages.add(ChatMessage.newBuilder().setRole("user").setContent(question).build());
    var rendered =
        tokenizer.applyChatTemplate(
            ApplyChatTemplateRequest.newBuilder()
                .addAllMessages(messages)
                .setFromMessage(known)
                .build());
    if (rendered.getFirstChangedMessage() != known) {
      throw new IllegalStateException(
          "this template rewrites history: TruncateSession to that message first");
    }
    List<Integer> input = new ArrayList<>(lacking(rendered.getClosingIdsList()));
    input.addAll(rendered.getIdsList());

    var events =
        model.generate(
            GenerateRequest.newBuilder()
                .setSessionId(session)
                .setCreateIfMissing(true)
                .setExpectedLength(length)
                .addAllInputIds(input)
                .setSampling(SamplingParameters.newBuilder().setTemperature(0))
                .build());
    answered = new ArrayList<>();
    events.forEachRemaining(
        event -> {
          answered.addAll(event.getChunk().getIdsList());
          if (event.hasComplete()) length = event.getComplete().getSessionLength();
        });
    String text =
        tokenizer
            .decode(
                DecodeRequest.newBuilder().addAllIds(answered).setSkipSpecialTokens(true).build())
            .getText();
    messages.add(ChatMessage.newBuilder().setRole("assistant").setContent(text).build());
    System.out.println(text + " (" + input.size() + " tokens sent)");
  }

  public static void main(String[] arguments) {
    ManagedChannel tokenizer = connect("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051");
    ManagedChannel model = connect("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052");
    Chat chat = new Chat(tokenizer, model);
    chat.say("My name is Mara.");
    chat.say("What is my name?");
    chat.model.deleteSession(DeleteSessionRequest.newBuilder().setSessionId(chat.session).build());
    tokenizer.shutdown();
    model.shutdown();
  }
}
