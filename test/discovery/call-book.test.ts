import { expect, test } from 'vitest'
import { CallBook, OUTLIERS } from '../../src/discovery/call-book.ts'

function failTimes(book: CallBook, address: string, times: number, nowMs: number): void {
  for (let count = 0; count < times; count++) {
    book.begin(address, nowMs)
    book.end(address, 'failed', 10, nowMs)
  }
}

test('counts what is pending', () => {
  const book = new CallBook()
  book.begin('a', 0)
  book.begin('a', 0)
  book.end('a', 'ok', 5, 0)
  expect(book.standing('a', 0).pending).toBe(1)
  book.end('a', 'abandoned', 5, 0)
  expect(book.standing('a', 0)).toMatchObject({ pending: 0, share: 1 })
})

test('believes a peak of latency at once, a recovery slowly, and forgets what is long ago', () => {
  const book = new CallBook()
  book.end('a', 'ok', 10, 1_000)
  book.end('a', 'ok', 200, 1_001)
  expect(book.standing('a', 1_001).latencyMs).toBeCloseTo(200)
  book.end('a', 'ok', 10, 1_002)
  expect(book.standing('a', 1_002).latencyMs).toBeGreaterThan(150)
  expect(book.standing('a', 61_002).latencyMs).toBeLessThan(1)
})

test('who was outrun takes at least so long; that says nothing good of it', () => {
  const book = new CallBook()
  book.begin('a', 0)
  book.end('a', 'outrun', 50, 50)
  expect(book.standing('a', 50)).toMatchObject({ pending: 0, latencyMs: 50 })
  book.begin('a', 50)
  book.end('a', 'outrun', 10, 60)
  expect(book.standing('a', 60).latencyMs).toBeCloseTo(50, 0)
  book.begin('a', 60)
  book.end('a', 'abandoned', 400, 460)
  expect(book.standing('a', 460).latencyMs).toBeLessThan(50)
})

test('puts an instance out after five failures in a row, lets it back gently, and longer out the next time', () => {
  const book = new CallBook()
  failTimes(book, 'a', OUTLIERS.failuresMax - 1, 0)
  expect(book.standing('a', 0).share).toBe(1)
  failTimes(book, 'a', 1, 0)
  expect(book.standing('a', 9_999).share).toBe(0)
  expect(book.standing('a', 10_000).share).toBeCloseTo(0.1)
  expect(book.standing('a', 15_000).share).toBeCloseTo(0.55)
  expect(book.standing('a', 20_000).share).toBe(1)
  failTimes(book, 'a', 1, 15_000)
  expect(book.standing('a', 34_999).share).toBe(0)
  expect(book.standing('a', 35_000).share).toBeGreaterThan(0)
})

test('a success between failures starts the count again, and after its return an instance is as good as any', () => {
  const book = new CallBook()
  failTimes(book, 'a', 4, 0)
  book.end('a', 'ok', 1, 0)
  failTimes(book, 'a', 4, 0)
  expect(book.standing('a', 0).share).toBe(1)
  failTimes(book, 'a', 1, 0)
  book.end('a', 'ok', 1, 20_001)
  failTimes(book, 'a', 1, 20_002)
  expect(book.standing('a', 20_002).share).toBe(1)
})

test('has at most half of the instances out', () => {
  const book = new CallBook()
  const addresses = ['a', 'b', 'c', 'd']
  for (const [index, address] of addresses.entries()) failTimes(book, address, 5, index)
  expect([...book.out(addresses, 10)]).toEqual(['d', 'c'])
  expect([...book.out(['a'], 10)]).toEqual([])
})

test('leaves alone who wants that, for ten seconds at most, and gives the whole share back', () => {
  const book = new CallBook()
  book.spare('a', 500, 0)
  expect([book.standing('a', 499).share, book.standing('a', 500).share]).toEqual([0, 1])
  book.spare('a', 3_600_000, 1_000)
  expect([book.standing('a', 10_999).share, book.standing('a', 11_000).share]).toEqual([0, 1])
  expect([...book.out(['a', 'b'], 10_999)]).toEqual(['a'])
})

test('tells when an address is out, tried again and back', () => {
  const book = new CallBook()
  const told: unknown[] = []
  for (let count = 0; count < 5; count++) told.push(book.begin('a', 0), book.end('a', 'failed', 1, 0))
  expect([told.slice(0, -1).every((one) => one === undefined), told.at(-1), book.outForMs('a', 4_000)]).toEqual([true, 'open', 6_000])
  expect([book.begin('a', 9_999), book.begin('a', 10_000), book.begin('a', 10_001)]).toEqual([undefined, 'half-open', undefined])
  expect(book.end('a', 'failed', 1, 10_002)).toBe('open')
  expect([book.begin('a', 30_003), book.end('a', 'ok', 1, 30_004), book.end('a', 'ok', 1, 40_010)]).toEqual(['half-open', undefined, 'closed'])
  expect(book.outForMs('b', 0)).toBe(0)
})
