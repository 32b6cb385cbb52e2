import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'

/** What a message is recognised by. */
export interface MessageRef {
  readonly id: string
  readonly source: string
  readonly type: string
}

/** A message that waits in its instance, as it came. */
export interface KeptMessage extends MessageRef {
  readonly version: number
  /** The body as JSON: it is lifted and validated when it is handled. */
  readonly body: unknown
  readonly correlationId: string
  readonly tenant: string | undefined
  /** Who started it: set for the start of a sub-saga. */
  readonly parent: SagaParent | undefined
  /** Handlers in a row that led to it. */
  readonly hops?: number | undefined
}

/** What waits in an instance. */
export type KeptInput =
  | { readonly kind: 'message'; readonly message: KeptMessage }
  | { readonly kind: 'timer'; readonly timer: string; readonly token: string }

/** The instance that waits for a sub-saga. */
export interface SagaParent {
  readonly saga: string
  readonly instance: string
  readonly run: string
}

/** A message that left an instance. */
export interface SentMessage {
  readonly id: string
  readonly kind: 'event' | 'command'
  readonly type: string
  readonly data: unknown
}

/** How a saga ends. */
export type SagaOutcome =
  /** It went through. */
  | 'completed'
  /** It failed, and everything that it had done is undone. */
  | 'compensated'
  /** It was called off, and everything that it had done is undone. */
  | 'cancelled'
  /** It failed, and something of what it had done could not be undone. */
  | 'failed'

/** Why a step did not complete. The outcome of all but a refused one is unknown: it may still happen. */
export type StepFailure = 'refused' | 'timed-out' | 'abandoned'

/** Why a message waits. */
export type KeepReason = 'early' | 'out-of-order' | 'quarantined'

/** What operators can do. */
export type OperatorAction = 'resume' | 'retry-step' | 'skip-step' | 'compensate' | 'cancel'

/** Everything that can stand in the stream of an instance, by name. All of it is JSON. */
export interface SagaEventData {
  /** First of every transition: the mark that this input was handled, and when. */
  'input-handled': { readonly input: 'message' | 'timer' | 'operator'; readonly id: string; readonly source: string; readonly type: string; readonly atMs: number }
  'started': { readonly saga: string; readonly version: number; readonly instance: string; readonly correlationId: string; readonly tenant?: string | undefined; readonly parent?: SagaParent | undefined; readonly hops?: number | undefined }
  'state-changed': { readonly state: unknown }
  'message-kept': { readonly input: KeptInput; readonly because: KeepReason }
  'message-taken': { readonly index: number }
  'message-ignored': { readonly message: MessageRef; readonly because: 'late' | 'unexpected' }
  'message-sent': { readonly sent: SentMessage }
  'step-started': { readonly step: string; readonly run: string; readonly attempt: number; readonly sent?: SentMessage | undefined }
  'step-completed': { readonly run: string; readonly type?: string | undefined; readonly version?: number | undefined; readonly data?: unknown; readonly isLate?: boolean | undefined }
  'step-failed': { readonly run: string; readonly failure: StepFailure; readonly reason: string }
  'step-retrying': { readonly run: string; readonly delayMs: number; readonly reason: string }
  'step-skipped': { readonly step: string; readonly run: string }
  'timer-set': { readonly timer: string; readonly dueAtMs: number; readonly token: string; readonly cron?: string | undefined; readonly timeZone?: string | undefined }
  'timer-fired': { readonly timer: string }
  'timer-cancelled': { readonly timer: string }
  'compensation-begun': { readonly outcome: SagaOutcome; readonly reason: string }
  'compensation-queued': { readonly run: string }
  'compensation-started': { readonly run: string; readonly attempt: number; readonly sent?: SentMessage | undefined }
  'compensation-completed': { readonly run: string }
  'compensation-failed': { readonly run: string; readonly attempt: number; readonly reason: string }
  'compensation-given-up': { readonly run: string; readonly reason: string }
  'ended': { readonly outcome: SagaOutcome; readonly reason?: string | undefined; readonly isAgain?: boolean | undefined }
  'quarantined': { readonly code: string; readonly reason: string; readonly type: string }
  'resumed': { readonly because: OperatorAction }
  'operator-acted': { readonly action: OperatorAction; readonly by: string; readonly reason: string; readonly step?: string | undefined }
  'migrated': { readonly fromVersion: number; readonly toVersion: number; readonly steps: Readonly<Record<string, string>> }
  'start-overdue': { readonly waiting: number }
}

/** Name of an event of an instance. */
export type SagaEventKind = keyof SagaEventData

/** One event of an instance, told apart by `kind`. */
export type SagaEvent = { readonly [K in SagaEventKind]: { readonly kind: K; readonly data: SagaEventData[K] } }[SagaEventKind]

/** The types of one contract of `sagaEvents`. */
export interface SagaEventTypes<K extends SagaEventKind> extends ContractTypes {
  readonly input: SagaEventData[K]
  readonly output: SagaEventData[K]
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** The contract of one kind of event. */
export type SagaEventContract<K extends SagaEventKind> = EventContract<`saga.${K}`, SagaEventTypes<K>>

/** It is written by the library alone, whose own functions are typed; what users put into it has passed their schemas. */
function written<T>(): Schema<T> {
  return { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as T }) } }
}

function contractOf<K extends SagaEventKind>(kind: K): SagaEventContract<K> {
  return event(`saga.${kind}`, { schema: written<SagaEventData[K]>() })
}

/** The contracts of everything that stands in the streams of instances, to read them as any other events. */
export const sagaEvents: { readonly [K in SagaEventKind]: SagaEventContract<K> } = {
  'input-handled': contractOf('input-handled'),
  'started': contractOf('started'),
  'state-changed': contractOf('state-changed'),
  'message-kept': contractOf('message-kept'),
  'message-taken': contractOf('message-taken'),
  'message-ignored': contractOf('message-ignored'),
  'message-sent': contractOf('message-sent'),
  'step-started': contractOf('step-started'),
  'step-completed': contractOf('step-completed'),
  'step-failed': contractOf('step-failed'),
  'step-retrying': contractOf('step-retrying'),
  'step-skipped': contractOf('step-skipped'),
  'timer-set': contractOf('timer-set'),
  'timer-fired': contractOf('timer-fired'),
  'timer-cancelled': contractOf('timer-cancelled'),
  'compensation-begun': contractOf('compensation-begun'),
  'compensation-queued': contractOf('compensation-queued'),
  'compensation-started': contractOf('compensation-started'),
  'compensation-completed': contractOf('compensation-completed'),
  'compensation-failed': contractOf('compensation-failed'),
  'compensation-given-up': contractOf('compensation-given-up'),
  'ended': contractOf('ended'),
  'quarantined': contractOf('quarantined'),
  'resumed': contractOf('resumed'),
  'operator-acted': contractOf('operator-acted'),
  'migrated': contractOf('migrated'),
  'start-overdue': contractOf('start-overdue'),
}
