import { expect, test } from 'vitest'
import { discovery } from '../../../src/discovery/index.ts'
import { rejection } from '../../bus/bus-rig.ts'
import { type RecordingNode, RecordRig } from './record-rig.ts'

/** Who was in which state. */
async function standing(rig: RecordRig, { directory }: RecordingNode, atMs: number): Promise<Readonly<Record<string, string>>> {
  const then = await rig.read(directory.at(atMs))
  return Object.fromEntries(then.all().map(({ instance, state }) => [instance, state]))
}

test('tells who was there at any time since the record began', async () => {
  await using rig = new RecordRig()
  const [shop, first, second] = [rig.node('shop', { instance: 'shop-0' }), rig.node('stock', { instance: 'stock-0', zone: 'eu-1' }), rig.node('stock', { instance: 'stock-1' })]
  await rig.start(shop)
  await rig.clock.advance(10_000)
  const alone = rig.clock.nowMs()
  await rig.clock.advance(1_000)
  await rig.start(first, second)
  await rig.clock.advance(10_000)
  const three = rig.clock.nowMs()
  await rig.clock.advance(1_000)
  await rig.stop(first)
  await second.die()
  await rig.clock.advance(40_000)
  const after = rig.clock.nowMs()
  await rig.clock.advance(5_000)

  expect(await standing(rig, shop, alone)).toEqual({ 'shop-0': 'up' })
  const then = await rig.read(shop.directory.at(new Date(three)))
  expect(then).toMatchObject({ atMs: three, isSure: true, reason: '' })
  expect(then.instances('stock').map(({ instance, zone, version }) => [instance, zone, version])).toEqual([['stock-0', 'eu-1', '1.2.0'], ['stock-1', undefined, '1.2.0']])
  expect(await standing(rig, shop, after)).toEqual({ 'shop-0': 'up', 'stock-0': 'stopped', 'stock-1': 'down' })
})

test('of many that may record, one writes, and each transition once', async () => {
  await using rig = new RecordRig()
  const nodes = ['a', 'b', 'c', 'd', 'e'].map((name) => rig.node('stock', { instance: name }))
  await rig.start(...nodes)
  await rig.clock.advance(20_000)
  const writers = async (): Promise<ReadonlySet<string>> => new Set((await rig.record()).map(({ recorder }) => recorder))
  expect((await writers()).size).toBe(1)
  const [writer] = await writers()
  const other = nodes.find(({ bus }) => bus.instance !== writer)
  if (other === undefined) throw new Error('one of five does not write')
  await other.die()
  await rig.clock.advance(40_000)
  const written = (await rig.record()).map(({ what }) => what)
  expect(written.filter((what) => what.endsWith(' down'))).toHaveLength(1)
  expect(new Set(written.filter((what) => what.endsWith(' up'))).size).toBe(written.filter((what) => what.endsWith(' up')).length)
  expect((await writers()).size).toBe(1)
})

test('another one goes on when the recorder stops, and when it is killed', async () => {
  await using rig = new RecordRig()
  const [watching, ...others] = ['shop-0', 'a', 'b'].map((name) => rig.node('stock', { instance: name }))
  if (watching === undefined) throw new Error('there are three')
  await rig.start(...others)
  await rig.clock.advance(5_000)
  await rig.start(watching)
  await rig.clock.advance(20_000)
  const writerNow = async (): Promise<RecordingNode | undefined> => {
    const last = (await rig.record()).at(-1)?.recorder
    return [watching, ...others].find(({ bus }) => bus.instance === last)
  }
  const one = await writerNow()
  if (one !== undefined) await rig.stop(one)
  await rig.clock.advance(20_000)
  const two = await writerNow()
  expect(two).not.toBe(one)
  await two?.die()
  await rig.clock.advance(60_000)
  const three = await writerNow()
  expect([one, two]).not.toContain(three)
  if (three === undefined) throw new Error('somebody records')
  const name = (node: RecordingNode | undefined): string => [watching, ...others].indexOf(node ?? watching) === 0 ? 'shop-0' : others[0] === node ? 'a' : 'b'
  await rig.clock.advance(1_000)
  expect(await standing(rig, three, rig.clock.nowMs())).toEqual({ [name(one)]: 'stopped', [name(two)]: 'down', [name(three)]: 'up' })
})

test('a recorder whose append hangs stands back when another one has taken over, and adds nothing', async () => {
  await using rig = new RecordRig()
  const slow = rig.node('stock', { instance: 'slow' })
  await rig.start(slow)
  await rig.clock.advance(5_000)
  const next = rig.node('shop', { instance: 'next' })
  await rig.start(next)
  await rig.clock.advance(20_000)
  slow.fault = 'hangs'
  next.directory.announce({ weight: 7 })
  await rig.clock.advance(120_000)
  slow.heal()
  await rig.clock.advance(60_000)
  const writers = (await rig.record()).map(({ recorder }) => recorder)
  // Once from one to the other, and never back.
  expect(writers.filter((writer, index) => writer !== writers[index - 1])).toEqual([slow.bus.instance, next.bus.instance])
  expect((await rig.read(next.directory.at(rig.clock.nowMs()))).instances('shop')[0]?.weight).toBe(7)
})

test.each(['refused', 'answer lost'] as const)('what happens while the store fails (%s) is recorded once, with the time at which it was seen', async (fault) => {
  await using rig = new RecordRig()
  const shop = rig.node('shop', { instance: 'shop-0' })
  await rig.start(shop)
  await rig.clock.advance(10_000)
  shop.fault = fault
  await rig.clock.advance(1_000)
  await rig.start(rig.node('stock', { instance: 'stock-0' }))
  await rig.clock.advance(1_000)
  const seenBy = rig.clock.nowMs()
  await rig.clock.advance(30_000)
  expect(shop.bus.health().reasons.some((reason) => reason.includes('the record cannot be reached'))).toBe(true)
  shop.fault = 'none'
  await rig.clock.advance(10_000)
  expect(shop.bus.health().reasons).toEqual([])
  expect(await standing(rig, shop, seenBy)).toEqual({ 'shop-0': 'up', 'stock-0': 'up' })
  const written = (await rig.record()).map(({ what }) => what)
  expect(written.filter((what) => what === 'stock-0 up')).toHaveLength(1)
  // What was stored already is recognised: nobody has to state everything anew.
  expect(written.filter((what) => what === 'directory-recorded')).toHaveLength(1)
})

test('a time at which nobody recorded is told from one at which nothing happened', async () => {
  await using rig = new RecordRig()
  const [shop, stock] = [rig.node('shop', { instance: 'shop-0' }), rig.node('stock', { instance: 'stock-0' })]
  await rig.start(shop, stock)
  await rig.clock.advance(600_000)
  const quiet = rig.clock.nowMs()
  await rig.clock.advance(60_000)
  expect(await rig.read(shop.directory.at(quiet))).toMatchObject({ isSure: true })
  await Promise.all([shop.die(), stock.die()])
  await rig.clock.advance(600_000)
  const nobody = rig.clock.nowMs()
  await rig.clock.advance(600_000)
  const late = rig.node('late', { instance: 'late-0' })
  await rig.start(late)
  await rig.clock.advance(200_000)
  expect(await rig.read(late.directory.at(nobody))).toMatchObject({ isSure: false, reason: expect.stringContaining('nobody recorded') })
  expect(await rig.read(late.directory.at(rig.clock.nowMs()))).toMatchObject({ isSure: true })
  expect(await standing(rig, late, rig.clock.nowMs())).toEqual({ 'late-0': 'up' })
})

test('finds a time among thousands of transitions', async () => {
  await using rig = new RecordRig()
  const shop = rig.node('shop', { instance: 'shop-0' })
  await rig.start(shop)
  await rig.clock.advance(5_000)
  const times: [number, number][] = []
  for (let weight = 0; weight < 1_000; weight++) {
    shop.directory.announce({ weight })
    await rig.clock.advance(50)
    if (weight % 97 === 0) times.push([rig.clock.nowMs(), weight])
    shop.directory.announce({ weight, tags: ['again'] })
    shop.directory.announce({ weight, tags: [] })
    await rig.clock.advance(50)
  }
  await rig.clock.advance(2_000)
  const found: [number, number][] = []
  for (const [atMs] of times) found.push([atMs, (await rig.read(shop.directory.at(atMs))).instances('shop')[0]?.weight ?? -1])
  expect(found).toEqual(times)
  const written = await rig.record()
  expect(written.length).toBeGreaterThan(1_500)
  expect(written.filter(({ what }) => what === 'directory-recorded').length).toBeGreaterThanOrEqual(2)
})

test('what is older than it is kept for is gone, and what is younger is whole', async () => {
  await using rig = new RecordRig()
  const shop = rig.node('shop', { instance: 'shop-0', beatMs: 60_000 }, { keptMs: 86_400_000 })
  await rig.start(shop)
  await rig.clock.advance(60_000)
  const early = rig.clock.nowMs()
  for (let hour = 0; hour < 40; hour++) await rig.clock.advance(3_600_000)
  expect(await rig.read(rejection(shop.directory.at(early)))).toMatchObject({ code: 'discovery.unrecorded' })
  expect(await standing(rig, shop, rig.clock.nowMs() - 12 * 3_600_000)).toEqual({ 'shop-0': 'up' })
})

test('refuses times that are none, times before the record, and a directory without one', async () => {
  await using rig = new RecordRig()
  const shop = rig.node('shop')
  const before = rig.clock.nowMs()
  await rig.clock.advance(60_000)
  await rig.start(shop)
  await rig.clock.advance(5_000)
  expect(await rig.read(rejection(shop.directory.at(before)))).toMatchObject({ code: 'discovery.unrecorded' })
  expect(await rejection(shop.directory.at(Number.NaN))).toMatchObject({ code: 'core.option_invalid' })
  expect(await rejection(discovery().at(0))).toMatchObject({ code: 'discovery.unrecorded', message: expect.stringContaining('this directory has no record') })
})

test('a record needs a store, and a directory that hears all', () => {
  const events = { append: () => Promise.reject(new Error()), read: async function *() {}, setMetadata: () => Promise.resolve() }
  const refused = (options: object): unknown => {
    try {
      return discovery(options)
    } catch (error) {
      return error
    }
  }
  expect(refused({ record: { events }, interest: ['stock'] })).toMatchObject({ code: 'core.option_invalid' })
  expect(refused({ record: {} })).toMatchObject({ code: 'core.option_invalid' })
  expect(refused({ record: { events, keptMs: 1 } })).toMatchObject({ code: 'core.option_invalid' })
  expect(refused({ record: { events, stream: 'nodash' } })).toMatchObject({ code: 'core.option_invalid' })
  expect(refused({ record: { events, kept: 1 } })).toMatchObject({ code: 'core.option_unknown' })
})
