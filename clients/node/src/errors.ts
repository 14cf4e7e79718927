import { Metadata, status } from '@grpc/grpc-js';

import { decodeErrorInfo, decodeRetryInfo, decodeStatus } from './definition';

/** Why a call ended. */
export class KvasirError extends Error {
  /** The API's, such as SESSION_BUSY; empty where there is none. */
  reason = '';
  /** Of the reason, such as session_length. */
  metadata: { [key: string]: string } = {};
  /** Seconds; 0 where the server asked for none. */
  retryAfter = 0;
  /** It was waited for already. */
  givenUp = false;

  /** `code`: gRPC's. */
  constructor(readonly code: status, message: string, metadata?: Metadata) {
    super(`${status[code]}: ${message}`);
    this.name = new.target.name;
    const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
    if (!Buffer.isBuffer(bytes)) return;
    for (const detail of decodeStatus(bytes).details) {
      const { type_url: url, value } = detail as unknown as { type_url: string; value: Buffer };
      if (url.endsWith('/google.rpc.ErrorInfo')) {
        const info = decodeErrorInfo(value);
        this.reason = info.reason;
        this.metadata = info.metadata;
      } else if (url.endsWith('/google.rpc.RetryInfo')) {
        const delay = decodeRetryInfo(value).retryDelay;
        this.retryAfter = Number(delay?.seconds ?? 0) + (delay?.nanos ?? 0) * 1e-9;
      }
    }
  }

  /** Whether the same call may succeed later, and has not been waited for already. */
  get transient(): boolean {
    const away = this.code === status.UNAVAILABLE || this.code === status.CANCELLED;
    const lost = this.code === status.UNKNOWN && this.reason === '';
    return !this.givenUp && (away || lost || this.reason === 'LEASE_LOST');
  }
}

/** The message names field, value and limit. */
export class InvalidRequestError extends KvasirError {}
/** No session of ours has this id. */
export class SessionNotFoundError extends KvasirError {}
/** Somebody else uses the session, has written it, or has taken its id. */
export class SessionConflictError extends KvasirError {}
/** Session and message are longer than the model's context. */
export class ContextExceededError extends KvasirError {}
/** A queue is full or a quota used up (see retryAfter), or the KV cache too small. */
export class ResourceExhaustedError extends KvasirError {}
/** Another model wrote the session, its record is damaged, or a template fits no chat. */
export class SessionUnusableError extends KvasirError {}
/** The API key is missing or wrong. */
export class UnauthenticatedError extends KvasirError {}
/** The service could not be reached, or could not serve, for as long as we waited. */
export class UnavailableError extends KvasirError {}

const classes: { [code: number]: typeof KvasirError } = {
  [status.INVALID_ARGUMENT]: InvalidRequestError,
  [status.NOT_FOUND]: SessionNotFoundError,
  [status.ABORTED]: SessionConflictError,
  [status.ALREADY_EXISTS]: SessionConflictError,
  [status.OUT_OF_RANGE]: ContextExceededError,
  [status.RESOURCE_EXHAUSTED]: ResourceExhaustedError,
  [status.FAILED_PRECONDITION]: SessionUnusableError,
  [status.DATA_LOSS]: SessionUnusableError,
  [status.UNAUTHENTICATED]: UnauthenticatedError,
  [status.UNAVAILABLE]: UnavailableError,
};

export function errorOf(code: status, message: string, metadata?: Metadata): KvasirError {
  return new (classes[code] ?? KvasirError)(code, message, metadata);
}
