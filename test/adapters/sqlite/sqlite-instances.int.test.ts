import { afterEach, beforeEach, expect, test } from 'vitest'
import { SqliteConnection, configure } from '../../../src/adapters/sqlite/sqlite-connection.ts'
import { SqliteInstances } from '../../../src/adapters/sqlite/sqlite-instances.ts'
import { migrate, transportSteps } from '../../../src/adapters/sqlite/sqlite-schema.ts'
import { SqliteTurn } from '../../../src/adapters/sqlite/sqlite-turn.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

const short = { leaseMs: 1_000, pollMs: 250 } as const

/** A host whose wall clock can be set. */
class JumpingHost extends TestHost {
  aheadMs = 0
  override readonly clock: Clock = { ...systemClock, nowMs: () => Date.now() + this.aheadMs }
}

test('an instance that hangs loses its deliveries after its lease, and its late outcomes change nothing', async () => {
  const transport = await place.transport(short)
  await (await transport.subscribe(group(), () => {})).close()
  const hanging = place.child('work')
  await hanging.says('ready')
  hanging.signal('SIGSTOP')
  // The stopped process still owns its row; what it holds is put there as if it had claimed it before.
  await publish(transport, event({ id: 'held' }))
  const owner = place.count(`SELECT id FROM trunkline_instance WHERE pid = ${hanging.pid}`)
  place.database().exec(`UPDATE trunkline_delivery SET state = 1, owner = ${owner}`)
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  const again = await inbox.next()
  expect([again.message.id, again.isSuspect]).toStrictEqual(['held', true])
  await again.ack()
  hanging.signal('SIGCONT')
  // It notices that it was put out and comes back under a new id, as a member of its group.
  await until(() => place.count(`SELECT count(*) FROM trunkline_instance WHERE pid = ${hanging.pid} AND id <> ${owner}`) === 1, 'the return')
  expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(2)
})

test('an instance that was put out while it lives works on under a new id', async () => {
  const transport = await place.transport(short)
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  await publish(transport, event({ id: 'first' }))
  const lost = await inbox.next()
  const database = place.database()
  // What a peer does that has not heard a heartbeat for a lease.
  database.exec('DELETE FROM trunkline_instance; UPDATE trunkline_delivery SET state = 0, owner = NULL, suspect = 1')
  const again = await inbox.next()
  expect([again.message.id, again.isSuspect]).toStrictEqual(['first', true])
  await lost.ack()
  expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 1')).toBe(1)
  await again.ack()
  expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(0)
})

test('a jump of the wall clock takes no lease from the living', async () => {
  const host = new JumpingHost()
  // Heartbeats are far apart, so that none comes in time to excuse the silence that a jump would make.
  const rare = { leaseMs: 60_000, pollMs: 250 } as const
  const watching = await place.transport(rare, host)
  const holding = await place.transport(rare)
  const inbox = new Inbox()
  await holding.subscribe(group(), inbox.sink)
  await publish(holding, event())
  const held = await inbox.next()
  host.aheadMs = 86_400_000
  const other = new Inbox()
  await watching.subscribe(group({ group: 'tests.other' }), other.sink)
  // Two pulses of the watching instance, seen by what they do: a delayed delivery comes back.
  await publish(watching, event())
  await (await other.next()).retry(600)
  await other.next()
  expect(place.count('SELECT count(*) FROM trunkline_instance')).toBe(2)
  expect(inbox.all.filter((each) => each.isSuspect)).toHaveLength(0)
  await held.ack()
  expect(place.count('SELECT min(seq) FROM trunkline_delivery')).toBe(2)
})

test('a lock that keeps everybody from giving a sign of life takes no lease', async () => {
  const watching = await place.transport(short)
  const holding = await place.transport(short)
  const inbox = new Inbox()
  await holding.subscribe(group(), inbox.sink)
  await publish(holding, event())
  const held = await inbox.next()
  const ids = (): number => place.count('SELECT sum(id) FROM trunkline_instance')
  const before = ids()
  const locker = place.child('lock')
  await locker.says('ready')
  locker.tell('3000')
  await locker.says('unlocked')
  await publish(watching, event())
  await inbox.next()
  expect(ids()).toBe(before)
  await held.ack()
  expect(place.count('SELECT min(seq) FROM trunkline_delivery')).toBe(2)
})

test('after such a lock everybody has the whole lease again to give a sign of life', () => {
  let nowMs = 0
  const connection = new SqliteConnection(place.database())
  configure(connection, 'full', false)
  migrate(connection, 'transport', transportSteps)
  const host = { clock: { ...systemClock, monotonicMs: () => nowMs }, random: systemRandom, logger: silentLogger }
  const [watching, silent] = [new SqliteInstances(host, 1_000), new SqliteInstances(host, 1_000)]
  const beat = (instance: SqliteInstances): void => {
    connection.transaction(() => instance.ensure(new SqliteTurn(connection)))
    instance.confirm()
  }
  const pulses = (count: number, isWriting: boolean): number => {
    let gone = 0
    for (let pulse = 0; pulse < count; pulse++, nowMs += 250) {
      if (isWriting) beat(watching)
      gone += watching.watch(connection, 250).length
    }
    return gone
  }
  for (const instance of [watching, silent]) beat(instance)
  expect(pulses(12, false)).toBe(0)
  // The lock is gone, and this instance is the first to write.
  expect(pulses(3, true)).toBe(0)
  // Who is silent from here on is put out all the same.
  expect(pulses(5, true)).toBeGreaterThan(0)
})

test('a wall clock that goes back does not hold a retry for the hours that come twice', async () => {
  const host = new JumpingHost()
  const transport = await place.transport(short, host)
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  await publish(transport, event())
  await (await inbox.next()).retry(800)
  host.aheadMs = -3_600_000
  expect((await inbox.next(10_000)).attempt).toBe(2)
})

test('rows of a dead process leave nothing behind', async () => {
  const transport = await place.transport()
  await (await transport.subscribe(group(), () => {})).close()
  const victim = place.child('answer')
  await victim.says('ready')
  expect(place.count('SELECT count(*) FROM trunkline_listener')).toBe(2)
  await victim.kill()
  await publish(transport, event())
  await until(() => place.count('SELECT (SELECT count(*) FROM trunkline_listener) + (SELECT count(*) FROM trunkline_light) + (SELECT count(*) FROM trunkline_instance)') === 1)
  expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(0)
})
