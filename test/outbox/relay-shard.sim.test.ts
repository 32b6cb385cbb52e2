import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { seededRandom } from '../../src/core/random.ts'
import type { OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxTable } from '../../src/outbox/port.ts'
import { RelayShard } from '../../src/outbox/relay-shard.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { wireMessage } from '../adapters/wire-messages.ts'
import { Gate } from '../bus/bus-rig.ts'

/** One shard of an outbox whose lease can change hands, and a broker that does what a test says. */
class ShardRig {
  readonly clock = virtualClock()
  readonly rows = new Map<bigint, OutboxRow>()
  readonly dead: bigint[] = []
  /** What the broker has stored, oldest first, by whom. */
  readonly stored: { readonly by: string; readonly id: string }[] = []
  epoch = 1n
  /** Called before anything is removed. */
  beforeSettle: (outcome: OutboxOutcome) => void = () => undefined
  answer: (row: OutboxRow, by: string) => Promise<void> | undefined = () => undefined
  #ids = 0n

  readonly table: OutboxTable = {
    shards: 1,
    read: (_shard: number, { limit, after, withoutKeys }: OutboxReadOptions) => Promise.resolve(
      [...this.rows.values()].filter(({ id, message }) => id > (after ?? -1n) && (message.key === undefined || !withoutKeys.includes(message.key))).slice(0, limit),
    ),
    settle: (_shard, epoch, outcome) => {
      if (epoch !== this.epoch) return Promise.reject(new TrunklineError('store.lease_lost', { store: 'test', lease: 'outbox/0' }))
      try {
        this.beforeSettle(outcome)
      } catch (error) {
        return Promise.reject(error)
      }
      for (const id of outcome.published) this.rows.delete(id)
      for (const { id } of outcome.dead) if (this.rows.delete(id)) this.dead.push(id)
      return Promise.resolve()
    },
    waiting: () => Promise.resolve(this.rows.size > 0 ? [0] : []),
    stats: () => Promise.resolve({ waiting: this.rows.size, oldestAgeMs: 0, dead: this.dead.length }),
    dead: () => Promise.resolve([]),
    redrive: () => Promise.resolve(false),
    removeDead: () => Promise.resolve(false),
  }

  commit(id: string, key?: string, time = '2026-01-02T03:04:05.678Z'): void {
    const row: OutboxRow = { id: ++this.#ids, shard: 0, kind: 'event', message: wireMessage({ id, key, time }) }
    this.rows.set(row.id, row)
  }

  /** A relay that believes to hold the shard under `epoch` for as long as `holds` says so. */
  relay(by: string, epoch: bigint, holds: () => boolean = () => true): RelayShard {
    return new RelayShard({
      table: this.table, clock: this.clock, random: seededRandom(1), logger: silentLogger, service: 's', instance: by, pageMax: 256, publishTimeoutMs: 30_000, notBeforeMs: undefined,
      publish: (row) => {
        const answered = this.answer(row, by)
        if (answered === undefined) {
          this.stored.push({ by, id: row.message.id })
          return undefined
        }
        return answered.then(() => void this.stored.push({ by, id: row.message.id }))
      },
      canPublish: () => true,
      epochOf: () => (holds() ? epoch : undefined),
      lost: () => undefined,
      count: () => undefined,
    }, 0)
  }

  get ids(): readonly string[] {
    return this.stored.map(({ id }) => id)
  }
}

function refusal(id: string): TrunklineError {
  return new TrunklineError('bus.publish_refused', { type: 'tests.thing-happened', id, problem: 'not now' })
}

describe('a shard of the outbox', () => {
  test('keeps a row until the broker has confirmed it', async () => {
    const rig = new ShardRig()
    const confirm = new Gate()
    rig.answer = () => confirm.opened
    rig.commit('m1')
    rig.relay('a', 1n).wake()
    await rig.clock.advance(5_000)
    expect([rig.stored.length, rig.rows.size]).toEqual([0, 1])
    confirm.open()
    await rig.clock.advance(1_000)
    expect([rig.ids, rig.rows.size]).toEqual([['m1'], 0])
  })

  test('publishes a row that could not be removed again, with its id', async () => {
    const rig = new ShardRig()
    rig.beforeSettle = () => {
      throw new TrunklineError('store.down', { store: 'test', problem: 'gone' })
    }
    rig.commit('m1')
    const first = rig.relay('a', 1n)
    first.wake()
    await rig.clock.advance(50)
    // The process dies here: what it knew is gone, the row is not.
    const stopped = first.stop()
    await rig.clock.advance(60_000)
    await stopped
    rig.beforeSettle = () => undefined
    rig.epoch = 2n
    rig.relay('b', 2n).wake()
    await rig.clock.advance(1_000)
    expect(rig.stored).toEqual([{ by: 'a', id: 'm1' }, { by: 'b', id: 'm1' }])
    expect(rig.rows.size).toBe(0)
  })

  test('that has a message refused holds back the later ones of its key, and no other key', async () => {
    const rig = new ShardRig()
    let refusals = 0
    rig.answer = ({ message }) => (message.id === 'a1' && refusals++ < 3 ? Promise.reject(refusal('a1')) : undefined)
    for (const [id, key] of [['a1', 'a'], ['a2', 'a'], ['b1', 'b'], ['a3', 'a'], ['none', undefined]] as const) rig.commit(id, key)
    rig.relay('a', 1n).wake()
    await rig.clock.advance(50)
    expect(rig.ids).toEqual(['b1', 'none'])
    await rig.clock.advance(30_000)
    expect(rig.ids).toEqual(['b1', 'none', 'a1', 'a2', 'a3'])
    expect([refusals, rig.rows.size]).toEqual([4, 0])
  })

  test('sends the next message of a key after the confirm of the one before', async () => {
    const rig = new ShardRig()
    const asked: string[] = []
    const gates = new Map(['a1', 'a2', 'b1'].map((id) => [id, new Gate()]))
    rig.answer = ({ message }) => {
      asked.push(message.id)
      return gates.get(message.id)?.opened
    }
    rig.commit('a1', 'a')
    rig.commit('a2', 'a')
    rig.commit('b1', 'b')
    rig.relay('a', 1n).wake()
    await rig.clock.advance(10)
    expect(asked).toEqual(['a1', 'b1'])
    for (const gate of gates.values()) gate.open()
    await rig.clock.advance(1_000)
    expect(asked).toEqual(['a1', 'b1', 'a2'])
  })

  test('whose relay was paused and comes back late repeats messages, and never brings one before an earlier one of its key', async () => {
    const rig = new ShardRig()
    for (let index = 1; index <= 8; index++) rig.commit(`m${index}`, 'a')
    const paused = new Gate()
    // The first relay stops in the middle of a page, as a process does that gets SIGSTOP.
    rig.answer = ({ message }, by) => (by === 'old' && message.id === 'm4' ? paused.opened : undefined)
    const old = rig.relay('old', 1n)
    old.wake()
    await rig.clock.advance(100)
    expect(rig.ids).toEqual(['m1', 'm2', 'm3'])
    rig.epoch = 2n
    const slow = new Gate()
    rig.answer = ({ message }, by) => (by === 'old' && message.id === 'm4' ? paused.opened : by === 'new' && message.id === 'm6' ? slow.opened : undefined)
    const successor = rig.relay('new', 2n)
    successor.wake()
    await rig.clock.advance(100)
    rig.commit('m9', 'a')
    successor.wake()
    paused.open()
    await rig.clock.advance(1_000)
    slow.open()
    await rig.clock.advance(60_000)
    const firsts = rig.ids.filter((id, index) => rig.ids.indexOf(id) === index)
    expect(firsts).toEqual(['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9'])
    expect(rig.stored.filter(({ by }) => by === 'old').length).toBeGreaterThan(3)
    // Nothing of what the old one did after its time has removed a row that the new one had still to publish.
    expect(rig.stored.filter(({ by }) => by === 'new').map(({ id }) => id)).toEqual(['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9'])
  })
})
