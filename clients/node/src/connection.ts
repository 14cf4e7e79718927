import * as grpc from '@grpc/grpc-js';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { modelMethods, tokenizerMethods } from './definition';
import { errorOf, KvasirError } from './errors';
import type { ApplyChatTemplateRequest } from './generated/kvasir/v1/ApplyChatTemplateRequest';
import type { ApplyChatTemplateResponse__Output } from './generated/kvasir/v1/ApplyChatTemplateResponse';
import type { CreateSessionRequest } from './generated/kvasir/v1/CreateSessionRequest';
import type { CreateSessionResponse__Output } from './generated/kvasir/v1/CreateSessionResponse';
import type { DecodeRequest } from './generated/kvasir/v1/DecodeRequest';
import type { DecodeResponse__Output } from './generated/kvasir/v1/DecodeResponse';
import type { DeleteSessionRequest } from './generated/kvasir/v1/DeleteSessionRequest';
import type { DeleteSessionResponse__Output } from './generated/kvasir/v1/DeleteSessionResponse';
import type { ForkSessionRequest } from './generated/kvasir/v1/ForkSessionRequest';
import type { ForkSessionResponse__Output } from './generated/kvasir/v1/ForkSessionResponse';
import type { GenerateRequest } from './generated/kvasir/v1/GenerateRequest';
import type { GenerateResponse__Output } from './generated/kvasir/v1/GenerateResponse';
import type { GetModelInfoRequest } from './generated/kvasir/v1/GetModelInfoRequest';
import type { GetModelInfoResponse__Output } from './generated/kvasir/v1/GetModelInfoResponse';
import type { GetSessionRequest } from './generated/kvasir/v1/GetSessionRequest';
import type { GetSessionResponse__Output } from './generated/kvasir/v1/GetSessionResponse';
import type { ReadSessionRequest } from './generated/kvasir/v1/ReadSessionRequest';
import type { ReadSessionResponse__Output } from './generated/kvasir/v1/ReadSessionResponse';
import type { TruncateSessionRequest } from './generated/kvasir/v1/TruncateSessionRequest';
import type { TruncateSessionResponse__Output } from './generated/kvasir/v1/TruncateSessionResponse';

interface Unary {
  ApplyChatTemplate: [ApplyChatTemplateRequest, ApplyChatTemplateResponse__Output];
  CreateSession: [CreateSessionRequest, CreateSessionResponse__Output];
  Decode: [DecodeRequest, DecodeResponse__Output];
  DeleteSession: [DeleteSessionRequest, DeleteSessionResponse__Output];
  ForkSession: [ForkSessionRequest, ForkSessionResponse__Output];
  GetModelInfo: [GetModelInfoRequest, GetModelInfoResponse__Output];
  GetSession: [GetSessionRequest, GetSessionResponse__Output];
  TruncateSession: [TruncateSessionRequest, TruncateSessionResponse__Output];
}
interface Streaming {
  Generate: [GenerateRequest, GenerateResponse__Output];
  ReadSession: [ReadSessionRequest, ReadSessionResponse__Output];
}

/** Files are in PEM. */
export interface ConnectionOptions {
  /** HOST:PORT of kvasir-tokenizer. */
  tokenizer?: string;
  /** KVASIR_API_KEY's where none is given. */
  apiKey?: string;
  /** With it all goes over TLS. */
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
  /** Seconds for which a service that is away is waited for. */
  retryFor?: number;
}

/** Single calls to both services. */
export class Connection {
  readonly retryFor: number;
  private readonly key: string;
  private readonly model: grpc.Client;
  private readonly tokenizer: grpc.Client;

  constructor(address: string, options: ConnectionOptions) {
    this.retryFor = options.retryFor ?? 30;
    this.key = options.apiKey ?? process.env['KVASIR_API_KEY'] ?? '';
    const read = (file?: string) => (file === undefined ? null : fs.readFileSync(file));
    const credentials =
      options.tlsCa === undefined
        ? grpc.credentials.createInsecure()
        : grpc.credentials.createSsl(read(options.tlsCa), read(options.tlsKey), read(options.tlsCert));
    const channel = (mib: number) => ({
      'grpc.max_receive_message_length': mib << 20,
      'grpc.max_send_message_length': mib << 20,
      // How often we try is said in one place, not by the channel as well.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 100,
      // A server whose machine is gone is noticed while it is silent.
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
    });
    this.model = new grpc.Client(address, credentials, channel(16));
    this.tokenizer = new grpc.Client(options.tokenizer ?? '127.0.0.1:50051', credentials, channel(64));
  }

  close(): void {
    this.model.close();
    this.tokenizer.close();
  }

  call<M extends keyof Unary>(name: M, request: Unary[M][0]): Promise<Unary[M][1]> {
    const [client, method] = this.method(name);
    return new Promise((resolve, reject) => {
      const done = (error: grpc.ServiceError | null, response?: Unary[M][1]) =>
        error ? reject(errorOf(error.code, error.details, error.metadata)) : resolve(response!);
      client.makeUnaryRequest<Unary[M][0], Unary[M][1]>(
        method.path, method.requestSerialize, method.responseDeserialize, request, this.headers(request), done);
    });
  }

  /** Cancels the call where its messages are not taken to the end. `begun` gets what ends it early. */
  async *stream<M extends keyof Streaming>(
    name: M, request: Streaming[M][0], begun: (cancel: () => void) => void = () => {},
  ): AsyncGenerator<Streaming[M][1], void> {
    const [client, method] = this.method(name);
    const stream = client.makeServerStreamRequest<Streaming[M][0], Streaming[M][1]>(
      method.path, method.requestSerialize, method.responseDeserialize, request, this.headers(request));
    stream.on('error', () => {}); // of a call that nobody hears any more
    begun(() => stream.cancel());
    try {
      yield* stream;
    } catch (error) {
      const { code, details, metadata } = error as grpc.ServiceError;
      throw code === undefined ? error : errorOf(code, details, metadata);
    } finally {
      stream.cancel();
    }
  }

  async readSession(request: ReadSessionRequest): Promise<number[]> {
    const ids: number[] = [];
    for await (const part of this.stream('ReadSession', request)) ids.push(...part.ids);
    return ids;
  }

  private method(name: string): [grpc.Client, grpc.MethodDefinition<any, any>] {
    const [client, methods] =
      name in modelMethods ? [this.model, modelMethods] : [this.tokenizer, tokenizerMethods];
    return [client, methods[name]!];
  }

  private headers(request: object): grpc.Metadata {
    const headers = new grpc.Metadata();
    if (this.key !== '') headers.set('authorization', `Bearer ${this.key}`);
    // By it a proxy sends a session's calls to one server; a fork's goes where it will live.
    const { sessionId = '', newSessionId = '' } = request as { sessionId?: string; newSessionId?: string };
    const session = newSessionId || sessionId;
    if (/^[ -~]+$/.test(session)) headers.set('kvasir-session', session);
    return headers;
  }
}

/** An outage begins with a failed call and ends with the next that succeeds; waits in it grow. */
export class Retries {
  budget: number;
  /** The last call was, so one that failed may have been carried out. */
  repeated = false;
  private begin: number | undefined;
  private wait = 0;

  constructor(readonly connection: Connection) {
    this.budget = connection.retryFor;
  }

  progress(): void {
    this.begin = undefined;
  }

  /** Waits before the next try; where it would come too late, `failure` is thrown. */
  async again(failure: KvasirError): Promise<void> {
    const now = performance.now() / 1e3;
    if (this.begin === undefined) {
      this.begin = now;
      this.wait = 0.1;
    }
    const left = this.begin + this.budget - now;
    if (left <= 0 || failure.retryAfter > left) {
      this.begin = undefined;
      failure.givenUp = true;
      failure.message += ` (given up after ${this.budget} s)`;
      throw failure;
    }
    const jittered = this.wait * (0.5 + 0.5 * Math.random());
    await sleep(1e3 * Math.min(left, Math.max(failure.retryAfter, jittered)));
    this.wait = Math.min(2 * this.wait, 2);
  }

  /** Repeats what fails while a service cannot be reached. */
  async until<T>(attempt: () => Promise<T>): Promise<T> {
    this.repeated = false;
    for (;;) {
      try {
        const result = await attempt();
        this.progress();
        return result;
      } catch (error) {
        if (!(error instanceof KvasirError) || !error.transient) throw error;
        await this.again(error);
        this.repeated = true;
      }
    }
  }

  call<M extends keyof Unary>(name: M, request: Unary[M][0]): Promise<Unary[M][1]> {
    return this.until(() => this.connection.call(name, request));
  }
}
