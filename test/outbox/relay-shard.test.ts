import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { TrunklineError, silentLogger } from '../../src/index.ts'
import type { OutboxRow, OutboxTable } from '../../src/outbox/port.ts'
import { RelayShard, type ShardHost } from '../../src/outbox/relay-shard.ts'
import { virtualClock } from '../../src/testing/index.ts'

/** Looks at the host within one instant that can only be an endless loop: it would keep every timer and every socket waiting. */
const ENDLESS = 5_000

function row(id: bigint): OutboxRow {
  const message = { id: `m${id}`, type: 'test.moved', source: 'test', version: 1, time: '2026-01-01T00:00:00Z', contentType: 'application/json', body: new Uint8Array(2), key: 'a' }
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
  reads = 0
  isEndless = false
  #looks = 0
  #lookedAtMs = -1
  readonly shard: RelayShard

  constructor() {
    this.shard = new RelayShard(this.#host(), 0)
  }

  #host(): ShardHost {
    const down = (): Promise<never> => Promise.reject(new TrunklineError('store.down', { store: 'test', problem: 'not now' }))
    const read: OutboxTable['read'] = (_shard, { after, withoutKeys }) => {
      this.reads++
      if (this.isDatabaseDown) return down()
      return Promise.resolve(this.rows.filter(({ id, message }) => (after === undefined || id > after) && !withoutKeys.includes(message.key ?? '')))
    }
    const settle: OutboxTable['settle'] = (_shard, _epoch, { published }) => {
      if (this.isDatabaseDown) return down()
      this.rows.splice(0, this.rows.length, ...this.rows.filter(({ id }) => !published.includes(id)))
      return Promise.resolve()
    }
    return {
      // The shard uses these two of the table.
      table: { read, settle } as unknown as OutboxTable,
      clock: this.clock, random: seededRandom(1), logger: silentLogger, service: 'test', instance: 'one', pageMax: 16, publishTimeoutMs: 1_000, notBeforeMs: undefined,
      publish: ({ id }) => {
        if (this.publishes === 'nothing') return Promise.reject(new TrunklineError('bus.connection_lost', { adapter: 'test', problem: 'not now' }))
        this.published.push(id)
        return Promise.resolve()
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
