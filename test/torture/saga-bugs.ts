import { TrunklineError, isTrunklineError } from '../../src/index.ts'
import type { UnitOutcome, UnitRequest } from '../../src/bus/port.ts'
import type { NewOutboxRow, StoreBackend, UnitTransaction } from '../../src/outbox/port.ts'
import { Store } from '../../src/outbox/store.ts'
import { laidOver } from '../conformance/bent-transport.ts'

// Bugs that only sagas can have, over any database. They live here and never in the library.

/** A database whose transactions are different. */
export function withUnits<Tx>(inner: StoreBackend<Tx>, bend: (tx: UnitTransaction<Tx>) => Partial<UnitTransaction<Tx>>): StoreBackend<Tx> {
  return laidOver(inner, { transact: (work, options) => inner.transact((tx) => work(laidOver(tx, bend(tx))), options) })
}

/** Some alarms are never set. */
export function losingAlarms<Tx>(inner: StoreBackend<Tx>, isLost: () => boolean): StoreBackend<Tx> {
  return withUnits(inner, (tx) => ({ putTimer: (timer) => (isLost() ? Promise.resolve() : tx.putTimer(timer)) }))
}

/** Who should undo something is passed over, and the saga hears that it was done. */
export function skippingCompensations<Tx>(inner: StoreBackend<Tx>, undoing: string, undone: string, answer: (command: never) => unknown): StoreBackend<Tx> {
  return withUnits(inner, (tx) => ({
    write: (rows) => tx.write(rows.map((row): NewOutboxRow => {
      if (row.message.type !== undoing) return row
      const sent: unknown = JSON.parse(Buffer.from(row.message.body).toString())
      return { ...row, kind: 'event', message: { ...row.message, type: undone, body: Buffer.from(JSON.stringify(answer(sent as never))) } }
    })),
  }))
}

class Captured extends Error {}

/** What is sent leaves before its events are appended, and so also where they never are. */
export function sendingFirst<Tx>(inner: StoreBackend<Tx>, gap: (sent: readonly NewOutboxRow[]) => Promise<void>): StoreBackend<Tx> {
  return laidOver(inner, {
    transact: async (work, options) => {
      let sent: readonly NewOutboxRow[] | undefined
      const capture = async (rows: readonly NewOutboxRow[]): Promise<void> => {
        sent = rows
        return await Promise.reject(new Captured())
      }
      try {
        return await inner.transact((tx) => work(laidOver(tx, { write: capture })), options)
      } catch (error) {
        if (!(error instanceof Captured) || sent === undefined) throw error
      }
      const rows = sent
      await inner.transact((tx) => tx.write(rows))
      await gap(rows)
      return await inner.transact((tx) => work(laidOver(tx, { write: () => Promise.resolve() })), options)
    },
  })
}

/** No bug: others are faster again and again. */
export function contended<Tx>(inner: StoreBackend<Tx>, isContended: (stream: string) => boolean): StoreBackend<Tx> {
  return withUnits(inner, (tx) => ({
    append: async (stream, expected, events) => {
      if (isContended(stream)) throw new TrunklineError('store.conflict', { store: inner.name, problem: `others append to ${stream} all the time` })
      return await tx.append(stream, expected, events)
    },
  }))
}

/** A conflict is a failure like any other one, and costs the message an attempt. */
export class BurningStore<Tx> extends Store<Tx> {
  override async run(request: UnitRequest): Promise<UnitOutcome> {
    const outcome = await super.run(request)
    const isConflict = outcome.kind === 'failed' && isTrunklineError(outcome.error, 'store.conflict')
    return isConflict ? { kind: 'failed', error: new Error('the handler failed') } : outcome
  }
}
