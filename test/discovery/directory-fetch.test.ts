import { expect, test } from 'vitest'
import { circuitBreaker, compose, fallback, retry, timeout } from '../../src/index.ts'
import { type Directory, type FetchOptions, discovery } from '../../src/discovery/index.ts'
import { BusRig, rejection } from '../bus/bus-rig.ts'

/** A web of instances that each answer as they are told. */
class Web {
  readonly asked: string[] = []
  readonly #answers: Readonly<Record<string, () => Response | Promise<Response>>>

  constructor(answers: Readonly<Record<string, () => Response | Promise<Response>>>) {
    this.#answers = answers
  }

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const { host, pathname } = new URL(input instanceof Request ? input.url : input)
    this.asked.push(`${init?.method ?? 'GET'} ${host}${pathname}`)
    const answer = this.#answers[host]
    if (answer === undefined) throw unreachable('ECONNREFUSED')
    const aborted = new Promise<never>((_resolve, reject) => init?.signal?.addEventListener('abort', () => reject(new TypeError('aborted', { cause: init.signal?.reason }))))
    return await Promise.race([answer(), aborted])
  }
}

function unreachable(code: string): TypeError {
  return new TypeError('fetch failed', { cause: Object.assign(new TypeError(code), { code }) })
}

async function directoryWith(rig: BusRig, hosts: readonly string[]): Promise<Directory> {
  const directory = discovery()
  const buses = hosts.map((host, index) => rig.bus({ service: { name: 'payments' }, discovery: discovery({ instance: `payments-${index}`, addresses: { http: host } }) }))
  const shop = rig.bus({ service: { name: 'shop' }, discovery: directory })
  await Promise.all([...buses, shop].map((bus) => bus.start()))
  await rig.clock.advance(100)
  return directory
}

const ok = (): Response => new Response('ok')
const turns: FetchOptions = { balance: 'round-robin' }

test('pick gives an address, and remembers how the call went', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a', 'http://b'])
  for (let count = 0; count < 5; count++) {
    let picked = directory.pick('payments', turns)
    while (picked.address !== 'http://a') picked = (picked.done('ok'), directory.pick('payments', turns))
    picked.done('failed')
    picked.done('ok')
  }
  const addresses = Array.from({ length: 6 }, () => directory.pick('payments', turns).address)
  expect(new Set(addresses)).toEqual(new Set(['http://b']))
  expect(await rejection((async () => directory.pick('payments', { protocol: 'grpc' }))())).toMatchObject({ code: 'discovery.no_instance' })
})

test('a dead instance is followed by another one, whatever the method, because nothing was sent', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://dead', 'http://alive/base'])
  const web = new Web({ alive: ok })
  for (const method of ['GET', 'POST']) {
    const responses = await Promise.all([1, 2].map(() => directory.fetch('payments', '/pay', { ...turns, method, fetch: web.fetch })))
    expect(responses.map(({ status }) => status)).toEqual([200, 200])
  }
  expect(web.asked).toContain('POST alive/base/pay')
})

test('what may have been done is repeated only where it may be', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a', 'http://b'])
  const web = new Web({ a: () => new Response('', { status: 503 }), b: () => Promise.reject(unreachable('ECONNRESET')) })
  const count = async (options: FetchOptions): Promise<number> => {
    web.asked.length = 0
    await directory.fetch('payments', 'pay', { ...turns, fetch: web.fetch, ...options }).catch(() => undefined)
    return web.asked.length
  }
  expect(await count({ method: 'POST' })).toBe(1)
  expect(await count({ method: 'PUT' })).toBe(2)
  expect(await count({ method: 'POST', isIdempotent: true })).toBe(2)
  expect(await count({ method: 'GET', isIdempotent: false })).toBe(1)
})

test('gives the response of the last instance as it is, and keeps to the time limit', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a', 'http://b'])
  const busy = new Web({ a: () => new Response('', { status: 503 }), b: () => new Response('', { status: 502 }) })
  expect((await directory.fetch('payments', 'x', { fetch: busy.fetch })).status).toBeGreaterThanOrEqual(502)
  const hanging = new Web({ a: () => new Promise(() => {}), b: () => new Promise(() => {}) })
  const waiting = rejection(directory.fetch('payments', 'x', { fetch: hanging.fetch, timeoutMs: 1_000 }))
  await rig.clock.advance(1_100)
  expect(await waiting).toMatchObject({ code: 'discovery.fetch_timeout' })
  expect(hanging.asked).toHaveLength(2)
})

test('an attempt that takes too long is waited for where there is no second one', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a', 'http://b', 'http://c'])
  const late = async (): Promise<Response> => await new Promise((resolve) => rig.clock.setTimer(100, () => resolve(ok())))
  const web = new Web({ a: late, b: late, c: late })
  const asking = Promise.all(Array.from({ length: 200 }, () => directory.fetch('payments', 'x', { fetch: web.fetch, timeoutMs: 2_000, balance: { by: 'random', attemptTimeoutMs: 20 } })))
  await rig.clock.advance(1_000)
  expect((await asking).every(({ status }) => status === 200)).toBe(true)
  expect(web.asked.length).toBeGreaterThan(200)
  expect(web.asked.length).toBeLessThan(260)
})

test('never leaves the announced address', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['file:///etc'])
  const web = new Web({})
  expect(await rejection(directory.fetch('payments', 'passwd', { fetch: web.fetch }))).toMatchObject({ code: 'discovery.no_instance' })
  const other = await directoryWith(rig, ['http://a'])
  expect(await rejection(other.fetch('payments', 'http://evil/x', { fetch: web.fetch, balance: { by: (all) => all.find(({ address }) => address === 'http://a') ?? all[0] } }))).toMatchObject({ code: 'discovery.no_instance' })
  expect(web.asked).toEqual([])
})

test('an instance that says when it wants to be asked again is spared until then', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://busy', 'http://free'])
  const web = new Web({ busy: () => new Response('', { status: 429, headers: { 'retry-after': '2' } }), free: ok })
  const toBusy: FetchOptions = { balance: { by: (all) => all.find(({ address }) => address === 'http://busy') ?? all[0] }, fetch: web.fetch }
  expect((await directory.fetch('payments', 'x', toBusy)).status).toBe(429)
  for (let count = 0; count < 10; count++) expect((await directory.fetch('payments', 'x', toBusy)).status).toBe(200)
  await rig.clock.advance(2_100)
  expect((await directory.fetch('payments', 'x', toBusy)).status).toBe(429)
})

test('an instance that fails again and again is left out, which is told as a circuit that opened', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://ill', 'http://well'])
  const web = new Web({ ill: () => new Response('', { status: 500 }), well: ok })
  for (let count = 0; count < 20; count++) await directory.fetch('payments', 'x', { ...turns, fetch: web.fetch })
  expect(web.asked.filter((line) => line.includes('ill'))).toHaveLength(5)
  expect(rig.kinds('circuit-changed')).toEqual([{ kind: 'circuit-changed', name: 'payments at http://ill', state: 'open', retryAfterMs: 10_000 }])
})

test('a breaker of the service opens over its failures, refuses without asking, and lets a trial through later', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a', 'http://b'])
  let answer = (): Response => new Response('down', { status: 503 })
  const web = new Web({ a: () => answer(), b: () => answer() })
  const policy = circuitBreaker({ trip: { consecutive: 2 }, openMs: 1_000 })
  const options: FetchOptions = { fetch: web.fetch, policy }
  // The response is the caller's also where it is a failure for the breaker.
  for (let count = 0; count < 2; count++) expect(await (await directory.fetch('payments', 'x', options)).text()).toBe('down')
  const before = web.asked.length
  expect(await rejection(directory.fetch('payments', 'x', options))).toMatchObject({ code: 'resilience.circuit_open', details: { name: 'payments' } })
  expect(web.asked).toHaveLength(before)
  answer = ok
  await rig.clock.advance(1_001)
  expect((await directory.fetch('payments', 'x', options)).status).toBe(200)
  expect(rig.kinds('circuit-changed').filter(({ name }) => name === 'payments').map(({ state }) => state)).toEqual(['open', 'half-open', 'closed'])
})

test('a policy repeats what may be repeated, gives something else, and keeps to the time limit', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['http://a'])
  let failures = 2
  const web = new Web({ a: () => (failures-- > 0 ? new Response('', { status: 500 }) : ok()) })
  const again = retry({ attemptsMax: 3, initialMs: 1 })
  const got = directory.fetch('payments', 'x', { fetch: web.fetch, policy: again })
  await rig.clock.advance(50)
  expect([(await got).status, web.asked.length]).toEqual([200, 3])
  failures = 2
  const posted = directory.fetch('payments', 'x', { fetch: web.fetch, method: 'POST', policy: again })
  await rig.clock.advance(50)
  expect([(await posted).status, web.asked.length]).toEqual([500, 4])
  const hanging = new Web({ a: () => new Promise(() => {}) })
  const other = new Response('from the cache')
  const instead = directory.fetch('payments', 'x', { fetch: hanging.fetch, timeoutMs: 1_000, policy: compose(fallback({ value: other }), timeout(100)) })
  const late = rejection(directory.fetch('payments', 'x', { fetch: hanging.fetch, timeoutMs: 1_000, policy: timeout(5_000) }))
  await rig.clock.advance(1_100)
  expect(await instead).toBe(other)
  expect(await late).toMatchObject({ code: 'discovery.fetch_timeout', details: { timeoutMs: 1_000 } })
})
