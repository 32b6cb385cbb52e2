import type { EventContract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import type { EventStore } from './event-store.ts'
import type { EventSubscription } from './event-subscription.ts'
import type { Selection } from './port.ts'
import { EventCodec, type RecordedOf } from './recorded.ts'
import type { EventSubscriptionOptions } from './subscription-options.ts'

/** An event as projections see it: inside the transaction that appends it, it has no place in the log yet. */
export type ProjectedOf<C extends EventContract> = Omit<RecordedOf<C>, 'position' | 'storedAtMs'>

/** What `projection` takes. */
export interface ProjectionOptions<C extends EventContract, Unit extends object> {
  /** Unique in the store: lower-case letters, digits, dashes. */
  readonly name: string
  /**
   * Raise it when `apply` or its tables change: the new version is built from the first event on, beside the old one that other
   * processes still run. Tables carry it in their names: `orders_v2`. Default 1.
   */
  readonly version?: number
  readonly contracts: readonly C[]
  /** Default: the whole log. */
  readonly from?: Selection
  /** Writes what the event changes, on the unit's handle. */
  readonly apply: (event: ProjectedOf<C>, unit: Unit & { readonly version: number }) => unknown
  /** Called when the new version has read everything that was there: the time to let readers use it. */
  readonly onLive?: (version: number) => void
}

/** Events folded into rows that can be queried. */
export class Projection<C extends EventContract, Unit extends object> {
  readonly name: string
  readonly version: number
  readonly options: ProjectionOptions<C, Unit>
  readonly codec: EventCodec<C>

  constructor(options: ProjectionOptions<C, Unit>) {
    const version = options.version ?? 1
    if (!(Number.isSafeInteger(version) && version >= 1 && version < 1_000_000_000)) {
      throw new TrunklineError('core.option_invalid', { option: 'version of a projection', expected: 'a whole number from 1', actual: String(version) })
    }
    this.name = options.name
    this.version = version
    this.options = options
    this.codec = new EventCodec(options.contracts)
  }

  /** Name of its checkpoint. */
  get checkpoint(): string {
    return `${this.name}@${this.version}`
  }
}

/**
 * Defines a projection. Run it with `project` beside the writers, or give it to the store as `inline` to have it in every transaction that appends.
 *
 * @throws `core.option_invalid`, `contract.definition_conflict`.
 */
export function projection<const C extends EventContract, Unit extends object = object>(options: ProjectionOptions<C, Unit>): Projection<C, Unit> {
  return new Projection(options)
}

/** How a projection runs. */
export type ProjectOptions = Pick<EventSubscriptionOptions<EventContract>, 'batchMax' | 'retry' | 'onPoison' | 'timeoutMs'>

/**
 * Keeps a projection up to date from its checkpoint on, the rows and the checkpoint in one transaction.
 *
 * @param projected what `projection` made, or what it takes: then `apply` knows the unit of this store without being told.
 * @throws `core.option_invalid`, `contract.definition_conflict`.
 */
export function project<const C extends EventContract, Unit extends object>(
  events: EventStore<Unit>, projected: Projection<C, Unit> | ProjectionOptions<C, Unit>, options: ProjectOptions = {},
): EventSubscription {
  const definition = projected instanceof Projection ? projected : new Projection(projected)
  const { contracts, from, apply, onLive } = definition.options
  const { version } = definition
  let isLive = false
  const onCaughtUp = (): void => {
    if (!isLive) onLive?.(version)
    isLive = true
  }
  const selection = from === undefined ? {} : { from }
  return events.subscribe({ ...options, ...selection, name: definition.checkpoint, contracts, onCaughtUp }, (event, context) => apply(event, Object.assign(context, { version })))
}
