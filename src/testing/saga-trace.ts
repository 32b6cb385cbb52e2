import type { SagaMessage, SagaTransition } from '../saga/port.ts'
import type { SagaEvent, SagaEventData, SagaEventKind } from '../saga/saga-events.ts'
import { durationText } from './duration.ts'
import { canonical, messageText } from './saga-state.ts'

/** What moved a saga from one state to the next. */
export type ExploredCause =
  | { readonly kind: 'message'; readonly message: SagaMessage; readonly how: 'comes' | 'answers' | 'comes again' }
  | { readonly kind: 'alarm'; readonly timer: string; readonly afterMs: number }

/** One move, as people read it. */
export function moveLines(number: number, cause: ExploredCause, { outgoing, timers, cancelledTimers }: Pick<SagaTransition, 'outgoing' | 'timers' | 'cancelledTimers'>, events: readonly SagaEvent[], nowMs: number): readonly string[] {
  const did = [
    ...events.flatMap((event) => eventText(event) ?? []),
    ...outgoing.map(({ contract, data }) => `sends ${contract.type} ${canonical(data)}`),
    ...cancelledTimers.filter((timer) => !timers.some((one) => one.timer === timer)).map((timer) => `takes the alarm ${timer} back`),
    ...timers.map(({ timer, dueAtMs }) => `sets the alarm ${timer} for ${durationText(Math.max(0, dueAtMs - nowMs))}`),
  ]
  return [`${number}. ${causeText(cause)}`, ...(did.length === 0 ? ['   nothing comes of it'] : did.map((line) => `   ${line}`))]
}

function causeText(cause: ExploredCause): string {
  if (cause.kind === 'message') return `${messageText(cause.message)} ${cause.how}`
  return `the alarm ${cause.timer} goes off${cause.afterMs > 0 ? `, ${durationText(cause.afterMs)} later` : ''}`
}

type Told = { readonly [K in SagaEventKind]?: (data: SagaEventData[K]) => string }

/** What is worth a line; what is sent and which alarms are set has lines of its own. */
const TOLD: Told = {
  'started': () => 'it starts',
  'message-kept': ({ because }) => `the message waits: ${because}`,
  'message-ignored': ({ because }) => `the message is not needed: ${because}`,
  'step-started': ({ run, attempt }) => `${run} begins${tryText(attempt)}`,
  'step-completed': ({ run, isLate }) => `${run} is completed${isLate === true ? ', late' : ''}`,
  'step-failed': ({ run, failure, reason }) => `${run} is ${failure}: ${reason}`,
  'step-retrying': ({ run, delayMs, reason }) => `${run} is tried again in ${durationText(delayMs)}: ${reason}`,
  'step-skipped': ({ run }) => `${run} is skipped`,
  'compensation-begun': ({ reason }) => `it begins to undo: ${reason}`,
  'compensation-started': ({ run, attempt }) => `the undoing of ${run} begins${tryText(attempt)}`,
  'compensation-completed': ({ run }) => `${run} is undone`,
  'compensation-failed': ({ run, reason }) => `the undoing of ${run} failed: ${reason}`,
  'compensation-given-up': ({ run, reason }) => `the undoing of ${run} is given up: ${reason}`,
  'ended': ({ outcome, reason }) => `it ends as ${outcome}${reason === undefined ? '' : `: ${reason}`}`,
  'quarantined': ({ code, reason }) => `it is quarantined for ${code}: ${reason}`,
  'start-overdue': ({ waiting }) => `${waiting} messages wait for a start`,
}

function eventText({ kind, data }: SagaEvent): string | undefined {
  // The kind chooses the function that takes the data of this kind.
  const told = TOLD[kind] as ((of: unknown) => string) | undefined
  return told?.(data)
}

function tryText(attempt: number): string {
  return attempt > 1 ? `, try ${attempt}` : ''
}
