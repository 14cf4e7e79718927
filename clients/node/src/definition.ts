// The API, as its .proto files say.
import * as grpc from '@grpc/grpc-js';
import * as loader from '@grpc/proto-loader';
import * as path from 'node:path';

import type { RpcStatus__Output } from './generated/kvasir/v1/RpcStatus';
import type { ErrorInfo__Output } from './generated/kvasir/v1/ErrorInfo';
import type { RetryInfo__Output } from './generated/kvasir/v1/RetryInfo';

const definition = loader.loadSync(
  ['kvasir/v1/model.proto', 'kvasir/v1/tokenizer.proto', 'kvasir/v1/error_details.proto'],
  {
    includeDirs: [path.join(__dirname, '..', 'proto')],
    longs: String, // seeds are 64 bits
    enums: String,
    defaults: true,
    oneofs: true,
  },
);

export const modelMethods = definition['kvasir.v1.ModelService'] as grpc.ServiceDefinition;
export const tokenizerMethods = definition['kvasir.v1.TokenizerService'] as grpc.ServiceDefinition;

function decoder<T>(name: string): (bytes: Buffer) => T {
  return (definition[name] as loader.MessageTypeDefinition<object, object>).deserialize as (bytes: Buffer) => T;
}
export const decodeStatus = decoder<RpcStatus__Output>('kvasir.v1.RpcStatus');
export const decodeErrorInfo = decoder<ErrorInfo__Output>('kvasir.v1.ErrorInfo');
export const decodeRetryInfo = decoder<RetryInfo__Output>('kvasir.v1.RetryInfo');
