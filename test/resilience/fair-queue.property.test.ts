import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FairQueue } from '../../src/resilience/fair-queue.ts'
import { TokenBucket } from '../../src/resilience/token-bucket.ts'

const delay = { targetDelayMs: 1_000_000, intervalMs: 1_000_000, waitingMax: 5 } as const

test('no limit is ever passed, nothing is lost, and nothing waits while a slot that it may have is free', () => {
  const step = fc.oneof(fc.record({ kind: fc.constant('offer' as const), who: fc.constantFrom('a', 'b', 'c') }), fc.record({ kind: fc.constant('end' as const), who: fc.nat() }))
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 100 }), (inFlightMax, eachMax, steps) => {
      const queue = new FairQueue<number>({ inFlightMax, callersMax: 10, callerRule: () => ({ inFlightMax: eachMax, delay, bucket: () => undefined }) })
      const running: string[] = []
      let [offered, refused, started] = [0, 0, 0]
      for (const one of steps) {
        if (one.kind === 'offer') {
          if (queue.offer(++offered, one.who, 0) !== undefined) refused++
        } else if (running.length > 0) queue.ended(running.splice(one.who % running.length, 1)[0] ?? '')
        for (let next = queue.next(0); next !== undefined; next = queue.next(0)) {
          running.push(next.caller)
          started++
        }
        for (const who of ['a', 'b', 'c']) expect(running.filter((name) => name === who).length).toBeLessThanOrEqual(eachMax)
        expect(running.length).toBeLessThanOrEqual(inFlightMax)
        expect(started + refused + queue.waiting).toBe(offered)
        if (queue.waiting > 0 && eachMax >= inFlightMax) expect(running.length).toBe(inFlightMax)
      }
    }),
  )
})

test('callers that wait take turns, however many of one there are', () => {
  const queue = new FairQueue<string>({ inFlightMax: 1, callersMax: 10, callerRule: () => ({ inFlightMax: 1, delay, bucket: () => undefined }) })
  for (const request of ['n1', 'n2', 'n3', 'n4']) queue.offer(request, 'noisy', 0)
  queue.offer('q1', 'quiet', 0)
  queue.offer('q2', 'quiet', 0)
  const order: string[] = []
  for (let next = queue.next(0); next !== undefined; next = queue.next(0)) {
    order.push(next.request)
    queue.ended(next.caller)
  }
  expect(order).toEqual(['n1', 'q1', 'n2', 'q2', 'n3', 'n4'])
})

test('a caller beyond its rate is told when to come back, and others are not touched', () => {
  const queue = new FairQueue<number>({ inFlightMax: 9, callersMax: 10, callerRule: () => ({ inFlightMax: 9, delay, bucket: () => new TokenBucket(10, 1) }) })
  expect([queue.offer(1, 'a', 0), queue.offer(2, 'a', 0), queue.offer(3, 'b', 0)]).toEqual([undefined, { problem: 'a asks more often than it may', retryAfterMs: 100 }, undefined])
  expect(queue.offer(4, 'a', 100)).toBeUndefined()
})

test('callers beyond the number that is kept apart share a line, and idle ones are forgotten first', () => {
  const queue = new FairQueue<number>({ inFlightMax: 9, callersMax: 2, callerRule: () => ({ inFlightMax: 9, delay, bucket: () => undefined }) })
  const callers = ['a', 'b', 'c', 'd'].map((name, at) => {
    queue.offer(at, name, 0)
    return queue.next(0)?.caller
  })
  expect(callers).toEqual(['a', 'b', 'all others', 'all others'])
  queue.ended('a')
  queue.offer(9, 'e', 0)
  expect(queue.next(0)?.caller).toBe('all others')
})
