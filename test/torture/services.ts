import type { Bus } from '../../src/index.ts'

/** What is to be done with money, in the terms of one kind of store. */
export interface Services {
  /** Moves money once for each message, and says so. */
  ledger(bus: Bus): void
  /** Writes down what the ledger has said. */
  audit(bus: Bus): void
  /** Follows the event log itself. */
  tally(): void
  /** Asks once for a transfer. */
  ask(wish: Wish): Promise<void>
}

/** A transfer that is wanted; its number is given with the commit. */
export interface Wish {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly cents: number
}

/** Handlers that fail while servers are dead are tried until those are back. */
export const PATIENT = { attemptsMax: 1_000, initialMs: 50, maxMs: 500 } as const
