import { status } from '@grpc/grpc-js';

import { Retries } from './connection';
import { errorOf } from './errors';
import type { ApplyChatTemplateResponse__Output } from './generated/kvasir/v1/ApplyChatTemplateResponse';

const STAND_INS = ['yes', 'no'] as const; // two answers whose renderings share no last token

/** What was said. */
export interface Message {
  role: string;
  content: string;
}

interface Said extends Message {
  /** The session's length after it (a question: without the invitation to answer). */
  end?: number;
}

/** The session is cut to `keep`, then these are sent. */
export interface Turn {
  question: Said;
  keep: number;
  ids: number[];
}

/** Of their starts. */
function common(one: number[], other: number[]): number {
  let n = 0;
  while (n < one.length && n < other.length && one[n] === other[n]) ++n;
  return n;
}

/**
 * A chat in a session (services/cli/conversation.h): what was said, the ids that the session holds
 * of it, and the few that it lacks for the next answer.
 */
export class Conversation {
  private said: Said[];
  /** What is said before it only stands for a beginning that is not known. */
  private firstKnown = 0;
  /** So many tokens of the session are before the ids. */
  private unknown = 0;
  private ids: number[] = [];
  /** Until its text is asked for. */
  private answerBegin: number | undefined;
  private invitation: number[] | undefined;
  private closing: number[] = [];

  constructor(private readonly retries: Retries, system: string, private readonly templateArguments: string) {
    this.said = system === '' ? [] : [{ role: 'system', content: system }];
  }

  copy(retries: Retries): Conversation {
    const copy = new Conversation(retries, '', this.templateArguments);
    const { firstKnown, unknown, answerBegin, invitation, closing } = this;
    const said = this.said.map((one) => ({ ...one }));
    return Object.assign(copy, { said, ids: [...this.ids], firstKnown, unknown, answerBegin, invitation, closing });
  }

  get length(): number {
    return this.unknown + this.ids.length;
  }

  resume(length: number, lastIds: number[]): void {
    this.unknown = length - lastIds.length;
    this.ids = lastIds;
    if (length === 0) return;
    this.said.push({ role: 'user', content: '?' }, { role: 'assistant', content: STAND_INS[0], end: length });
    this.firstKnown = this.said.length;
  }

  /** Indices, as forgetFrom takes them. */
  questions(): number[] {
    return [...this.said.keys()].filter((i) => i >= this.firstKnown && this.said[i]!.role === 'user');
  }

  async nextTurn(text: string): Promise<Turn> {
    await this.learnTemplate();
    await this.completeAnswer();
    const question: Said = { role: 'user', content: text };
    const turn: Turn = { question, keep: this.length, ids: [] };
    const afterUnknown = this.firstKnown > 0 && this.said.length === this.firstKnown;
    turn.ids = afterUnknown ? await this.afterUnknown(question) : await this.append(question);
    if (turn.ids.length === 0) await this.rewrite(turn);
    const invitation = this.invitation ?? [];
    const border = turn.ids.length - invitation.length;
    if (border >= 0 && common(turn.ids.slice(border), invitation) === invitation.length) {
      question.end = turn.keep + border;
    }
    return turn;
  }

  addTurn(turn: Turn, answer: number[]): void {
    this.answerBegin = this.length + turn.ids.length;
    this.ids.push(...turn.ids, ...answer);
    this.said.push(turn.question, { role: 'assistant', content: '', end: this.length });
  }

  cutTo(length: number): void {
    this.ids.length = Math.max(0, Math.min(this.ids.length, length - this.unknown));
    this.unknown = Math.min(this.unknown, length);
    for (const said of this.said) if ((said.end ?? 0) > length) delete said.end;
  }

  /** Forgets this message and what followed; what the session is to be cut to. */
  forgetFrom(index: number): number {
    this.said.length = index;
    this.answerBegin = undefined;
    return [...this.said].reverse().find((said) => said.end !== undefined)?.end ?? 0;
  }

  private render(messages: Message[], fromMessage?: number): Promise<ApplyChatTemplateResponse__Output> {
    const { templateArguments } = this;
    return this.retries.call('ApplyChatTemplate', {
      messages: messages.map(({ role, content }) => ({ role, content })),
      templateArguments,
      ...(fromMessage === undefined ? {} : { fromMessage }),
    });
  }

  private async decode(ids: number[], skipSpecialTokens = false): Promise<string> {
    return (await this.retries.call('Decode', { ids, skipSpecialTokens })).text;
  }

  /** What invites an answer, and what closes it. */
  private async learnTemplate(): Promise<void> {
    if (this.invitation !== undefined) return;
    const response = await this.render([{ role: 'user', content: '?' }], 1);
    this.invitation = response.firstChangedMessage === 1 ? response.ids : [];
    this.closing = response.closingIds;
  }

  /** The last answer's text, as the template is to show it. */
  private async completeAnswer(): Promise<void> {
    if (this.answerBegin === undefined) return;
    const end = Math.max(this.answerBegin, this.length - this.held(this.closing));
    const ids = this.ids.slice(this.answerBegin - this.unknown, end - this.unknown);
    const [text, shown] = [await this.decode(ids, true), await this.decode(ids)];
    // Special tokens behind an answer end it; those within are a part of what was said.
    this.said[this.said.length - 1]!.content = shown.startsWith(text) ? text : shown;
    this.answerBegin = undefined;
  }

  /** How much of the start of `ids` the session ends with. */
  private held(ids: number[]): number {
    let n = Math.min(ids.length, this.ids.length);
    while (common(this.ids.slice(this.ids.length - n), ids) < n) --n;
    return n;
  }

  /** What to send where the rendering only grows and shows the answer as it was generated. */
  private async append(question: Said): Promise<number[]> {
    const count = this.said.length;
    const begin = this.said[count - 2]?.end;
    if (begin === undefined || begin < this.unknown || this.said[count - 1]!.end !== this.length) return [];
    const messages = [...this.said, question];
    const held = await this.decode(this.ids.slice(begin - this.unknown));
    const shown = await this.render(messages, count - 1);
    const rest = await this.render(messages, count);
    const closing = this.closing.slice(this.held(this.closing));
    const closingText = await this.decode(closing);
    const grows = shown.firstChangedMessage === count - 1 && rest.firstChangedMessage === count;
    return grows && held + closingText + rest.text === shown.text ? [...closing, ...rest.ids] : [];
  }

  /** Whatever the answer was: what the renderings of two answers end with. */
  private async afterUnknown(question: Said): Promise<number[]> {
    const before = this.said.slice(0, -1);
    const [yes, no] = await Promise.all(
      STAND_INS.map(async (content) => (await this.render([...before, { role: 'assistant', content }, question])).ids),
    ) as [number[], number[]];
    const shared = common([...yes].reverse(), [...no].reverse());
    if (shared === yes.length || shared === no.length) {
      throw errorOf(status.FAILED_PRECONDITION, "the chat template does not show the assistant's answers");
    }
    const ids = yes.slice(yes.length - shared);
    return ids.slice(this.held(ids));
  }

  /** From where the session and the rendering begin to differ. */
  private async rewrite(turn: Turn): Promise<void> {
    const endedQuestion = (said: Said) => said.role === 'user' && said.end !== undefined;
    for (let from = this.said.length; ; ) {
      // Back to a question whose end is known: after it the template begins an answer anew.
      while (from > 0 && !endedQuestion(this.said[from - 1]!)) --from;
      const border = this.said[from - 1]?.end ?? 0;
      if (border < this.unknown || from < this.firstKnown) {
        turn.ids = await this.afterUnknown(turn.question);
        return;
      }
      const { ids, firstChangedMessage } = await this.render([...this.said, turn.question], from);
      if (firstChangedMessage >= from) {
        // The model needs a token to go on from.
        const kept = Math.min(common(ids, this.ids.slice(border - this.unknown)), ids.length - 1);
        turn.keep = border + kept;
        turn.ids = ids.slice(kept);
        return;
      }
      from = firstChangedMessage;
    }
  }
}
