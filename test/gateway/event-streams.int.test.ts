import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { createBus, event, fact, silentLogger } from '../../src/index.ts'
import { gateway, serve, stream } from '../../src/gateway/index.ts'
import { until } from '../servers/until.ts'

const Placed = event('sales.order-placed', { visibility: 'public', schema: z.object({ orderId: z.int() }) })

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A client as browsers have it: it comes again by itself, with the last id that it saw. */
class EventClient {
  readonly orders: number[] = []
  readonly connections: (string | undefined)[] = []
  #lastId: string | undefined
  #leaving = new AbortController()
  readonly #url: () => string
  readonly #running: Promise<void>
  #isOver = false

  constructor(url: () => string) {
    this.#url = url
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.#leaving = new AbortController()
      await this.#follow(this.#leaving.signal).catch(() => {})
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const response = await fetch(this.#url(), { signal, headers: this.#lastId === undefined ? {} : { 'last-event-id': this.#lastId } })
    if (response.status !== 200 || response.body === null) return
    this.connections.push(this.#lastId)
    let text = ''
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      text += part
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) this.#take(block)
    }
  }

  #take(block: string): void {
    const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
    this.#lastId = field('id') ?? this.#lastId
    const data = field('data')
    if (data !== undefined) this.orders.push((JSON.parse(data) as { readonly data: { readonly orderId: number } }).data.orderId)
  }

  /** Breaks the connection, as a network does. */
  break(): void {
    this.#leaving.abort()
  }

  async close(): Promise<void> {
    this.#isOver = true
    this.#leaving.abort()
    await this.#running
  }
}

test('a caller of a log gets every event once and in order, through broken connections and a gateway that is replaced', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-events-'))
  folders.push(folder)
  const store = sqlite({ file: join(folder, 'shop.db') })
  await using bus = createBus({ service: { name: 'front' }, transport: store.transport, outbox: store.outbox, logger: silentLogger })
  await bus.start()
  const made = (): ReturnType<typeof gateway> => gateway({ bus, logger: silentLogger, routes: [stream(Placed, { path: '/events', from: store.events, start: 'beginning', heartbeatMs: 50, bufferMax: 7 })] })
  let api = made()
  let server = await serve(api, { port: 0 })
  const client = new EventClient(() => `${server.url}/events`)
  const EVENTS = 300
  for (let at = 0; at < EVENTS; at++) {
    await store.events.append(`order-${at % 5}`, 'any', [fact(Placed, { orderId: at })])
    if (at % 60 === 30) {
      await until(() => client.orders.length > 0, { what: 'something came' })
      client.break()
    }
    if (at === 150) {
      // As in a rolling update: this one drains, and the callers come again at the next one.
      const old = { api, server }
      api = made()
      server = await serve(api, { port: 0 })
      old.api.drain()
      expect(await old.server.close({ graceMs: 10_000 })).toBe(true)
    }
  }
  await until(() => client.orders.length >= EVENTS, { what: 'all came', deadlineMs: 30_000 })
  expect(client.orders).toEqual(Array.from({ length: EVENTS }, (_one, at) => at))
  expect(client.connections.length).toBeGreaterThan(5)
  expect(client.connections.slice(1).every((id) => id !== undefined)).toBe(true)
  await client.close()
  await until(() => api.followers === 0, { what: 'the server knows that the caller has gone' })
  expect(await server.close()).toBe(true)
})

test('a caller who does not read is cut, and the server holds little for it', async () => {
  await using bus = createBus({ service: { name: 'front' }, transport: sqlite({ file: join(folderOf(), 'bus.db') }).transport, logger: silentLogger })
  const Loud = event('sales.loud-thing', { visibility: 'public', schema: z.object({ text: z.string() }) })
  const api = gateway({ bus, logger: silentLogger, routes: [stream(Loud, { path: '/events', bufferMax: 16 })] })
  await bus.start()
  await using server = await serve(api, { port: 0 })
  const leaving = new AbortController()
  const response = await fetch(`${server.url}/events`, { signal: leaving.signal })
  expect([response.status, api.followers]).toEqual([200, 1])
  const text = 'x'.repeat(100_000)
  // More than the sockets of both sides and the buffer can hold.
  await until(async () => {
    await bus.broadcast(Loud, { text })
    return api.followers === 0
  }, { what: 'the caller is cut', everyMs: 1, deadlineMs: 30_000 })
  leaving.abort()
})

function folderOf(): string {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-events-'))
  folders.push(folder)
  return folder
}
