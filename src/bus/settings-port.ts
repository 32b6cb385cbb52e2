import type { AnyQuery, EventContract } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { BusExtension } from './port.ts'

// What the settings of a bus need of it: types only.

/** What a bus gives to its settings. */
export interface SettingsHost {
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

/** What settings do on their bus. */
export interface AttachedSettings {
  /** Started after the stores and before deliveries begin. */
  readonly extension: BusExtension
  readonly broadcasts: readonly { readonly contract: EventContract; readonly handler: (message: Message) => unknown }[]
  readonly answers: readonly { readonly contract: AnyQuery; readonly handler: (message: Message) => unknown }[]
}

/** Settings as createBus takes them: made before their bus and tied to it. One value belongs to one bus. */
export interface BusSettings {
  attach(host: SettingsHost): AttachedSettings
}
