import { type ContractTypes, type DataOutput, type DefinedContract, type EventContract, defined } from '../contract/contract.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import { BODY_BYTES_MAX } from '../core/limits.ts'
import type { StoredEvent } from './port.ts'

/** An event read back: validated and lifted to the contract's version. */
export interface RecordedEvent<T extends string = string, D = unknown> {
  readonly type: T
  readonly data: D
  readonly id: string
  readonly stream: string
  /** Its number in the stream, from 0n. */
  readonly revision: bigint
  /** Its place in the whole log. */
  readonly position: bigint
  /** The database's wall clock when it was stored, in milliseconds. */
  readonly storedAtMs: number
  /** Version that it was stored with; `data` is that of the contract. */
  readonly version: number
  readonly source: string
  readonly key: string | undefined
  readonly correlationId: string
  readonly causationId: string | undefined
  readonly tenant: string | undefined
}

/** The events of some contracts, told apart by `type`. */
export type RecordedOf<C extends EventContract> = C extends EventContract<infer T, ContractTypes> ? RecordedEvent<T, DataOutput<C>> : never

/** Largest body read back: more than may be published, since limits of the past may have been higher. */
const READ_BYTES_MAX = BODY_BYTES_MAX * 64

/** Reads stored events of a set of contracts. */
export class EventCodec<C extends EventContract> {
  readonly #contracts = new Map<string, DefinedContract<string, ContractTypes>>()

  /** @throws `contract.definition_conflict` for two contracts of one type. */
  constructor(contracts: readonly C[]) {
    for (const contract of contracts) {
      if (contract.kind !== 'event') throw new TrunklineError('contract.definition_invalid', { type: contract.type, problem: 'only events are stored' })
      const known = this.#contracts.get(contract.type)
      if (known !== undefined && known.fingerprint !== contract.fingerprint) {
        throw new TrunklineError('contract.definition_conflict', { type: contract.type, problem: 'two definitions of it are read together' })
      }
      this.#contracts.set(contract.type, defined(contract))
    }
  }

  /** True for an event of one of the contracts. */
  knows(event: StoredEvent): boolean {
    return this.#contracts.has(event.message.type)
  }

  /**
   * The event with its data; undefined where no contract knows its type.
   *
   * @throws `store.event_unreadable` for what cannot be decoded, lifted or validated.
   */
  read(event: StoredEvent): RecordedOf<C> | undefined {
    const { message, stream, revision, position, storedAtMs } = event
    const contract = this.#contracts.get(message.type)
    if (contract === undefined) return undefined
    let data: unknown
    try {
      data = contract.decode(message.version, message.body, READ_BYTES_MAX)
    } catch (cause) {
      throw new TrunklineError('store.event_unreadable', { stream, revision: `${revision}`, problem: errorText(cause).slice(0, 500) }, { cause })
    }
    const { id, version, source, key, correlationId, causationId, tenant } = message
    const recorded: RecordedEvent = {
      type: message.type, data, id, stream, revision, position, storedAtMs, version, source, key, correlationId: correlationId ?? id, causationId, tenant,
    }
    // The contract of this very type has validated the data.
    return recorded as RecordedOf<C>
  }
}
