import { describe, expect, test } from 'vitest'
import type { Outbound, PublishSignal, TransportHost } from '../../src/bus/port.ts'
import { RuntimeTransport, translated } from '../../src/bus/runtime-transport.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { PUBLISH_PENDING_MAX } from '../../src/core/limits.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'
import { Gate, rejection } from './bus-rig.ts'
import { FakeTransport, wireMessage } from './fake-transport.ts'

const outbound: Outbound = { kind: 'event', message: wireMessage() }

class Rig {
  readonly clock: VirtualClock = virtualClock()
  readonly inner = new FakeTransport()
  readonly states: string[] = []
  readonly transport = new RuntimeTransport(this.inner, this.clock, { stateChanged: (_transport, state, reason) => this.states.push(`${state} ${reason}`) })

  open(): Promise<void> {
    const host: Omit<TransportHost, 'report'> = { clock: this.clock, random: seededRandom(1), logger: silentLogger, service: 'shop', instance: 'i' }
    return this.transport.open(host)
  }
}

const never = (): Promise<void> => new Promise(() => {})

describe('opening and closing', () => {
  test('is up after opening even where the adapter said nothing', async () => {
    const rig = new Rig()
    expect(rig.transport.state).toEqual({ state: 'down', reason: 'not connected yet' })
    await rig.open()
    expect(rig.transport.state).toEqual({ state: 'up', reason: '' })
    expect(rig.states).toEqual(['up '])
  })

  test('hands on each change of the link once, and none after closing', async () => {
    const rig = new Rig()
    await rig.open()
    for (const [state, reason] of [['up', ''], ['down', 'gone'], ['down', 'gone'], ['down', 'refused'], ['degraded', 'slow'], ['up', '']] as const) rig.inner.host?.report(state, reason)
    expect(rig.states).toEqual(['up ', 'down gone', 'down refused', 'degraded slow', 'up '])
    await rig.transport.close()
    rig.inner.host?.report('down', 'closed')
    expect(rig.states).toHaveLength(5)
  })

  test('translates what the adapter threw, and does not close what never opened', async () => {
    const rig = new Rig()
    const cause = new Error('ECONNREFUSED')
    rig.inner.openWith = () => Promise.reject(cause)
    expect(await rejection(rig.open())).toMatchObject({ code: 'bus.connection_lost', cause, details: { adapter: 'fake', problem: 'ECONNREFUSED' } })
    await rig.transport.close()
    expect(rig.inner.calls).toEqual(['open'])
  })

  test('closes once, however often and when it is asked to', async () => {
    const rig = new Rig()
    await rig.open()
    await Promise.all([rig.transport.close(), rig.transport.close()])
    await rig.transport.close()
    expect(rig.inner.calls).toEqual(['open', 'close'])
  })
})

describe('publishing', () => {
  test('resolves with the adapter, and costs no promise where the adapter was done at once', async () => {
    const rig = new Rig()
    await rig.open()
    expect(rig.transport.publish(outbound, 1_000)).toBeUndefined()
    const stored = new Gate()
    rig.inner.publishWith = () => stored.opened
    const published = rig.transport.publish(outbound, 1_000)
    expect(rig.transport.pendingCount).toBe(1)
    stored.open()
    await published
    expect([rig.transport.pendingCount, rig.clock.timerCount]).toEqual([0, 1])
  })

  test('gives up after its time, tells the adapter, and takes no later word', async () => {
    const rig = new Rig()
    await rig.open()
    const stored = new Gate()
    const told: string[] = []
    let signal: PublishSignal | undefined
    rig.inner.publishWith = (_outbound, given) => {
      signal = given
      given?.addEventListener('abort', () => told.push('aborted'))
      return stored.opened
    }
    const published = rejection(Promise.resolve(rig.transport.publish(outbound, 1_000)))
    await rig.clock.advance(999)
    expect([signal?.aborted, told]).toEqual([false, []])
    await rig.clock.advance(11)
    expect(await published).toMatchObject({ code: 'bus.publish_timeout', disposition: 'retry', details: { type: 'sales.order-placed', id: 'm-1', timeoutMs: 1_000 } })
    expect([signal?.aborted, told, rig.transport.pendingCount]).toEqual([true, ['aborted'], 0])
    stored.fail(new Error('late'))
    await rig.clock.settle()
  })

  test('does not tell the adapter about a message that is stored already', async () => {
    const rig = new Rig()
    await rig.open()
    const told: string[] = []
    rig.inner.publishWith = (_outbound, signal) => {
      signal?.addEventListener('abort', () => told.push('aborted'))
      return Promise.resolve()
    }
    await rig.transport.publish(outbound, 1_000)
    await rig.clock.advance(5_000)
    expect(told).toEqual([])
  })

  test('passes errors of ours on and translates every other, thrown or rejected', async () => {
    const rig = new Rig()
    await rig.open()
    const refused = new TrunklineError('bus.publish_refused', { type: 'a.b', id: 'i', problem: 'full' })
    rig.inner.publishWith = () => Promise.reject(refused)
    const published = async (): Promise<unknown> => {
      const rejected = rejection(Promise.resolve(rig.transport.publish(outbound, 1_000)))
      await rig.clock.settle()
      return await rejected
    }
    expect(await published()).toBe(refused)
    const cause = new Error('socket')
    rig.inner.publishWith = () => Promise.reject(cause)
    expect(await published()).toMatchObject({ code: 'bus.connection_lost', cause })
    rig.inner.publishWith = () => {
      throw cause
    }
    expect(() => rig.transport.publish(outbound, 1_000)).toThrow(expect.objectContaining({ code: 'bus.connection_lost', cause }))
    expect(rig.transport.pendingCount).toBe(0)
  })

  test('refuses what would be one too many, and takes more when there is room again', async () => {
    const rig = new Rig()
    await rig.open()
    const stored = new Gate()
    rig.inner.publishWith = () => stored.opened
    const published = Array.from({ length: PUBLISH_PENDING_MAX }, async () => await rig.transport.publish(outbound, 1_000))
    expect(() => rig.transport.publish(outbound, 1_000)).toThrow(expect.objectContaining({ code: 'bus.overloaded', details: expect.objectContaining({ limit: PUBLISH_PENDING_MAX }) }))
    stored.open()
    await Promise.all(published)
    rig.inner.publishWith = () => undefined
    expect(rig.transport.publish(outbound, 1_000)).toBeUndefined()
  })

  test('gives up what still waits when it closes, and takes nothing more', async () => {
    const rig = new Rig()
    await rig.open()
    rig.inner.publishWith = never
    const published = rejection(Promise.resolve(rig.transport.publish(outbound, 60_000)))
    await rig.transport.close()
    expect(await published).toMatchObject({ code: 'bus.publish_timeout' })
    expect(() => rig.transport.publish(outbound, 1_000)).toThrow(expect.objectContaining({ code: 'bus.not_running' }))
    expect(rig.inner.calls.filter((call) => call.startsWith('publish'))).toHaveLength(1)
  })
})

test('subscribing translates what the adapter threw', async () => {
  const rig = new Rig()
  await rig.open()
  const cause = new Error('no such stream')
  rig.inner.subscribeWith = () => Promise.reject(cause)
  const subscription = { group: 'shop.a', kind: 'event', types: ['a.b'], order: 'none', from: 'new', inFlightMax: 1, handlerTimeoutMs: 1 } as const
  expect(await rejection(rig.transport.subscribe(subscription, () => {}))).toMatchObject({ code: 'bus.connection_lost', cause })
})

test('a translated error holds at most 500 characters of the client and no control characters', () => {
  const error = translated('fake', new Error(`a\n${'x'.repeat(1_000)}`))
  expect(error.details).toMatchObject({ adapter: 'fake', problem: expect.stringMatching(/^a\\u000ax{493}$/) })
})
