import type { AnyQuery, EventContract } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { BusExtension } from './port.ts'

// What lives beside a bus and talks on its light plane in contracts of its own: types only.

/** What a bus gives to its companion. */
export interface CompanionHost {
  readonly service: { readonly name: string; readonly version: string }
  readonly instance: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** False where the light plane of the bus' transport cannot do it. */
  readonly canBroadcast: boolean
  readonly canRequest: boolean
  /** Sends an event to every broadcast subscription; never rejects. */
  readonly broadcast: (contract: EventContract, data: unknown) => void
  /** Asks a query. @throws as `bus.ask` does. */
  readonly ask: (contract: AnyQuery, data: unknown, timeoutMs: number) => Promise<unknown>
  /** Its health may have changed. */
  readonly healthChanged: () => void
}

/** What a companion does on its bus. */
export interface AttachedCompanion {
  /** Started after the stores and before deliveries begin. */
  readonly extension: BusExtension
  readonly broadcasts: readonly { readonly contract: EventContract; readonly handler: (message: Message) => unknown }[]
  readonly answers: readonly { readonly contract: AnyQuery; readonly handler: (message: Message) => unknown }[]
}

/** Something that is made before its bus and tied to it, such as settings. One value belongs to one bus. */
export interface BusCompanion {
  attach(host: CompanionHost): AttachedCompanion
}
