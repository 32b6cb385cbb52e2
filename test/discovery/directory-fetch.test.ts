import { expect, test } from 'vitest'
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

test('never leaves the announced address', async () => {
  await using rig = new BusRig()
  const directory = await directoryWith(rig, ['file:///etc'])
  const web = new Web({})
  expect(await rejection(directory.fetch('payments', 'passwd', { fetch: web.fetch }))).toMatchObject({ code: 'discovery.no_instance' })
  const other = await directoryWith(rig, ['http://a'])
  expect(await rejection(other.fetch('payments', 'http://evil/x', { fetch: web.fetch, balance: { by: (all) => all.find(({ address }) => address === 'http://a') ?? all[0] } }))).toMatchObject({ code: 'discovery.no_instance' })
  expect(web.asked).toEqual([])
})
