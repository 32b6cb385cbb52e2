import { type MsgHdrs, type NatsConnection, connect, headers } from 'nats'
import type { Pool } from 'pg'
import { PgBoss } from 'pg-boss'
import { nats } from '../src/adapters/nats/index.ts'
import { postgres } from '../src/adapters/postgres/index.ts'
import { createBus } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import { type Case, Counter, type Ratio, type Result, measure } from './measure.ts'
import { BACKLOG, type HandRow, drained, drainedByHand, stageBacklog } from './outbox-backlog.ts'
import { benchDatabase, plainPool } from './outbox-database.ts'
import { order } from './payload.ts'

const JOBS_A_CALL = 500

/** How fast a relay empties an outbox into JetStream with message ids, beside one written by hand and pg-boss, which has no broker to publish to. */
export async function relayNatsSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const [database, broker] = await Promise.all([benchDatabase(), natsServer()])
  await broker.start()
  const pool = plainPool(database.url)
  await stageBacklog(database.url, pool)
  const ours = await openOurs(database.url, broker.url, pool)
  const hand = await openHand(broker.url, pool)
  const boss = await openBoss(database.url)
  const results = await measure([...ours.cases, ...hand.cases, ...boss.cases], rounds, progress)
  await Promise.all([ours.close(), hand.close(), boss.close()])
  await pool.end()
  await Promise.all([database.close(), broker.close()])
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const ratio = (name: string, ourCase: string, peerCase: string, bound: number): Ratio => ({ name, value: rate(ourCase) / rate(peerCase), bound, kind: 'at least' })
  return {
    results,
    ratios: [
      ratio('relay into JetStream ÷ relay by hand', 'trunkline: relay, no keys', 'by hand: claim 500, publish, delete', 0.8),
      ratio('relay into JetStream, order by key ÷ relay by hand', 'trunkline: relay, keyed', 'by hand: claim 500, publish, delete', 0.8),
      ratio('relay into JetStream ÷ pg-boss', 'trunkline: relay, no keys', 'pg-boss: process, batch 500, 4 workers', 1.3),
    ],
  }
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

async function openOurs(databaseUrl: string, brokerUrl: string, pool: Pool): Promise<Opened> {
  const store = postgres({ connectionString: databaseUrl })
  const bus = createBus({ service: { name: 'bench' }, transport: nats({ servers: brokerUrl }), outbox: store.outbox })
  await bus.start()
  return {
    cases: [
      { name: 'trunkline: relay, no keys', run: () => drained(pool, 'plain') },
      { name: 'trunkline: relay, keyed', run: () => drained(pool, 'keyed') },
    ],
    close: () => bus.stop(),
  }
}

/** One inbox for all confirms, as fast as the client can be used. */
class HandPublisher {
  readonly #connection: NatsConnection
  readonly #waiting = new Map<string, () => void>()
  readonly #inbox = '_INBOX.hand'
  #count = 0

  constructor(connection: NatsConnection) {
    this.#connection = connection
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => {
        const confirm = JSON.parse(message.string()) as { readonly seq?: number }
        if (confirm.seq === undefined) throw new Error(message.string())
        this.#waiting.get(message.subject)?.()
        this.#waiting.delete(message.subject)
      },
    })
  }

  publish(subject: string, body: Uint8Array, with_: MsgHdrs): Promise<void> {
    return new Promise((resolve) => {
      const reply = `${this.#inbox}.${(++this.#count).toString(36)}`
      this.#waiting.set(reply, resolve)
      this.#connection.publish(subject, body, { reply, headers: with_ })
    })
  }
}

async function openHand(url: string, pool: Pool): Promise<Opened> {
  const connection = await connect({ servers: url })
  const manager = await connection.jetstreamManager()
  await manager.streams.add({ name: 'HAND', subjects: ['hand.>'], duplicate_window: 120e9 })
  const publisher = new HandPublisher(connection)
  /** The same headers that the library puts on the wire. */
  const whole = ({ message_id, attributes, body }: HandRow): Promise<void> => {
    const [, source, type, version, time] = JSON.parse(attributes) as readonly unknown[]
    const set = headers()
    set.set('Nats-Msg-Id', `${String(source)}#${message_id}`)
    for (const [name, value] of [['ce-specversion', '1.0'], ['ce-id', message_id], ['ce-source', source], ['ce-type', type], ['ce-time', time], ['ce-dataversion', version]] as const) set.set(name, String(value))
    return publisher.publish('hand.orders', body, set)
  }
  const bare = ({ message_id, body }: HandRow): Promise<void> => {
    const set = headers()
    set.set('Nats-Msg-Id', message_id)
    return publisher.publish('hand.orders', body, set)
  }
  const emptied = (publish: (row: HandRow) => Promise<void>): ReturnType<typeof drainedByHand> => drainedByHand(pool, (rows) => Promise.all(rows.map(publish)))
  return {
    cases: [
      { name: 'by hand: claim 500, publish, delete', run: () => emptied(whole) },
      { name: 'by hand: the same with no header but the id', run: () => emptied(bare) },
    ],
    close: () => connection.close(),
  }
}

async function openBoss(url: string): Promise<Opened> {
  const boss = new PgBoss({ connectionString: url, schema: 'boss' })
  boss.on('error', () => undefined)
  await boss.start()
  await boss.createQueue('drained')
  const jobs = Array.from({ length: JOBS_A_CALL }, () => ({ data: order }))
  return {
    cases: [
      {
        name: 'pg-boss: process, batch 500, 4 workers',
        run: async () => {
          for (let at = 0; at < BACKLOG; at += JOBS_A_CALL) await boss.insert('drained', jobs)
          const counter = new Counter()
          const handled = counter.expect(BACKLOG)
          const startedMs = performance.now()
          await boss.work('drained', { batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }, async (batch) => {
            for (const _job of batch) counter.tick()
          })
          await handled
          const perSecond = (BACKLOG / (performance.now() - startedMs)) * 1_000
          await boss.offWork('drained')
          await boss.deleteAllJobs('drained')
          return { perSecond }
        },
      },
    ],
    close: () => boss.stop({ graceful: false }),
  }
}
