import { MemoryBackend, memoryDatabase } from '../../src/adapters/memory/index.ts'
import { TrunklineError } from '../../src/index.ts'
import type { StoreBackend, UnitTransaction } from '../../src/outbox/port.ts'
import type { StoreSubject } from '../../src/testing/index.ts'
import { laidOver } from './bent-transport.ts'
import { memoryRows, memoryStoreSubject } from './store-memory-subject.ts'

type Backend = StoreBackend<unknown>
type Unit = UnitTransaction<unknown>

/** What is different from the memory store; everything left out is as it should be. */
export interface StoreBend {
  readonly log?: (inner: Backend['log']) => Partial<Backend['log']>
  readonly unit?: (inner: Unit, backend: Backend) => Partial<Unit>
  readonly backend?: (inner: Backend) => Partial<Backend>
  readonly checkpoints?: (inner: Backend['checkpoints']) => Partial<Backend['checkpoints']>
  readonly leases?: (inner: Backend['leases']) => Partial<Backend['leases']>
  readonly outbox?: (inner: Backend['outbox']) => Partial<Backend['outbox']>
  readonly inbox?: (inner: Backend['inbox']) => Partial<Backend['inbox']>
  readonly timers?: (inner: Backend['timers']) => Partial<Backend['timers']>
  readonly bodies?: (inner: Backend['bodies']) => Partial<Backend['bodies']>
}

/** The memory store with one thing wrong, as a subject whose waits are short. `bend` is called once a place, for what it remembers. */
export function bentStoreSubject(bend: () => StoreBend): StoreSubject {
  return {
    ...memoryStoreSubject,
    waitMsMax: 1_500,
    place: () => {
      const [database, bent] = [memoryDatabase(), bend()]
      return Promise.resolve({ make: () => bentBackend(new MemoryBackend(database), bent), rows: memoryRows(database), close: () => Promise.resolve() })
    },
  }
}

function bentBackend(inner: Backend, bend: StoreBend): Backend {
  const planes = laidOver(inner, {
    log: laidOver(inner.log, bend.log?.(inner.log)),
    checkpoints: laidOver(inner.checkpoints, bend.checkpoints?.(inner.checkpoints)),
    leases: laidOver(inner.leases, bend.leases?.(inner.leases)),
    outbox: laidOver(inner.outbox, bend.outbox?.(inner.outbox)),
    inbox: laidOver(inner.inbox, bend.inbox?.(inner.inbox)),
    timers: laidOver(inner.timers, bend.timers?.(inner.timers)),
    bodies: laidOver(inner.bodies, bend.bodies?.(inner.bodies)),
    transact: (work, options) => inner.transact((tx) => work(bend.unit === undefined ? tx : laidOver(tx, bend.unit(tx, inner))), options),
  })
  return laidOver(planes, bend.backend?.(planes))
}

/** Runs every statement in a transaction of its own: what a pool does that is taken for a client. */
export function statementByStatement(inner: Backend): Partial<Backend> {
  const alone = <T>(work: (tx: Unit) => Promise<T>): Promise<T> => inner.transact(work)
  return {
    transact: (work) =>
      work({
        handle: undefined,
        append: (stream, expected, events) => alone((tx) => tx.append(stream, expected, events)),
        readStream: (stream, query) => alone((tx) => tx.readStream(stream, query)),
        saveCheckpoint: (name, cursor, epoch) => alone((tx) => tx.saveCheckpoint(name, cursor, epoch)),
        saveSnapshot: (snapshot) => alone((tx) => tx.saveSnapshot(snapshot)),
        putTimer: (timer) => alone((tx) => tx.putTimer(timer)),
        cancelTimer: (id) => alone((tx) => tx.cancelTimer(id)),
        enter: (entry) => alone((tx) => tx.enter(entry)),
        enterMany: (entries) => alone((tx) => tx.enterMany(entries)),
        keepAnswer: (entry, answer) => alone((tx) => tx.keepAnswer(entry, answer)),
        write: (rows) => alone((tx) => tx.write(rows)),
        takeDue: (limit) => alone((tx) => tx.takeDue(limit)),
      }),
  }
}

/** Looks first and writes later, in another transaction, without looking again. */
export function checkThenAct(inner: Backend): Partial<Backend> {
  return {
    transact: async (work) => {
      const later: ((tx: Unit) => Promise<unknown>)[] = []
      const look = async <T>(statement: (tx: Unit) => Promise<T>): Promise<T> => {
        later.push(statement)
        const found: T[] = []
        const rollBack = inner.transact(async (tx) => {
          for (const one of later.slice(0, -1)) await one(tx)
          found.push(await statement(tx))
          throw new TrunklineError('bus.rejected', { reason: 'only looked' })
        })
        await rollBack.catch((error: unknown) => {
          if (found.length === 0) throw error
        })
        const [first] = found
        if (first === undefined) throw new Error('nothing was found')
        return first
      }
      const looking: Partial<Unit> = {
        readStream: (stream, query) => inner.log.read({ ...query, selection: { kind: 'stream', stream } }),
        append: (stream, expected, events) => look((tx) => tx.append(stream, expected, events)),
        enter: (entry) => look((tx) => tx.enter(entry)),
        putTimer: async (timer) => void later.push((tx) => tx.putTimer(timer)),
        takeDue: (limit) => look((tx) => tx.takeDue(limit)),
      }
      const result = await work(looking as Unit)
      await inner.transact(async (tx) => {
        for (const statement of later) await statement(tx)
      })
      return result
    },
  }
}
