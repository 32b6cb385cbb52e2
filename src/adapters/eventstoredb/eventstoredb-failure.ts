import { errorText } from '../../core/errors.ts'

/** Why a call did not succeed. */
export interface EsdbFailure {
  readonly kind: FailureKind
  readonly problem: string
  readonly cause: unknown
  /** For `wrong-revision`: the stream's last revision, undefined where there is no such stream. */
  readonly actual: bigint | undefined
}

/**
 * What a failure means. `unknown`: it may have been done. `poisoned`: the client will never succeed again (guard 1). `not-leader`:
 * not done, and the client goes to the leader next. The others are answers of the server: it was not done.
 */
export type FailureKind =
  | 'unknown' | 'poisoned' | 'not-leader' | 'wrong-revision' | 'stream-missing' | 'stream-deleted' | 'group-exists' | 'group-missing' | 'refused'

const BY_TYPE: Readonly<Record<string, FailureKind>> = {
  'timeout': 'unknown',
  'deadline-exceeded': 'unknown',
  'unavailable': 'unknown',
  'cancelled': 'unknown',
  'unknown': 'unknown',
  'not-leader': 'not-leader',
  'wrong-expected-version': 'wrong-revision',
  'stream-not-found': 'stream-missing',
  'no-stream': 'stream-missing',
  'stream-deleted': 'stream-deleted',
  'persistent-subscription-exists': 'group-exists',
  'persistent-subscription-does-not-exist': 'group-missing',
  'persistent-subscription-dropped': 'unknown',
  'persistent-subscription-failed': 'unknown',
}

/** gRPC statuses after which a call may have been done: cancelled, unknown, deadline exceeded, aborted, internal, unavailable, data loss. */
const AMBIGUOUS: readonly number[] = [1, 2, 4, 10, 13, 14, 15]

/** Reads what a client threw (guard 7): by its type where it has one, else by its gRPC status. */
export function failureOf(thrown: unknown): EsdbFailure {
  const [type, code] = [partOf(thrown, 'type'), partOf(thrown, 'code')]
  const shared = { problem: errorText(thrown), cause: thrown }
  if (typeof type === 'string') {
    const kind = BY_TYPE[type] ?? 'refused'
    const actual = partOf(thrown, 'actualVersion')
    return { ...shared, kind, actual: typeof actual === 'bigint' ? actual : undefined }
  }
  if (typeof code === 'number') return { ...shared, kind: AMBIGUOUS.includes(code) ? 'unknown' : 'poisoned', actual: undefined }
  // What Node's streams throw when a call breaks off.
  if (typeof code === 'string') return { ...shared, kind: 'unknown', actual: undefined }
  // A plain error is one of discovery, or a bug of the client's: in both cases it stays as it is.
  return { ...shared, kind: 'poisoned', actual: undefined }
}

function partOf(thrown: unknown, name: string): unknown {
  return typeof thrown === 'object' && thrown !== null ? Reflect.get(thrown, name) : undefined
}
