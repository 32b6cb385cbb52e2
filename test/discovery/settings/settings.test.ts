import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { memoryDatabase, memoryStore } from '../../../src/adapters/memory/index.ts'
import { type Bus, policyRule, replaceable, resilience, timeout } from '../../../src/index.ts'
import { type Setting, type Settings, type SettingsOptions, setting, settings } from '../../../src/discovery/index.ts'
import { BusRig, Quote, rejection } from '../../bus/bus-rig.ts'

const Policy = setting('pricing.policy', { schema: z.object({ marginPct: z.number().min(0).max(90), note: z.string().default('') }), default: { marginPct: 20 } })
const Limits = setting('pricing.limits', { schema: z.object({ permitsPerSecond: z.number().positive() }), default: { permitsPerSecond: 100 } })

/** Services with settings on one broker, and for those that want it on one database. */
class SettingsRig extends BusRig {
  readonly database = memoryDatabase()

  async start(options: Partial<SettingsOptions> & { readonly service?: string; readonly version?: string; readonly stored?: boolean } = {}): Promise<{ readonly bus: Bus; readonly settings: Settings }> {
    const { service = 'shop', version = '1.0.0', stored = true, ...rest } = options
    const store = memoryStore({ database: this.database })
    const one = settings({ settings: [Policy, Limits], ...(stored ? { events: store.events } : {}), ...rest })
    const bus = this.bus({ service: { name: service, version }, settings: one, ...(stored ? { outbox: store.outbox } : {}) })
    const started = bus.start()
    await this.clock.advance(10_000)
    await started
    return { bus, settings: one }
  }

  async set<T, I>(by: Settings, what: Setting<T, I>, value: I, more: object = {}): Promise<number> {
    const done = by.set(what, value, more)
    await this.clock.settle()
    const revision = await done
    await this.clock.settle()
    return revision
  }
}

describe('settings on a store', () => {
  test('are defaults at first, and what is set holds everywhere at once and for who comes later', async () => {
    await using rig = new SettingsRig()
    const [one, two] = [await rig.start(), await rig.start({ service: 'billing' })]
    const seen: unknown[] = []
    const unwatch = two.settings.watch(Policy, (value, before) => seen.push([value, before]))
    expect(one.settings.get(Policy)).toEqual({ marginPct: 20, note: '' })
    expect(await rig.set(one.settings, Policy, { marginPct: 35 })).toBe(0)
    expect([one.settings.get(Policy), two.settings.get(Policy)]).toEqual([{ marginPct: 35, note: '' }, { marginPct: 35, note: '' }])
    await rig.set(one.settings, Policy, { marginPct: 35 })
    const late = await rig.start({ service: 'late' })
    expect(late.settings.get(Policy).marginPct).toBe(35)
    unwatch()
    await rig.set(two.settings, Policy, { marginPct: 40 })
    expect([one.settings.get(Policy).marginPct, late.settings.get(Policy).marginPct]).toEqual([40, 40])
    expect(seen).toEqual([[{ marginPct: 20, note: '' }, undefined], [{ marginPct: 35, note: '' }, { marginPct: 20, note: '' }]])
  })

  test('hold for the most exact scope that fits, and fall back when one is taken back', async () => {
    await using rig = new SettingsRig()
    const [one, other] = [await rig.start({ zone: 'eu', version: '2.0.0' }), await rig.start({ service: 'billing' })]
    const both = (): readonly number[] => [one.settings.get(Policy).marginPct, other.settings.get(Policy).marginPct]
    const scopes = [{}, { service: 'shop' }, { zone: 'eu' }, { service: 'shop', zone: 'eu' }, { service: 'shop', version: '2.0.0' }, { instance: one.bus.instance }]
    for (const [at, scope] of scopes.entries()) {
      await rig.set(other.settings, Policy, { marginPct: at + 1 }, { scope })
      expect(both()).toEqual([at + 1, 1])
    }
    for (const [at, scope] of [...scopes.entries()].toReversed().slice(0, 5)) {
      const cleared = other.settings.clear(Policy, { scope })
      await rig.clock.settle()
      await cleared
      await rig.clock.settle()
      expect(both()).toEqual([at, 1])
    }
  })

  test('are refused where they do not fit, or somebody else was first; nothing is stored then', async () => {
    await using rig = new SettingsRig()
    const { settings: one } = await rig.start()
    expect(await rejection(one.set(Policy, { marginPct: 95 }))).toMatchObject({ code: 'discovery.setting_invalid', details: { setting: 'pricing.policy', problem: expect.stringContaining('marginPct') } })
    await rig.set(one, Policy, { marginPct: 30 })
    const late = rejection(one.set(Policy, { marginPct: 31 }, { expectedRevision: 3 }))
    await rig.clock.settle()
    expect(await late).toMatchObject({ code: 'store.wrong_revision' })
    expect(await rig.set(one, Policy, { marginPct: 31 }, { expectedRevision: 0 })).toBe(1)
    const history = one.history(Policy)
    await rig.clock.settle()
    expect((await history).map(({ revision, value }) => [revision, value])).toEqual([[1, { marginPct: 31 }], [0, { marginPct: 30 }]])
    const Other = setting('pricing.other', { schema: z.number(), default: 1 })
    expect(() => one.get(Other)).toThrow(expect.objectContaining({ code: 'discovery.setting_unknown' }))
    // As a caller without types gives it.
    expect(await rejection(one.set(Policy, { marginPct: 1 }, { scopes: {} } as never))).toMatchObject({ code: 'core.option_unknown' })
    expect(await rejection(one.set(Policy, { marginPct: 1 }, { scope: { version: '1' } }))).toMatchObject({ code: 'core.option_invalid' })
  })

  test('keep who changed them and why, and go back to what a scope had as of a revision', async () => {
    await using rig = new SettingsRig()
    const { settings: one } = await rig.start()
    await rig.set(one, Policy, { marginPct: 30 }, { by: 'ada', reason: 'season' })
    await rig.set(one, Policy, { marginPct: 50 }, { scope: { zone: 'us' } })
    await rig.set(one, Policy, { marginPct: 60 })
    const back = one.rollback(Policy, 1)
    await rig.clock.settle()
    expect([await back, one.get(Policy).marginPct]).toEqual([3, 30])
    const gone = one.rollback(Policy, 0, { scope: { zone: 'us' } })
    await rig.clock.settle()
    expect(await gone).toBe(4)
    const history = one.history(Policy, 5)
    await rig.clock.settle()
    expect(await history).toMatchObject([
      { revision: 4, scope: { zone: 'us' }, isCleared: true, reason: 'back to revision 0' }, { revision: 3, value: { marginPct: 30 }, reason: 'back to revision 1' },
      { revision: 2 }, { revision: 1 }, { revision: 0, by: 'ada', reason: 'season', atMs: expect.any(Number) },
    ])
    for (const revision of [9, -1, 0.5]) {
      const missing = rejection(one.rollback(Policy, revision))
      await rig.clock.settle()
      expect(await missing).toMatchObject({ code: 'discovery.setting_revision_missing' })
    }
  })

  test('that this program cannot use leave what held before, and its health says so', async () => {
    await using rig = new SettingsRig()
    const Newer = setting('pricing.policy', { schema: z.object({ marginPct: z.number() }), default: { marginPct: 20 } })
    const old = await rig.start()
    const newer = await rig.start({ settings: [Newer], service: 'newer' })
    await rig.set(newer.settings, Newer, { marginPct: 50 })
    await rig.set(newer.settings, Newer, { marginPct: 200 })
    expect([old.settings.get(Policy).marginPct, newer.settings.get(Newer).marginPct]).toEqual([50, 200])
    expect(old.bus.health()).toMatchObject({ state: 'degraded', reasons: [expect.stringContaining('pricing.policy')] })
    await rig.set(newer.settings, Newer, { marginPct: 60 })
    expect([old.settings.get(Policy).marginPct, old.bus.health().state]).toEqual([60, 'up'])
  })

  test('are looked up again where a broadcast was lost', async () => {
    await using rig = new SettingsRig()
    const one = await rig.start({ refreshMs: 5_000 })
    const silent = memoryStore({ database: rig.database })
    const setter = settings({ settings: [Policy], events: silent.events })
    // On a broker of its own: nobody hears it.
    await using apart = new BusRig()
    const bus = apart.bus({ outbox: silent.outbox, settings: setter })
    await bus.start()
    await setter.set(Policy, { marginPct: 70 })
    await rig.clock.advance(4_000)
    expect(one.settings.get(Policy).marginPct).toBe(20)
    await rig.clock.advance(2_000)
    expect(one.settings.get(Policy).marginPct).toBe(70)
  })
})

describe('settings without a store', () => {
  test('come from a peer for who joins, and by broadcast from then on; they cannot be set there', async () => {
    await using rig = new SettingsRig()
    const keeper = await rig.start()
    await rig.set(keeper.settings, Policy, { marginPct: 33 })
    const follower = await rig.start({ service: 'edge', stored: false })
    expect(follower.settings.get(Policy).marginPct).toBe(33)
    await rig.set(keeper.settings, Policy, { marginPct: 34 })
    expect(follower.settings.get(Policy).marginPct).toBe(34)
    expect(await rejection(follower.settings.set(Policy, { marginPct: 1 }))).toMatchObject({ code: 'discovery.settings_unstored' })
    // Who knows it from somebody else can tell it, too.
    const stopped = keeper.bus.stop()
    await rig.clock.advance(20_000)
    await stopped
    const second = await rig.start({ service: 'edge-two', stored: false })
    expect(second.settings.get(Policy).marginPct).toBe(34)
  })

  test('are defaults where nobody is there to ask', async () => {
    await using rig = new SettingsRig()
    const alone = await rig.start({ stored: false })
    expect([alone.settings.get(Policy).marginPct, alone.bus.state, alone.bus.health().state]).toEqual([20, 'running', 'up'])
  })
})

test('limits and policies of the library follow settings while the bus runs', async () => {
  await using rig = new SettingsRig()
  const Wait = setting('shop.quote-wait', { schema: z.object({ timeoutMs: z.int().min(1) }), default: { timeoutMs: 500 } })
  const store = memoryStore({ database: rig.database })
  const one = settings({ settings: [Wait, Limits], events: store.events })
  const quoting = replaceable(timeout(500))
  const guard = resilience({ asks: [policyRule(Quote, quoting)], provider: {} })
  const bus = rig.bus({ outbox: store.outbox, settings: one, resilience: guard })
  bus.answer(Quote, () => new Promise(() => {}))
  one.watch(Wait, ({ timeoutMs }) => quoting.replace(timeout(timeoutMs)))
  one.watch(Limits, ({ permitsPerSecond }) => guard.limit({ perCaller: { permitsPerSecond, burstMax: 1 } }))
  await bus.start()
  await rig.set(one, Wait, { timeoutMs: 50 })
  const asked = rejection(bus.ask(Quote, { sku: 'a' }))
  await rig.clock.advance(60)
  expect(await asked).toMatchObject({ code: 'resilience.timeout', details: { timeoutMs: 50 } })
  await rig.set(one, Limits, { permitsPerSecond: 1 })
  const codes = [rejection(bus.ask(Quote, { sku: 'a' })), rejection(bus.ask(Quote, { sku: 'a' }))]
  await rig.clock.advance(60)
  expect(await Promise.all(codes)).toMatchObject([{ code: 'resilience.timeout' }, { code: 'bus.callee_overloaded' }])
})

test('a watcher that throws disturbs nobody, and options that mean nothing are refused', async () => {
  await using rig = new SettingsRig()
  const { settings: one } = await rig.start()
  one.watch(Policy, () => {
    throw new Error('mine')
  })
  const seen: number[] = []
  one.watch(Policy, ({ marginPct }) => seen.push(marginPct))
  await rig.set(one, Policy, { marginPct: 1 })
  expect(seen).toEqual([20, 1])
  // As callers without types give them.
  expect(() => settings({ setting: [] } as never)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
  expect(() => settings({ settings: [Policy, Policy] })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => settings({ settings: [], refreshMs: 1 })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => rig.bus({ settings: one })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => setting('pricing', { schema: z.number(), default: 1 })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => setting('pricing.x', { schema: z.number(), default: 'one' as never })).toThrow(expect.objectContaining({ code: 'discovery.setting_invalid' }))
  expect(() => setting('pricing.x', { schema: 5 as never, default: 1 as never })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
