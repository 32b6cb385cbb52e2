import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { TrunklineError, silentLogger } from '../../src/index.ts'
import type { OutboxRow, OutboxTable } from '../../src/outbox/port.ts'
import { RelayShard, type ShardHost } from '../../src/outbox/relay-shard.ts'
import { virtualClock } from '../../src/testing/index.ts'

/** Looks at the host within one instant that can only be an endless loop: it would keep every timer and every socket waiting. */
const ENDLESS = 5_000

function row(id: bigint, key = 'a'): OutboxRow {
  const message = { id: `m${id}`, type: 'test.moved', source: 'test', version: 1, time: '2026-01-01T00:00:00Z', contentType: 'application/json', body: new Uint8Array(2), key }
  return { id, kind: 'event', shard: 0, message: message as unknown as OutboxRow['message'] }
}

class Rig {
  readonly clock = virtualClock()
  readonly rows: OutboxRow[] = []
  readonly published: bigint[] = []
  epoch: bigint | undefined = 1n
  canPublish = true
  isDatabaseDown = false
  publishes: 'all' | 'nothing' = 'all'
  /** What becomes of a row instead, where there is something. */
  outcome: (id: bigint) => Promise<void> | undefined = () => undefined
  /** Runs before a read is answered. */
  whileReading: () => Promise<void> | void = () => undefined
  reads = 0
  /** Added to the time that the shard is told. */
  skewMs = 0
  isEndless = false
  #looks = 0
  #lookedAtMs = -1
  readonly shard: RelayShard

  constructor() {
    this.shard = new RelayShard(this.#host(), 0)
  }

  #host(): ShardHost {
    const down = (): Promise<never> => Promise.reject(new TrunklineError('store.down', { store: 'test', problem: 'not now' }))
    const read: OutboxTable['read'] = async (_shard, { after, limit, withoutKeys }) => {
      this.reads++
      if (this.isDatabaseDown) return await down()
      const page = this.rows.filter(({ id, message }) => (after === undefined || id > after) && !withoutKeys.includes(message.key ?? '')).slice(0, limit)
      await this.whileReading()
      return page
    }
    const settle: OutboxTable['settle'] = (_shard, _epoch, { published }) => {
      if (this.isDatabaseDown) return down()
      this.rows.splice(0, this.rows.length, ...this.rows.filter(({ id }) => !published.includes(id)))
      return Promise.resolve()
    }
    return {
      // The shard uses these two of the table.
      table: { read, settle } as unknown as OutboxTable,
      clock: {
        nowMs: () => this.clock.nowMs(), monotonicMs: () => this.clock.monotonicMs() + this.skewMs,
        setTimer: (delayMs, callback) => this.clock.setTimer(delayMs, callback), defer: (callback) => this.clock.defer(callback),
      },
      random: seededRandom(1), logger: silentLogger, service: 'test', instance: 'one', pageMax: 16, publishTimeoutMs: 1_000, notBeforeMs: undefined,
      publish: ({ id }) => {
        if (this.publishes === 'nothing') return Promise.reject(new TrunklineError('bus.connection_lost', { adapter: 'test', problem: 'not now' }))
        const outcome = this.outcome(id) ?? Promise.resolve()
        return outcome.then(() => void this.published.push(id))
      },
      canPublish: () => {
        this.#look()
        return this.canPublish
      },
      epochOf: () => {
        this.#look()
        return this.epoch
      },
      lost: () => undefined,
      count: () => undefined,
    }
  }

  /** Ends what would never end, and lets the test say so. */
  #look(): void {
    const nowMs = this.clock.monotonicMs()
    this.#looks = nowMs === this.#lookedAtMs ? this.#looks + 1 : 0
    this.#lookedAtMs = nowMs
    if (this.#looks < ENDLESS) return
    this.isEndless = true
    void this.shard.stop()
  }
}

test('a shard whose lease ends while the database is down stands still until it is held again', async () => {
  const rig = new Rig()
  rig.rows.push(row(1n))
  rig.isDatabaseDown = true
  rig.shard.wake()
  await rig.clock.advance(50)
  rig.epoch = undefined
  await rig.clock.advance(60_000)
  expect(rig).toMatchObject({ isEndless: false, published: [] })
  rig.isDatabaseDown = false
  rig.epoch = 2n
  rig.shard.wake()
  await rig.clock.advance(1_000)
  expect(rig).toMatchObject({ isEndless: false, published: [1n], rows: [] })
  await rig.shard.stop()
})

test('a key that waits while the link to the broker is down lets time pass, and goes out when the link is back', async () => {
  const rig = new Rig()
  rig.rows.push(row(1n))
  rig.publishes = 'nothing'
  rig.shard.wake()
  await rig.clock.advance(1_000)
  rig.canPublish = false
  await rig.clock.advance(60_000)
  expect(rig).toMatchObject({ isEndless: false, published: [] })
  rig.publishes = 'all'
  rig.canPublish = true
  await rig.clock.advance(10_000)
  expect(rig).toMatchObject({ isEndless: false, published: [1n], rows: [] })
  await rig.shard.stop()
})

/** Ids by their key, in the order in which they were published. */
function orderOf(rig: Rig, key: (id: bigint) => string): Readonly<Record<string, readonly bigint[]>> {
  return Object.fromEntries(Object.entries(Object.groupBy(rig.published, key)).map(([name, ids]) => [name, ids ?? []]))
}

const refused = (): Promise<void> => Promise.reject(new TrunklineError('bus.connection_lost', { adapter: 'test', problem: 'not now' }))

test('what comes after a message that was refused waits for the next look from the beginning, however soon that message may be tried again', async () => {
  const rig = new Rig()
  // Pages of 16 rows: those of the key stand on the first one and on the second.
  rig.rows.push(row(1n), ...Array.from({ length: 19 }, (_, index) => row(BigInt(index + 2), `other-${index}`)), row(21n), row(22n))
  let refusals = 0
  rig.outcome = (id) => (id === 1n && refusals++ === 0 ? refused() : undefined)
  // By the time that the second page is there, the wait of the key is over.
  rig.whileReading = async () => {
    if (rig.reads === 2) await new Promise<void>((resolve) => rig.clock.setTimer(5_000, resolve))
  }
  rig.shard.wake()
  await rig.clock.advance(60_000)
  expect(orderOf(rig, (id) => (id === 1n || id > 20n ? 'a' : 'others'))['a']).toEqual([1n, 21n, 22n])
  await rig.shard.stop()
})

test('a key whose wait ends between two of its rows on a page waits for the next look', async () => {
  const rig = new Rig()
  rig.rows.push(row(1n), row(2n, 'b'), row(3n))
  const first = Promise.withResolvers<void>()
  let tries = 0
  rig.outcome = (id) => {
    if (id === 1n && tries++ === 0) return first.promise
    // Handing one row over takes long, as it can where a page is large.
    if (id === 4n) rig.skewMs += 5_000
    return undefined
  }
  rig.shard.wake()
  await rig.clock.advance(300)
  rig.rows.splice(1, 0, row(4n, 'c'))
  // While the page is on its way, the row that everything waits for is refused.
  rig.whileReading = async () => {
    rig.whileReading = () => undefined
    first.reject(new TrunklineError('bus.connection_lost', { adapter: 'test', problem: 'not now' }))
    await new Promise<void>((resolve) => rig.clock.setTimer(1, resolve))
  }
  rig.shard.wake()
  await rig.clock.advance(60_000)
  expect(orderOf(rig, (id) => (id === 1n || id === 3n ? 'a' : 'others'))['a']).toEqual([1n, 3n])
  await rig.shard.stop()
})

test('a key that waits, and whose row another relay has published, is forgotten', async () => {
  const rig = new Rig()
  rig.rows.push(row(1n))
  rig.publishes = 'nothing'
  rig.shard.wake()
  await rig.clock.advance(1_000)
  rig.rows.splice(0)
  await rig.clock.advance(60_000)
  expect(rig.isEndless).toBe(false)
  const { reads } = rig
  await rig.clock.advance(60_000)
  expect(rig.reads).toBe(reads)
  await rig.shard.stop()
})
