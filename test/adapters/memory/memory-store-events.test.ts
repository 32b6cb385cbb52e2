import { expect, test } from 'vitest'
import { MemoryEvents, StagedEvents } from '../../../src/adapters/memory/memory-store-events.ts'
import { wireMessage } from '../wire-messages.ts'

function appendTo(events: MemoryEvents, stream: string, count: number, nowMs = 0): void {
  const staged = new StagedEvents(events)
  staged.append(stream, 'any', Array.from({ length: count }, (_, at) => ({ message: wireMessage({ id: `${stream}-${events.position}-${at}` }), isPublic: false })), nowMs)
  staged.commit(nowMs)
}

test('throws away what nobody can read any more, and keeps numbers and order', () => {
  const events = new MemoryEvents()
  events.setMetadata('order-1', { countMax: 3 })
  for (let n = 0; n < 40; n++) {
    appendTo(events, 'order-1', 100)
    appendTo(events, 'order-2', 1)
  }
  expect(events.kept('order-1').length).toBeLessThan(1_500)
  expect(events.kept('order-2').length).toBe(40)
  const page = events.read({ selection: { kind: 'stream', stream: 'order-1' }, direction: 'forwards', after: undefined, limit: 10 }, 0)
  expect(page.events.map(({ revision }) => revision)).toEqual([3_997n, 3_998n, 3_999n])
  const all = events.read({ selection: { kind: 'all' }, direction: 'forwards', after: undefined, limit: 100 }, 0).events
  expect(all).toHaveLength(43)
  expect(events.read({ selection: { kind: 'category', category: 'order' }, direction: 'forwards', after: undefined, limit: 100 }, 0).events).toEqual(all)
  expect(events.lastRevision('order-1')).toBe(3_999n)
})

test('recognises a repetition in a stream whose beginning is gone', () => {
  const events = new MemoryEvents()
  events.setMetadata('order-1', { countMax: 3 })
  for (let n = 0; n < 30; n++) appendTo(events, 'order-1', 100)
  const last = events.kept('order-1').slice(-2)
  const staged = new StagedEvents(events)
  const repeated = last.map(({ message }) => ({ message, isPublic: false }))
  expect(staged.append('order-1', 2_997n, repeated, 0)).toMatchObject({ revision: 2_999n, isRepeated: true })
  expect(() => staged.append('order-1', 5n, repeated, 0)).toThrow(expect.objectContaining({ code: 'store.wrong_revision' }))
  expect(staged.isEmpty).toBe(true)
})

test('wakes who waits for a later position, and leaves no listener behind', async () => {
  const events = new MemoryEvents()
  const controller = new AbortController()
  const woken: string[] = []
  const waiting = events.changed(0n, [controller.signal]).then(() => woken.push('commit'))
  const given = events.changed(1n, [controller.signal]).then(() => woken.push('abort'))
  appendTo(events, 'order-1', 1)
  await waiting
  await events.changed(0n, [controller.signal])
  controller.abort()
  await given
  expect(woken).toContain('abort')
})
