import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { Connection, Retries } from './connection';
import { Conversation, Turn } from './conversation';
import { KvasirError, SessionConflictError, SessionNotFoundError } from './errors';
import type { GenerateComplete__Output } from './generated/kvasir/v1/GenerateComplete';
import type { SamplingParameters } from './generated/kvasir/v1/SamplingParameters';
import { ResumableTurn } from './turn';

const LAST_IDS = 64; // a template's closing is no longer

export interface ResumeOptions {
  /** A JSON object of variables for the chat template. */
  templateArguments?: string;
  maxNewTokens?: number;
  sampling?: SamplingParameters;
}

export interface ChatOptions extends ResumeOptions {
  /** What the model is told first. */
  system?: string;
  /** Made where there is none; not given: a new session. */
  sessionId?: string;
}

const randomId = () => randomBytes(16).toString('hex');

/**
 * One conversation, one thing at a time; an answer that still runs ends when something else is asked
 * of the chat. Its session is kept until delete().
 */
export class Chat {
  readonly sessionId: string;
  /** Of the last whole answer: how it ended, and what it took. */
  last: GenerateComplete__Output | undefined;
  private readonly retries: Retries;
  private conversation: Conversation;
  private opened = false;
  /** Of the turn that did not end well, the session may hold more than was shown. */
  private unsettled: { turn: Turn; running: ResumableTurn } | undefined;

  /** Use Kvasir.chat and Kvasir.resume. */
  constructor(private readonly connection: Connection, private readonly options: ChatOptions, private readonly create: boolean) {
    this.sessionId = options.sessionId || randomId();
    this.retries = new Retries(connection);
    this.conversation = new Conversation(this.retries, options.system ?? '', options.templateArguments ?? '');
  }

  /** The session's tokens, as far as this chat knows. */
  get length(): number {
    return this.conversation.length;
  }

  /** Makes or finds the session, which else the first message does. */
  async open(): Promise<this> {
    await this.ready();
    return this;
  }

  /** The answer, as it comes. Where it is not read to its end, the session keeps what was. */
  async *send(text: string, sampling = this.options.sampling): AsyncGenerator<string, void> {
    await this.ready();
    const turn = await this.conversation.nextTurn(text);
    await this.cutTo(turn.keep);
    const { maxNewTokens } = this.options;
    const running = new ResumableTurn(this.retries, {
      sessionId: this.sessionId,
      requestId: randomId(),
      expectedLength: turn.keep,
      inputIds: turn.ids,
      ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
      ...(sampling === undefined ? {} : { sampling }),
    });
    this.unsettled = { turn, running };
    for await (const piece of running.run()) {
      yield piece;
      if (running.abandoned) return; // something else was asked meanwhile
    }
    if (running.abandoned) return;
    this.conversation.addTurn(turn, running.ids);
    this.unsettled = undefined;
    this.last = running.complete;
  }

  /** Takes the last turns back. */
  async rewind(turns = 1): Promise<void> {
    await this.ready();
    const question = this.conversation.questions().at(-turns);
    if (!(turns >= 1) || question === undefined) {
      const known = this.conversation.questions().length;
      throw new RangeError(`turns: ${turns} is not of the ${known} that this chat knows`);
    }
    await this.cutTo(this.conversation.forgetFrom(question));
  }

  /** A chat with the same past, in a session of its own. */
  async fork(): Promise<Chat> {
    await this.ready();
    const fork = this.resume(randomId());
    // The new id is random: who took it was a try of ours whose answer was lost.
    await this.unlessThere(() => this.retries.call('ForkSession', {
      sessionId: this.sessionId, newSessionId: fork.sessionId, length: this.length,
    }));
    fork.conversation = this.conversation.copy(fork.retries);
    fork.opened = true;
    return fork;
  }

  /** A chat with the same settings in another session that there is. */
  resume(sessionId: string): Chat {
    return new Chat(this.connection, { ...this.options, sessionId }, false);
  }

  async delete(): Promise<void> {
    this.unsettled?.running.abandon();
    try {
      await this.retries.call('DeleteSession', { sessionId: this.sessionId });
    } catch (error) {
      // By a try whose answer was lost?
      if (!(error instanceof SessionNotFoundError && this.retries.repeated)) throw error;
    }
  }

  /** Leaves the session with what was shown, where the service is there. */
  async close(): Promise<void> {
    if (this.unsettled === undefined) return;
    this.retries.budget = 0;
    try {
      await this.ready();
    } catch (error) {
      if (!(error instanceof KvasirError)) throw error;
    } finally {
      this.retries.budget = this.connection.retryFor;
    }
  }

  /** The session is there, and holds what this chat knows. */
  private async ready(): Promise<void> {
    if (!this.opened) await this.openSession();
    this.opened = true;
    if (this.unsettled !== undefined) await this.settle(this.unsettled.turn, this.unsettled.running);
    this.unsettled = undefined;
  }

  private async openSession(): Promise<void> {
    const { sessionId } = this;
    if (this.create) await this.unlessThere(() => this.retries.call('CreateSession', { sessionId }));
    const { session } = await this.retries.call('GetSession', { sessionId });
    const offset = Math.max(0, Number(session!.length) - LAST_IDS);
    const ids = await this.retries.until(() => this.connection.readSession({ sessionId, offset }));
    this.conversation.resume(offset + ids.length, ids);
  }

  private async unlessThere(create: () => Promise<unknown>): Promise<void> {
    try {
      await create();
    } catch (error) {
      if (!(error instanceof SessionConflictError && error.reason === 'SESSION_EXISTS')) throw error;
    }
  }

  /** The session keeps what was shown of the answer; where nothing was, it is as it had been. */
  private async settle(turn: Turn, running: ResumableTurn): Promise<void> {
    running.abandon();
    const describe = async () =>
      (await this.retries.call('GetSession', { sessionId: this.sessionId })).session!;
    let session = await describe();
    // The call that we gave up may take a moment to end.
    for (let polls = 0; session.busy && polls < 500; ++polls) {
      await sleep(20);
      session = await describe();
    }
    const [before, length] = [this.length, Number(session.length)];
    const start = before + turn.ids.length;
    const ours = session.lastRequestId === running.whole.requestId && length >= start;
    if (length === before || !ours) return;
    const after = running.shown === 0 ? before : Math.min(start + running.shown, length);
    await this.truncate(after, length);
    if (after > before) this.conversation.addTurn(turn, running.ids.slice(0, after - start));
  }

  private async cutTo(length: number): Promise<void> {
    await this.truncate(length, this.length);
    this.conversation.cutTo(length);
  }

  private async truncate(length: number, expectedLength: number): Promise<void> {
    if (length === expectedLength) return;
    try {
      await this.retries.call('TruncateSession', { sessionId: this.sessionId, length, expectedLength });
    } catch (error) {
      const done = error instanceof SessionConflictError && error.metadata['session_length'] === String(length);
      if (!(this.retries.repeated && done)) throw error; // else a try whose answer was lost has done it
    }
  }
}
