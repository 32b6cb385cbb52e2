import type { EventContract } from '../contract/contract.ts'
import { isName } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { RetryOptions } from '../core/backoff.ts'
import type { Selection } from './port.ts'
import type { RecordedOf } from './recorded.ts'

/** What happens with an event whose handling fails again and again. */
export type PoisonPolicy =
  /** The subscription halts there, and its health says so, until it is restarted: nothing is left out. */
  | 'stop'
  /** A dead letter in the stream `deadletters-<name>` tells of it, and the next event is handled. */
  | 'deadLetter'

/** What `events.subscribe` takes. */
export interface EventSubscriptionOptions<C extends EventContract> {
  /** Name of its checkpoint, unique in the store: lower-case letters, digits, dashes. Processes that use one name share the work, one at a time. */
  readonly name: string
  /** Contracts of the events that it wants; others are passed over. */
  readonly contracts: readonly C[]
  /** Default: the whole log. */
  readonly from?: Selection
  /** Where a subscription without a checkpoint begins. Default `beginning`. */
  readonly start?: 'beginning' | 'end'
  /** Events handled in one transaction while it catches up. Default 100. */
  readonly batchMax?: number
  /** Attempts and waits for an event whose handling fails. */
  readonly retry?: RetryOptions
  /** Default `stop`. */
  readonly onPoison?: PoisonPolicy
  /** Time for one event, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  /** Called each time it has read everything that was there. It must not throw. */
  readonly onCaughtUp?: () => void
}

/** What a handler of stored events knows beside the event. */
export interface EventContext {
  /** 1-based number of this attempt, as far as this process knows. */
  readonly attempt: number
  readonly subscription: string
  /** Aborts when the handler's time is over, or the work goes to another process. */
  readonly signal: AbortSignal
}

/** A handler of stored events; what it writes on the unit commits together with the checkpoint. */
export type StoredEventHandler<C extends EventContract, Unit> = (event: RecordedOf<C>, context: EventContext & Unit) => unknown

/** Options with every default filled in. */
export interface EventSubscriptionSettings {
  readonly name: string
  readonly from: Selection
  readonly start: 'beginning' | 'end'
  readonly batchMax: number
  readonly attemptsMax: number
  readonly backoff: { readonly initialMs: number; readonly factor: number; readonly maxMs: number }
  readonly onPoison: PoisonPolicy
  readonly timeoutMs: number
  readonly onCaughtUp: (() => void) | undefined
}

const NAMES: OptionNames = optionNames<EventSubscriptionOptions<EventContract>>({
  name: true, contracts: true, from: true, start: true, batchMax: true, retry: true, onPoison: true, timeoutMs: true, onCaughtUp: true,
})

/** @throws `core.option_invalid`, `core.option_unknown`. */
export function subscriptionSettings(options: EventSubscriptionOptions<EventContract>): EventSubscriptionSettings {
  refuseUnknown('events.subscribe', options, NAMES)
  const { name, retry } = options
  const [base = '', version = '1'] = name.split('@')
  if (!isName(base) || !/^\d{1,9}$/.test(version)) {
    throw new TrunklineError('core.option_invalid', { option: 'name of a subscription', expected: 'lower-case letters, digits, "-" and "_"', actual: JSON.stringify(name).slice(0, 100) })
  }
  return {
    name,
    from: options.from ?? { kind: 'all' },
    start: options.start ?? 'beginning',
    batchMax: whole('batchMax', options.batchMax ?? 100, 1, 10_000),
    attemptsMax: whole('retry.attemptsMax', retry?.attemptsMax ?? 5, 1, 1_000_000),
    backoff: { initialMs: retry?.initialMs ?? 500, factor: retry?.factor ?? 2, maxMs: retry?.maxMs ?? 300_000 },
    onPoison: options.onPoison ?? 'stop',
    timeoutMs: whole('timeoutMs', options.timeoutMs ?? 30_000, 1, 86_400_000),
    onCaughtUp: options.onCaughtUp,
  }
}

function whole(option: string, value: number, min: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value
  throw new TrunklineError('core.option_invalid', { option, expected: `a whole number from ${min} to ${max}`, actual: String(value) })
}
