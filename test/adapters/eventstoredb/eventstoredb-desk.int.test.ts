import { expect, test } from 'vitest'
import { EsdbDesk } from '../../../src/adapters/eventstoredb/eventstoredb-desk.ts'
import { keyOf, ops } from '../../../src/adapters/eventstoredb/eventstoredb-desk-state.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import type { StoreHost } from '../../../src/outbox/port.ts'
import { esdbDouble } from '../../esdb-double/esdb-double.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'
import { openLink } from './eventstoredb-rig.ts'

const host: StoreHost = { clock: systemClock, random: systemRandom, logger: silentLogger, service: 's', instance: 'i', isOwnTransport: false, report: () => {} }
const DIGEST = Buffer.alloc(32, 1)

async function work(desk: EsdbDesk, from: number, count: number): Promise<void> {
  for (let n = from; n < from + count; n++) {
    const entry = { group: 'g', source: '/s', id: `m-${n}`, digest: DIGEST }
    await desk.commit(() => [ops.enter(entry), ops.answer(entry, Buffer.from(`${n}`)), ops.row({ kind: 'event', shard: 0, message: fullWireMessage({ id: `m-${n}` }) })])
  }
  await desk.commit(() => [
    ops.timer({ id: `t-${from}`, due: { atMs: 5 }, kind: 'command', message: wireMessage(), recurrence: { cron: '* * * * *', timeZone: 'UTC' } }),
    ops.checkpoint('reader', BigInt(from)), ops.hold(['a'], 'me', 60_000, 1), ops.body(`b-${from}`),
    ops.snapshot({ stream: 'order-1', shape: 's:1', revision: BigInt(from), state: Buffer.from('{}') }),
  ])
}

test('a desk that was written down and forgotten is the same for who opens it, and for who was left behind', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  const [writer, behind] = [new EsdbDesk(rig.link, host, 'trunkline-x/desk'), new EsdbDesk(rig.link, host, 'trunkline-x/desk')]
  await writer.open()
  await behind.open()
  await work(writer, 1, 30)
  await writer.compact(1n)
  await work(writer, 100, 5)
  expect(double.log.eventsOf('trunkline-x/desk').length).toBeLessThan(10)
  const fresh = new EsdbDesk(rig.link, host, 'trunkline-x/desk')
  await fresh.open()
  await writer.refresh()
  await behind.refresh()
  expect(fresh.state.items()).toEqual(writer.state.items())
  expect(behind.state.items()).toEqual(writer.state.items())
  expect([fresh.state.marks.size, fresh.state.rows.size, fresh.state.timers.size]).toEqual([35, 35, 2])
  expect(fresh.state.marks.get(keyOf('g', '/s', 'm-7'))?.answer).toBe(Buffer.from('7').toString('base64'))
  for (const desk of [writer, behind, fresh]) desk.close()
})

test('an archive that was not finished counts for nothing', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  const writer = new EsdbDesk(rig.link, host, 'trunkline-x/desk')
  await writer.open()
  await work(writer, 1, 3)
  await writer.compact(1n)
  double.log.append('trunkline-x/desk-archive', 'any', [{ id: crypto.randomUUID(), type: '-desk-part', contentType: 'application/json', metadata: new Uint8Array(0), data: Buffer.from('{"id":"x","items":[["checkpoint","reader","99"]]}') }])
  const fresh = new EsdbDesk(rig.link, host, 'trunkline-x/desk')
  await fresh.open()
  expect(fresh.state.checkpoints.get('reader')).toBe(1n)
  for (const desk of [writer, fresh]) desk.close()
})
