// Two turns of a chat in a session that the server keeps: each call sends only what is new.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	pb "kvasir/v1"
)

var (
	tokenizer pb.TokenizerServiceClient
	model     pb.ModelServiceClient
	messages  []*pb.ChatMessage
	session   string
	length    uint64   // of the session
	answered  []uint32 // the ids of the last answer
)

func dial(variable, otherwise string) *grpc.ClientConn {
	address := os.Getenv(variable)
	if address == "" {
		address = otherwise
	}
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	check(err)
	return connection
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// What of `closing` the session lacks: an answer may end with its beginning.
func lacking(closing []uint32) []uint32 {
	for n := len(closing); n > 0; n-- {
		tail := len(answered) - n
		if tail >= 0 && fmt.Sprint(answered[tail:]) == fmt.Sprint(closing[:n]) {
			return closing[n:]
		}
	}
	return closing
}

func say(ctx context.Context, question string) {
	known := uint32(len(messages))
	messages = append(messages, &pb.ChatMessage{Role: "user", Content: &question})
	rendered, err := tokenizer.ApplyChatTemplate(ctx, &pb.ApplyChatTemplateRequest{
		Messages: messages, FromMessage: &known})
	check(err)
	if rendered.FirstChangedMessage != known {
		log.Fatal("this template rewrites history: TruncateSession to that message first")
	}
	input := append(append([]uint32{}, lacking(rendered.ClosingIds)...), rendered.Ids...)

	events, err := model.Generate(ctx, &pb.GenerateRequest{
		SessionId: session, CreateIfMissing: true, ExpectedLength: &length, InputIds: input,
		Sampling: &pb.SamplingParameters{Temperature: proto.Float32(0)}})
	check(err)
	answered = nil
	for {
		event, err := events.Recv()
		if err == io.EOF {
			break
		}
		check(err)
		answered = append(answered, event.GetChunk().GetIds()...)
		if complete := event.GetComplete(); complete != nil {
			length = complete.SessionLength
		}
	}
	text, err := tokenizer.Decode(ctx, &pb.DecodeRequest{Ids: answered, SkipSpecialTokens: true})
	check(err)
	messages = append(messages, &pb.ChatMessage{Role: "assistant", Content: &text.Text})
	fmt.Printf("%s (%d tokens sent)\n", text.Text, len(input))
}

func main() {
	tokenizer = pb.NewTokenizerServiceClient(dial("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051"))
	model = pb.NewModelServiceClient(dial("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052"))
	session = fmt.Sprintf("go-example-%d", os.Getpid())
	ctx := context.Background()
	say(ctx, "My name is Mara.")
	say(ctx, "What is my name?")
	_, err := model.DeleteSession(ctx, &pb.DeleteSessionRequest{SessionId: session})
	check(err)
}
