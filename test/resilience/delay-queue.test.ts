import { expect, test } from 'vitest'
import { DelayQueue } from '../../src/resilience/delay-queue.ts'

const rule = { targetDelayMs: 10, intervalMs: 100, waitingMax: 3 } as const

test('a burst may wait for the longer time, and is served in the order in which it came', () => {
  const queue = new DelayQueue<string>(rule)
  for (const item of ['a', 'b', 'c']) queue.push(item, 0)
  expect([queue.isFull, queue.expired(99), queue.state(99), queue.pop(99), queue.pop(99)]).toEqual([true, [], 'normal', 'a', 'b'])
  expect([queue.nextExpiryInMs(99), queue.expired(100)]).toEqual([1, [{ item: 'c', waitedMs: 100 }]])
  expect([queue.size, queue.nextExpiryInMs(100)]).toEqual([0, undefined])
})

test('a queue that does not empty lets nothing wait longer than the shorter time, and serves the newest first', () => {
  const queue = new DelayQueue<number>(rule)
  let atMs = 0
  // One comes and one goes every 5 ms, and one is always left.
  queue.push(atMs, atMs)
  for (; atMs < 100; atMs += 5) {
    queue.push(atMs + 5, atMs + 5)
    queue.pop(atMs + 5)
  }
  expect([queue.size, queue.state(100)]).toEqual([1, 'shedding'])
  queue.push(101, 101)
  expect(queue.pop(101)).toBe(101)
  expect(queue.nextExpiryInMs(101)).toBe(4)
  expect(queue.expired(105)).toEqual([{ item: 95, waitedMs: 10 }])
  queue.push(200, 200)
  expect(queue.state(200)).toBe('normal')
})
