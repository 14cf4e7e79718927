import { status } from '@grpc/grpc-js';

import { Retries } from './connection';
import { errorOf, KvasirError } from './errors';
import type { FinishReason__Output } from './generated/kvasir/v1/FinishReason';
import type { GenerateComplete__Output } from './generated/kvasir/v1/GenerateComplete';
import type { GenerateRequest } from './generated/kvasir/v1/GenerateRequest';
import type { Session__Output } from './generated/kvasir/v1/Session';

export interface TurnRequest extends GenerateRequest {
  sessionId: string;
  requestId: string;
  expectedLength: number;
  inputIds: number[];
  maxNewTokens?: number;
}

/** One turn over servers that fail and ways that break (services/cli/resumable_turn.h has the rules). */
export class ResumableTurn {
  ids: number[] = [];
  /** Of the ids: their text has been given out. */
  shown = 0;
  complete: GenerateComplete__Output | undefined;
  abandoned = false;

  private readonly start: number;
  private attempt: GenerateRequest;
  /** Of the answer, as far as the current attempt has come. */
  private at = 0;
  private seed: string | undefined;
  private broken = false;
  private warned = false;
  private cancel = () => {};

  constructor(private readonly retries: Retries, readonly whole: TurnRequest) {
    this.start = whole.expectedLength + whole.inputIds.length;
    this.attempt = whole;
  }

  /** Nobody hears the rest. */
  abandon(): void {
    this.abandoned = true;
    this.cancel();
  }

  /** Pieces of the answer's text. */
  async *run(): AsyncGenerator<string, void> {
    let step = () => this.try();
    while (this.complete === undefined) {
      try {
        yield* step();
        step = () => this.try();
      } catch (error) {
        if (this.abandoned) return;
        if (!(error instanceof KvasirError)) throw error;
        // An attempt of ours that seemed lost may still run, or have come through.
        const late = this.broken && ['SESSION_BUSY', 'LENGTH_MISMATCH'].includes(error.reason);
        if (!error.transient && !late) throw error;
        await this.retries.again(error);
        this.broken = true;
        step = () => this.takeStock();
      }
    }
    this.retries.progress();
  }

  private async *try(): AsyncGenerator<string, void> {
    const events = this.retries.connection.stream('Generate', this.attempt, (cancel) => {
      this.cancel = cancel;
    });
    for await (const { started, chunk, complete } of events) {
      if (started) this.seed ??= started.seed;
      if (chunk) yield* this.deliver(chunk.ids);
      if (complete) return yield* this.end(complete);
    }
    throw new KvasirError(status.INTERNAL, 'the answer ended without its end');
  }

  /** After an attempt that broke: what is to be asked for next, or that the turn is whole. */
  private async *takeStock(): AsyncGenerator<string, void> {
    const { connection } = this.retries;
    const { sessionId, expectedLength: base, requestId } = this.whole;
    const session = (await connection.call('GetSession', { sessionId })).session!;
    const length = Number(session.length);
    if (session.busy) throw errorOf(status.UNAVAILABLE, 'a call, perhaps ours, still runs');
    if (length === base) return this.ask(undefined);
    const last = Number(session.lastBaseLength);
    const fits = length >= this.start && (last === base || (last >= this.start && last <= length));
    if (session.lastRequestId !== requestId || !fits) {
      throw errorOf(status.ABORTED, `somebody else has written session '${sessionId}' meanwhile`);
    }
    const ids = await connection.readSession({ sessionId, offset: this.start });
    if (this.start + ids.length !== length) {
      throw errorOf(status.UNAVAILABLE, 'the session changes while it is read');
    }
    this.at = 0;
    yield* this.deliver(ids);
    const finishReason = await this.howEnded(session);
    if (finishReason === undefined) return this.ask(ids.length);
    yield* this.end({ finishReason, sessionLength: session.length, usage: null, timing: null });
  }

  private async howEnded(session: Session__Output): Promise<FinishReason__Output | undefined> {
    const reason = session.lastFinishReason;
    if (!['FINISH_REASON_UNSPECIFIED', 'FINISH_REASON_INTERRUPTED'].includes(reason)) return reason;
    // A server that crashed may have kept the last token, and not yet that it was the last.
    const last = this.ids[this.at - 1];
    if (last === undefined) return undefined;
    const info = await this.retries.connection.call('GetModelInfo', {});
    if (info.eosTokenIds.includes(last)) return 'FINISH_REASON_STOP_TOKEN';
    if (this.at >= (this.whole.maxNewTokens ?? Infinity)) return 'FINISH_REASON_MAX_NEW_TOKENS';
    const most = Math.min(info.maxContext, Number(info.kvTokens) + 1);
    return Number(session.length) >= most ? 'FINISH_REASON_MAX_CONTEXT' : undefined;
  }

  /** The next attempt is the whole turn, or what follows so many tokens of the answer. */
  private ask(rest: number | undefined): void {
    this.at = rest ?? 0;
    this.attempt = { ...this.whole, sampling: { ...this.whole.sampling } };
    if (this.seed !== undefined) this.attempt.sampling!.seed = this.seed;
    if (rest === undefined) return;
    this.attempt.inputIds = [];
    this.attempt.expectedLength = this.start + rest;
    if (this.whole.maxNewTokens !== undefined) this.attempt.maxNewTokens = this.whole.maxNewTokens - rest;
  }

  private async *deliver(ids: number[]): AsyncGenerator<string, void> {
    const known = this.ids.slice(this.at, this.at + ids.length);
    if (known.some((id, i) => id !== ids[i])) {
      this.warn("came out otherwise than it was shown (have the server's numerics changed?)");
    }
    this.ids.splice(this.at, ids.length, ...ids);
    this.at += ids.length;
    if (known.length === ids.length) return;
    this.retries.progress();
    yield* this.show(false);
  }

  private async *show(last: boolean): AsyncGenerator<string, void> {
    const ids = this.ids.slice(this.shown);
    if (ids.length === 0) return;
    const { text } = await this.retries.call('Decode', { ids, skipSpecialTokens: true });
    if (!last && text.endsWith('\uFFFD')) return; // half a character
    this.shown = this.ids.length;
    if (text !== '') yield text;
  }

  private async *end(complete: GenerateComplete__Output): AsyncGenerator<string, void> {
    if (this.at < this.ids.length) {
      this.warn(`is shorter than it was shown: ${this.at} tokens`);
      this.ids.length = this.at;
    }
    yield* this.show(true);
    if (this.broken) {
      const known = { cachedTokens: 0, computedTokens: 0, ...complete.usage };
      const [inputTokens, generatedTokens] = [this.whole.inputIds.length, this.ids.length];
      complete = { ...complete, timing: null, usage: { ...known, inputTokens, generatedTokens } };
    }
    this.complete = complete;
  }

  private warn(what: string): void {
    if (!this.warned) process.emitWarning(`a turn that was begun anew ${what}`, 'KvasirWarning');
    this.warned = true;
  }
}
