// Kvasir's client: chats in sessions that the server keeps, each turn sending only what is new.
import { Chat, ChatOptions, ResumeOptions } from './chat';
import { Connection, ConnectionOptions } from './connection';

export { Chat, type ChatOptions, type ResumeOptions } from './chat';
export type { ConnectionOptions } from './connection';
export {
  ContextExceededError,
  InvalidRequestError,
  KvasirError,
  ResourceExhaustedError,
  SessionConflictError,
  SessionNotFoundError,
  SessionUnusableError,
  UnauthenticatedError,
  UnavailableError,
} from './errors';
export type { GenerateComplete__Output as GenerateComplete } from './generated/kvasir/v1/GenerateComplete';
export type { SamplingParameters } from './generated/kvasir/v1/SamplingParameters';

/** Both services. Addresses are HOST:PORT. */
export class Kvasir {
  private readonly connection: Connection;

  constructor(address = '127.0.0.1:50052', options: ConnectionOptions = {}) {
    this.connection = new Connection(address, options);
  }

  /** In a new session, or in the one of this id, which is made where there is none. */
  chat(options: ChatOptions = {}): Chat {
    return new Chat(this.connection, options, true);
  }

  /** In a session that there is; when it is used first, SessionNotFoundError where there is none. */
  resume(sessionId: string, options: ResumeOptions = {}): Chat {
    return new Chat(this.connection, { ...options, sessionId }, false);
  }

  close(): void {
    this.connection.close();
  }
}
