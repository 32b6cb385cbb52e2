import { describe, expect, test } from 'vitest'
import { BusRig, Gate, Moved, Placed } from './bus-rig.ts'

describe('a batch', () => {
  test('is cut when it is full, or when its first message has waited', async () => {
    await using rig = new BusRig()
    const batches: [number, number][] = []
    const bus = rig.bus()
    bus.on([Placed, Moved], { group: 'g', batch: { sizeMax: 3, waitMs: 50 } }, (messages) => {
      batches.push([messages.length, rig.clock.monotonicMs()])
    })
    await bus.start()
    for (let order = 0; order < 3; order++) await bus.publish(Placed, { orderId: `${order}` })
    await rig.clock.settle()
    expect(batches).toEqual([[3, 0]])
    await bus.publish(Placed, { orderId: 'a' })
    await rig.clock.advance(30)
    await bus.publish(Moved, { orderId: 'b' })
    await rig.clock.advance(19)
    expect(batches).toHaveLength(1)
    await rig.clock.advance(1)
    expect(batches).toEqual([[3, 0], [2, 50]])
    expect(bus.stats().handled).toBe(5)
  })

  test('that fails is run again one by one, so that poison spends only its own attempts', async () => {
    await using rig = new BusRig()
    const calls: string[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', batch: { sizeMax: 3 }, retry: { attemptsMax: 2, initialMs: 100 } }, (messages, { attempt }) => {
      const ids = messages.map(({ data }) => data.orderId)
      calls.push(`${ids.join('+')} ${attempt}`)
      if (ids.includes('poison')) throw new Error('x')
    })
    await bus.start()
    for (const orderId of ['a', 'poison', 'b']) await bus.publish(Placed, { orderId })
    await rig.clock.settle()
    expect(calls).toEqual(['a+poison+b 1', 'a 1', 'poison 1', 'b 1'])
    await rig.clock.advance(500)
    expect(calls.slice(4)).toEqual(['poison 2'])
    expect(bus.stats()).toMatchObject({ handled: 2, retried: 1, deadLettered: 1 })
  })

  test('of one is not run twice in one attempt', async () => {
    await using rig = new BusRig()
    let count = 0
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', batch: { sizeMax: 5, waitMs: 0 }, retry: { attemptsMax: 1 } }, () => {
      count++
      throw new Error('x')
    })
    await bus.start()
    await bus.publish(Placed, { orderId: 'a' })
    await rig.clock.advance(1)
    expect([count, bus.stats().deadLettered]).toEqual([1, 1])
  })

  test('has the time limit of one handler', async () => {
    await using rig = new BusRig()
    const signals: AbortSignal[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', batch: { sizeMax: 2 }, timeoutMs: 100 }, (messages, { signal }) => {
      signals.push(signal)
      return messages.length === 2 ? new Promise(() => {}) : undefined
    })
    await bus.start()
    for (const orderId of ['a', 'b']) await bus.publish(Placed, { orderId })
    await rig.clock.advance(110)
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false, false])
    expect(bus.stats().handled).toBe(2)
  })

  test('leaves out what does not fit, which goes to the dead letters alone', async () => {
    await using rig = new BusRig()
    const sizes: number[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', batch: { sizeMax: 10, waitMs: 1 } }, (messages) => {
      sizes.push(messages.length)
    })
    await bus.start()
    for (const deadlineAtMs of [1, undefined, 1]) await bus.publish(Placed, { orderId: 'a' }, deadlineAtMs === undefined ? {} : { deadlineAtMs })
    await rig.clock.advance(1)
    expect([sizes, bus.stats()]).toMatchObject([[1], { handled: 1, deadLettered: 2 }])
  })

  test('that waits is not held back by a stop', async () => {
    await using rig = new BusRig()
    const gate = new Gate()
    const sizes: number[] = []
    const bus = rig.bus()
    bus.on(Placed, { group: 'g', batch: { sizeMax: 10, waitMs: 60_000 } }, async (messages) => {
      sizes.push(messages.length)
      await gate.opened
    })
    await bus.start()
    for (const orderId of ['a', 'b']) await bus.publish(Placed, { orderId })
    await rig.clock.settle()
    expect(sizes).toEqual([])
    const stopped = bus.stop()
    await rig.clock.settle()
    expect([sizes, bus.state]).toEqual([[2], 'draining'])
    gate.open()
    await rig.clock.settle()
    await stopped
    expect([bus.stats().handled, rig.clock.timerCount]).toEqual([2, 0])
  })
})
